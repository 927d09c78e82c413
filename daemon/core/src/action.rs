//! What can be done.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::event::{Exit, RequestId, ServiceId, Verb};
use crate::time::Mono;
use crate::verdict::{Decision, Failure, ParkReason, SoFar};
use crate::view::Effect;

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// The main process.
    Main,
    /// Its whole process group.
    Group,
}

/// Which of a service's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// One of `exec_start_pre`.
    StartPre(usize),
    /// `exec`: the only command, or one of a oneshot's.
    Exec(usize),
    /// One of `exec_start_post`.
    StartPost(usize),
    /// One of `exec_reload`, beside `exec`.
    Reload(usize),
    /// One of `exec_stop`.
    Stop(usize),
    /// One of `exec_stop_post`.
    StopPost(usize),
}

/// What a probe is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probing {
    /// Is it ready? `[service.NAME.ready]`
    Ready,
    /// Is it well? `[service.NAME.health]`
    Health,
}

/// What the shell is to do, without waiting for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start one of the service's commands; its output is drained from the first byte.
    Spawn {
        /// Which one.
        service: ServiceId,
        /// The number of this start.
        generation: u64,
        /// Which command of it.
        command: Command,
        /// It is the first one of a start: a definition that waited for the next start is in force.
        first: bool,
    },
    /// Send a signal to a process that has not ended as far as the core knows.
    Signal {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// The signal's number.
        signal: i32,
        /// For whom.
        whom: Whom,
    },
    /// The main process is dead: read what it wrote, look at what is left of its tree.
    Settle {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// Send a signal to everything that is left of a dead process's tree, and look again.
    SignalTree {
        /// Which one.
        service: ServiceId,
        /// Which start of it; 0: what an earlier life of the daemon left.
        generation: u64,
        /// The signal's number.
        signal: i32,
    },
    /// Put a crash report on disk.
    RecordCrash(Box<Crash>),
    /// The run is over and nothing is left of it.
    Forget {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// Run a command beside the process, or after it. Of all but `exec_reload` what it starts belongs to the tree of this
    /// run.
    Run {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Which command beside this start.
        number: u64,
        /// What.
        command: Command,
        /// How long it may take. The runner of `exec_reload` sees to it; the others are ended by [`Action::EndRun`].
        timeout: Duration,
        /// How the service has fared so far, for those that run when it stops.
        so_far: Option<SoFar>,
    },
    /// A command beside the process has had its time, or nobody waits for it any more: end it.
    EndRun {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Which command beside this start.
        number: u64,
    },
    /// The commands beside a dead process are over: look once more at what is left of its tree.
    Look {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// Ask it whether it is ready, or well.
    Probe {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Which probe of this start; those for readiness and those for health count together.
        probe: u64,
        /// What.
        of: Probing,
    },
    /// Answer a client. Every command gets exactly one.
    Reply {
        /// Who waits.
        request: RequestId,
        /// Of which service.
        service: ServiceId,
        /// What became of it.
        outcome: Outcome,
    },
    /// Something worth writing down.
    Note(Note),
    /// Read the configuration again: its files changed.
    Reload,
    /// The service is gone: nothing will be said of it any more.
    Removed {
        /// Which one.
        service: ServiceId,
    },
    /// Every service that starts with the daemon is up or has failed: once.
    Ready,
    /// After a shutdown: nothing runs any more.
    Finished,
}

/// What the report of a crash needs from the core.
#[derive(Debug, Clone, PartialEq)]
pub struct Crash {
    /// Which one.
    pub service: ServiceId,
    /// Which start of it.
    pub generation: u64,
    /// What kind of end.
    pub failure: Failure,
    /// How the process ended; `None` when there was none.
    pub exit: Option<Exit>,
    /// The main process.
    pub pid: Option<u32>,
    /// When the run began.
    pub started: Mono,
    /// When it ended.
    pub ended: Mono,
    /// What follows.
    pub decision: Decision,
    /// Which command failed so.
    pub command: Command,
    /// It was a command beside the process; `None`: the process itself, or one of the commands before it.
    pub beside: Option<Blamed>,
}

/// A command beside the process that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blamed {
    /// Which one.
    pub number: u64,
    /// How long it ran.
    pub took: Duration,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is as asked for.
    Done,
    /// It was so already.
    Already,
    /// The process ended before it was up; the decision says what follows.
    StartFailed {
        /// Which start of it.
        generation: u64,
        /// What kind of end; `None`: an end that is no failure.
        failure: Option<Failure>,
        /// How the process ended.
        exit: Option<Exit>,
        /// What follows.
        decision: Decision,
    },
    /// It runs, but nothing has said within `start_timeout` that it is up.
    NotUpInTime,
    /// Another command took over.
    Superseded {
        /// Which one.
        by: Verb,
    },
    /// It waits for this service, which is not about to be as it needs it, and goes on when it is.
    Blocked {
        /// Which one.
        on: ServiceId,
    },
    /// The service was removed from the configuration meanwhile.
    Removed,
    /// There is no process to do it to.
    NotRunning,
    /// It has no `exec_reload`.
    NoReload,
    /// A command of `exec_reload` has failed.
    ReloadFailed,
    /// The daemon is on its way down.
    ShuttingDown,
    /// No such service (any more).
    Unknown,
}

/// The number of a note; grows by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NoteId(pub u64);

/// Something that happened or was decided, and what brought it about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// This note.
    pub id: NoteId,
    /// What brought it about.
    pub cause: Option<NoteId>,
    /// When.
    pub at: Mono,
    /// Whose; `None`: the daemon's own.
    pub service: Option<ServiceId>,
    /// Which start of it.
    pub generation: u64,
    /// What.
    pub kind: NoteKind,
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NoteKind {
    /// A person asked for something.
    Asked(Verb),
    /// Another service that is started wants it up.
    Wanted {
        /// Which one.
        by: ServiceId,
    },
    /// It is to start, and something is in the way.
    Waiting {
        /// What.
        on: WaitingFor,
    },
    /// A process was asked for.
    Spawning,
    /// It runs.
    Started {
        /// The main process.
        pid: u32,
    },
    /// It is up.
    Up {
        /// From the start until now.
        after: Duration,
        /// By what.
        by: UpBy,
    },
    /// No process came of it.
    SpawnFailed {
        /// Which command it was.
        command: Command,
        /// The start goes on all the same.
        ignored: bool,
    },
    /// The main process ended.
    Exited {
        /// Which command it was.
        command: Command,
        /// It has failed, and the start goes on all the same.
        ignored: bool,
        /// How.
        exit: Exit,
        /// A stop or restart was on its way.
        expected: bool,
    },
    /// A report is being written.
    Crashed {
        /// What kind.
        failure: Failure,
    },
    /// It is asked to end.
    Stopping {
        /// Why.
        why: StopCause,
    },
    /// It did not end in time: SIGKILL.
    Killing,
    /// Not even SIGKILL ended it.
    StillAlive,
    /// Processes outlived the main process and are being ended.
    Leftovers {
        /// So many.
        left: u32,
    },
    /// The first health probe that failed after one that succeeded.
    ProbeFailed,
    /// Processes of an earlier life of the daemon are there and are being ended.
    Inherited {
        /// So many.
        left: u32,
    },
    /// The health check failed so often in a row that it is a failure.
    Unhealthy {
        /// So often.
        failures: u32,
    },
    /// The health check succeeds (again).
    Healthy,
    /// No verdict came, not even a timeout.
    ProbeLost,
    /// The first probe that could not be carried out, after one that could: nothing is known of its health.
    ProbeUnknown,
    /// The first one that could, after that.
    ProbeKnown,
    /// The next start has a time.
    Backoff {
        /// From the end of the last run.
        delay: Duration,
        /// The number of this restart in a row.
        attempt: u32,
    },
    /// Given up.
    Parked(ParkReason),
    /// It is down.
    Down(DownReason),
    /// Something is wrong with it from now on. Its cause is the note that brought this about, and it is nobody's cause.
    Opened(Condition),
    /// That is over; the same holds for its cause.
    Closed {
        /// What.
        condition: Condition,
        /// For so long it was open.
        after: Duration,
    },
    /// It says that it reloads its configuration.
    Reloading,
    /// It says that this is done.
    Reloaded,
    /// It has not said so within `start_timeout`: it counts as done.
    ReloadSlow,
    /// A command of `exec_reload` has failed. The process runs on.
    ReloadFailed,
    /// A command of `exec_start_post`, `exec_stop` or `exec_stop_post` runs.
    Runs(Command),
    /// One of them has failed, or took too long, and that is not ignored.
    RunFailed(Command),
    /// A stable run started the counters again.
    CountersReset,
    /// The spawn has not been answered in time.
    SpawnSlow,
    /// What the dead process had written has not been read in time.
    DrainSlow,
    /// The crash report has not reached the disk in time.
    RecordSlow,
    /// A reload changed it.
    Redefined {
        /// What that comes to.
        effect: Effect,
    },
    /// A reload removed it.
    Removed,
    /// Everything is to stop.
    ShuttingDown,
    /// Files that it watches changed, and have been quiet since.
    FilesChanged {
        /// What follows.
        then: Then,
    },
    /// Something on disk is newer than the process from now on.
    Stale {
        /// What.
        what: Stale,
    },
    /// The files of the configuration changed, and have been quiet since.
    ConfigChanged,
    /// It is parked, and what its start needs has changed and been quiet since: it starts.
    ProgramChanged,
    /// Files changed soon after every one of the last starts: nothing follows from a change any more.
    WatchSuspended {
        /// So many starts or signals in a row.
        times: u32,
    },
}

/// What is wrong with a service for longer than a moment: it opens and closes once, in turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// It has failed, and has not been stable since. Over with a stable run (`restart.reset_after`, and at most
    /// [`crate::event::STEADY`]), with the good end of its work, and when somebody stops or resets it.
    Failing,
    /// It has failed [`crate::event::FLAPPING`] times within [`crate::event::FLAPPING_WITHIN`]. Over when it has been up for
    /// [`crate::event::STEADY`], and else as failing is.
    Flapping,
    /// It is given up, as [`NoteKind::Parked`] says.
    Parked,
    /// Its health check says that it is unhealthy, and `action = "report"` leaves it running.
    Unhealthy,
}

