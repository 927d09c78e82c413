//! What can happen.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::action::NoteId;
use crate::policy::Policy;
use crate::time::Mono;

/// A service, for as long as the daemon knows it. The shell hands the numbers out and never uses one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId(pub u32);

/// A request of a client that waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// What a person can ask of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Be up.
    Start,
    /// Be down.
    Stop,
    /// Be up with a new process.
    Restart,
    /// Forget the failures.
    Reset,
    /// Run `exec_reload`.
    Reload,
    /// Send a signal: to the main process, or to the whole group.
    Signal(i32, crate::action::Whom),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal {
        /// Which one.
        signal: i32,
        /// The kernel wrote a core file.
        core_dumped: bool,
    },
}

/// What a reload does to a service that stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Redefinition {
    /// The new policy: of every process that starts from now on, and in force at once where none runs.
    pub policy: Policy,
    /// What of it holds for a process that was started before; in force while that one lives.
    pub live: Policy,
    /// What it takes.
    pub change: Change,
}

/// What a reload takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only settings that a process does not notice.
    Settings,
    /// What it runs changed, or what kept it down: a parked or waiting service starts at once, a process goes on with what
    /// it was started with until it ends.
    Definition,
    /// The same, and a process is replaced at once.
    Replace,
}

/// What a service may say about itself, `sd_notify(3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// `READY=1`: the start is over, or a reload.
    Ready,
    /// `RELOADING=1`
    Reloading,
    /// `STOPPING=1`: it is on its way down by its own decision.
    Stopping,
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it wants to be treated as if it had not said so in time.
    Trigger,
    /// `EXTEND_TIMEOUT_USEC=`: the present time limit ends this long from now at the earliest.
    Extend(Duration),
}

