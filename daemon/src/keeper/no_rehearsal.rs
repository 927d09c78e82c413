//! Windows: a job ends with whoever holds it, so that nobody could go on.

use std::fs::File;
use std::path::Path;

use super::papers::Candidate;

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
