//! A new configuration: read, planned, and carried out exactly so, or not at all.

use std::sync::Arc;

use jiff::Timestamp;
use mcpd_config::ServiceSpec;
use mcpd_config::plan::settle;
use mcpd_config::spec::DaemonSpec;
use mcpd_core::action::Probing;
use mcpd_core::event::{Change, Redefinition};
use mcpd_core::{Event, NoteId, ServiceId};
use mcpd_proto::SCHEMA;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::method::{ReloadParams, Reloaded};
use mcpd_proto::plan::{Plan, PlanParams, StepAction};
use serde_json::{Map, json};

use super::Shell;
use super::by::By;
use super::entry::{Entry, Next};
use super::load::{Loaded, http_check};
use super::message::{Message, Reply};
use super::plan::{Planned, Work};
use super::policy::policy;
use super::ready::asks;
use super::report::stamp;
use crate::probe::HttpCheck;
use crate::scribe::Level;
use crate::sys::{self, Leftover};

/// What somebody wants of the configuration file.
pub(super) enum Wanted {
    /// What would a reload do?
    Plan(PlanParams, Reply<Plan>),
    /// Do it. Nobody waits for the answer when a signal asked.
    Reload(ReloadParams, By, Option<Reply<Reloaded>>),
    /// Do it, for the files have changed, as this note says; nobody asked.
    Follow(Option<NoteId>),
}

/// Why a configuration is read again.
enum Why {
    Asked(By),
    Changed(Option<NoteId>),
}

impl Wanted {
    fn is_reload(&self) -> bool {
        match self {
            Self::Plan(..) => false,
            Self::Reload(..) | Self::Follow(_) => true,
        }
    }

    fn refuse(self, error: ErrorObject) {
        match self {
            Self::Plan(_, reply) => drop(reply.send(Err(error))),
            Self::Reload(_, _, Some(reply)) => drop(reply.send(Err(error))),
            Self::Reload(_, _, None) | Self::Follow(_) => {}
        }
    }
}

/// What was asked for and is not answered.
#[derive(Default)]
pub(super) struct Reloads {
    /// Somebody is reading the file.
    reading: bool,
    /// For the reading that is under way.
    now: Vec<Wanted>,
    /// Asked for while it was under way: the file may have changed since, so it is read once more.
    next: Vec<Wanted>,
    /// systemd has been told that a reload is under way.
    told: bool,
}

impl Shell {
    /// Nobody waits for the answer: a signal asked.
    pub(super) fn reload(&mut self) {
        self.want_configuration(Wanted::Reload(ReloadParams::default(), By::Signal, None));
    }

    /// The files have changed.
    pub(super) fn follow(&mut self, note: Option<NoteId>) {
        self.want_configuration(Wanted::Follow(note));
    }

    /// Reads the configuration, off the loop; `loaded` goes on.
    pub(super) fn want_configuration(&mut self, wanted: Wanted) {
        if self.core.is_shutting_down() {
            wanted.refuse(ErrorObject::new(Kind::ShuttingDown, "mcpd is shutting down"));
            return;
        }
        if wanted.is_reload() {
            self.systemd.reloading();
            self.reloads.told = true;
        }
        if !self.reloads.reading {
            self.reloads.now.push(wanted);
            self.read();
            return;
        }
        // Signals and changes that ask for the same while the file is being read are one.
        let same = |other: &Wanted| match (&wanted, other) {
            (Wanted::Reload(_, _, None), Wanted::Reload(_, _, None))
            | (Wanted::Follow(_), Wanted::Follow(_)) => true,
            (Wanted::Plan(..) | Wanted::Reload(..) | Wanted::Follow(_), _) => false,
        };
        if !self.reloads.next.iter().any(same) {
            self.reloads.next.push(wanted);
        }
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
        let message = format!("there is no thread to read the configuration: {error}; nothing was changed");
        if std::mem::take(&mut self.reloads.told) {
            self.last_reload = Some(format!("{}: {message}", stamp(Timestamp::now())));
            self.tell_own(Level::Error, None, "reload_failed", message.clone(), json!({}));
            let summary = self.summary();
            self.systemd.ready(&summary);
        }
        let waiting = self.reloads.now.drain(..).chain(self.reloads.next.drain(..));
        for wanted in waiting {
            wanted.refuse(ErrorObject::new(Kind::DaemonBusy, message.clone()));
        }
    }

