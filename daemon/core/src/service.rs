//! The life of one service: what is wanted, and what is.
//!
//! Each actual state holds its own data. A function per event moves from one state to the next and says what is to be
//! done; `finish` is the one place where a run that is over turns into what follows.

use std::time::Duration;

use crate::action::{Action, Crash, DownReason, Note, NoteId, NoteKind, Outcome, StopCause, Whom};
use crate::event::{
    DRAIN_LIMIT, Exit, KILL_AGAIN, RECORD_LIMIT, Redefinition, RequestId, SETTLE, ServiceId, Verb,
};
use crate::health::{Health, Meaning};
use crate::policy::Policy;
use crate::time::{Chance, Mono};
use crate::verdict::{Decision, Failure, ParkReason, What, is_crash_signal};

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Up,
    Down,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Actual {
    Down(DownReason),
    /// An answer to [`Action::Spawn`] is owed.
    Spawning(Spawning),
    /// A process with a health check that has not succeeded yet, in its start period.
    Starting(Child),
    Up(Child),
    Stopping(Stopping),
    /// The main process is dead, the run is not settled.
    Ending(Box<Ending>),
    Backoff {
        until: Mono,
        failure: Option<Failure>,
    },
    Parked(ParkReason),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spawning {
    asked: Mono,
    /// A reload changed what it runs meanwhile: replace it as soon as it is there.
    outdated: bool,
    /// Said that the answer takes long.
    slow: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) started: Mono,
    /// Probes of this run so far. Longer-lived than a health check, which a reload replaces: an answer to the old
    /// one's probe must not pass for an answer to the new one's.
    probes: u64,
    pub(crate) health: Option<Health>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stopping {
    child: Child,
    cause: StopCause,
    rung: Rung,
    /// A start or restart was asked for since: it goes before whatever the policy says of this end.
    start_now: bool,
}

/// The stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    /// Asked to end; SIGKILL at this time.
    Asked(Mono),
    /// SIGKILL was sent; again at this time.
    Killed(Mono),
}

#[derive(Debug, Clone, PartialEq)]
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
    /// What the last look found of its tree; `None`: not looked yet.
    left: Option<u32>,
    rung: Rung,
}

/// Where the crash report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
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
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiter {
    request: RequestId,
    goal: Goal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Up, in this generation or a later one.
    Up {
        generation: u64,
    },
    Down,
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    pub(crate) policy: Policy,
    pub(crate) want: Want,
    pub(crate) actual: Actual,
    pub(crate) since: Mono,
    pub(crate) generation: u64,
    /// Automatic restarts in a row.
    pub(crate) attempt: u32,
    pub(crate) restarts_total: u64,
    /// To be forgotten once it is down.
    pub(crate) removing: bool,
    /// The definition that is in force once this run is over has no program: it parks then.
    pub(crate) program_missing: bool,
    waiters: Vec<Waiter>,
    /// The note that brought the present state about.
    cause: Option<NoteId>,
    /// The deadline that the index holds for it.
    pub(crate) indexed: Option<Mono>,
    /// Until when the daemon waits for it before it says that it is ready; the index of that holds the same.
    pub(crate) settles_by: Option<Mono>,
}

impl Stopping {
    pub(crate) fn cause(&self) -> StopCause {
        self.cause
    }

    /// When SIGKILL is due, for the first time or again.
    pub(crate) fn due(&self) -> Mono {
        self.rung.at()
    }
}

impl Ending {
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// What the last look found of its tree.
    pub(crate) fn left(&self) -> u32 {
        self.left.unwrap_or(0)
    }
}

impl Service {
    pub(crate) fn new(id: ServiceId, policy: Policy, now: Mono) -> Self {
        Self {
            id,
            policy,
            want: Want::Down,
            actual: Actual::Down(DownReason::NeverStarted),
            since: now,
            generation: 0,
            attempt: 0,
            restarts_total: 0,
            removing: false,
            program_missing: false,
            waiters: Vec::new(),
            cause: None,
            indexed: None,
            settles_by: None,
        }
    }

