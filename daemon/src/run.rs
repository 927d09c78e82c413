//! The order in which everything starts.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mcpd_config::spec::{OnKeeperDeath, OnStop};
use mcpd_core::action::NoteId;
use mcpd_proto::run::RunRecord;
use tokio::sync::mpsc;

use crate::control::{self, Desk, Sessions};
use crate::crash::CrashStore;
use crate::history::History;
use crate::instance::{self, LockError};
use crate::journal::Journal;
use crate::keeper::{Legacy, Line};
use crate::leftovers::Leftovers;
use crate::log::{Logs, Settings, Spool};
use crate::notifier::Notifier;
use crate::notify;
use crate::recorder::Recorder;
use crate::register::{self, Register};
use crate::scribe::Scribe;
use crate::shell::load::{Loaded, Source};
use crate::shell::message::Message;
use crate::shell::takeover::Bequest;
use crate::shell::{Earlier, Parts, Shell};
use crate::signals::Signals;
use crate::spawner::{Spawner, Trail};
use crate::sys;
use crate::systemd::Systemd;
use crate::watch::Watcher;
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

/// A disk that is read-only or full: mcpd does without it, for services are more important than what is kept of them.
fn takes_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), ReadOnlyFilesystem | StorageFull | QuotaExceeded)
}

/// Runs the daemon with a configuration that is valid, until it is told to end. `line`: to its keeper; `legacy`: what the
/// daemon before it has left there; `bequest`: what that one has written down, if this one is to go on with it.
///
/// # Errors
/// [`RunError`]
pub fn run(
    source: Source,
    loaded: Loaded,
    line: Line,
    mut legacy: Legacy,
    bequest: Option<Bequest>,
) -> Result<(), RunError> {
    let daemon = loaded.config.daemon.clone();
    if daemon.on_stop == OnStop::Stop && daemon.on_keeper_death == OnKeeperDeath::Stop {
        line.forget();
    }
    let state_dir = &daemon.state_dir;
    sys::make_private_dir(state_dir).map_err(not_made(state_dir, "daemon.state_dir"))?;
    if cfg!(unix)
        && let Some(parent) = daemon.control_socket.parent()
    {
        sys::make_runtime_dir(parent).map_err(not_made(parent, "daemon.control_socket"))?;
    }
    // Without it services run all the same, and the log path says what is wrong.
    let _ = sys::make_private_dir(&daemon.log_dir);
    let _state =
        match instance::lock(&daemon.state_dir.join("mcpd.lock"), "daemon.state_dir", &line, &mut legacy) {
            Ok(lock) => Some(lock),
            // Nobody else keeps anything there either. Services run all the same, and whoever wants to write says what is wrong.
            Err(LockError::Io { path, source }) if takes_nothing(&source) => {
                tracing::warn!(path = %path.display(), error = %source, "the state directory takes no files");
                None
            }
            Err(error) => return Err(error.into()),
        };
    let _socket = if cfg!(unix) {
        let mut path = OsString::from(&daemon.control_socket);
        path.push(".lock");
        Some(instance::lock(Path::new(&path), "daemon.control_socket", &line, &mut legacy)?)
    } else {
        None
    };
    // Two that rotate the same files would throw away each other's lines.
    let _logs =
        match instance::lock(&daemon.log_dir.join("mcpd-logs.lock"), "daemon.log_dir", &line, &mut legacy) {
            Ok(lock) => Some(lock),
            Err(error @ LockError::Held { .. }) => return Err(error.into()),
            // Where no lock can be written no log can be, which the log path says.
            Err(LockError::Io { .. }) => None,
        };
    sys::raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start the runtime"))?;
    // Before anything is started or looked for.
    let cgroups = claim_cgroups(&daemon.state_dir, &line, &mut legacy);
    let result = runtime.block_on(supervise(source, loaded, cgroups.clone(), line, legacy, bequest));
    match (&result, &cgroups) {
        (Ok(()), _) => {
            // Nobody comes next.
            let _ = sys::remove_stale_socket(&daemon.control_socket);
            let _ = sys::remove_stale_socket(&daemon.notify_socket());
        }
        // It ends without ever having come to the loop's own end.
        (Err(_), Ok(cgroups)) => cgroups.leave(),
        (Err(_), Err(_)) => {}
    }
    result
}

