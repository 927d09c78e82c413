//! The control socket's name: a file's path on Unix, `\\.\pipe\NAME` on Windows.

use std::io;
use std::path::{Path, PathBuf};

use interprocess::local_socket::{GenericFilePath, Name, prelude::*};

/// The name in the form that both `bind` and `connect` want.
///
/// # Errors
/// When the path cannot name a socket on this system: too long (107 bytes on Linux, `unix(7)`), or no pipe name.
pub fn name(path: &Path) -> io::Result<Name<'static>> {
    #[cfg(unix)]
    if path.as_os_str().len() > 107 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is longer than the 107 bytes that a Unix socket's path may have", path.display()),
        ));
    }
    path.to_path_buf().to_fs_name::<GenericFilePath>()
}

/// Where a client looks when it was told nothing: the first of these that exists, else the last.
///
/// Root's daemon lives in `/run/mcpd`, a user's own in `$XDG_RUNTIME_DIR/mcpd`; a user without a daemon of their own
/// finds the system's.
#[must_use]
pub fn candidates() -> Vec<PathBuf> {
    if cfg!(windows) {
        return vec![PathBuf::from(r"\\.\pipe\mcpd")];
    }
    let mut found = Vec::new();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        found.push(PathBuf::from(dir).join("mcpd/control.sock"));
    }
    found.push(PathBuf::from("/run/mcpd/control.sock"));
    found
}
