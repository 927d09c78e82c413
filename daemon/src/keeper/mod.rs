//! The keeper: a process of one thread that starts the daemon, holds what must outlive it, and starts the next one when
//! it dies or stops answering.
//!
//! It is the process that a service manager, a shell or a container knows as mcpd: it passes signals on, and ends with the
//! daemon's exit status when that ends by itself. It reads no configuration, and knows nothing of services: of each thing
//! that it keeps it knows the name that the daemon gave it. Descendants of a dead daemon fall to it.
//!
//! | file | question |
//! |---|---|
//! | `decide` | what is to be done next? (pure) |
//! | `keep` | how is that done? (the keeper's process) |
//! | `packet` | what do the two say to each other? |
//! | `line` | how does the daemon speak with its keeper? |
//! | [`papers`] | what does one mcpd say to another that is to take over? |
//! | `record`, [`inheritance`] | how does an mcpd take over from a daemon that has lost its keeper? |
//! | `succession` | how does another program take the keeper's place? |
//! | [`rehearsal`] | would it? |
//!
//! On Windows there is none: a job ends with whoever holds it.

mod about;
#[cfg(unix)]
mod decide;
#[cfg(unix)]
pub mod inheritance;
#[cfg(not(unix))]
#[path = "no_inheritance.rs"]
pub mod inheritance;
#[cfg(unix)]
mod keep;
#[cfg(unix)]
mod line;
#[cfg(not(unix))]
#[path = "none.rs"]
mod line;
#[cfg(unix)]
mod packet;
pub mod papers;
#[cfg(unix)]
mod record;
#[cfg(unix)]
pub mod rehearsal;
#[cfg(not(unix))]
#[path = "no_rehearsal.rs"]
pub mod rehearsal;
#[cfg(unix)]
mod succession;

use std::collections::BTreeMap;
use std::fs::File;

use crate::sys::Dead;

pub use self::about::{About, Last};
pub use self::line::{Heard, Line};

/// The verb that may be said for what is done without one.
pub const RUN: &str = "run";

/// The argument by which a daemon knows that it has a keeper.
pub const KEPT: &str = "--kept";

/// Goes on as the keeper where another program was it, with what that one has left as this descriptor.
#[must_use]
pub fn go_on(state: i32) -> Option<i32> {
    #[cfg(unix)]
    match keep::keep(Some(state)) {
        Ok(code) => return Some(code),
        Err(error) => eprintln!("mcpd: it cannot go on as the keeper: {error}"),
    }
    #[cfg(not(unix))]
    let _ = state;
    None
}

/// Something open that belongs to somebody else.
#[cfg(unix)]
pub type Handle<'a> = std::os::fd::BorrowedFd<'a>;
/// Something open that belongs to somebody else.
#[cfg(windows)]
pub type Handle<'a> = std::os::windows::io::BorrowedHandle<'a>;
/// Something open.
#[cfg(unix)]
pub type Owned = std::os::fd::OwnedFd;
/// Something open.
#[cfg(windows)]
pub type Owned = std::os::windows::io::OwnedHandle;

/// One thing that a daemon has had kept.
#[derive(Debug)]
pub struct Kept {
    /// What it said of it.
    pub text: Option<String>,
    /// What it had open.
    pub handles: Vec<Owned>,
}

/// What the daemon before this one had kept, by name.
#[derive(Debug, Default)]
pub struct Legacy {
    kept: BTreeMap<String, Kept>,
    dead: Vec<Dead>,
}

impl Legacy {
    /// Takes what has this name.
    pub fn take(&mut self, name: &str) -> Option<Kept> {
        self.kept.remove(name)
    }

    /// Puts something back.
    pub fn put(&mut self, name: String, kept: Kept) {
        self.kept.insert(name, kept);
    }

    /// Takes what has a name that this says yes to.
    pub fn take_all(&mut self, named: impl Fn(&str) -> bool) -> Vec<(String, Kept)> {
        let (taken, left) = std::mem::take(&mut self.kept).into_iter().partition(|(name, _)| named(name));
        self.kept = left;
        let taken: BTreeMap<String, Kept> = taken;
        taken.into_iter().collect()
    }

    /// Processes that have ended, and that was not seen.
    pub fn take_dead(&mut self) -> Vec<Dead> {
        std::mem::take(&mut self.dead)
    }

    /// All of it.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Kept)> {
        self.kept.iter().map(|(name, kept)| (name.as_str(), kept))
    }

    /// The names of what nobody has taken.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(String::as_str)
    }
}

impl Kept {
    /// The only thing in it, as a file.
    #[must_use]
    pub fn into_file(mut self) -> Option<File> {
        self.handles.pop().map(File::from)
    }
}

/// Becomes the keeper of a daemon and stays it until that ends; the exit status. `None`: there are no keepers on this
/// system, or there is no room for one, and this process is the daemon.
#[must_use]
pub fn keep() -> Option<i32> {
    #[cfg(unix)]
    match keep::keep(None) {
        Ok(code) => return Some(code),
        Err(error) => eprintln!("mcpd: it runs without a keeper: {error}"),
    }
    None
}
