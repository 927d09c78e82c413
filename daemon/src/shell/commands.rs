//! Commands of clients: from names to the core's requests, and from its outcomes to one answer.

use std::collections::HashSet;
use std::sync::Arc;

use mcpd_core::action::Outcome as CoreOutcome;
use mcpd_core::verdict::What;
use mcpd_core::{Event, RequestId, ServiceId, Verb};
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::method::Outcome;
use serde_json::{Map, json};
use tokio::sync::mpsc;

use super::Shell;
use super::by::By;
use super::message::{Answers, Reply};
use super::report::redactor;
use crate::control::Asker;
use crate::crash::redact;
use crate::pattern::Named;
use crate::words;

/// A client's command on several services, until each of them has an outcome.
pub(super) struct Pending {
    names: Vec<String>,
    verb: Verb,
    left: usize,
    by: Option<Arc<Asker>>,
    /// To whoever waits for them.
    tell: Option<mpsc::Sender<(usize, Outcome)>>,
}

impl Shell {
    /// The error for a name that no service has, with the nearest one that is there, or for a pattern that none fits or
    /// where one service is meant.
    pub(super) fn no_such_service(&self, name: &str) -> ErrorObject {
        if let Ok(pattern @ Named::Fitting(_)) = Named::parse(name) {
            let data = Map::from_iter([("name".to_owned(), name.into())]);
            let fits = self.names.keys().find(|known| pattern.means(known));
            let message = match fits {
                Some(fits) => {
                    format!("\"{name}\" is a pattern, and this is about one service, for example {fits}")
                }
                None => format!("no service fits \"{name}\""),
            };
            return ErrorObject::with(Kind::NoSuchService, message, data);
        }
        if name.ends_with('@') && self.names.keys().any(|known| known.starts_with(name)) {
            let message = format!("\"{name}\" is a template, and no service: \"{name}*\" fits its instances");
            let data = Map::from_iter([("name".to_owned(), name.into())]);
            return ErrorObject::with(Kind::NoSuchService, message, data);
        }
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

    /// The services that names and patterns mean, each once, in the order in which they are named; those of a pattern
    /// by name.
    ///
    /// # Errors
    /// A name that no service has, a pattern that no service fits, or something that is no pattern.
    pub(super) fn select(&self, asked: &[String]) -> Result<Vec<(String, ServiceId)>, ErrorObject> {
        let mut seen = HashSet::new();
        let mut selected = Vec::new();
        for text in asked {
            let found: Vec<(&String, &ServiceId)> = match Named::parse(text)? {
                Named::One(name) => self.names.get_key_value(&name).into_iter().collect(),
                pattern @ Named::Fitting(_) => {
                    self.names.iter().filter(|(name, _)| pattern.means(name)).collect()
                }
            };
            if found.is_empty() {
                return Err(self.no_such_service(text));
            }
            let fresh = found.into_iter().filter(|(_, id)| seen.insert(**id));
            selected.extend(fresh.map(|(name, id)| (name.clone(), *id)));
        }
        Ok(selected)
    }

    pub(super) fn command(
        &mut self,
        asked: &[String],
        verb: Verb,
        wait: bool,
        by: Option<Arc<Asker>>,
        reply: Reply<Answers>,
    ) {
        let (names, ids): (Vec<String>, Vec<ServiceId>) = match self.select(asked) {
            Ok(selected) => selected.into_iter().unzip(),
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let of = names.len();
        // There is room for every outcome, so that the loop never waits for whoever reads them.
        let (tell, outcomes) = mpsc::channel(of.max(1));
        let _ = reply.send(Ok(Answers { of, outcomes }));
        if !wait {
            for (place, name) in names.iter().enumerate() {
                let outcome = Outcome {
                    name: name.clone(),
                    ok: true,
                    message: format!("{} asked for", words::verb(verb)),
                    error: None,
                    status: None,
                };
                let _ = tell.try_send((place, outcome));
            }
        }
        if of == 0 {
            return;
        }
        let batch = self.next_batch;
        self.next_batch += 1;
        self.pending.insert(batch, Pending { names, verb, left: of, by, tell: wait.then_some(tell) });
        for (place, service) in ids.into_iter().enumerate() {
            let request = RequestId(self.next_request);
            self.next_request += 1;
            self.requests.insert(request, (batch, place));
            self.events.push_back(Event::Command { request, service, verb });
        }
    }

    /// On whose word this happens.
    pub(super) fn word_of(&self, event: &Event) -> Option<By> {
        if let Event::Command { request, .. } = event {
            let (batch, _) = self.requests.get(request)?;
            return Some(By::Client(self.pending.get(batch)?.by.clone()));
        }
        self.shutdown_by.clone().filter(|_| *event == Event::Shutdown)
    }

    pub(super) fn replied(&mut self, request: RequestId, service: ServiceId, outcome: &CoreOutcome) {
        let Some((batch, place)) = self.requests.remove(&request) else { return };
        let Some(pending) = self.pending.get(&batch) else { return };
        if let Some(tell) = &pending.tell
            && !tell.is_closed()
        {
            let name = pending.names.get(place).cloned().unwrap_or_default();
            let outcome = self.outcome(name, pending.verb, service, outcome);
            // A client that went away does not care for its answer; the order stands.
            let _ = tell.try_send((place, outcome));
        }
        if let Some(pending) = self.pending.get_mut(&batch) {
            pending.left -= 1;
            if pending.left == 0 {
                self.pending.remove(&batch);
            }
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
            CoreOutcome::Blocked { on } => {
                let reason = status.as_ref().and_then(|status| status.reason.clone()).unwrap_or_default();
                let message = format!("is {reason}; it starts as soon as it can");
                let mut data = Map::new();
                data.insert("service".into(), name.clone().into());
                data.insert("waiting_on".into(), self.name_of(*on).into());
                (message.clone(), Some(ErrorObject::with(Kind::StartFailed, message, data)))
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
            redact::lines(&redactor(&entry.spec, entry.secrets_of_run()), &mut lines);
        }
        data.insert("stderr_tail".into(), json!(lines));
        ErrorObject::with(Kind::StartFailed, format!("did not come up: {what}{then}"), data)
    }
}
