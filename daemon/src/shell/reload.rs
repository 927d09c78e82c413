//! What does a new configuration change?

use std::sync::Arc;

use jiff::Timestamp;
use mcpd_config::ServiceSpec;
use mcpd_config::plan::{Plan, diff};
use mcpd_core::action::Probing;
use mcpd_core::event::Redefinition;
use mcpd_core::verdict::ParkReason;
use mcpd_core::view::StateView;
use mcpd_core::{Event, ServiceId};
use mcpd_proto::SCHEMA;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::method::Reloaded;
use serde_json::{Map, json};

use super::Shell;
use super::entry::Entry;
use super::load::{Loaded, http_check};
use super::message::{Message, Reply};
use super::policy::policy;
use super::ready::asks;
use super::report::stamp;
use crate::scribe::Level;

/// Reloads that were asked for and not answered.
#[derive(Default)]
pub(super) struct Reloads {
    /// Somebody is reading the file.
    reading: bool,
    /// For the reading that is under way.
    now: Vec<Reply<Reloaded>>,
    /// Asked for while it was under way: the file may have changed since, so it is read once more.
    next: Vec<Reply<Reloaded>>,
    again: bool,
}

impl Shell {
    /// Reads the configuration, off the loop; `loaded` goes on.
    pub(super) fn reload(&mut self, reply: Option<Reply<Reloaded>>) {
        if self.core.is_shutting_down() {
            if let Some(reply) = reply {
                let _ = reply.send(Err(ErrorObject::new(Kind::ShuttingDown, "mcpd is shutting down")));
            }
            return;
        }
        self.systemd.reloading();
        if self.reloads.reading {
            self.reloads.next.extend(reply);
            self.reloads.again = true;
            return;
        }
        self.reloads.now.extend(reply);
        self.read();
    }

    fn read(&mut self) {
        self.reloads.reading = true;
        let (source, outbox) = (self.source.clone(), self.outbox.clone());
        let reading = self.workers.run(move || {
            let _ = outbox.blocking_send(Message::Loaded(Box::new(source.load(false))));
        });
        if let Err(error) = reading {
            self.unread(&error);
        }
    }

    /// The system has no room for a thread that reads: whoever waits is told so, instead of waiting for room.
    fn unread(&mut self, error: &std::io::Error) {
        self.reloads.reading = false;
        self.reloads.again = false;
        let message = format!("there is no thread to read the configuration: {error}; nothing was changed");
        self.last_reload = Some(format!("{}: {message}", stamp(Timestamp::now())));
        self.tell_own(Level::Error, None, "reload_failed", message.clone(), json!({}));
        let waiting = self.reloads.now.drain(..).chain(self.reloads.next.drain(..));
        for reply in waiting {
            let _ = reply.send(Err(ErrorObject::new(Kind::DaemonBusy, message.clone())));
        }
        let summary = self.summary();
        self.systemd.ready(&summary);
    }

    pub(super) fn loaded(&mut self, loaded: Result<Loaded, String>) {
        self.reloads.reading = false;
        // What is known by now is settled first and what is planned is carried out at once, so that no removal comes to
        // its end between the plan and its execution: a service that is wanted again would go with it.
        self.drive();
        let result = loaded.map(|loaded| {
            self.warn(&loaded.warnings);
            self.apply(&loaded)
        });
        self.drive();
        let when = stamp(Timestamp::now());
        match &result {
            Ok(done) => {
                let message = format!(
                    "configuration reloaded: {} added, {} removed, {} restarted, {} updated, {} unchanged",
                    done.added.len(),
                    done.removed.len(),
                    done.restarted.len(),
                    done.updated.len(),
                    done.unchanged
                );
                self.last_reload = Some(format!("{when}: {message}"));
                self.tell_own(Level::Info, None, "reload", message, json!(done));
            }
            Err(diagnostics) => {
                let message = "the configuration has errors: nothing was changed";
                self.last_reload = Some(format!("{when}: {message}"));
                let text = format!("{message}\n{diagnostics}");
                self.tell_own(Level::Error, None, "reload_failed", text, json!({}));
            }
        }
        for reply in self.reloads.now.drain(..) {
            let answer = result.clone().map_err(|diagnostics| {
                let mut data = Map::new();
                data.insert("diagnostics".into(), diagnostics.into());
                let message = "the configuration has errors: nothing was changed";
                ErrorObject::with(Kind::ConfigInvalid, message, data)
            });
            let _ = reply.send(answer);
        }
        if std::mem::take(&mut self.reloads.again) {
            self.reloads.now = std::mem::take(&mut self.reloads.next);
            self.read();
        } else {
            let summary = self.summary();
            self.systemd.ready(&summary);
        }
    }

