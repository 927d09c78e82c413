//! The life of one service: what is wanted, and what is.
//!
//! Each actual state holds its own data. A function per event moves from one state to the next and says what is to be
//! done. The functions stand by what brings them about:
//!
//! | file | question |
//! |---|---|
//! | `configured` | what does the configuration say of it? |
//! | `asked` | what do people ask? |
//! | `answers` | what do those hear who wait for it? |
//! | `along` | what befalls it because of another one? |
//! | `waiting` | what is in the way of a start or a stop, and what is it to the others? |
//! | `commands` | which command is next? |
//! | `ready` | is the start over? |
//! | `hooks` | what runs beside it? |
//! | `after` | which commands run when it stops, and after it? |
//! | `living` | is it well? |
//! | `notify` | what does it say of itself? |
//! | `ending` | what was that end, and what follows? |
//! | `conditions` | what is wrong with it for longer than a moment? |
//! | `inherited` | what did an earlier life of the daemon leave? |
//! | `owed` | what does a successor of the daemon have to ask for again? |
//! | `deadlines` | when does it need the core next? |
//! | `due` | what does time bring? |
//! | `renewed` | its program changed: is the process old, may a parked one start? |
//! | `watched` | files changed: what follows? |
//! | `words` | what is said of it, and what brought that about? |

mod after;
mod along;
mod answers;
mod asked;
mod commands;
mod conditions;
mod configured;
mod deadlines;
mod due;
mod ending;
mod hooks;
mod inherited;
mod living;
mod notify;
mod owed;
mod ready;
mod renewed;
mod waiting;
mod watched;
mod words;

use serde::{Deserialize, Serialize};
use std::time::Duration;

use self::after::{Stage, Step};
use self::commands::Nature;
use self::hooks::{Beside, Blame};
use self::ready::Readiness;
use crate::action::{
    Action, Blamed, Command, Crash, DownReason, Note, NoteId, NoteKind, Outcome, Probing, StopCause, UpBy,
    WaitingFor, Whom,
};
use crate::event::{
    DRAIN_LIMIT, Exit, Finding, KILL_AGAIN, RECORD_LIMIT, Redefinition, RequestId, SETTLE, Said, ServiceId,
    Verb,
};
use crate::graph::Link;
use crate::health::{Health, Meaning, Sight};
use crate::policy::Policy;
use crate::time::{Chance, Mono};
use crate::verdict::{Decision, Failure, ParkReason, What, is_crash_signal};

pub(crate) use waiting::{Hope, Leave, Obstacle, Standing, Waiting};

/// `signal(7)`: systemd's `WatchdogSignal=`, so that whatever hangs can say where (a core, a stack).
const SIGABRT: i32 = 6;
/// `signal(7)`
const SIGKILL: i32 = 9;
/// `signal(7)`: a stopped process cannot act on SIGTERM before it.
const SIGCONT: i32 = 18;

