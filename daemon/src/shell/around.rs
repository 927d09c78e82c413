//! How is a command carried out that runs around a service: `exec_start_post`, `exec_stop`, `exec_stop_post`? As a part of
//! the run, whose tree it belongs to; its output goes into the service's log. Where there is no run, it is the first process
//! of one.

use std::time::Duration;

use mcpd_core::action::Command;
use mcpd_core::event::RunEnd;
use mcpd_core::verdict::{ServiceResult, SoFar};
use mcpd_core::{Event, Exit, Mono, ServiceId};

use super::entry::Run;
use super::message::Message;
use super::report::redactor;
use super::take::{core_exit, run_id_of};
use super::{Owner, Shell};
use crate::crash::redact;
use crate::log::Tails;
use crate::spawner::{Job, NotStarted, Part, Started};
use crate::{probe, sys, words};

/// `signal(7)`
const SIGKILL: i32 = 9;

/// The command that runs.
pub(super) struct Around {
    generation: u64,
    number: u64,
    key: sys::Key,
    began: Mono,
    timeout: Duration,
    /// It has had its time, or nobody waits for it any more.
    ended: bool,
}

/// How the last one ended.
pub(super) struct Ran {
    pub(super) generation: u64,
    pub(super) number: u64,
    /// What it said.
    pub(super) tails: Tails,
    /// None: it was not started.
    pub(super) exit: Option<sys::Exit>,
    /// One line.
    pub(super) detail: String,
}

/// One of them: of which service, in which start of it, and which command of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) service: ServiceId,
    pub(super) generation: u64,
    pub(super) number: u64,
}

impl Shell {
    pub(super) fn run_around(
        &mut self,
        place: Place,
        command: Command,
        timeout: Duration,
        so_far: Option<SoFar>,
    ) {
        let Place { service, generation, number } = place;
        let key = self.next_key;
        self.next_key += 1;
        // Without a service nobody waits for the answer.
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let mut argv = entry.command_of(command);
        let mut variables = so_far.map_or_else(Vec::new, environment);
        let run = entry.run(generation);
        if let Some(pid) = run.as_ref().and_then(|run| run.main_pid()) {
            let pid = pid.to_string();
            argv.iter_mut().for_each(|word| *word = word.replace("$MAINPID", &pid));
            variables.push(("MAINPID".to_owned(), pid));
        }
        let of = run.map(|run| run.key);
        let part = of.map(|of| Part { cgroup: self.children.cgroup(of).cloned() });
        let run_id = run_id_of(&self.boot, of.unwrap_or(key));
        let began = Mono(sys::monotonic_ns());
        entry.around = Some(Around { generation, number, key, began, timeout, ended: false });
        let spec = entry.spec.clone();
        self.owners.insert(key, Owner::Around(place));
        self.spawning += 1;
        self.spawner.submit(Job {
            key,
            spec,
            run_id,
            command: Some(argv),
            probe: None,
            variables,
            part,
            speaks: false,
            founds: None,
        });
    }

    pub(super) fn around_spawned(
        &mut self,
        key: sys::Key,
        place: Place,
        result: Result<Started, NotStarted>,
    ) {
        let Place { service, generation, .. } = place;
        let awaited = self.entries.get(&service).and_then(|entry| entry.around.as_ref());
        let awaited = awaited.is_some_and(|around| around.key == key && !around.ended);
        let started = match result {
            Ok(started) => started,
            Err(NotStarted { why, permanent }) => {
                self.owners.remove(&key);
                let why = self.entries.get(&service).map_or(why.clone(), |entry| entry.clean(&why));
                let detail = format!("could not be started: {why}");
                if let (true, Some(entry)) = (permanent, self.entries.get_mut(&service)) {
                    entry.spawn_error = Some(why);
                }
                let end = if permanent { RunEnd::Cannot } else { RunEnd::Badly(None) };
                return self.around_over(place, Tails::default(), None, detail, end);
            }
        };
        let run = self.entries.get_mut(&service).and_then(|entry| entry.run(generation));
        match run.map(|run| run.key) {
            Some(of) => {
                self.children.adopt(key, started.spawned.process, &run_id_of(&self.boot, of));
                self.children.join(key, of);
            }
            None => {
                let run_id = run_id_of(&self.boot, key);
                if awaited && let Some(entry) = self.entries.get_mut(&service) {
                    let pid = started.spawned.process.id();
                    let began = Mono(started.began);
                    let mut run = Run::new(key, generation, pid, false, began, started.secrets);
                    run.allowances = started.allowances;
                    entry.run = Some(run);
                    entry.renewed();
                    if let Some(start_ticks) = started.spawned.process.start_ticks() {
                        self.enter_register(service, &run_id, start_ticks, started.cgroup.as_deref());
                    }
                }
                self.children.adopt(key, started.spawned.process, &run_id);
            }
        }
        self.logs.attach(service.0, stream(key), started.spawned.stdout, started.spawned.stderr);
        if !awaited {
            self.kill_around(key);
        }
    }

