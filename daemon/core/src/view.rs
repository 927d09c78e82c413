//! What a person sees of a service: a copy of facts, no decisions.

use serde::{Deserialize, Serialize};

use crate::action::{Command, DownReason, NoteId, Stale, StopCause, WaitingFor};
use crate::event::{Exit, ServiceId};
use crate::time::Mono;
use crate::verdict::{Failure, ParkReason};

/// A service as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which one.
    pub service: ServiceId,
    /// Whether it is wanted up.
    pub wanted: bool,
    /// Where it is in its life.
    pub state: StateView,
    /// When that began.
    pub since: Mono,
    /// Counts the starts.
    pub generation: u64,
    /// The main process, while it lives.
    pub pid: Option<u32>,
    /// When the main process started, while it lives.
    pub started: Option<Mono>,
    /// Automatic restarts in a row.
    pub restarts: u32,
    /// Where that ends; 0: no limit.
    pub max_restarts: u32,
    /// Automatic restarts ever.
    pub restarts_total: u64,
    /// Which command runs, or was the last to.
    pub command: Command,
    /// Which one runs beside or after it.
    pub beside: Option<Command>,
    /// What the health check says.
    pub health: HealthView,
    /// What comes of changed files.
    pub watch: WatchView,
    /// What on disk is newer than the process, and since when.
    pub stale: Option<(Stale, Mono)>,
    /// It says that it reloads its configuration.
    pub reloading: bool,
    /// It fails again and again.
    pub flapping: Option<Flapping>,
    /// The note that brought the present state about; from there causes lead back. `None`: nothing has happened yet.
    pub last_note: Option<NoteId>,
    /// What happens next and when.
    pub next: Option<(NextView, Mono)>,
}

/// A service that fails again and again: [`crate::action::Condition::Flapping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flapping {
    /// Since the failure that made it so.
    pub since: Mono,
    /// Failures so far, with those that made it so.
    pub failures: u32,
}

/// What a change of the configuration comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It is in force, no process is touched.
    Live,
    /// A process goes on with what it was started with; the new definition waits for the next start.
    Pending,
    /// The process is replaced.
    Restart,
    /// It starts: it was parked, waited for its restart, or is ending anyway.
    Start,
}

/// Where a service is in its life, with what explains it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StateView {
    /// No process, none wanted.
    Down(DownReason),
    /// It is to start, and this is in the way; `None`: nobody has looked yet.
    Waiting(Option<WaitingFor>),
    /// The operating system has been asked for a process.
    Spawning,
    /// A process that is not up yet.
    Starting(Awaited),
    /// Up.
    Up,
    /// Up, without a process: a oneshot that remains after its commands have ended well.
    Exited,
    /// Still up, but it stops as soon as those that stop before it are gone.
    Leaving {
        /// Why.
        cause: StopCause,
        /// One of them.
        first: Option<ServiceId>,
    },
    /// On its way down.
    Stopping(StopCause),
    /// The main process has ended; its report and its tree are being settled.
    Ending {
        /// How it ended; `None` when it could not be started.
        exit: Option<Exit>,
        /// What is left of its tree.
        left: u32,
    },
    /// The next start has a time.
    Backoff {
        /// What the last run ended with; `None`: an end that is no failure.
        failure: Option<Failure>,
    },
    /// Given up.
    Parked(ParkReason),
}

impl StateView {
    /// The service that is in the way of what is to come.
    #[must_use]
    pub fn waits_for(self) -> Option<ServiceId> {
        match self {
            Self::Waiting(on) => on.and_then(WaitingFor::service),
            Self::Leaving { first, .. } => first,
            Self::Down(_)
            | Self::Spawning
            | Self::Starting(_)
            | Self::Up
            | Self::Exited
            | Self::Stopping(_)
            | Self::Ending { .. }
            | Self::Backoff { .. }
            | Self::Parked(_) => None,
        }
    }
}

/// What a start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// That it is ready, as `[ready]` wants it.
    Ready,
    /// The first success of its health check.
    Health,
    /// The end of a command that is meant to end.
    End,
}

/// What the health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthView {
    /// No check, or no process.
    None,
    /// No success yet in this run, or not asked before it is ready.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// This many in a row failed, fewer than it takes.
    Failing(u32),
    /// At least `retries` in a row failed.
    Unhealthy(u32),
}

/// What comes of changed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchView {
    /// Nothing is watched.
    None,
    /// What the policy says.
    Watching,
    /// Files changed; when they count as settled.
    Settling(Mono),
    /// Nothing: so many starts or signals in a row had a change soon after them.
    Suspended {
        /// So many.
        times: u32,
    },
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextView {
    /// A start.
    Start,
    /// A health probe.
    Probe,
    /// SIGKILL.
    Kill,
    /// The start counts as failed.
    StartTimeout,
    /// The counters start again.
    ResetCounters,
    /// The command that runs beside it, or after it, has had its time.
    RunTimeout,
}