    pub(super) fn loaded(&mut self, loaded: Result<Loaded, String>) {
        self.reloads.reading = false;
        // What is known by now is settled first and what is planned is carried out at once, so that nothing happens
        // between the plan and its execution: no removal comes to its end and takes a service that is wanted again.
        self.drive();
        let wanted = std::mem::take(&mut self.reloads.now);
        match loaded {
            Ok(loaded) => {
                let mut reloads = Vec::new();
                for wanted in wanted {
                    match wanted {
                        Wanted::Plan(PlanParams { restart }, reply) => {
                            let _ = reply.send(Ok(self.plan(&loaded, restart).plan));
                        }
                        Wanted::Reload(params, by, reply) => reloads.push((params, Why::Asked(by), reply)),
                        Wanted::Follow(note) if self.would_empty(&loaded) => self.does_not_follow(note),
                        Wanted::Follow(note) => {
                            reloads.push((ReloadParams::default(), Why::Changed(note), None));
                        }
                    }
                }
                self.reload_for(&loaded, reloads);
            }
            Err(diagnostics) => self.refuse_all(wanted, &diagnostics),
        }
        sys::give_back_memory();
        if !self.reloads.next.is_empty() {
            self.reloads.now = std::mem::take(&mut self.reloads.next);
            self.read();
        } else if std::mem::take(&mut self.reloads.told) {
            let summary = self.summary();
            self.systemd.ready(&summary);
        }
    }

    /// No service would be left. That is how a file looks whose writer has only begun, or had no room on its disk.
    fn would_empty(&self, loaded: &Loaded) -> bool {
        loaded.config.services.is_empty() && !self.config.services.is_empty()
    }

    fn does_not_follow(&mut self, note: Option<NoteId>) {
        let message = "the configuration has no services any more, which nobody asked to follow: nothing was \
                       changed; if that is meant: mcpctl daemon reload";
        self.last_reload = Some(format!("{}: {message}", stamp(Timestamp::now())));
        self.tell_caused(Level::Error, None, "reload_failed", note, message.to_owned(), json!({}));
    }

    fn refuse_all(&mut self, all: Vec<Wanted>, diagnostics: &str) {
        let message = "the configuration has errors: nothing was changed";
        if all.iter().any(Wanted::is_reload) {
            self.last_reload = Some(format!("{}: {message}", stamp(Timestamp::now())));
            let text = format!("{message}\n{diagnostics}");
            self.tell_own(Level::Error, None, "reload_failed", text, json!({}));
        }
        for wanted in all {
            let message = if wanted.is_reload() { message } else { "the configuration has errors" };
            let data = Map::from_iter([("diagnostics".to_owned(), diagnostics.into())]);
            wanted.refuse(ErrorObject::with(Kind::ConfigInvalid, message, data));
        }
    }

