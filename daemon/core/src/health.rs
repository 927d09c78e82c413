//! When to probe, and when is it a failure? The state of one run's health check.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::action::NoteId;
use crate::event::{Finding, PROBE_GRACE};
use crate::policy::HealthPolicy;
use crate::time::Mono;

/// The first look comes this soon after the start; then twice as late each time, up to [`SLOWEST`], until the first
/// success: a server that is ready after 300 ms is seen to be so, without hammering one that takes a minute.
const FASTEST: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(1);

/// Before the next question to something that has not answered well yet, after so many that failed.
pub(crate) fn early_pause(tries: u32) -> Duration {
    FASTEST.saturating_mul(1 << tries.min(5)).min(SLOWEST)
}

/// The health of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Health {
    started: Mono,
    /// The number of the newest probe.
    probe: u64,
    phase: Phase,
    /// Failures in a row that count.
    failures: u32,
    /// A probe of this run has succeeded.
    seen_healthy: bool,
    /// Probes before that which brought no success, without counting.
    early: u32,
    /// The newest probe said nothing.
    unknown: bool,
    /// The last note of the failures in a row that go on.
    note: Option<NoteId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// The next probe goes out then.
    Due(Mono),
    /// An answer is owed; without one until then it is lost.
    Asked(Mono),
}

/// What a verdict means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Nothing new.
    Same,
    /// The first success, or the first after failures.
    Recovered,
    /// The first failure that counts after a success.
    Faltered,
    /// `retries` in a row: said once, at the last of them.
    Unhealthy,
}

/// A change in whether anything is found out at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    Lost,
    Regained,
}

impl Health {
    /// `started`: when the start period began; `armed`: since when it may be asked; `probe`: the number of the run's
    /// newest probe, whose answer may still be on its way.
    pub(crate) fn new(policy: &HealthPolicy, started: Mono, armed: Mono, probe: u64) -> Self {
        let first = FASTEST.min(policy.interval);
        Self {
            started,
            probe,
            phase: Phase::Due(armed + first),
            failures: 0,
            seen_healthy: false,
            early: 0,
            unknown: false,
            note: None,
        }
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn note(&self) -> Option<NoteId> {
        self.note
    }

    pub(crate) fn set_note(&mut self, note: Option<NoteId>) {
        self.note = note;
    }

    pub(crate) fn seen_healthy(&self) -> bool {
        self.seen_healthy
    }

    /// The number of the newest probe.
    pub(crate) fn number(&self) -> u64 {
        self.probe
    }

    /// Do failures count by now?
    pub(crate) fn counts(&self, policy: &HealthPolicy, now: Mono) -> bool {
        self.seen_healthy || now >= self.started + policy.start_period
    }

    pub(crate) fn deadline(&self) -> Mono {
        match self.phase {
            Phase::Due(at) | Phase::Asked(at) => at,
        }
    }

    /// When the next probe goes out, unless one is out.
    pub(crate) fn next_probe(&self) -> Option<Mono> {
        match self.phase {
            Phase::Due(at) => Some(at),
            Phase::Asked(_) => None,
        }
    }

    /// The number of a probe that is to go out now.
    pub(crate) fn ask(&mut self, policy: &HealthPolicy, now: Mono) -> Option<u64> {
        match self.phase {
            Phase::Due(at) if at <= now => {
                self.probe += 1;
                self.phase = Phase::Asked(now + policy.timeout + PROBE_GRACE);
                Some(self.probe)
            }
            Phase::Due(_) | Phase::Asked(_) => None,
        }
    }

    /// Is the answer that is owed overdue?
    pub(crate) fn lost(&self, now: Mono) -> bool {
        match self.phase {
            Phase::Asked(until) => until <= now,
            Phase::Due(_) => false,
        }
    }

    /// Is this the probe whose answer is owed?
    pub(crate) fn owes(&self, probe: u64) -> bool {
        matches!(self.phase, Phase::Asked(_)) && probe == self.probe
    }

    /// Does this finding change whether anything is found out?
    pub(crate) fn sight(&mut self, finding: Finding) -> Option<Sight> {
        let unknown = finding == Finding::Unknown;
        let was = std::mem::replace(&mut self.unknown, unknown);
        match (was, unknown) {
            (false, true) => Some(Sight::Lost),
            (true, false) => Some(Sight::Regained),
            (true, true) | (false, false) => None,
        }
    }

    /// Takes a verdict and plans the next probe.
    pub(crate) fn judge(&mut self, policy: &HealthPolicy, now: Mono, finding: Finding) -> Meaning {
        if finding == Finding::Good {
            let fresh = !self.seen_healthy || self.failures > 0;
            self.seen_healthy = true;
            self.failures = 0;
            self.phase = Phase::Due(now + policy.interval);
            return if fresh { Meaning::Recovered } else { Meaning::Same };
        }
        if !self.counts(policy, now) {
            let doubled = early_pause(self.early);
            self.early = self.early.saturating_add(1);
            // Not past the end of the start period: then it counts, and it is time to know.
            let end = self.started + policy.start_period;
            self.phase = Phase::Due((now + doubled.min(policy.interval)).min(end.max(now)));
            return Meaning::Same;
        }
        if finding == Finding::Unknown {
            self.phase = Phase::Due(now + policy.interval);
            return Meaning::Same;
        }
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Due(now + policy.interval);
        if self.failures == policy.retries {
            Meaning::Unhealthy
        } else if self.failures == 1 && self.seen_healthy {
            Meaning::Faltered
        } else {
            Meaning::Same
        }
    }
}
