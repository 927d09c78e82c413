//! Which files are of interest, and what changed?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpd_config::ServiceSpec;
use mcpd_config::program::candidates;
use mcpd_config::watched::{Filter, IGNORED};
use mcpd_core::action::{Note, Stale};
use mcpd_core::verdict::ParkReason;
use mcpd_core::{Event, NoteKind, ServiceId};
use serde_json::json;

use super::Shell;
use super::load::{Loaded, Source};
use crate::crash::lack::Lack;
use crate::scribe::Level;
use crate::watch::{Changes, Reach, Seen, Sign, Target, Topic};

impl Shell {
    /// Watches what the service's `[watch]` names, or nothing.
    pub(super) fn watch_files(&mut self, service: ServiceId, spec: &ServiceSpec) {
        let targets = match &spec.watch {
            None => Ok(Vec::new()),
            Some(watch) => Filter::new(&watch.include, &watch.ignore).map(|filter| {
                let filter = Arc::new(filter);
                let base = self.base(spec);
                let target = |path: &PathBuf| Target {
                    path: path.clone(),
                    base: base.clone(),
                    reach: Reach::Tree(filter.clone()),
                };
                watch.paths.iter().map(target).collect()
            }),
        };
        let topic = Topic::Files(service);
        let set =
            targets.and_then(|targets| self.watcher.set(topic, targets).map_err(|error| error.to_string()));
        if let Err(why) = set {
            let why = format!("its files cannot be watched: {why}");
            self.tell_own(Level::Error, Some(&spec.name), "watch_trouble", why, json!({}));
        }
    }

    /// What the paths of `[watch]` are relative to, as people wrote them.
    fn base(&self, spec: &ServiceSpec) -> PathBuf {
        let file = self.source.path().parent().unwrap_or(Path::new(""));
        spec.working_directory.clone().unwrap_or_else(|| file.to_owned())
    }

    /// With `auto_reload` the configuration's files, and the places where more of them may appear.
    pub(super) fn watch_config(&mut self, loaded: &Loaded) {
        let mut files: Vec<(PathBuf, Option<String>)> = Vec::new();
        if let (true, Source::File(_)) = (loaded.config.daemon.auto_reload, &self.source) {
            files.extend(loaded.config.files.iter().map(|file| (file.clone(), None)));
            files.extend(
                loaded.include_places.iter().map(|(place, glob)| (place.clone(), Some(glob.clone()))),
            );
        }
        // What changed while it was being read is pending, and the watch goes on.
        if files == self.config_files {
            return;
        }
        let base = self.source.path().parent().unwrap_or(Path::new("")).to_owned();
        let ignore: Vec<String> = IGNORED.iter().map(|&glob| glob.to_owned()).collect();
        let target = |(path, glob): &(PathBuf, Option<String>)| {
            let filter = Filter::new(glob.as_slice(), &ignore)?;
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            Ok(Target { path, base: base.clone(), reach: Reach::Tree(Arc::new(filter)) })
        };
        let targets: Result<Vec<Target>, String> = files.iter().map(target).collect();
        let set = targets
            .and_then(|targets| self.watcher.set(Topic::Config, targets).map_err(|error| error.to_string()));
        match set {
            Ok(()) => self.config_files = files,
            Err(why) => {
                let why = format!("the configuration cannot be watched: {why}");
                self.tell_own(Level::Error, None, "watch_trouble", why, json!({}));
            }
        }
    }

    /// Nothing of it is of interest any more.
    pub(super) fn unwatch(&mut self, service: ServiceId) {
        for topic in [Topic::Files(service), Topic::Program(service)] {
            // Nothing is started for no targets.
            let _ = self.watcher.set(topic, Vec::new());
        }
    }

    /// A process runs this program, which was so just before.
    pub(super) fn watch_program(&mut self, service: ServiceId, program: &Path, seen: Option<Seen>) {
        self.watch_paths(service, vec![program.to_owned()], &Reach::Program(seen));
    }

    /// A service that is parked waits for what it lacks, or for what may work better; one that is down for nothing.
    fn watch_for_a_start(&mut self, service: ServiceId, kind: &NoteKind) {
        if let NoteKind::Parked(
            ParkReason::ProgramMissing
            | ParkReason::CannotStart
            | ParkReason::Lacking
            | ParkReason::Limit { .. },
        ) = kind
        {
            let Some(entry) = self.entries.get(&service) else { return };
            let lack = entry.lack.as_ref().filter(|_| *kind == NoteKind::Parked(ParkReason::Lacking));
            let paths = needed(&entry.spec, lack);
            self.watch_paths(service, paths, &Reach::Needed);
        } else if let NoteKind::Parked(ParkReason::Prevented(_)) | NoteKind::Down(_) = kind {
            let _ = self.watcher.set(Topic::Program(service), Vec::new());
        }
    }

    fn watch_paths(&mut self, service: ServiceId, paths: Vec<PathBuf>, reach: &Reach) {
        let target = |path: PathBuf| {
            // Relative ones are relative to where mcpd runs.
            let path = std::path::absolute(&path).unwrap_or(path);
            Target { path, base: PathBuf::new(), reach: reach.clone() }
        };
        let targets = paths.into_iter().map(target).collect();
        if let Err(error) = self.watcher.set(Topic::Program(service), targets) {
            let name = self.entries.get(&service).map(|entry| entry.name.clone());
            let why = format!("its program cannot be watched: {error}");
            self.tell_own(Level::Error, name.as_deref(), "watch_trouble", why, json!({}));
        }
    }