impl Condition {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Failing, Self::Flapping, Self::Parked, Self::Unhealthy];
}

/// What is newer than a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stale {
    /// The program that it runs.
    Program,
    /// Files that it watches.
    Files,
}

/// What follows from a change of watched files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// The process is replaced.
    Restart,
    /// It did not run, and starts now.
    Start,
    /// The commands of `exec_reload` run.
    Reload,
    /// The process gets this signal.
    Signal(i32),
}

/// What says that a service is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBy {
    /// It is ready, as `[ready]` wants it.
    Ready,
    /// Its health check succeeds.
    Health,
    /// Nothing but that the start period is over.
    StartPeriod,
    /// All its commands have ended well, and it remains.
    Completion,
    /// Nothing but that `exec_start_post` has ended well.
    StartPost,
}

/// Why a running service is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCause {
    /// Somebody said stop.
    Asked,
    /// Somebody said restart.
    Restart,
    /// A reload changed what it runs.
    Changed,
    /// A reload removed it.
    Removed,
    /// The daemon is on its way down.
    Shutdown,
    /// It was left by an earlier life of the daemon.
    EarlierLife,
    /// Files that it watches changed.
    Watch,
    /// It said so itself, `STOPPING=1`: an end that nobody asked for.
    Announced,
    /// Somebody said stop to this service, without which it is not to be.
    StoppedWith(ServiceId),
    /// This service is restarted, by which it was started.
    RestartedWith(ServiceId),
    /// This service, to which it is bound, is up no more.
    Unbound(ServiceId),
    /// This service is started, with which it conflicts.
    Conflict(ServiceId),
    /// It failed while its process lived.
    Failure(Failure),
}

