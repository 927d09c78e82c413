//! Which files changed? The one minder of the file system, for all services.
//!
//! The loop says for each [`Topic`] what is of interest ([`Watcher::set`]) and is told that something changed, not what:
//! it takes that when it comes to it ([`Watcher::take`]). However many files change, at most one message waits in the
//! loop's inbox, and what is kept of the changes has a limit.
//!
//! Directories are watched, never files: what editors and package managers do to a file (write another one, rename it
//! over) is an event of its directory. Each directory is watched by itself, so that ignored ones cost nothing, and one
//! that several topics want is watched once.
//!
//! | file | question |
//! |---|---|
//! | `changes` | what is remembered of changes? |
//! | `resolve` | which directories decide what a path means? |
//! | `map` | which topics does an event concern? |
//! | `meaning` | what does notify say in our words? |
//! | `keeper` | the thread: which directories have to be watched now? |
//! | `eyes` | how is a directory watched on this system? |
//!
//! It decides nothing: what follows from a change is the core's business.

mod changes;
mod eyes;
mod keeper;
mod map;
mod meaning;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use mcpd_config::watched::Filter;
use mcpd_core::ServiceId;

use self::eyes::SystemEyes;
use self::keeper::Keeper;
use self::map::{Map, Tiding};

pub use self::changes::Changes;

/// What somebody is interested in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// What a service's `[watch]` names.
    Files(ServiceId),
    /// The files of mcpd's own configuration.
    Config,
    /// The program that a service runs, or what a parked one needs for a start.
    Program(ServiceId),
}

/// A path that is of interest.
#[derive(Debug, Clone)]
pub struct Target {
    /// Absolute. It need not exist.
    pub path: PathBuf,
    /// Words for people leave this much out at the beginning.
    pub base: PathBuf,
    /// What of it counts.
    pub reach: Reach,
}

/// What of a target counts.
#[derive(Debug, Clone)]
pub enum Reach {
    /// A file; of a directory the files below it that the filter lets through.
    Tree(Arc<Filter>),
    /// The file that a process runs, and the interpreter of a script. What it was when the process was started: if it is
    /// another one by now, that is a change.
    Program(Option<Seen>),
    /// Whatever may make a start possible: a file or a directory that comes or goes, its content, its mode, the
    /// interpreter of a script.
    Needed,
}

/// A file as it was: enough to tell it from another one of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    length: u64,
    modified: Option<SystemTime>,
}

impl Seen {
    /// As it is now; `None` when there is none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self { length: found.len(), modified: found.modified().ok() })
    }
}

/// What the loop is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// Something changed: [`Watcher::take`] says what.
    Changed,
    /// The topic's targets are watched from now on.
    Watching {
        /// Which one's.
        topic: Topic,
        /// So many directories are watched for it.
        directories: usize,
    },
    /// Something cannot be watched as it should; a sentence.
    Trouble(String),
}

/// The handle to the minder. Its threads start with the first topic. Cheap to clone.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
}

type Tell = Box<dyn Fn(Sign) + Send + Sync>;

/// What the loop, the keeper's thread and notify's thread share. The lock is held for a few map accesses at a time.
struct Shared {
    state: Mutex<State>,
    /// Something is there for the keeper.
    filled: Condvar,
    tell: Tell,
}

#[derive(Default)]
struct State {
    started: bool,
    /// Topics whose targets changed; the latest word counts.
    wishes: BTreeMap<Topic, Vec<Target>>,
    /// What happened to directories, for the keeper.
    tidings: Vec<Tiding>,
    /// More happened than there was room for: everything has to be looked at again.
    lost: bool,
    /// Nobody knows what it was.
    unsure: bool,
    map: Map,
    pending: BTreeMap<Topic, Changes>,
    /// When the loop is to be told.
    due: Option<Instant>,
    /// It has been told, and has not taken.
    told: bool,
}

impl Watcher {
    /// A minder without topics. `tell` is called on its thread, and may wait.
    #[must_use]
    pub fn new(tell: impl Fn(Sign) + Send + Sync + 'static) -> Self {
        let shared = Shared { state: Mutex::default(), filled: Condvar::new(), tell: Box::new(tell) };
        Self { shared: Arc::new(shared) }
    }

    /// From now on these are the topic's targets; what was pending for it is forgotten, but for the
    /// configuration and for [`Reach::Needed`]: what came just before is of use there, too. No targets: no topic.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn set(&self, topic: Topic, targets: Vec<Target>) -> std::io::Result<()> {
        let mut state = self.shared.lock();
        if targets.is_empty() && !state.started {
            return Ok(());
        }
        if topic != Topic::Config && !targets.iter().any(|target| matches!(target.reach, Reach::Needed)) {
            state.pending.remove(&topic);
        }
        state.wishes.insert(topic, targets);
        if !state.started {
            let shared = self.shared.clone();
            std::thread::Builder::new().name("watcher".into()).stack_size(512 * 1024).spawn(move || {
                let eyes = SystemEyes::new(&shared);
                Keeper::new(shared, eyes).run();
            })?;
            state.started = true;
        }
        drop(state);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// What changed since the last time.
    #[must_use]
    pub fn take(&self) -> BTreeMap<Topic, Changes> {
        let mut state = self.shared.lock();
        state.told = false;
        std::mem::take(&mut state.pending)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
