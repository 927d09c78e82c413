//! Files whose modes and kinds matter: the control socket, private directories, what stderr is.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use interprocess::local_socket::ListenerOptions;
use interprocess::local_socket::tokio::Listener;
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::tokio::Listener as UdListener;
use tokio::io::AsyncRead;

use super::LogPipe;

/// Read and write for owner and group: whoever may not write a Unix socket may not connect (`unix(7)`).
const SOCKET_MODE: u32 = 0o660;

/// Lets the socket's owner and group connect, whatever the umask was.
///
/// # Errors
/// When the system refuses.
pub fn set_socket_mode(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
}

/// Nobody else from the first moment: a socket's mode is taken from its descriptor when it is bound, less the umask.
#[must_use]
pub fn private(options: ListenerOptions<'_>) -> ListenerOptions<'_> {
    options.mode(SOCKET_MODE)
}

/// The control socket's listening end, from a descriptor that an earlier daemon has made.
///
/// # Errors
/// When it is none.
pub fn control_listener(kept: OwnedFd) -> io::Result<Listener> {
    Ok(Listener::UdSocket(UdListener::try_from(kept)?))
}

/// What tells the file at this path from another one that takes its place.
#[must_use]
pub fn identity(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?;
    Some(format!("{}:{}", found.dev(), found.ino()))
}

/// What tells an open file from others of the same file system.
#[must_use]
pub fn inode(found: &fs::Metadata) -> u64 {
    found.ino()
}

/// Is it a pipe or a socket: something that a writer may have to wait for?
#[must_use]
pub fn is_pipe(found: &fs::Metadata) -> bool {
    found.file_type().is_fifo() || found.file_type().is_socket()
}

/// Removes the socket file of a daemon that is gone. True: nothing is in the way any more; false: something that is no
/// socket is, and was left alone.
///
/// # Errors
/// When the system refuses.
pub fn remove_stale_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map(|()| true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes a directory and its parents for the daemon and its group alone; one that exists stays as it is.
///
/// # Errors
/// When the system refuses.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Opens a file to lock, or makes it. For its owner alone: whoever may read it could hold the lock.
///
/// # Errors
/// When the system refuses.
pub fn open_lock(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// The same as [`make_private_dir`], but others may pass through it, to what in it is for them: the socket on which a service of another user says
/// things about itself.
///
/// # Errors
/// When the system refuses.
pub fn make_runtime_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o751).create(path)
}

/// Did systemd connect stderr to the journal? `systemd.exec(5)`, JOURNAL_STREAM: "device:inode" of that connection.
#[must_use]
pub fn stderr_is_the_journal() -> bool {
    let Ok(wanted) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned() else { return false };
    fs::File::from(stderr).metadata().is_ok_and(|found| wanted == format!("{}:{}", found.dev(), found.ino()))
}

/// A pipe to be read by a task instead of the log pump.
///
/// # Errors
/// When the system refuses.
pub fn async_pipe(pipe: LogPipe) -> io::Result<impl AsyncRead + Unpin> {
    tokio::net::unix::pipe::Receiver::from_owned_fd(pipe.into())
}

/// The read end of a service's output, from a descriptor that an earlier daemon has had kept.
///
/// # Errors
/// When it is none.
pub fn log_pipe(kept: OwnedFd) -> io::Result<LogPipe> {
    Ok(LogPipe::from(kept))
}

/// For the keeper.
pub fn pipe_handle(pipe: &LogPipe) -> Option<BorrowedFd<'_>> {
    Some(pipe.as_fd())
}

/// There are no consoles to send CTRL+C to: signals do it.
pub fn ctrl_c_helper(_pid: u32) -> i32 {
    2
}