    /// It has shown what becomes of it: up, down or given up. A crash loop has not, while there is hope.
    pub(crate) fn has_settled(&self) -> bool {
        match &self.actual {
            Actual::Down(_) | Actual::Up(_) | Actual::Parked(_) => true,
            Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. } => false,
        }
    }

    // ---- what is

    pub(crate) fn child(&self) -> Option<&Child> {
        match &self.actual {
            Actual::Starting(child) | Actual::Up(child) | Actual::Stopping(Stopping { child, .. }) => {
                Some(child)
            }
            Actual::Down(_)
            | Actual::Spawning(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => None,
        }
    }

    /// Nothing runs and nothing is owed.
    pub(crate) fn is_at_rest(&self) -> bool {
        match self.actual {
            Actual::Down(_) | Actual::Backoff { .. } | Actual::Parked(_) => true,
            Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Stopping(_)
            | Actual::Ending(_) => false,
        }
    }

    /// When this service needs the core next.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        match &self.actual {
            Actual::Down(_) | Actual::Parked(_) => None,
            Actual::Spawning(spawning) => {
                (!spawning.slow).then(|| spawning.asked + self.policy.start_timeout)
            }
            Actual::Starting(child) => {
                let probe = child.health.as_ref().map(Health::deadline);
                earliest([probe, Some(self.start_ends(child)), self.patience_ends(child)])
            }
            Actual::Up(child) => {
                let probe = child.health.as_ref().map(Health::deadline);
                earliest([probe, self.counts_until(child), self.patience_ends(child)])
            }
            Actual::Stopping(stopping) => Some(stopping.rung.at()),
            Actual::Ending(ending) => {
                let report = match ending.report {
                    Report::Draining { until, .. } | Report::Writing(until) => Some(until),
                    Report::Settled => None,
                };
                let tree = ending.left.is_some_and(|left| left > 0).then(|| ending.rung.at());
                earliest([report, tree])
            }
            Actual::Backoff { until, .. } => Some(*until),
        }
    }

    /// A start is over at the end of the start period, for then the liveness check takes over, or it has failed at
    /// `start_timeout`, whichever comes first.
    fn start_ends(&self, child: &Child) -> Mono {
        child.started + self.start_period().min(self.policy.start_timeout)
    }

    fn start_period(&self) -> Duration {
        self.policy.health.as_ref().map_or(Duration::ZERO, |health| health.start_period)
    }

    /// The start period leaves it time to.
    fn start_may_time_out(&self) -> bool {
        self.start_period() >= self.policy.start_timeout
    }

    /// While it is up: when is this run a stable one, so that the counters start again? Only time that it was up counts,
    /// and a health check has to agree: a server that hangs on every start, for longer than `reset_after` each time,
    /// must reach its limit.
    pub(crate) fn counts_until(&self, child: &Child) -> Option<Mono> {
        let well = child.health.as_ref().is_none_or(|health| health.seen_healthy() && health.failures() == 0);
        (self.attempt > 0 && well).then(|| self.since + self.policy.restart.reset_after)
    }

    /// When does whoever waits for this process to be up get an answer, whatever it is then?
    fn patience_ends(&self, child: &Child) -> Option<Mono> {
        let generation = self.generation;
        let waited_for = self.waiters.iter().any(|waiter| match waiter.goal {
            Goal::Up { generation: wanted } => wanted <= generation,
            Goal::Down => false,
        });
        let patience = if self.up_by_living() { SETTLE } else { self.policy.start_timeout };
        waited_for.then(|| child.started + patience)
    }

    /// Living for a moment is all that can be asked of it: nothing says when it is ready.
    fn up_by_living(&self) -> bool {
        self.start_period().is_zero()
    }

    // ---- small steps

    fn note(&mut self, cx: &mut Cx<'_>, kind: NoteKind) {
        let id = NoteId(*cx.notes);
        *cx.notes += 1;
        let note = Note {
            id,
            cause: self.cause,
            at: cx.now,
            service: Some(self.id),
            generation: self.generation,
            kind,
        };
        cx.out.push(Action::Note(note));
        self.cause = Some(id);
    }

    /// A person's word is its own cause.
    fn note_asked(&mut self, cx: &mut Cx<'_>, kind: NoteKind) {
        self.cause = None;
        self.note(cx, kind);
    }

    fn enter(&mut self, cx: &Cx<'_>, actual: Actual) {
        self.since = cx.now;
        self.actual = actual;
    }

    fn reply(&self, cx: &mut Cx<'_>, request: RequestId, outcome: Outcome) {
        cx.out.push(Action::Reply { request, service: self.id, outcome });
    }

    fn answer(&mut self, cx: &mut Cx<'_>, of: impl Fn(Goal) -> Option<Outcome>) {
        let mut kept = Vec::new();
        for waiter in std::mem::take(&mut self.waiters) {
            match of(waiter.goal) {
                Some(outcome) => self.reply(cx, waiter.request, outcome),
                None => kept.push(waiter),
            }
        }
        self.waiters = kept;
    }

    fn supersede_starts(&mut self, cx: &mut Cx<'_>, by: Verb) {
        let outcome = if self.removing {
            Outcome::Removed
        } else if cx.shutting_down {
            Outcome::ShuttingDown
        } else {
            Outcome::Superseded { by }
        };
        self.answer(cx, |goal| matches!(goal, Goal::Up { .. }).then(|| outcome.clone()));
    }

    /// The process that was to be stopped as soon as it is there is wanted after all.
    fn supersede_stops(&mut self, cx: &mut Cx<'_>, by: Verb) {
        self.answer(cx, |goal| (goal == Goal::Down).then_some(Outcome::Superseded { by }));
    }

    fn answer_up(&mut self, cx: &mut Cx<'_>) {
        let generation = self.generation;
        self.answer(cx, |goal| match goal {
            Goal::Up { generation: wanted } => (generation >= wanted).then_some(Outcome::Done),
            Goal::Down => None,
        });
    }

    /// It runs, but nobody can say that it is up.
    fn answer_late(&mut self, cx: &mut Cx<'_>) {
        let generation = self.generation;
        self.answer(cx, |goal| match goal {
            Goal::Up { generation: wanted } => (generation >= wanted).then_some(Outcome::NotUpInTime),
            Goal::Down => None,
        });
    }

    fn answer_down(&mut self, cx: &mut Cx<'_>) {
        self.answer(cx, |goal| (goal == Goal::Down).then_some(Outcome::Done));
    }

    fn spawn(&mut self, cx: &mut Cx<'_>) {
        self.generation += 1;
        self.note(cx, NoteKind::Spawning);
        cx.out.push(Action::Spawn { service: self.id, generation: self.generation });
        self.enter(cx, Actual::Spawning(Spawning { asked: cx.now, outdated: false, slow: false }));
    }

    fn stop_child(&mut self, cx: &mut Cx<'_>, child: Child, cause: StopCause) {
        self.note(cx, NoteKind::Stopping { why: cause });
        let (service, generation) = (self.id, self.generation);
        let signal = self.policy.stop_signal;
        cx.out.push(Action::Signal { service, generation, signal, whom: Whom::Group });
        if signal != SIGKILL {
            // What is stopped (SIGSTOP, a debugger) would sleep through the request: as systemd, wake it.
            cx.out.push(Action::Signal { service, generation, signal: SIGCONT, whom: Whom::Group });
        }
        let patience = if cx.hurry { Duration::ZERO } else { self.policy.stop_timeout };
        let rung = Rung::Asked(cx.now + patience);
        self.enter(cx, Actual::Stopping(Stopping { child, cause, rung, start_now: false }));
    }

    fn go_down(&mut self, cx: &mut Cx<'_>, why: DownReason) {
        self.note(cx, NoteKind::Down(why));
        self.enter(cx, Actual::Down(why));
        self.answer_down(cx);
    }

    fn park(&mut self, cx: &mut Cx<'_>, why: ParkReason) {
        self.want = Want::Down;
        self.note(cx, NoteKind::Parked(why));
        self.enter(cx, Actual::Parked(why));
        self.answer_down(cx);
    }

    // ---- what the configuration says

    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, program_missing: bool) {
        if program_missing {
            self.park(cx, ParkReason::ProgramMissing);
        } else {
            self.want = Want::Up;
            self.spawn(cx);
        }
    }

    pub(crate) fn redefine(&mut self, cx: &mut Cx<'_>, to: Redefinition) {
        let Redefinition { policy, restart } = to;
        let health_changed = policy.health != self.policy.health;
        self.policy = policy;
        self.note_asked(cx, NoteKind::Redefined { restart });
        if health_changed {
            self.rearm_health(cx);
        }
        if !restart {
            return;
        }
        self.attempt = 0;
        self.program_missing = false;
        match &mut self.actual {
            Actual::Spawning(spawning) => spawning.outdated = true,
            Actual::Starting(child) | Actual::Up(child) => {
                let child = child.clone();
                self.stop_child(cx, child, StopCause::Changed);
            }
            Actual::Ending(ending) => ending.start_now = self.want == Want::Up,
            // It was wanted up and its definition was in the way, or may have been.
            Actual::Backoff { .. } => self.spawn(cx),
            Actual::Parked(_) => {
                self.want = Want::Up;
                self.spawn(cx);
            }
            Actual::Stopping(stopping) => stopping.start_now = self.want == Want::Up,
            Actual::Down(_) => {}
        }
    }

    fn rearm_health(&mut self, cx: &Cx<'_>) {
        let policy = self.policy.health.clone();
        let (child, starting) = match &mut self.actual {
            Actual::Starting(child) => (child, true),
            Actual::Up(child) => (child, false),
            Actual::Down(_)
            | Actual::Spawning(_)
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => return,
        };
        child.health = policy.as_ref().map(|policy| Health::new(policy, cx.now, child.probes));
        if starting && policy.is_none() {
            let child = child.clone();
            self.enter(cx, Actual::Up(child));
        }
    }

    pub(crate) fn remove(&mut self, cx: &mut Cx<'_>) {
        self.removing = true;
        self.note_asked(cx, NoteKind::Removed);
        self.want_down(cx, StopCause::Removed);
    }

    /// The daemon is on its way down, as that note says.
    pub(crate) fn shut_down(&mut self, cx: &mut Cx<'_>, note: NoteId) {
        self.cause = Some(note);
        self.want_down(cx, StopCause::Shutdown);
    }

    // ---- what people ask

    pub(crate) fn command(&mut self, cx: &mut Cx<'_>, request: RequestId, verb: Verb) {
        match verb {
            Verb::Start => self.asked_to_start(cx, request),
            Verb::Restart => self.asked_to_restart(cx, request),
            Verb::Stop => self.asked_to_stop(cx, request),
            Verb::Reset => self.asked_to_reset(cx, request),
            Verb::Signal(signal, whom) => self.asked_to_signal(cx, request, signal, whom),
        }
    }

    fn refuses_start(&self, cx: &mut Cx<'_>, request: RequestId) -> bool {
        if cx.shutting_down {
            self.reply(cx, request, Outcome::ShuttingDown);
        } else if self.removing {
            self.reply(cx, request, Outcome::Removed);
        } else {
            return false;
        }
        true
    }

    fn wait_for_up(&mut self, request: RequestId, generation: u64) {
        self.waiters.push(Waiter { request, goal: Goal::Up { generation } });
    }

    /// A person wants it up: what was before does not count, and its program may be there by now.
    fn wanted_anew(&mut self) {
        self.want = Want::Up;
        self.attempt = 0;
        self.program_missing = false;
    }

    fn asked_to_start(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        if self.refuses_start(cx, request) {
            return;
        }
        if let Actual::Up(_) = self.actual {
            self.want = Want::Up;
            self.reply(cx, request, Outcome::Already);
            return;
        }
        self.note_asked(cx, NoteKind::Asked(Verb::Start));
        self.wanted_anew();
        match &mut self.actual {
            Actual::Down(_) | Actual::Backoff { .. } | Actual::Parked(_) => {
                self.spawn(cx);
                self.wait_for_up(request, self.generation);
            }
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Up(_) => {
                self.supersede_stops(cx, Verb::Start);
                self.wait_for_up(request, self.generation);
            }
            Actual::Stopping(stopping) => {
                stopping.start_now = true;
                self.wait_for_up(request, self.generation + 1);
            }
            Actual::Ending(ending) => {
                ending.start_now = true;
                self.wait_for_up(request, self.generation + 1);
            }
        }
    }

    fn asked_to_restart(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        if self.refuses_start(cx, request) {
            return;
        }
        self.note_asked(cx, NoteKind::Asked(Verb::Restart));
        self.wanted_anew();
        match &mut self.actual {
            Actual::Down(_) | Actual::Backoff { .. } | Actual::Parked(_) => {
                self.spawn(cx);
                self.wait_for_up(request, self.generation);
            }
            // The process that is on its way is as new as one that would be asked for now.
            Actual::Spawning(_) => {
                self.supersede_stops(cx, Verb::Restart);
                self.wait_for_up(request, self.generation);
            }
            Actual::Starting(child) | Actual::Up(child) => {
                let child = child.clone();
                self.stop_child(cx, child, StopCause::Restart);
                self.postpone_starts();
                self.wait_for_up(request, self.generation + 1);
            }
            Actual::Stopping(stopping) => {
                stopping.start_now = true;
                self.wait_for_up(request, self.generation + 1);
            }
            Actual::Ending(ending) => {
                ending.start_now = true;
                self.wait_for_up(request, self.generation + 1);
            }
        }
    }

    /// Whoever waits for this process to be up waits for the next one instead.
    fn postpone_starts(&mut self) {
        for waiter in &mut self.waiters {
            if let Goal::Up { generation } = &mut waiter.goal {
                *generation = (*generation).max(self.generation + 1);
            }
        }
    }

    fn asked_to_stop(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        self.note_asked(cx, NoteKind::Asked(Verb::Stop));
        if let Actual::Down(_) = self.actual {
            self.want = Want::Down;
            self.reply(cx, request, Outcome::Already);
            return;
        }
        self.waiters.push(Waiter { request, goal: Goal::Down });
        self.want_down(cx, StopCause::Asked);
    }

    /// Down is wanted from now on, whatever was.
    pub(crate) fn want_down(&mut self, cx: &mut Cx<'_>, cause: StopCause) {
        self.want = Want::Down;
        self.supersede_starts(cx, Verb::Stop);
        match &mut self.actual {
            Actual::Down(_) => self.answer_down(cx),
            Actual::Backoff { .. } | Actual::Parked(_) => self.go_down(cx, DownReason::Stopped),
            Actual::Starting(child) | Actual::Up(child) => {
                let child = child.clone();
                self.stop_child(cx, child, cause);
            }
            // The answer is owed; it is stopped when it is there.
            Actual::Spawning(_) => {}
            // It is on its way already. A restart that became a stop is a stop; a failure stays one, for the report.
            Actual::Stopping(stopping) => {
                stopping.start_now = false;
                match stopping.cause {
                    StopCause::Restart | StopCause::Changed => stopping.cause = cause,
                    StopCause::Asked | StopCause::Removed | StopCause::Shutdown | StopCause::Failure(_) => {}
                }
            }
            Actual::Ending(ending) => ending.start_now = false,
        }
    }

    fn asked_to_reset(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        self.note_asked(cx, NoteKind::Asked(Verb::Reset));
        self.attempt = 0;
        match &mut self.actual {
            Actual::Parked(_) => self.go_down(cx, DownReason::Reset),
            // It was decided with the failures that are now forgotten.
            Actual::Ending(ending) if ending.decision.what != What::AsAsked => {
                ending.decision = self.policy.restart.decide(ending.failure, ending.exit, 0, cx.chance);
            }
            Actual::Down(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. } => {}
        }
        self.reply(cx, request, Outcome::Done);
    }

    fn asked_to_signal(&mut self, cx: &mut Cx<'_>, request: RequestId, signal: i32, whom: Whom) {
        if self.child().is_none() {
            self.reply(cx, request, Outcome::NotRunning);
            return;
        }
        self.note_asked(cx, NoteKind::Asked(Verb::Signal(signal, whom)));
        cx.out.push(Action::Signal { service: self.id, generation: self.generation, signal, whom });
        self.reply(cx, request, Outcome::Done);
    }

    /// Everything at once: SIGKILL to whatever lives.
    pub(crate) fn hurry(&mut self, cx: &mut Cx<'_>) {
        match &mut self.actual {
            Actual::Stopping(stopping) => {
                if let Rung::Asked(_) = stopping.rung {
                    stopping.rung = Rung::Asked(cx.now);
                }
            }
            Actual::Ending(ending) => {
                if let Rung::Asked(_) = ending.rung {
                    ending.rung = Rung::Asked(cx.now);
                }
            }
            Actual::Down(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => {}
        }
    }

    // ---- what happens

    pub(crate) fn spawned(&mut self, cx: &mut Cx<'_>, pid: u32) {
        let Actual::Spawning(spawning) = &self.actual else { return };
        let outdated = spawning.outdated;
        self.note(cx, NoteKind::Started { pid });
        let health = self.policy.health.as_ref().map(|policy| Health::new(policy, cx.now, 0));
        let child = Child { pid, started: cx.now, probes: 0, health };
        if self.want == Want::Down {
            let cause = if self.removing {
                StopCause::Removed
            } else if cx.shutting_down {
                StopCause::Shutdown
            } else {
                StopCause::Asked
            };
            self.stop_child(cx, child, cause);
        } else if outdated {
            self.postpone_starts();
            self.stop_child(cx, child, StopCause::Changed);
        } else if self.up_by_living() {
            self.enter(cx, Actual::Up(child));
        } else {
            self.enter(cx, Actual::Starting(child));
        }
    }

    pub(crate) fn spawn_failed(&mut self, cx: &mut Cx<'_>) {
        let Actual::Spawning(spawning) = &self.actual else { return };
        let started = spawning.asked;
        // What failed was the old definition's start; the new one has not been tried.
        let start_now = spawning.outdated && self.want == Want::Up;
        if start_now {
            self.postpone_starts();
        }
        self.note(cx, NoteKind::SpawnFailed);
        self.end_run(cx, End { exit: None, pid: None, started, cause: None, rung: None, start_now });
    }

    pub(crate) fn exited(&mut self, cx: &mut Cx<'_>, exit: Exit) {
        let end = match &self.actual {
            Actual::Starting(child) | Actual::Up(child) => End {
                exit: Some(exit),
                pid: Some(child.pid),
                started: child.started,
                cause: None,
                rung: None,
                start_now: false,
            },
            Actual::Stopping(Stopping { child, cause, rung, start_now }) => End {
                exit: Some(exit),
                pid: Some(child.pid),
                started: child.started,
                cause: Some(*cause),
                rung: Some(*rung),
                start_now: *start_now,
            },
            Actual::Down(_)
            | Actual::Spawning(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => return,
        };
        let expected = end.cause.is_some();
        self.reset_if_stable(cx);
        self.note(cx, NoteKind::Exited { exit, expected });
        self.end_run(cx, end);
    }

    /// The main process is gone, or never came: what was that, and what follows?
    fn end_run(&mut self, cx: &mut Cx<'_>, end: End) {
        let End { exit, pid, started, cause, rung, start_now } = end;
        let failure = self.failure_of(exit, cause);
        let asked = match cause {
            None | Some(StopCause::Failure(_)) => self.want == Want::Down || start_now,
            Some(StopCause::Asked | StopCause::Restart | StopCause::Changed) => true,
            Some(StopCause::Removed | StopCause::Shutdown) => true,
        };
        let decision = if asked {
            Decision { what: What::AsAsked, attempt: 0, max: self.policy.restart.max_restarts }
        } else {
            self.policy.restart.decide(failure, exit, self.attempt, cx.chance)
        };
        // An end that is no failure is worth a report only where the policy means the service never to end.
        let always = self.policy.restart.when == crate::policy::When::Always;
        let crash = failure.is_some() || (cause.is_none() && always && !asked);
        let failure = failure.or(crash.then_some(Failure::Exit));
        if let Some(failure) = failure {
            self.note(cx, NoteKind::Crashed { failure });
        }
        let grace = self.policy.stop_timeout;
        let ending = Ending {
            exit,
            failure,
            cause,
            pid,
            started,
            ended: cx.now,
            decision,
            start_now,
            report: Report::Draining { crash, until: cx.now + DRAIN_LIMIT },
            left: None,
            rung: rung.unwrap_or(Rung::Asked(cx.now + grace)),
        };
        self.enter(cx, Actual::Ending(Box::new(ending)));
        if exit.is_some() {
            cx.out.push(Action::Settle { service: self.id, generation: self.generation });
        } else {
            // There was no process: nothing to read, nothing left.
            self.tree_left(cx, 0);
            self.drained(cx);
        }
    }

    fn failure_of(&self, exit: Option<Exit>, cause: Option<StopCause>) -> Option<Failure> {
        let Some(exit) = exit else { return Some(Failure::Spawn) };
        match cause {
            Some(StopCause::Failure(failure)) => Some(failure),
            None if self.policy.success.holds(exit) => None,
            None => Some(match exit {
                Exit::Code(_) => Failure::Exit,
                Exit::Signal { .. } => Failure::Signal,
            }),
            Some(
                StopCause::Asked
                | StopCause::Restart
                | StopCause::Changed
                | StopCause::Removed
                | StopCause::Shutdown,
            ) => match exit {
                Exit::Signal { signal, .. }
                    if is_crash_signal(signal) && signal != self.policy.stop_signal =>
                {
                    Some(Failure::Signal)
                }
                Exit::Signal { .. } | Exit::Code(_) => None,
            },
        }
    }

    pub(crate) fn drained(&mut self, cx: &mut Cx<'_>) {
        let (service, generation) = (self.id, self.generation);
        let Actual::Ending(ending) = &mut self.actual else { return };
        let Report::Draining { crash, .. } = ending.report else { return };
        match ending.failure.filter(|_| crash) {
            Some(failure) => {
                ending.report = Report::Writing(cx.now + RECORD_LIMIT);
                cx.out.push(Action::RecordCrash(Box::new(Crash {
                    service,
                    generation,
                    failure,
                    exit: ending.exit,
                    pid: ending.pid,
                    started: ending.started,
                    ended: ending.ended,
                    decision: ending.decision,
                })));
            }
            None => {
                ending.report = Report::Settled;
                self.finish(cx);
            }
        }
    }

    pub(crate) fn crash_recorded(&mut self, cx: &mut Cx<'_>) {
        let Actual::Ending(ending) = &mut self.actual else { return };
        if let Report::Writing(_) = ending.report {
            ending.report = Report::Settled;
            self.finish(cx);
        }
    }

    pub(crate) fn tree_left(&mut self, cx: &mut Cx<'_>, left: u32) {
        let (service, generation) = (self.id, self.generation);
        let stop_signal = self.policy.stop_signal;
        let Actual::Ending(ending) = &mut self.actual else { return };
        if ending.left == Some(0) {
            // That look was the last one; this is an older one's news.
            return;
        }
        let first_look = ending.left.is_none();
        ending.left = Some(left);
        if left == 0 {
            self.finish(cx);
            return;
        }
        let signal = match ending.rung {
            // Asked once: a second SIGTERM means "at once" to many a server.
            Rung::Asked(_) if !first_look => return,
            Rung::Asked(_) => stop_signal,
            // Whatever comes to light after SIGKILL gets it too: children of what was killed.
            Rung::Killed(_) => SIGKILL,
        };
        if first_look {
            self.note(cx, NoteKind::Leftovers { left });
        }
        cx.out.push(Action::SignalTree { service, generation, signal });
    }

    /// When everything about the dead run is settled, what follows?
    fn finish(&mut self, cx: &mut Cx<'_>) {
        let Actual::Ending(ending) = &self.actual else { return };
        if ending.report != Report::Settled || ending.left != Some(0) {
            return;
        }
        let ending = (**ending).clone();
        cx.out.push(Action::Forget { service: self.id, generation: self.generation });
        let ended_by_itself = match ending.cause {
            None | Some(StopCause::Failure(_)) => true,
            Some(
                StopCause::Asked
                | StopCause::Restart
                | StopCause::Changed
                | StopCause::Removed
                | StopCause::Shutdown,
            ) => false,
        };
        if ended_by_itself {
            // Who waited for this run to be up learns that it is not going to be.
            let generation = self.generation;
            let outcome = Outcome::StartFailed {
                generation,
                failure: ending.failure,
                exit: ending.exit,
                decision: ending.decision,
            };
            self.answer(cx, |goal| match goal {
                Goal::Up { generation: wanted } => (wanted <= generation).then(|| outcome.clone()),
                Goal::Down => None,
            });
        }
        if self.want == Want::Down {
            self.go_down(cx, DownReason::Stopped);
        } else if self.program_missing {
            self.park(cx, ParkReason::ProgramMissing);
        } else if ending.start_now || !ended_by_itself {
            self.answer_down(cx);
            self.spawn(cx);
        } else {
            self.follow(cx, &ending);
        }
    }

    /// Carries out what was decided when the run ended.
    fn follow(&mut self, cx: &mut Cx<'_>, ending: &Ending) {
        match ending.decision.what {
            What::Restart(delay) => {
                self.attempt = ending.decision.attempt;
                self.restarts_total += 1;
                let until = ending.ended + delay;
                self.note(cx, NoteKind::Backoff { delay, attempt: self.attempt });
                if until <= cx.now {
                    self.spawn(cx);
                } else {
                    self.enter(cx, Actual::Backoff { until, failure: ending.failure });
                }
            }
            What::Park(why) => self.park(cx, why),
            What::StayDown | What::AsAsked => {
                self.want = Want::Down;
                let why = match (ending.failure, ending.exit) {
                    (Some(failure), _) => DownReason::Failed(failure),
                    (None, Some(exit)) => DownReason::Finished(exit),
                    (None, None) => DownReason::Stopped,
                };
                self.go_down(cx, why);
            }
        }
    }

    pub(crate) fn probed(&mut self, cx: &mut Cx<'_>, probe: u64, ok: bool) {
        let Some(policy) = self.policy.health.clone() else { return };
        // What it was before the verdict counts, even when the timer that was to say so is late.
        self.reset_if_stable(cx);
        let (child, starting) = match &mut self.actual {
            Actual::Starting(child) => (child, true),
            Actual::Up(child) => (child, false),
            // It is on its way down or gone: the verdict is about the past.
            Actual::Down(_)
            | Actual::Spawning(_)
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => return,
        };
        let Some(health) = child.health.as_mut().filter(|health| health.owes(probe)) else { return };
        let meaning = health.judge(&policy, cx.now, ok);
        let failures = health.failures();
        match meaning {
            Meaning::Same => {}
            Meaning::Recovered => {
                if !starting {
                    self.note(cx, NoteKind::Healthy);
                }
            }
            Meaning::Faltered => self.note(cx, NoteKind::ProbeFailed),
            Meaning::Unhealthy => {
                let child = child.clone();
                self.note(cx, NoteKind::Unhealthy { failures });
                if policy.restart {
                    self.stop_child(cx, child, StopCause::Failure(Failure::Health));
                    return;
                }
            }
        }
        if ok {
            if starting {
                self.become_up(cx);
            }
            self.answer_up(cx);
            self.reset_if_stable(cx);
        }
    }

    /// From `Starting` to `Up`.
    fn become_up(&mut self, cx: &mut Cx<'_>) {
        let Actual::Starting(child) = &self.actual else { return };
        let child = child.clone();
        self.note(cx, NoteKind::Up { after: cx.now.since(child.started) });
        self.enter(cx, Actual::Up(child));
    }

    // ---- what time brings

    /// Does whatever is due now; afterwards [`Self::deadline`] is later than now.
    pub(crate) fn timeout(&mut self, cx: &mut Cx<'_>) {
        match &mut self.actual {
            Actual::Down(_) | Actual::Parked(_) => {}
            Actual::Spawning(spawning) => {
                spawning.slow = true;
                self.note(cx, NoteKind::SpawnSlow);
                self.answer_late(cx);
            }
            Actual::Starting(_) => self.starting_due(cx),
            Actual::Up(_) => self.up_due(cx),
            Actual::Stopping(stopping) => {
                let (service, generation) = (self.id, self.generation);
                let first = matches!(stopping.rung, Rung::Asked(_));
                stopping.rung = Rung::Killed(cx.now + KILL_AGAIN);
                self.note(cx, if first { NoteKind::Killing } else { NoteKind::StillAlive });
                cx.out.push(Action::Signal { service, generation, signal: SIGKILL, whom: Whom::Group });
            }
            Actual::Ending(_) => self.ending_due(cx),
            Actual::Backoff { .. } => self.spawn(cx),
        }
    }

    fn starting_due(&mut self, cx: &mut Cx<'_>) {
        let Actual::Starting(child) = &self.actual else { return };
        if cx.now >= self.start_ends(child) {
            // Which of the two comes first is the policy's word: a late timer (the machine slept) changes nothing.
            if self.start_may_time_out() {
                let child = child.clone();
                self.stop_child(cx, child, StopCause::Failure(Failure::StartTimeout));
                return;
            }
            self.become_up(cx);
        }
        self.probe_due(cx);
    }

    fn up_due(&mut self, cx: &mut Cx<'_>) {
        self.reset_if_stable(cx);
        let Actual::Up(child) = &self.actual else { return };
        let patience = self.patience_ends(child);
        if patience.is_some_and(|at| at <= cx.now) {
            if self.up_by_living() {
                self.answer_up(cx);
            } else {
                self.answer_late(cx);
            }
        }
        self.probe_due(cx);
    }

    fn reset_if_stable(&mut self, cx: &mut Cx<'_>) {
        let Actual::Up(child) = &self.actual else { return };
        if self.counts_until(child).is_some_and(|at| at <= cx.now) {
            self.attempt = 0;
            self.note(cx, NoteKind::CountersReset);
        }
    }

    fn probe_due(&mut self, cx: &mut Cx<'_>) {
        let (service, generation) = (self.id, self.generation);
        let Some(policy) = self.policy.health.clone() else { return };
        let (Actual::Starting(child) | Actual::Up(child)) = &mut self.actual else { return };
        let Some(health) = child.health.as_mut() else { return };
        if health.lost(cx.now) {
            let probe = health.number();
            self.note(cx, NoteKind::ProbeLost);
            self.probed(cx, probe, false);
        } else if let Some(probe) = health.ask(&policy, cx.now) {
            child.probes = probe;
            cx.out.push(Action::Probe { service, generation, probe });
        }
    }

    fn ending_due(&mut self, cx: &mut Cx<'_>) {
        let (service, generation) = (self.id, self.generation);
        let Actual::Ending(ending) = &mut self.actual else { return };
        if ending.left.is_some_and(|left| left > 0) && ending.rung.at() <= cx.now {
            let first = matches!(ending.rung, Rung::Asked(_));
            ending.rung = Rung::Killed(cx.now + KILL_AGAIN);
            cx.out.push(Action::SignalTree { service, generation, signal: SIGKILL });
            self.note(cx, if first { NoteKind::Killing } else { NoteKind::StillAlive });
        }
        let Actual::Ending(ending) = &mut self.actual else { return };
        match ending.report {
            Report::Draining { until, .. } if until <= cx.now => {
                self.note(cx, NoteKind::DrainSlow);
                self.drained(cx);
            }
            Report::Writing(until) if until <= cx.now => {
                ending.report = Report::Settled;
                self.note(cx, NoteKind::RecordSlow);
                self.finish(cx);
            }
            Report::Draining { .. } | Report::Writing(_) | Report::Settled => {}
        }
    }
}

/// The end of a run, as `end_run` wants to know it.
struct End {
    exit: Option<Exit>,
    pid: Option<u32>,
    started: Mono,
    cause: Option<StopCause>,
    rung: Option<Rung>,
    start_now: bool,
}

impl Rung {
    fn at(self) -> Mono {
        match self {
            Self::Asked(at) | Self::Killed(at) => at,
        }
    }
}

fn earliest<const N: usize>(times: [Option<Mono>; N]) -> Option<Mono> {
    times.into_iter().flatten().min()
}
