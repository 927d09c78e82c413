//! From the spawn until the process ends: is it well?

use super::*;

impl Service {
    pub(crate) fn spawned(&mut self, cx: &mut Cx<'_>, pid: u32, at: Mono) {
        let Actual::Spawning(spawning) = &self.actual else { return };
        let (replace, replaced_by, nature) = (spawning.replace, spawning.replaced_by, spawning.nature);
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
            nudged: None,
        };
        // A stop begins when those that stop before it are gone; who looks at it next sees whether they are.
        if self.want == Want::Down {
            self.leave(self.why_down);
        } else if let Some(cause) = replace {
            self.postpone_starts();
            self.decide(replaced_by);
            self.leave(cause);
        }
        // What was decided besides would have been for another start, had nothing come of this one.
        self.decide(None);
        self.await_up(cx, child, started);
    }

    /// What the health check says, after what it said before in the same row.
    fn note_verdict(&mut self, cx: &mut Cx<'_>, kind: NoteKind) {
        let before = self.verdict().or(self.last_link());
        let id = self.note_by(cx, before, kind);
        self.set_verdict(Some(id));
    }

    /// It is to end because of that.
    fn note_verdict_counts(&mut self) {
        if let Some(id) = self.verdict() {
            self.go_on_from(id);
        }
    }

    fn verdict(&self) -> Option<NoteId> {
        self.child()?.health.as_ref()?.note()
    }

    fn set_verdict(&mut self, note: Option<NoteId>) {
        if let Some((Child { health: Some(health), .. }, _)) = self.running() {
            health.set_note(note);
        }
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
            Some(Sight::Lost) => self.note_aside(cx, NoteKind::ProbeUnknown),
            Some(Sight::Regained) => self.note_aside(cx, NoteKind::ProbeKnown),
            None => {}
        }
        match meaning {
            Meaning::Same => {}
            Meaning::Recovered => {
                if !starting {
                    self.note_verdict(cx, NoteKind::Healthy);
                }
            }
            Meaning::Faltered => self.note_verdict(cx, NoteKind::ProbeFailed),
            Meaning::Unhealthy => {
                self.note_verdict(cx, NoteKind::Unhealthy { failures });
                if policy.restart {
                    self.note_verdict_counts();
                    self.stop_child(cx, child, StopCause::Failure(Failure::Health));
                    return;
                }
            }
        }
        self.mind_conditions(cx);
        if meaning == Meaning::Recovered {
            self.set_verdict(None);
        }
        if finding == Finding::Good {
            if starting {
                self.become_up(cx, UpBy::Health);
            }
            self.answer_if_up(cx);
            self.reset_if_stable(cx);
        }
    }
}
