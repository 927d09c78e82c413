//! What a daemon should know of its keeper, and of the daemons before it.

use serde::{Deserialize, Serialize};

/// What a daemon should know of its keeper, and of the daemons before it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The keeper's version.
    pub version: String,
    /// Its process: the one that a service manager knows.
    pub pid: u32,
    /// How many daemons it has started, this one included.
    pub lives: u64,
    /// How many in a row before this one have failed at their start.
    pub failures: u32,
    /// How many of these have panicked, or the like.
    pub crashes: u32,
    /// The one before this.
    pub last: Option<Last>,
    /// The file that it was started from: another program may be there by now.
    pub program: String,
    /// Why the last upgrade that was asked for was not made, or taken back.
    pub not_upgraded: Option<String>,
    /// The limits of open files (soft, hard; none: infinity) that the keeper was given, when it has others by now.
    pub open_files: Option<(Option<u64>, Option<u64>)>,
}

/// A daemon that is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Last {
    /// Its process.
    pub pid: u32,
    /// What became of it, to follow its name: `was ended by signal 9`.
    pub how: String,
    /// When, in microseconds since 1970.
    pub at: i64,
}
