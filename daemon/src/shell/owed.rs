//! Reports that the last life of mcpd owes: it was killed between a failure and its report. What is in the journal and in
//! the log is made a report of; only how hard the program tried and what it had open is lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mcpd_config::ServiceSpec;
use mcpd_config::spec::{LogFormat, LogTarget};
use mcpd_core::action::{Command, Crash};
use mcpd_core::verdict::{Decision, Failure, What};
use mcpd_core::{Mono, NoteId, ServiceId};
use mcpd_proto::crash::{CrashKind, CrashReport, CrashSummary};
use mcpd_proto::log::{LogLine, Stream};

use super::Shell;
use super::message::{Message, Recorded};
use super::report::{Case, report};
use super::take::last_lines;
use crate::crash::CrashStore;
use crate::crash::owed::{Owed, owed, told};
use crate::journal::{Filter, From};
use crate::log::{Tails, read};
use crate::recorder;
use crate::spawner::secrets;

/// How far back from the last event is looked. Between a failure and its report there are seconds at most, but who is killed
/// again and again does not come to writing what the lives before have not.
const BACK: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Events that are looked at, the newest: a bound for memory.
const EVENTS: usize = 32 * 1024;

/// Events that say something about it: what a failure follows from is among them.
const SAYING: [&str; 8] =
    ["began", "started", "exited", "spawn_failed", "command_failed", "failed", "crash", "coalesced"];

/// The time of a report and that of its event are taken one after the other.
const NEAR: Duration = Duration::from_secs(2);

/// What is to be looked for, for whom.
pub(super) struct Search {
    pub(super) service: ServiceId,
    pub(super) name: Arc<str>,
    /// Where its lines are, and how many of them a report has.
    pub(super) log: Option<(LogFormat, usize)>,
}

/// A report that is owed.
pub struct Debt {
    service: ServiceId,
    owed: Owed,
    found: Found,
}

enum Found {
    /// Its report is on disk: nobody was told of it any more.
    Written(Box<CrashSummary>),
    /// What it printed.
    Nothing(Tails),
}

impl Shell {
    /// The work of finding them: it reads the journal and logs. `None`: the last life came to an orderly end.
    pub(super) fn search_for_owed(
        &self,
        store: &CrashStore,
        log_dir: PathBuf,
    ) -> Option<impl FnOnce() + Send + use<>> {
        if !self.inherited.killed {
            return None;
        }
        let services = self.entries.iter().map(|(id, entry)| Search {
            service: *id,
            name: entry.name.clone(),
            log: log_of(&entry.spec),
        });
        let services: Vec<Search> = services.collect();
        let (store, outbox) = (store.clone(), self.outbox.clone());
        let (reader, first) = (self.scribe.reader(), self.began.0);
        let began = Timestamp::now();
        Some(move || {
            let last =
                reader.newest_below(Some(first), &Filter::all(), 1).ok().and_then(|mut last| last.pop());
            let last = last.and_then(|last| last.time.parse::<Timestamp>().ok());
            let Some(from) = last.and_then(|last| last.checked_sub(BACK).ok()) else { return };
            let saying = Filter::all().only(&SAYING);
            // Who cannot read the journal has said so.
            let Ok(events) = reader.newest_in(From::Time(from), Some(first), &saying, EVENTS) else { return };
            let mut told = told(&events);
            for owed in owed(&events) {
                let Some(found) = services.iter().find(|search| *search.name == *owed.service) else {
                    continue;
                };
                let service = found.service;
                let found = match written(&store, &owed, &told) {
                    Some(summary) => {
                        told.insert(summary.id.clone());
                        Found::Written(Box::new(summary))
                    }
                    None => Found::Nothing(tails(&log_dir, found, &owed, began)),
                };
                let debt = Box::new(Debt { service, owed, found });
                if outbox.blocking_send(Message::Owed(debt)).is_err() {
                    return;
                }
            }
        })
    }

