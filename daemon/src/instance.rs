//! Only one mcpd per socket, per state directory and per directory of logs.
//!
//! The lock is the kernel's, on an open file, so it goes with the process however that ends; the file's text only says
//! who holds it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::keeper::{Handle, Kept, Legacy, Line};
use crate::sys;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    fn handle(&self) -> Handle<'_> {
        #[cfg(unix)]
        return std::os::fd::AsFd::as_fd(&self.file);
        #[cfg(windows)]
        return std::os::windows::io::AsHandle::as_handle(&self.file);
    }
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another mcpd has it.
    #[error("another mcpd ({holder}) is using {}: stop it first, or give this one another {key}", path.display())]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// What the holder wrote into it.
        holder: String,
        /// The configuration key that would avoid it.
        key: &'static str,
    },
    /// The file cannot be made.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How long a lock is waited for whose holder is gone: a process that it had just started has the file open, too, until it
/// has become another program, and that program's disk may be slow.
const A_MOMENT: Duration = Duration::from_secs(10);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(5);

/// Whoever wrote this is no process any more. Not where the system does not tell.
fn is_gone(holder: &str) -> bool {
    let pid = holder.strip_prefix("pid ").and_then(|pid| pid.parse().ok());
    sys::start_ticks(std::process::id()).is_some() && pid.is_some_and(|pid| sys::start_ticks(pid).is_none())
}

/// Takes the lock in the file at `path` and writes the number of mcpd's process into it. The keeper holds it as well, so that
/// nobody gets in between this daemon and the next.
///
/// # Errors
/// [`LockError`]
pub fn lock(path: &Path, key: &'static str, line: &Line, legacy: &mut Legacy) -> Result<Lock, LockError> {
    let name = format!("lock {}", path.display());
    if let Some(file) = legacy.take(&name).and_then(Kept::into_file) {
        return Ok(Lock { file });
    }
    let lock = take(path, key, line.about().map_or_else(std::process::id, |keeper| keeper.pid))?;
    line.keep(&name, None, &[lock.handle()]);
    Ok(lock)
}

fn take(path: &Path, key: &'static str, pid: u32) -> Result<Lock, LockError> {
    let io = |source| LockError::Io { path: path.to_path_buf(), source };
    // What can only be read can be locked as well, if it is there.
    let read_only = |error: io::Error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => File::open(path).map_err(|_| error),
        _ => Err(error),
    };
    let mut file = sys::open_lock(path).or_else(read_only).map_err(io)?;
    let tried = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Without its text the lock is held all the same (Windows does not let it be read).
                let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
                let holder = holder.trim();
                if is_gone(holder) && tried.elapsed() < A_MOMENT {
                    thread::sleep(AGAIN);
                    continue;
                }
                let holder = if holder.is_empty() { "its pid is not known" } else { holder }.to_owned();
                return Err(LockError::Held { path: path.to_path_buf(), holder, key });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
    // On a disk that is full or read-only the lock is held all the same.
    let _ = file.set_len(0).and_then(|()| file.rewind());
    let _ = writeln!(file, "pid {pid}").and_then(|()| file.flush());
    Ok(Lock { file })
}