/// Name of where the first daemon was started, with the keeper.
const STARTED_IN: &str = "cgroup";

fn claim_cgroups(state_dir: &Path, line: &Line, legacy: &mut Legacy) -> Result<sys::Cgroups, String> {
    let started_in = legacy.take(STARTED_IN).and_then(|kept| kept.text).map(PathBuf::from);
    let keeper = line.about().map(|keeper| keeper.pid);
    let cgroups = sys::Cgroups::claim(state_dir, keeper, started_in.as_deref())?;
    let started_in = cgroups.started_in().to_str().map(str::to_owned);
    line.keep(STARTED_IN, started_in, &[]);
    Ok(cgroups)
}

async fn supervise(
    source: Source,
    loaded: Loaded,
    cgroups: Result<sys::Cgroups, String>,
    line: Line,
    mut legacy: Legacy,
    bequest: Option<Bequest>,
) -> Result<(), RunError> {
    let daemon = loaded.config.daemon.clone();
    let (outbox, inbox) = mpsc::channel::<Message>(INBOX);
    let waker = {
        let outbox = outbox.clone();
        // Full: a message is waiting there anyway, and every turn of the loop that matters collects.
        Arc::new(move || drop(outbox.try_send(Message::Collect)))
    };
    let signals = Signals::start().map_err(system("cannot receive signals"))?;
    let children = sys::Children::new(waker).map_err(system("cannot mind processes"))?;
    let (journal, first_note) = {
        let outbox = outbox.clone();
        // Nobody is there any more while the daemon ends.
        let tell = move |news| drop(outbox.blocking_send(Message::Journal(news)));
        Journal::start(&daemon.state_dir, tell).map_err(system("cannot start a thread"))?
    };
    let scribe = Scribe::start(journal).map_err(system("cannot start a thread"))?;
    let logs = {
        let spool = spool(&line, &mut legacy, bequest.as_ref().map(|_| daemon.log_dir.as_path()));
        let outbox = outbox.clone();
        let on_event = Arc::new(move |event| drop(outbox.try_send(Message::Log(event))));
        Logs::start(Settings { log_dir: daemon.log_dir.clone(), spool, on_event })
            .map_err(system("cannot start the log pump"))?
    };
    let store = match CrashStore::open(&daemon.state_dir) {
        Ok(store) => store,
        // The first report that cannot be written says so.
        Err(error) if takes_nothing(&error) => CrashStore::at(&daemon.state_dir),
        Err(source) => {
            let path = daemon.state_dir.join("crashes");
            return Err(RunError::Directory { path, key: "daemon.state_dir", source });
        }
    };
    let history = {
        let outbox = outbox.clone();
        let trouble = move |path: &Path, error: &io::Error| {
            // Only while the daemon ends there is nobody to tell.
            let _ = outbox.blocking_send(Message::History(path.to_path_buf(), error.to_string()));
        };
        History::start(&daemon.state_dir, trouble).map_err(system("cannot start a thread"))?
    };
    let recorder = Recorder::start(store.clone()).map_err(system("cannot start a thread"))?;
    let notify = notify::listen(daemon.notify_socket(), outbox.clone(), &line, &mut legacy);
    let (life, register, earlier) =
        begin_life(&daemon.state_dir, cgroups.as_ref().ok(), &outbox, bequest.as_ref().map(Bequest::life))?;
    let workers = Workers::start().map_err(system("cannot start a thread"))?;
    let slots = slots(&line, &mut legacy);
    let spawner = {
        let (outbox, cgroups) = (outbox.clone(), cgroups.clone());
        let trail = Trail { line: line.clone(), slots: slots.clone() };
        Spawner::start(std::env::vars_os().collect(), notify, cgroups, trail, move |answer| {
            // Nobody is there any more while the daemon ends: the process is found as a child then.
            let _ = outbox.blocking_send(Message::Spawned(answer));
        })
        .map_err(system("cannot start a thread"))?
    };
    let watcher = {
        let outbox = outbox.clone();
        // Nobody is there any more while the daemon ends.
        Watcher::new(move |sign| drop(outbox.blocking_send(Message::Watch(sign))))
    };
    let notifier = {
        let outbox = outbox.clone();
        // Nobody is there any more while the daemon ends.
        Notifier::new(store.clone(), move |news| drop(outbox.blocking_send(Message::Notifier(news))))
    };
    let sessions = Sessions::default();
    let desk = Desk {
        outbox: outbox.clone(),
        logs: logs.clone(),
        log_dir: daemon.log_dir.clone(),
        store: store.clone(),
        history: history.clone(),
        scribe: scribe.clone(),
        journal: scribe.reader(),
        workers: workers.clone(),
        sessions: sessions.clone(),
    };
    control::listen(&daemon.control_socket, desk, &line, &mut legacy)?;
    if bequest.is_none() {
        // Of another configuration, or of what is not gone on with.
        legacy.names().for_each(|name| line.drop_kept(name));
        legacy.take_dead().iter().for_each(|dead| line.seen(dead.pid));
    }
    line.listen(outbox.clone(), Message::Keeper).map_err(system("cannot listen to the keeper"))?;
    let systemd = Systemd::from_environment(line.clone());
    let parts = Parts {
        inbox,
        outbox,
        children,
        spawner,
        logs,
        store,
        history,
        recorder,
        life,
        register,
        earlier,
        cgroups,
        scribe,
        first_note: NoteId(first_note),
        workers,
        systemd,
        line,
        sessions,
        watcher,
        notifier,
        bequest: bequest.map(|bequest| (bequest, legacy)),
        slots,
    };
    Shell::new(source, loaded, parts).run(signals).await.map_err(system("signals failed"))
}

