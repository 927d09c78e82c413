//! The loop: takes messages in, asks the core, performs what it decides. It never waits for anything but the next
//! message, signal or deadline; whoever might wait is a minder elsewhere.
//!
//! | file | question |
//! |---|---|
//! | `message` | what can arrive? |
//! | `take` | which event is that to the core? |
//! | `perform` | what does an action come to on this machine? |
//! | `earlier` | what did earlier lives of the daemon leave? |
//! | `available` | is a service there for those who use it? |
//! | `entry` | what is known of a service besides its state? |
//! | `estate`, `takeover` | what does the next daemon have to know? How does it go on with that? |
//! | `limits` | what may a run use while it lives? |
//! | `owed` | which crash reports did the last life not come to write? |
//! | `order` | what have services to do with each other? |
//! | `load`, `plan`, `foresee`, `reload`, `policy` | where does the configuration come from, and what does a new one change? |
//! | `by` | on whose word? |
//! | `commands`, `status`, `tell`, `report` | what do clients, events and crash reports say? |
//! | `probe` | how is a check carried out? |
//! | `hooks`, `around` | how is a command carried out that runs beside a service, or around it? |
//! | `notify` | who speaks for which service? |
//! | `notices` | who is told when something is wrong with a service? |
//! | `ready` | what has to be seen before a service counts as up? |
//! | `why` | what is known of why a service is as it is? |
//! | `watched` | which files are of interest, and what changed? |

mod around;
mod available;
mod by;
mod commands;
mod earlier;
mod entry;
mod estate;
mod examine;
mod foresee;
mod hooks;
mod limits;
pub mod load;
pub mod message;
mod notices;
mod notify;
mod order;
mod owed;
mod perform;
mod plan;
mod policy;
mod probe;
mod ready;
mod reload;
mod report;
mod status;
mod take;
pub mod takeover;
mod tell;
mod tree;
pub(crate) mod upgrade;
mod watched;
pub mod why;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mcpd_config::Config;
use mcpd_core::{Action, Core, Event, Mono, NoteId, RequestId, ServiceId};
use mcpd_proto::crash::Host;
use mcpd_proto::status::MADE_WAY;
use tokio::sync::{mpsc, oneshot};

use self::by::By;
use self::commands::Pending;
use self::entry::Entry;
use self::load::{Loaded, Source};
use self::message::{Message, Reply};
use self::takeover::Bequest;
use crate::control::Sessions;
use crate::crash::CrashStore;
use crate::history::History;
use crate::keeper::{Legacy, Line};
use crate::log::Logs;
use crate::notifier::Notifier;
use crate::recorder::Recorder;
use crate::register::Register;
use crate::scribe::{Level, Scribe};
use crate::signals::{Signals, Wish};
use crate::spawner::Spawner;
use crate::sys;
use crate::systemd::Systemd;
use crate::watch::{Changes, Watcher};
use crate::workers::Workers;

pub use self::earlier::Earlier;

/// Messages taken in before time and signals get their turn.
const BATCH: usize = 64;
/// So long nothing is done for another mcpd that is taking over.
const HANDING_OVER: Duration = Duration::from_secs(10);

/// Who a process is, to the shell.
enum Owner {
    Service {
        service: ServiceId,
        generation: u64,
    },
    /// A health probe's program.
    Helper(probe::Helper),
    /// A command around a service.
    Around(around::Place),
}

/// Everything the loop's task owns.
pub struct Shell {
    core: Core,
    source: Source,
    config: Config,
    entries: HashMap<ServiceId, Box<Entry>>,
    names: BTreeMap<String, ServiceId>,
    next_service: u32,

    inbox: mpsc::Receiver<Message>,
    outbox: mpsc::Sender<Message>,
    /// Events that performing an action brought about at once.
    events: VecDeque<Event>,
    actions: Vec<Action>,

    children: sys::Children,
    owners: HashMap<sys::Key, Owner>,
    next_key: sys::Key,
    spawning: usize,
    notices: notify::Notices,
    looks: tree::Looks,
    spawner: Spawner,
    logs: Logs,
    history: History,
    recorder: Recorder,
    register: Register,
    cgroups: Result<sys::Cgroups, String>,
    inherited: earlier::Inheritance,
    estate: estate::Estate,
    /// Of these the keeper is told that their end is written down, once it is.
    buried: Vec<u32>,
    /// Runs that were taken over, until it is clear which of them are there.
    missing: Vec<(ServiceId, sys::Key)>,
    slots: Option<Arc<sys::Slots>>,
    /// The keeper was told to end.
    leaving: bool,
    /// Another mcpd is about to end this process.
    pauses: bool,
    scribe: Scribe,
    /// What is not written down yet, while actions are performed.
    told: Vec<(Level, mcpd_proto::event::Event)>,
    performing: bool,
    /// When that has begun, on both clocks.
    clock: (Mono, Timestamp),
    /// On whose word that is done which the core is being told.
    asking: Option<By>,
    shutdown_by: Option<By>,
    workers: Workers,
    systemd: Systemd,
    line: Line,
    sessions: Sessions,
    watcher: Watcher,
    notifier: Notifier,
    untold: notices::Untold,

