//! What has been said and done so far, kept apart from the core: what the invariants are judged by.

use std::collections::BTreeMap;
use std::rc::Rc;

use mcpd_core::action::{Command, Probing, Stale, Then};
use mcpd_core::event::Change;
use mcpd_core::policy::ReadyPolicy;
use mcpd_core::verdict::What;
use mcpd_core::{Action, Event, Finding, Mono, NoteId, NoteKind, RequestId, ServiceId, Verb};

use super::around::Around;
use super::life::{Life, Start, up_by_living};

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Broken {
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

pub(crate) type Check = Result<(), Broken>;

/// A request without a reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) service: ServiceId,
    pub(crate) verb: Verb,
    /// The generation that lived when it was asked.
    pub(crate) had: Option<u64>,
}

/// The whole history.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) lives: BTreeMap<ServiceId, Life>,
    pub(crate) pending: BTreeMap<RequestId, Pending>,
    pub(crate) notes: u64,
    pub(crate) shutdowns: u32,
    pub(crate) ready: u32,
    pub(crate) finished: u32,
    /// How many may start at the same time; 0: any number.
    pub(crate) most_starting: usize,
    /// Whose notes those were, and what they said.
    pub(crate) told: BTreeMap<NoteId, (Option<ServiceId>, NoteKind)>,
    /// A person asks.
    pub(crate) person: bool,
    /// The first and the last change of the configuration that no reload has followed.
    pub(crate) config: Option<(Mono, Mono)>,
}

