//! The core's notes, in words.

use mcpd_core::action::{Command, Note, NoteId, NoteKind, Then, UpBy};
use mcpd_core::view::Effect;
use mcpd_core::{Condition, Exit, Mono, WaitingFor};
use mcpd_proto::SCHEMA;
use mcpd_proto::event::Event;
use serde_json::{Map, Value, json};

use super::Shell;
use super::by::By;
use super::earlier::process_list;
use super::entry::{Entry, Run};
use super::report::stamp;
use crate::scribe::Level;
use crate::words;

impl Shell {
    /// Writes a note down.
    pub(super) fn tell(&mut self, note: &Note) {
        let (level, event) = self.in_words(note);
        self.tell_event(level, event);
    }

    fn in_words(&self, note: &Note) -> (Level, Event) {
        let entry = note.service.and_then(|id| self.entries.get(&id)).map(|entry| &**entry);
        let whose =
            entry.map(|entry| &entry.name).or_else(|| note.service.and_then(|id| self.ghost_name(id)));
        let spawn_error = entry.and_then(|entry| entry.spawn_error.as_deref());
        let verdict = entry.and_then(|entry| entry.verdicts.back()).map(|verdict| verdict.detail.as_str());
        let mut data = Map::new();
        if note.generation > 0 {
            data.insert("generation".into(), note.generation.into());
        }
        let inherited = match note.kind {
            NoteKind::Inherited { .. } => note.service.map(|id| self.inherited_words(id, &mut data)),
            _ => None,
        };
        let run = entry.and_then(|entry| entry.run.as_ref()).filter(|run| run.generation == note.generation);
        let mut left_names = run.iter().flat_map(|run| run.left_names());
        let mut killed = run.iter().flat_map(|run| run.killed_names());
        let names = (words::process_names(left_names.clone()), words::process_names(killed.clone()));
        let mut put = |key: &str, value: Value| drop(data.insert(key.into(), value));
        let name_of = |other| self.name_of(other);
        let (level, name, message) = match &note.kind {
            NoteKind::Asked(verb) => {
                put("verb", words::verb(*verb).into());
                let who = self.asking.as_ref().map_or_else(
                    || "somebody".to_owned(),
                    |by| {
                        put("by", by.data());
                        by.words()
                    },
                );
                (Level::Info, "asked", format!("{who} asked for {}", words::verb(*verb)))
            }
            NoteKind::Wanted { by } => {
                put("by", name_of(*by).into());
                (Level::Info, "wanted", format!("{} is started and wants it up", name_of(*by)))
            }
            NoteKind::Waiting { on } => {
                put("on", json!(on.service().map(name_of)));
                let level = if *on == WaitingFor::Place { Level::Debug } else { Level::Info };
                (level, "waiting", self.waiting(Some(*on)))
            }
            NoteKind::Spawning => {
                (Level::Debug, "spawning", format!("starting, generation {}", note.generation))
            }
            NoteKind::Started { pid } => {
                put("pid", (*pid).into());
                let command = note.service.and_then(|id| self.core.view(id)).map(|view| view.command);
                let what = match command {
                    Some(Command::StartPre(_)) => "exec_start_pre ",
                    Some(
                        Command::Exec(_)
                        | Command::StartPost(_)
                        | Command::Reload(_)
                        | Command::Stop(_)
                        | Command::StopPost(_),
                    )
                    | None => "",
                };
                (Level::Info, "started", format!("{what}started, pid {pid}"))
            }
            NoteKind::Up { after, by } => {
                let after = words::span(*after);
                let how = match by {
                    UpBy::Ready => "up: ready",
                    UpBy::Health => "up: healthy",
                    UpBy::Completion => "up: all its commands have ended well,",
                    UpBy::StartPost => "up: exec_start_post has ended well,",
                    UpBy::StartPeriod => "up: not healthy yet, its start period is over",
                };
                (Level::Info, "up", format!("{how} after {after}"))
            }
            NoteKind::SpawnFailed { command, ignored } => {
                let why = spawn_error.unwrap_or("the system did not say why");
                let (level, so) =
                    if *ignored { (Level::Info, ", which is ignored") } else { (Level::Error, "") };
                let place = place_before(entry, *command);
                (level, "spawn_failed", format!("{place}could not be started: {why}{so}"))
            }
            NoteKind::Exited { command, ignored, exit, expected } => {
                put("expected", (*expected).into());
                match exit {
                    Exit::Code(code) => put("exit_code", (*code).into()),
                    Exit::Signal { signal, .. } => put("signal", words::signal(*signal).into()),
                }
                let well = *expected || *ignored || *exit == Exit::Code(0);
                let level = if well { Level::Info } else { Level::Warn };
                let so = match (*expected, *ignored) {
                    (true, _) => ", as it was asked to",
                    (false, true) => ", which is ignored",
                    (false, false) => "",
                };
                let place = place_before(entry, *command);
                (level, "exited", format!("{place}{}{so}", words::exit(*exit)))
            }
            NoteKind::Crashed { failure } => {
                put("kind", json!(words::kind(*failure)));
                (Level::Debug, "failed", format!("failed: {}", words::failure(*failure)))
            }
            NoteKind::Stopping { why } => {
                (Level::Info, "stopping", format!("stopping: {}", words::stop_cause(*why, name_of)))
            }
            NoteKind::Killing => {
                put("processes", process_list(&mut killed));
                let whom = if names.1.is_empty() { "everything of it" } else { &names.1 };
                (Level::Warn, "killing", format!("did not end within stop_timeout: SIGKILL to {whom}"))
            }
            NoteKind::StillAlive => {
                (Level::Error, "still_alive", "not even SIGKILL has ended it: it waits in the kernel".into())
            }
            NoteKind::Leftovers { left } => {
                put("left", (*left).into());
                put("processes", process_list(&mut left_names));
                let count = words::processes(usize::try_from(*left).unwrap_or(usize::MAX));
                let message = format!("{count} outlived the main process, ended now: {}", names.0);
                (Level::Warn, "leftovers", message)
            }
            NoteKind::Inherited { left } => {
                put("left", (*left).into());
                (Level::Warn, "leftovers", inherited.unwrap_or_default())
            }
            NoteKind::ProbeFailed => (
                Level::Warn,
                "probe_failed",
                format!("health check failed: {}", verdict.unwrap_or("no verdict")),
            ),
            NoteKind::Unhealthy { failures } => {
                put("failures", (*failures).into());
                let detail = verdict.unwrap_or("no verdict");
                (
                    Level::Error,
                    "unhealthy",
                    format!("health check failed {failures} times in a row: {detail}"),
                )
            }
            NoteKind::Healthy => {
                (Level::Info, "healthy", format!("healthy: {}", verdict.unwrap_or("the check succeeded")))
            }
            NoteKind::ProbeLost => (Level::Warn, "probe_lost", "a check brought no verdict at all".into()),
            NoteKind::ProbeUnknown => {
                let why = verdict.unwrap_or("no verdict");
                (Level::Warn, "probe_unknown", format!("its health is unknown: {why}"))
            }
            NoteKind::ProbeKnown => {
                let found = verdict.unwrap_or("the check was carried out");
                (Level::Info, "probe_known", format!("its health is known again: {found}"))
            }
            NoteKind::Backoff { delay, attempt } => {
                put("delay_seconds", delay.as_secs_f64().into());
                put("attempt", (*attempt).into());
                let when = words::span(*delay);
                (Level::Info, "backoff", format!("restart {attempt} in a row, {when} after it ended"))
            }
            NoteKind::Parked(why) => {
                let detail = entry.and_then(|entry| entry.park_detail(*why));
                (Level::Error, "parked", format!("parked: {}", words::park_reason(*why, detail.as_deref())))
            }
            NoteKind::Down(why) => {
                let reason = match entry {
                    Some(entry) => entry.down_reason(*why, name_of),
                    None => words::down_reason(*why, name_of),
                };
                (Level::Info, "down", reason)
            }
            NoteKind::Opened(condition) => {
                put("condition", words::condition(*condition).into());
                // What the others are was said with the note that brought them about.
                let level = if *condition == Condition::Flapping { Level::Error } else { Level::Debug };
                (level, "condition_opened", words::opened(*condition))
            }
            NoteKind::Closed { condition, after } => {
                put("condition", words::condition(*condition).into());
                put("after_seconds", after.as_secs_f64().into());
                let level = match condition {
                    Condition::Failing | Condition::Flapping => Level::Info,
                    Condition::Parked | Condition::Unhealthy => Level::Debug,
                };
                let what = words::condition(*condition);
                (level, "condition_closed", format!("no longer {what}, after {}", words::span(*after)))
            }
            NoteKind::Reloading => (Level::Info, "reloading", "it reloads its configuration".into()),
            NoteKind::Reloaded => (Level::Info, "reloaded", "it has reloaded its configuration".into()),
            NoteKind::ReloadFailed => {
                let why = entry.and_then(|entry| entry.beside_detail.as_deref()).unwrap_or("it did not end");
                (Level::Error, "reload_failed", format!("exec_reload failed: {why}"))
            }
            NoteKind::Runs(command) => {
                let (place, argv) = entry.map_or_else(Default::default, |entry| {
                    let argv = entry.clean_command(entry.command_of(*command));
                    (entry.place_of(*command), argv.join(" "))
                });
                put("phase", words::key_of(*command).into());
                (Level::Info, "command", format!("runs {place}: {argv}"))
            }
            NoteKind::RunFailed(command) => {
                let why = entry.and_then(|entry| entry.ran.as_ref()).map(|ran| ran.detail.as_str());
                put("phase", words::key_of(*command).into());
                let place = entry.map_or_else(Default::default, |entry| entry.place_of(*command));
                let why = why.unwrap_or("it did not end");
                (Level::Error, "command_failed", format!("{place} failed: {why}"))
            }
            NoteKind::ReloadSlow => (
                Level::Warn,
                "reload_slow",
                "has not said within start_timeout that it has reloaded: going on without".into(),
            ),
            NoteKind::CountersReset => {
                (Level::Info, "counters_reset", "a stable run: the restart counters start again".into())
            }
            NoteKind::SpawnSlow => {
                (Level::Warn, "spawn_slow", "the system has not started it within start_timeout yet".into())
            }
            NoteKind::RecordSlow => {
                (Level::Warn, "record_slow", "its crash report is not on disk yet: going on without".into())
            }
            NoteKind::DrainSlow => {
                (Level::Warn, "drain_slow", "its last output has not been read yet: going on without".into())
            }
            NoteKind::Redefined { effect } => {
                put("restart", (*effect == Effect::Restart).into());
                put("pending", (*effect == Effect::Pending).into());
                let keys = entry.map(|entry| &entry.redefined);
                put("keys", json!(keys));
                let message = match effect {
                    Effect::Live | Effect::Restart | Effect::Start => "its configuration changed",
                    Effect::Pending => "its configuration changed; its process goes on until its next start",
                };
                (Level::Info, "redefined", message.into())
            }
            NoteKind::Removed => (Level::Info, "removed", "removed from the configuration".into()),
            NoteKind::FilesChanged { then } => {
                let changed = entry.map_or_else(String::new, |entry| entry.changes.words());
                let what = match then {
                    Then::Restart => "restarting".to_owned(),
                    Then::Start => "starting".to_owned(),
                    Then::Reload => "reloading".to_owned(),
                    Then::Signal(signal) => format!("sending {}", words::signal(*signal)),
                };
                put("then", json!(words::then(*then)));
                (Level::Info, "files_changed", format!("{what}: {changed}"))
            }
            NoteKind::Stale { what } => {
                let changed = entry.and_then(|entry| entry.stale.clone());
                put("what", words::stale(*what).into());
                put("changed", json!(changed));
                (Level::Warn, "stale", words::stale_reason(*what, changed.as_deref()))
            }
            NoteKind::ConfigChanged => {
                (Level::Info, "config_changed", format!("reloading: {}", self.config_changes.words()))
            }
            NoteKind::ProgramChanged => {
                let changed = entry.map_or_else(String::new, |entry| entry.program_changes.words());
                (Level::Info, "program_changed", format!("no longer parked, starting: {changed}"))
            }
            NoteKind::WatchSuspended { times } => {
                let changed = entry.map_or_else(String::new, |entry| entry.changes.words());
                put("times", (*times).into());
                (Level::Error, "watch_suspended", words::watch_suspended(*times, &changed))
            }
            NoteKind::ShuttingDown => {
                let by = self.asking.as_ref();
                put("by", json!(by.map(By::data)));
                let who = by.map_or_else(String::new, |by| format!(": {} asked for it", by.words()));
                (Level::Info, "shutting_down", format!("stopping everything{who}"))
            }
        };
        let event = Event {
            schema: SCHEMA,
            id: note.id.0,
            cause: note.cause.map(|cause| cause.0),
            time: stamp(self.wall(note.at)),
            service: whose.map(|name| name.to_string()),
            event: name.into(),
            message,
            data: Value::Object(data),
        };
        (level, event)
    }

