//! What must hold between services: who starts after whom, who goes with whom, who never runs beside whom. Judged from
//! the configuration by rules of its own, not by the core's.

use mcpd_core::action::{DownReason, StopCause};
use mcpd_core::policy::Relations;
use mcpd_core::view::{StateView, View};
use mcpd_core::{Action, Event, Mono, Note, NoteKind, ServiceId, Verb, WaitingFor};

use super::invariants::{Truth, broken};
use super::ledger::{Check, Ledger};
use super::life::Life;

impl Ledger {
    fn said(&self, one: ServiceId, list: impl Fn(&Relations) -> &Vec<ServiceId>, other: ServiceId) -> bool {
        let life = self.lives.get(&one).filter(|life| !life.removed);
        life.is_some_and(|life| list(&life.policy.relations).contains(&other))
    }

    fn requires(&self, one: ServiceId, other: ServiceId) -> bool {
        self.said(one, |r| &r.requires, other) || self.said(one, |r| &r.binds_to, other)
    }

    /// `one` starts after `other` and stops before it.
    pub(crate) fn after(&self, one: ServiceId, other: ServiceId) -> bool {
        let told = self.said(one, |r| &r.after, other) || self.said(other, |r| &r.before, one);
        let opposite = self.said(one, |r| &r.before, other) || self.said(other, |r| &r.after, one);
        told || (self.requires(one, other) && !opposite)
    }

    fn ordered(&self, one: ServiceId, other: ServiceId) -> bool {
        self.after(one, other) || self.after(other, one)
    }

    fn needs(&self, one: ServiceId, other: ServiceId) -> bool {
        self.requires(one, other) && self.after(one, other)
    }

    fn bound(&self, one: ServiceId, other: ServiceId) -> bool {
        self.said(one, |r| &r.binds_to, other) && self.after(one, other)
    }

    pub(crate) fn pulls_in(&self, one: ServiceId, other: ServiceId) -> bool {
        self.requires(one, other) || self.said(one, |r| &r.wants, other)
    }

    /// `one` is stopped and restarted when somebody does that to `other`.
    fn goes_with(&self, one: ServiceId, other: ServiceId) -> bool {
        self.requires(one, other) || self.said(one, |r| &r.part_of, other)
    }

    pub(crate) fn conflicts(&self, one: ServiceId, other: ServiceId) -> bool {
        self.said(one, |r| &r.conflicts, other) || self.said(other, |r| &r.conflicts, one)
    }

    /// They have to do with each other.
    pub(crate) fn linked(&self, one: ServiceId, other: ServiceId) -> bool {
        let way = |one, other| self.pulls_in(one, other) || self.goes_with(one, other);
        way(one, other) || way(other, one) || self.ordered(one, other) || self.conflicts(one, other)
    }

    /// Whoever runs and goes with `root`, and whoever goes with these.
    pub(crate) fn running_with(&self, root: ServiceId) -> Vec<ServiceId> {
        let mut all = vec![root];
        let mut at = 0;
        while let Some(&by) = all.get(at) {
            for (id, life) in &self.lives {
                if life.stays() && self.goes_with(*id, by) && !all.contains(id) {
                    all.push(*id);
                }
            }
            at += 1;
        }
        all.remove(0);
        all
    }

    fn starting(&self) -> usize {
        let starting = |life: &&Life| {
            (life.owed && !life.slow)
                || (life.alive && life.up.is_none() && life.stop.is_none())
                || (life.between && !life.settled)
        };
        self.lives.values().filter(starting).count()
    }
}

impl Life {
    /// It runs, or is about to, and nobody wants that to end.
    pub(crate) fn stays(&self) -> bool {
        let runs = ((self.alive || self.owed) && self.stop.is_none()) || self.remains || self.is_between();
        runs && self.leaving.is_none() && self.down_since.is_none()
    }

    /// Up as far as anybody has been told.
    fn is_up(&self) -> bool {
        let up = self.alive && self.up.is_some() && self.stop.is_none();
        (up || self.remains) && !self.removed
    }

