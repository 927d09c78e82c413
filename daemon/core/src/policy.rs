//! What the configuration asks of the core, without names, paths and texts: those stay with the shell.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::event::ServiceId;

/// How one service is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Which commands make a start.
    pub commands: Commands,
    /// A start that takes longer is a failure of kind `start_timeout`.
    pub start_timeout: Duration,
    /// After this long the whole tree gets SIGKILL.
    pub stop_timeout: Duration,
    /// What asks the service to end.
    pub stop_signal: i32,
    /// Which ends are no failures.
    pub success: ExitSet,
    /// What follows an end that nobody asked for.
    pub restart: RestartPolicy,
    /// How to tell that a start is over; `None`: by the first healthy answer where there is a health check, else at once.
    pub ready: Option<ReadyPolicy>,
    /// How to tell that it hangs. With `ready` it is asked only once that is so.
    pub health: Option<HealthPolicy>,
    /// How often, while it is up, it has to say that it is alive; longer silence is a failure of kind `watchdog`.
    pub watchdog: Option<Duration>,
    /// What it has to do with other services.
    pub relations: Relations,
    /// What follows from a change of files.
    pub watch: Option<WatchPolicy>,
}

/// `requires`, `wants`, ... of a service. The services that are named need not be known (yet).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Relations {
    /// A start of it starts these, and waits until they are up; a stop or restart of one of these that somebody asked
    /// for stops or restarts it.
    pub requires: Vec<ServiceId>,
    /// The same, and it is up only as long as these are.
    pub binds_to: Vec<ServiceId>,
    /// A start of it starts these.
    pub wants: Vec<ServiceId>,
    /// A stop or restart of one of these that somebody asked for stops or restarts it.
    pub part_of: Vec<ServiceId>,
    /// It starts after these and stops before them.
    pub after: Vec<ServiceId>,
    /// It starts before these and stops after them.
    pub before: Vec<ServiceId>,
    /// It and one of these never run at the same time.
    pub conflicts: Vec<ServiceId>,
}

/// Which commands make a start, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Commands {
    /// `exec_start_pre`: for each, whether its failure is ignored. Each has to end well before what comes after it.
    pub start_pre: Vec<bool>,
    /// `type = "oneshot"`: `exec` are commands that end.
    pub oneshot: Option<Oneshot>,
    /// `exec_start_post`: for each, whether its failure is ignored. They run once it is ready and before it counts as up.
    pub start_post: Vec<bool>,
    /// `exec_reload`: for each, whether its failure is ignored. They run beside the process, when somebody asks.
    pub reload: Vec<bool>,
    /// `exec_stop`: for each, whether its failure is ignored. They run before a service that is up is asked to end.
    pub stop: Vec<bool>,
    /// `exec_stop_post`: for each, whether its failure is ignored. They run after every end.
    pub stop_post: Vec<bool>,
}

/// `type = "oneshot"`: the start is over when the last command has ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oneshot {
    /// For each command of `exec`, whether its failure is ignored; at least one.
    pub exec: Vec<bool>,
    /// It is up from then on, until it is stopped; else it is down.
    pub remain: bool,
}

/// `[service.NAME.ready]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadyPolicy {
    /// It is asked again and again, fast.
    Asked {
        /// How long an answer may take; the prober sees to it.
        timeout: Duration,
    },
    /// It says so by itself: [`crate::Event::Ready`].
    Told,
    /// It says so with `READY=1`: [`crate::event::Said::Ready`].
    Notified,
}

impl Policy {
    /// For what is only to be ended: nothing is started by it.
    #[must_use]
    pub fn only_to_stop(stop_signal: i32, stop_timeout: Duration) -> Self {
        Self {
            commands: Commands::default(),
            start_timeout: Duration::ZERO,
            stop_timeout,
            stop_signal,
            success: ExitSet::default(),
            restart: RestartPolicy {
                when: When::Never,
                delay: Duration::ZERO,
                multiplier: 1.0,
                max_delay: Duration::ZERO,
                jitter: 0.0,
                reset_after: Duration::ZERO,
                max_restarts: 0,
                park_at_limit: true,
                prevent: ExitSet::default(),
            },
            health: None,
            ready: None,
            watchdog: None,
            relations: Relations::default(),
            watch: None,
        }
    }
}

/// A set of ends, as `success_exit_status` lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExitSet {
    /// Exit codes.
    pub codes: Vec<i32>,
    /// Signals that killed it.
    pub signals: Vec<i32>,
}

/// `[service.NAME.restart]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Which ends are followed by a restart.
    pub when: When,
    /// Before the first restart in a row.
    pub delay: Duration,
    /// Each further delay is the last times this.
    pub multiplier: f64,
    /// Delays grow up to this.
    pub max_delay: Duration,
    /// Up to this share of the delay comes on top, at random.
    pub jitter: f64,
    /// A run that is up this long, and healthy where that is checked, starts the counters again.
    pub reset_after: Duration,
    /// Restarts in a row; 0: no limit.
    pub max_restarts: u32,
    /// At the limit: park (true), or go on at `max_delay`.
    pub park_at_limit: bool,
    /// Ends that park at once.
    pub prevent: ExitSet,
}

/// `restart.when`, systemd's `Restart=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// After every end.
    Always,
    /// After an end that is no failure.
    OnSuccess,
    /// After every failure.
    OnFailure,
    /// After every failure but an exit code or a failed spawn.
    OnAbnormal,
    /// After a hang.
    OnWatchdog,
    /// Not at all.
    Never,
}

/// `[service.NAME.watch]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchPolicy {
    /// A different number for different files.
    pub edition: u64,
    /// Files have to be quiet for this long, or to go on for [`crate::event::MOST_DEBOUNCES`] times as long.
    pub debounce: Duration,
    /// What follows.
    pub action: WatchAction,
}

/// `watch.action`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchAction {
    /// A new process.
    Restart,
    /// The commands of `exec_reload`, if there are any.
    Reload,
    /// This signal to the main process.
    Signal(i32),
}

/// `[service.NAME.health]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// From one probe's end to the next one's start.
    pub interval: Duration,
    /// How long an answer may take; the prober sees to it, the core only notices when even the prober does not answer.
    pub timeout: Duration,
    /// Failures in a row that make a failure of the service.
    pub retries: u32,
    /// Failures this soon after the start do not count; the first success ends it.
    pub start_period: Duration,
    /// Restart (true), or only say so.
    pub restart: bool,
}
