//! What the configuration says of a service: begin, change, go.

use super::*;
use crate::event::Change;
use crate::view::Effect;

impl Service {
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, program_missing: bool) {
        self.decide(cx.configured);
        if program_missing {
            self.park(cx, ParkReason::ProgramMissing);
        } else {
            self.want = Want::Up;
            self.start(cx);
        }
    }

    /// What would [`Self::redefine`] come to now? A reload says so before it does it.
    pub(crate) fn foresee(&self, change: Change) -> Effect {
        match (change, &self.actual) {
            (Change::Settings, _) | (_, Actual::Down(_) | Actual::Waiting(_)) => Effect::Live,
            (_, Actual::Backoff { .. } | Actual::Parked(_)) => Effect::Start,
            // It is on its way down, and stays there.
            (_, _) if self.want == Want::Down => Effect::Live,
            (_, Actual::Ending(ending)) if !ending.goes_on() => Effect::Start,
            (_, Actual::Stopping(_)) => Effect::Start,
            // A start between two of its commands is one that is under way.
            (
                Change::Definition,
                Actual::Spawning(_)
                | Actual::Starting(_)
                | Actual::Up(_)
                | Actual::Exited
                | Actual::Ending(_),
            ) => Effect::Pending,
            (
                Change::Replace,
                Actual::Spawning(_)
                | Actual::Starting(_)
                | Actual::Up(_)
                | Actual::Exited
                | Actual::Ending(_),
            ) => Effect::Restart,
        }
    }

    pub(crate) fn redefine(&mut self, cx: &mut Cx<'_>, to: Redefinition) {
        let Redefinition { policy, live, change } = to;
        let effect = self.foresee(change);
        let (now, next) = if self.is_at_rest() { (policy, None) } else { (live, Some(policy)) };
        let health_changed = now.health != self.policy.health;
        if now.watch != self.policy.watch {
            self.watched = watched::Watched::default();
        }
        let ready_changed = now.ready != self.policy.ready;
        let watchdog_changed = now.watchdog != self.policy.watchdog;
        self.next_policy = next.filter(|next| *next != now).map(Box::new);
        self.policy = now;
        let redefined = self.note_word(cx, cx.configured, NoteKind::Redefined { effect });
        if ready_changed {
            self.rearm_readiness(cx);
        }
        if health_changed {
            self.rearm_health(cx);
        }
        if watchdog_changed {
            self.rearm_watchdog(cx);
        }
        if change == Change::Settings {
            return;
        }
        self.attempt = 0;
        self.program_missing = false;
        self.decide_redefined(change, redefined);
        match &mut self.actual {
            Actual::Spawning(spawning) => {
                spawning.outdated = true;
                if change == Change::Replace {
                    spawning.replace = Some(StopCause::Changed);
                    spawning.replaced_by = Some(redefined);
                }
            }
            Actual::Starting(_) | Actual::Up(_) => {
                if change == Change::Replace && self.want == Want::Up {
                    self.leave(StopCause::Changed);
                }
            }
            Actual::Ending(ending) => {
                let up = self.want == Want::Up;
                if !(up && change == Change::Definition && ending.goes_on()) {
                    ending.start_now = up;
                    if ending.break_off() {
                        self.postpone_starts();
                        self.abandon_start_post(cx);
                    }
                }
            }
            // It was wanted up and its definition was in the way, or may have been.
            Actual::Backoff { .. } => self.start(cx),
            Actual::Exited => {
                if change == Change::Replace && self.want == Want::Up {
                    self.leave(StopCause::Changed);
                }
            }
            Actual::Parked(_) => {
                self.want = Want::Up;
                self.start(cx);
            }
            Actual::Stopping(stopping) => stopping.start_now = self.want == Want::Up,
            Actual::Down(_) | Actual::Waiting(_) => {}
        }
    }

    /// Something follows from a new definition, at once or when what goes on now is over.
    fn decide_redefined(&mut self, change: Change, note: NoteId) {
        let up = self.want == Want::Up;
        let follows = match &self.actual {
            Actual::Spawning(spawning) => up && (change == Change::Replace || spawning.replace.is_none()),
            Actual::Starting(_) | Actual::Up(_) | Actual::Exited => up && change == Change::Replace,
            Actual::Ending(ending) => up && !(change == Change::Definition && ending.goes_on()),
            Actual::Stopping(_) => up,
            Actual::Backoff { .. } | Actual::Parked(_) => true,
            Actual::Down(_) | Actual::Waiting(_) => false,
        };
        if follows {
            self.decide(Some(note));
        }
    }

    pub(super) fn rearm_health(&mut self, cx: &mut Cx<'_>) {
        let policy = self.policy.health.clone();
        let Some((child, starting)) = self.running() else { return };
        if child.is_unarmed() {
            // It is armed once it is ready.
            return;
        }
        child.health = policy.as_ref().map(|policy| Health::new(policy, cx.now, cx.now, child.probes));
        if starting && policy.is_none() {
            let child = child.clone();
            self.up_at_once(cx, child);
        }
        self.mind_conditions(cx);
    }

    pub(crate) fn remove(&mut self, cx: &mut Cx<'_>) {
        self.removing = true;
        let removed = self.note_word(cx, cx.configured, NoteKind::Removed);
        self.want_down(cx, StopCause::Removed, Some(removed));
    }
}