impl Ledger {
    /// Takes down what the core is about to be told.
    pub(crate) fn told(&mut self, now: Mono, event: &Event) {
        for life in self.lives.values_mut() {
            life.person_signals = false;
            life.broken_off = false;
        }
        self.person = matches!(event, Event::Command { .. });
        match event {
            Event::Define { service, policy, start, program_missing, left } => {
                let fresh = !self.lives.contains_key(service);
                let life = self.lives.entry(*service).or_insert_with(|| Life::new((**policy).clone()));
                life.removing = false;
                life.redefined(now, policy);
                life.outdated = life.owed;
                life.along = false;
                life.replaced = true;
                life.between = false;
                life.foreseen = None;
                life.next_policy = None;
                life.counters_reset();
                if *start && self.shutdowns == 0 {
                    life.want_up();
                    life.asked = !*program_missing;
                } else if !fresh || *left > 0 {
                    life.down_since.get_or_insert(now);
                }
                if fresh && *left > 0 {
                    life.inherited(now);
                }
            }
            Event::Redefine { service, to } => {
                let along = self.running_with(*service);
                let Some(life) = self.lives.get_mut(service) else { return };
                let ran = life.stays();
                life.foreseen = Some(life.effect(to.change));
                life.replaced = to.change == Change::Replace || (life.replaced && !life.at_rest());
                // A process, or the start of one, keeps what it was started with.
                let runs = life.owed || life.alive || !life.settled || life.remains;
                life.next_policy = runs.then(|| Rc::new(to.policy.clone()));
                life.redefined(now, if runs { &to.live } else { &to.policy });
                if to.change != Change::Settings {
                    life.counters_reset();
                    // Only a new definition that waits behind what goes on starts nothing.
                    life.between &= to.change == Change::Definition && life.down_since.is_none();
                    if !life.between {
                        life.abandon_start();
                    }
                    let goes_on = (life.alive && life.stop.is_none()) || life.between || life.remains;
                    let waits = to.change == Change::Definition && goes_on;
                    life.asked |= !waits;
                    life.outdated |= life.owed;
                    life.along &= !life.owed;
                    if life.parked {
                        life.want_up();
                    }
                    if ran && to.change == Change::Replace {
                        self.restarted(&along);
                    }
                }
            }
            Event::Remove { service } => {
                let Some(life) = self.lives.get_mut(service) else { return };
                life.removing = true;
                life.asked_down(now);
                life.parked = false;
            }
            Event::Limit { parallel_starts } => {
                self.most_starting = usize::try_from(*parallel_starts).unwrap();
            }
            Event::FilesChanged { service } => {
                let shutting_down = self.shutdowns > 0;
                let Some(life) = self.lives.get_mut(service) else { return };
                if !shutting_down {
                    life.files_changed(now);
                }
            }
            Event::ProgramChanged { service } => {
                let shutting_down = self.shutdowns > 0;
                let Some(life) = self.lives.get_mut(service).filter(|life| !life.removed) else { return };
                if life.runs() {
                    life.files.stale.get_or_insert((Stale::Program, false));
                } else if !shutting_down && !life.removing && !life.alive && (!life.at_rest() || life.parked)
                {
                    life.files.program = Some(now);
                }
            }
            Event::ConfigChanged => {
                let (first, _) = self.config.unwrap_or((now, now));
                self.config = (self.shutdowns == 0).then_some((first, now));
            }
            Event::Begun | Event::Reloading { .. } => {}
            Event::Command { request, service, verb } => self.asked(now, *request, *service, *verb),
            Event::Shutdown => {
                self.shutdowns += 1;
                self.config = None;
                for life in self.lives.values_mut() {
                    if self.shutdowns > 1 {
                        life.around.void();
                    }
                    life.asked_down(now);
                    life.parked = false;
                }
            }
            Event::Spawned { service, generation, at, .. } => {
                let Some(life) = self.run(*service, *generation) else { return };
                if life.owed {
                    life.owed = false;
                    life.alive = true;
                    // Had nothing come of this start, the new definition would have been tried; now it waits.
                    life.asked &= life.replaced;
                    life.outdated &= life.replaced;
                    life.rearm(*at);
                    life.spawned = Some(*at);
                    let unready = life.policy.ready.is_some() && !life.passes;
                    life.start = Start { unready, ..Start::default() };
                    let at_once = !unready && !life.passes && up_by_living(&life.policy);
                    life.up = at_once.then_some(now);
                    life.arm_watchdog(now);
                    life.files.program = None;
                }
            }
            Event::SpawnFailed { service, generation, permanent } => {
                let Some(life) = self.run(*service, *generation) else { return };
                if life.owed {
                    life.owed = false;
                    let ignored = life.passed(None, false);
                    life.ended(now, None, false);
                    if let Some(end) = &mut life.end {
                        end.permanent = *permanent && !ignored;
                    }
                }
            }
            Event::Exited { service, generation, exit, oom } => {
                let Some(life) = self.run(*service, *generation) else { return };
                if life.alive {
                    life.alive = false;
                    life.ended(now, Some(*exit), *oom);
                }
            }
            Event::CrashRecorded { service, generation } => {
                let Some(life) = self.run(*service, *generation) else { return };
                if let Some(end) = &mut life.end {
                    end.recorded = true;
                }
            }
            Event::RunEnded { service, generation, number, end } => {
                let Some(life) = self.run(*service, *generation) else { return };
                life.around.ran(*number, *end);
                // Of a oneshot: its commands have ended before.
                if let (true, Some(end)) = (life.around.cannot, &mut life.end) {
                    end.permanent = true;
                }
            }
            Event::Ready { service, generation } => {
                let Some(life) = self.run(*service, *generation) else { return };
                let told = life.policy.ready == Some(ReadyPolicy::Told);
                life.start.seen |= told && life.start.unready && life.alive && life.stop.is_none();
            }
            Event::Notified { service, generation, said } => {
                let Some(life) = self.run(*service, *generation) else { return };
                if life.alive {
                    life.said(now, *said);
                }
            }
            Event::Probed { service, generation, probe, finding } => {
                let Some(life) = self.run(*service, *generation) else { return };
                if life.start.out == Some(*probe) {
                    life.start.out = None;
                    life.start.seen |= *finding == Finding::Good;
                } else if life.alive && life.stop.is_none() {
                    life.judged(now, *probe, *finding);
                }
            }
            Event::Lacks { service, generation } => {
                let Some(life) = self.run(*service, *generation) else { return };
                let parks = life.policy.restart.park_at_limit;
                if let Some(end) = life.end.as_mut().filter(|end| !end.drained) {
                    end.lacks = Some(end.lacks == Some(true) || parks);
                }
            }
            Event::Drained { service, generation } => {
                let Some(life) = self.run(*service, *generation) else { return };
                if let Some(end) = &mut life.end {
                    end.drained = true;
                }
            }
            Event::TreeLeft { .. } => {}
        }
    }