    /// Nothing is left of a run, and this had to be done for it.
    pub(super) fn tell_killed(&mut self, service: &str, run: &Run) {
        if !run.killed.is_empty() {
            let names = words::process_names(run.killed_names());
            let data =
                json!({ "generation": run.generation, "processes": process_list(&mut run.killed_names()) });
            let message = format!("nothing is left of it; SIGKILL went to {names}");
            self.tell_of(Level::Warn, service, "killed", message, data);
        }
    }

    /// Writes something down that the shell noticed by itself.
    pub(super) fn tell_own(
        &mut self,
        level: Level,
        service: Option<&str>,
        event: &str,
        message: String,
        data: Value,
    ) -> NoteId {
        self.tell_caused(level, service, event, None, message, data)
    }

    /// The same of something that another note brought about.
    pub(super) fn tell_caused(
        &mut self,
        level: Level,
        service: Option<&str>,
        event: &str,
        cause: Option<NoteId>,
        message: String,
        data: Value,
    ) -> NoteId {
        let id = self.core.claim_note();
        let event = Event {
            schema: SCHEMA,
            id: id.0,
            cause: cause.map(|cause| cause.0),
            time: stamp(self.wall(Mono(crate::sys::monotonic_ns()))),
            service: service.map(str::to_owned),
            event: event.into(),
            message,
            data,
        };
        self.tell_event(level, event);
        id
    }

    /// The same of something that the state brought about in which a service is.
    pub(super) fn tell_of(&mut self, level: Level, service: &str, event: &str, message: String, data: Value) {
        let view = self.names.get(service).and_then(|id| self.core.view(*id));
        self.tell_caused(level, Some(service), event, view.and_then(|view| view.last_note), message, data);
    }

    /// While actions are performed the shell has its own say between the core's notes, which have their numbers already:
    /// then all are written down together, by number.
    fn tell_event(&mut self, level: Level, event: Event) {
        self.told.push((level, event));
        if !self.performing {
            self.write_down();
        }
    }

    pub(super) fn write_down(&mut self) {
        if !self.told.is_empty() {
            self.told.sort_by_key(|(_, event)| event.id);
            self.scribe.write(self.told.drain(..));
        }
    }
}

/// Which command of several it was, before what is told of it: "exec_start_pre, 1 of 2: ".
fn place_before(entry: Option<&Entry>, command: Command) -> String {
    match entry.map(|entry| entry.place_of(command)) {
        Some(place) if place != "exec" => format!("{place}: "),
        Some(_) | None => String::new(),
    }
}
