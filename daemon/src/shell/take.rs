//! Which event is a message to the core?

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use mcpd_config::spec::{OnKeeperDeath, OnStop};
use mcpd_core::action::Command;
use mcpd_core::{Event, Exit, Finding, Mono, NoteId, ServiceId};
use mcpd_proto::crash::{CrashSummary, HealthVerdict};
use mcpd_proto::log::LogLine;
use serde_json::json;

use super::by::By;
use super::entry::Run;
use super::message::{About, Ask, Found, Message, Recorded};
use super::reload::Wanted;
use super::report::stamp;
use super::{Owner, Shell, estate};
use crate::journal;
use crate::keeper::Heard;
use crate::log::LogEvent;
use crate::scribe::Level;
use crate::spawner::{Answer, NotStarted, Started};
use crate::{recorder, sys};

/// Lines kept of a failed run for whoever waits for a start.
const LAST_LINES: usize = 12;

/// How often what a healthy process holds is looked at, at most.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

impl Shell {
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Keeper(Heard::Asks(number)) => self.line.answer(number),
            Message::Keeper(Heard::Dead(dead)) => {
                self.bury(&dead);
                self.collect();
            }
            Message::Keeper(Heard::Synced) => self.end_missing(),
            Message::Keeper(Heard::Gone) => self.keeper_gone(),
            Message::Spawned(answer) => self.spawned(answer),
            Message::Drained { service, generation, tails } => self.drained(service, generation, tails),
            Message::Examined { service, generation, lack } => self.examined(service, generation, lack),
            Message::CrashRecorded { service, generation, recorded } => {
                let failure = self.entries.get_mut(&service).and_then(|entry| entry.failure.take());
                self.recorded(service, generation, failure, recorded);
                self.tell_untold(service, true);
                self.events.push_back(Event::CrashRecorded { service, generation });
            }
            Message::Owed(debt) => self.owes(*debt),
            Message::OwedRecorded { service, generation, failed, recorded } => {
                self.recorded(service, generation, Some(failed), recorded);
            }
            Message::RunEnded { service, generation, number, verdict } => {
                self.ran_beside(service, generation, number, verdict);
            }
            Message::Ran { place, exit, tails } => self.ran_around(place, exit, tails),
            Message::Notified(datagram) => self.notified(datagram),
            Message::SaidReady { service, generation } => self.said_ready(service, generation),
            Message::Probed { service, generation, probe, of, verdict } => {
                let finding = verdict.finding;
                if let Some(entry) = self.entries.get_mut(&service)
                    && entry.run(generation).is_some()
                {
                    let time = stamp(Timestamp::now());
                    // What a good one says is mcpd's own words; a bad one quotes.
                    let detail = match finding {
                        Finding::Good => verdict.detail,
                        Finding::Bad | Finding::Unknown => entry.clean(&verdict.detail),
                    };
                    let verdict = HealthVerdict {
                        time,
                        ok: finding == Finding::Good,
                        unknown: finding == Finding::Unknown,
                        detail,
                    };
                    let every = if finding == Finding::Good { SAMPLE_EVERY } else { Duration::ZERO };
                    if let Some(run) = entry.run(generation) {
                        run.look(Mono(sys::monotonic_ns()), every);
                    }
                    entry.remember(of, verdict);
                }
                self.events.push_back(Event::Probed { service, generation, probe, finding });
            }
            Message::Limited { service, generation, limited } => {
                self.limited(service, generation, limited);
            }
            Message::KillHelper(key) => self.kill_helper(key),
            Message::Collect => self.collect(),
            Message::Log(event) => self.log_event(event),
            Message::Loaded(loaded) => self.loaded(*loaded),
            Message::Watch(sign) => self.watch_sign(sign),
            Message::Notifier(news) => self.notifier_says(news),
            Message::NotifierRan(owed, verdict) => owed.settle(&verdict),
            Message::Recalled { service, count, newest } => {
                if let Some(entry) = self.entries.get_mut(&service) {
                    entry.crash_count += count;
                    if entry.last_crash.is_none() {
                        entry.last_crash = newest;
                    }
                }
            }
            Message::Leftovers(told) => self.leftovers_told(told),
            Message::Register(path, why) => {
                let message = format!(
                    "{} cannot be written: {why}; should mcpd be killed, what it leaves is not recognised by its next life",
                    path.display()
                );
                self.tell_own(Level::Error, None, "register_failing", message, json!({ "path": path }));
            }
            Message::History(path, why) => {
                let message = format!(
                    "{} cannot be written: {why}; availability and groups of crashes will lack what happens until it can",
                    path.display()
                );
                self.tell_own(Level::Error, None, "history_failing", message, json!({ "path": path }));
            }
            Message::Journal(news) => self.journal_news(news),
            Message::Ask(ask) => self.ask(ask),
        }
    }

    /// A process has ended that the keeper has reaped.
    pub(super) fn bury(&mut self, dead: &sys::Dead) {
        self.children.bury(dead);
        self.buried.push(dead.pid);
    }

    /// Nobody would take over from this daemon, and nobody passes on what a service manager asks for.
    fn keeper_gone(&mut self) {
        let leaves = self.leaving || self.config.daemon.on_keeper_death == OnKeeperDeath::Leave;
        if leaves && !self.core.is_shutting_down() {
            let message = "the keeper of mcpd is gone: the services go on, and this daemon, until another mcpd takes over";
            self.tell_own(Level::Warn, None, "keeper_gone", message.into(), json!({}));
            return;
        }
        let message = "the keeper of mcpd is gone: everything is stopped".into();
        self.tell_own(Level::Error, None, "keeper_gone", message, json!({}));
        if !self.core.is_shutting_down() {
            self.shut_down(By::Keeper);
        }
    }

    /// A signal wants mcpd to end.
    pub(super) fn asked_to_end(&mut self) {
        // Nothing outlives process 1 of a container.
        let may_keep = self.line.about().is_some_and(|keeper| keeper.pid != 1);
        let keeps = may_keep && self.config.daemon.on_stop == OnStop::Keep;
        if !keeps || self.core.is_shutting_down() {
            self.shut_down(By::Signal);
            return;
        }
        self.leaving = true;
        self.line.leave();
    }

    fn journal_news(&mut self, news: journal::News) {
        match news {
            journal::News::Failing { path, error } => {
                let message = format!(
                    "events cannot be written to {}: {error}; they are kept or counted until they can",
                    path.display()
                );
                self.tell_own(Level::Error, None, "journal_failing", message, json!({ "path": path }));
            }
            journal::News::Recovered { lost } => {
                let message = match lost {
                    0 => "events are written again, none is lost".to_owned(),
                    lost => format!("events are written again; {lost} are not in the journal"),
                };
                self.tell_own(Level::Warn, None, "journal_recovered", message, json!({ "lost": lost }));
            }
            journal::News::Coalesced(coalesced) => {
                let (message, data) = (journal::words(&coalesced), journal::data(&coalesced));
                self.tell_own(Level::Warn, coalesced.service.as_deref(), "coalesced", message, data);
            }
        }
    }

    /// `failure`: the note of it.
    pub(super) fn recorded(
        &mut self,
        service: ServiceId,
        generation: u64,
        failure: Option<NoteId>,
        recorded: Recorded,
    ) {
        let Recorded { mut summary, last_lines, became } = recorded;
        let name = summary.service.clone();
        let coalesced = matches!(became, recorder::Recorded::Coalesced { .. });
        if coalesced {
            summary.id.clear();
        }
        self.history.crashed(&summary);
        let crash = self.tell_crash(&summary, generation, failure, coalesced);
        if let Some(entry) = self.entries.get_mut(&service) {
            // What an earlier life owed may come after this life's own.
            if entry.last_crash.as_ref().is_none_or(|last| last.time <= summary.time) {
                // Whoever is sent to a report is sent to one that is there.
                match &became {
                    recorder::Recorded::Coalesced { like } => summary.id.clone_from(like),
                    recorder::Recorded::Written | recorder::Recorded::Failed(_) => entry.descend(&summary),
                }
                entry.last_crash = Some(summary);
                entry.last_lines = last_lines;
            }
            entry.crash_count += 1;
        }
        self.told_recorded(&name, crash, became);
    }

    /// The event that tells of a crash and its report.
    pub(super) fn tell_crash(
        &mut self,
        crash: &CrashSummary,
        generation: u64,
        failure: Option<NoteId>,
        coalesced: bool,
    ) -> NoteId {
        let mut data =
            json!({ "kind": crash.kind, "generation": generation, "fingerprint": crash.fingerprint });
        if coalesced {
            data["coalesced"] = true.into();
        } else {
            data["crash_id"] = crash.id.clone().into();
        }
        let reason = crash.reason.clone();
        self.tell_caused(Level::Error, Some(&crash.service), "crash", failure, reason, data)
    }

    /// That reports cannot be written is said once, and once more when they can.
    fn told_recorded(&mut self, name: &str, crash: NoteId, became: recorder::Recorded) {
        match became {
            recorder::Recorded::Failed(why) => {
                self.unrecorded += 1;
                if self.unrecorded == 1 {
                    let message = format!(
                        "its crash report could not be written: {why}; crashes are told and counted without until they can"
                    );
                    let cause = Some(crash);
                    self.tell_caused(Level::Error, Some(name), "record_failed", cause, message, json!({}));
                }
            }
            recorder::Recorded::Written if self.unrecorded > 0 => {
                let lost = std::mem::take(&mut self.unrecorded);
                let message = format!("crash reports are written again; {lost} could not be");
                self.tell_own(Level::Warn, None, "record_recovered", message, json!({ "lost": lost }));
            }
            recorder::Recorded::Written | recorder::Recorded::Coalesced { .. } => {}
        }
    }

    fn ask(&mut self, ask: Ask) {
        // A client that went away does not care for its answer.
        match ask {
            Ask::DaemonStatus(reply) => drop(reply.send(Ok(self.daemon_status()))),
            Ask::Status(names, reply) => drop(reply.send(self.status_document(&names))),
            Ask::Why(name, reply) => drop(reply.send(self.known_of(&name).map(Box::new))),
            Ask::Known(name, reply) => drop(reply.send(self.select(&[name]).map(drop))),
            Ask::ServiceStatus(name, reply) => {
                let run = self.names.get(&name).and_then(|id| self.entries.get_mut(id)?.run.as_mut());
                if let Some(run) = run {
                    run.look(Mono(sys::monotonic_ns()), Duration::ZERO);
                }
                let found = self.names.get(&name).and_then(|id| {
                    let mut status = self.status_of(*id)?;
                    status.relations.required_by = self.required_by(&name);
                    let secrets = self.entries.get(id)?.secrets_of_run().cloned();
                    Some(About { service: *id, status, cgroup: self.cgroup_of(*id), secrets })
                });
                let _ = reply.send(found.ok_or_else(|| self.no_such_service(&name)));
            }
            Ask::Find(name, reply) => {
                let found = self.names.get(&name).and_then(|id| {
                    let entry = self.entries.get(id)?;
                    Some(Found {
                        service: *id,
                        log: entry.spec.log.clone(),
                        redactors: entry.shared_redactors(),
                        unread: entry.unread(),
                    })
                });
                let _ = reply.send(found.ok_or_else(|| self.no_such_service(&name)));
            }
            Ask::Command { names, verb, wait, by, reply } => self.command(&names, verb, wait, by, reply),
            Ask::Plan(params, reply) => self.want_configuration(Wanted::Plan(params, reply)),
            Ask::Reload { params, by, reply } => {
                self.want_configuration(Wanted::Reload(params, By::Client(by), Some(reply)));
            }
            Ask::HandOver { heir, reply } => {
                let handed = self.hand_over(heir);
                self.pauses = handed.is_ok();
                let _ = reply.send(handed);
            }
            Ask::Inventory(reply) => drop(reply.send(self.inventory())),
            Ask::Upgrade { program, version, by, reply } => {
                let made = self.may_make_way();
                if made.is_ok() {
                    self.make_way(program, &version, by);
                }
                let _ = reply.send(made);
            }
            Ask::Shutdown { by, reply } => {
                self.shutdowns.push(reply);
                self.shut_down(By::Client(by));
            }
        }
    }

    fn spawned(&mut self, answer: Answer) {
        let Answer { key, result } = answer;
        self.spawning -= 1;
        match self.owners.get_mut(&key) {
            Some(Owner::Service { service, generation }) => {
                let (service, generation) = (*service, *generation);
                self.service_spawned(key, service, generation, result);
            }
            Some(Owner::Helper(_)) => self.helper_spawned(key, result),
            Some(Owner::Around(place)) => {
                let place = *place;
                self.around_spawned(key, place, result);
            }
            // Every key is owned until its answer is here.
            None => {}
        }
        self.hear_unclaimed();
        // It may have ended already, and its end been left alone while its name was not known.
        if self.children.has_claimed() {
            self.collect();
        }
    }

    fn service_spawned(
        &mut self,
        key: sys::Key,
        service: ServiceId,
        generation: u64,
        result: Result<Started, NotStarted>,
    ) {
        let main = self.core.view(service).is_some_and(|view| view.command == Command::Exec(0));
        let entry = self.entries.get_mut(&service);
        match result {
            Ok(started) => {
                let spawned = started.spawned;
                let pid = spawned.process.id();
                if let Some(why) = started.cgroup_trouble {
                    let name = entry.as_ref().map(|entry| entry.name.clone());
                    self.cgroup_failing(name.as_deref(), &why);
                }
                let mut run_id = String::new();
                if let Some(entry) = self.entries.get_mut(&service) {
                    run_id = run_id_of(&self.boot, key);
                    if main {
                        entry.program = Some(started.program.clone());
                    }
                    let began = Mono(started.began);
                    let mut run = Run::new(key, generation, pid, true, began, started.secrets);
                    run.allowances = started.allowances;
                    entry.run = Some(run);
                    entry.renewed();
                    if let Some(start_ticks) = spawned.process.start_ticks() {
                        self.enter_register(service, &run_id, start_ticks, started.cgroup.as_deref());
                    }
                }
                self.children.adopt(key, spawned.process, &run_id);
                // A reload may have changed them meanwhile.
                self.limit(service);
                self.watch(service);
                self.logs.attach(service.0, generation, spawned.stdout, spawned.stderr);
                if main {
                    self.watch_program(service, &started.program, started.seen);
                }
                let at = Mono(started.began);
                self.events.push_back(Event::Spawned { service, generation, pid, at });
            }
            Err(NotStarted { why, permanent }) => {
                self.owners.remove(&key);
                if let Some(entry) = entry {
                    entry.spawn_error = Some(entry.clean(&why));
                    entry.last_lines.clear();
                }
                self.events.push_back(Event::SpawnFailed { service, generation, permanent });
            }
        }
    }

    /// Writes down what runs, should mcpd be killed.
    pub(super) fn enter_register(
        &self,
        service: ServiceId,
        run_id: &str,
        start_ticks: u64,
        cgroup: Option<&Path>,
    ) {
        let Some(entry) = self.entries.get(&service) else { return };
        let Some(run) = &entry.run else { return };
        let spec = &entry.spec;
        let run = mcpd_proto::run::Run {
            service: spec.name.clone(),
            run_id: run_id.to_owned(),
            generation: run.generation,
            pid: run.pid,
            start_ticks,
            stop_signal: spec.stop_signal.number(),
            stop_timeout_seconds: spec.stop_timeout.as_secs_f64(),
            cgroup: cgroup.map(|path| path.display().to_string()),
        };
        self.register.began(stamp(Timestamp::now()), run);
    }

    /// Reaps whatever is dead, until nothing is: what a look at a tree found dead is no zombie either when a client is
    /// told that nothing is left.
    pub(super) fn collect(&mut self) {
        let mut collected = Vec::new();
        loop {
            let mut ledger = self.estate.ledger();
            let note = &mut |end: sys::Ending<'_>| estate::note_end(ledger.as_deref_mut(), end);
            self.children.collect(self.spawning > 0, note, &mut collected);
            if collected.is_empty() {
                break;
            }
            self.collected(&mut collected);
        }
    }

    fn collected(&mut self, collected: &mut Vec<sys::Collected>) {
        let mut orphans = false;
        for one in collected.drain(..) {
            match one {
                sys::Collected::Main { key, exit } => self.main_ended(key, exit),
                sys::Collected::Orphan { .. } => orphans = true,
            }
        }
        if orphans {
            self.look_again();
        }
    }

    pub(super) fn main_ended(&mut self, key: sys::Key, exit: sys::Exit) {
        match self.owners.get(&key) {
            Some(Owner::Service { service, generation }) => {
                let (service, generation) = (*service, *generation);
                let (how, oom) = (core_exit(&exit), exit.oom);
                if exit.code.is_none() && exit.signal.is_none() {
                    let name = self.entries.get(&service).map(|entry| entry.name.clone());
                    let message = "its process is gone, and nobody has seen how it ended".into();
                    self.tell_own(Level::Warn, name.as_deref(), "end_unseen", message, json!({}));
                }
                if let Some(run) = self.entries.get_mut(&service).and_then(|entry| entry.run(generation)) {
                    run.exit = Some(exit);
                }
                self.events.push_back(Event::Exited { service, generation, exit: how, oom });
            }
            Some(Owner::Helper(_)) => self.helper_exited(key, &exit),
            Some(Owner::Around(place)) => {
                let place = *place;
                self.around_exited(key, place, exit);
            }
            None => {}
        }
    }

    /// A run has none of the cgroups that there are.
    fn cgroup_failing(&mut self, service: Option<&str>, why: &str) {
        let message = format!("it runs without a cgroup of its own: {why}");
        match service {
            Some(service) => self.tell_of(Level::Warn, service, "cgroup_failing", message, json!({})),
            None => drop(self.tell_own(Level::Warn, None, "cgroup_failing", message, json!({}))),
        }
    }

    fn log_event(&mut self, event: LogEvent) {
        match event {
            LogEvent::Failing { name, path, error, .. } => {
                let message = format!(
                    "its log cannot be written to {}: {error}; lines are counted and dropped until it can",
                    path.display()
                );
                self.tell_own(Level::Error, Some(&name), "log_failing", message, json!({ "path": path }));
            }
            LogEvent::RotationFailing { name, path, error, .. } => {
                let message = format!(
                    "its log {} cannot be rotated: {error}; it grows over log.max_size, nothing is lost",
                    path.display()
                );
                let data = json!({ "path": path });
                self.tell_own(Level::Error, Some(&name), "log_rotation_failing", message, data);
            }
            LogEvent::Recovered { name, path, dropped_lines, dropped_bytes, .. } => {
                let message = format!(
                    "its log is written to {} again; {dropped_lines} lines ({dropped_bytes} bytes) were dropped",
                    path.display()
                );
                let data = json!({ "dropped_lines": dropped_lines, "dropped_bytes": dropped_bytes });
                self.tell_own(Level::Warn, Some(&name), "log_recovered", message, data);
            }
        }
    }
}

/// `MCPD_RUN_ID`: which run of which life of mcpd a process belongs to.
pub(super) fn run_id_of(boot: &str, key: sys::Key) -> String {
    format!("{boot}-{key:x}")
}

pub(super) fn core_exit(exit: &sys::Exit) -> Exit {
    match (exit.signal, exit.code) {
        (Some(signal), _) => Exit::Signal { signal, core_dumped: exit.core_dumped },
        (None, code) => Exit::Code(code.unwrap_or(-1)),
    }
}

/// What somebody who waits for a start wants to see: the end of stderr, or of stdout when stderr is silent.
pub(super) fn last_lines(stderr: &[LogLine], stdout: &[LogLine]) -> Vec<LogLine> {
    let lines = if stderr.is_empty() { stdout } else { stderr };
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}
