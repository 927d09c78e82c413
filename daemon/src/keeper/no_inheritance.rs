//! Windows: no daemon goes on without what its services belong to.

use std::path::Path;

use super::{Legacy, Line};

/// There is none to take over from.
///
/// # Errors
/// None.
pub fn take_over(_socket: &Path, _line: &Line) -> Result<Option<Legacy>, String> {
    Ok(None)
}
