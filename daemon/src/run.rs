//! The order in which everything starts.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::control::{self, Desk, Sessions};
use crate::crash::CrashStore;
use crate::instance::{self, LockError};
use crate::log::{Logs, Settings};
use crate::notify;
use crate::recorder::Recorder;
use crate::scribe::Scribe;
use crate::shell::load::{Loaded, Source};
use crate::shell::message::Message;
use crate::shell::{Parts, Shell};
use crate::signals::Signals;
use crate::spawner::Spawner;
use crate::sys;
use crate::systemd::Systemd;
use crate::workers::Workers;

/// Messages that wait for the loop. Whoever brings one more waits; the loop waits for nobody.
const INBOX: usize = 4096;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A directory cannot be made.
    #[error("cannot make the directory {} ({key}): {source}", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// The configuration key that names it.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another mcpd is there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The control socket cannot be had.
    #[error(transparent)]
    Bind(#[from] control::BindError),
    /// The system has no room.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// Runs the daemon with a configuration that is valid, until it is told to end.
///
/// # Errors
/// [`RunError`]
pub fn run(source: Source, loaded: Loaded) -> Result<(), RunError> {
    let daemon = loaded.config.daemon.clone();
    let state_dir = &daemon.state_dir;
    sys::make_private_dir(state_dir).map_err(not_made(state_dir, "daemon.state_dir"))?;
    if cfg!(unix)
        && let Some(parent) = daemon.control_socket.parent()
    {
        sys::make_runtime_dir(parent).map_err(not_made(parent, "daemon.control_socket"))?;
    }
    // Without it services run all the same, and the log path says what is wrong.
    let _ = sys::make_private_dir(&daemon.log_dir);
    let _state = instance::lock(&daemon.state_dir.join("mcpd.lock"), "daemon.state_dir")?;
    let _socket = if cfg!(unix) {
        let mut path = OsString::from(&daemon.control_socket);
        path.push(".lock");
        Some(instance::lock(Path::new(&path), "daemon.control_socket")?)
    } else {
        None
    };
    sys::raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start the runtime"))?;
    runtime.block_on(supervise(source, loaded))
}

async fn supervise(source: Source, loaded: Loaded) -> Result<(), RunError> {
    let daemon = loaded.config.daemon.clone();
    let (outbox, inbox) = mpsc::channel::<Message>(INBOX);
    let waker = {
        let outbox = outbox.clone();
        // Full: a message is waiting there anyway, and every turn of the loop that matters collects.
        Arc::new(move || drop(outbox.try_send(Message::Collect)))
    };
    let signals = Signals::start().map_err(system("cannot receive signals"))?;
    let children = sys::Children::new(waker).map_err(system("cannot mind processes"))?;
    let scribe = Scribe::start().map_err(system("cannot start a thread"))?;
    let logs = {
        let outbox = outbox.clone();
        let on_event = Arc::new(move |event| drop(outbox.try_send(Message::Log(event))));
        Logs::start(Settings { log_dir: daemon.log_dir.clone(), on_event })
            .map_err(system("cannot start the log pump"))?
    };
    let store = CrashStore::open(&daemon.state_dir).map_err(|source| RunError::Directory {
        path: daemon.state_dir.join("crashes"),
        key: "daemon.state_dir",
        source,
    })?;
    let recorder = Recorder::start(store.clone()).map_err(system("cannot start a thread"))?;
    let notify = notify::listen(daemon.notify_socket(), outbox.clone());
    let workers = Workers::start().map_err(system("cannot start a thread"))?;
    let spawner = {
        let outbox = outbox.clone();
        Spawner::start(std::env::vars_os().collect(), notify, move |answer| {
            // Nobody is there any more while the daemon ends: the process is found as a child then.
            let _ = outbox.blocking_send(Message::Spawned(answer));
        })
        .map_err(system("cannot start a thread"))?
    };
    let sessions = Sessions::default();
    let desk = Desk {
        outbox: outbox.clone(),
        logs: logs.clone(),
        log_dir: daemon.log_dir.clone(),
        store: store.clone(),
        scribe: scribe.clone(),
        workers: workers.clone(),
        sessions: sessions.clone(),
    };
    control::listen(&daemon.control_socket, desk)?;
    let systemd = Systemd::from_environment();
    let parts =
        Parts { inbox, outbox, children, spawner, logs, store, recorder, scribe, workers, systemd, sessions };
    Shell::new(source, loaded, parts).run(signals).await.map_err(system("signals failed"))
}

fn not_made(path: &Path, key: &'static str) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_path_buf();
    move |source| RunError::Directory { path, key, source }
}