    pending: HashMap<u64, Pending>,
    requests: HashMap<RequestId, (u64, usize)>,
    next_batch: u64,
    next_request: u64,
    reloads: reload::Reloads,
    shutdowns: Vec<Reply<()>>,

    /// A different number at each start of mcpd: part of every run's id.
    boot: String,
    started: Mono,
    started_at: Timestamp,
    host: Arc<Host>,
    last_reload: Option<String>,
    /// What is watched of the configuration's files, and what changed since it was read.
    config_files: Vec<(PathBuf, Option<String>)>,
    config_changes: Changes,
    /// Crash reports that could not be written since the last one that was.
    unrecorded: u64,
    /// The note that tells of them.
    config_changed: Option<NoteId>,
    /// The first event of this life, and that of its end.
    began: NoteId,
    ending: Option<NoteId>,
    finished: bool,
    /// Nothing is left to be supervised.
    all_down: bool,
    /// After a second request to end: the end, whatever is left.
    ends_by: Option<Mono>,
}

/// What the loop works with.
pub struct Parts {
    /// Where messages come from.
    pub inbox: mpsc::Receiver<Message>,
    /// For those who bring them.
    pub outbox: mpsc::Sender<Message>,
    /// Every process that mcpd starts.
    pub children: sys::Children,
    /// Starts processes.
    pub spawner: Spawner,
    /// Keeps what they print.
    pub logs: Logs,
    /// Where crash reports are.
    pub store: CrashStore,
    /// Remembers when services were up, and what crashed.
    pub history: History,
    /// Writes them.
    pub recorder: Recorder,
    /// Part of every run's id: a different one at each start of mcpd.
    pub life: String,
    /// Writes down what runs.
    pub register: Register,
    /// What earlier lives of mcpd left.
    pub earlier: Earlier,
    /// Where runs have cgroups, or why they have none.
    pub cgroups: Result<sys::Cgroups, String>,
    /// Writes down what happens.
    pub scribe: Scribe,
    /// The number of the first event of this life.
    pub first_note: NoteId,
    /// Run what waits for a disk.
    pub workers: Workers,
    /// Tells systemd.
    pub systemd: Systemd,
    /// To the keeper.
    pub line: Line,
    /// The clients' sessions.
    pub sessions: Sessions,
    /// Watches files.
    pub watcher: Watcher,
    /// Tells others.
    pub notifier: Notifier,
    /// What the daemon before this one has written down, when it was killed and this one takes over; and what else the
    /// keeper has of it.
    pub bequest: Option<(Bequest, Legacy)>,
    /// Where processes that are being started write their numbers.
    pub slots: Option<Arc<sys::Slots>>,
}

impl Shell {
    /// A loop that has not begun.
    #[must_use]
    pub fn new(source: Source, loaded: Loaded, parts: Parts) -> Self {
        let now = Mono(sys::monotonic_ns());
        let started_at = Timestamp::now();
        let Parts { inbox, outbox, children, spawner, logs, store, history, recorder, .. } = parts;
        let Parts {
            life,
            register,
            earlier,
            cgroups,
            scribe,
            first_note,
            workers,
            systemd,
            line,
            sessions,
            watcher,
            notifier,
            bequest,
            slots,
            ..
        } = parts;
        let on_disk = first_note;
        let core = match &bequest {
            Some((bequest, _)) => bequest.resume(first_note),
            None => Core::new(now.0 ^ u64::from(std::process::id()), first_note),
        };
        let first_note = core.next_note();
        let mut shell = Self {
            core,
            source,
            config: loaded.config.clone(),
            entries: HashMap::new(),
            names: BTreeMap::new(),
            next_service: 0,
            inbox,
            outbox,
            events: VecDeque::new(),
            actions: Vec::new(),
            children,
            owners: HashMap::new(),
            next_key: 1,
            spawning: 0,
            notices: notify::Notices::default(),
            looks: tree::Looks::default(),
            spawner,
            logs,
            history,
            recorder,
            register,
            cgroups,
            inherited: earlier::Inheritance::default(),
            estate: estate::Estate::default(),
            buried: Vec::new(),
            missing: Vec::new(),
            leaving: false,
            pauses: false,
            slots,
            scribe,
            told: Vec::new(),
            performing: false,
            clock: (now, started_at),
            asking: None,
            shutdown_by: None,
            workers,
            systemd,
            line,
            sessions,
            watcher,
            notifier,
            untold: notices::Untold::default(),
            pending: HashMap::new(),
            requests: HashMap::new(),
            next_batch: 0,
            next_request: 0,
            reloads: reload::Reloads::default(),
            shutdowns: Vec::new(),
            boot: life,
            started: now,
            started_at,
            host: Arc::new(report::host()),
            last_reload: None,
            config_files: Vec::new(),
            config_changes: Changes::default(),
            unrecorded: 0,
            config_changed: None,
            began: first_note,
            ending: None,
            finished: false,
            all_down: false,
            ends_by: None,
        };
        shell.children.set_keeper(shell.line.about().map(|keeper| keeper.pid));
        match bequest {
            Some((bequest, mut legacy)) => {
                shell.take_over(bequest, on_disk, &loaded, &mut legacy, &store);
                // Of what nobody goes on with, or of a version that knew more.
                legacy.names().for_each(|name| shell.line.drop_kept(name));
                shell.recall_crashes(&store, loaded.config.daemon.log_dir.clone());
            }
            None => {
                shell.tell_beginning();
                shell.begin(loaded, &store, earlier);
            }
        }
        shell.line.ready(shell.core.is_shutting_down());
        shell
    }

