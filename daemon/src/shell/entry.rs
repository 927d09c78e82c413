//! What the shell knows of a service besides what the core decides by: names, texts, handles.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mcpd_config::ServiceSpec;
use mcpd_core::action::{Command, DownReason, Probing};
use mcpd_core::verdict::ParkReason;
use mcpd_core::{Mono, NoteId, ServiceId};
use mcpd_proto::crash::{Ancestor, CrashSummary, HealthVerdict};
use mcpd_proto::history::Is;
use mcpd_proto::log::LogLine;

use super::around::{Around, Ran};
use super::hooks::Beside;
use super::report::wall;
use super::tree::Tree;
use crate::crash::changed::Good;
use crate::crash::lack::Lack;
use crate::crash::redact::Redactor;
use crate::log::Tails;
use crate::probe::HttpCheck;
use crate::spawner::Secrets;
use crate::watch::Changes;
use crate::{sys, words};

/// Verdicts kept for a report.
const VERDICTS: usize = 5;

/// Earlier crashes of the same row that a report names.
const ANCESTORS: usize = 10;

/// One service.
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    /// In force: of a run that is older than the configuration what it was started with, and the settings since then.
    pub(super) spec: Arc<ServiceSpec>,
    /// In force once this run is over.
    pub(super) next: Option<Next>,
    /// The file and line that define it.
    pub(super) origin: Option<String>,
    /// The health check, ready to be asked, when it is an HTTP one.
    pub(super) check: Option<Arc<HttpCheck>>,
    /// The same for readiness.
    pub(super) ready_check: Option<Arc<HttpCheck>>,
    /// Why its program could not be found when the configuration was read.
    pub(super) missing: Option<String>,
    /// The newest verdicts of the present run, oldest first.
    pub(super) verdicts: VecDeque<HealthVerdict>,
    /// Those of the question whether it is ready.
    pub(super) ready_verdicts: VecDeque<HealthVerdict>,
    /// What it last said of itself, STATUS=.
    pub(super) status_text: Option<String>,
    pub(super) run: Option<Run>,
    /// What runs beside it.
    pub(super) beside: Option<Beside>,
    /// How the last command beside it ended.
    pub(super) beside_detail: Option<String>,
    /// The command of `exec_start_post`, `exec_stop` or `exec_stop_post` that runs.
    pub(super) around: Option<Around>,
    /// How the last of those ended.
    pub(super) ran: Option<Ran>,
    /// Why the last spawn brought no process.
    pub(super) spawn_error: Option<String>,
    /// The keys that the last reload has changed.
    pub(super) redefined: Vec<String>,
    /// The note of the failure whose report is being made.
    pub(super) failure: Option<NoteId>,
    /// What the last run lacked.
    pub(super) lack: Option<Lack>,
    /// Where the program was found at the last start.
    pub(super) program: Option<PathBuf>,
    pub(super) last_crash: Option<CrashSummary>,
    pub(super) crash_count: u64,
    /// The crashes since the last stable run, newest first. Without one it takes no memory.
    pub(super) lineage: VecDeque<Ancestor>,
    /// The last run that was good.
    pub(super) good: Option<Box<Good>>,
    /// What must not be seen of the last run's output.
    pub(super) secrets: Option<Secrets>,
    /// The same of what its definition says, once somebody has asked for it.
    pub(super) configured: OnceCell<Secrets>,
    /// Its command as it is shown, where that differs from what it is; found out once.
    pub(super) shown: OnceCell<Option<Box<[String]>>>,
    /// The last lines of the last failed run, for whoever waits for a start.
    pub(super) last_lines: Vec<LogLine>,
    /// Whether it is available, as it was remembered last.
    pub(super) available: Option<Is>,
    /// Changes of watched files that nothing has followed from yet.
    pub(super) changes: Changes,
    /// Changes of the program, or of what else a start needs, since the last start.
    pub(super) program_changes: Changes,
    /// What on disk is newer than the process, in words, once something is.
    pub(super) stale: Option<String>,
}

