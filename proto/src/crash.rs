//! Crash reports, on the wire and on disk (`state_dir/crashes/NAME/TIMESTAMP-ID.json`).

use serde::{Deserialize, Serialize};

use crate::log::LogLine;

/// `mcpctl crashes --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashList {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Newest first.
    pub crashes: Vec<CrashSummary>,
    /// Reports that were looked at and are damaged: so many.
    #[serde(default)]
    pub damaged: u64,
    /// The files of the newest of those, ten at most.
    #[serde(default)]
    pub damaged_files: Vec<String>,
}

/// What kind of end it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashKind {
    /// The program ended by itself with a code.
    Exit,
    /// A signal killed it that mcpd did not send.
    Signal,
    /// The kernel killed it for memory.
    Oom,
    /// Its health check failed too often in a row.
    Health,
    /// It stopped feeding its watchdog.
    Watchdog,
    /// It was not up in time.
    StartTimeout,
    /// It could not be started at all.
    Spawn,
    /// A command of `exec_stop` or `exec_stop_post` took longer than `stop_timeout`.
    StopTimeout,
}

impl CrashKind {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Oom => "oom",
            Self::Health => "health",
            Self::Watchdog => "watchdog",
            Self::StartTimeout => "start_timeout",
            Self::Spawn => "spawn",
            Self::StopTimeout => "stop_timeout",
        }
    }
}

/// One line of a list of crashes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashSummary {
    /// The report's id.
    pub id: String,
    /// The service.
    pub service: String,
    /// When it ended, RFC 3339 UTC.
    pub time: String,
    /// What kind of end it was.
    pub kind: CrashKind,
    /// The exit code, when it ended by itself.
    pub exit_code: Option<i32>,
    /// `SIGSEGV` and such, when a signal ended it.
    pub signal: Option<String>,
    /// One sentence that a person understands.
    pub reason: String,
    /// The main process that ended; null when it could not be started.
    pub pid: Option<u32>,
    /// How long it had run.
    pub uptime_seconds: f64,
    /// What mcpd decided: see [`RestartDecision::decision`].
    #[serde(default)]
    pub decision: String,
}

/// A whole report. Core fields as the design fixes them; later versions only add.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashReport {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Sorts by time; unique per state directory.
    pub id: String,
    /// The service.
    pub service: String,
    /// Which start of the service.
    pub generation: u64,
    /// When it ended, RFC 3339 UTC.
    pub time: String,
    /// What kind of end it was.
    pub kind: CrashKind,
    /// The exit code, when it ended by itself.
    pub exit_code: Option<i32>,
    /// `SIGSEGV` and such, when a signal ended it.
    pub signal: Option<String>,
    /// The kernel wrote a core file.
    pub core_dumped: bool,
    /// One sentence that a person understands.
    pub reason: String,
    /// The main process; null when it could not be started.
    pub pid: Option<u32>,
    /// When the run began, RFC 3339 UTC.
    pub started_at: Option<String>,
    /// How long it ran.
    pub uptime_seconds: f64,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where it ran.
    pub working_directory: Option<String>,
    /// What follows.
    pub restart: RestartDecision,
    /// The last lines of stderr.
    pub stderr_tail: Vec<LogLine>,
    /// The last lines of stdout.
    pub stdout_tail: Vec<LogLine>,
    /// The last health verdicts, oldest first.
    pub health: Vec<HealthVerdict>,
    /// The last answers to whether it is ready, oldest first.
    #[serde(default)]
    pub ready: Vec<HealthVerdict>,
    /// Which of the service's commands it was when it was not `exec`: `exec_start_pre`, `exec_start_post`, `exec_stop` or
    /// `exec_stop_post`. `command`, `exit_code`, `signal` and the tails are that command's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What it last said of itself with `STATUS=`; null when it said nothing.
    #[serde(default)]
    pub status_text: Option<String>,
    /// What the run used.
    pub resources: Resources,
    /// Processes that outlived the main one and were ended after it.
    #[serde(default)]
    pub left_behind: Vec<ProcessName>,
    /// Processes of the run that mcpd had sent SIGKILL to by the time of this report.
    #[serde(default)]
    pub killed: Vec<ProcessName>,
    /// Configuration and files that changed since the last good run.
    #[serde(default)]
    pub changed: Vec<String>,
    /// The service's crash before this one.
    pub previous: Option<String>,
    /// Equal for crashes with the same cause; null while grouping is not built.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// The machine.
    pub host: Host,
}

/// A process, by number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    /// Its number.
    pub pid: u32,
    /// The name that the system had for it.
    pub name: String,
}

/// What follows a crash.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestartDecision {
    /// This restart's number in a row; 0 when there is none.
    pub attempt: u32,
    /// The limit; 0: none.
    pub max: u32,
    /// From the end to the next start; null when there is none.
    pub delay_seconds: Option<f64>,
    /// When the next start is due, RFC 3339 UTC.
    pub next_at: Option<String>,
    /// `restart`, `park`, `stay_down` (restart.when says so), `stopping` (a stop was on its way).
    pub decision: String,
    /// Why, one sentence.
    #[serde(default)]
    pub why: String,
}

/// One answer to a probe, of health or of readiness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthVerdict {
    /// When it came, RFC 3339 UTC.
    pub time: String,
    /// Healthy, or ready.
    pub ok: bool,
    /// The service could not even be asked: this says nothing of its health, and `ok` is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// "503 after 4 ms: expected 200", "connection refused", "timed out after 5 s", "could not be asked: no more
    /// processes are allowed".
    pub detail: String,
}

/// What a run used; null where the system does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Largest resident set of the main process and the children it waited for (`getrusage(2)`).
    pub max_rss_bytes: Option<u64>,
    /// User and system CPU time.
    pub cpu_seconds: Option<f64>,
    /// Peak of the cgroup.
    pub memory_peak: Option<u64>,
    /// Kills for memory in the cgroup.
    pub oom_kills: Option<u64>,
    /// Open descriptors at the last look.
    pub fds: Option<u64>,
    /// Threads at the last look.
    pub threads: Option<u64>,
}

/// The machine a crash happened on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// System and release.
    pub os: String,
    /// mcpd's version.
    pub mcpd: String,
}

impl CrashReport {
    /// The report as a line of a list.
    #[must_use]
    pub fn summary(&self) -> CrashSummary {
        CrashSummary {
            id: self.id.clone(),
            service: self.service.clone(),
            time: self.time.clone(),
            kind: self.kind,
            exit_code: self.exit_code,
            signal: self.signal.clone(),
            reason: self.reason.clone(),
            pid: self.pid,
            uptime_seconds: self.uptime_seconds,
            decision: self.restart.decision.clone(),
        }
    }
}
