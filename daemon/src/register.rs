//! Writes down which processes run, so that the next life of the daemon recognises what this one leaves when it is
//! killed: `state_dir/runs.jsonl`, one [`RunRecord`] a line.
//!
//! Nothing is synced. The file has to outlive the daemon, not the machine: what is written is in the page cache when the
//! daemon is killed, and after a start of the machine no process is left. A thread of its own writes, for a disk that
//! hangs must not hold the loop up. The file holds the runs that are not over and at most `SPARE` lines more; then it
//! is written anew. After an orderly end it is gone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use mcpd_proto::SCHEMA;
use mcpd_proto::run::{Run, RunRecord};

use crate::sys::Cgroup;

/// Lines about runs that are over, before the file is written anew without them.
const SPARE: usize = 1024;
/// So much of the file is read: a line has some 300 bytes, so that this is room for more services than a machine has.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Where the lives before this one wrote, and this one does.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("runs.jsonl")
}

/// What earlier lives of this boot have written down and not struck out. A torn line is no line.
///
/// # Errors
/// When there is a file that cannot be read.
pub fn read(path: &Path, boot_id: &str) -> io::Result<Vec<RunRecord>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    let records = bytes.split(|&byte| byte == b'\n');
    let records = records.filter_map(|line| serde_json::from_slice::<RunRecord>(line).ok());
    Ok(records.filter(|record| record.boot_id == boot_id).collect())
}

/// Whether a record is of a daemon that lives: one whose state directory was copied. What that one runs is not left over.
///
/// `here`: the identity of this state directory, whose lock the caller has. Only by that it is certain that the daemon which wrote
/// into it is dead: the system knows the number of a process that is killed until somebody has asked how it ended.
#[must_use]
pub fn is_of_the_living(record: &RunRecord, here: Option<&str>, start_ticks: Option<u64>) -> bool {
    let copied = here.is_none() || record.state_dir.as_deref() != here;
    copied && start_ticks == Some(record.mcpd_start_ticks)
}

/// This life, as every line of it says.
#[derive(Debug, Clone)]
pub struct Life {
    /// [`RunRecord::boot_id`]
    pub boot_id: String,
    /// [`RunRecord::life`]
    pub life: String,
    /// [`RunRecord::mcpd_start_ticks`]
    pub mcpd_start_ticks: u64,
    /// [`RunRecord::state_dir`]
    pub state_dir: Option<String>,
    /// [`RunRecord::time`] of the line with which it begins.
    pub began: String,
}

impl Life {
    fn record(&self, time: String, run: Option<Run>) -> RunRecord {
        RunRecord {
            schema: SCHEMA,
            boot_id: self.boot_id.clone(),
            life: self.life.clone(),
            mcpd_pid: std::process::id(),
            mcpd_start_ticks: self.mcpd_start_ticks,
            state_dir: self.state_dir.clone(),
            time,
            run,
        }
    }
}

enum Entry {
    Began(Box<RunRecord>),
    Ended(String, Option<Cgroup>),
    /// Nothing is left of earlier lives.
    Settled,
    Closed(mpsc::Sender<()>),
}

/// The queue to the thread; bounded by the number of services, for each has one run at a time.
#[derive(Debug, Clone)]
pub struct Register {
    /// `None`: this system needs none.
    to: Option<(Life, mpsc::Sender<Entry>)>,
}

impl Register {
    /// Begins a life: `earlier` stays written down until [`Self::settled`]. `trouble` is told, once until it is over,
    /// when the file cannot be written.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(
        path: PathBuf,
        life: Life,
        earlier: Vec<RunRecord>,
        trouble: impl Fn(&Path, &io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let own = life.record(life.began.clone(), None);
        let mut book = Book { path, own, earlier, running: BTreeMap::new(), file: None, lines: 0 };
        // Before anything is started: whatever is, carries a run id of this life.
        let begun = book.write_anew();
        let (to, queue) = mpsc::channel::<Entry>();
        std::thread::Builder::new().name("register".into()).stack_size(256 * 1024).spawn(move || {
            let mut failing = false;
            let mut result = begun;
            loop {
                match result {
                    Ok(()) => failing = false,
                    Err(error) if !failing => {
                        failing = true;
                        trouble(&book.path, &error);
                    }
                    Err(_) => {}
                }
                let Ok(entry) = queue.recv() else { return };
                result = book.enter(entry);
            }
        })?;
        Ok(Self { to: Some((life, to)) })
    }