    fn begin(&mut self, loaded: Loaded, store: &CrashStore, mut earlier: Earlier) {
        self.warn(&loaded.warnings);
        self.number(loaded.config.services.keys());
        let parallel_starts = loaded.config.daemon.max_parallel_starts;
        self.events.push_back(Event::Limit { parallel_starts });
        self.events.push_back(Event::Reloading { by: Some(self.began) });
        let specs: Vec<_> = loaded.config.services.values().cloned().collect();
        let records = std::mem::take(&mut earlier.records);
        let mut left = self.inherit(&records, earlier);
        for spec in specs {
            let left = left.remove(spec.name.as_str()).unwrap_or_default();
            self.define(&spec, &loaded, left);
        }
        for (name, left) in left {
            self.define_ghost(name, left, &records);
        }
        self.watch_config(&loaded);
        let log_dir = loaded.config.daemon.log_dir.clone();
        drop(loaded);
        sys::give_back_memory();
        self.events.push_back(Event::Begun);
        self.recall_crashes(store, log_dir);
    }

    /// The first event of this life. When the keeper has started it in place of another one, what became of that.
    fn tell_beginning(&mut self) {
        let mut data = serde_json::json!({ "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION") });
        let mut message = format!("mcpd {} has begun", env!("CARGO_PKG_VERSION"));
        let mut level = Level::Info;
        if let Some(keeper) = self.line.about() {
            data["keeper"] = serde_json::json!({ "pid": keeper.pid, "lives": keeper.lives });
            if let Some(last) = &keeper.last {
                // What somebody asked for is no trouble.
                level = if last.how == MADE_WAY { Level::Info } else { Level::Error };
                message = format!("{message}: the daemon before it (pid {}) {}", last.pid, last.how);
                data["last"] = serde_json::json!(last);
            }
        }
        self.began = self.tell_own(level, None, "began", message, data);
    }

    /// What earlier lives of the daemon left in the crash store, read while services start.
    fn recall_crashes(&mut self, store: &CrashStore, log_dir: PathBuf) {
        let names: Vec<(ServiceId, Arc<str>)> =
            self.entries.iter().map(|(id, entry)| (*id, entry.name.clone())).collect();
        let search = self.search_for_owed(store, log_dir);
        let (store, outbox) = (store.clone(), self.outbox.clone());
        let recalling = self.workers.run(move || {
            for (service, name) in names {
                let count = store.count(&name);
                if count == 0 {
                    continue;
                }
                let newest = store.newest(&name);
                let recalled = Message::Recalled { service, count, newest };
                if outbox.blocking_send(recalled).is_err() {
                    return;
                }
            }
            // After they have been counted: each of these is counted when it is written.
            if let Some(search) = search {
                search();
            }
        });
        if let Err(error) = recalling {
            let message = format!("earlier crashes are not counted: no thread to look for them: {error}");
            self.tell_own(Level::Warn, None, "recall_failed", message, serde_json::Value::Null);
        }
    }

    fn warn(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.tell_own(Level::Warn, None, "config_warning", warning.clone(), serde_json::Value::Null);
        }
    }

    fn now(&self) -> (Mono, Timestamp) {
        (Mono(sys::monotonic_ns()), Timestamp::now())
    }

    fn wall(&self, at: Mono) -> Timestamp {
        // Two readings of two clocks differ a little from one time to the next: what is performed at once has one.
        report::wall(if self.performing { self.clock } else { self.now() }, at)
    }

    /// Runs until everything is down after a shutdown.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub async fn run(mut self, mut signals: Signals) -> std::io::Result<()> {
        self.drive();
        while !self.finished {
            let deadline = self.core.next_deadline();
            let tick = self.systemd.next_tick();
            tokio::select! {
                Some(message) = self.inbox.recv() => {
                    self.take(message);
                    for _ in 1..BATCH {
                        let Ok(message) = self.inbox.try_recv() else { break };
                        self.take(message);
                    }
                }
                wish = signals.next() => self.obey(wish?),
                () = until(deadline) => {}
                () = until(self.looks.next) => self.look_again(),
                () = until(tick) => self.systemd_tick(),
                () = until(self.ends_by) => self.finished = true,
            }
            self.drive();
            if std::mem::take(&mut self.pauses) {
                // Should nobody end it, it goes on.
                tokio::time::sleep(HANDING_OVER).await;
            }
        }
        self.end().await;
        Ok(())
    }

    /// Lets the core have everything that is known by now, and performs what it decides, until nothing is left to do.
    fn drive(&mut self) {
        let now = Mono(sys::monotonic_ns());
        let mut actions = std::mem::take(&mut self.actions);
        loop {
            while let Some(event) = self.events.pop_front() {
                self.asking = self.word_of(&event);
                self.core.handle(now, event, &mut actions);
                self.note_decisions(&actions);
                self.perform_all(&mut actions);
            }
            if self.core.next_deadline().is_none_or(|at| at > now) {
                break;
            }
            self.asking = None;
            self.core.handle_timeout(now, &mut actions);
            self.note_decisions(&actions);
            self.perform_all(&mut actions);
        }
        self.actions = actions;
        self.note_facts();
    }

    fn perform_all(&mut self, actions: &mut Vec<Action>) {
        self.performing = true;
        self.clock = self.now();
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.performing = false;
        self.write_down();
    }

    fn obey(&mut self, wish: Wish) {
        match wish {
            Wish::Collect => self.collect(),
            Wish::Stop => self.asked_to_end(),
            Wish::Reload => self.reload(),
            Wish::Reopen => self.logs.reopen(),
        }
    }

    fn shut_down(&mut self, by: By) {
        if self.core.is_shutting_down() && self.ends_by.is_none() {
            // Asked twice: whatever does not even end by SIGKILL, or hangs in the kernel before its start, is left behind.
            self.ends_by = Some(Mono(sys::monotonic_ns()) + AT_ONCE);
        }
        self.shutdown_by = Some(by);
        self.systemd.stopping();
        self.events.push_back(Event::Shutdown);
    }

    fn systemd_tick(&mut self) {
        let summary = self.systemd.wants_status().then(|| self.summary());
        self.systemd.tick(summary.as_deref());
    }

    async fn end(mut self) {
        for reply in self.shutdowns.drain(..) {
            let _ = reply.send(Ok(()));
        }
        let left = self.children.end_all();
        if left > 0 {
            let message = format!("{left} processes that belonged to no service were still there: killed");
            self.tell_own(Level::Warn, None, "leftovers", message, serde_json::Value::Null);
        }
        let (cause, message) = (self.ending, "everything is down: the end".into());
        self.tell_caused(Level::Info, None, "down", cause, message, serde_json::Value::Null);
        // Whoever still asks something is told that nobody answers any more.
        drop(self.inbox);
        self.sessions.close(LAST_ANSWERS).await;
        let (logs, register, cgroups, history) = (self.logs, self.register, self.cgroups, self.history);
        let (done, ended) = oneshot::channel();
        let scribe = self.scribe;
        let last_words = move || {
            register.close(LAST_WORDS);
            history.close(LAST_WORDS);
            if let Ok(cgroups) = cgroups {
                cgroups.leave();
            }
            logs.stop(LAST_WORDS);
            scribe.flush(LAST_WORDS);
            let _ = done.send(());
        };
        if self.workers.run(last_words).is_ok() {
            // Either they are written, or the disk hangs and nobody is served by waiting longer.
            let _ = tokio::time::timeout(LAST_WORDS * 2, ended).await;
        }
    }
}

/// How long a daemon that was asked twice to end waits for what SIGKILL does not end.
const AT_ONCE: Duration = Duration::from_secs(5);

/// How long the end of the daemon waits for log lines to reach the disk.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long the end of the daemon waits for clients to read their last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Sleeps until an instant of the core's clock; for ever without one.
async fn until(at: Option<Mono>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(Mono(sys::monotonic_ns()))).await,
        None => std::future::pending().await,
    }
}
