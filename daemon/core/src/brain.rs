//! All services together: events in, actions out, one index of deadlines.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::{Action, Command, Note, NoteId, NoteKind, Outcome, StopCause};
use crate::event::{CONFIG_SETTLES, Change, Event, MOST_DEBOUNCES, Redefinition, ServiceId};
use crate::graph::Graph;
use crate::health::Health;
use crate::index::Index;
use crate::order::{Agenda, Face};
use crate::policy::Relations;
use crate::service::{Actual, Child, Cx, Service, Standing, Want};
use crate::time::{Chance, Mono};
use crate::view::{Awaited, Effect, HealthView, NextView, StateView, View};

/// The decider. See the crate's documentation for its contract.
#[derive(Debug, Clone)]
pub struct Core {
    pub(crate) services: BTreeMap<ServiceId, Box<Service>>,
    pub(crate) graph: Graph,
    pub(crate) agenda: Agenda,
    /// Services that are wanted by one that was started, and are not defined yet.
    pub(crate) expected: BTreeSet<ServiceId>,
    pub(crate) index: Index,
    pub(crate) chance: Chance,
    pub(crate) notes: u64,
    pub(crate) shutting_down: bool,
    pub(crate) hurry: bool,
    pub(crate) finished: bool,
    /// Services that run something or are owed an answer.
    pub(crate) busy: usize,
    pub(crate) boot: Boot,
    /// A configuration is being told of.
    pub(crate) held: bool,
    /// The note that the last one came with.
    pub(crate) configured: Option<NoteId>,
    /// Services that start with the daemon and have not shown yet what becomes of them, by when that is waited for.
    pub(crate) unsettled: Index,
    /// The first and the last change of the configuration's files since it was read.
    pub(crate) config_changed: Option<(Mono, Mono)>,
    /// Services of which something is new since that was last asked for.
    pub(crate) touched: BTreeSet<ServiceId>,
}

/// The way to [`Action::Ready`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Boot {
    /// Services are being defined.
    Defining,
    /// Some have not settled.
    Waiting,
    Ready,
}

impl Core {
    /// A core without services. The seed is for jitter. Notes are numbered from `first_note` on: an earlier life of the
    /// daemon has used up what is before that.
    #[must_use]
    pub fn new(seed: u64, first_note: NoteId) -> Self {
        Self {
            services: BTreeMap::new(),
            graph: Graph::default(),
            agenda: Agenda::default(),
            expected: BTreeSet::new(),
            index: Index::default(),
            chance: Chance::new(seed),
            notes: first_note.0,
            shutting_down: false,
            hurry: false,
            finished: false,
            busy: 0,
            boot: Boot::Defining,
            held: true,
            configured: None,
            unsettled: Index::default(),
            config_changed: None,
            touched: BTreeSet::new(),
        }
    }