    fn apply(&mut self, loaded: &Loaded) -> Reloaded {
        let Plan { added, removed, restart, update, mut unchanged, needs_daemon_restart } =
            diff(&self.config, &loaded.config);
        let mut restart = restart;
        for name in &removed {
            if let Some(id) = self.names.get(name) {
                self.events.push_back(Event::Remove { service: *id });
            }
        }
        for spec in loaded.config.services.values() {
            let name = &spec.name;
            if added.contains(name) {
                self.define(spec, loaded);
            } else if restart.contains(name) {
                self.redefine(spec, loaded, true);
            } else if update.contains(name) {
                self.redefine(spec, loaded, false);
            } else if self.program_appeared(spec, loaded) || self.cannot_start(spec) {
                // Its definition is the same, but what kept it down is gone, or may be.
                self.redefine(spec, loaded, true);
                restart.push(name.clone());
                unchanged = unchanged.saturating_sub(1);
            }
        }
        // Places stay as they were until the daemon starts again: `needs_daemon_restart` says so.
        let daemon = self.config.daemon.clone();
        self.config = loaded.config.clone();
        self.config.daemon = daemon;
        Reloaded {
            schema: SCHEMA,
            added,
            removed,
            restarted: restart,
            updated: update,
            unchanged,
            needs_daemon_restart,
        }
    }

    fn program_appeared(&self, spec: &ServiceSpec, loaded: &Loaded) -> bool {
        self.names
            .get(&spec.name)
            .and_then(|id| self.entries.get(id))
            .is_some_and(|entry| entry.missing.is_some() && !loaded.missing.contains_key(&spec.name))
    }

    /// It is parked because starting it failed, for a reason that only a try can tell to be gone.
    fn cannot_start(&self, spec: &ServiceSpec) -> bool {
        let view = self.names.get(&spec.name).and_then(|id| self.core.view(*id));
        let parked = StateView::Parked(ParkReason::CannotStart);
        spec.enabled && view.is_some_and(|view| view.state == parked)
    }

    /// A service that is new, or that was being removed and is wanted again.
    pub(super) fn define(&mut self, spec: &ServiceSpec, loaded: &Loaded) {
        let id = self.names.get(&spec.name).copied().unwrap_or_else(|| {
            let id = ServiceId(self.next_service);
            self.next_service += 1;
            id
        });
        self.names.insert(spec.name.clone(), id);
        self.set_entry(id, spec, loaded);
        self.events.push_back(Event::Define {
            service: id,
            policy: Box::new(policy(spec)),
            start: spec.enabled,
            program_missing: loaded.missing.contains_key(&spec.name),
        });
    }

    fn redefine(&mut self, spec: &ServiceSpec, loaded: &Loaded, restart: bool) {
        let Some(id) = self.names.get(&spec.name).copied() else { return };
        // A parked service stays so until asked or changed; this is a change, whatever it is.
        let parked = self.core.view(id).is_some_and(|view| matches!(view.state, StateView::Parked(_)));
        let restart = restart || (parked && spec.enabled);
        self.set_entry(id, spec, loaded);
        let to = Box::new(Redefinition { policy: policy(spec), restart });
        self.events.push_back(Event::Redefine { service: id, to });
    }

    fn set_entry(&mut self, id: ServiceId, spec: &ServiceSpec, loaded: &Loaded) {
        let name = &spec.name;
        self.logs.define(id.0, name, &spec.log, spec.crash.tail_lines);
        let check = http_check(asks(spec, Probing::Health));
        let ready_check = http_check(asks(spec, Probing::Ready));
        let entry = self.entries.entry(id).or_insert_with(|| Entry::new(Arc::new(spec.clone()), None));
        entry.spec = Arc::new(spec.clone());
        entry.origin = loaded.origins.get(name).cloned();
        entry.missing = loaded.missing.get(name).cloned();
        if let Some(program) = loaded.programs.get(name) {
            entry.program = Some(program.clone());
        }
        let mut wrong = Vec::new();
        let mut usable = |check: Result<_, String>, what| {
            check.unwrap_or_else(|why| {
                wrong.push((what, why));
                None
            })
        };
        entry.check = usable(check, "health");
        entry.ready_check = usable(ready_check, "ready");
        for (what, why) in wrong {
            let why = format!("its {what} check cannot be carried out: {why}");
            self.tell_own(Level::Error, Some(name), &format!("{what}_unusable"), why, json!({}));
        }
        self.watch(id);
    }
}
