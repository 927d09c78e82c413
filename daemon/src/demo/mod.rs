//! `mcpd demo`: being built.

use std::io;
use std::path::{Path, PathBuf};

/// Free ports.
#[derive(Debug, Clone, Copy)]
pub struct Ports;

impl Ports {
    /// Picks them.
    ///
    /// # Errors
    /// Always, for now.
    pub fn pick() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The demo's directory.
///
/// # Errors
/// When it cannot be made.
pub fn directory() -> io::Result<PathBuf> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The demo's configuration.
#[must_use]
pub fn configuration(_exe: &Path, _dir: &Path, _ports: Ports) -> String {
    String::new()
}

/// A server of the demo.
#[must_use]
pub fn serve(_which: &str, _port: u16) -> i32 {
    1
}

/// What to type.
#[must_use]
pub fn greeting(_socket: &Path) -> String {
    String::new()
}
