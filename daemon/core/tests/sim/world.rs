//! What processes, probes, disks and people do. It performs actions and plans what comes of them; it judges nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mcpd_core::action::{Command, Probing};
use mcpd_core::event::{Change, PROBE_GRACE, RECORD_LIMIT, RUN_GRACE, Redefinition, RunEnd};
use mcpd_core::policy::{Commands, ReadyPolicy, Relations};
use mcpd_core::{Action, Event, Exit, Finding, Mono, Policy, RequestId, Said, ServiceId, Verb, Whom};

use super::causes::CONFIGURED;
use super::dice::Dice;
use super::invariants::Truth;

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    /// News for the core.
    News(Event),
    /// The main process ends.
    Dies { service: ServiceId, generation: u64, exit: Exit },
    /// A command around the main process ends.
    Ran { service: ServiceId, generation: u64, number: u64, end: RunEnd },
    /// One process of a dead one's tree ends.
    Shrinks { service: ServiceId, generation: u64 },
    /// Somebody looks at the tree.
    Look { service: ServiceId, generation: u64 },
    /// It says that it is alive, again and again.
    Feeds { service: ServiceId, generation: u64 },
    /// A person, a reload or a fault.
    Someone,
}

/// What the run loop is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Tell the core.
    Tell(Event),
    /// Tell the core of a reload.
    Reload(Vec<Event>),
    /// Wake the core although nothing is due.
    Poke,
    /// The clock leaps.
    Leap(Duration),
    /// The daemon is killed, and another begins.
    Reborn,
    /// The daemon is killed, and another takes over where it was.
    TakenOver,
    /// Nothing that concerns the core.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Good,
    Bad,
    Hangs,
    Flaps,
    GoodFrom(Mono),
}

#[derive(Debug, Clone)]
struct Process {
    generation: u64,
    alive: bool,
    /// The stop signal does nothing.
    deaf: bool,
    /// SIGKILL takes this long.
    stuck: Duration,
    killed: bool,
    /// The end is not told before this: the answer to the spawn comes first.
    told: Mono,
    endpoint: Endpoint,
    /// Processes that outlive the main one.
    tree: u32,
    /// They do not end by the stop signal.
    tree_deaf: bool,
    /// The core has asked to be told of them.
    watched: bool,
    /// The commands around it that live.
    around: BTreeSet<u64>,
}

impl Process {
    /// Of a start that brought none, or of none: there are only commands around it.
    fn none(generation: u64, now: Mono) -> Self {
        Self {
            generation,
            alive: false,
            deaf: false,
            stuck: Duration::ZERO,
            killed: false,
            told: now,
            endpoint: Endpoint::Good,
            tree: 0,
            tree_deaf: false,
            watched: false,
            around: BTreeSet::new(),
        }
    }

    fn left(&self) -> u32 {
        self.tree + u32::try_from(self.around.len()).unwrap()
    }
}

#[derive(Debug, Clone)]
struct Service {
    policy: Policy,
    /// It writes into what it watches, each time it starts.
    writes: bool,
    /// What its present start consists of.
    commands: Commands,
    process: Option<Process>,
    removing: bool,
    removed: bool,
}

/// The world.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) now: Mono,
    plans: BTreeMap<(Mono, u64), Plan>,
    planned: u64,
    services: BTreeMap<ServiceId, Service>,
    past: VecDeque<Event>,
    requests: u64,
    /// People and faults that are still to come.
    someones: u32,
    /// So often the daemon is killed.
    deaths: u32,
    shutdowns: u32,
    /// No more faults.
    pub(crate) calm: bool,
    /// Services have to do with each other.
    related: bool,
    ranks: u64,
}

