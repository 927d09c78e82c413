//! From the spawn until the process ends: is it well?

use super::*;

impl Service {
    pub(crate) fn spawned(&mut self, cx: &mut Cx<'_>, pid: u32, at: Mono) {
        let Actual::Spawning(spawning) = &self.actual else { return };
        let (replace, nature) = (spawning.replace, spawning.nature);
        let started = at.min(cx.now);
        self.renewed.forget_change();
        self.note(cx, NoteKind::Started { pid });
        let child = Child {
            pid,
            started,
            nature,
            probes: 0,
            readiness: None,
            health: None,
            watchdog: None,
            extended: None,
            reloading: None,
            beside: None,
            up_by: None,
        };
        // A stop begins when those that stop before it are gone; who looks at it next sees whether they are.
        if self.want == Want::Down {
            let cause = if self.removing {
                StopCause::Removed
            } else if cx.shutting_down {
                StopCause::Shutdown
            } else {
                self.why_down
            };
            self.leave(cause);
        } else if let Some(cause) = replace {
            self.postpone_starts();
            self.leave(cause);
        }
        self.await_up(cx, child, started);
    }

    pub(crate) fn probed(&mut self, cx: &mut Cx<'_>, probe: u64, finding: Finding) {
        if self.owes_readiness(probe) {
            self.ready_probed(cx, finding);
            return;
        }
        let Some(policy) = self.policy.health.clone() else { return };
        // What it was before the verdict counts, even when the timer that was to say so is late.
        self.reset_if_stable(cx);
        // On its way down or gone: the verdict is about the past.
        let Some((child, starting)) = self.running() else { return };
        let Some(health) = child.health.as_mut().filter(|health| health.owes(probe)) else { return };
        let sight = health.sight(finding);
        let meaning = health.judge(&policy, cx.now, finding);
        let failures = health.failures();
        let child = child.clone();
        match sight {
            Some(Sight::Lost) => self.note(cx, NoteKind::ProbeUnknown),
            Some(Sight::Regained) => self.note(cx, NoteKind::ProbeKnown),
            None => {}
        }
        match meaning {
            Meaning::Same => {}
            Meaning::Recovered => {
                if !starting {
                    self.note(cx, NoteKind::Healthy);
                }
            }
            Meaning::Faltered => self.note(cx, NoteKind::ProbeFailed),
            Meaning::Unhealthy => {
                self.note(cx, NoteKind::Unhealthy { failures });
                if policy.restart {
                    self.stop_child(cx, child, StopCause::Failure(Failure::Health));
                    return;
                }
            }
        }
        self.mind_conditions(cx);
        if finding == Finding::Good {
            if starting {
                self.become_up(cx, UpBy::Health);
            }
            self.answer_if_up(cx);
            self.reset_if_stable(cx);
        }
    }
}
