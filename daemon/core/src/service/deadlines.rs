//! When does it need the core next, and until when is a start one?

use super::*;

impl Service {
    /// When this service needs the core next.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        earliest([self.state_deadline(), self.watch_deadline(), self.renewal_deadline()])
    }

    pub(super) fn state_deadline(&self) -> Option<Mono> {
        match &self.actual {
            Actual::Down(_) | Actual::Waiting(_) | Actual::Exited | Actual::Parked(_) => None,
            Actual::Spawning(spawning) => {
                (!spawning.slow).then(|| spawning.asked + self.policy.start_timeout)
            }
            Actual::Starting(Child { beside: Some(beside), .. }) => Some(beside.deadline()),
            Actual::Starting(child) => {
                let ready = child.readiness.as_ref().and_then(Readiness::deadline);
                let probe = child.health.as_ref().map(Health::deadline);
                // Whoever waits for it to be up waits for the end of the start.
                earliest([ready, probe, Some(self.start_ends(child))])
            }
            Actual::Up(child) => {
                let probe = child.health.as_ref().map(Health::deadline);
                let patience = self.patience_ends(child);
                let beside = child.beside.as_ref().map(Beside::deadline);
                let counts = self.counts_until(child);
                let recovers = self.recovers_at(child);
                earliest([probe, counts, recovers, patience, child.watchdog, child.reloading, beside])
            }
            Actual::Stopping(stopping) => Some(stopping.due()),
            Actual::Ending(ending) => {
                let report = match ending.report {
                    Report::Draining { until, .. } | Report::Writing(until) => Some(until),
                    Report::Later { .. } | Report::Settled => None,
                };
                let tree = ending.left.is_some_and(|left| left > 0).then(|| ending.rung.at());
                earliest([report, tree, ending.beside.map(|beside| beside.deadline())])
            }
            Actual::Backoff { until, .. } => Some(*until),
        }
    }

    /// Without `[ready]` a start is over at the end of the start period, for then the liveness check takes over; it has
    /// failed at `start_timeout`, if that comes first.
    pub(crate) fn start_ends(&self, child: &Child) -> Mono {
        if self.start_may_time_out(child) {
            child.extended.unwrap_or_default().max(child.started + self.policy.start_timeout)
        } else {
            child.started + self.start_period()
        }
    }

    pub(super) fn start_period(&self) -> Duration {
        self.policy.health.as_ref().map_or(Duration::ZERO, |health| health.start_period)
    }

    /// Nothing else ends this start before.
    pub(super) fn start_may_time_out(&self, child: &Child) -> bool {
        child.nature.passes || child.readiness.is_some() || self.start_period() >= self.policy.start_timeout
    }

    /// While it is up: when is this run a stable one, so that the counters start again? Only time that it was up counts,
    /// and a health check has to agree: a server that hangs on every start, for longer than `reset_after` each time,
    /// must reach its limit.
    pub(crate) fn counts_until(&self, child: &Child) -> Option<Mono> {
        (self.attempt > 0 && child.is_well()).then(|| self.since + self.policy.restart.reset_after)
    }

    /// When does whoever waits for this process, which is up, get an answer, whatever it is then?
    pub(super) fn patience_ends(&self, child: &Child) -> Option<Mono> {
        let generation = self.generation;
        let waited_for = self.waiters.iter().any(|waiter| match waiter.goal {
            Goal::Up { generation: wanted } => wanted <= generation,
            Goal::Down | Goal::Reloaded { .. } => false,
        });
        let patience = if self.trusted_when_up() { SETTLE } else { self.policy.start_timeout };
        waited_for.then(|| child.started + patience)
    }

    /// That it is up needs no further proof: it said that it is ready, or living for a moment is all that can be asked
    /// of it.
    pub(super) fn trusted_when_up(&self) -> bool {
        self.policy.ready.is_some() || self.start_period().is_zero()
    }
}

impl Child {
    /// Where health is checked, the last word of that is that it is well.
    pub(super) fn is_well(&self) -> bool {
        self.health.as_ref().is_none_or(|health| health.seen_healthy() && health.failures() == 0)
    }
}

fn earliest<const N: usize>(times: [Option<Mono>; N]) -> Option<Mono> {
    times.into_iter().flatten().min()
}
