//! What has to be seen before a service counts as up, and how is it seen?

use std::time::Duration;

use mcpd_config::ServiceSpec;
use mcpd_config::spec::{Probe, ReadySpec};
use mcpd_core::action::Probing;
use mcpd_core::view::{Awaited, StateView};
use mcpd_core::{Event, ServiceId};
use mcpd_proto::crash::HealthVerdict;
use regex::bytes::Regex;

use super::Shell;
use super::message::Message;
use super::report::stamp;

/// What a probe asks, and how long the answer may take.
pub(super) fn asks(spec: &ServiceSpec, of: Probing) -> Option<(&Probe, Duration)> {
    match of {
        Probing::Health => spec.health.as_ref().map(|health| (&health.probe, health.timeout)),
        Probing::Ready => match &spec.ready {
            Some(ReadySpec::Probe { probe, timeout }) => Some((probe, *timeout)),
            Some(ReadySpec::Log { .. } | ReadySpec::Notify) | None => None,
        },
    }
}

/// What is waited for, after "waits for".
pub(super) fn awaited(ready: &ReadySpec) -> String {
    match ready {
        ReadySpec::Probe { probe: Probe::Http(http), .. } => format!("a good answer from {}", http.url),
        ReadySpec::Probe { probe: Probe::Tcp { address }, .. } => format!("a connection to {address}"),
        ReadySpec::Probe { probe: Probe::Exec { argv }, .. } => {
            format!("{:?} to end with 0", argv.first().map_or("", String::as_str))
        }
        ReadySpec::Log { pattern } => format!("a line of output that matches \"{pattern}\""),
        ReadySpec::Notify => "READY=1 on its notification socket".into(),
    }
}

impl Shell {
    /// The present run's output is looked through, as long as it is starting and a line of it says that it is ready. To be
    /// called before its pipes are read, and when its definition has changed.
    pub(super) fn watch(&self, service: ServiceId) {
        let Some(entry) = self.entries.get(&service) else { return };
        let Some(run) = &entry.run else { return };
        let generation = run.generation;
        let starts = self.core.view(service).is_some_and(|view| match view.state {
            StateView::Spawning | StateView::Starting(Awaited::Ready | Awaited::Health) => true,
            // It may be wanted again before its stop has its turn.
            StateView::Leaving { .. } => true,
            StateView::Starting(Awaited::End) | StateView::Exited => false,
            StateView::Down(_)
            | StateView::Waiting(_)
            | StateView::Up
            | StateView::Stopping(_)
            | StateView::Ending { .. }
            | StateView::Backoff { .. }
            | StateView::Parked(_) => false,
        });
        // Known to be good since the configuration was read.
        let pattern = match &entry.spec.ready {
            Some(ReadySpec::Log { pattern }) if starts => Regex::new(pattern).ok(),
            Some(ReadySpec::Log { .. } | ReadySpec::Probe { .. } | ReadySpec::Notify) | None => None,
        };
        let Some(pattern) = pattern else { return self.logs.unwatch(service.0) };
        let outbox = self.outbox.clone();
        let found = Box::new(move || {
            // Only while the daemon ends there is nobody to tell.
            let _ = outbox.blocking_send(Message::SaidReady { service, generation });
        });
        self.logs.watch(service.0, generation, pattern, found);
    }

    /// A line of its output said that it is ready.
    pub(super) fn said_ready(&mut self, service: ServiceId, generation: u64) {
        if let Some(entry) = self.entries.get_mut(&service)
            && let Some(ReadySpec::Log { pattern }) = &entry.spec.ready
            && entry.run.as_ref().is_some_and(|run| run.generation == generation)
        {
            let detail = format!("a line matched {pattern:?}");
            let verdict =
                HealthVerdict { time: stamp(jiff::Timestamp::now()), ok: true, unknown: false, detail };
            entry.remember(Probing::Ready, verdict);
        }
        self.events.push_back(Event::Ready { service, generation });
    }
}
