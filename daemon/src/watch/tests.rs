//! The minder with a real file system: each bound is long, none is slept out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mcpd_config::watched::{Filter, IGNORED};
use mcpd_core::ServiceId;

use super::eyes::{Blind, Eyes};
use super::keeper::Keeper;
use super::*;

const BOUND: Duration = Duration::from_secs(20);

struct Bench {
    dir: tempfile::TempDir,
    watcher: Watcher,
    signs: mpsc::Receiver<Sign>,
    /// A file in a new directory of its own: only the keeper finds it, and what has come to the keeper before. So when its
    /// change is told, everything before it has been.
    marks: u32,
}

const MARK: Topic = Topic::Files(ServiceId(99));

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tell, signs) = mpsc::channel();
        let watcher = Watcher::new(move |sign| drop(tell.send(sign)));
        fs::create_dir(dir.path().join("marks")).unwrap();
        let bench = Self { dir, watcher, signs, marks: 0 };
        bench.watch(MARK, "marks", &[], &[]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn watch(&self, topic: Topic, path: &str, include: &[&str], ignore: &[&str]) {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let ignore: Vec<&str> = ignore.iter().chain(IGNORED).copied().collect();
        let filter = Arc::new(Filter::new(&owned(include), &owned(&ignore)).unwrap());
        let base = self.dir.path().to_owned();
        self.watcher
            .set(topic, vec![Target { path: self.path(path), base, reach: Reach::Tree(filter) }])
            .unwrap();
    }

    /// Everything that is told until a mark is, in words, without the mark.
    fn settle(&mut self) -> Vec<(Topic, String)> {
        let bound = Instant::now() + BOUND;
        let mut seen: BTreeMap<Topic, Changes> = BTreeMap::new();
        // Two rounds: a directory may have been made and filled while the keeper was on its way into the one above it.
        for _ in 0..2 {
            self.marks += 1;
            let mark = self.path(&format!("marks/{}/mark", self.marks));
            write(&mark, "");
            loop {
                match self.signs.recv_timeout(Duration::from_millis(100)) {
                    Ok(Sign::Changed | Sign::Watching { .. }) => {}
                    Ok(Sign::Trouble(what)) => panic!("{what}"),
                    // The first mark may be older than the watch.
                    Err(_) => fs::write(&mark, "x").unwrap(),
                }
                let mut marked = false;
                for (topic, changes) in self.watcher.take() {
                    if topic == MARK {
                        marked = true;
                    } else {
                        seen.entry(topic).or_default().merge(changes);
                    }
                }
                if marked {
                    break;
                }
                assert!(Instant::now() < bound, "no mark is told");
            }
        }
        seen.into_iter().map(|(topic, changes)| (topic, changes.words())).collect()
    }

    #[track_caller]
    fn expect(&mut self, wanted: &[&str]) {
        let told: Vec<String> = self.settle().into_iter().map(|(_, words)| words).collect();
        assert_eq!(told, wanted);
    }
}

const A: Topic = Topic::Files(ServiceId(1));
const B: Topic = Topic::Files(ServiceId(2));

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_tree_with_include_and_ignore() {
    let mut bench = Bench::new();
    write(&bench.path("src/a.py"), "");
    write(&bench.path("src/node_modules/x/y.py"), "");
    write(&bench.path("src/deep/er/b.py"), "");
    bench.watch(A, "src", &["**/*.py"], &["**/tests/**"]);
    bench.expect(&[]);
    // Reading is no change, nor are files that do not count.
    fs::read(bench.path("src/a.py")).unwrap();
    write(&bench.path("src/a.txt"), "");
    write(&bench.path("src/tests/t.py"), "");
    write(&bench.path("src/node_modules/x/y.py"), "2");
    write(&bench.path("src/.a.py.swp"), "");
    write(&bench.path("src/__pycache__/a.cpython-312.pyc"), "");
    fs::create_dir(bench.path("src/empty.py")).unwrap();
    fs::remove_dir(bench.path("src/empty.py")).unwrap();
    bench.expect(&[]);
    write(&bench.path("src/deep/er/b.py"), "2");
    bench.expect(&["src/deep/er/b.py changed"]);
    fs::remove_file(bench.path("src/a.py")).unwrap();
    bench.expect(&["src/a.py changed"]);
    // What is not watched any more is not told.
    bench.watcher.set(A, Vec::new()).unwrap();
    bench.expect(&[]);
    write(&bench.path("src/a.py"), "");
    bench.expect(&[]);
}