    /// Where nothing outlives the daemon.
    #[must_use]
    pub fn none() -> Self {
        Self { to: None }
    }

    /// A process runs.
    pub fn began(&self, time: String, run: Run) {
        if let Some((life, to)) = &self.to {
            let _ = to.send(Entry::Began(Box::new(life.record(time, Some(run)))));
        }
    }

    /// Nothing is left of a run: its cgroup goes.
    pub fn ended(&self, run_id: String, cgroup: Option<Cgroup>) {
        self.send(Entry::Ended(run_id, cgroup));
    }

    /// Nothing is left of earlier lives.
    pub fn settled(&self) {
        self.send(Entry::Settled);
    }

    /// The end: waits until it is written down what is left now, for `within` at most.
    pub fn close(&self, within: Duration) {
        let (done, closed) = mpsc::channel();
        self.send(Entry::Closed(done));
        let _ = closed.recv_timeout(within);
    }

    fn send(&self, entry: Entry) {
        if let Some((_, to)) = &self.to {
            let _ = to.send(entry);
        }
    }
}

/// The file and what belongs into it.
struct Book {
    path: PathBuf,
    own: RunRecord,
    earlier: Vec<RunRecord>,
    /// By run id.
    running: BTreeMap<String, RunRecord>,
    /// Open for appending; `None`: it has to be written anew.
    file: Option<File>,
    lines: usize,
}

impl Book {
    fn enter(&mut self, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Began(record) => {
                let Some(run) = &record.run else { return Ok(()) };
                let line = line(&record)?;
                self.running.insert(run.run_id.clone(), *record);
                if self.lines >= self.running.len() + self.earlier.len() + SPARE {
                    return self.write_anew();
                }
                match &mut self.file {
                    Some(file) => match file.write_all(&line) {
                        Ok(()) => self.lines += 1,
                        Err(error) => {
                            // There may be half a line: the next one must not be appended to it.
                            self.file = None;
                            return Err(error);
                        }
                    },
                    None => return self.write_anew(),
                }
                Ok(())
            }
            // Its line stays: who looks for the process will not find it.
            Entry::Ended(run_id, cgroup) => {
                self.running.remove(&run_id);
                // One that is not empty after all is removed at the end, or by the next life.
                drop(cgroup.map(|cgroup| cgroup.remove()));
                Ok(())
            }
            Entry::Settled => {
                self.earlier.clear();
                self.write_anew()
            }
            Entry::Closed(done) => {
                let result = if self.running.is_empty() && self.earlier.is_empty() {
                    self.file = None;
                    fs::remove_file(&self.path)
                } else {
                    self.write_anew()
                };
                let _ = done.send(());
                result
            }
        }
    }

    fn write_anew(&mut self) -> io::Result<()> {
        self.file = None;
        let mut bytes = line(&self.own)?;
        for record in self.earlier.iter().chain(self.running.values()) {
            bytes.extend(line(record)?);
        }
        let part = self.path.with_extension("jsonl.part");
        fs::write(&part, bytes)?;
        fs::rename(&part, &self.path)?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        self.lines = 1 + self.earlier.len() + self.running.len();
        Ok(())
    }
}

