//! The same questions as on Unix; here the answers are short.

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, IntoRawHandle, OwnedHandle};
use std::path::Path;

use interprocess::local_socket::ListenerOptions;
use interprocess::local_socket::tokio::Listener;
use tokio::io::AsyncRead;
use tokio::net::windows::named_pipe::NamedPipeServer;

use super::LogPipe;

/// Pipes have access lists, not modes: nothing to do.
///
/// # Errors
/// None.
pub fn set_socket_mode(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Access lists come with the installation as a service.
#[must_use]
pub fn private(options: ListenerOptions<'_>) -> ListenerOptions<'_> {
    options
}

/// Nobody keeps one here.
///
/// # Errors
/// Always.
pub fn control_listener(_kept: OwnedHandle) -> io::Result<Listener> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nobody keeps one here.
///
/// # Errors
/// Always.
pub fn log_pipe(_kept: OwnedHandle) -> io::Result<LogPipe> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is nobody to give it to.
pub fn pipe_handle(_pipe: &LogPipe) -> Option<BorrowedHandle<'_>> {
    None
}

/// Not asked here.
#[must_use]
pub fn identity(_path: &Path) -> Option<String> {
    None
}

/// Not asked here.
#[must_use]
pub fn inode(_found: &std::fs::Metadata) -> u64 {
    0
}

/// Pipes have names of their own here, no files.
#[must_use]
pub fn is_pipe(_found: &std::fs::Metadata) -> bool {
    false
}

/// Pipes go with their server: nothing is ever stale.
///
/// # Errors
/// None.
pub fn remove_stale_socket(_path: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Makes a directory and its parents, with the access that their parent hands down.
///
/// # Errors
/// When the system refuses.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Opens a file to lock, or makes it.
///
/// # Errors
/// When the system refuses.
pub fn open_lock(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// The same as [`make_private_dir`]: a named pipe is in no directory.
///
/// # Errors
/// When the system refuses.
pub fn make_runtime_dir(path: &Path) -> io::Result<()> {
    make_private_dir(path)
}

/// There is no journal here.
#[must_use]
pub fn stderr_is_the_journal() -> bool {
    false
}

/// A pipe to be read by a task instead of the log pump.
///
/// # Errors
/// When the system refuses.
pub fn async_pipe(pipe: LogPipe) -> io::Result<impl AsyncRead + Unpin> {
    // SAFETY: the pipe is open for as long as the borrow lasts.
    let handle = unsafe { BorrowedHandle::borrow_raw(pipe.as_raw_handle()) }.try_clone_to_owned()?;
    // SAFETY: the handle is that of an overlapped pipe end, and nobody else owns this copy of it.
    unsafe { NamedPipeServer::from_raw_handle(handle.into_raw_handle()) }
}