/// A definition that waits for the end of a run.
pub(super) struct Next {
    pub(super) spec: Arc<ServiceSpec>,
    /// The keys that wait, dotted.
    pub(super) keys: Vec<String>,
    pub(super) check: Option<Arc<HttpCheck>>,
    pub(super) ready_check: Option<Arc<HttpCheck>>,
    pub(super) program: Option<PathBuf>,
}

/// A run of the service, from the spawn until nothing is left of it.
pub(super) struct Run {
    pub(super) key: sys::Key,
    pub(super) generation: u64,
    /// The main process, or the command that was the first of this run.
    pub(super) pid: u32,
    /// It is the main process.
    pub(super) main: bool,
    /// That MAINPID= is not followed has been said.
    pub(super) told_main_pid: bool,
    /// It said WATCHDOG=trigger.
    pub(super) triggered: bool,
    pub(super) exit: Option<sys::Exit>,
    /// It has failed: there is a report of it.
    pub(super) failed: bool,
    /// What it held at the last look, and when that was.
    pub(super) sample: Option<(sys::Sample, Mono)>,
    /// What its processes may use together, as it was written last.
    pub(super) allowances: Vec<sys::Allowance>,
    /// Somebody is writing that.
    pub(super) limiting: bool,
    /// When its process was asked for.
    pub(super) began: Mono,
    /// Shared with whoever examines them.
    pub(super) tails: Option<Arc<Tails>>,
    pub(super) secrets: Secrets,
    /// What of it is left after the main process ended.
    pub(super) tree: Tree,
    /// Who was left at the first look that found somebody.
    pub(super) left: Vec<sys::Named>,
    /// Whom SIGKILL went to, by pid.
    pub(super) killed: BTreeMap<u32, String>,
}

impl Run {
    pub(super) fn new(
        key: sys::Key,
        generation: u64,
        pid: u32,
        main: bool,
        began: Mono,
        secrets: Secrets,
    ) -> Self {
        Self {
            key,
            generation,
            pid,
            main,
            told_main_pid: false,
            triggered: false,
            exit: None,
            failed: false,
            sample: None,
            allowances: Vec::new(),
            limiting: false,
            tails: None,
            began,
            secrets,
            tree: Tree::default(),
            left: Vec::new(),
            killed: BTreeMap::new(),
        }
    }

    /// Looks at what the main process holds, unless that was seen less than `every` ago.
    pub(super) fn look(&mut self, now: Mono, every: Duration) {
        if self.sample.is_some_and(|(_, at)| now.since(at) < every) {
            return;
        }
        if let Some(sample) = self.main_pid().and_then(sys::sample) {
            self.sample = Some((sample, now));
        }
    }

    /// The main process, as long as it lives.
    pub(super) fn main_pid(&self) -> Option<u32> {
        (self.main && self.exit.is_none()).then_some(self.pid)
    }

    /// These got SIGKILL.
    pub(super) fn kills(&mut self, processes: Vec<sys::Named>) {
        self.killed.extend(processes.into_iter().map(|process| (process.pid, process.name)));
    }

    /// Those at the first look, by pid and name.
    pub(super) fn left_names(&self) -> impl Iterator<Item = (u32, &str)> + Clone {
        self.left.iter().map(|process| (process.pid, process.name.as_str()))
    }

    /// Whom SIGKILL went to, by pid and name.
    pub(super) fn killed_names(&self) -> impl Iterator<Item = (u32, &str)> + Clone {
        self.killed.iter().map(|(pid, name)| (*pid, name.as_str()))
    }
}

