//! Who may go on now?
//!
//! Two phases: first what is wanted is settled (`service`, `wishes`), which only says what is to start or to stop; then
//! this file lets go whoever has nothing in the way. What has changed is spread from service to service with a worklist.
//!
//! A service that waits names one obstacle. Only when that one changes is it looked at again, and the look begins there:
//! one that has ten thousand others before it is not looked at ten thousand times from the first to the last.
//!
//! Nothing waits in a circle: the order of the configuration has no cycles, stops wait for stops only, and starts for
//! stops and for starts of what comes before.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, WaitingFor};
use crate::brain::Core;
use crate::event::ServiceId;
use crate::service::{Actual, Hope, Obstacle, Service, Standing};
use crate::time::Mono;

/// Who has to be looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agenda {
    /// Their situation may have changed.
    pub(crate) looks: BTreeSet<ServiceId>,
    /// What they are to others has changed.
    pub(crate) changed: BTreeSet<ServiceId>,
    /// They wait for a place, in the order in which they came.
    pub(crate) places: BTreeMap<u64, ServiceId>,
    pub(crate) next_place: u64,
    /// So many services are starting.
    pub(crate) starting: usize,
    /// So many may; 0: any number.
    pub(crate) most_starting: usize,
    /// Pairs of services that were looked at.
    pub(crate) work: u64,
}

impl Agenda {
    fn has_place(&self) -> bool {
        self.most_starting == 0 || self.starting < self.most_starting
    }
}

/// What others can see of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Face {
    pub(crate) standing: Standing,
    pub(crate) at_rest: bool,
    pub(crate) starting: bool,
}

impl Face {
    pub(crate) fn of(service: &Service) -> Self {
        Self { standing: service.standing(), at_rest: service.is_at_rest(), starting: service.is_starting() }
    }
}

impl Core {
    /// Lets everything follow from what has changed, until nothing more does.
    pub(crate) fn propagate(&mut self, now: Mono, out: &mut Vec<Action>) {
        while !self.held {
            if let Some(id) = self.agenda.changed.pop_first() {
                self.spread(id);
            } else if let Some(id) = self.agenda.looks.pop_first() {
                self.look(now, id, out);
            } else if self.agenda.has_place()
                && let Some((_, id)) = self.agenda.places.pop_first()
            {
                self.look(now, id, out);
            } else {
                return;
            }
        }
    }

    /// Whom does it concern that this one is another thing to others now?
    fn spread(&mut self, id: ServiceId) {
        let standing = self.standing(id);
        for (other, link) in self.graph.links(id) {
            self.agenda.work += 1;
            let concerned = self.services.get(&other);
            if concerned.is_some_and(|service| service.minds(id, link.flipped(), standing)) {
                self.agenda.looks.insert(other);
            }
        }
    }

    fn standing(&self, id: ServiceId) -> Standing {
        self.services.get(&id).map_or(Standing::Never, |service| service.standing())
    }

    fn look(&mut self, now: Mono, id: ServiceId, out: &mut Vec<Action>) {
        let Some(service) = self.services.get(&id) else { return };
        if let Actual::Waiting(waiting) = &service.actual {
            let (on, place) = (waiting.on().and_then(WaitingFor::service), waiting.place());
            if let Some(obstacle) = self.obstacle(id, on) {
                self.step(now, id, out, |s, cx| s.wait_for(cx, obstacle));
            } else {
                self.take_place(now, id, place, out);
            }
        } else if service.is_about_to_leave() {
            let first = service.leave.and_then(|leave| leave.first);
            match self.stops_before(id, first) {
                Some(other) => self.step(now, id, out, |s, _| s.leave_after(other)),
                None => {
                    self.step(now, id, out, Service::leave_now);
                    // What had no process may be on its way to its next start already.
                    if self.services.get(&id).is_some_and(|service| service.wants_a_look()) {
                        self.agenda.looks.insert(id);
                    }
                }
            }
        } else if service.stays()
            && let Some(other) = self.lost(id)
        {
            let note = self.services.get(&other).and_then(|other| other.last_word());
            self.step(now, id, out, |s, cx| s.lose(cx, other, note));
            self.agenda.looks.insert(id);
        }
    }

    /// Nothing but others that start as well can be in the way now.
    fn take_place(&mut self, now: Mono, id: ServiceId, place: Option<u64>, out: &mut Vec<Action>) {
        let first = self.agenda.places.first_key_value().map(|(number, _)| *number);
        let its_turn = first.is_none_or(|first| place.is_some_and(|place| place < first));
        if self.agenda.has_place() && its_turn {
            if let Some(place) = place {
                self.agenda.places.remove(&place);
            }
            self.step(now, id, out, Service::go);
            return;
        }
        let number = place.unwrap_or_else(|| {
            self.agenda.next_place += 1;
            self.agenda.next_place
        });
        self.agenda.places.insert(number, id);
        self.step(now, id, out, |s, cx| s.wait_for_place(cx, number));
    }

    /// What is in the way of a start. `last`: what was.
    fn obstacle(&mut self, id: ServiceId, last: Option<ServiceId>) -> Option<Obstacle> {
        let mut looked = 0;
        let mut links = self.graph.links_from(id, last.unwrap_or(ServiceId(0)));
        let found = links.find_map(|(other, link)| {
            looked += 1;
            let standing = self.standing(other);
            let leaving = standing == Standing::Leaving;
            let service = self.services.get(&other);
            let alive = service.is_some_and(|service| !service.is_at_rest());
            if link.conflicts() && alive {
                let hope = if leaving { Hope::Soon } else { Hope::Never };
                return Some(Obstacle { on: WaitingFor::Gone(other), hope });
            }
            let has_it = standing == Standing::There || (standing == Standing::Done && !link.is_bound());
            if link.needs() && !has_it {
                return Some(Obstacle { on: WaitingFor::Up(other), hope: standing.hope(link) });
            }
            let comes_first = link.is_after();
            if comes_first && standing == Standing::Coming {
                return Some(Obstacle { on: WaitingFor::Started(other), hope: Hope::Soon });
            }
            if leaving && (comes_first || link.is_before()) {
                return Some(Obstacle { on: WaitingFor::Gone(other), hope: Hope::Soon });
            }
            None
        });
        drop(links);
        self.agenda.work += looked;
        found
    }

    /// Who is on its way down and stops before this one. `last`: who was.
    fn stops_before(&mut self, id: ServiceId, last: Option<ServiceId>) -> Option<ServiceId> {
        if self.hurry {
            return None;
        }
        let mut looked = 0;
        let mut links = self.graph.links_from(id, last.unwrap_or(ServiceId(0)));
        let found = links.find(|(other, link)| {
            looked += 1;
            link.is_before() && self.standing(*other) == Standing::Leaving
        });
        drop(links);
        self.agenda.work += looked;
        found.map(|(other, _)| other)
    }

    /// One that this one is bound to and that is not up.
    fn lost(&mut self, id: ServiceId) -> Option<ServiceId> {
        let mut looked = 0;
        let found = self.graph.links(id).find(|(other, link)| {
            looked += 1;
            link.is_bound() && self.standing(*other) != Standing::There
        });
        self.agenda.work += looked;
        found.map(|(other, _)| other)
    }
}