/// Name of the slots with the keeper.
const SLOTS: &str = "slots";

/// Those of the daemon before this one, or new ones. None without a keeper: nobody would look into them.
fn slots(line: &Line, legacy: &mut Legacy) -> Option<Arc<sys::Slots>> {
    line.about()?;
    let kept = legacy.take(SLOTS).and_then(|mut kept| kept.handles.pop());
    let slots = kept.and_then(|kept| sys::Slots::of(kept).ok()).or_else(|| sys::Slots::new().ok())?;
    line.keep(SLOTS, None, &[slots.handle()]);
    Some(Arc::new(slots))
}

/// Name of the spool with the keeper.
const SPOOL: &str = "spool";

/// The one of the daemon before this one, or a new one; none without a keeper. `goes_on`: that one's files are there, and
/// its services go on.
fn spool(line: &Line, legacy: &mut Legacy, goes_on: Option<&Path>) -> Option<Spool> {
    line.about()?;
    let inherited = legacy.take(SPOOL).zip(goes_on).and_then(|(kept, log_dir)| {
        let told = |error: &io::Error| {
            tracing::error!(%error, "it cannot be found out what the last daemon had read of services' output and not written");
        };
        Spool::of(kept, log_dir).inspect_err(told).ok()
    });
    let spool = inherited.or_else(|| Spool::new().ok())?;
    let (text, handles) = spool.handles();
    line.keep(SPOOL, Some(text), &handles);
    Some(spool)
}

