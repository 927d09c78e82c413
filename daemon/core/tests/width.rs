//! What many services that have to do with each other cost: looks are counted, so that no fast machine hides a square.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test that performs what concerns it")]

use std::collections::VecDeque;
use std::time::Duration;

use mcpd_core::event::Verb;
use mcpd_core::policy::{Commands, ExitSet, Relations, RestartPolicy, When};
use mcpd_core::view::StateView;
use mcpd_core::{Action, Core, Event, Exit, Mono, NoteId, Policy, RequestId, ServiceId};

const MANY: u32 = 10_000;
/// Looks per pair of services for one start or one stop of everything: each end of a pair is seen at a few changes of the
/// other. A square would be thousands.
const LOOKS: u64 = 30;

fn policy(relations: Relations) -> Policy {
    Policy {
        start_timeout: Duration::from_secs(90),
        stop_timeout: Duration::from_secs(10),
        stop_signal: 15,
        success: ExitSet { codes: vec![0], signals: vec![] },
        restart: RestartPolicy {
            when: When::OnFailure,
            delay: Duration::from_secs(1),
            multiplier: 1.5,
            max_delay: Duration::from_secs(60),
            jitter: 0.0,
            reset_after: Duration::from_secs(60),
            max_restarts: 10,
            park_at_limit: true,
            prevent: ExitSet::default(),
        },
        ready: None,
        health: None,
        relations,
        watch: None,
        watchdog: None,
        commands: Commands::default(),
    }
}

/// Services that do as they are told, the last asked first or the first asked first.
struct World {
    core: Core,
    events: VecDeque<Event>,
    newest_first: bool,
}

impl World {
    fn new(newest_first: bool, relations: impl Fn(u32) -> Relations) -> Self {
        let mut world = Self { core: Core::new(1, NoteId(1)), events: VecDeque::new(), newest_first };
        for id in 0..MANY {
            let (service, policy) = (ServiceId(id), Box::new(policy(relations(id))));
            world.tell(Event::Define { service, policy, start: true, program_missing: false, left: 0 });
        }
        world.tell(Event::Begun);
        world
    }

    fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.core.handle(Mono(1), event, &mut out);
        for action in out {
            match action {
                Action::Spawn { service, generation, .. } => {
                    self.events.push_back(Event::Spawned { service, generation, pid: 1, at: Mono(1) });
                }
                Action::Signal { service, generation, signal: 15, .. } => {
                    self.events.push_back(Event::Exited {
                        service,
                        generation,
                        exit: Exit::Code(0),
                        oom: false,
                    });
                }
                Action::Settle { service, generation } => {
                    self.events.push_back(Event::Drained { service, generation });
                    self.events.push_back(Event::TreeLeft { service, generation, left: 0 });
                }
                _ => {}
            }
        }
    }

    /// Lets happen what has to; how many looks that and what was told before took.
    fn run(&mut self, before: u64) -> u64 {
        loop {
            let next = if self.newest_first { self.events.pop_back() } else { self.events.pop_front() };
            let Some(event) = next else { break };
            self.tell(event);
        }
        self.core.relations_looked_at() - before
    }

    fn all(&self, is: impl Fn(StateView) -> bool) -> bool {
        self.core.views().all(|view| is(view.state))
    }
}

fn ids(range: std::ops::Range<u32>) -> Vec<ServiceId> {
    range.map(ServiceId).collect()
}

/// Starts all, stops the first with all that goes with it, starts all by one, ends.
fn whole_life(name: &str, relations: impl Fn(u32) -> Relations + Copy, root: u32, top: u32) {
    let pairs: u64 = (0..MANY)
        .map(|id| {
            let Relations { requires, binds_to, wants, part_of, after, before, conflicts } = relations(id);
            [requires, binds_to, wants, part_of, after, before, conflicts].concat().len() as u64
        })
        .sum();
    for newest_first in [false, true] {
        let mut world = World::new(newest_first, relations);
        let mut seen = 0;
        let mut phase = |world: &mut World, what: &str| {
            let looks = world.run(seen);
            seen += looks;
            assert!(looks <= pairs * LOOKS, "{name}, {what}: {looks} looks for {pairs} pairs");
        };
        phase(&mut world, "start");
        assert!(world.all(|state| state == StateView::Up), "{name}");
        let command =
            |verb, service| Event::Command { request: RequestId(1), service: ServiceId(service), verb };
        world.tell(command(Verb::Stop, root));
        phase(&mut world, "stop");
        assert!(world.all(|state| matches!(state, StateView::Down(_))), "{name}");
        world.tell(command(Verb::Start, top));
        phase(&mut world, "start of one");
        for id in 0..MANY {
            world.tell(command(Verb::Start, id));
        }
        phase(&mut world, "start of each");
        assert!(world.all(|state| state == StateView::Up), "{name}");
        world.tell(Event::Shutdown);
        phase(&mut world, "shutdown");
        assert!(world.all(|state| matches!(state, StateView::Down(_))), "{name}");
    }
}

#[test]
fn one_that_all_need() {
    let relations =
        |id| Relations { requires: if id == 0 { vec![] } else { ids(0..1) }, ..Relations::default() };
    whole_life("hub", relations, 0, MANY - 1);
}

#[test]
fn one_that_needs_all() {
    let last = MANY - 1;
    let relations = move |id| Relations {
        binds_to: if id == last { ids(0..last) } else { vec![] },
        part_of: if id != 0 && id != last { ids(0..1) } else { vec![] },
        ..Relations::default()
    };
    whole_life("roof", relations, 0, last);
}

#[test]
fn a_long_chain() {
    let relations =
        |id| Relations { requires: if id == 0 { vec![] } else { ids(id - 1..id) }, ..Relations::default() };
    whole_life("chain", relations, 0, MANY - 1);
    let reverse = |id| Relations {
        requires: if id == MANY - 1 { vec![] } else { ids(id + 1..id + 2) },
        ..Relations::default()
    };
    whole_life("chain, the last first", reverse, MANY - 1, 0);
}
