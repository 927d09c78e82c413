//! The control socket itself: who may connect, what happens to a stale one, how many sessions there are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use interprocess::local_socket::ListenerOptions;
use interprocess::local_socket::tokio::prelude::*;
use tokio::sync::Semaphore;

use super::{Desk, session};
use crate::sys;

/// Connections at a time; one more waits in the system's queue until another ends.
const SESSIONS: usize = 1024;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something that is no socket stands in its place.
    #[error("{} exists and is no socket: it is not removed; move it away or set daemon.control_socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens at `path` and serves whoever connects, as a task of the current runtime. The caller holds the lock that makes
/// it the only mcpd there, so that a socket which is in the way is the corpse of an earlier one.
///
/// # Errors
/// [`BindError`]
pub fn listen(path: &Path, desk: Desk) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.to_path_buf(), source };
    match sys::remove_stale_socket(path) {
        Ok(true) => {}
        Ok(false) => return Err(BindError::NotASocket(path.to_path_buf())),
        Err(source) => return Err(io(source)),
    }
    let name = mcpd_proto::socket::name(path).map_err(io)?;
    let listener = sys::private(ListenerOptions::new().name(name)).create_tokio().map_err(io)?;
    sys::set_socket_mode(path).map_err(io)?;
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(SESSIONS));
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { break };
            match listener.accept().await {
                Ok(stream) => {
                    let desk = desk.clone();
                    desk.sessions.tasks.clone().spawn(async move {
                        session::serve(stream, desk).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("a client could not be let in: {error}");
                    // Out of descriptors, most likely: the next try would fail at once, again and again.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    Ok(())
}