    pub(super) fn around_exited(&mut self, key: sys::Key, place: Place, exit: sys::Exit) {
        self.owners.remove(&key);
        let Place { service, generation, .. } = place;
        let run = self.entries.get_mut(&service).and_then(|entry| entry.run(generation));
        match run.map(|run| run.tree.is_open()) {
            // It was a part of what is looked at.
            Some(true) => self.look_again(),
            Some(false) => {}
            // The run is over, and what it left goes with it.
            None => self.end_helpers_tree(key),
        }
        let outbox = self.outbox.clone();
        let done = Box::new(move |tails| {
            // Only while the daemon ends there is nobody to tell.
            let _ = outbox.blocking_send(Message::Ran { place, exit, tails });
        });
        self.logs.drain(service.0, stream(key), done);
    }

    /// It has ended, and its last words are read.
    pub(super) fn ran_around(&mut self, place: Place, exit: sys::Exit, mut tails: Tails) {
        let Some(entry) = self.entries.get(&place.service) else { return };
        let around = entry.around.as_ref().filter(|around| around.is(place));
        let took = around.map_or(Duration::ZERO, |around| Mono(sys::monotonic_ns()).since(around.began));
        let limit = around.filter(|around| around.ended).map(|around| around.timeout);
        let redactor = redactor(&entry.spec, entry.secrets_of_run());
        redact::lines(&redactor, &mut tails.stderr);
        redact::lines(&redactor, &mut tails.stdout);
        let lines = if tails.stderr.is_empty() { &tails.stdout } else { &tails.stderr };
        let last = lines.last().map_or("", |line| line.text.as_str());
        let detail = probe::exec_verdict(exit.code, exit.signal, limit, took, last).detail;
        let end = match core_exit(&exit) {
            Exit::Code(0) => RunEnd::Well,
            exit => RunEnd::Badly(Some(exit)),
        };
        self.around_over(place, tails, Some(exit), detail, end);
    }

    fn around_over(
        &mut self,
        place: Place,
        tails: Tails,
        exit: Option<sys::Exit>,
        detail: String,
        end: RunEnd,
    ) {
        let Place { service, generation, number } = place;
        if let Some(entry) = self.entries.get_mut(&service)
            && entry.around.take_if(|around| around.is(place)).is_some()
        {
            entry.ran = Some(Ran { generation, number, tails, exit, detail });
        }
        self.events.push_back(Event::RunEnded { service, generation, number, end });
    }

    /// It has had its time, or nobody waits for it any more.
    pub(super) fn end_around(&mut self, place: Place) {
        let Some(entry) = self.entries.get_mut(&place.service) else { return };
        if let Some(around) = entry.around.as_mut().filter(|around| around.is(place)) {
            around.ended = true;
            let key = around.key;
            self.kill_around(key);
        }
    }

    fn kill_around(&mut self, key: sys::Key) {
        // NotFound: it ended just now, or is not there yet.
        let _ = self.children.signal(key, SIGKILL, sys::Whom::Group);
    }
}

impl Around {
    fn is(&self, place: Place) -> bool {
        (self.generation, self.number) == (place.generation, place.number)
    }
}

/// The log path tells runs apart by their generations; these are beyond any of them.
fn stream(key: sys::Key) -> u64 {
    u64::MAX - key
}

/// `systemd.exec(5)`, `SERVICE_RESULT` and what follows there.
fn environment(so_far: SoFar) -> Vec<(String, String)> {
    let result = match so_far.result {
        ServiceResult::Success => "success",
        ServiceResult::ExitCode => "exit-code",
        ServiceResult::Signal => "signal",
        ServiceResult::CoreDump => "core-dump",
        ServiceResult::OomKill => "oom-kill",
        ServiceResult::Timeout => "timeout",
        ServiceResult::Watchdog => "watchdog",
        ServiceResult::Resources => "resources",
    };
    let (code, status) = match so_far.exit {
        None => return vec![("SERVICE_RESULT".to_owned(), result.to_owned())],
        Some(Exit::Code(code)) => ("exited", code.to_string()),
        Some(Exit::Signal { signal, core_dumped }) => {
            let name = words::signal(signal);
            let name = name.strip_prefix("SIG").map_or_else(|| signal.to_string(), str::to_owned);
            (if core_dumped { "dumped" } else { "killed" }, name)
        }
    };
    [("SERVICE_RESULT", result), ("EXIT_CODE", code), ("EXIT_STATUS", &status)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
