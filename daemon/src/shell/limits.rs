//! What may a run use while it lives? Limits of its cgroup change without its process; the writing waits for the
//! kernel, which may have to reclaim memory for it, and so is not the loop's.

use std::sync::Arc;

use mcpd_config::ServiceSpec;
use mcpd_config::plan::Limits;
use mcpd_core::ServiceId;
use serde_json::json;

use super::Shell;
use super::entry::Entry;
use super::message::Message;
use crate::allowance;
use crate::scribe::Level;
use crate::sys::{Allowance, Disallowed};

/// What came of a change.
pub struct Limited {
    /// What was written.
    changed: Vec<Allowance>,
    /// What was not, and why.
    refused: Vec<(Allowance, Disallowed)>,
}

impl Shell {
    /// Whether the limits of this definition can be in force in the run that there is.
    pub(super) fn limits(&self, entry: &Entry, spec: &ServiceSpec) -> Limits {
        let change = allowance::change(&allowance::of(&entry.spec), &allowance::of(spec));
        if change.is_empty() {
            return Limits::Live;
        }
        // One that is just being started gets a cgroup if there are any.
        let has_one = entry.run.as_ref().is_none_or(|run| self.children.cgroup(run.key).is_some());
        match &self.cgroups {
            Ok(cgroups) if has_one && cgroups.may_allow(&change) => Limits::Live,
            Ok(_) | Err(_) => Limits::Wait,
        }
    }

    /// Sees to it that the cgroup of the service's run has the limits that are in force by now.
    pub(super) fn limit(&mut self, service: ServiceId) {
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let (name, wanted) = (Arc::clone(&entry.name), allowance::of(&entry.spec));
        let Some(run) = entry.run.as_mut().filter(|run| run.exit.is_none() && !run.limiting) else { return };
        let change = allowance::change(&run.allowances, &wanted);
        let (Some(cgroup), Ok(cgroups)) = (self.children.cgroup(run.key).cloned(), self.cgroups.clone())
        else {
            return;
        };
        if change.is_empty() {
            return;
        }
        let (generation, outbox, before) = (run.generation, self.outbox.clone(), run.allowances.clone());
        run.limiting = true;
        run.allowances = wanted;
        let begun = self.workers.run(move || {
            let mut limited = Limited { changed: Vec::new(), refused: Vec::new() };
            for allowance in change {
                match cgroups.allow(&cgroup, &[allowance]) {
                    Ok(()) => limited.changed.push(allowance),
                    Err(why) => limited.refused.push((allowance, why)),
                }
            }
            // Only while the daemon ends there is nobody to tell.
            let _ = outbox.blocking_send(Message::Limited { service, generation, limited });
        });
        if let Err(error) = begun {
            if let Some(run) = self.entries.get_mut(&service).and_then(|entry| entry.run.as_mut()) {
                run.limiting = false;
                run.allowances = before;
            }
            let why = format!("its limits are not changed: no thread to write them: {error}");
            self.tell_of(Level::Error, &name, "limits_failed", why, json!({}));
        }
    }

    pub(super) fn limited(&mut self, service: ServiceId, generation: u64, limited: Limited) {
        let Limited { changed, refused } = limited;
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let name = Arc::clone(&entry.name);
        let asked_since = {
            let wanted = allowance::of(&entry.spec);
            let Some(run) = entry.run(generation) else { return };
            run.limiting = false;
            if run.exit.is_some() {
                // The cgroup of a run that is over refuses, and nobody is limited by it.
                return;
            }
            wanted != run.allowances
        };
        if !changed.is_empty() {
            let keys: Vec<&str> = changed.iter().map(|allowance| allowance.key).collect();
            let message = format!("in force without a new process: {}", keys.join(", "));
            self.tell_of(Level::Info, &name, "limits_changed", message, json!({ "keys": keys }));
        }
        for (Allowance { key, .. }, Disallowed { message, .. }) in refused {
            let message = format!("{message}; its process goes on as it was, the next start tries again");
            self.tell_of(Level::Error, &name, "limits_failed", message, json!({ "key": key }));
        }
        if asked_since {
            self.limit(service);
        }
    }
}