const STALE: usize = 12;
/// Services of a world.
const MOST_SERVICES: u32 = 7;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let someones = u32::try_from(15 + dice.below(120)).unwrap();
        let deaths = if dice.percent(30) { u32::try_from(1 + dice.below(3)).unwrap() } else { 0 };
        let related = dice.percent(70);
        let ranks = dice.below(u64::MAX);
        Self {
            dice,
            now: Mono(1_000_000_000),
            plans: BTreeMap::new(),
            planned: 0,
            services: BTreeMap::new(),
            past: VecDeque::new(),
            requests: 0,
            someones,
            deaths,
            shutdowns: 0,
            calm: false,
            related,
            ranks,
        }
    }

    /// The first configuration.
    pub(crate) fn begin(&mut self) -> Vec<Event> {
        let services = 1 + if self.related { self.dice.below(6) } else { self.dice.below(3) };
        let mut events = vec![Event::Reloading { by: Some(CONFIGURED) }];
        events.extend((0..services).map(|_| self.define_new()));
        if self.related && self.dice.percent(40) {
            events.push(self.limit());
        }
        events.push(Event::Begun);
        self.plan(Duration::ZERO, Plan::Someone);
        events
    }

    pub(crate) fn truth(&self, service: ServiceId) -> Truth {
        let process = self.services.get(&service).and_then(|service| service.process.as_ref());
        process.map_or_else(Truth::default, |process| Truth {
            alive: process.alive,
            tree: if process.alive { 0 } else { process.left() },
        })
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Mono> {
        self.plans.first_key_value().map(|((at, _), _)| *at)
    }

    /// Whether people and faults are still to come.
    pub(crate) fn is_over(&self) -> bool {
        self.someones == 0
    }

    fn plan(&mut self, after: Duration, plan: Plan) {
        self.plan_at(self.now + after, plan);
    }

    fn plan_at(&mut self, at: Mono, plan: Plan) {
        self.planned += 1;
        self.plans.insert((at, self.planned), plan);
    }

    fn tell(&mut self, after: Duration, event: Event) {
        self.plan(after, Plan::News(event));
    }

    /// From now on everything works.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.someones = 0;
        self.plans.retain(|_, plan| !matches!(plan, Plan::Someone));
        for service in self.services.values_mut() {
            if let Some(process) = &mut service.process {
                process.endpoint = Endpoint::Good;
            }
        }
    }

    /// Takes the next plan; its time has come.
    pub(crate) fn happens(&mut self) -> Next {
        let Some(((at, _), plan)) = self.plans.pop_first() else { return Next::Nothing };
        self.now = self.now.max(at);
        match plan {
            Plan::News(event) => self.news(event),
            Plan::Dies { service, generation, exit } => {
                self.dies(service, generation, exit);
                Next::Nothing
            }
            Plan::Ran { service, generation, number, end } => self.ran(service, generation, number, end),
            Plan::Shrinks { service, generation } => {
                if let Some(process) = self.process(service, generation)
                    && !process.alive
                    && process.tree > 0
                {
                    process.tree -= 1;
                    self.plan(Duration::ZERO, Plan::Look { service, generation });
                }
                Next::Nothing
            }
            Plan::Look { service, generation } => {
                let Some(process) = self.process(service, generation) else { return Next::Nothing };
                if !process.watched {
                    return Next::Nothing;
                }
                let left = process.left();
                // A look that found nothing is the last one.
                process.watched = left > 0;
                self.news(Event::TreeLeft { service, generation, left })
            }
            Plan::Feeds { service, generation } => {
                let every = self.services.get(&service).and_then(|service| service.policy.watchdog);
                let alive = self.process(service, generation).is_some_and(|process| process.alive);
                let Some(every) = every.filter(|_| alive) else { return Next::Nothing };
                // Now and then it hangs.
                if !self.calm && self.dice.percent(10) {
                    return Next::Nothing;
                }
                self.plan(every / 2, Plan::Feeds { service, generation });
                self.news(Event::Notified { service, generation, said: Said::Alive })
            }
            Plan::Someone => {
                self.someones = self.someones.saturating_sub(1);
                if self.someones > 0 {
                    let pause = self.dice.ms(20_000);
                    self.plan(pause, Plan::Someone);
                }
                self.someone()
            }
        }
    }

    fn news(&mut self, event: Event) -> Next {
        if self.past.len() == STALE {
            self.past.pop_front();
        }
        self.past.push_back(event.clone());
        Next::Tell(event)
    }

    fn process(&mut self, service: ServiceId, generation: u64) -> Option<&mut Process> {
        let process = self.services.get_mut(&service)?.process.as_mut()?;
        (process.generation == generation).then_some(process)
    }

    fn dies(&mut self, service: ServiceId, generation: u64, exit: Exit) {
        let now = self.now;
        let Some(process) = self.process(service, generation).filter(|process| process.alive) else { return };
        process.alive = false;
        let (told, tree, deaf) = (process.told, process.tree, process.tree_deaf);
        let late = if self.dice.percent(70) { Duration::ZERO } else { self.dice.ms(20) };
        // Whatever its main process made of it, that of another one among them.
        let oom = !self.calm && self.dice.percent(8);
        self.plan_at((now + late).max(told), Plan::News(Event::Exited { service, generation, exit, oom }));
        for _ in 0..tree {
            if !deaf && self.dice.percent(60) {
                let after = self.dice.ms(20_000);
                self.plan(after, Plan::Shrinks { service, generation });
            }
        }
    }

    // ---- actions

    pub(crate) fn perform(&mut self, action: &Action) {
        match action {
            Action::Spawn { service, generation, command, first } => {
                if let Some(known) = self.services.get_mut(service).filter(|_| *first) {
                    known.commands = known.policy.commands.clone();
                }
                self.spawn(*service, *generation, *command);
            }
            Action::Signal { service, generation, signal, whom: Whom::Main | Whom::Group } => {
                self.signal(*service, *generation, *signal);
            }
            Action::Settle { service, generation } => {
                let (service, generation) = (*service, *generation);
                if let Some(process) = self.process(service, generation) {
                    process.watched = true;
                }
                let look = self.dice.ms(20);
                self.plan(look, Plan::Look { service, generation });
                if !self.calm && self.dice.percent(5) {
                    return;
                }
                let most = if self.calm || self.dice.percent(90) { 20 } else { 20_000 };
                let drained = self.dice.ms(most);
                if !self.calm && self.dice.percent(6) {
                    // It comes before, or too late when nobody waits for the output any more.
                    self.tell(drained, Event::Lacks { service, generation });
                }
                self.tell(drained, Event::Drained { service, generation });
            }
            Action::SignalTree { service, generation, signal } => {
                self.signal_tree(*service, *generation, *signal);
            }
            Action::RecordCrash(crash) => {
                let (service, generation) = (crash.service, crash.generation);
                let late = match self.dice.below(10) {
                    0 if !self.calm => return,
                    1 if !self.calm => RECORD_LIMIT + self.dice.ms(5_000),
                    _ => self.dice.ms(30),
                };
                self.tell(late, Event::CrashRecorded { service, generation });
            }
            Action::Probe { service, generation, probe, of } => {
                self.probe(*service, *generation, *probe, *of);
            }
            Action::Run { service, generation, number, command, timeout, .. }
                if !matches!(command, Command::Reload(_)) =>
            {
                self.run_around(*service, *generation, *number, *command, *timeout);
            }
            Action::Run { service, generation, number, timeout, .. } => {
                let (service, generation, number) = (*service, *generation, *number);
                let alive = self.process(service, generation).is_some_and(|process| process.alive);
                let ok = alive && (self.calm || self.dice.percent(70));
                let late = match self.dice.below(10) {
                    // Its end is never told, or much too late.
                    0 if !self.calm => return,
                    1 if !self.calm => *timeout + RUN_GRACE + self.dice.ms(2_000),
                    2 if !self.calm => *timeout,
                    _ => self.dice.ms(500).min(*timeout),
                };
                let end = if ok { RunEnd::Well } else { RunEnd::Badly(None) };
                self.tell(late, Event::RunEnded { service, generation, number, end });
            }
            Action::EndRun { service, generation, number } => {
                let (service, generation, number) = (*service, *generation, *number);
                let stuck = !self.calm && self.dice.percent(10);
                let after = self.dice.ms(if stuck { 8_000 } else { 20 });
                let end = RunEnd::Badly(Some(Exit::Signal { signal: 9, core_dumped: false }));
                self.plan(after, Plan::Ran { service, generation, number, end });
            }
            Action::Look { service, generation } => {
                let (service, generation) = (*service, *generation);
                self.founded(service, generation).watched = true;
                // What was seen before is not told again once somebody looks again.
                self.past.retain(|event| !matches!(event, Event::TreeLeft { .. }));
                let look = self.dice.ms(20);
                self.plan(look, Plan::Look { service, generation });
            }
            Action::Removed { service } => {
                if let Some(service) = self.services.get_mut(service) {
                    service.removed = true;
                }
            }
            Action::Forget { .. }
            | Action::Reply { .. }
            | Action::Note(_)
            | Action::Ready
            | Action::Reload
            | Action::Finished => {}
        }
    }

    /// The process of this start, or what stands for it.
    fn founded(&mut self, service: ServiceId, generation: u64) -> &mut Process {
        let now = self.now;
        let known = self.services.get_mut(&service).unwrap();
        if known.process.as_ref().is_none_or(|process| process.generation != generation) {
            known.process = Some(Process::none(generation, now));
        }
        known.process.as_mut().unwrap()
    }

    fn run_around(
        &mut self,
        service: ServiceId,
        generation: u64,
        number: u64,
        command: Command,
        timeout: Duration,
    ) {
        let most = if self.calm || self.dice.percent(90) { 10 } else { 3_000 };
        let late = self.dice.ms(most);
        if !self.calm && self.dice.percent(8) {
            let end = if self.dice.percent(40) { RunEnd::Cannot } else { RunEnd::Badly(None) };
            return self.tell(late, Event::RunEnded { service, generation, number, end });
        }
        let leaves = if self.dice.percent(85) { 0 } else { u32::try_from(1 + self.dice.below(2)).unwrap() };
        let process = self.founded(service, generation);
        process.around.insert(number);
        process.tree += leaves;
        if matches!(command, Command::Stop(_)) && self.dice.percent(40) {
            let after = self.dice.ms(5_000);
            let exit = self.dice.exit();
            self.plan(after, Plan::Dies { service, generation, exit });
        }
        let most = if self.calm { 5 } else { u64::try_from(timeout.as_millis()).unwrap() * 5 / 4 };
        let life = self.dice.ms(most.clamp(1, 20_000));
        let end = match self.dice.below(10) {
            _ if self.calm => RunEnd::Well,
            // It hangs.
            0 => return,
            1 | 2 => match self.dice.exit() {
                Exit::Code(0) => RunEnd::Well,
                exit => RunEnd::Badly(Some(exit)),
            },
            _ => RunEnd::Well,
        };
        self.plan(life, Plan::Ran { service, generation, number, end });
    }

    fn ran(&mut self, service: ServiceId, generation: u64, number: u64, end: RunEnd) -> Next {
        let lost = !self.calm && self.dice.percent(3);
        let Some(process) = self.process(service, generation) else { return Next::Nothing };
        if !process.around.remove(&number) {
            return Next::Nothing;
        }
        if process.watched {
            self.plan(Duration::ZERO, Plan::Look { service, generation });
        }
        // News of it are lost now and then.
        if lost { Next::Nothing } else { self.news(Event::RunEnded { service, generation, number, end }) }
    }

    fn spawn(&mut self, service: ServiceId, generation: u64, command: Command) {
        let oneshot = self.services.get(&service).is_some_and(|known| known.commands.oneshot.is_some());
        let passes = oneshot || matches!(command, Command::StartPre(_));
        let late = match self.dice.below(20) {
            0 if !self.calm => self.dice.ms(100_000),
            1 | 2 if !self.calm => self.dice.ms(2_000),
            _ => self.dice.ms(10),
        };
        if !self.calm && self.dice.percent(12) {
            let permanent = self.dice.percent(40);
            return self.tell(late, Event::SpawnFailed { service, generation, permanent });
        }
        let told = self.now + late;
        let endpoint = match self.dice.below(10) {
            _ if self.calm => Endpoint::Good,
            0..=3 => Endpoint::Good,
            4 | 5 => Endpoint::Bad,
            6 => Endpoint::Hangs,
            7 => Endpoint::Flaps,
            _ => Endpoint::GoodFrom(told + self.dice.ms(60_000)),
        };
        let process = Process {
            generation,
            alive: true,
            deaf: self.dice.percent(25),
            stuck: if self.dice.percent(10) { self.dice.ms(60_000) } else { Duration::from_millis(1) },
            killed: false,
            told,
            endpoint,
            tree: if self.dice.percent(70) { 0 } else { u32::try_from(self.dice.below(4)).unwrap() },
            tree_deaf: self.dice.percent(40),
            watched: false,
            around: BTreeSet::new(),
        };
        if let Some(service) = self.services.get_mut(&service) {
            service.process = Some(process);
        }
        let pid = u32::try_from(generation + 100).unwrap();
        self.tell(late, Event::Spawned { service, generation, pid, at: self.now });
        if self.services.get(&service).is_some_and(|known| known.writes) {
            let after = late + self.dice.ms(2_500);
            self.tell(after, Event::FilesChanged { service });
        }
        // Whether anybody waits for it or not, and perhaps after its end.
        let says = match self.dice.below(10) {
            _ if self.calm => Some(100),
            0..=4 => Some(2_000),
            5..=7 => Some(100_000),
            _ => None,
        };
        if let Some(most) = says {
            let after = self.dice.ms(most);
            self.tell(late + after, Event::Ready { service, generation });
            self.tell(late + after, Event::Notified { service, generation, said: Said::Ready });
        }
        self.plan(late, Plan::Feeds { service, generation });
        for _ in 0..if self.calm { 0 } else { self.dice.below(4) } {
            let after = self.dice.ms(60_000);
            let said = self.dice.said();
            self.tell(late + after, Event::Notified { service, generation, said });
        }
        if passes {
            let hangs = !self.calm && self.dice.percent(10);
            let well = self.calm || self.dice.percent(80);
            let exit = if well { Exit::Code(0) } else { self.dice.exit() };
            let life = self.dice.ms(2_000);
            if !hangs {
                self.plan(life, Plan::Dies { service, generation, exit });
            }
            return;
        }
        let life = match self.dice.below(20) {
            _ if self.calm => return,
            // It may be over before the answer is there.
            0..=2 => self.dice.ms(1),
            3..=9 => self.dice.ms(2_000),
            10..=15 => self.dice.ms(100_000),
            _ => return,
        };
        let exit = self.dice.exit();
        self.plan(life, Plan::Dies { service, generation, exit });
    }

    fn signal(&mut self, service: ServiceId, generation: u64, signal: i32) {
        let Some(known) = self.services.get(&service) else { return };
        let patience = known.policy.stop_timeout;
        let Some(process) = self.process(service, generation).filter(|process| process.alive) else { return };
        let (after, exit) = if signal == 9 {
            if std::mem::replace(&mut process.killed, true) {
                return;
            }
            (process.stuck, Exit::Signal { signal, core_dumped: false })
        } else if signal == 18 || process.deaf {
            return;
        } else {
            let most = u64::try_from(patience.as_millis()).unwrap() * 3 / 2;
            let after = self.dice.ms(most.max(1));
            let exit = match self.dice.below(10) {
                0 => Exit::Signal { signal: 11, core_dumped: true },
                1..=5 => Exit::Code(0),
                6 => Exit::Code(1),
                _ => Exit::Signal { signal, core_dumped: false },
            };
            (after, exit)
        };
        self.plan(after, Plan::Dies { service, generation, exit });
    }

    fn signal_tree(&mut self, service: ServiceId, generation: u64, signal: i32) {
        let Some(process) = self.process(service, generation) else { return };
        let (tree, deaf) = (process.tree, process.tree_deaf);
        for _ in 0..tree {
            let after = match signal {
                9 if self.dice.percent(10) => self.dice.ms(30_000),
                9 => self.dice.ms(20),
                _ if deaf || self.dice.percent(30) => continue,
                _ => self.dice.ms(5_000),
            };
            self.plan(after, Plan::Shrinks { service, generation });
        }
        let look = self.dice.ms(20);
        self.plan(look, Plan::Look { service, generation });
    }

    fn probe(&mut self, service: ServiceId, generation: u64, probe: u64, of: Probing) {
        let now = self.now;
        let timeout = self.services.get(&service).and_then(|service| match of {
            Probing::Health => service.policy.health.as_ref().map(|health| health.timeout),
            Probing::Ready => match service.policy.ready {
                Some(ReadyPolicy::Asked { timeout }) => Some(timeout),
                Some(ReadyPolicy::Told | ReadyPolicy::Notified) | None => None,
            },
        });
        let (Some(timeout), Some(process)) = (timeout, self.process(service, generation)) else { return };
        let (endpoint, alive) = (process.endpoint, process.alive);
        let flap = self.dice.percent(50);
        let (well, mut late) = match endpoint {
            Endpoint::Hangs => (false, timeout),
            Endpoint::Bad => (false, self.dice.ms(20)),
            Endpoint::Good => (alive, self.dice.ms(5)),
            Endpoint::Flaps => (alive && flap, self.dice.ms(20)),
            Endpoint::GoodFrom(at) => (alive && now >= at, self.dice.ms(20)),
        };
        if !self.calm && self.dice.percent(6) {
            if self.dice.percent(50) {
                return;
            }
            late = timeout + PROBE_GRACE + self.dice.ms(2_000);
        }
        let finding = match well {
            // No descriptor, no thread, no program: whatever the endpoint would have said.
            _ if !self.calm && self.dice.percent(10) => Finding::Unknown,
            true => Finding::Good,
            false => Finding::Bad,
        };
        self.tell(late, Event::Probed { service, generation, probe, finding });
    }

    // ---- people, reloads and faults

    fn limit(&mut self) -> Event {
        Event::Limit { parallel_starts: self.dice.pick(&[0, 1, 1, 2, 3]) }
    }

    fn policy(&mut self, id: ServiceId) -> Policy {
        let mut policy = self.dice.policy();
        policy.relations = self.relations(id);
        policy
    }

    fn relations(&mut self, id: ServiceId) -> Relations {
        if !self.related {
            return Relations::default();
        }
        let ranks = self.ranks;
        let rank = |id: ServiceId| (u64::from(id.0) + 1).wrapping_mul(ranks | 1) >> 20;
        self.dice.relations(id, MOST_SERVICES, rank)
    }

    fn define_new(&mut self) -> Event {
        let id = ServiceId(u32::try_from(self.services.len()).unwrap() + 1);
        let policy = self.policy(id);
        let service = Service {
            commands: policy.commands.clone(),
            policy: policy.clone(),
            writes: self.dice.percent(20),
            process: None,
            removing: false,
            removed: false,
        };
        self.services.insert(id, service);
        Event::Define {
            service: id,
            policy: Box::new(policy),
            start: self.dice.percent(80),
            program_missing: self.dice.percent(5),
            left: 0,
        }
    }

    /// The daemon was killed at this very step. What it had started lives on; a new one begins with what it finds. Of
    /// what the old one was told or had asked for nothing is left.
    pub(crate) fn reborn(&mut self) -> Vec<Event> {
        let someones_next =
            self.plans.iter().find(|(_, plan)| matches!(plan, Plan::Someone)).map(|(at, _)| *at);
        self.plans.clear();
        if let Some(at) = someones_next {
            self.plans.insert(at, Plan::Someone);
        }
        self.past.clear();
        self.shutdowns = 0;
        let mut events = vec![Event::Reloading { by: Some(CONFIGURED) }];
        for id in self.services.keys().copied().collect::<Vec<_>>() {
            let left = self.orphan(id);
            let Some(known) = self.services.get_mut(&id) else { continue };
            // The configuration has changed meanwhile: this one is not in it any more.
            let gone = std::mem::take(&mut known.removing) || known.removed;
            known.removing = gone && left > 0;
            known.removed = gone && left == 0;
            if known.removed {
                continue;
            }
            let policy = Box::new(known.policy.clone());
            let start = !gone && self.dice.percent(80);
            let program_missing = start && self.dice.percent(5);
            events.push(Event::Define { service: id, policy, start, program_missing, left });
            if gone {
                events.push(Event::Remove { service: id });
            }
        }
        events.push(Event::Begun);
        events
    }

    /// The daemon was killed at this very step, and its successor knows what it knew. Processes live on, and news of them are
    /// kept by whoever kept them; what the daemon's own threads were about to say is lost.
    pub(crate) fn taken_over(&mut self) {
        self.plans.retain(|_, plan| match plan {
            Plan::Look { .. } => false,
            Plan::News(event) => !matches!(
                event,
                Event::Drained { .. }
                    | Event::Lacks { .. }
                    | Event::CrashRecorded { .. }
                    | Event::Probed { .. }
                    | Event::RunEnded { .. }
                    | Event::TreeLeft { .. }
                    | Event::SpawnFailed { .. }
            ),
            _ => true,
        });
        self.past.clear();
    }

    /// What the successor finds that its predecessor was waiting for: does again, unless the answer is there.
    pub(crate) fn settle(&mut self, owed: &Action) {
        if let Action::Spawn { service, generation, .. } = owed
            && self.process(*service, *generation).is_some()
        {
            return;
        }
        self.perform(owed);
    }

    /// What lives of a service is nobody's child now; so many processes.
    fn orphan(&mut self, service: ServiceId) -> u32 {
        let Some(process) = self.services.get_mut(&service).and_then(|known| known.process.as_mut()) else {
            return 0;
        };
        // The main process is one of them; it is as deaf as it was, or as its tree.
        process.tree += u32::from(process.alive) + u32::try_from(process.around.len()).unwrap();
        process.around.clear();
        process.tree_deaf |= process.alive && process.deaf;
        process.generation = 0;
        process.alive = false;
        process.watched = true;
        let (left, deaf) = (process.tree, process.tree_deaf);
        for _ in 0..left {
            if !deaf && self.dice.percent(20) {
                let after = self.dice.ms(20_000);
                self.plan(after, Plan::Shrinks { service, generation: 0 });
            }
        }
        left
    }

    fn someone(&mut self) -> Next {
        let count = u64::try_from(self.services.len()).unwrap();
        let id = ServiceId(u32::try_from(self.dice.below(count) + 1).unwrap());
        let known = &self.services[&id];
        let (removing, removed) = (known.removing, known.removed);
        if removing && !removed && self.dice.percent(30) {
            return self.define_again(id);
        }
        if self.deaths > 0 && self.dice.percent(5) {
            self.deaths -= 1;
            return if self.dice.percent(60) { Next::TakenOver } else { Next::Reborn };
        }
        match self.dice.below(100) {
            0..=44 => self.command(id),
            45..=57 => self.edit(id),
            58..=66 if !removed => Next::Tell(self.redefine(id)),
            67..=70 => self.reload(),
            71..=76 if !removed => Next::Tell(self.remove(id)),
            77 if self.related && self.dice.percent(50) => Next::Tell(self.limit()),
            77 | 78 if count < u64::from(MOST_SERVICES) => Next::Tell(self.define_new()),
            79..=83 => Next::Leap(Duration::from_secs(30 + self.dice.below(600))),
            84..=88 => Next::Poke,
            89..=97 => self.stale(),
            98 => self.shut_down(),
            99 if self.shutdowns > 0 || self.dice.percent(30) => self.shut_down(),
            _ => self.command(id),
        }
    }

    pub(crate) fn shut_down(&mut self) -> Next {
        self.shutdowns += 1;
        Next::Tell(Event::Shutdown)
    }

    fn command(&mut self, service: ServiceId) -> Next {
        self.requests += 1;
        let verb = match self.dice.below(20) {
            0..=5 => Verb::Start,
            6..=10 => Verb::Stop,
            11..=15 => Verb::Restart,
            16 => Verb::Reset,
            17 => Verb::Reload,
            18 => Verb::Signal(10, Whom::Main),
            _ => Verb::Signal(9, Whom::Group),
        };
        // Several clients at the same moment, now and then.
        if self.dice.percent(20) {
            self.someones += 1;
            self.plan(Duration::ZERO, Plan::Someone);
            self.someones = self.someones.min(200);
        }
        Next::Tell(Event::Command { request: RequestId(self.requests), service, verb })
    }

    fn remove(&mut self, id: ServiceId) -> Event {
        if let Some(service) = self.services.get_mut(&id) {
            service.removing = true;
        }
        Event::Remove { service: id }
    }

    /// Several things at once, as a real reload does it.
    fn reload(&mut self) -> Next {
        let mut events = vec![Event::Reloading { by: Some(CONFIGURED) }];
        let there: Vec<ServiceId> =
            self.services.iter().filter(|(_, s)| !s.removed).map(|(id, _)| *id).collect();
        for id in there {
            match self.dice.below(10) {
                0 | 1 if !self.services[&id].removing => events.push(self.redefine(id)),
                2 if !self.services[&id].removing => events.push(self.remove(id)),
                _ => {}
            }
        }
        while self.services.len() < MOST_SERVICES as usize && self.dice.percent(20) {
            events.push(self.define_new());
        }
        events.push(Event::Begun);
        Next::Reload(events)
    }

    /// Somebody changes files, one or some.
    fn edit(&mut self, service: ServiceId) -> Next {
        for _ in 0..self.dice.below(4) {
            let after = self.dice.ms(3_000);
            self.tell(after, Event::FilesChanged { service });
        }
        if self.dice.percent(40) {
            let after = self.dice.ms(3_000);
            self.tell(after, Event::ProgramChanged { service });
        }
        let program = self.dice.percent(30);
        if self.dice.percent(20) {
            return self.news(Event::ConfigChanged);
        }
        self.news(if program { Event::ProgramChanged { service } } else { Event::FilesChanged { service } })
    }

    fn redefine(&mut self, service: ServiceId) -> Event {
        let policy = match self.services.get(&service) {
            Some(known) if self.dice.percent(40) => {
                let mut policy = known.policy.clone();
                if self.dice.percent(60) {
                    policy.health = if self.dice.percent(70) { Some(self.dice.health()) } else { None };
                }
                if self.dice.percent(30) {
                    policy.watchdog = if self.dice.percent(60) { Some(self.dice.watchdog()) } else { None };
                }
                if self.dice.percent(60) {
                    policy.ready = if self.dice.percent(60) { Some(self.dice.ready()) } else { None };
                }
                policy
            }
            Some(_) | None => self.policy(service),
        };
        let change = match self.dice.below(4) {
            0 | 1 => Change::Settings,
            2 => Change::Definition,
            _ => Change::Replace,
        };
        // What asks a new question waits for the process that can answer it.
        let mut live = policy.clone();
        if let Some(known) = self.services.get_mut(&service) {
            if self.dice.percent(30) {
                live.health = known.policy.health.clone();
                live.ready = known.policy.ready;
                live.watchdog = known.policy.watchdog;
                live.commands = known.commands.clone();
            }
            // Whether its commands end is settled when they are started.
            live.commands.oneshot = known.commands.oneshot.clone();
            known.commands = live.commands.clone();
            known.policy = policy.clone();
        }
        Event::Redefine { service, to: Box::new(Redefinition { policy, live, change }) }
    }

    fn define_again(&mut self, service: ServiceId) -> Next {
        let policy = self.policy(service);
        if let Some(known) = self.services.get_mut(&service) {
            known.removing = false;
            known.policy = policy.clone();
        }
        Next::Tell(Event::Define {
            service,
            policy: Box::new(policy),
            start: self.dice.percent(80),
            program_missing: self.dice.percent(20),
            left: 0,
        })
    }

    /// News that the core has had already.
    fn stale(&mut self) -> Next {
        if self.past.is_empty() {
            return Next::Poke;
        }
        let at = self.dice.below(u64::try_from(self.past.len()).unwrap());
        let event = self.past[usize::try_from(at).unwrap()].clone();
        Next::Tell(event)
    }
}