    /// Between two commands of a start.
    fn is_between(&self) -> bool {
        self.between && !self.settled && self.down_since.is_none()
    }

    /// Nobody waits for it to end any more.
    fn is_hopeless(&self) -> bool {
        self.deaf || (self.owed && self.slow)
    }
}

// ---- starts

/// Everything that a start has to wait for.
pub(crate) fn judge_start(ledger: &Ledger, id: ServiceId, truth: impl Fn(ServiceId) -> Truth) -> Check {
    for (other, life) in ledger.lives.iter().filter(|(other, _)| **other != id) {
        let has_it = life.is_up() || (life.done && !life.removed && !ledger.bound(id, *other));
        if ledger.needs(id, *other) && !has_it {
            return broken!("what_it_needs_is_up_first", "{id:?} before {other:?}: {life:?}");
        }
        let under_way = (life.owed && life.down_since.is_none() && !life.is_hopeless() && !life.outdated)
            || (life.alive && life.up.is_none() && life.stop.is_none())
            || (life.is_between() && !life.is_hopeless());
        if ledger.after(id, *other) && under_way {
            return broken!("starts_are_in_order", "{id:?} while {other:?} starts: {life:?}");
        }
        // Who begins again because of this very event may have been looked at later.
        let starts = life.is_between() || life.broken_off;
        let ending = life.end.is_some() && !life.settled && !starts;
        let going = (life.alive && life.stop.is_some()) || ending;
        if ledger.ordered(id, *other) && going && !life.is_hopeless() {
            return broken!("stops_come_before_starts", "{id:?} while {other:?} stops: {life:?}");
        }
        let truth = truth(*other);
        if ledger.conflicts(id, *other) && (truth.alive || truth.tree > 0 || life.owed) {
            return broken!("what_conflicts_never_runs_together", "{id:?} beside {other:?}: {life:?}");
        }
    }
    if let Some(other) = missing(ledger, id).first() {
        return broken!("what_it_needs_is_up_first", "{id:?} without {other:?}");
    }
    if ledger.most_starting > 0 && ledger.starting() >= ledger.most_starting {
        return broken!("starts_are_limited", "one more than {}", ledger.most_starting);
    }
    Ok(())
}

/// What it needs and is not known at all.
fn missing(ledger: &Ledger, id: ServiceId) -> Vec<ServiceId> {
    let Some(life) = ledger.lives.get(&id) else { return Vec::new() };
    let Relations { requires, binds_to, .. } = &life.policy.relations;
    let known = |other: &ServiceId| ledger.lives.get(other).is_some_and(|life| !life.removed);
    requires.iter().chain(binds_to).copied().filter(|o| !known(o) && ledger.needs(id, *o)).collect()
}

// ---- stops

/// What stops before it, and is to stop, has stopped.
pub(crate) fn judge_stop(ledger: &Ledger, id: ServiceId, why: StopCause) -> Check {
    if !why.is_asked() || ledger.shutdowns > 1 {
        return Ok(());
    }
    for (other, life) in &ledger.lives {
        let there = !life.at_rest() || life.remains;
        let going = life.down_since.is_some() && there && !life.removed;
        if ledger.after(*other, id) && going && !life.is_hopeless() {
            return broken!("stops_are_in_reverse_order", "{id:?} before {other:?}: {life:?}");
        }
    }
    Ok(())
}

/// Why another service's word reached this one.
pub(crate) fn judge_note(ledger: &Ledger, note: &Note) -> Check {
    let Some(id) = note.service else { return Ok(()) };
    match &note.kind {
        NoteKind::Wanted { by } => {
            let wanted = ledger.lives.get(by).is_some_and(|by| by.down_since.is_none() && !by.removed);
            if ledger.pulls_in(*by, id) && wanted && ledger.shutdowns == 0 {
                return Ok(());
            }
            broken!("only_what_is_wanted_is_brought_up", "{id:?} by {by:?}")
        }
        NoteKind::Stopping { why } => judge_stop(ledger, id, *why),
        _ => Ok(()),
    }
}