    fn run(&mut self, service: ServiceId, generation: u64) -> Option<&mut Life> {
        self.lives.get_mut(&service).filter(|life| life.generation == generation)
    }

    fn asked(&mut self, now: Mono, request: RequestId, service: ServiceId, verb: Verb) {
        let shutting_down = self.shutdowns > 0;
        let along = self.running_with(service);
        let life = self.lives.get_mut(&service).filter(|life| !life.removed);
        let had = life.as_ref().filter(|life| life.alive).map(|life| life.generation);
        self.pending.insert(request, Pending { service, verb, had });
        let Some(life) = life else { return };
        let refused = shutting_down || life.removing;
        match verb {
            Verb::Start | Verb::Restart if refused => {}
            Verb::Start => {
                // A stop that has only waited for others is taken back: it is up as before.
                let stays = life.leaving.is_none() || life.down_since.is_some();
                life.stop_is_taken_back();
                life.want_up();
                let up = (life.alive && life.stop.is_none() && life.up.is_some()) || life.remains;
                // One that is up is left alone, counters and all.
                if !up || !stays {
                    life.lift();
                    life.counters_reset();
                }
                let ends = life.stop.is_some() || !stays;
                life.asked |= ends || (!life.alive && !life.owed) || life.outdated;
            }
            Verb::Restart => {
                life.want_up();
                life.between = false;
                life.abandon_start();
                life.asked |= !life.owed || life.outdated;
                life.lift();
                life.counters_reset();
                self.restarted(&along);
            }
            Verb::Stop => {
                life.asked_down(now);
                life.asked = false;
                life.parked = false;
            }
            Verb::Reset => {
                life.conditions.reset();
                life.counters_reset();
                life.lift();
                life.parked = false;
            }
            Verb::Reload => {}
            Verb::Signal(..) => life.person_signals = true,
        }
    }

    /// These are to be replaced, whatever becomes of them meanwhile.
    fn restarted(&mut self, along: &[ServiceId]) {
        for id in along {
            if let Some(life) = self.lives.get_mut(id) {
                life.asked = true;
                life.along |= life.owed && !life.outdated;
                life.outdated |= life.owed;
                life.replaced |= life.owed;
                life.abandon_start();
                life.between = false;
            }
        }
    }

