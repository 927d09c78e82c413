//! What is wrong with it for longer than a moment? A condition opens and closes once, however many failures come
//! between: that is what a person wants to be told.
//!
//! *Failing* begins with a failure that nobody asked for, *flapping* with several of them in a short time. Both are over
//! when it has run well for long enough, when its work is done, or when somebody has seen to it (stop, reset, shutdown).
//! *Parked* and *unhealthy* are what it is, seen as a condition.
//!
//! A service that never fails holds nothing of this.

use super::*;
use crate::action::Condition;
use crate::event::{FLAPPING, FLAPPING_WITHIN, STEADY};
use crate::view::Flapping;

/// What is known of a service with which something is, or was, wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Trouble {
    /// Since when each condition is open.
    open: [Option<Mono>; Condition::ALL.len()],
    /// The newest failures, the oldest of them first.
    failures: [Mono; FLAPPING],
    /// So many of these have been.
    kept: usize,
    /// Failures since flapping began, with those that made it so.
    flaps: u32,
}

impl Trouble {
    fn since(&self, condition: Condition) -> Option<Mono> {
        self.open[condition as usize]
    }

    /// One more failure. Are there enough of them in a short time?
    fn fails(&mut self, now: Mono) -> bool {
        if self.kept == FLAPPING {
            self.failures.rotate_left(1);
            self.kept -= 1;
        }
        self.failures[self.kept] = now;
        self.kept += 1;
        self.flaps = self.flaps.saturating_add(1);
        self.kept == FLAPPING && now.since(self.failures[0]) <= FLAPPING_WITHIN
    }

    fn is_over(&self) -> bool {
        self.kept == 0 && self.open.iter().all(Option::is_none)
    }
}

impl Service {
    /// A failure that nobody asked for, just said.
    pub(super) fn has_failed(&mut self, cx: &mut Cx<'_>) {
        let trouble = self.trouble.get_or_insert_default();
        if trouble.since(Condition::Flapping).is_none() {
            trouble.flaps = u32::try_from(trouble.kept.min(FLAPPING - 1)).unwrap_or_default();
        }
        let flapping = trouble.fails(cx.now);
        self.open(cx, None, Condition::Failing);
        if flapping {
            self.open(cx, None, Condition::Flapping);
        }
    }

    /// Its work is done, or somebody has seen to it: what was before does not count. `by`: the note of that, when it
    /// is not the last one.
    pub(super) fn forget_failures(&mut self, cx: &mut Cx<'_>, by: Option<NoteId>) {
        if self.trouble.is_some() {
            self.close(cx, by, Condition::Flapping);
            self.close(cx, by, Condition::Failing);
        }
        if let Some(trouble) = &mut self.trouble {
            trouble.kept = 0;
        }
        self.forget_trouble();
    }

    /// When it has run well for long enough that what is open is over, should it go on like this.
    pub(super) fn recovers_at(&self, child: &Child) -> Option<Mono> {
        let trouble = self.trouble.as_deref().filter(|_| child.is_well())?;
        let failing = trouble.since(Condition::Failing).map(|_| self.stable_after());
        let flapping = trouble.since(Condition::Flapping).map(|_| STEADY);
        Some(self.since + failing.or(flapping)?)
    }

    /// Who wants the counters to last for days does not want to hear for days that it fails.
    fn stable_after(&self) -> Duration {
        self.policy.restart.reset_after.min(STEADY)
    }

    /// It is up: is that long enough?
    pub(super) fn recovers_if_stable(&mut self, cx: &mut Cx<'_>) {
        let Actual::Up(child) = &self.actual else { return };
        if self.recovers_at(child).is_none_or(|at| at > cx.now) {
            return;
        }
        self.close(cx, None, Condition::Failing);
        if self.flapping().is_some() && cx.now >= self.since + STEADY {
            self.forget_failures(cx, None);
        }
    }

    /// It is another state now, or the health check said something: the conditions that are no more than that.
    pub(super) fn mind_conditions(&mut self, cx: &mut Cx<'_>) {
        // What ends a state that somebody wants to end has not been said yet.
        let decided = self.decided();
        let verdict = self.child().and_then(|child| child.health.as_ref()).and_then(Health::note);
        for (condition, is, opened_by, closed_by) in [
            (Condition::Parked, matches!(self.actual, Actual::Parked(_)), None, decided),
            (Condition::Unhealthy, self.is_left_unhealthy(), verdict, verdict),
        ] {
            if is {
                self.trouble.get_or_insert_default();
                self.open(cx, opened_by, condition);
            } else if self.trouble.is_some() {
                self.close(cx, closed_by, condition);
                self.forget_trouble();
            }
        }
    }

    /// Its health check is a failure, and nothing follows from it.
    fn is_left_unhealthy(&self) -> bool {
        let Some(policy) = self.policy.health.as_ref().filter(|policy| !policy.restart) else { return false };
        let health = match &self.actual {
            Actual::Starting(child) | Actual::Up(child) => child.health.as_ref(),
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => None,
        };
        health.is_some_and(|health| health.failures() >= policy.retries)
    }

    pub(crate) fn flapping(&self) -> Option<Flapping> {
        let trouble = self.trouble.as_deref()?;
        let since = trouble.since(Condition::Flapping)?;
        Some(Flapping { since, failures: trouble.flaps })
    }

    /// Nothing, when it is open already.
    fn open(&mut self, cx: &mut Cx<'_>, by: Option<NoteId>, condition: Condition) {
        let Some(trouble) = &mut self.trouble else { return };
        let since = &mut trouble.open[condition as usize];
        if since.is_none() {
            *since = Some(cx.now);
            self.note_by(cx, by.or(self.last_link()), NoteKind::Opened(condition));
        }
    }

    /// Nothing, when it is not open.
    fn close(&mut self, cx: &mut Cx<'_>, by: Option<NoteId>, condition: Condition) {
        let since = self.trouble.as_mut().and_then(|trouble| trouble.open[condition as usize].take());
        if let Some(since) = since {
            let after = cx.now.since(since);
            self.note_by(cx, by.or(self.last_link()), NoteKind::Closed { condition, after });
        }
    }

    fn forget_trouble(&mut self) {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.is_over()) {
            self.trouble = None;
        }
    }
}
