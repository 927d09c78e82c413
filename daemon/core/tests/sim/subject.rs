//! What is tested: the core, or the core behind a wrapper that breaks one promise on purpose.

use mcpd_core::action::{Command, Probing};
use mcpd_core::event::{Change, RunEnd};
use mcpd_core::view::{StateView, View, WatchView};
use mcpd_core::{
    Action, Condition, Core, Event, Finding, Mono, NoteId, NoteKind, Outcome, Policy, RequestId, Said, State,
    Verb,
};

/// A promise that the wrapper breaks, to show that the simulator notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Every seventh reply is lost.
    DropsReply,
    /// Every seventh reply is sent twice.
    RepliesTwice,
    /// A process is asked for twice.
    SpawnsTwice,
    /// Numbers of starts are left out.
    SkipsGeneration,
    /// Says that it stopped and does nothing.
    IgnoresStop,
    /// No crash report is written.
    ForgetsCrash,
    /// Two crash reports are written.
    ReportsTwice,
    /// The second delay in a row is shorter than the first.
    ShrinksDelay,
    /// Does not wait for the delay.
    StartsEarly,
    /// SIGKILL at once.
    KillsAtOnce,
    /// Goes on when it should give up.
    Unparks,
    /// Wants to be woken all the time.
    NeverSleeps,
    /// Never wants to be woken.
    NeverWakes,
    /// Says ready twice.
    ReadyTwice,
    /// Says finished as soon as a shutdown begins.
    FinishesEarly,
    /// Some notes are lost.
    DropsNote,
    /// Two probes at a time.
    ProbesTwice,
    /// A copy of it does not know everything.
    CopiesBadly,
    /// Writes down no counters.
    WritesBadly,
    /// A successor does not ask again for what nobody will answer.
    AsksOnce,
    /// Starts the next process although the last one's tree lives.
    IgnoresTree,
    /// Replaces a process that was to go on.
    ReplacesAnyway,
    /// Starts the process although an earlier life of the daemon left one.
    IgnoresEarlierLife,
    /// Does not wait until files are quiet.
    ActsEarly,
    /// Restarts a service that writes into what it watches for ever.
    NeverSuspends,
    /// Takes no start for the last one: what cannot start is tried again.
    TriesAgain,
    /// Takes every failed start for the last one.
    GivesUp,
    /// Does not care for what a service says that it lacks.
    HearsNothing,
    /// Takes a kill for want of memory for any other end.
    OverlooksOom,
    /// Takes the first failed probe for the last one.
    CountsEarly,
    /// Knows nothing of `requires` and `binds_to`.
    ForgetsNeeds,
    /// Takes what a service needs for what it only wants, after it.
    WaitsForStartsOnly,
    /// Knows nothing of `after`, `before` and the order of what is needed.
    ForgetsOrder,
    /// Takes each order for its opposite, once everything runs.
    StopsInOrder,
    /// Takes `binds_to` for `requires`.
    Loosens,
    /// Knows nothing of `part_of`.
    ForgetsParts,
    /// Lets conflicting services run.
    ForgetsConflicts,
    /// Lets any number start.
    IgnoresLimit,
    /// Takes waiting for a failure that counts.
    CountsWaiting,
    /// Takes every answer for a good one.
    TakesAnyAnswer,
    /// Asks for health before it is ready.
    ArmsEarly,
    /// Takes any end of a command around a process for a good one.
    TrustsRuns,
    /// Gives a command around a process no time.
    EndsRuns,
    /// Does not know `exec_start_post`.
    NoStartPost,
    /// Does not know `exec_stop`.
    NoStop,
    /// Does not know `exec_stop_post`.
    NoStopPost,
    /// Leaves commands out.
    SkipsCommands,
    /// Does not hear that a service is alive.
    DeafWatchdog,
    /// Takes any service for one that said that it is ready.
    TakesAnyWord,
    /// Takes a probe that could not be carried out for one that failed.
    CountsUnknown,
    /// Takes one condition for another.
    ConfusesConditions,
    /// Forgets a failure as soon as it is up again.
    ForgivesAll,
    /// Takes no run for a stable one before a year is over.
    NeverForgives,
    /// Does not say that something fails again and again.
    HidesFlapping,
    /// Does not say why it starts again.
    ForgetsCauses,
    /// Takes whatever was said last for the cause.
    MixesCauses,
}

