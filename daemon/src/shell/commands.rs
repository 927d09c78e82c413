//! Commands of clients: from names to the core's requests, and from its outcomes to one answer.

use mcpd_core::action::Outcome as CoreOutcome;
use mcpd_core::verdict::What;
use mcpd_core::{Event, RequestId, ServiceId, Verb};
use mcpd_proto::SCHEMA;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::method::{Outcome, Outcomes};
use serde_json::{Map, json};

use super::Shell;
use super::message::Reply;
use super::report::redactor;
use crate::words;

/// A client's command on several services, until each of them has an outcome.
pub(super) struct Pending {
    names: Vec<String>,
    verb: Verb,
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    reply: Option<Reply<Outcomes>>,
}

impl Shell {
    /// The error for a name that no service has, with the nearest one that is there.
    pub(super) fn no_such_service(&self, name: &str) -> ErrorObject {
        let nearest = self
            .names
            .keys()
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
            .min()
            .map(|(_, known)| known.clone());
        let hint = nearest.as_ref().map_or_else(String::new, |near| format!(": did you mean \"{near}\"?"));
        let mut data = Map::new();
        data.insert("name".into(), name.into());
        data.insert("nearest".into(), json!(nearest));
        ErrorObject::with(Kind::NoSuchService, format!("there is no service \"{name}\"{hint}"), data)
    }

    pub(super) fn command(&mut self, names: Vec<String>, verb: Verb, wait: bool, reply: Reply<Outcomes>) {
        let mut ids = Vec::with_capacity(names.len());
        for name in &names {
            match self.names.get(name) {
                Some(id) => ids.push(*id),
                None => {
                    let _ = reply.send(Err(self.no_such_service(name)));
                    return;
                }
            }
        }
        let batch = self.next_batch;
        self.next_batch += 1;
        let count = names.len();
        let mut pending =
            Pending { names, verb, outcomes: vec![None; count], left: count, reply: Some(reply) };
        if count == 0 || !wait {
            let taken = |name: &String| Outcome {
                name: name.clone(),
                ok: true,
                message: format!("{} asked for", words::verb(verb)),
                error: None,
                status: None,
            };
            let outcomes = pending.names.iter().map(taken).collect();
            if let Some(reply) = pending.reply.take() {
                let _ = reply.send(Ok(Outcomes { schema: SCHEMA, outcomes }));
            }
        }
        self.pending.insert(batch, pending);
        for (place, service) in ids.into_iter().enumerate() {
            let request = RequestId(self.next_request);
            self.next_request += 1;
            self.requests.insert(request, (batch, place));
            self.events.push_back(Event::Command { request, service, verb });
        }
        if count == 0 {
            self.pending.remove(&batch);
        }
    }

    pub(super) fn replied(&mut self, request: RequestId, service: ServiceId, outcome: &CoreOutcome) {
        let Some((batch, place)) = self.requests.remove(&request) else { return };
        let Some(pending) = self.pending.get(&batch) else { return };
        let name = pending.names.get(place).cloned().unwrap_or_default();
        let outcome = self.outcome(name, pending.verb, service, outcome);
        let Some(pending) = self.pending.get_mut(&batch) else { return };
        if let Some(slot) = pending.outcomes.get_mut(place) {
            *slot = Some(outcome);
            pending.left -= 1;
        }
        if pending.left == 0
            && let Some(done) = self.pending.remove(&batch)
            && let Some(reply) = done.reply
        {
            let outcomes = done.outcomes.into_iter().flatten().collect();
            let _ = reply.send(Ok(Outcomes { schema: SCHEMA, outcomes }));
        }
    }