/// What a transition may use besides the service itself.
pub(crate) struct Cx<'a> {
    pub(crate) now: Mono,
    pub(crate) out: &'a mut Vec<Action>,
    pub(crate) chance: &'a mut Chance,
    pub(crate) notes: &'a mut u64,
    pub(crate) shutting_down: bool,
    /// The shutdown was asked for twice: nobody gets time to end.
    pub(crate) hurry: bool,
    /// The note that the last configuration came with.
    pub(crate) configured: Option<NoteId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Want {
    Up,
    Down,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Actual {
    Down(DownReason),
    /// It is to start, and has not been let.
    Waiting(Waiting),
    /// An answer to [`Action::Spawn`] is owed.
    Spawning(Spawning),
    /// A process that is not ready yet; or whose health check has not succeeded yet, in its start period.
    Starting(Child),
    Up(Child),
    /// Up without a process: a oneshot that remains.
    Exited,
    Stopping(Stopping),
    /// The main process is dead, the run is not settled.
    Ending(Box<Ending>),
    Backoff {
        until: Mono,
        failure: Option<Failure>,
    },
    Parked(ParkReason),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spawning {
    asked: Mono,
    nature: Nature,
    /// A reload changed what it runs meanwhile: if nothing comes of this start, the new one is tried at once.
    outdated: bool,
    /// What comes of it is replaced, for this reason, as soon as it is there.
    replace: Option<StopCause>,
    /// The note of that.
    replaced_by: Option<NoteId>,
    /// Said that the answer takes long.
    slow: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) started: Mono,
    nature: Nature,
    /// Probes of this run so far. Longer-lived than a health check, which a reload replaces: an answer to the old
    /// one's probe must not pass for an answer to the new one's.
    probes: u64,
    /// What has to be seen before it is up; `None` once it is.
    pub(crate) readiness: Option<Readiness>,
    /// Armed only once it is ready.
    pub(crate) health: Option<Health>,
    /// By when it has to say that it is alive, while it is up.
    watchdog: Option<Mono>,
    /// It asked for its start to end no earlier.
    extended: Option<Mono>,
    /// It says that it reloads, and is believed until then.
    pub(crate) reloading: Option<Mono>,
    /// The command that runs beside it: while it starts of `exec_start_post`, while it is up of `exec_reload`.
    beside: Option<Beside>,
    /// What says that it is up, while `exec_start_post` runs.
    up_by: Option<UpBy>,
    /// When it was last signalled or told to reload, and the note of that.
    nudged: Option<(Mono, NoteId)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stopping {
    child: Child,
    cause: StopCause,
    step: Step,
    /// A command of `exec_stop` that has failed, or the one of `exec_start_post` because of which it stops.
    blame: Option<Blame>,
    /// A start or restart was asked for since: it goes before whatever the policy says of this end.
    start_now: bool,
}

/// The stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Rung {
    /// Asked to end; SIGKILL at this time.
    Asked(Mono),
    /// SIGKILL was sent; again at this time.
    Killed(Mono),
    /// SIGKILL was sent more than once; again at this time.
    Deaf(Mono),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ending {
    /// `None`: it could not be started.
    exit: Option<Exit>,
    failure: Option<Failure>,
    cause: Option<StopCause>,
    pid: Option<u32>,
    started: Mono,
    ended: Mono,
    decision: Decision,
    /// The same for the decision that is taken already.
    start_now: bool,
    report: Report,
    /// Its output says that it lacks something which no restart brings.
    lacks: bool,
    /// What the last look found of its tree; `None`: not looked yet.
    left: Option<u32>,
    rung: Rung,
    /// The process did not end in time.
    killed: bool,
    /// Which commands are next once nothing is left.
    stage: Stage,
    /// The one that runs.
    beside: Option<Beside>,
    /// The one that failed first, and not the process.
    blame: Option<Blame>,
}

/// Where the crash report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Report {
    /// The output is read once the commands of `exec_stop` are over, which the process did not live to see.
    Later {
        crash: bool,
    },
    /// The output is being read until this time; a report follows when the end was a crash.
    Draining {
        crash: bool,
        until: Mono,
    },
    /// On its way to the disk; given up at this time.
    Writing(Mono),
    Settled,
}

/// Somebody who waits for a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiter {
    request: RequestId,
    goal: Goal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Goal {
    /// Up, in this generation or a later one.
    Up {
        generation: u64,
    },
    Down,
    /// A whole reload that begins no earlier than it was asked for; `next`: not the one that runs, but the next.
    Reloaded {
        next: bool,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    /// In force.
    pub(crate) policy: Policy,
    /// In force from the next start on: the process was started before the configuration changed.
    pub(crate) next_policy: Option<Box<Policy>>,
    pub(crate) want: Want,
    pub(crate) actual: Actual,
    pub(crate) since: Mono,
    pub(crate) generation: u64,
    /// Which command this generation is.
    pub(crate) command: Command,
    /// Commands beside and after this generation so far.
    runs: u64,
    /// When the first command of this start was asked for.
    begun: Mono,
    /// Automatic restarts in a row.
    pub(crate) attempt: u32,
    pub(crate) restarts_total: u64,
    /// To be forgotten once it is down.
    pub(crate) removing: bool,
    /// The definition that is in force once this run is over has no program: it parks then.
    pub(crate) program_missing: bool,
    /// Its process is to be stopped as soon as those that stop before it are gone.
    pub(crate) leave: Option<Leave>,
    /// Why down is wanted, while it is.
    why_down: StopCause,
    waiters: Vec<Waiter>,
    words: words::Words,
    /// The deadline that the index holds for it.
    #[serde(skip)]
    pub(crate) indexed: Option<Mono>,
    /// Until when the daemon waits for it before it says that it is ready; the index of that holds the same.
    pub(crate) settles_by: Option<Mono>,
    watched: watched::Watched,
    renewed: renewed::Renewed,
    trouble: Option<Box<conditions::Trouble>>,
}

impl Stopping {
    pub(crate) fn cause(&self) -> StopCause {
        self.cause
    }

    /// When SIGKILL is due, for the first time or again.
    pub(crate) fn due(&self) -> Mono {
        self.step.due()
    }
}

impl Ending {
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Why it ends, where there has been no process: what an earlier life left, and what was up without one.
    pub(crate) fn without_process(&self) -> Option<StopCause> {
        self.cause.filter(|_| self.exit.is_none())
    }

    /// What the last look found of its tree.
    pub(crate) fn left(&self) -> u32 {
        self.left.unwrap_or(0)
    }

    /// When SIGKILL is due for what is left, for the first time or again.
    pub(crate) fn due(&self) -> Mono {
        self.rung.at()
    }
}

impl Service {
    pub(crate) fn new(id: ServiceId, policy: Policy, now: Mono) -> Self {
        Self {
            id,
            policy,
            next_policy: None,
            want: Want::Down,
            actual: Actual::Down(DownReason::NeverStarted),
            since: now,
            generation: 0,
            command: Command::Exec(0),
            runs: 0,
            begun: now,
            attempt: 0,
            restarts_total: 0,
            removing: false,
            program_missing: false,
            leave: None,
            why_down: StopCause::Asked,
            waiters: Vec::new(),
            words: words::Words::default(),
            indexed: None,
            settles_by: None,
            watched: watched::Watched::default(),
            renewed: renewed::Renewed::default(),
            trouble: None,
        }
    }

    /// It has shown what becomes of it: up, down or given up. A crash loop has not, while there is hope.
    pub(crate) fn has_settled(&self) -> bool {
        match &self.actual {
            Actual::Down(_) | Actual::Up(_) | Actual::Parked(_) => true,
            // What it waits for has settled, and not as it needs it.
            Actual::Waiting(_) => self.standing() == Standing::Never,
            Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. } => self.counts_as_up(),
        }
    }

    // ---- what is

    pub(crate) fn child(&self) -> Option<&Child> {
        match &self.actual {
            Actual::Starting(child) | Actual::Up(child) | Actual::Stopping(Stopping { child, .. }) => {
                Some(child)
            }
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => None,
        }
    }

    /// The child that nobody has asked to end, and whether it is still starting.
    fn running(&mut self) -> Option<(&mut Child, bool)> {
        match &mut self.actual {
            Actual::Starting(child) => Some((child, true)),
            Actual::Up(child) => Some((child, false)),
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => None,
        }
    }

    /// Nothing runs, nothing is owed, and it is not up.
    pub(crate) fn is_at_rest(&self) -> bool {
        match self.actual {
            Actual::Down(_) | Actual::Waiting(_) | Actual::Backoff { .. } | Actual::Parked(_) => true,
            Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_) => false,
        }
    }

    // ---- small steps

    fn enter(&mut self, cx: &mut Cx<'_>, mut actual: Actual) {
        self.leave_beside(cx, &mut actual);
        self.since = cx.now;
        self.actual = actual;
        self.mind_conditions(cx);
    }

    /// A start from its first command on.
    fn spawn(&mut self, cx: &mut Cx<'_>) {
        if let Some(next) = self.next_policy.take() {
            self.policy = *next;
        }
        self.begun = cx.now;
        self.spawn_command(cx, self.policy.commands.first(), true);
    }

    fn spawn_command(&mut self, cx: &mut Cx<'_>, command: Command, first: bool) {
        self.generation += 1;
        self.command = command;
        self.runs = 0;
        if first {
            // What changes from now on may not have been seen by each of them.
            self.watched.begun(cx.now);
        }
        self.renewed.begun();
        if first {
            self.note_effect(cx, NoteKind::Spawning);
        } else {
            self.note(cx, NoteKind::Spawning);
        }
        cx.out.push(Action::Spawn { service: self.id, generation: self.generation, command, first });
        let nature = self.policy.commands.nature(command);
        let spawning = Spawning {
            asked: cx.now,
            nature,
            outdated: false,
            replace: None,
            replaced_by: None,
            slow: false,
        };
        self.enter(cx, Actual::Spawning(spawning));
    }

    fn stop_child(&mut self, cx: &mut Cx<'_>, child: Child, cause: StopCause) {
        self.note_stopping(cx, cause);
        let start_now = self.is_lost_to_a_restart(cause);
        self.forget_leave();
        if self.stops_by_commands(cx, cause) {
            self.begin_exec_stop(cx, child, cause, start_now);
        } else {
            let step = self.first_rung(cx, cause);
            self.enter(cx, Actual::Stopping(Stopping { child, cause, step, blame: None, start_now }));
        }
    }

    /// A command of `exec_start_post` has failed.
    fn stop_blamed(&mut self, cx: &mut Cx<'_>, child: Child, blame: Blame) {
        let cause = StopCause::Failure(blame.failure);
        self.note_stopping(cx, cause);
        let start_now = self.is_lost_to_a_restart(cause);
        self.forget_leave();
        let step = self.first_rung(cx, cause);
        self.enter(cx, Actual::Stopping(Stopping { child, cause, step, blame: Some(blame), start_now }));
    }

    /// What fails while it waits to be restarted is restarted as it was asked for.
    fn is_lost_to_a_restart(&self, cause: StopCause) -> bool {
        !cause.is_asked() && self.was_to_restart()
    }

    /// The commands of `exec_stop` are over, and the process lives.
    fn ask_to_end(&mut self, cx: &mut Cx<'_>) {
        let Actual::Stopping(Stopping { cause, .. }) = &self.actual else { return };
        let step = self.first_rung(cx, *cause);
        if let Actual::Stopping(stopping) = &mut self.actual {
            stopping.step = step;
        }
    }

    /// It gets the stop signal.
    fn first_rung(&self, cx: &mut Cx<'_>, cause: StopCause) -> Step {
        let (service, generation) = (self.id, self.generation);
        let hangs = cause == StopCause::Failure(Failure::Watchdog);
        let signal = if hangs { SIGABRT } else { self.policy.stop_signal };
        cx.out.push(Action::Signal { service, generation, signal, whom: Whom::Group });
        if signal != SIGKILL {
            // What is stopped (SIGSTOP, a debugger) would sleep through the request: as systemd, wake it.
            cx.out.push(Action::Signal { service, generation, signal: SIGCONT, whom: Whom::Group });
        }
        let patience = if cx.hurry { Duration::ZERO } else { self.policy.stop_timeout };
        Step::Ladder(Rung::Asked(cx.now + patience))
    }

    /// Down, as it was asked for.
    fn go_down_as_asked(&mut self, cx: &mut Cx<'_>) {
        let why = match self.why_down {
            StopCause::StoppedWith(other) => DownReason::StoppedWith(other),
            StopCause::Conflict(other) => DownReason::Conflict(other),
            StopCause::Asked
            | StopCause::Restart
            | StopCause::Changed
            | StopCause::Removed
            | StopCause::Shutdown
            | StopCause::RestartedWith(_)
            | StopCause::Unbound(_)
            | StopCause::Watch
            | StopCause::EarlierLife
            | StopCause::Announced
            | StopCause::Failure(_) => DownReason::Stopped,
        };
        self.go_down(cx, why);
    }

    /// To everything that is left of the tree. What is stopped (SIGSTOP) is woken, as `stop_child` does.
    fn signal_tree(&self, cx: &mut Cx<'_>, signal: i32) {
        let (service, generation) = (self.id, self.generation);
        cx.out.push(Action::SignalTree { service, generation, signal });
        if signal != SIGKILL {
            cx.out.push(Action::SignalTree { service, generation, signal: SIGCONT });
        }
    }

    fn go_down(&mut self, cx: &mut Cx<'_>, why: DownReason) {
        self.watched.forget_changes();
        self.renewed.forget_change();
        self.note_effect(cx, NoteKind::Down(why));
        if let DownReason::Finished(_) | DownReason::Completed = why {
            self.forget_failures(cx, None);
        }
        self.enter(cx, Actual::Down(why));
        self.answer_down(cx);
    }

    fn park(&mut self, cx: &mut Cx<'_>, why: ParkReason) {
        self.want = Want::Down;
        self.note_effect(cx, NoteKind::Parked(why));
        self.enter(cx, Actual::Parked(why));
        self.answer_down(cx);
    }
}

impl Rung {
    /// SIGKILL is sent, for the first time or again.
    fn next(self, now: Mono) -> Self {
        match self {
            Self::Asked(_) => Self::Killed(now + KILL_AGAIN),
            Self::Killed(_) | Self::Deaf(_) => Self::Deaf(now + KILL_AGAIN),
        }
    }

    fn at(self) -> Mono {
        match self {
            Self::Asked(at) | Self::Killed(at) | Self::Deaf(at) => at,
        }
    }
}