#[test]
fn editors_write_another_file_and_rename_it() {
    let mut bench = Bench::new();
    write(&bench.path("src/a.py"), "");
    write(&bench.path("app.toml"), "");
    bench.watch(A, "src", &["**/*.py"], &[]);
    bench.watch(B, "app.toml", &[], &[]);
    bench.expect(&[]);
    for round in ["1", "2"] {
        write(&bench.path("src/a.py.tmp"), round);
        fs::rename(bench.path("src/a.py.tmp"), bench.path("src/a.py")).unwrap();
        bench.expect(&["src/a.py changed"]);
        write(&bench.path("app.toml.tmp"), round);
        fs::rename(bench.path("app.toml.tmp"), bench.path("app.toml")).unwrap();
        bench.expect(&["app.toml changed"]);
    }
}

#[test]
fn new_directories_with_what_is_in_them_already() {
    let mut bench = Bench::new();
    write(&bench.path("src/a"), "");
    bench.watch(A, "src", &["**/*.py"], &[]);
    bench.expect(&[]);
    // So many that some are there before anybody can watch.
    for number in 0..200 {
        write(&bench.path(&format!("src/x/{number}/y/z.py")), "");
    }
    let told = bench.settle();
    assert!(told.len() == 1 && told[0].1.ends_with("/y/z.py changed (and 199 more)"), "{told:?}");
    write(&bench.path("src/x/117/y/z.py"), "2");
    bench.expect(&["src/x/117/y/z.py changed"]);
    // One that is moved into it, and out of it again.
    write(&bench.path("elsewhere/n.py"), "");
    fs::rename(bench.path("elsewhere"), bench.path("src/moved")).unwrap();
    bench.expect(&["src/moved/n.py changed"]);
    write(&bench.path("src/moved/n.py"), "2");
    bench.expect(&["src/moved/n.py changed"]);
    fs::rename(bench.path("src/moved"), bench.path("elsewhere")).unwrap();
    bench.expect(&["src/moved changed"]);
    write(&bench.path("elsewhere/n.py"), "3");
    bench.expect(&[]);
}