    /// One reload for all who asked for it; those who expected another plan are told so.
    fn reload_for(&mut self, loaded: &Loaded, asked: Vec<(ReloadParams, Why, Option<Reply<Reloaded>>)>) {
        let (mut restart, mut why, mut replies) = (None, None, Vec::new());
        for (params, asked, reply) in asked {
            let expected = params.plan.as_deref();
            if expected.is_none_or(|expected| self.plan(loaded, params.restart).plan.id == expected) {
                // Somebody who asked says more than a file that changed.
                why = why.filter(|why| matches!(why, Why::Asked(_))).or(Some(asked));
                restart = Some(restart.unwrap_or(false) || params.restart);
                replies.extend(reply);
            } else if let Some(reply) = reply {
                let message =
                    "a reload would not do that any more: nothing was changed; look at the plan again";
                let _ = reply.send(Err(ErrorObject::new(Kind::PlanChanged, message)));
            }
        }
        let Some(restart) = restart else { return };
        self.warn(&loaded.warnings);
        let planned = self.plan(loaded, restart);
        let done = self.apply(loaded, planned);
        let (who, cause, by) = match why {
            Some(Why::Asked(by)) => (format!("{} asked for it", by.words()), None, by.data()),
            Some(Why::Changed(note)) => ("its files changed".to_owned(), note, json!(null)),
            None => ("nobody asked".to_owned(), None, json!(null)),
        };
        let message = format!(
            "configuration reloaded, {who}: {} added, {} removed, {} restarted, {} updated, {} pending, {} unchanged",
            done.added.len(),
            done.removed.len(),
            done.restarted.len(),
            done.updated.len(),
            done.pending.len(),
            done.unchanged
        );
        self.last_reload = Some(format!("{}: {message}", stamp(Timestamp::now())));
        let mut data = json!(done);
        if let Some(data) = data.as_object_mut() {
            data.insert("by".into(), by);
        }
        let by = Some(self.tell_caused(Level::Info, None, "reload", cause, message, data));
        // Before all that was found to be done, which has it as its cause.
        self.events.push_front(Event::Reloading { by });
        self.drive();
        for reply in replies {
            let _ = reply.send(Ok(done.clone()));
        }
    }

    fn apply(&mut self, loaded: &Loaded, planned: Planned) -> Reloaded {
        let Planned { plan, works } = planned;
        for step in &plan.steps {
            if let Some(entry) = self.names.get(&step.service).and_then(|id| self.entries.get_mut(id)) {
                entry.redefined = step.keys.iter().map(|change| change.key.clone()).collect();
            }
        }
        // All have a number before one of them is defined, for they name each other.
        self.number(loaded.config.services.keys());
        let parallel_starts = loaded.config.daemon.max_parallel_starts;
        self.events.push_back(Event::Limit { parallel_starts });
        for work in works {
            match work {
                Work::Remove(service) => self.events.push_back(Event::Remove { service }),
                Work::Define(name) => {
                    if let Some(spec) = loaded.config.services.get(&name) {
                        self.define(spec, loaded, Vec::new());
                    }
                }
                Work::Redefine(name, change) => {
                    if let Some(spec) = loaded.config.services.get(&name) {
                        self.redefine(spec, loaded, change);
                    }
                }
            }
        }
        self.events.push_back(Event::Begun);
        // Places stay as they were until the daemon starts again: `needs_daemon_restart` says so.
        let daemon = DaemonSpec {
            max_parallel_starts: parallel_starts,
            auto_reload: loaded.config.daemon.auto_reload,
            ..self.config.daemon.clone()
        };
        let before = std::mem::replace(&mut self.config, loaded.config.clone());
        self.config.daemon = daemon;
        self.watch_config(loaded);
        let mut done = Reloaded {
            schema: SCHEMA,
            unchanged: plan.unchanged,
            needs_daemon_restart: plan.needs_daemon_restart,
            ..Reloaded::default()
        };
        for step in plan.steps {
            let name = step.service;
            let list = match step.action {
                StepAction::Start | StepAction::Add if !before.services.contains_key(&name) => {
                    &mut done.added
                }
                StepAction::Start | StepAction::Restart => &mut done.restarted,
                StepAction::Stop if self.config.services.contains_key(&name) => &mut done.stopped,
                StepAction::Stop | StepAction::Remove => &mut done.removed,
                StepAction::Pending => &mut done.pending,
                StepAction::Change | StepAction::Add => &mut done.updated,
            };
            list.push(name);
        }
        done
    }

    /// A service that is new, or that was being removed and is wanted again. `left`: what an earlier life of the daemon
    /// left of it.
    pub(super) fn define(&mut self, spec: &ServiceSpec, loaded: &Loaded, left: Vec<Leftover>) {
        let id = self.new_service(&spec.name);
        self.set_entry(id, spec, loaded);
        let left = self.inherits(id, spec.name.as_str().into(), left);
        self.events.push_back(Event::Define {
            service: id,
            policy: Box::new(policy(spec, self.relations(spec))),
            start: spec.enabled,
            program_missing: loaded.missing.contains_key(&spec.name),
            left,
        });
    }