    /// Has the report made, or tells of it.
    pub(super) fn owes(&mut self, debt: Debt) {
        let Debt { service, owed, found } = debt;
        let failed = NoteId(owed.failed);
        let tails = match found {
            Found::Written(summary) => {
                self.history.crashed(&summary);
                self.tell_crash(&summary, owed.generation, Some(failed), false);
                return;
            }
            Found::Nothing(tails) => tails,
        };
        let now = self.now();
        let Some(entry) = self.entries.get(&service) else { return };
        let at = |time: Timestamp| {
            let ago = u64::try_from(now.1.duration_since(time).as_nanos()).unwrap_or(0);
            now.0.0.checked_sub(ago).map(Mono)
        };
        // Before the machine was started: that is not when mcpd was killed.
        let Some(ended) = at(owed.ended) else { return };
        let crash = Crash {
            service,
            generation: owed.generation,
            failure: failure(owed.kind),
            exit: owed.exit,
            pid: owed.process.map(|(pid, _)| pid),
            started: owed.process.and_then(|(_, started)| at(started)).unwrap_or(ended),
            ended,
            decision: Decision { what: What::AsAsked, attempt: 0, max: entry.spec.restart.max_restarts },
            command: Command::Exec(0),
            beside: None,
        };
        let words = owed.exit.is_none().then(|| owed.words.clone());
        let mut case = Case {
            crash,
            name: entry.name.clone(),
            spec: entry.spec.clone(),
            command: entry.command(),
            verdicts: Vec::new(),
            ready_verdicts: Vec::new(),
            status_text: None,
            triggered: false,
            tails,
            exit: None,
            spawn_error: Some(owed.words),
            lack: None,
            previous: None,
            lineage: Vec::new(),
            good: None,
            program: None,
            sample: None,
            secrets: None,
            trees: Default::default(),
            cgroup: None,
            now,
            host: self.host.clone(),
        };
        let outbox = self.outbox.clone();
        let generation = owed.generation;
        let done = Box::new(move |report: CrashReport, became| {
            let last_lines = last_lines(&report.stderr_tail, &report.stdout_tail);
            let recorded = Recorded { summary: report.summary(), last_lines, became };
            // Only while the daemon ends there is nobody to tell.
            let _ = outbox.blocking_send(Message::OwedRecorded { service, generation, failed, recorded });
        });
        let make = move || {
            // That of the run is not known any more; it had what its next run would have.
            let secrets = secrets(&case.spec);
            let words = words.map(|words| secrets.text(&words).into_owned());
            case.secrets = Some(secrets);
            let (mut report, complete) = report(case);
            if let Some(words) = words.filter(|_| report.kind != CrashKind::Spawn) {
                // A command after the process: how that one ended is told in the event alone.
                report.reason = words;
            }
            "unknown".clone_into(&mut report.restart.decision);
            "mcpd was killed before it had written this report; its next life made it from the journal and the log"
                .clone_into(&mut report.restart.why);
            (report, complete)
        };
        let keep = entry.spec.crash.keep;
        self.recorder.submit(recorder::Entry { report: Box::new(make), keep, done });
    }
}

/// The format of its log, and how many lines of it a report has; `None`: it has none.
pub(super) fn log_of(spec: &ServiceSpec) -> Option<(LogFormat, usize)> {
    let lines = usize::try_from(spec.crash.tail_lines).unwrap_or(usize::MAX);
    (spec.log.target == LogTarget::File).then_some((spec.log.format, lines))
}

/// Its report, if that is on disk and nobody was told of it. Generations begin anew with each life.
fn written(store: &CrashStore, owed: &Owed, told: &BTreeSet<String>) -> Option<CrashSummary> {
    let pid = owed.process.map(|(pid, _)| pid);
    let its = |report: &CrashReport| {
        report.generation == owed.generation
            && report.kind == owed.kind
            && report.pid == pid
            && !told.contains(&report.id)
    };
    store.around(&owed.service, owed.ended, NEAR).into_iter().find(its).map(|report| report.summary())
}

/// What it printed between its start and the beginning of this life.
fn tails(log_dir: &Path, search: &Search, owed: &Owed, began: Timestamp) -> Tails {
    if owed.process.is_none() {
        return Tails::default();
    }
    search.log.map_or_else(Tails::default, |log| printed(log_dir, &search.name, log, owed.lines_from, began))
}

/// The last lines that a service has in its log, of those of a time. `log`: its format, and how many of each stream.
pub(super) fn printed(
    log_dir: &Path,
    service: &str,
    (format, most): (LogFormat, usize),
    from: Timestamp,
    until: Timestamp,
) -> Tails {
    let is_its = |line: &LogLine| {
        let time = line.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        time.is_some_and(|time| time >= from && time < until)
    };
    let mut tails = Tails::default();
    // Without its log a report says less.
    let _ = read::read(log_dir, service, format, None, Some(from), &mut |lines| {
        for line in lines.into_iter().filter(is_its) {
            let tail = match line.stream {
                Some(Stream::Err) => &mut tails.stderr,
                Some(Stream::Out) | None => &mut tails.stdout,
            };
            if tail.len() >= most.saturating_mul(2) {
                tail.drain(..most);
            }
            tail.push(line);
        }
        true
    });
    for tail in [&mut tails.stderr, &mut tails.stdout] {
        tail.drain(..tail.len().saturating_sub(most));
    }
    tails
}

fn failure(kind: CrashKind) -> Failure {
    match kind {
        CrashKind::Exit => Failure::Exit,
        CrashKind::Signal => Failure::Signal,
        CrashKind::Oom => Failure::Oom,
        CrashKind::Health => Failure::Health,
        CrashKind::Watchdog => Failure::Watchdog,
        CrashKind::StartTimeout => Failure::StartTimeout,
        CrashKind::Spawn => Failure::Spawn,
        CrashKind::StopTimeout => Failure::StopTimeout,
    }
}