#[test]
fn what_is_not_there_yet_and_what_comes_back() {
    let mut bench = Bench::new();
    bench.watch(A, "app/src", &[], &[]);
    bench.watch(B, "app/conf/x.toml", &[], &[]);
    bench.expect(&[]);
    write(&bench.path("app/src/a"), "");
    bench.expect(&["app/src/a changed"]);
    write(&bench.path("app/conf/x.toml"), "");
    bench.expect(&["app/conf/x.toml changed"]);
    for round in ["1", "2", "3"] {
        fs::remove_dir_all(bench.path("app")).unwrap();
        write(&bench.path("app/src/a"), round);
        write(&bench.path("app/conf/x.toml"), round);
        bench.expect(&["app/src/a changed", "app/conf/x.toml changed"]);
        write(&bench.path("app/src/a"), "again");
        bench.expect(&["app/src/a changed"]);
        write(&bench.path("app/conf/x.toml"), "again");
        bench.expect(&["app/conf/x.toml changed"]);
        // Inside the tree as well.
        write(&bench.path("app/src/sub/b"), round);
        bench.expect(&["app/src/sub/b changed"]);
        fs::remove_dir_all(bench.path("app/src/sub")).unwrap();
        write(&bench.path("app/src/sub/b"), round);
        bench.expect(&["app/src/sub/b changed"]);
        write(&bench.path("app/src/sub/b"), "again");
        bench.expect(&["app/src/sub/b changed"]);
        fs::remove_dir_all(bench.path("app/src/sub")).unwrap();
        bench.expect(&["app/src/sub/b changed"]);
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_points_elsewhere() {
    use std::os::unix::fs::symlink;
    let mut bench = Bench::new();
    write(&bench.path("releases/1/src/a"), "");
    write(&bench.path("releases/2/src/b"), "");
    symlink("releases/1", bench.path("current")).unwrap();
    bench.watch(A, "current/src", &[], &[]);
    bench.expect(&[]);
    symlink("releases/2", bench.path("next")).unwrap();
    fs::rename(bench.path("next"), bench.path("current")).unwrap();
    bench.expect(&["current/src/b changed"]);
    write(&bench.path("releases/2/src/b"), "2");
    bench.expect(&["current/src/b changed"]);
    write(&bench.path("releases/1/src/a"), "2");
    bench.expect(&[]);
}

#[test]
fn two_topics_share_a_directory() {
    let mut bench = Bench::new();
    write(&bench.path("src/a.py"), "");
    bench.watch(A, "src", &["*.py"], &[]);
    bench.watch(B, "src", &["*.js"], &[]);
    bench.expect(&[]);
    write(&bench.path("src/a.py"), "");
    write(&bench.path("src/b.js"), "");
    let told = bench.settle();
    assert_eq!(told, [(A, "src/a.py changed".to_owned()), (B, "src/b.js changed".to_owned())]);
    bench.watcher.set(A, Vec::new()).unwrap();
    bench.expect(&[]);
    write(&bench.path("src/a.py"), "");
    write(&bench.path("src/b.js"), "");
    assert_eq!(bench.settle(), [(B, "src/b.js changed".to_owned())]);
}

#[test]
fn however_many_change_one_message_waits() {
    let mut bench = Bench::new();
    write(&bench.path("src/a"), "");
    bench.watch(A, "src", &[], &[]);
    bench.expect(&[]);
    for number in 0..10_000 {
        fs::write(bench.path(&format!("src/{number}")), "").unwrap();
    }
    let bound = Instant::now() + BOUND;
    while bench.signs.recv_timeout(BOUND).unwrap() != Sign::Changed {}
    // Nobody takes, and nobody is told again; what is remembered in the end are all of them.
    let mut last = String::new();
    while !last.contains("more than 999 others") {
        assert!(Instant::now() < bound, "{last}");
        last = bench.watcher.shared.lock().pending.get(&A).map(Changes::words).unwrap_or_default();
        std::thread::yield_now();
    }
    assert_eq!(bench.signs.try_iter().count(), 0);
    // Where the system's queue was too short for so many, the other target is suspected as well.
    let told: Vec<_> = bench.watcher.take().into_iter().filter(|(topic, _)| *topic != MARK).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

/// Eyes with room for a few directories.
struct FewEyes {
    room: usize,
    open: std::collections::BTreeSet<PathBuf>,
}

impl Eyes for FewEyes {
    fn watch(&mut self, directory: &Path) -> Result<(), Blind> {
        if self.open.len() >= self.room && !self.open.contains(directory) {
            return Err(Blind::Instead("the system's limit of watches is reached".into()));
        }
        self.open.insert(directory.to_owned());
        Ok(())
    }

    fn unwatch(&mut self, directory: &Path) {
        self.open.remove(directory);
    }
}

/// A keeper without threads: it takes turns when it is told to.
struct Slow {
    dir: tempfile::TempDir,
    keeper: Keeper<FewEyes>,
    shared: Arc<Shared>,
    signs: mpsc::Receiver<Sign>,
}

impl Slow {
    fn new(room: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tell, signs) = mpsc::channel();
        let watcher = Watcher::new(move |sign| drop(tell.send(sign)));
        let shared = watcher.shared;
        shared.lock().started = true;
        let keeper = Keeper::new(shared.clone(), FewEyes { room, open: std::collections::BTreeSet::new() });
        Self { dir, keeper, shared, signs }
    }

    fn watch(&mut self, path: &str) {
        let filter = Arc::new(Filter::new(&[], &IGNORED.map_to_strings()).unwrap());
        let base = self.dir.path().to_owned();
        let target = Target { path: base.join(path), base, reach: Reach::Tree(filter) };
        self.shared.lock().wishes.insert(A, vec![target]);
        self.keeper.turn();
    }
}

trait ToStrings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl ToStrings for &[&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(|&text| text.to_owned()).collect()
    }
}

#[test]
fn ignored_directories_cost_nothing() {
    let mut slow = Slow::new(usize::MAX);
    for directory in ["src/a", "src/node_modules/x/y", "src/.git/objects", "src/b/__pycache__"] {
        fs::create_dir_all(slow.dir.path().join(directory)).unwrap();
    }
    slow.watch("src");
    let root = slow.dir.path().canonicalize().unwrap();
    let open: Vec<PathBuf> = slow.keeper.eyes().open.iter().cloned().collect();
    assert_eq!(
        open,
        ["", "src", "src/a", "src/b"].map(|name| root.join(name).components().collect::<PathBuf>())
    );
    slow.shared.lock().wishes.insert(A, Vec::new());
    slow.keeper.turn();
    assert!(slow.keeper.eyes().open.is_empty() && slow.shared.lock().map.is_empty());
}

#[test]
fn the_limit_of_watches_is_told_once() {
    let mut slow = Slow::new(3);
    for number in 0..10 {
        fs::create_dir_all(slow.dir.path().join(format!("src/{number}"))).unwrap();
    }
    slow.watch("src");
    let told: Vec<Sign> = slow.signs.try_iter().collect();
    let trouble = Sign::Trouble("the system's limit of watches is reached".into());
    assert_eq!(told, [trouble, Sign::Watching { topic: A, directories: 12 }]);
}

#[test]
fn an_overflow_is_a_change_of_everything() {
    let mut slow = Slow::new(usize::MAX);
    fs::create_dir_all(slow.dir.path().join("src")).unwrap();
    slow.watch("src");
    fs::create_dir_all(slow.dir.path().join("src/missed")).unwrap();
    let overflow = notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
    slow.shared.lock().hear(&overflow);
    slow.keeper.turn();
    let root = slow.dir.path().canonicalize().unwrap();
    assert!(slow.keeper.eyes().open.contains(&root.join("src/missed")));
    let pending = slow.shared.lock().pending[&A].words();
    assert_eq!(pending, "an unknown number of files changed");
}

#[test]
fn an_overflow_makes_no_program_newer_than_it_is() {
    let mut slow = Slow::new(usize::MAX);
    let path = slow.dir.path().join("server");
    write(&path, "old");
    let topic = Topic::Program(ServiceId(1));
    let reach = Reach::Program(Seen::of(&path));
    let target = Target { path: path.clone(), base: slow.dir.path().to_owned(), reach };
    slow.shared.lock().wishes.insert(topic, vec![target]);
    slow.keeper.turn();
    let overflow = notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
    slow.shared.lock().hear(&overflow);
    slow.keeper.turn();
    assert_eq!(slow.shared.lock().pending.get(&topic).map(Changes::words), None);
    write(&path, "a newer one");
    slow.shared.lock().hear(&overflow);
    slow.keeper.turn();
    assert_eq!(slow.shared.lock().pending[&topic].words(), "server changed");
}

#[test]
fn a_program_that_was_replaced_before_it_was_watched() {
    let mut bench = Bench::new();
    let path = bench.path("bin/server");
    write(&path, "old");
    let topic = Topic::Program(ServiceId(1));
    let watch = |bench: &Bench, seen| {
        let target = Target { path: path.clone(), base: bench.path(""), reach: Reach::Program(seen) };
        bench.watcher.set(topic, vec![target]).unwrap();
    };
    let seen = Seen::of(&path);
    watch(&bench, seen);
    bench.expect(&[]);
    write(&path, "a newer one");
    bench.expect(&["bin/server changed"]);
    watch(&bench, seen);
    bench.expect(&["bin/server changed"]);
    watch(&bench, Seen::of(&path));
    bench.expect(&[]);
}

#[cfg(unix)]
#[test]
fn what_a_start_needs() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let mut bench = Bench::new();
    write(&bench.path("script"), &format!("#!{}/python\n", bench.dir.path().display()));
    // The directory is watched already; what has been written is not to be told as a change.
    bench.expect(&[]);
    for (topic, path) in [(A, "script"), (B, "opt/data")] {
        let target = Target { path: bench.path(path), base: bench.path(""), reach: Reach::Needed };
        bench.watcher.set(topic, vec![target]).unwrap();
    }
    bench.expect(&[]);
    fs::set_permissions(bench.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.expect(&["script changed"]);
    symlink("/bin/sh", bench.path("python")).unwrap();
    bench.expect(&["script changed"]);
    fs::create_dir(bench.path("opt")).unwrap();
    bench.expect(&[]);
    fs::create_dir(bench.path("opt/data")).unwrap();
    bench.expect(&["opt/data changed"]);
    write(&bench.path("opt/data/file"), "");
    bench.expect(&[]);
}

#[test]
fn without_room_in_the_system_directories_are_looked_at() {
    let (tell, signs) = mpsc::channel();
    let watcher = Watcher::new(move |sign| drop(tell.send(sign)));
    watcher.shared.lock().started = true;
    let shared = watcher.shared.clone();
    // It lives as long as the test's process: nothing ends a keeper.
    std::thread::spawn(move || {
        let eyes = SystemEyes::without_system(&shared);
        Keeper::new(shared, eyes).run();
    });
    let bench = Bench { dir: tempfile::tempdir().unwrap(), watcher, signs, marks: 0 };
    write(&bench.path("src/a"), "");
    bench.watch(A, "src", &[], &[]);
    let Ok(Sign::Trouble(why)) = bench.signs.recv_timeout(BOUND) else { panic!("no word of it") };
    assert!(why.contains("are looked at every 2 s"), "{why}");
    assert!(matches!(bench.signs.recv_timeout(BOUND), Ok(Sign::Watching { directories: 2, .. })));
    let told = |wanted: &str| {
        while bench.signs.recv_timeout(BOUND).unwrap() != Sign::Changed {}
        let words = bench.watcher.take()[&A].words();
        assert!(words.starts_with(wanted), "{words}");
    };
    write(&bench.path("src/a"), "longer");
    // notify's look sees whole seconds.
    let later = SystemTime::now() + Duration::from_secs(5);
    fs::File::options().append(true).open(bench.path("src/a")).unwrap().set_modified(later).unwrap();
    told("src/a changed");
    write(&bench.path("src/new/b"), "");
    told("src/new/b changed");
}