impl Entry {
    pub(super) fn new(spec: Arc<ServiceSpec>, origin: Option<String>) -> Self {
        Self {
            name: spec.name.as_str().into(),
            spec,
            next: None,
            origin,
            check: None,
            ready_check: None,
            missing: None,
            verdicts: VecDeque::new(),
            ready_verdicts: VecDeque::new(),
            status_text: None,
            run: None,
            beside: None,
            beside_detail: None,
            around: None,
            ran: None,
            spawn_error: None,
            redefined: Vec::new(),
            failure: None,
            lack: None,
            program: None,
            last_crash: None,
            crash_count: 0,
            lineage: VecDeque::new(),
            good: None,
            secrets: None,
            configured: OnceCell::new(),
            shown: OnceCell::new(),
            last_lines: Vec::new(),
            available: None,
            changes: Changes::default(),
            program_changes: Changes::default(),
            stale: None,
        }
    }

    /// Its run, if there is one, is good.
    pub(super) fn good_run(&mut self, now: (Mono, Timestamp)) {
        if let Some(run) = self.run.as_ref().filter(|run| run.main) {
            self.good = Some(Box::new(Good { spec: self.spec.clone(), since: wall(now, run.began) }));
        }
    }

    /// One more crash in a row.
    pub(super) fn descend(&mut self, crash: &CrashSummary) {
        if self.lineage.len() == ANCESTORS {
            self.lineage.pop_back();
        }
        let CrashSummary { id, time, kind, reason, .. } = crash.clone();
        self.lineage.push_front(Ancestor { id, time, kind, reason });
    }

    pub(super) fn run(&mut self, generation: u64) -> Option<&mut Run> {
        self.run.as_mut().filter(|run| run.generation == generation)
    }

    /// What takes the secrets of its last run out of texts, if it ever had one.
    pub(super) fn secrets_of_run(&self) -> Option<&Secrets> {
        self.run.as_ref().map(|run| &run.secrets).or(self.secrets.as_ref())
    }

    /// What takes its secrets out of texts that are shown: those of its run and those of its definition.
    pub(super) fn redactors(&self) -> impl Iterator<Item = &Redactor> {
        self.secrets_that_are().map(|secrets| &**secrets)
    }

    /// The same, to keep.
    pub(super) fn shared_redactors(&self) -> Vec<Secrets> {
        self.secrets_that_are().cloned().collect()
    }

    /// Its definition, if no run of it has said what its environment files hold.
    pub(super) fn unread(&self) -> Option<Arc<ServiceSpec>> {
        self.secrets_of_run().is_none().then(|| self.spec.clone())
    }

    fn secrets_that_are(&self) -> impl Iterator<Item = &Secrets> {
        let configured = self.configured.get_or_init(|| Arc::new(Redactor::of(&self.spec)));
        self.secrets_of_run().into_iter().chain([configured])
    }

    /// Its definition, its program or its run is another one: what was found out about its secrets is out of date.
    pub(super) fn renewed(&mut self) {
        self.configured.take();
        self.shown.take();
    }

    /// Its command without its secrets. A list of ten thousand services asks for each: looked through once.
    pub(super) fn shown_command(&self) -> Vec<String> {
        let shown = self.shown.get_or_init(|| {
            let (clean, whole) = (self.clean_command(self.command()), self.command());
            (clean != whole).then(|| clean.into())
        });
        shown.as_ref().map_or_else(|| self.command(), |clean| clean.to_vec())
    }

