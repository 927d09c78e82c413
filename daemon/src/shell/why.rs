//! What the loop knows of why a service is as it is.

use mcpd_config::spec::HealthAction;
use mcpd_core::ServiceId;
use mcpd_proto::error::ErrorObject;
use mcpd_proto::status::ServiceStatus;
use mcpd_proto::why::Obstacle;

use super::Shell;
use crate::crash::lack::{Holder, Lack};

/// So many that wait for each other are named.
const FAR: usize = 10;

/// The loop's part of [`crate::why::Facts`].
pub struct Known {
    /// The service as it is.
    pub status: ServiceStatus,
    /// The event that brought its present state about.
    pub event: Option<u64>,
    /// Whom it waits for, and whom these wait for.
    pub waits_for: Vec<Obstacle>,
    /// The port that its last run lacked, and who holds it.
    pub port: Option<(u16, Holder)>,
    /// An unhealthy one is restarted.
    pub health_restarts: bool,
}

impl Shell {
    pub(super) fn known_of(&self, name: &str) -> Result<Known, ErrorObject> {
        let known = self.names.get(name).and_then(|id| {
            let (view, entry) = (self.core.view(*id)?, self.entries.get(id)?);
            let port = match &entry.lack {
                Some(Lack::Port(port, holder)) => Some((*port, holder.clone())),
                Some(Lack::Thing(_)) | None => None,
            };
            Some(Known {
                status: self.status_of(*id)?,
                event: view.last_note.map(|note| note.0),
                waits_for: self.obstacles(*id),
                port,
                health_restarts: entry
                    .spec
                    .health
                    .as_ref()
                    .is_none_or(|health| health.action == HealthAction::Restart),
            })
        });
        known.ok_or_else(|| self.no_such_service(name))
    }

    fn obstacles(&self, service: ServiceId) -> Vec<Obstacle> {
        let mut all = Vec::new();
        let mut next = self.core.view(service).and_then(|view| view.state.waits_for());
        while let Some(id) = next.filter(|_| all.len() < FAR) {
            let (Some(view), Some(entry)) = (self.core.view(id), self.entries.get(&id)) else { break };
            let (state, reason) = self.state(&view, entry);
            all.push(Obstacle { service: entry.name.to_string(), state, reason });
            next = view.state.waits_for();
        }
        all
    }
}
