//! What is wrong with a service for longer than a moment: a model of it that knows notes and no core, and what must hold.

use std::time::Duration;

use mcpd_core::action::{Condition, DownReason, UpBy};
use mcpd_core::event::{FLAPPING, FLAPPING_WITHIN, STEADY};
use mcpd_core::verdict::{Decision, What};
use mcpd_core::view::{StateView, View};
use mcpd_core::{Mono, Note, NoteKind};

use super::invariants::{broken, ran_well_for};
use super::ledger::{Check, Ledger};
use super::life::Life;

/// What is known of one service's conditions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    /// Since when each is open.
    open: [Option<Mono>; 4],
    /// Every failure that counts, since somebody or something had them forgotten.
    failures: Vec<Mono>,
    /// The newest one, while it is not known whether it counts: a start was asked for that may go before what follows.
    maybe: Option<Mono>,
    /// Failures when flapping began.
    before: usize,
    /// What has to open in this step.
    to_open: Vec<Condition>,
    /// What was closed in this step, and whether a stable run was the reason.
    closed: Vec<(Condition, bool)>,
    /// Somebody reset it, or its work is done, in this step.
    forgiven: bool,
    /// The last note that can be a cause.
    last: Option<NoteKind>,
}

impl Conditions {
    pub(crate) fn since(&self, condition: Condition) -> Option<Mono> {
        self.open[condition as usize]
    }

    pub(crate) fn are_over(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }

    /// A step begins.
    pub(crate) fn begin(&mut self) {
        self.to_open.clear();
        self.closed.clear();
        self.forgiven = false;
    }

    pub(crate) fn reset(&mut self) {
        self.forgiven = true;
    }

    fn failed(&mut self, now: Mono) {
        self.failures.push(now);
        self.to_open = self.wanted();
        self.to_open.retain(|condition| self.open[*condition as usize].is_none());
    }

    /// What the newest failure comes to.
    fn wanted(&self) -> Vec<Condition> {
        let all = self.failures.iter().chain(&self.maybe);
        let newest = all.clone().next_back();
        let flaps = match (newest, all.rev().nth(FLAPPING - 1)) {
            (Some(newest), Some(nth)) => newest.since(*nth) <= FLAPPING_WITHIN,
            _ => false,
        };
        if flaps { vec![Condition::Failing, Condition::Flapping] } else { vec![Condition::Failing] }
    }

    /// It is known whether the newest failure counts. False: it was taken for what it is not.
    pub(crate) fn counts(&mut self, counts: bool) -> bool {
        let Some(at) = self.maybe.take() else { return true };
        if !counts {
            return !self.open.contains(&Some(at));
        }
        self.failures.push(at);
        self.wanted().iter().all(|condition| self.since(*condition).is_some())
    }

    fn forget(&mut self) {
        self.failures.clear();
        self.maybe = None;
    }
}

/// Somebody asked for this end, or is not interested any more.
fn was_asked_for(life: &Life) -> bool {
    life.down_since.is_some() || life.end.as_ref().is_none_or(|end| !end.unexpected)
}

/// With the report it is known.
pub(crate) fn what_was_asked_for_is_no_failure(life: &Life, decision: Decision) -> Check {
    if life.conditions.clone().counts(decision.what != What::AsAsked) {
        Ok(())
    } else {
        broken!("what_was_asked_for_is_no_failure", "{decision:?}: {life:?}")
    }
}

