//! Windows: a job ends with whoever holds it, so that nobody could go on.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The verb by which a program would be asked.
pub const VERB: &str = "__rehearse";

/// What it would say of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its version.
    pub version: String,
    /// How many services it would go on with.
    pub services: usize,
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn candidate(_ledger: File) -> Result<Candidate, String> {
    Err("services end with their mcpd on Windows: stop it, and start the other one".into())
}

/// Refuses as well.
///
/// # Errors
/// Always.
pub fn rehearse(_program: &Path, ledger: File) -> Result<Candidate, String> {
    candidate(ledger)
}
