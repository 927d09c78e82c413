//! What does an action come to on this machine?

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use mcpd_core::action::{Command, Crash};
use mcpd_core::view::StateView;
use mcpd_core::{Action, Event, Note, NoteKind, ServiceId, Whom};
use mcpd_proto::crash::{CrashReport, ProcessName};
use mcpd_proto::history::Is;
use serde_json::json;

use super::around::{Place, Ran};
use super::message::{Message, Recorded};
use super::report::{Case, report, wall};
use super::take::{last_lines, run_id_of};
use super::{Owner, Shell};
use crate::crash::changed::Good;
use crate::log::Tails;
use crate::scribe::Level;
use crate::spawner::{Founding, Job, pipes_of};
use crate::watch::Changes;
use crate::{recorder, sys, words};

/// `signal(7)`
const SIGKILL: i32 = 9;

impl Shell {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { service, generation, command, first } => {
                if first {
                    self.take_next(service);
                }
                self.spawn(service, generation, command);
            }
            Action::Signal { service, generation, signal, whom } => {
                self.signal(service, generation, signal, whom);
            }
            Action::Settle { service, generation } => self.settle(service, generation),
            Action::SignalTree { service, generation: 0, signal } => self.signal_inherited(service, signal),
            Action::SignalTree { service, generation, signal } => {
                if let Some(run) = self.entries.get_mut(&service).and_then(|entry| entry.run(generation)) {
                    if signal == SIGKILL {
                        run.kills(self.children.living(run.key));
                    }
                    self.children.signal_leftovers(run.key, signal);
                }
            }
            Action::RecordCrash(crash) => self.record(*crash),
            Action::Forget { service, generation: 0 } => self.inherited_gone(service),
            Action::Forget { service, generation } => {
                let now = self.now();
                if let Some(entry) = self.entries.get_mut(&service)
                    && let Some(run) = entry.run.take_if(|run| run.generation == generation)
                {
                    entry.secrets = Some(run.secrets.clone());
                    if run.main && !run.failed {
                        let since = wall(now, run.began);
                        entry.good = Some(Box::new(Good { spec: entry.spec.clone(), since }));
                    }
                    let cgroup = self.children.forget(run.key);
                    self.owners.remove(&run.key);
                    self.line.drop_kept(&pipes_of(run.key));
                    self.register.ended(run_id_of(&self.boot, run.key), cgroup);
                    let name = entry.name.clone();
                    self.tell_killed(&name, &run);
                }
                // Between two commands of a start it waits.
                if self.core.is_at_rest(service) {
                    self.take_next(service);
                }
            }
            Action::Run {
                service,
                generation,
                number,
                command: command @ Command::Reload(_),
                timeout,
                ..
            } => {
                self.run_beside(service, generation, number, command, timeout);
            }
            Action::Run { service, generation, number, command, timeout, so_far } => {
                self.run_around(Place { service, generation, number }, command, timeout, so_far);
            }
            Action::EndRun { service, generation, number } => {
                self.end_run(service, generation, number);
                self.end_around(Place { service, generation, number });
            }
            Action::Look { service, generation } => self.look(service, generation),
            Action::Probe { service, generation, probe, of } => {
                self.probe(service, generation, probe, of);
            }
            Action::Reply { request, service, outcome } => self.replied(request, service, &outcome),
            Action::Note(note) => {
                if note.kind == NoteKind::SpawnSlow {
                    self.spawner.relieve();
                }
                if note.kind == NoteKind::ProbeLost {
                    self.probe_lost(note.service);
                }
                if note.kind == NoteKind::CountersReset {
                    self.stable(note.service);
                }
                self.mark(&note);
                self.grown_stale(&note);
                self.tell(&note);
                self.remember_available(&note);
                self.notify_of(&note);
                self.consequences_told(&note);
                self.systemd.changed();
            }
            Action::Removed { service } => {
                self.logs.remove(service.0);
                self.unwatch(service);
                let name = self.entries.remove(&service).map(|entry| entry.name);
                if let Some(name) = &name {
                    self.history.turned(name, Is::Off, Timestamp::now());
                }
                if let Some(name) = name.or_else(|| self.forget_ghost(service))
                    && self.names.get(&*name) == Some(&service)
                {
                    self.names.remove(&*name);
                }
            }
            // Nothing is left to wait for because all of it is being stopped.
            Action::Ready if self.core.is_shutting_down() => {}
            Action::Ready => {
                let summary = self.summary();
                let (cause, message) = (Some(self.began), format!("ready: {summary}"));
                self.tell_caused(Level::Info, None, "ready", cause, message, json!({}));
                self.systemd.ready(&summary);
            }
            Action::Reload => self.follow(self.config_changed),
            Action::Finished => self.all_down(),
        }
    }

    /// Keeps the notes that are the causes of what the shell has to say later.
    pub(super) fn mark(&mut self, note: &Note) {
        if note.kind == NoteKind::ConfigChanged {
            self.config_changed = Some(note.id);
        } else if note.kind == NoteKind::ShuttingDown {
            self.ending = Some(note.id);
        } else if let NoteKind::Crashed { .. } = note.kind
            && let Some(entry) = note.service.and_then(|service| self.entries.get_mut(&service))
        {
            entry.failure = Some(note.id);
        }
    }

    fn spawn(&mut self, service: ServiceId, generation: u64, command: Command) {
        let key = self.next_key;
        self.next_key += 1;
        let Some(entry) = self.entries.get_mut(&service) else {
            // Every spawn is answered, whatever happened to the service meanwhile.
            self.events.push_back(Event::SpawnFailed { service, generation, permanent: false });
            return;
        };
        entry.verdicts.clear();
        entry.ready_verdicts.clear();
        entry.status_text = None;
        entry.spawn_error = None;
        entry.lack = None;
        // It will see what is there now.
        entry.changes = Changes::default();
        entry.program_changes = Changes::default();
        entry.stale = None;
        self.owners.insert(key, Owner::Service { service, generation });
        self.spawning += 1;
        let run_id = run_id_of(&self.boot, key);
        let command = match command {
            Command::Exec(0) => None,
            Command::Exec(_)
            | Command::StartPre(_)
            | Command::StartPost(_)
            | Command::Reload(_)
            | Command::Stop(_)
            | Command::StopPost(_) => Some(entry.command_of(command)),
        };
        let founding = Founding {
            service: service.0,
            generation,
            run_id: run_id.clone(),
            streams: Vec::new(),
            began: 0,
            cgroup: None,
        };
        self.spawner.submit(Job {
            key,
            spec: entry.spec.clone(),
            run_id,
            command,
            probe: None,
            variables: Vec::new(),
            part: None,
            speaks: true,
            founds: Some(founding),
        });
    }

    fn signal(&mut self, service: ServiceId, generation: u64, signal: i32, whom: Whom) {
        if self.core.view(service).is_some_and(|view| matches!(view.state, StateView::Stopping(_))) {
            self.kill_helpers_of(service, generation);
        }
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let name = entry.name.clone();
        let Some(run) = entry.run(generation) else { return };
        let whom = match whom {
            Whom::Main => sys::Whom::Main,
            Whom::Group => sys::Whom::Group,
        };
        let all = signal == SIGKILL && whom == sys::Whom::Group;
        let living = if all { self.children.living(run.key) } else { Vec::new() };
        match self.children.signal(run.key, signal, whom) {
            Ok(()) => run.kills(living),
            // It ended just now: its end is on its way.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("{} could not be sent: {error}", words::signal(signal));
                self.tell_of(Level::Debug, &name, "signal_failed", message, json!({}));
            }
        }
    }

    /// The main process is dead: its last words, and what is left of its tree.
    fn settle(&mut self, service: ServiceId, generation: u64) {
        let outbox = self.outbox.clone();
        let done = Box::new(move |tails| {
            // Only while the daemon ends there is nobody to tell.
            let _ = outbox.blocking_send(Message::Drained { service, generation, tails });
        });
        self.logs.drain(service.0, generation, done);
        self.look(service, generation);
    }

    /// What is left of the process tree, from now on until nothing is?
    fn look(&mut self, service: ServiceId, generation: u64) {
        if self.entries.get_mut(&service).and_then(|entry| entry.run(generation)).is_none() {
            // Not one process of it was ever there.
            self.events.push_back(Event::TreeLeft { service, generation, left: 0 });
            return;
        }
        self.kill_helpers_of(service, generation);
        self.look_at_tree(service);
        self.collect();
    }

    /// It has run for so long that earlier crashes count no more.
    fn stable(&mut self, service: Option<ServiceId>) {
        let now = self.now();
        let Some(entry) = service.and_then(|service| self.entries.get_mut(&service)) else { return };
        entry.lineage = VecDeque::new();
        entry.good_run(now);
    }

    fn record(&mut self, crash: Crash) {
        let now = self.now();
        let Some(entry) = self.entries.get_mut(&crash.service) else { return };
        let (service, generation, keep) = (crash.service, crash.generation, entry.spec.crash.keep);
        // Until it crashed it was as good as a run can be.
        if crash.ended.since(crash.started) >= entry.spec.restart.reset_after && crash.pid.is_some() {
            entry.good_run(now);
        }
        let verdicts = entry.verdicts.iter().cloned().collect();
        let ready_verdicts = entry.ready_verdicts.iter().cloned().collect();
        let command = entry.command_of(crash.command);
        let run = entry.run.as_mut().filter(|run| run.generation == generation);
        let names = |names: &mut dyn Iterator<Item = (u32, &str)>| -> Vec<ProcessName> {
            names.map(|(pid, name)| ProcessName { pid, name: name.to_owned() }).collect()
        };
        let trees = run.as_ref().map(|run| (names(&mut run.left_names()), names(&mut run.killed_names())));
        let sample = run.as_ref().and_then(|run| run.sample);
        let triggered = run.as_ref().is_some_and(|run| run.triggered);
        let cgroup = run.as_ref().and_then(|run| self.children.cgroup(run.key)).cloned();
        let (tails, exit, secrets) = run.map_or((None, None, None), |run| {
            run.failed = true;
            (run.tails.take(), run.exit.clone(), Some(run.secrets.clone()))
        });
        let mut tails = tails.map(Arc::unwrap_or_clone).unwrap_or_default();
        let (mut exit, mut spawn_error) = (exit, entry.spawn_error.clone());
        if let Some(beside) = crash.beside {
            // It was a command around the process: what that one said and used.
            let is = |ran: &Ran| (ran.generation, ran.number) == (generation, beside.number);
            (tails, exit) = (Tails::default(), None);
            if let Some(ran) = entry.ran.take_if(|ran| is(ran)) {
                spawn_error = Some(ran.detail);
                (tails, exit) = (ran.tails, ran.exit);
            }
        }
        let case = Case {
            crash,
            name: entry.name.clone(),
            spec: entry.spec.clone(),
            command,
            verdicts,
            ready_verdicts,
            status_text: entry.status_text.clone(),
            triggered,
            tails,
            exit,
            spawn_error,
            lack: entry.lack.clone(),
            previous: entry.last_crash.as_ref().map(|crash| crash.id.clone()),
            lineage: entry.lineage.iter().cloned().collect(),
            good: entry.good.as_deref().cloned(),
            program: entry.program.clone(),
            sample,
            secrets,
            trees: trees.unwrap_or_default(),
            cgroup,
            now,
            host: self.host.clone(),
        };
        let outbox = self.outbox.clone();
        let done = Box::new(move |report: CrashReport, became| {
            let last_lines = last_lines(&report.stderr_tail, &report.stdout_tail);
            let recorded = Recorded { summary: report.summary(), last_lines, became };
            // Only while the daemon ends there is nobody to tell.
            let _ = outbox.blocking_send(Message::CrashRecorded { service, generation, recorded });
        });
        self.recorder.submit(recorder::Entry { report: Box::new(move || report(case)), keep, done });
    }
}
