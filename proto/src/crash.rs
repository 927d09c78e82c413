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
    /// See [`CrashReport::fingerprint`].
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// See [`CrashReport::cause`].
    #[serde(default)]
    pub cause: Option<String>,
    /// See [`CrashReport::coalesced`].
    #[serde(default)]
    pub coalesced: u64,
    /// So many crashes with this fingerprint are on record, this one included: only in the answer to `crash.list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_count: Option<u64>,
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
    /// Where that is, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<CoreFile>,
    /// One sentence that a person understands.
    pub reason: String,
    /// The evidence in that sentence, without how it ended: the last words of the program, the last bad verdict, what the
    /// system said; null when there is none.
    #[serde(default)]
    pub cause: Option<String>,
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
    /// The crashes before this one since the last stable run, newest first, ten at most.
    #[serde(default)]
    pub lineage: Vec<Ancestor>,
    /// 16 hex digits, equal for crashes of one service with the same cause; null in reports of mcpd 0.1.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// So many crashes with this fingerprint had no report of their own before this one, because there were too many.
    #[serde(default)]
    pub coalesced: u64,
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
    /// `restart`, `park`, `stay_down` (restart.when says so), `stopping` (a stop was on its way), `unknown` (mcpd was
    /// killed before it had written the report: its next life has made it).
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

/// The core file of a process that was killed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreFile {
    /// The file; null where the core was handed to a program.
    #[serde(default)]
    pub path: Option<String>,
    /// The command that shows it, when systemd's coredump service took it.
    #[serde(default)]
    pub coredumpctl: Option<String>,
}

/// An earlier crash of the same row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its report's id.
    pub id: String,
    /// When it ended, RFC 3339 UTC.
    pub time: String,
    /// What kind of end it was.
    pub kind: CrashKind,
    /// Its reason.
    pub reason: String,
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
    /// Page faults that took no disk, of the main process and the children it waited for.
    #[serde(default)]
    pub minor_faults: Option<u64>,
    /// Page faults that had to read from a disk.
    #[serde(default)]
    pub major_faults: Option<u64>,
    /// How often it gave the processor up, waiting for something.
    #[serde(default)]
    pub voluntary_switches: Option<u64>,
    /// How often the processor was taken from it.
    #[serde(default)]
    pub involuntary_switches: Option<u64>,
    /// Open descriptors at the last look.
    pub fds: Option<u64>,
    /// Threads at the last look.
    pub threads: Option<u64>,
    /// When that look was, RFC 3339 UTC.
    #[serde(default)]
    pub sampled_at: Option<String>,
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
    /// How much tasks waited for resources just after the crash (`/proc/pressure`).
    #[serde(default)]
    pub pressure: Option<Pressure>,
    /// Memory that could be had without swapping just after the crash.
    #[serde(default)]
    pub memory_available_bytes: Option<u64>,
    /// All of the machine's memory.
    #[serde(default)]
    pub memory_total_bytes: Option<u64>,
    /// Load average of the last minute.
    #[serde(default)]
    pub load: Option<f64>,
}

/// The share of the last 10 seconds, in percent, in which some task waited for each; null where the kernel does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// A processor.
    pub cpu: Option<f64>,
    /// Memory.
    pub memory: Option<f64>,
    /// A disk.
    pub io: Option<f64>,
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
            fingerprint: self.fingerprint.clone(),
            cause: self.cause.clone(),
            coalesced: self.coalesced,
            group_count: None,
        }
    }
}