fn line(record: &RunRecord) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn life(name: &str) -> Life {
        let (boot_id, life, began) = ("boot".into(), name.into(), "then".into());
        Life { boot_id, life, mcpd_start_ticks: 1, state_dir: Some("1:2".into()), began }
    }

    fn run(number: u32) -> Run {
        Run {
            service: format!("s{number}"),
            run_id: format!("life-{number}"),
            generation: 1,
            pid: number,
            start_ticks: 7,
            stop_signal: 15,
            stop_timeout_seconds: 10.0,
            cgroup: None,
        }
    }

    fn start(path: &Path, name: &str, earlier: Vec<RunRecord>) -> Register {
        Register::start(path.to_path_buf(), life(name), earlier, |path, error| panic!("{path:?}: {error}"))
            .unwrap()
    }

    fn pids(path: &Path) -> Vec<u32> {
        read(path, "boot").unwrap().iter().filter_map(|record| Some(record.run.as_ref()?.pid)).collect()
    }

    #[test]
    fn what_runs_at_the_end_is_what_the_next_life_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        assert!(read(&path, "boot").unwrap().is_empty());
        let register = start(&path, "one", Vec::new());
        for number in 1..=3 {
            register.began("now".into(), run(number));
        }
        register.ended("life-2".into(), None);
        register.close(SOON);
        assert_eq!(pids(&path), [1, 3]);
        // The next life keeps it until it is settled: it may be killed itself before that.
        let earlier = read(&path, "boot").unwrap();
        let lives: Vec<&str> = earlier.iter().map(|record| record.life.as_str()).collect();
        assert_eq!(lives, ["one", "one", "one"]);
        let register = start(&path, "two", earlier);
        register.began("now".into(), run(9));
        register.close(SOON);
        assert_eq!(pids(&path), [1, 3, 9]);
        register.settled();
        register.close(SOON);
        assert_eq!(pids(&path), [9]);
        // Another start of the machine: nothing of it means anything.
        assert!(read(&path, "another boot").unwrap().is_empty());
        register.ended("life-9".into(), None);
        register.close(SOON);
        assert!(!path.exists());
    }

    #[test]
    fn nobody_lives_who_wrote_into_a_directory_whose_lock_one_has() {
        let mut record = life("one").record("now".into(), None);
        // Somebody killed it this moment, and the system still knows its number.
        assert!(!is_of_the_living(&record, Some("1:2"), Some(1)));
        // A copy of its directory.
        assert!(is_of_the_living(&record, Some("1:3"), Some(1)));
        assert!(!is_of_the_living(&record, Some("1:3"), Some(2)), "the number is another's by now");
        assert!(!is_of_the_living(&record, Some("1:3"), None));
        // Written by an earlier version, or on a system that tells nothing.
        record.state_dir = None;
        assert!(is_of_the_living(&record, Some("1:2"), Some(1)));
        assert!(is_of_the_living(&record, None, Some(1)));
    }

    #[test]
    fn a_torn_line_is_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        let register = start(&path, "one", Vec::new());
        register.began("now".into(), run(1));
        register.began("now".into(), run(2));
        register.close(SOON);
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert!(pids(&path).len() <= 2);
        }
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        assert_eq!(pids(&path), [1]);
        let garbage = [b"\xff\xfe\n{\"schema\":1}\n".as_slice(), &bytes].concat();
        fs::write(&path, garbage).unwrap();
        assert_eq!(pids(&path), [1, 2]);
    }

    #[test]
    fn the_file_is_bounded_whatever_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        let register = start(&path, "one", Vec::new());
        register.began("now".into(), run(0));
        for number in 1..5_000 {
            register.began("now".into(), run(number));
            register.ended(format!("life-{number}"), None);
        }
        // Not closed, as after a SIGKILL: only what is queued is waited for.
        register.began("now".into(), run(5_000));
        let bound = std::time::Instant::now() + SOON;
        while pids(&path).last() != Some(&5_000) {
            assert!(std::time::Instant::now() < bound, "the last line does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(pids(&path).len() <= SPARE + 3, "{} lines", pids(&path).len());
        assert!(pids(&path).contains(&0));
    }

    #[test]
    fn a_disk_without_room_is_said_once_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir.path().join("gone"));
        let (said, trouble) = mpsc::channel();
        let register = Register::start(path.clone(), life("one"), Vec::new(), move |path, _| {
            let _ = said.send(path.to_path_buf());
        })
        .unwrap();
        register.began("now".into(), run(1));
        register.close(SOON);
        assert_eq!(trouble.try_iter().collect::<Vec<_>>(), std::slice::from_ref(&path));
        fs::create_dir(path.parent().unwrap()).unwrap();
        register.began("now".into(), run(2));
        register.close(SOON);
        assert_eq!(pids(&path), [1, 2]);
    }
}