// ---- after every event

/// What an event has to have brought about, as far as it can be seen at once.
pub(crate) fn judge_after(ledger: &Ledger, event: &Event, views: &[View]) -> Check {
    let Event::Command { service: id, verb, .. } = event else { return Ok(()) };
    let (id, verb) = (*id, *verb);
    let Some(life) = ledger.lives.get(&id).filter(|life| !life.removed) else { return Ok(()) };
    match verb {
        Verb::Start | Verb::Restart if ledger.shutdowns == 0 && !life.removing => {
            for view in views.iter().filter(|view| ledger.pulls_in(id, view.service)) {
                let other = view.service;
                // What conflicts with what is brought up by another way is not.
                let conflicts = ledger.lives.values().any(|life| !life.policy.relations.conflicts.is_empty());
                let removing = ledger.lives[&other].removing;
                if !view.wanted && !conflicts && !removing {
                    return broken!("a_start_brings_up_what_it_needs", "{id:?} without {view:?}");
                }
            }
        }
        Verb::Stop => {
            let with = |view: &&View| view.service != id && ledger.goes_with(view.service, id);
            if let Some(view) = views.iter().filter(with).find(|view| view.wanted) {
                return broken!("a_stop_takes_along_what_goes_with_it", "{id:?} without {view:?}");
            }
        }
        Verb::Start | Verb::Restart | Verb::Reload | Verb::Reset | Verb::Signal(..) => {}
    }
    Ok(())
}