    /// The number of a service; one that is new gets one.
    pub(super) fn new_service(&mut self, name: &str) -> ServiceId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = ServiceId(self.next_service);
        self.next_service += 1;
        self.names.insert(name.to_owned(), id);
        id
    }

    fn redefine(&mut self, spec: &ServiceSpec, loaded: &Loaded, change: Change) {
        let Some(id) = self.names.get(&spec.name).copied() else { return };
        let live = self.set_entry(id, spec, loaded);
        let to = Box::new(Redefinition { policy: policy(spec, self.relations(spec)), live, change });
        self.events.push_back(Event::Redefine { service: id, to });
    }

    /// Takes the new definition in; what a process that runs was started with stays until that is over. The policy that
    /// is in force until then.
    fn set_entry(&mut self, id: ServiceId, spec: &ServiceSpec, loaded: &Loaded) -> mcpd_core::Policy {
        let name = &spec.name;
        let running = self.entries.get(&id).filter(|_| !self.core.is_at_rest(id));
        let settled =
            running.map_or_else(|| spec.clone(), |entry| settle(&entry.spec, spec, self.limits(entry, spec)));
        let live = policy(&settled, self.relations(&settled));
        self.logs.define(id.0, name, &settled.log, settled.crash.tail_lines);
        let program = loaded.programs.get(name).cloned();
        let next = (settled != *spec).then(|| {
            let keys = mcpd_config::plan::changes(&settled, spec);
            Next {
                spec: Arc::new(spec.clone()),
                keys: keys.into_iter().map(|change| mcpd_config::dotted(&change.key)).collect(),
                check: self.check(spec, Probing::Health),
                ready_check: self.check(spec, Probing::Ready),
                program: program.clone(),
            }
        });
        let check = self.check(&settled, Probing::Health);
        let ready_check = self.check(&settled, Probing::Ready);
        let settled = Arc::new(settled);
        let before = self.entries.get(&id).map(|entry| entry.spec.clone());
        let entry = self.entries.entry(id).or_insert_with(|| Box::new(Entry::new(settled.clone(), None)));
        entry.spec = settled;
        entry.check = check;
        entry.ready_check = ready_check;
        entry.origin = loaded.origins.get(name).cloned();
        entry.missing = loaded.missing.get(name).cloned();
        if next.is_none() && program.is_some() {
            entry.program = program;
        }
        entry.next = next;
        entry.renewed();
        let settled = entry.spec.clone();
        self.watch_files_anew(id, before.as_deref(), &settled);
        self.limit(id);
        self.watch(id);
        live
    }

    /// Watches what `[watch]` names, if that is other than it was. Its paths are shown from the working directory on.
    fn watch_files_anew(&mut self, id: ServiceId, before: Option<&ServiceSpec>, spec: &ServiceSpec) {
        let same = |old: &ServiceSpec| {
            old.watch == spec.watch
                && (spec.watch.is_none() || old.working_directory == spec.working_directory)
        };
        if !before.is_some_and(same) {
            self.watch_files(id, spec);
        }
    }

    pub(super) fn check(&mut self, spec: &ServiceSpec, what: Probing) -> Option<Arc<HttpCheck>> {
        http_check(asks(spec, what)).unwrap_or_else(|why| {
            let what = match what {
                Probing::Health => "health",
                Probing::Ready => "ready",
            };
            let why = format!("its {what} check cannot be carried out: {why}");
            self.tell_own(Level::Error, Some(&spec.name), &format!("{what}_unusable"), why, json!({}));
            None
        })
    }

    /// Nothing is left of the run: what waited for that is in force.
    pub(super) fn take_next(&mut self, id: ServiceId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(Next { spec, keys: _, check, ready_check, program }) = entry.next.take() else { return };
        self.logs.define(id.0, &spec.name, &spec.log, spec.crash.tail_lines);
        entry.check = check;
        entry.ready_check = ready_check;
        let before = std::mem::replace(&mut entry.spec, spec.clone());
        entry.program = program.or(entry.program.take());
        entry.renewed();
        self.watch_files_anew(id, Some(&before), &spec);
        self.watch(id);
    }
}