    pub(super) fn watch_sign(&mut self, sign: Sign) {
        match sign {
            Sign::Changed => {
                for (topic, changes) in self.watcher.take() {
                    match topic {
                        Topic::Files(service) => self.files_changed(service, changes),
                        Topic::Program(service) => self.program_changed(service, changes),
                        Topic::Config => {
                            self.config_changes.merge(changes);
                            self.events.push_back(Event::ConfigChanged);
                        }
                    }
                }
            }
            Sign::Watching { topic, directories } => self.watching(topic, directories),
            Sign::Trouble(what) => {
                self.tell_own(Level::Warn, None, "watch_trouble", what, json!({}));
            }
        }
    }

    fn watching(&mut self, topic: Topic, directories: usize) {
        let (service, event, what) = match topic {
            Topic::Config => {
                let message = "watching the configuration for changes".to_owned();
                self.tell_own(Level::Debug, None, "watching_config", message, json!({}));
                return;
            }
            Topic::Files(service) => (service, "watching", "for changes"),
            Topic::Program(service) => (service, "watching_program", "for changes of its program"),
        };
        let Some(name) = self.entries.get(&service).map(|entry| entry.name.clone()) else { return };
        let them = if directories == 1 { "1 directory" } else { &format!("{directories} directories") };
        let message = format!("watching {them} {what}");
        let data = json!({ "directories": directories });
        self.tell_own(Level::Debug, Some(&name), event, message, data);
    }

    fn files_changed(&mut self, service: ServiceId, changes: Changes) {
        let Some(entry) = self.entries.get_mut(&service) else { return };
        entry.changes.merge(changes);
        self.events.push_back(Event::FilesChanged { service });
    }

    fn program_changed(&mut self, service: ServiceId, changes: Changes) {
        let Some(entry) = self.entries.get_mut(&service) else { return };
        entry.program_changes.merge(changes);
        self.events.push_back(Event::ProgramChanged { service });
    }

    /// Keeps the words for what the process is older than.
    pub(super) fn grown_stale(&mut self, note: &Note) {
        let NoteKind::Stale { what } = note.kind else { return };
        if let Some(entry) = note.service.and_then(|id| self.entries.get_mut(&id)) {
            let changes = match what {
                Stale::Program => &entry.program_changes,
                Stale::Files if entry.changes.is_empty() => return,
                Stale::Files => &entry.changes,
            };
            entry.stale = Some(changes.words());
        }
    }

    /// What a note has for consequences here, after it was told.
    pub(super) fn consequences_told(&mut self, note: &Note) {
        if note.kind == NoteKind::ConfigChanged {
            self.config_changes = Changes::default();
        }
        let Some(service) = note.service else { return };
        self.watch_for_a_start(service, &note.kind);
        // What followed from changes has been told: the next ones are others.
        let told = matches!(note.kind, NoteKind::FilesChanged { .. } | NoteKind::WatchSuspended { .. });
        if told && let Some(entry) = self.entries.get_mut(&service) {
            entry.stale.get_or_insert_with(|| entry.changes.words());
            entry.changes = Changes::default();
        }
    }
}

/// Where the accounts of services are found: a user that was unknown may be known once these change.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// Everything that a start of the service needs on disk, whether it exists or not: the programs of all commands that
/// belong to a start, the directory, and what it was missing.
fn needed(spec: &ServiceSpec, lack: Option<&Lack>) -> Vec<PathBuf> {
    let path = match spec.environment.get("PATH") {
        Some(path) => Some(path.into()),
        None => std::env::var_os("PATH"),
    };
    let directory = spec.working_directory.as_deref();
    let oneshot = spec.oneshot.iter().flat_map(|oneshot| &oneshot.exec);
    let others = spec.exec_start_pre.iter().chain(oneshot).chain(&spec.exec_start_post);
    let programs = spec.exec.first().into_iter().chain(others.filter_map(|command| command.argv.first()));
    // A command that was not found is looked for as a program is; a file that was not found is one.
    let programs = programs.map(String::as_str).chain(lack.and_then(Lack::named)).collect::<BTreeSet<_>>();
    let mut paths: Vec<PathBuf> =
        programs.into_iter().flat_map(|program| candidates(program, directory, path.as_deref())).collect();
    if let Some(script) = script(&spec.exec).filter(|_| matches!(lack, Some(Lack::Thing(_)))) {
        paths.push(directory.unwrap_or(Path::new("")).join(script));
    }
    paths.extend(spec.working_directory.clone());
    let files = spec.environment_files.iter().chain(&spec.secret_environment_files);
    paths.extend(files.map(|file| file.path.clone()));
    if spec.user.is_some() || spec.group.is_some() {
        paths.extend(ACCOUNTS.map(PathBuf::from));
    }
    paths
}

/// What an interpreter is to run: the first word behind it that is no option, unless the program is in a word itself
/// (`-c`) or is a module (`-m`).
fn script(exec: &[String]) -> Option<&str> {
    let words = exec.iter().skip(1).map(String::as_str);
    words.take_while(|word| !matches!(*word, "-c" | "-m" | "-e")).find(|word| !word.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::script;

    #[test]
    fn a_script_is_the_first_word_that_is_no_option() {
        for (exec, wanted) in [
            (&["python3", "-u", "app.py", "--port", "1"][..], Some("app.py")),
            (&["python3", "-m", "app"], None),
            (&["sh", "-c", "exec app"], None),
            (&["node"], None),
        ] {
            let exec: Vec<String> = exec.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(script(&exec), wanted, "{exec:?}");
        }
    }
}