    /// A text about it without its secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        self.redactors().fold(text.to_owned(), |text, redactor| redactor.text(&text).into_owned())
    }

    /// A command of its without its secrets.
    pub(super) fn clean_command(&self, command: Vec<String>) -> Vec<String> {
        self.redactors().fold(command, |command, redactor| redactor.command(&command))
    }

    pub(super) fn remember(&mut self, of: Probing, verdict: HealthVerdict) {
        let verdicts = match of {
            Probing::Ready => &mut self.ready_verdicts,
            Probing::Health => &mut self.verdicts,
        };
        if verdict.unknown {
            // Of those in a row the newest will do: what is known must not be pushed out by what says nothing.
            verdicts.pop_back_if(|last| last.unknown);
        }
        if verdicts.len() == VERDICTS {
            verdicts.pop_front();
        }
        verdicts.push_back(verdict);
    }

    /// Program and arguments of one of its commands; of `exec` the program as it was found.
    pub(super) fn command_of(&self, command: Command) -> Vec<String> {
        let several = match command {
            Command::Exec(0) => return self.command(),
            Command::Exec(at) => self.spec.oneshot.as_ref().and_then(|oneshot| oneshot.exec.get(at)),
            Command::StartPre(at) => self.spec.exec_start_pre.get(at),
            Command::StartPost(at) => self.spec.exec_start_post.get(at),
            Command::Reload(at) => self.spec.exec_reload.get(at),
            Command::Stop(at) => self.spec.exec_stop.get(at),
            Command::StopPost(at) => self.spec.exec_stop_post.get(at),
        };
        // Empty: a reload has just taken it out, and what is to be started is going to be replaced.
        several.map(|command| command.argv.clone()).unwrap_or_default()
    }

    /// The key of one of its commands, and which of how many it is: "exec_stop, 1 of 2".
    pub(super) fn place_of(&self, command: Command) -> String {
        let oneshot = || self.spec.oneshot.as_ref().map_or(1, |oneshot| oneshot.exec.len());
        let (at, of) = match command {
            Command::StartPre(at) => (at, self.spec.exec_start_pre.len()),
            Command::Exec(at) => (at, oneshot()),
            Command::StartPost(at) => (at, self.spec.exec_start_post.len()),
            Command::Reload(at) => (at, self.spec.exec_reload.len()),
            Command::Stop(at) => (at, self.spec.exec_stop.len()),
            Command::StopPost(at) => (at, self.spec.exec_stop_post.len()),
        };
        let key = words::key_of(command);
        if of > 1 { format!("{key}, {} of {of}", at + 1) } else { key.to_owned() }
    }

    /// Why it is down. A failure in the words of its report, if that was written.
    pub(super) fn down_reason(&self, why: DownReason, name: impl Fn(ServiceId) -> String) -> String {
        let failed = match why {
            DownReason::Failed(failure) => Some(words::kind(failure)),
            DownReason::NeverStarted
            | DownReason::Stopped
            | DownReason::StoppedWith(_)
            | DownReason::Conflict(_)
            | DownReason::Finished(_)
            | DownReason::Reset
            | DownReason::Completed => None,
        };
        let crash = self.last_crash.as_ref();
        match crash.filter(|crash| failed == Some(crash.kind) && crash.decision == "stay_down") {
            Some(crash) => format!("{}; restart.when does not restart it then", crash.reason),
            None => words::down_reason(why, name),
        }
    }

    /// What is known of the reason for which it is parked.
    pub(super) fn park_detail(&self, why: ParkReason) -> Option<String> {
        match why {
            ParkReason::Limit { .. } | ParkReason::Prevented(_) => None,
            ParkReason::ProgramMissing => self.missing.clone(),
            ParkReason::CannotStart => self.spawn_error.clone(),
            ParkReason::Lacking => self.lack.as_ref().map(Lack::text),
        }
    }

    /// All commands of a oneshot that has several.
    pub(super) fn commands(&self) -> Vec<Vec<String>> {
        let several = self.spec.oneshot.as_ref().map_or(0, |oneshot| oneshot.exec.len());
        let all = if several > 1 { several } else { 0 };
        (0..all).map(|at| self.command_of(Command::Exec(at))).collect()
    }

    /// Program and arguments, the program as it was found.
    pub(super) fn command(&self) -> Vec<String> {
        let mut command = self.spec.exec.clone();
        if let (Some(first), Some(program)) = (command.first_mut(), &self.program) {
            *first = program.display().to_string();
        }
        command
    }
}
