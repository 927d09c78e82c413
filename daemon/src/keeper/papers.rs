//! What one mcpd says to another that is to take over: the same words on every system, also where nobody does.

use serde::{Deserialize, Serialize};

/// The verb by which a program is asked whether it would go on.
pub const REHEARSE: &str = "__rehearse";

/// What a program says of itself that would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its version.
    pub version: String,
    /// The format in which a keeper hands over to another one.
    pub keeper: u32,
    /// Services that it has found in the ledger.
    pub services: usize,
}

/// The method by which a daemon without a keeper is asked for what it has.
pub const HAND_OVER: &str = "daemon.hand_over";

/// What it is asked with.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heir {
    /// The process that asks.
    pub pid: u32,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inheritance {
    /// [`mcpd_proto::SCHEMA`]
    pub schema: u32,
    /// The process that has all that open, and does nothing any more for a while.
    pub pid: u32,
    /// What it has.
    pub items: Vec<Item>,
}

/// Something that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// What was said of it.
    pub text: Option<String>,
    /// The numbers of its descriptors.
    pub handles: Vec<i32>,
}
