//! What time brings.

use super::*;
use crate::action::Then;

impl Service {
    /// Does whatever is due now; afterwards [`Self::deadline`] is later than now. Says what changes on disk came to, for
    /// those that go with this service.
    pub(crate) fn timeout(&mut self, cx: &mut Cx<'_>) -> Option<Then> {
        if self.watch_deadline().is_some_and(|at| at <= cx.now) {
            return self.files_settled(cx);
        }
        if self.renewal_deadline().is_some_and(|at| at <= cx.now) {
            self.renewal_due(cx);
            return Some(Then::Start);
        }
        match &mut self.actual {
            Actual::Down(_) | Actual::Waiting(_) | Actual::Exited | Actual::Parked(_) => {}
            Actual::Spawning(spawning) => {
                spawning.slow = true;
                self.note_aside(cx, NoteKind::SpawnSlow);
                self.answer_late(cx);
            }
            Actual::Starting(_) => self.starting_due(cx),
            Actual::Up(_) => self.up_due(cx),
            Actual::Stopping(stopping) => {
                let Step::Ladder(rung) = stopping.step else {
                    self.beside_due(cx);
                    return None;
                };
                let (service, generation) = (self.id, self.generation);
                let first = matches!(rung, Rung::Asked(_));
                stopping.step = Step::Ladder(rung.next(cx.now));
                // The note comes after the signal: by then it is known whom it went to.
                cx.out.push(Action::Signal { service, generation, signal: SIGKILL, whom: Whom::Group });
                if first {
                    self.note(cx, NoteKind::Killing);
                } else {
                    self.note_aside(cx, NoteKind::StillAlive);
                }
            }
            Actual::Ending(_) => self.ending_due(cx),
            Actual::Backoff { .. } => self.start(cx),
        }
        None
    }

    pub(super) fn starting_due(&mut self, cx: &mut Cx<'_>) {
        let Actual::Starting(child) = &self.actual else { return };
        if child.beside.is_some() {
            return self.beside_due(cx);
        }
        if cx.now >= self.start_ends(child) {
            // Which of the two comes first is the policy's word: a late timer (the machine slept) changes nothing.
            if self.start_may_time_out(child) {
                let child = child.clone();
                self.stop_child(cx, child, StopCause::Failure(Failure::StartTimeout));
                return;
            }
            self.become_up(cx, UpBy::StartPeriod);
        }
        self.probe_due(cx);
    }

    pub(super) fn up_due(&mut self, cx: &mut Cx<'_>) {
        self.reset_if_stable(cx);
        self.notify_due(cx);
        self.beside_due(cx);
        let Actual::Up(child) = &self.actual else { return };
        let patience = self.patience_ends(child);
        if patience.is_some_and(|at| at <= cx.now) {
            if self.trusted_when_up() {
                self.answer_up(cx);
            } else {
                self.answer_late(cx);
            }
        }
        self.probe_due(cx);
    }

    pub(super) fn reset_if_stable(&mut self, cx: &mut Cx<'_>) {
        let Actual::Up(child) = &self.actual else { return };
        if self.counts_until(child).is_some_and(|at| at <= cx.now) {
            self.attempt = 0;
            self.note_aside(cx, NoteKind::CountersReset);
        }
        self.recovers_if_stable(cx);
    }

    pub(super) fn probe_due(&mut self, cx: &mut Cx<'_>) {
        self.readiness_due(cx);
        let (service, generation) = (self.id, self.generation);
        let Some(policy) = self.policy.health.clone() else { return };
        let Some((child, _)) = self.running() else { return };
        let Some(health) = child.health.as_mut() else { return };
        if health.lost(cx.now) {
            let probe = health.number();
            self.note_aside(cx, NoteKind::ProbeLost);
            self.probed(cx, probe, Finding::Unknown);
        } else if let Some(probe) = health.ask(&policy, cx.now) {
            child.probes = probe;
            cx.out.push(Action::Probe { service, generation, probe, of: Probing::Health });
        }
    }

    pub(super) fn ending_due(&mut self, cx: &mut Cx<'_>) {
        let (service, generation) = (self.id, self.generation);
        let Actual::Ending(ending) = &mut self.actual else { return };
        if ending.left.is_some_and(|left| left > 0) && ending.rung.at() <= cx.now {
            let first = matches!(ending.rung, Rung::Asked(_));
            ending.rung = ending.rung.next(cx.now);
            cx.out.push(Action::SignalTree { service, generation, signal: SIGKILL });
            // Of what is left: what follows from the run's end does not follow from this.
            self.note_aside(cx, if first { NoteKind::Killing } else { NoteKind::StillAlive });
        }
        let Actual::Ending(ending) = &mut self.actual else { return };
        match ending.report {
            Report::Draining { until, .. } if until <= cx.now => {
                self.note_aside(cx, NoteKind::DrainSlow);
                self.drained(cx);
            }
            Report::Writing(until) if until <= cx.now => {
                ending.report = Report::Settled;
                self.note_aside(cx, NoteKind::RecordSlow);
                self.finish(cx);
            }
            Report::Later { .. } | Report::Draining { .. } | Report::Writing(_) | Report::Settled => {}
        }
        self.beside_due(cx);
    }
}