/// The core or a broken one.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    core: Core,
    flaw: Option<Flaw>,
    count: u64,
    /// What has been written down of it.
    paper: Option<State>,
}

/// What a core that is broken in this way takes the event for.
fn relations_spoilt(flaw: Flaw, mut event: Event) -> Event {
    let says = match &mut event {
        // Only what runs already: a start in the wrong order is noticed before any stop.
        Event::Define { .. } if flaw == Flaw::StopsInOrder => return event,
        Event::Define { policy, .. } => &mut policy.relations,
        Event::Redefine { to, .. } => &mut to.policy.relations,
        _ => return event,
    };
    match flaw {
        Flaw::ForgetsNeeds => {
            says.requires.clear();
            says.binds_to.clear();
        }
        Flaw::WaitsForStartsOnly => {
            for needed in says.requires.drain(..).chain(says.binds_to.drain(..)) {
                says.wants.push(needed);
                says.after.push(needed);
            }
        }
        Flaw::ForgetsOrder => {
            says.after.clear();
            says.before.clear();
        }
        Flaw::StopsInOrder => {
            says.before.append(&mut says.after.clone());
            says.after.clear();
        }
        Flaw::Loosens => says.requires.append(&mut says.binds_to),
        Flaw::ForgetsParts => says.part_of.clear(),
        Flaw::ForgetsConflicts => says.conflicts.clear(),
        _ => {}
    }
    event
}

const GHOST: RequestId = RequestId(u64::MAX);