    fn outcome(&self, name: String, verb: Verb, service: ServiceId, outcome: &CoreOutcome) -> Outcome {
        let status = self.status_of(service).map(Box::new);
        let pid = status.as_ref().and_then(|status| status.pid);
        let completed = status.as_ref().is_some_and(|status| status.pid.is_none());
        let running = match pid {
            Some(pid) => format!("running, pid {pid}"),
            None if completed => "done: all its commands have ended well".to_owned(),
            None => "running".to_owned(),
        };
        let fail = |kind: Kind, message: String| (message.clone(), Some(ErrorObject::new(kind, message)));
        let (message, error) = match outcome {
            CoreOutcome::Done => match verb {
                Verb::Start | Verb::Restart => (running, None),
                Verb::Stop => ("stopped".into(), None),
                Verb::Reset => ("reset: its failures are forgotten".into(), None),
                Verb::Reload => ("reloaded".into(), None),
                Verb::Signal(number, _) => {
                    let to = pid.map_or_else(String::new, |pid| format!(" to pid {pid}"));
                    (format!("sent {}{to}", words::signal(number)), None)
                }
            },
            CoreOutcome::Already => match verb {
                Verb::Stop => ("was already down".into(), None),
                Verb::Start | Verb::Restart | Verb::Reset | Verb::Reload | Verb::Signal(..) => {
                    (format!("was already {}", if pid.is_some() { &running } else { "up" }), None)
                }
            },
            CoreOutcome::StartFailed { failure, exit, decision, .. } => {
                let error = self.start_failed(&name, service, failure.is_some(), *exit, decision);
                (error.message.clone(), Some(error))
            }
            CoreOutcome::NotUpInTime => {
                let detail = self
                    .entries
                    .get(&service)
                    .and_then(|entry| entry.verdicts.back())
                    .map_or_else(String::new, |verdict| format!(": {}", verdict.detail));
                fail(Kind::Timeout, format!("runs, but was not up within start_timeout{detail}"))
            }
            CoreOutcome::Superseded { by } => {
                fail(Kind::Superseded, format!("{} was asked for meanwhile", words::verb(*by)))
            }
            CoreOutcome::Removed => {
                fail(Kind::Superseded, "was removed from the configuration meanwhile".into())
            }
            CoreOutcome::NotRunning if verb == Verb::Reload => {
                fail(Kind::NotRunning, "is not up, or not any more: there is nothing to reload".into())
            }
            CoreOutcome::NotRunning => fail(Kind::NotRunning, "is not running".into()),
            CoreOutcome::NoReload => {
                let hint = "it has no exec_reload: a signal or a restart may do";
                fail(Kind::NoReload, hint.into())
            }
            CoreOutcome::ReloadFailed => {
                let entry = self.entries.get(&service);
                let why = entry.and_then(|entry| entry.beside_detail.as_deref()).unwrap_or("it did not end");
                fail(Kind::ReloadFailed, format!("exec_reload failed: {why}; the process runs on as it was"))
            }
            CoreOutcome::ShuttingDown => fail(Kind::ShuttingDown, "mcpd is shutting down".into()),
            CoreOutcome::Unknown => (format!("{name} is gone"), Some(self.no_such_service(&name))),
        };
        Outcome { name, ok: error.is_none(), message, error, status }
    }

    fn start_failed(
        &self,
        name: &str,
        service: ServiceId,
        failed: bool,
        exit: Option<mcpd_core::Exit>,
        decision: &mcpd_core::verdict::Decision,
    ) -> ErrorObject {
        let entry = self.entries.get(&service);
        let crash = entry.and_then(|entry| entry.last_crash.as_ref()).filter(|_| failed);
        let what = match (crash, exit) {
            (Some(crash), _) => crash.reason.clone(),
            (None, Some(exit)) => format!("{} before it was up", words::exit(exit)),
            (None, None) => "could not be started".into(),
        };
        let then = match decision.what {
            What::Restart(delay) => {
                format!("; mcpd tries again {} after it ended", words::span(delay))
            }
            What::Park(reason) => format!("; parked: {}", words::park_reason(reason, None)),
            What::StayDown => "; it stays down, as restart.when says".into(),
            What::AsAsked | What::GoOn => String::new(),
        };
        let mut data = Map::new();
        data.insert("service".into(), name.into());
        data.insert("crash_id".into(), json!(crash.map(|crash| &crash.id)));
        let mut lines = entry.map_or_else(Vec::new, |entry| entry.last_lines.clone());
        if let Some(entry) = entry {
            redactor(&entry.spec, entry.run.as_ref().map(|run| &run.secrets)).lines(&mut lines);
        }
        data.insert("stderr_tail".into(), json!(lines));
        ErrorObject::with(Kind::StartFailed, format!("did not come up: {what}{then}"), data)
    }
}
