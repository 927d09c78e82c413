//! What else does it mean when this is wanted? Starts bring up what is needed, stops and restarts take along what goes
//! with it, and a start pushes aside what it conflicts with. This settles what is wanted; `order` sees to when.

use std::collections::{BTreeSet, VecDeque};

use crate::action::{Action, NoteId, StopCause, Then};
use crate::brain::Core;
use crate::event::{Change, Redefinition, RequestId, ServiceId, Verb};
use crate::service::{Standing, Want};
use crate::time::Mono;

/// What is done to those that go with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    Stop,
    Restart,
}

impl Core {
    /// A client asks for something.
    pub(crate) fn command(
        &mut self,
        now: Mono,
        request: RequestId,
        id: ServiceId,
        verb: Verb,
        out: &mut Vec<Action>,
    ) {
        let Some(service) = self.services.get(&id) else { return };
        let refused = self.shutting_down || service.removing;
        self.with(now, id, out, |s, cx| s.command(cx, request, verb));
        match verb {
            Verb::Start if !refused => self.bring_up(now, id, true, out),
            Verb::Restart if !refused => {
                self.take_along(now, id, Along::Restart, &BTreeSet::new(), out);
                self.bring_up(now, id, true, out);
            }
            Verb::Stop => self.take_along(now, id, Along::Stop, &BTreeSet::new(), out),
            Verb::Start | Verb::Restart | Verb::Reload | Verb::Reset | Verb::Signal(..) => {}
        }
    }

    /// A reload changed a service that stays.
    pub(crate) fn redefine(&mut self, now: Mono, id: ServiceId, to: Redefinition, out: &mut Vec<Action>) {
        let Some(service) = self.services.get(&id) else { return };
        let (ran, was_wanted) = (service.stays(), service.want == Want::Up);
        let replace = to.change == Change::Replace;
        let before = self.wanted_by(id);
        self.relate(id, &to.policy.relations);
        self.with(now, id, out, |s, cx| s.redefine(cx, to));
        if replace && ran {
            self.take_along(now, id, Along::Restart, &BTreeSet::new(), out);
        }
        let wanted = self.services.get(&id).is_some_and(|service| service.want == Want::Up);
        if wanted && was_wanted {
            // As if it had always been so. What somebody stopped although it was wanted before stays down.
            let new = self.wanted_by(id).into_iter().filter(|other| !before.contains(other));
            let new = new.map(|other| (id, other, None)).collect();
            self.pull_in(now, id, new, false, out);
        } else if wanted {
            self.bring_up(now, id, false, out);
        }
    }

    /// Something of a service is due. What changed on disk means for the others what a reload would.
    pub(crate) fn due(&mut self, now: Mono, id: ServiceId, out: &mut Vec<Action>) {
        let was_wanted = self.services.get(&id).is_some_and(|service| service.want == Want::Up);
        let mut then = None;
        self.with(now, id, out, |s, cx| then = s.timeout(cx));
        match then {
            Some(Then::Restart) => self.take_along(now, id, Along::Restart, &BTreeSet::new(), out),
            Some(Then::Start) if !was_wanted => self.bring_up(now, id, false, out),
            Some(Then::Start | Then::Reload | Then::Signal(_)) | None => {}
        }
    }

    /// What the configuration says of a service's relations holds from now on.
    pub(crate) fn relate(&mut self, id: ServiceId, relations: &crate::policy::Relations) {
        self.touched.insert(id);
        let concerned = self.graph.declare(id, relations);
        self.agenda.looks.extend(concerned);
        self.agenda.looks.insert(id);
    }

    /// Somebody who is wanted and wants this one, and the last word of him.
    pub(crate) fn wanted_by_whom(&self, id: ServiceId) -> Option<(ServiceId, Option<NoteId>)> {
        let others = self.graph.links(id).filter(|(_, link)| link.flipped().pulls_in());
        let mut others = others.filter_map(|(other, _)| self.services.get(&other));
        others.find(|other| other.want == Want::Up).map(|other| (other.id, other.last_word()))
    }