/// What is left of earlier lives, and the beginning of this one; `goes_on`: or the life of the daemon before this one, which
/// goes on, and nothing is left over.
fn begin_life(
    state_dir: &Path,
    cgroups: Option<&sys::Cgroups>,
    outbox: &mpsc::Sender<Message>,
    goes_on: Option<&str>,
) -> Result<(String, Register, Earlier), RunError> {
    let now = Timestamp::now();
    let life =
        goes_on.map_or_else(|| format!("{:x}-{:x}", std::process::id(), now.as_microsecond()), str::to_owned);
    // Where a start of the machine has no name nothing outlives the daemon.
    let Some(boot_id) = sys::boot_id() else { return Ok((life, Register::none(), Earlier::default())) };
    let path = register::path(state_dir);
    let mut earlier = Earlier::default();
    match register::read(&path, &boot_id) {
        Ok(records) => earlier.records = records,
        Err(error) => {
            let path = path.display();
            earlier.trouble = Some(format!(
                "{path} cannot be read: {error}; what an earlier life of mcpd left is not recognised"
            ));
        }
    }
    let here = sys::identity(state_dir);
    let is_left = |record: &RunRecord| {
        !register::is_of_the_living(record, here.as_deref(), sys::start_ticks(record.mcpd_pid))
    };
    earlier.records.retain(|record| goes_on.is_none() && is_left(record));
    earlier.killed = !earlier.records.is_empty();
    let inherited = cgroups.filter(|_| goes_on.is_none()).map(sys::Cgroups::inherited);
    let known = known(&earlier.records, inherited.unwrap_or_default());
    // After an orderly end there is no record, and nothing to look for.
    if !known.lives.is_empty() || !known.cgroups.is_empty() {
        let remains = sys::Remains::new(known).map_err(system("cannot look for processes"))?;
        earlier.found = remains.leftovers();
        if earlier.found.is_empty() {
            earlier.records.clear();
        } else {
            let outbox = outbox.clone();
            // Nobody is there any more while the daemon ends.
            let tell = move |told| drop(outbox.blocking_send(Message::Leftovers(told)));
            let minder = Leftovers::mind(remains, tell).map_err(system("cannot start a thread"))?;
            earlier.minder = Some(minder);
        }
    }
    let mcpd_start_ticks = sys::start_ticks(std::process::id()).unwrap_or(0);
    let began = format!("{now:.6}");
    let this = register::Life { boot_id, life: life.clone(), mcpd_start_ticks, state_dir: here, began };
    let outbox = outbox.clone();
    let trouble = move |path: &Path, error: &io::Error| {
        let _ = outbox.blocking_send(Message::Register(path.to_path_buf(), error.to_string()));
    };
    let register = Register::start(path, this, earlier.records.clone(), trouble)
        .map_err(system("cannot start a thread"))?;
    Ok((life, register, earlier))
}

/// `inherited`: what lives in the daemon's own part of the cgroup tree. A life that was started elsewhere in the tree had
/// its own there.
fn known(records: &[RunRecord], inherited: Vec<(String, sys::Cgroup)>) -> sys::KnownLives {
    let mut lives: Vec<String> = records.iter().map(|record| record.life.clone()).collect();
    lives.sort();
    lives.dedup();
    let runs = || records.iter().filter_map(|record| record.run.as_ref());
    let mut cgroups: Vec<(Arc<str>, sys::Cgroup)> =
        inherited.into_iter().map(|(service, cgroup)| (service.into(), cgroup)).collect();
    let mut seen: HashSet<sys::Cgroup> = cgroups.iter().map(|(_, cgroup)| cgroup.clone()).collect();
    for run in runs() {
        let elsewhere =
            run.cgroup.as_ref().and_then(|path| sys::Cgroup::of_a_run(Path::new(path), &run.run_id));
        let elsewhere = elsewhere.filter(|cgroup| seen.insert(cgroup.clone()));
        cgroups.extend(elsewhere.map(|cgroup| (run.service.as_str().into(), cgroup)));
    }
    let runs = runs().map(|run| sys::KnownRun {
        service: run.service.as_str().into(),
        run_id: run.run_id.clone(),
        pid: run.pid,
        start_ticks: run.start_ticks,
    });
    sys::KnownLives { lives, runs: runs.collect(), cgroups }
}

fn not_made(path: &Path, key: &'static str) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_path_buf();
    move |source| RunError::Directory { path, key, source }
}