/// What happened. Everything that comes from a process carries service and generation, never a bare pid.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The configuration has this service.
    Define {
        /// Its new number, or that of a service that is just being removed: then it stays.
        service: ServiceId,
        /// How it is to be run.
        policy: Box<Policy>,
        /// Start it.
        start: bool,
        /// Its program cannot be found: with `start` it is parked at once.
        program_missing: bool,
        /// So many processes of it are left from an earlier life of the daemon: they are ended before anything else.
        left: u32,
    },
    /// A reload changed this service.
    Redefine {
        /// Which one.
        service: ServiceId,
        /// To what.
        to: Box<Redefinition>,
    },
    /// A reload removed this service: it stops and is forgotten.
    Remove {
        /// Which one.
        service: ServiceId,
    },
    /// A configuration is read, the first one or another: what it defines, redefines and removes follows, and then
    /// [`Event::Begun`].
    Reloading {
        /// The note that it comes with: what follows from it leads back to that.
        by: Option<NoteId>,
    },
    /// Files that the service's `[watch]` names changed.
    FilesChanged {
        /// Which one's.
        service: ServiceId,
    },
    /// Its program changed on disk, or a place where that is looked for, or what else a start needs.
    ProgramChanged {
        /// Which one's.
        service: ServiceId,
    },
    /// A file of the configuration changed.
    ConfigChanged,
    /// All services of the configuration have been told of. From the start, or from [`Event::Reloading`], until this
    /// nothing starts or stops: the next definition may be what the last one needs.
    Begun,
    /// So many services may be starting at the same time; 0: any number.
    Limit {
        /// `max_parallel_starts`
        parallel_starts: u32,
    },
    /// A client asks for something.
    Command {
        /// Who waits for the reply.
        request: RequestId,
        /// Of which service.
        service: ServiceId,
        /// What.
        verb: Verb,
    },
    /// Everything is to stop; a second time: at once.
    Shutdown,
    /// The answer to [`crate::Action::Spawn`].
    Spawned {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// The main process.
        pid: u32,
        /// When it began: a little earlier than the news of it.
        at: Mono,
    },
    /// The other answer to [`crate::Action::Spawn`].
    SpawnFailed {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// It would fail again until somebody changes something: no program, no such user, a refused limit.
        permanent: bool,
    },
    /// The main process ended.
    Exited {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// How.
        exit: Exit,
        /// Before that the kernel killed a process of this run for want of memory, and with it all of them.
        oom: bool,
    },
    /// What the dead process had written says that it lacks something which no restart brings: a port that another process
    /// holds, a module, a program. To be told before [`Event::Drained`].
    Lacks {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// What the dead process had written is read.
    Drained {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// Somebody looked at what is left of a dead process's tree.
    TreeLeft {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// So many processes.
        left: u32,
    },
    /// The crash report is on disk, or cannot be written.
    CrashRecorded {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// The answer to [`crate::Action::Run`].
    RunEnded {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Which command beside this start.
        number: u64,
        /// How.
        end: RunEnd,
    },
    /// It has said that it is ready: by the line of output that `[ready] log` waits for.
    Ready {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// A process of its tree said something about it (`sd_notify(3)`).
    Notified {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// What.
        said: Said,
    },
    /// The answer to [`crate::Action::Probe`].
    Probed {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Which probe of this start.
        probe: u64,
        /// What it found.
        finding: Finding,
    },
}

/// How a command beside a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// Well: with code 0.
    Well,
    /// Otherwise; `None`: it was not started.
    Badly(Option<Exit>),
    /// It cannot be started as things are: another try would fail as well.
    Cannot,
}

/// What a probe says of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Healthy.
    Good,
    /// Not healthy: a bad answer, or none within the probe's timeout.
    Bad,
    /// Nothing: it could not be carried out. Kubernetes' `Unknown`; neither a failure nor a success.
    Unknown,
}

/// A process that lived without a health check for this long counts as started when somebody waits for it: an import
/// error or a port in use shows within that time, and supervisord's `startsecs` made it the habit.
pub const SETTLE: Duration = Duration::from_secs(1);

/// How long a dead process's last output is waited for: whoever reads it has a limit of its own for pipes that stay
/// open, this is for a reader that is stuck itself, and must not keep a service down.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How long a restart waits for the crash report to reach the disk: a hung disk must not keep a service down.
pub const RECORD_LIMIT: Duration = Duration::from_secs(3);

/// A writer that never pauses must not put off for ever what follows from its changes: after so many times `debounce`
/// they count as settled. A checkout of ten thousand files onto a slow disk takes seconds and is to be one change.
pub const MOST_DEBOUNCES: u32 = 30;

/// A configuration is one when its files have been quiet for this long (or change for [`MOST_DEBOUNCES`] times as long): an
/// editor is done with the file by then, and who copies several of them with the next one.
pub const CONFIG_SETTLES: Duration = Duration::from_millis(500);

/// A program that changes is being written, given its mode, renamed: it is tried when that has been over for this long.
pub const PROGRAM_SETTLES: Duration = Duration::from_millis(500);

/// A change this soon after a start (or after the signal that the last change brought) may be the service's own work:
/// byte code, a lock file, a log. A person needs longer to see what a change did and to make the next one.
pub const SOON: Duration = Duration::from_secs(3);

/// So many starts in a row with such a change after each of them are a service that writes into what it watches.
pub const OWN_WRITES: u32 = 5;

/// How long after a probe's own timeout the core waits for its verdict. The prober sees to the timeout, and what hangs
/// that long is a failure; a prober that says nothing at all says nothing of the service.
pub const PROBE_GRACE: Duration = Duration::from_secs(2);

/// How long after the time that a command beside a process may take the core waits for news of its end.
pub const RUN_GRACE: Duration = PROBE_GRACE;

/// So many failures in [`FLAPPING_WITHIN`] are flapping: systemd gives up after five starts, and what it takes for a crash
/// loop is one.
pub const FLAPPING: usize = 5;

/// One crash in two minutes is no accident any more, and longer than that no restart delay grows by itself.
pub const FLAPPING_WITHIN: Duration = Duration::from_secs(600);

/// What has been up for this long, and healthy where that is checked, flaps no more, and is failing no more. Half of
/// [`FLAPPING_WITHIN`]: what has begun with a failure every two minutes is not over because one run took three.
pub const STEADY: Duration = Duration::from_secs(300);

/// How often SIGKILL is sent again to what does not die of it (a process in uninterruptible sleep).
pub const KILL_AGAIN: Duration = Duration::from_secs(10);