    /// Takes down what the core answered, after it was judged.
    pub(crate) fn done(&mut self, now: Mono, action: &Action) {
        match action {
            Action::Spawn { service, generation, command, first } => {
                let Some(life) = self.lives.get_mut(service) else { return };
                if let Some(next) = life.next_policy.take_if(|_| *first) {
                    life.policy = next;
                }
                life.generation = *generation;
                life.command = *command;
                life.passes =
                    life.policy.commands.oneshot.is_some() || matches!(command, Command::StartPre(_));
                life.forgiven = life.forgives();
                life.completed = false;
                life.between = false;
                life.remains = false;
                life.owed = true;
                life.settled = false;
                life.asked = false;
                life.outdated = false;
                life.along = false;
                life.replaced = false;
                life.stop = None;
                life.end = None;
                life.wait = None;
                life.health = None;
                life.start = Start::default();
                life.around = Around::default();
                life.extended = None;
                life.time_is_up = false;
                life.watchdog = None;
                life.triggered = false;
                life.spawned = None;
                life.up = None;
                life.killed = false;
                life.deaf = false;
                life.slow = false;
                life.down = false;
                life.done = false;
                if *first {
                    life.files.changed = None;
                    life.files.began = Some(now);
                }
                life.files.stale = None;
                life.files.program = None;
            }
            Action::RecordCrash(crash) => {
                let Some(life) = self.lives.get_mut(&crash.service) else { return };
                life.conditions.counts(crash.decision.what != What::AsAsked);
                if let Some(end) = &mut life.end {
                    end.report_asked = Some(now);
                }
            }
            Action::Forget { service, generation } => {
                let Some(life) = self.lives.get_mut(service) else { return };
                life.settled = true;
                if *generation > 0 {
                    life.around.forgotten(&life.policy.commands);
                }
                if let Some(end) = &mut life.end {
                    end.forgotten = true;
                }
            }
            Action::Probe { service, probe, of, .. } => {
                let Some(life) = self.lives.get_mut(service) else { return };
                if let Some(health) = &mut life.health {
                    health.asked = *probe;
                    match of {
                        Probing::Ready => life.start.out = Some(*probe),
                        Probing::Health => health.out = Some(*probe),
                    }
                }
            }
            Action::Run { service, number, command, timeout, .. } => {
                let Some(life) = self.lives.get_mut(service) else { return };
                life.around.run(now, &life.policy.commands, *command, *number, *timeout);
                let remains = life.policy.commands.oneshot.as_ref().is_some_and(|oneshot| oneshot.remain);
                if matches!(command, Command::StopPost(_)) && (remains || !life.completed) {
                    // What is cleaned up after does not go on, and is not up.
                    life.between = false;
                }
            }
            Action::EndRun { service, .. } => {
                let hurry = self.shutdowns > 1;
                let Some(life) = self.lives.get_mut(service) else { return };
                life.around.ended(now);
                let over = life.stop.is_some() || (!life.alive && !life.between);
                if hurry || (life.around.starts() && over) {
                    life.around.void();
                }
            }
            Action::Reply { request, .. } => {
                self.pending.remove(request);
            }
            Action::Removed { service } => {
                if let Some(life) = self.lives.get_mut(service) {
                    life.removed = true;
                }
            }
            Action::Ready => self.ready += 1,
            Action::Reload => self.config = None,
            Action::Finished => self.finished += 1,
            Action::Note(note) => {
                self.notes = note.id.0;
                self.told.insert(note.id, (note.service, note.kind.clone()));
                let Some(service) = note.service else { return };
                let Some(life) = self.lives.get_mut(&service) else { return };
                super::conditions::noted(life, now, &note.kind);
                if !matches!(note.kind, NoteKind::Opened(_) | NoteKind::Closed { .. }) {
                    life.last_note = Some(note.id);
                }
                let along = match note.kind {
                    NoteKind::FilesChanged { then: Then::Restart } => self.running_with(service),
                    _ => Vec::new(),
                };
                let Some(life) = self.lives.get_mut(&service) else { return };
                if let NoteKind::Wanted { .. } = note.kind {
                    super::order::wanted(life, self.person);
                }
                life.noted(now, &note.kind);
                self.restarted(&along);
            }
            Action::Signal { service, signal, .. } => {
                let Some(life) = self.lives.get_mut(service) else { return };
                life.killed |= *signal == 9;
                let patience = life.policy.stop_timeout;
                if let Some((since, _, within)) = life.stop.as_mut().filter(|_| *signal != 9)
                    && !life.person_signals
                {
                    // What ran before took its own time.
                    (*since, *within) = (now, patience);
                }
            }
            Action::Settle { service, .. } | Action::Look { service, .. } => {
                let Some(life) = self.lives.get_mut(service) else { return };
                life.around.given_up(now);
                if life.end.as_ref().is_some_and(|end| end.at < now) {
                    life.around.grace = Some(now + life.policy.stop_timeout);
                }
            }
            Action::SignalTree { .. } => {}
        }
    }
}