    /// What a start of this one starts.
    fn wanted_by(&self, id: ServiceId) -> Vec<ServiceId> {
        self.graph.links(id).filter(|(_, link)| link.pulls_in()).map(|(other, _)| other).collect()
    }

    /// A service is wanted up from now on: so is what it requires or wants, and what that does.
    pub(crate) fn bring_up(&mut self, now: Mono, id: ServiceId, asked: bool, out: &mut Vec<Action>) {
        let first = self.wanted_by(id).into_iter().map(|other| (id, other, None)).collect();
        self.pull_in(now, id, first, asked, out);
    }

    fn pull_in(
        &mut self,
        now: Mono,
        id: ServiceId,
        mut queue: VecDeque<(ServiceId, ServiceId, Option<NoteId>)>,
        asked: bool,
        out: &mut Vec<Action>,
    ) {
        let mut started = BTreeSet::from([id]);
        while let Some((by, other, because)) = queue.pop_front() {
            let Some(service) = self.services.get(&other) else {
                if self.held {
                    self.expected.insert(other);
                }
                continue;
            };
            let fine = match service.standing() {
                // What these need was seen to when they were started.
                Standing::There | Standing::Coming => true,
                Standing::Done | Standing::Later | Standing::Never | Standing::Leaving | Standing::Stuck => {
                    service.removing
                }
            };
            // Nobody brings up what it would have to push aside.
            if fine || started.contains(&other) || self.conflicts_with_one_of(other, &started) {
                continue;
            }
            started.insert(other);
            // Who was on its way already has nothing to say of what it is wanted for now.
            let note = self.last_word(by).max(because);
            self.with(now, other, out, |s, cx| s.pull_in(cx, by, note, asked));
            if self.services.get(&other).is_some_and(|service| service.want == Want::Up) {
                queue.extend(self.wanted_by(other).into_iter().map(|next| (other, next, note)));
            }
        }
        for service in started.clone() {
            self.push_aside(now, service, &started, out);
        }
    }

    fn last_word(&self, id: ServiceId) -> Option<NoteId> {
        self.services.get(&id).and_then(|service| service.last_word())
    }

    fn conflicts_with_one_of(&self, id: ServiceId, these: &BTreeSet<ServiceId>) -> bool {
        self.graph.links(id).any(|(other, link)| link.conflicts() && these.contains(&other))
    }

    /// A service is started: what it conflicts with is stopped, but for those that are started with it.
    fn push_aside(&mut self, now: Mono, id: ServiceId, these: &BTreeSet<ServiceId>, out: &mut Vec<Action>) {
        let others = self.graph.links(id).filter(|(_, link)| link.conflicts()).map(|(other, _)| other);
        for other in others.filter(|other| !these.contains(other)).collect::<Vec<_>>() {
            let wanted = self.services.get(&other).is_some_and(|service| service.want == Want::Up);
            if !wanted {
                continue;
            }
            let note = self.last_word(id);
            self.with(now, other, out, |s, cx| {
                s.stop_along(cx, StopCause::Conflict(id), note);
            });
            self.take_along(now, other, Along::Stop, these, out);
        }
    }

    /// Somebody stopped or restarted a service: so are those that go with it, and those that go with these.
    fn take_along(
        &mut self,
        now: Mono,
        id: ServiceId,
        how: Along,
        but: &BTreeSet<ServiceId>,
        out: &mut Vec<Action>,
    ) {
        let mut seen = BTreeSet::from([id]);
        let mut queue = VecDeque::from([id]);
        while let Some(by) = queue.pop_front() {
            let others = self.graph.links(by).filter(|(_, link)| link.takes_along()).map(|(other, _)| other);
            for other in others.collect::<Vec<_>>() {
                if but.contains(&other) || !seen.insert(other) {
                    continue;
                }
                let note = self.last_word(by);
                let mut further = false;
                self.with(now, other, out, |s, cx| {
                    further = match how {
                        Along::Stop => s.stop_along(cx, StopCause::StoppedWith(by), note),
                        Along::Restart => s.restart_along(cx, by, note),
                    };
                });
                if further {
                    queue.push_back(other);
                }
            }
        }
    }
}