    /// Takes in what happened and adds what is to be done to `out`.
    pub fn handle(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Define { service, policy, start, program_missing, left } => {
                self.define(now, service, *policy, start, program_missing, left, out);
            }
            Event::Redefine { service, to } => self.redefine(now, service, *to, out),
            Event::Remove { service } => self.with(now, service, out, Service::remove),
            Event::Reloading { by } => (self.held, self.configured) = (true, by),
            Event::FilesChanged { service } => self.with(now, service, out, Service::files_changed),
            Event::ProgramChanged { service } => self.with(now, service, out, Service::program_changed),
            Event::ConfigChanged => {
                let (first, _) = self.config_changed.unwrap_or((now, now));
                self.config_changed = (!self.shutting_down).then_some((first, now));
            }
            Event::Begun => {
                self.held = false;
                // Who is not there by now is not about to be.
                self.expected.clear();
                if self.boot == Boot::Defining {
                    self.boot = Boot::Waiting;
                }
            }
            Event::Limit { parallel_starts } => {
                self.agenda.most_starting = usize::try_from(parallel_starts).unwrap_or(usize::MAX);
            }
            Event::Command { request, service, verb } => {
                if self.services.contains_key(&service) {
                    self.command(now, request, service, verb, out);
                } else {
                    out.push(Action::Reply { request, service, outcome: Outcome::Unknown });
                }
            }
            Event::Shutdown => self.shut_down(now, out),
            Event::Spawned { service, generation, pid, at } => {
                self.with_run(now, service, generation, out, |s, cx| s.spawned(cx, pid, at));
            }
            Event::SpawnFailed { service, generation, permanent } => {
                self.with_run(now, service, generation, out, |s, cx| s.spawn_failed(cx, permanent));
            }
            Event::Exited { service, generation, exit, oom } => {
                self.with_run(now, service, generation, out, |s, cx| s.exited(cx, exit, oom));
            }
            Event::Lacks { service, generation } => {
                self.with_run(now, service, generation, out, |s, _| s.lacks());
            }
            Event::Drained { service, generation } => {
                self.with_run(now, service, generation, out, Service::drained);
            }
            Event::TreeLeft { service, generation, left } => {
                self.with_run(now, service, generation, out, |s, cx| s.tree_left(cx, left));
            }
            Event::CrashRecorded { service, generation } => {
                self.with_run(now, service, generation, out, Service::crash_recorded);
            }
            Event::RunEnded { service, generation, number, end } => {
                self.with_run(now, service, generation, out, |s, cx| s.run_ended(cx, number, end));
            }
            Event::Ready { service, generation } => {
                self.with_run(now, service, generation, out, Service::said_ready);
            }
            Event::Notified { service, generation, said } => {
                self.with_run(now, service, generation, out, |s, cx| s.notified(cx, said));
            }
            Event::Probed { service, generation, probe, finding } => {
                self.with_run(now, service, generation, out, |s, cx| s.probed(cx, probe, finding));
            }
        }
        self.propagate(now, out);
        self.conclude(now, out);
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Mono, out: &mut Vec<Action>) {
        while let Some((at, service)) = self.index.first() {
            if at > now {
                break;
            }
            self.due(now, service, out);
            self.propagate(now, out);
        }
        if self.config_settled().is_some_and(|at| at <= now) {
            self.config_changed = None;
            let id = self.claim_note();
            let kind = NoteKind::ConfigChanged;
            out.push(Action::Note(Note { id, cause: None, at: now, service: None, generation: 0, kind }));
            out.push(Action::Reload);
        }
        self.conclude(now, out);
    }

    /// When the files of the configuration count as quiet.
    fn config_settled(&self) -> Option<Mono> {
        let (first, last) = self.config_changed?;
        Some((last + CONFIG_SETTLES).min(first + CONFIG_SETTLES.saturating_mul(MOST_DEBOUNCES)))
    }

    /// When [`Self::handle_timeout`] is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let boot = self.unsettled.first().map(|(at, _)| at);
        let boot = [boot, self.config_settled()].into_iter().flatten().min();
        match (self.index.first().map(|(at, _)| at), boot) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// One service as it is.
    #[must_use]
    pub fn view(&self, service: ServiceId) -> Option<View> {
        self.services.get(&service).map(|service| view(service))
    }

    /// What a change of the service's configuration would come to now: exactly what [`Event::Redefine`] does.
    #[must_use]
    pub fn foresee(&self, service: ServiceId, change: Change) -> Option<Effect> {
        self.services.get(&service).map(|service| service.foresee(change))
    }

    /// Nothing of it runs and nothing is owed: a new definition is in force at once.
    #[must_use]
    pub fn is_at_rest(&self, service: ServiceId) -> bool {
        self.services.get(&service).is_none_or(|service| service.is_at_rest())
    }

    /// Every service as it is, by number.
    pub fn views(&self) -> impl Iterator<Item = View> {
        self.services.values().map(|service| view(service))
    }

    /// A number for a note of the shell's own, so that all notes count together.
    pub fn claim_note(&mut self) -> NoteId {
        let id = NoteId(self.notes);
        self.notes += 1;
        id
    }

    /// How often a pair of services was looked at so far: how much work their relations make.
    #[must_use]
    pub fn relations_looked_at(&self) -> u64 {
        self.agenda.work
    }

    /// Whether the daemon is on its way down.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// Something happens to a service; what follows from it is up to [`Self::propagate`].
    pub(crate) fn with(
        &mut self,
        now: Mono,
        id: ServiceId,
        out: &mut Vec<Action>,
        step: impl FnOnce(&mut Service, &mut Cx<'_>),
    ) {
        self.step(now, id, out, step);
        if self.services.get(&id).is_some_and(|service| service.wants_a_look()) {
            self.agenda.looks.insert(id);
        }
    }

    /// The same for what follows from a look: it is not looked at again before something changes.
    pub(crate) fn step(
        &mut self,
        now: Mono,
        id: ServiceId,
        out: &mut Vec<Action>,
        step: impl FnOnce(&mut Service, &mut Cx<'_>),
    ) {
        let Some(service) = self.services.get_mut(&id) else { return };
        self.touched.insert(id);
        let mut cx = Cx {
            now,
            out,
            chance: &mut self.chance,
            notes: &mut self.notes,
            shutting_down: self.shutting_down,
            hurry: self.hurry,
            configured: self.configured,
        };
        let was = Face::of(service);
        step(service, &mut cx);
        let is = Face::of(service);
        count(&mut self.busy, !was.at_rest, !is.at_rest);
        count(&mut self.agenda.starting, was.starting, is.starting);
        if was != is {
            self.agenda.changed.insert(id);
        }
        if matches!(was.standing, Standing::Leaving | Standing::Stuck) && service.stays() {
            // It stays after all, and nobody has seen to what it needs meanwhile.
            self.agenda.looks.insert(id);
        }
        let deadline = service.deadline();
        self.index.set(id, service.indexed, deadline);
        service.indexed = deadline;
        if service.has_settled() || service.removing {
            self.unsettled.set(id, service.settles_by.take(), None);
        }
        if service.removing && service.is_at_rest() {
            self.index.set(id, service.indexed, None);
            self.services.remove(&id);
            out.push(Action::Removed { service: id });
            // What it said of others goes with it; what they say of it stays, and it is not there.
            self.agenda.changed.insert(id);
            self.agenda.looks.extend(self.graph.declare(id, &Relations::default()));
        }
    }

    /// News of a run that is over falls through here.
    fn with_run(
        &mut self,
        now: Mono,
        id: ServiceId,
        generation: u64,
        out: &mut Vec<Action>,
        step: impl FnOnce(&mut Service, &mut Cx<'_>),
    ) {
        if self.services.get(&id).is_some_and(|service| service.generation == generation) {
            self.with(now, id, out, step);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of `Event::Define`")]
    fn define(
        &mut self,
        now: Mono,
        id: ServiceId,
        policy: crate::Policy,
        start: bool,
        program_missing: bool,
        left: u32,
        out: &mut Vec<Action>,
    ) {
        let start = start && !self.shutting_down;
        self.relate(id, &policy.relations);
        if let Some(service) = self.services.get_mut(&id) {
            // It was being removed and is wanted again: what runs of it ends first.
            service.removing = false;
            service.want = if start { Want::Up } else { Want::Down };
            let to = Redefinition { live: policy.clone(), policy, change: Change::Replace };
            self.with(now, id, out, |s, cx| {
                s.redefine(cx, to);
                s.program_missing = program_missing;
            });
            if start {
                self.bring_up(now, id, false, out);
            }
            return;
        }
        let mut service = Service::new(id, policy, now);
        if start && self.boot == Boot::Defining {
            // What is left of an earlier life may take its own time to end first.
            let first = if left > 0 { service.policy.stop_timeout } else { Duration::ZERO };
            service.settles_by = Some(now + first + service.policy.start_timeout);
            self.unsettled.set(id, None, service.settles_by);
        }
        service.program_missing = program_missing;
        self.touched.insert(id);
        self.services.insert(id, Box::new(service));
        self.agenda.changed.insert(id);
        if left > 0 {
            self.with(now, id, out, |s, cx| s.inherit(cx, start, program_missing, left));
        } else if start {
            self.with(now, id, out, |s, cx| s.begin(cx, program_missing));
        }
        let wanted = if self.expected.remove(&id) { self.wanted_by_whom(id) } else { None };
        if let (Some((by, note)), false) = (wanted, start) {
            self.with(now, id, out, |s, cx| s.pull_in(cx, by, note, false));
        }
        if self.services.get(&id).is_some_and(|service| service.want == Want::Up) {
            self.bring_up(now, id, false, out);
        }
    }

    fn shut_down(&mut self, now: Mono, out: &mut Vec<Action>) {
        let again = self.shutting_down;
        self.shutting_down = true;
        self.config_changed = None;
        self.hurry = again;
        let id = NoteId(self.notes);
        if !again {
            self.notes += 1;
            out.push(Action::Note(Note {
                id,
                cause: None,
                at: now,
                service: None,
                generation: 0,
                kind: NoteKind::ShuttingDown,
            }));
        }
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        for service in ids {
            if again {
                self.with(now, service, out, Service::hurry);
            } else {
                self.with(now, service, out, |s, cx| s.want_down(cx, StopCause::Shutdown, Some(id)));
            }
        }
        if again {
            // What is in a hurry is due now.
            self.handle_timeout(now, out);
        }
    }

    /// What concerns all services together.
    fn conclude(&mut self, now: Mono, out: &mut Vec<Action>) {
        while let Some((at, id)) = self.unsettled.first() {
            if at > now {
                break;
            }
            self.unsettled.set(id, Some(at), None);
            if let Some(service) = self.services.get_mut(&id) {
                service.settles_by = None;
                self.touched.insert(id);
            }
        }
        if self.boot == Boot::Waiting && self.unsettled.first().is_none() {
            self.boot = Boot::Ready;
            out.push(Action::Ready);
        }
        if self.shutting_down && !self.finished && self.busy == 0 {
            self.finished = true;
            out.push(Action::Finished);
        }
    }
}

/// One more or one less.
fn count(all: &mut usize, was: bool, is: bool) {
    match (was, is) {
        (false, true) => *all += 1,
        (true, false) => *all -= 1,
        (true, true) | (false, false) => {}
    }
}

fn view(service: &Service) -> View {
    let child = service.child();
    let health = child.and_then(|child| child.health.as_ref());
    View {
        service: service.id,
        wanted: service.want == Want::Up,
        state: state_view(service),
        since: service.since,
        generation: service.generation,
        pid: child.map(|child| child.pid),
        started: child.map(|child| child.started),
        restarts: service.attempt,
        max_restarts: service.policy.restart.max_restarts,
        restarts_total: service.restarts_total,
        command: service.command,
        beside: service.beside().map(|beside| beside.command),
        health: health_view(service, health),
        watch: service.watch_view(),
        stale: service.stale(),
        reloading: child.is_some_and(Child::is_reloading),
        flapping: service.flapping(),
        last_note: service.last_note(),
        next: service.next(),
    }
}

fn state_view(service: &Service) -> StateView {
    if let Some(leave) = service.leave.filter(|_| service.is_about_to_leave()) {
        return StateView::Leaving { cause: leave.cause, first: leave.first };
    }
    match &service.actual {
        Actual::Down(why) => StateView::Down(*why),
        Actual::Waiting(waiting) => StateView::Waiting(waiting.on()),
        Actual::Spawning(_) => StateView::Spawning,
        Actual::Starting(child) => StateView::Starting(child.awaits()),
        Actual::Up(_) => StateView::Up,
        Actual::Exited => StateView::Exited,
        Actual::Stopping(stopping) => StateView::Stopping(stopping.cause()),
        Actual::Ending(ending) => match ending.without_process() {
            Some(cause) => StateView::Stopping(cause),
            None if ending.starts() => StateView::Starting(Awaited::End),
            None => StateView::Ending { exit: ending.exit(), left: ending.left() },
        },
        Actual::Backoff { failure, .. } => StateView::Backoff { failure: *failure },
        Actual::Parked(why) => StateView::Parked(*why),
    }
}

fn health_view(service: &Service, health: Option<&Health>) -> HealthView {
    let Some(policy) = &service.policy.health else { return HealthView::None };
    let Some(health) = health else {
        let awaited = service.child().is_some_and(Child::is_unarmed);
        return if awaited { HealthView::Starting } else { HealthView::None };
    };
    match health.failures() {
        0 if health.seen_healthy() => HealthView::Healthy,
        0 => HealthView::Starting,
        failures if failures >= policy.retries => HealthView::Unhealthy(failures),
        failures => HealthView::Failing(failures),
    }
}

impl Service {
    /// What happens next and when, as far as a person cares.
    fn next(&self) -> Option<(NextView, Mono)> {
        let beside = self.beside();
        let runs = beside.filter(|beside| !matches!(beside.command, Command::Reload(_)));
        if let Some(beside) = runs {
            return Some((NextView::RunTimeout, beside.deadline()));
        }
        match &self.actual {
            Actual::Ending(ending) if ending.without_process().is_some() => {
                (ending.left() > 0).then(|| (NextView::Kill, ending.due()))
            }
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Ending(_)
            | Actual::Parked(_) => None,
            Actual::Starting(child) if child.awaits() != Awaited::Health => {
                // It is asked so often that the next time is no news.
                Some((NextView::StartTimeout, self.start_ends(child)))
            }
            Actual::Starting(child) | Actual::Up(child) => {
                if let Some(at) = child.health.as_ref().and_then(Health::next_probe) {
                    return Some((NextView::Probe, at));
                }
                let up = matches!(self.actual, Actual::Up(_));
                let resets = self.counts_until(child).filter(|_| up && child.health.is_none());
                resets.map(|at| (NextView::ResetCounters, at))
            }
            Actual::Stopping(stopping) => Some((NextView::Kill, stopping.due())),
            Actual::Backoff { until, .. } => Some((NextView::Start, *until)),
        }
    }
}