/// Before a note is taken down.
pub(crate) fn judge_note(life: &Life, now: Mono, note: &Note) -> Check {
    let conditions = &life.conditions;
    match note.kind {
        NoteKind::Opened(condition) => {
            let by_this = match condition {
                Condition::Failing | Condition::Flapping => {
                    let maybe = conditions.maybe == Some(now) && conditions.wanted().contains(&condition);
                    (maybe || conditions.to_open.contains(&condition))
                        && matches!(conditions.last, Some(NoteKind::Crashed { .. }))
                }
                Condition::Parked => matches!(conditions.last, Some(NoteKind::Parked(_))),
                Condition::Unhealthy => matches!(conditions.last, Some(NoteKind::Unhealthy { .. })),
            };
            if conditions.since(condition).is_some() || note.cause != life.last_note || !by_this {
                return broken!("a_condition_opens_for_its_reason", "{note:?}: {life:?}");
            }
        }
        NoteKind::Closed { condition, after } => {
            let fits = conditions.since(condition).is_some_and(|since| now.since(since) == after);
            if !fits || note.cause.is_none() {
                return broken!("a_condition_closes_once", "{note:?}: {life:?}");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Takes a note down.
pub(crate) fn noted(life: &mut Life, now: Mono, kind: &NoteKind) {
    match kind {
        NoteKind::Opened(condition) => {
            let conditions = &mut life.conditions;
            conditions.open[*condition as usize] = Some(now);
            conditions.to_open.retain(|other| other != condition);
            if *condition == Condition::Flapping {
                conditions.before = conditions.failures.iter().chain(&conditions.maybe).count();
            }
            return;
        }
        NoteKind::Closed { condition, .. } => {
            let long = match condition {
                Condition::Failing => Some(stable_after(life)),
                Condition::Flapping => Some(STEADY),
                Condition::Parked | Condition::Unhealthy => None,
            };
            let stable = long.is_none_or(|long| ran_well_for(life, now, long));
            let conditions = &mut life.conditions;
            conditions.open[*condition as usize] = None;
            conditions.closed.push((*condition, stable));
            if *condition == Condition::Flapping {
                conditions.forget();
            }
            return;
        }
        NoteKind::Crashed { .. } => {
            let asked = was_asked_for(life);
            if !asked && (life.asked || life.replaced) {
                life.conditions.maybe = Some(now);
            } else if !asked {
                life.conditions.failed(now);
            }
        }
        NoteKind::Up { by: UpBy::Completion, .. }
        | NoteKind::Down(DownReason::Completed | DownReason::Finished(_)) => {
            life.conditions.forgiven = true;
        }
        _ => {}
    }
    life.conditions.last = Some(kind.clone());
}

fn stable_after(life: &Life) -> Duration {
    life.policy.restart.reset_after.min(STEADY)
}

/// After a step. `deadline`: when the core is called again.
pub(crate) fn judge_after(ledger: &mut Ledger, now: Mono, deadline: Option<Mono>, views: &[View]) -> Check {
    for view in views {
        let Some(life) = ledger.lives.get_mut(&view.service) else { continue };
        seen(life, view)?;
        opened_and_closed(life, now, view)?;
        ends_in_time(life, now, deadline)?;
        let nobody_cares = life.conditions.forgiven || life.down_since.is_some() || is_stopped(view);
        if nobody_cares {
            life.conditions.forget();
        }
        if nobody_cares && life.conditions.since(Condition::Failing).is_some() {
            return broken!("what_is_down_is_not_failing", "{view:?}: {life:?}");
        }
        life.conditions.begin();
    }
    Ok(())
}

/// Somebody or something stopped it, and that is all there is to say.
fn is_stopped(view: &View) -> bool {
    let says_more = matches!(view.state, StateView::Parked(_) | StateView::Down(DownReason::Failed(_)));
    !view.wanted && !says_more
}

/// What a person sees is what was told.
fn seen(life: &Life, view: &View) -> Check {
    let conditions = &life.conditions;
    let counted = |all: usize| u32::try_from((all + FLAPPING).saturating_sub(conditions.before)).unwrap();
    let sure = conditions.failures.len();
    let most = sure + usize::from(conditions.maybe.is_some());
    let fits = match (view.flapping, conditions.since(Condition::Flapping)) {
        (Some(seen), Some(since)) => {
            seen.since == since && [counted(sure), counted(most)].contains(&seen.failures)
        }
        (seen, since) => seen.is_none() && since.is_none(),
    };
    if !fits {
        return broken!("flapping_is_seen", "{view:?}: {life:?}");
    }
    let parked = matches!(view.state, StateView::Parked(_));
    if conditions.since(Condition::Parked).is_some() != parked {
        return broken!("parked_is_a_condition", "{view:?}: {life:?}");
    }
    let unhealthy = match (&life.policy.health, life.health) {
        (Some(policy), Some(health)) => {
            let asked = life.runs() && !life.around.posts(life);
            asked && !policy.restart && health.failures >= policy.retries
        }
        _ => false,
    };
    if conditions.since(Condition::Unhealthy).is_some() != unhealthy {
        return broken!("unhealthy_is_a_condition", "{view:?}: {life:?}");
    }
    Ok(())
}

fn opened_and_closed(life: &Life, now: Mono, view: &View) -> Check {
    let conditions = &life.conditions;
    if !conditions.to_open.is_empty() {
        return broken!("a_failure_opens_a_condition", "now {now:?} {view:?}: {life:?}");
    }
    let forgiven = conditions.forgiven || life.down_since.is_some() || is_stopped(view);
    match conditions.closed.iter().find(|(_, stable)| !stable && !forgiven) {
        Some(early) => broken!("a_condition_does_not_close_early", "{early:?} {view:?}: {life:?}"),
        None => Ok(()),
    }
}

/// What runs well has an end to its conditions.
fn ends_in_time(life: &Life, now: Mono, deadline: Option<Mono>) -> Check {
    let Some(up) = life.up.filter(|_| life.runs()) else { return Ok(()) };
    for (condition, long) in [(Condition::Failing, stable_after(life)), (Condition::Flapping, STEADY)] {
        let is_open = life.conditions.since(condition).is_some();
        let due = up + long;
        if is_open && ran_well_for(life, due.max(now), long) && deadline.is_none_or(|at| at > due.max(now)) {
            return broken!("a_condition_ends_in_time", "{condition:?} by {due:?}, {deadline:?}: {life:?}");
        }
    }
    Ok(())
}
