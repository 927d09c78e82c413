//! The control socket itself: who may connect, what happens to a stale one, how many sessions there are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use interprocess::local_socket::ListenerOptions;
use interprocess::local_socket::tokio::Listener;
use interprocess::local_socket::tokio::prelude::*;
use tokio::sync::Semaphore;

use super::{Desk, session};
use crate::keeper::{Legacy, Line};
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
/// it the only mcpd there, so that a socket which is in the way is the corpse of an earlier one. One that the keeper has
/// kept is listened to on: nobody who connects in between is turned away.
///
/// # Errors
/// [`BindError`]
pub fn listen(path: &Path, desk: Desk, line: &Line, legacy: &mut Legacy) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.to_path_buf(), source };
    let listener = match taken_over(path, legacy).map_err(io)? {
        Some(listener) => listener,
        None => bind(path, line)?,
    };
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

/// Name of the listening socket with the keeper.
const KEPT: &str = "control socket";

/// Where a kept socket listens: not any more when somebody has removed it or put something in its place.
fn place(path: &Path) -> Option<String> {
    Some(format!("{} {}", path.display(), sys::identity(path)?))
}

fn taken_over(path: &Path, legacy: &mut Legacy) -> io::Result<Option<Listener>> {
    let kept = legacy.take(KEPT).filter(|kept| kept.text.is_some() && kept.text == place(path));
    kept.and_then(|mut kept| kept.handles.pop()).map(sys::control_listener).transpose()
}

fn bind(path: &Path, line: &Line) -> Result<Listener, BindError> {
    let io = |source| BindError::Io { path: path.to_path_buf(), source };
    match sys::remove_stale_socket(path) {
        Ok(true) => {}
        Ok(false) => return Err(BindError::NotASocket(path.to_path_buf())),
        Err(source) => return Err(io(source)),
    }
    let name = mcpd_proto::socket::name(path).map_err(io)?;
    let mut listener = sys::private(ListenerOptions::new().name(name)).create_tokio().map_err(io)?;
    // Not by an end that nobody has asked for: whoever comes next listens to the same one.
    listener.do_not_reclaim_name_on_drop();
    sys::set_socket_mode(path).map_err(io)?;
    #[cfg(unix)]
    {
        let Listener::UdSocket(socket) = &listener;
        line.keep(KEPT, place(path), &[std::os::fd::AsFd::as_fd(socket)]);
    }
    #[cfg(not(unix))]
    let _ = line;
    Ok(listener)
}
