//! The one index of deadlines: no service has a timer of its own.

use std::collections::BTreeSet;

use crate::event::ServiceId;
use crate::time::Mono;

/// At most one deadline per service, ordered by time and then by service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    due: BTreeSet<(Mono, ServiceId)>,
}

impl Index {
    /// Replaces a service's deadline.
    pub(crate) fn set(&mut self, service: ServiceId, old: Option<Mono>, new: Option<Mono>) {
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.due.remove(&(at, service));
        }
        if let Some(at) = new {
            self.due.insert((at, service));
        }
    }

    /// The earliest.
    pub(crate) fn first(&self) -> Option<(Mono, ServiceId)> {
        self.due.first().copied()
    }
}
