//! Windows: no daemon goes on without what its services belong to.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Legacy, Line};

/// The method by which one would be asked.
pub const METHOD: &str = "daemon.hand_over";

/// What it would be asked with.
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
    /// The process that would have all that open.
    pub pid: u32,
    /// What it would have.
    pub items: Vec<Item>,
}

/// Something that it would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name.
    pub name: String,
}

/// There is none.
///
/// # Errors
/// None.
pub fn take_over(_socket: &Path, _line: &Line) -> Result<Option<Legacy>, String> {
    Ok(None)
}