impl StopCause {
    /// Not the service's own doing.
    #[must_use]
    pub fn is_asked(self) -> bool {
        match self {
            Self::Announced | Self::Failure(_) => false,
            Self::Asked
            | Self::Restart
            | Self::Changed
            | Self::Removed
            | Self::Shutdown
            | Self::EarlierLife
            | Self::StoppedWith(_)
            | Self::RestartedWith(_)
            | Self::Unbound(_)
            | Self::Conflict(_)
            | Self::Watch => true,
        }
    }
}

/// What a service that is to start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitingFor {
    /// This one, which it needs, to be up.
    Up(ServiceId),
    /// This one, which comes before it, to have started, or to have shown that it does not.
    Started(ServiceId),
    /// This one to be gone: they conflict, or the one's stop comes before the other's start.
    Gone(ServiceId),
    /// One of the places of `max_parallel_starts`.
    Place,
}

/// Why a service is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownReason {
    /// It never ran.
    NeverStarted,
    /// Somebody asked for it.
    Stopped,
    /// Somebody stopped this service, without which it is not to be.
    StoppedWith(ServiceId),
    /// This service was started, with which it conflicts.
    Conflict(ServiceId),
    /// It ended well, and the policy does not restart it then.
    Finished(Exit),
    /// It failed, and the policy does not restart it then.
    Failed(Failure),
    /// All its commands have ended well: it is a oneshot and does not remain.
    Completed,
    /// A person reset it after it was parked.
    Reset,
}
