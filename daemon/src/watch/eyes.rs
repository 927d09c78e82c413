//! How is a directory watched on this system? By its own service (inotify, ReadDirectoryChangesW), and where that has no
//! room, by looking from time to time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Config, ErrorKind, EventHandler, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Shared;

/// How often a directory is looked at that the system does not watch. The one place where mcpd polls files. notify compares
/// times of writing in whole seconds there, and only a later one counts; to compare contents it would read every file each
/// time, which is no way to treat a tree that was too large to be watched.
const LOOK: Duration = Duration::from_secs(2);

/// Why a directory is not watched, or not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blind {
    /// It is not there.
    Gone,
    /// It is looked at from time to time instead; a sentence.
    Instead(String),
    /// The system's word.
    Refused(String),
}

/// Watches directories one by one, not what is below them.
pub(super) trait Eyes {
    /// From now on changes in the directory are told.
    fn watch(&mut self, directory: &Path) -> Result<(), Blind>;
    /// No longer. It may be gone, or never have been watched.
    fn unwatch(&mut self, directory: &Path);
}

/// notify's handler.
struct Ears(Arc<Shared>);

impl EventHandler for Ears {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        let heard = match event {
            Ok(event) => self.0.lock().hear(&event),
            // Whatever it was, something may have been missed.
            Err(_) => {
                let mut state = self.0.lock();
                state.lost = true;
                state.unsure = true;
                true
            }
        };
        if heard {
            self.0.filled.notify_one();
        }
    }
}

pub(super) struct SystemEyes {
    shared: Arc<Shared>,
    /// Or why there is none.
    system: Result<RecommendedWatcher, String>,
    looking: Option<PollWatcher>,
    /// What `looking` looks at.
    looked_at: BTreeSet<PathBuf>,
}

impl SystemEyes {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let system = RecommendedWatcher::new(Ears(shared.clone()), Config::default());
        let why = |error: notify::Error| match error.kind {
            // EMFILE: the system counts the users' watchers as well as their watches.
            ErrorKind::Io(error) if error.raw_os_error() == Some(24) => {
                "the limit of this user's watchers is reached (sysctl fs.inotify.max_user_instances)"
                    .to_owned()
            }
            ErrorKind::Io(error) => error.to_string(),
            kind => format!("{kind:?}"),
        };
        Self {
            shared: shared.clone(),
            system: system.map_err(why),
            looking: None,
            looked_at: BTreeSet::new(),
        }
    }

    /// As on a system that has no room for a watcher.
    #[cfg(test)]
    pub(super) fn without_system(shared: &Arc<Shared>) -> Self {
        let system = Err("this is a test".to_owned());
        Self { shared: shared.clone(), system, looking: None, looked_at: BTreeSet::new() }
    }

    fn look_instead(&mut self, directory: &Path, why: &str) -> Result<(), Blind> {
        if self.looking.is_none() {
            let config = Config::default().with_poll_interval(LOOK).with_follow_symlinks(false);
            let watcher = PollWatcher::new(Ears(self.shared.clone()), config);
            self.looking = Some(watcher.map_err(|error| Blind::Refused(error.to_string()))?);
        }
        let Some(looking) = &mut self.looking else { return Ok(()) };
        if self.looked_at.insert(directory.to_owned()) {
            looking.watch(directory, RecursiveMode::NonRecursive).map_err(|error| {
                self.looked_at.remove(directory);
                blind(&error)
            })?;
        }
        Err(Blind::Instead(format!(
            "{why}: some directories are looked at every {} s for changes instead of being watched",
            LOOK.as_secs()
        )))
    }
}

impl Eyes for SystemEyes {
    fn watch(&mut self, directory: &Path) -> Result<(), Blind> {
        let system = match &mut self.system {
            Ok(system) => system,
            Err(why) => {
                let why = format!("the system watches no files for mcpd: {why}");
                return self.look_instead(directory, &why);
            }
        };
        match system.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => Ok(()),
            Err(error) => match error.kind {
                ErrorKind::MaxFilesWatch => self.look_instead(
                    directory,
                    "the system's limit of watches is reached (sysctl fs.inotify.max_user_watches)",
                ),
                _ => Err(blind(&error)),
            },
        }
    }

    fn unwatch(&mut self, directory: &Path) {
        // What is gone is not watched any more.
        if let Ok(system) = &mut self.system {
            let _ = system.unwatch(directory);
        }
        if self.looked_at.remove(directory)
            && let Some(looking) = &mut self.looking
        {
            let _ = looking.unwatch(directory);
        }
    }
}

fn blind(error: &notify::Error) -> Blind {
    match &error.kind {
        ErrorKind::PathNotFound => Blind::Gone,
        ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Blind::Gone,
        ErrorKind::Io(error) => Blind::Refused(error.to_string()),
        ErrorKind::Generic(why) => Blind::Refused(why.clone()),
        ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) | ErrorKind::MaxFilesWatch => {
            Blind::Refused(error.to_string())
        }
    }
}