/// Nobody waits without a reason, and nobody is up who has lost what it is bound to.
pub(crate) fn judge_views(ledger: &Ledger, views: &[View]) -> Check {
    let state = |id: ServiceId| views.iter().find(|view| view.service == id).map(|view| view.state);
    for view in views {
        let id = view.service;
        match view.state {
            StateView::Starting(_) | StateView::Up | StateView::Exited => {
                for other in ledger.lives.keys().filter(|other| ledger.bound(id, **other)) {
                    if !state(*other).is_some_and(is_up) {
                        return broken!("bound_services_go_together", "{view:?} without {other:?}");
                    }
                }
            }
            StateView::Waiting(on) if !waits_rightly(ledger, id, on, &state) => {
                let on = on.and_then(|on| on.service()).map(state);
                return broken!("nobody_waits_for_nothing", "{view:?}: {on:?}");
            }
            StateView::Leaving { first, .. } => {
                let going = first.and_then(state).is_some_and(is_going);
                if !going || !first.is_some_and(|first| ledger.after(first, id)) {
                    return broken!("nobody_stays_for_nothing", "{view:?}");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_up(state: StateView) -> bool {
    matches!(state, StateView::Up | StateView::Exited)
}

fn is_going(state: StateView) -> bool {
    matches!(
        state,
        StateView::Spawning | StateView::Leaving { .. } | StateView::Stopping(_) | StateView::Ending { .. }
    )
}

fn waits_rightly(
    ledger: &Ledger,
    id: ServiceId,
    on: Option<WaitingFor>,
    state: &impl Fn(ServiceId) -> Option<StateView>,
) -> bool {
    match on {
        Some(WaitingFor::Up(other)) => {
            let done = state(other) == Some(StateView::Down(DownReason::Completed));
            let has_it = state(other).is_some_and(is_up) || (done && !ledger.bound(id, other));
            ledger.needs(id, other) && !has_it
        }
        Some(WaitingFor::Started(other)) => {
            let coming = matches!(
                state(other),
                Some(StateView::Spawning | StateView::Starting(_) | StateView::Waiting(_))
            );
            // Between two commands; whether the last one ended well enough is judged where the next one comes.
            let life = &ledger.lives[&other];
            let between = life.passes && life.end.is_some() && !life.settled && life.down_since.is_none();
            ledger.after(id, other) && (coming || between)
        }
        Some(WaitingFor::Gone(other)) => {
            let alive = !matches!(
                state(other),
                None | Some(
                    StateView::Down(_)
                        | StateView::Waiting(_)
                        | StateView::Backoff { .. }
                        | StateView::Parked(_)
                )
            );
            let going = state(other).is_some_and(is_going);
            (ledger.conflicts(id, other) && alive) || (ledger.ordered(id, other) && going)
        }
        Some(WaitingFor::Place) => ledger.most_starting > 0 && ledger.starting() >= ledger.most_starting,
        None => false,
    }
}

/// When nothing goes wrong any more: it waits for what does not come by itself.
pub(crate) fn may_wait_for_ever(on: Option<WaitingFor>, views: &[View]) -> bool {
    let other = on.and_then(|on| on.service());
    let state = views.iter().find(|view| Some(view.service) == other).map(|view| view.state);
    match (on, state) {
        (Some(WaitingFor::Up(_)), None) => true,
        (Some(WaitingFor::Up(_)), Some(state)) => {
            matches!(state, StateView::Down(_) | StateView::Parked(_) | StateView::Waiting(_))
        }
        (Some(WaitingFor::Gone(_)), Some(state)) => is_up(state),
        _ => false,
    }
}

/// Takes down what the core did with others' wishes.
pub(crate) fn wanted(life: &mut Life, person: bool) {
    if person && life.was_down {
        life.counters_reset();
        life.lift();
    }
    life.stop_is_taken_back();
    life.want_up();
    // One that runs, or is about to, just stays.
    let there = life.alive || life.owed || life.remains || life.is_between();
    life.asked |= life.stop.is_some() || !there || life.outdated;
}

/// What is not wanted any more is to go, whoever said so; and what is to go as soon as others are gone.
pub(crate) fn take_down_wishes(ledger: &mut Ledger, now: Mono, views: &[View]) {
    for view in views {
        let Some(life) = ledger.lives.get_mut(&view.service) else { continue };
        life.leaving = match view.state {
            StateView::Leaving { cause, .. } => Some(cause),
            _ => None,
        };
        life.held_back = matches!(view.state, StateView::Waiting(_));
        life.was_down = matches!(view.state, StateView::Down(_) | StateView::Parked(_));
        if let StateView::Waiting(_) = view.state {
            life.remains = false;
        }
        if !view.wanted && !life.parked && (!life.at_rest() || life.remains) {
            life.asked_down(now);
        }
    }
}

/// A command that is ended because its service is wanted no more, by whomever. `views`: after the event.
pub(crate) fn take_down_its_end(ledger: &mut Ledger, now: Mono, id: ServiceId, views: &[View]) {
    let wanted = views.iter().any(|view| view.service == id && view.wanted);
    if let (Some(life), false) = (ledger.lives.get_mut(&id), wanted) {
        life.asked_down(now);
    }
}

/// Between two of its commands a start begins again when something is lost that the service is bound to. `views`: after
/// the event, for what is there in between is nobody's business.
pub(crate) fn take_down_losses(ledger: &mut Ledger, views: &[View]) {
    let there = |other| views.iter().any(|view| view.service == other && is_up(view.state));
    let lost = |id: &ServiceId| {
        let bonds = ledger.lives[id].policy.relations.binds_to.iter();
        bonds.into_iter().any(|other| ledger.bound(*id, *other) && !there(*other))
    };
    let between = ledger.lives.iter().filter(|(_, life)| life.is_between()).map(|(id, _)| *id);
    for id in between.filter(lost).collect::<Vec<_>>() {
        let Some(life) = ledger.lives.get_mut(&id) else { continue };
        life.abandon_start();
        life.between = false;
        life.broken_off = true;
        life.asked = true;
    }
}

/// One action of those that concern the order.
pub(crate) fn judge(ledger: &Ledger, action: &Action, truth: impl Fn(ServiceId) -> Truth) -> Check {
    match action {
        // The other commands of a start follow its first, whatever was changed since.
        Action::Spawn { service, first: true, .. } => judge_start(ledger, *service, truth),
        Action::Note(note) => judge_note(ledger, note),
        _ => Ok(()),
    }
}