impl Subject {
    pub(crate) fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        Self { core: Core::new(seed, NoteId(1)), flaw, count: 0, paper: None }
    }

    /// A core that knows nothing but the number of its next note, as broken as this one.
    pub(crate) fn successor(&self, first_note: NoteId) -> Self {
        Self { core: Core::new(self.count + 1, first_note), flaw: self.flaw, count: 0, paper: None }
    }

    pub(crate) fn handle(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        let Some(flaw) = self.flaw else { return self.core.handle(now, event, out) };
        let event = match (flaw, event) {
            (Flaw::IgnoresStop, Event::Command { request, service, verb: Verb::Stop }) => {
                out.push(Action::Reply { request, service, outcome: Outcome::Done });
                return;
            }
            (Flaw::IgnoresTree, Event::TreeLeft { service, generation, .. }) => {
                Event::TreeLeft { service, generation, left: 0 }
            }
            (Flaw::IgnoresEarlierLife, Event::Define { service, policy, start, program_missing, .. }) => {
                Event::Define { service, policy, start, program_missing, left: 0 }
            }
            (
                Flaw::CountsUnknown,
                Event::Probed { service, generation, probe, finding: Finding::Unknown },
            ) => Event::Probed { service, generation, probe, finding: Finding::Bad },
            (Flaw::TriesAgain | Flaw::GivesUp, Event::SpawnFailed { service, generation, .. }) => {
                Event::SpawnFailed { service, generation, permanent: flaw == Flaw::GivesUp }
            }
            (Flaw::TriesAgain, Event::RunEnded { service, generation, number, end: RunEnd::Cannot }) => {
                Event::RunEnded { service, generation, number, end: RunEnd::Badly(None) }
            }
            (Flaw::OverlooksOom, Event::Exited { service, generation, exit, .. }) => {
                Event::Exited { service, generation, exit, oom: false }
            }
            (Flaw::HearsNothing, Event::Lacks { .. }) => return,
            (Flaw::FinishesEarly, Event::Shutdown) => {
                out.push(Action::Finished);
                Event::Shutdown
            }
            (Flaw::ReplacesAnyway, Event::Redefine { service, mut to }) => {
                to.change = match to.change {
                    Change::Settings => Change::Settings,
                    Change::Definition | Change::Replace => Change::Replace,
                };
                Event::Redefine { service, to }
            }
            (Flaw::NeverForgives, Event::Define { service, mut policy, start, program_missing, left }) => {
                policy.restart.reset_after = std::time::Duration::from_secs(365 * 24 * 3600);
                Event::Define { service, policy, start, program_missing, left }
            }
            (Flaw::IgnoresLimit, Event::Limit { .. }) => Event::Limit { parallel_starts: 0 },
            (Flaw::TakesAnyAnswer, Event::Probed { service, generation, probe, .. }) => {
                Event::Probed { service, generation, probe, finding: Finding::Good }
            }
            (Flaw::DeafWatchdog, Event::Notified { service, generation, said: Said::Alive }) => {
                Event::Notified { service, generation, said: Said::Extend(std::time::Duration::ZERO) }
            }
            (
                Flaw::NoStartPost | Flaw::NoStop | Flaw::NoStopPost,
                Event::Define { service, mut policy, start, program_missing, left },
            ) => {
                forget_commands(flaw, &mut policy);
                Event::Define { service, policy, start, program_missing, left }
            }
            (Flaw::NoStartPost | Flaw::NoStop | Flaw::NoStopPost, Event::Redefine { service, mut to }) => {
                forget_commands(flaw, &mut to.policy);
                forget_commands(flaw, &mut to.live);
                Event::Redefine { service, to }
            }
            (Flaw::TrustsRuns, Event::RunEnded { service, generation, number, .. }) => {
                Event::RunEnded { service, generation, number, end: RunEnd::Well }
            }
            (Flaw::TakesAnyWord, Event::Notified { service, generation, .. }) => {
                Event::Notified { service, generation, said: Said::Ready }
            }
            (_, event) => relations_spoilt(flaw, event),
        };
        if let (Flaw::NeverSuspends, Event::FilesChanged { service }) = (flaw, &event)
            && self.core.view(*service).is_some_and(|view| view.state == StateView::Up && view.restarts == 0)
        {
            let reset = Event::Command { request: GHOST, service: *service, verb: Verb::Reset };
            self.core.handle(now, reset, out);
        }
        self.core.handle(now, event, out);
        if flaw == Flaw::ForgivesAll {
            let up = self.core.views().find(|view| view.state == StateView::Up).map(|view| view.service);
            if let Some(service) = up {
                let reset = Event::Command { request: GHOST, service, verb: Verb::Reset };
                self.core.handle(now, reset, out);
            }
        }
        if flaw == Flaw::ActsEarly {
            let settling = self.core.views().filter_map(|view| match view.watch {
                WatchView::Settling(at) => Some(at),
                WatchView::None | WatchView::Watching | WatchView::Suspended { .. } => None,
            });
            if let Some(at) = settling.min().filter(|&at| self.core.next_deadline() == Some(at)) {
                self.core.handle_timeout(at, out);
            }
        }
        if flaw == Flaw::Unparks {
            let parked = self.core.views().find(|view| matches!(view.state, StateView::Parked(_)));
            if let Some(view) = parked {
                let start = Event::Command { request: GHOST, service: view.service, verb: Verb::Start };
                self.core.handle(now, start, out);
            }
        }
        if flaw == Flaw::StartsEarly {
            let waits = self.core.views().filter(|view| matches!(view.state, StateView::Backoff { .. }));
            let next = waits.filter_map(|view| view.next).map(|(_, at)| at).min();
            if let Some(at) = next.filter(|&at| self.core.next_deadline() == Some(at)) {
                self.core.handle_timeout(at, out);
            }
        }
        self.spoil(flaw, out);
    }

    pub(crate) fn handle_timeout(&mut self, now: Mono, out: &mut Vec<Action>) {
        let Some(flaw) = self.flaw else { return self.core.handle_timeout(now, out) };
        self.core.handle_timeout(now, out);
        self.spoil(flaw, out);
    }

    pub(crate) fn next_deadline(&self, now: Mono) -> Option<Mono> {
        let at = self.core.next_deadline();
        match self.flaw {
            Some(Flaw::NeverSleeps) => at.map(|at| at.min(now)),
            Some(Flaw::NeverWakes) => None,
            _ => at,
        }
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = View> {
        let hides = self.flaw == Some(Flaw::HidesFlapping);
        self.core.views().map(move |view| View { flapping: view.flapping.filter(|_| !hides), ..view })
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The daemon is killed, and its successor takes over what was written down: text, as another program would read it.
    pub(crate) fn take_over(&mut self) {
        let mut text = self.noted();
        if self.flaw == Some(Flaw::WritesBadly) {
            text = text.replace("\"attempt\":1,", "\"attempt\":0,");
        }
        self.core = Core::restore(State::from_text(&text).unwrap());
    }

    /// The state as it comes to be when only what changes is written down, step by step.
    fn noted(&mut self) -> String {
        let full = self.core.state().to_text();
        let delta = serde_json::to_string(&self.core.delta()).unwrap();
        let paper = match self.paper.take() {
            Some(mut paper) => {
                paper.apply(serde_json::from_str(&delta).unwrap());
                paper
            }
            None => State::from_text(&full).unwrap(),
        };
        let text = paper.to_text();
        assert_eq!(text, full, "what has changed is not all that was noted");
        self.paper = Some(paper);
        text
    }

    pub(crate) fn owed(&self) -> Vec<Action> {
        if self.flaw == Some(Flaw::AsksOnce) { Vec::new() } else { self.core.owed() }
    }

    pub(crate) fn copy(&self) -> Self {
        let mut copy = self.clone();
        if self.flaw == Some(Flaw::CopiesBadly)
            && let Some(view) = self.core.views().find(|view| view.pid.is_some())
        {
            let lost = Event::Redefine {
                service: view.service,
                to: Box::new(mcpd_core::event::Redefinition {
                    policy: super::dice::Dice::new(0).policy(),
                    live: super::dice::Dice::new(0).policy(),
                    change: Change::Settings,
                }),
            };
            copy.core.handle(view.since, lost, &mut Vec::new());
        }
        copy
    }

    fn spoil(&mut self, flaw: Flaw, out: &mut Vec<Action>) {
        let all = std::mem::take(out);
        for mut action in all {
            if let Action::Reply { request: GHOST, .. } = action {
                continue;
            }
            let mut copies = 1;
            match (&mut action, flaw) {
                (Action::Reply { .. }, Flaw::DropsReply | Flaw::RepliesTwice) => {
                    self.count += 1;
                    if self.count.is_multiple_of(7) {
                        copies = if flaw == Flaw::DropsReply { 0 } else { 2 };
                    }
                }
                (Action::Spawn { .. }, Flaw::SpawnsTwice) => copies = 2,
                (Action::Spawn { generation, .. }, Flaw::SkipsGeneration) => *generation *= 2,
                (Action::RecordCrash(_), Flaw::ForgetsCrash) => copies = 0,
                (Action::RecordCrash(_), Flaw::ReportsTwice) => copies = 2,
                (Action::Signal { signal, .. }, Flaw::KillsAtOnce) => *signal = 9,
                (Action::Ready, Flaw::ReadyTwice) => copies = 2,
                (Action::Probe { .. }, Flaw::ProbesTwice) => copies = 2,
                (Action::Spawn { command, .. }, Flaw::SkipsCommands) => *command = Command::Exec(0),
                (Action::Probe { of, .. }, Flaw::ArmsEarly) => *of = Probing::Health,
                (Action::Note(_), Flaw::DropsNote) => {
                    self.count += 1;
                    copies = usize::from(!self.count.is_multiple_of(7));
                }
                (Action::Note(note), Flaw::ShrinksDelay) => {
                    if let NoteKind::Backoff { delay, attempt: 2.. } = &mut note.kind {
                        *delay /= 3;
                    }
                }
                (Action::Note(note), Flaw::ForgetsCauses) if matches!(note.kind, NoteKind::Spawning) => {
                    note.cause = None;
                }
                (Action::Note(note), Flaw::MixesCauses) => note.cause = Some(NoteId(note.id.0 - 1)),
                (Action::Note(note), Flaw::ConfusesConditions) => {
                    if let NoteKind::Opened(condition) = &mut note.kind {
                        *condition = Condition::Failing;
                    }
                }
                (Action::Note(note), Flaw::CountsWaiting) => match &mut note.kind {
                    NoteKind::Waiting { .. } => self.count += 1,
                    NoteKind::Backoff { attempt, .. } => *attempt += u32::try_from(self.count).unwrap_or(0),
                    _ => {}
                },
                (Action::Note(note), Flaw::CountsEarly) => {
                    if let NoteKind::Unhealthy { failures } = &mut note.kind {
                        *failures += 1;
                    }
                }
                _ => {}
            }
            for _ in 0..copies {
                out.push(action.clone());
            }
            if let (Flaw::EndsRuns, Action::Run { service, generation, number, .. }) = (flaw, action) {
                out.push(Action::EndRun { service, generation, number });
            }
        }
    }
}

fn forget_commands(flaw: Flaw, policy: &mut Policy) {
    match flaw {
        Flaw::NoStartPost => policy.commands.start_post.clear(),
        Flaw::NoStop => policy.commands.stop.clear(),
        _ => policy.commands.stop_post.clear(),
    }
}
