//! When is a start over? What has to be seen before a service counts as up.
//!
//! Readiness is asked for fast and never leads to a restart by itself: only `start_timeout` ends a start that does not
//! become ready. The health check is armed once it has.

use super::*;
use crate::event::PROBE_GRACE;
use crate::health::early_pause;
use crate::policy::ReadyPolicy;
use crate::view::Awaited;

/// The way of one run to being ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Readiness {
    phase: Phase,
    /// Questions that were not answered well.
    tries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// The next question goes out then.
    Due(Mono),
    /// The answer to this probe is owed; without one until then it is lost.
    Asked { probe: u64, until: Mono },
    /// It says so by itself.
    Told,
    /// It says so with `READY=1`.
    Notified,
}

impl Readiness {
    /// It is asked at once.
    fn new(policy: ReadyPolicy, now: Mono) -> Self {
        let phase = match policy {
            ReadyPolicy::Asked { .. } => Phase::Due(now),
            ReadyPolicy::Told => Phase::Told,
            ReadyPolicy::Notified => Phase::Notified,
        };
        Self { phase, tries: 0 }
    }

    /// When the core has to do something about it.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Due(at) | Phase::Asked { until: at, .. } => Some(at),
            Phase::Told | Phase::Notified => None,
        }
    }

    fn failed(&mut self, now: Mono) {
        self.phase = Phase::Due(now + early_pause(self.tries));
        self.tries = self.tries.saturating_add(1);
    }
}

impl Child {
    pub(crate) fn awaits(&self) -> Awaited {
        match (self.nature.passes || self.up_by.is_some(), &self.readiness) {
            (true, _) => Awaited::End,
            (false, Some(_)) => Awaited::Ready,
            (false, None) => Awaited::Health,
        }
    }
}

impl Service {
    /// Others may rely on it: it is up, and not about to be stopped.
    #[must_use]
    pub(crate) fn counts_as_up(&self) -> bool {
        match &self.actual {
            Actual::Up(_) | Actual::Exited => self.leave.is_none(),
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => false,
        }
    }

    /// A process is there: it is up, or something has to be seen first. `period`: when the start period began.
    pub(super) fn await_up(&mut self, cx: &mut Cx<'_>, mut child: Child, period: Mono) {
        if child.nature.passes {
            return self.enter(cx, Actual::Starting(child));
        }
        child.readiness = self.policy.ready.map(|policy| Readiness::new(policy, cx.now));
        child.health = if child.readiness.is_some() { None } else { self.health(&child, period, period) };
        if child.readiness.is_some() || !self.start_period().is_zero() {
            self.enter(cx, Actual::Starting(child));
        } else {
            self.up_at_once(cx, child);
        }
    }

    /// Nothing has to be seen before it is up.
    pub(super) fn up_at_once(&mut self, cx: &mut Cx<'_>, mut child: Child) {
        self.enter(cx, Actual::Starting(child.clone()));
        if !self.runs_start_post(cx, UpBy::StartPost) {
            self.arm_watchdog(cx, &mut child);
            self.enter(cx, Actual::Up(child));
        }
    }

    fn health(&self, child: &Child, period: Mono, armed: Mono) -> Option<Health> {
        self.policy.health.as_ref().map(|policy| Health::new(policy, period, armed, child.probes))
    }

    /// A reload changed what a start waits for. It concerns only a start that is under way.
    pub(super) fn rearm_readiness(&mut self, cx: &mut Cx<'_>) {
        let Actual::Starting(child) = &self.actual else { return };
        if child.nature.passes || child.up_by.is_some() {
            return;
        }
        let (since, child) = (self.since, child.clone());
        self.await_up(cx, child, cx.now);
        if let Actual::Starting(_) = self.actual {
            self.since = since;
        }
    }

    pub(super) fn owes_readiness(&self, probe: u64) -> bool {
        let Actual::Starting(child) = &self.actual else { return false };
        let phase = child.readiness.as_ref().map(|readiness| readiness.phase);
        matches!(phase, Some(Phase::Asked { probe: asked, .. }) if asked == probe)
    }

    /// The answer that is owed. What could not even be asked is asked again, like anything that was not good.
    pub(super) fn ready_probed(&mut self, cx: &mut Cx<'_>, finding: Finding) {
        if finding == Finding::Good {
            self.become_up(cx, UpBy::Ready);
            self.answer_if_up(cx);
        } else if let Actual::Starting(child) = &mut self.actual
            && let Some(readiness) = &mut child.readiness
        {
            readiness.failed(cx.now);
        }
    }

    /// By a line of output.
    pub(crate) fn said_ready(&mut self, cx: &mut Cx<'_>) {
        self.ready_by(cx, Phase::Told);
    }

    /// With `READY=1`.
    pub(super) fn notified_ready(&mut self, cx: &mut Cx<'_>) {
        self.ready_by(cx, Phase::Notified);
    }

    fn ready_by(&mut self, cx: &mut Cx<'_>, phase: Phase) {
        let Actual::Starting(child) = &self.actual else { return };
        if child.readiness.as_ref().is_some_and(|readiness| readiness.phase == phase) {
            self.become_up(cx, UpBy::Ready);
            self.answer_if_up(cx);
        }
    }

    pub(super) fn answer_if_up(&mut self, cx: &mut Cx<'_>) {
        if self.counts_as_up() {
            self.answer_up(cx);
        }
    }

    pub(super) fn readiness_due(&mut self, cx: &mut Cx<'_>) {
        let (service, generation) = (self.id, self.generation);
        let Some(ReadyPolicy::Asked { timeout }) = self.policy.ready else { return };
        let Actual::Starting(child) = &mut self.actual else { return };
        let Some(readiness) = &mut child.readiness else { return };
        match readiness.phase {
            Phase::Due(at) if at <= cx.now => {
                child.probes += 1;
                let probe = child.probes;
                readiness.phase = Phase::Asked { probe, until: cx.now + timeout + PROBE_GRACE };
                cx.out.push(Action::Probe { service, generation, probe, of: Probing::Ready });
            }
            Phase::Asked { until, .. } if until <= cx.now => {
                readiness.failed(cx.now);
                self.note_aside(cx, NoteKind::ProbeLost);
            }
            Phase::Due(_) | Phase::Asked { .. } | Phase::Told | Phase::Notified => {}
        }
    }

    /// What it takes to be up has been seen.
    pub(super) fn become_up(&mut self, cx: &mut Cx<'_>, by: UpBy) {
        let Actual::Starting(_) = self.actual else { return };
        if !self.runs_start_post(cx, by) {
            self.be_up(cx, by);
        }
    }

    /// From `Starting` to `Up`.
    pub(super) fn be_up(&mut self, cx: &mut Cx<'_>, by: UpBy) {
        let Actual::Starting(child) = &self.actual else { return };
        let mut child = child.clone();
        if child.readiness.take().is_some() || child.up_by.take().is_some() {
            // What is left of the start period is still forgiven.
            child.health = self.health(&child, child.started, cx.now);
        }
        self.arm_watchdog(cx, &mut child);
        self.note(cx, NoteKind::Up { after: cx.now.since(child.started), by });
        self.enter(cx, Actual::Up(child));
    }
}
