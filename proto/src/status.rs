//! What is, now: the documents of `status`.

use serde::{Deserialize, Serialize};

use crate::crash::CrashSummary;
use crate::log::LogLine;
use crate::stats::Availability;

/// `mcpctl status --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// Every service, by name.
    pub services: Vec<ServiceStatus>,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// When it started, RFC 3339 UTC.
    pub started_at: String,
    /// For how long.
    pub uptime_seconds: f64,
    /// The configuration file that it runs by.
    pub config: String,
    /// Crash reports, state.
    pub state_dir: String,
    /// Logs.
    pub log_dir: String,
    /// `running`, or `stopping` on its way down.
    pub state: String,
    /// One sentence, as `systemctl status` shows it: "3 running, 1 in backoff".
    pub summary: String,
    /// Log lines that could not be stored since the start, over all services.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// How the processes of a service are held together: see [`Tree`].
    #[serde(default)]
    pub tree: Tree,
    /// The cgroup below which each run has its own; null: they have none.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_missing: Option<String>,
    /// The last reload: when and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<String>,
    /// What has started this daemon, and starts the next one should it die; null: nothing does.
    #[serde(default)]
    pub keeper: Option<Keeper>,
}

/// The daemon's keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Its process: the one that a service manager knows as mcpd.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// How many daemons it has started, this one included.
    pub daemons: u64,
    /// The daemon before this one; null: this is the first.
    pub last: Option<LastDaemon>,
    /// Why the last upgrade that was asked for was not made, or was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_upgraded: Option<String>,
}

/// [`LastDaemon::how`] of one that was ended for an upgrade.
pub const MADE_WAY: &str = "made way for an upgrade";

/// A daemon that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDaemon {
    /// Its process.
    pub pid: u32,
    /// What became of it: `was ended by signal 9`.
    pub how: String,
    /// When, RFC 3339 UTC.
    pub time: String,
}

/// How the processes of a service are held together, so that none is left when it stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tree {
    /// Session, process group and descent; orphans fall to mcpd.
    #[default]
    Session,
    /// A cgroup of its own, which nothing leaves by forking.
    Cgroup,
    /// A job object (Windows).
    Job,
}

impl Tree {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Cgroup => "cgroup",
            Self::Job => "job",
        }
    }
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No process, none wanted.
    Down,
    /// For something else to be up.
    Waiting,
    /// The operating system has been asked for a process.
    Spawning,
    /// A process, not up yet.
    Starting,
    /// Up.
    Up,
    /// On its way down.
    Stopping,
    /// Ended; the next start has a time.
    Backoff,
    /// Given up, with a reason.
    Parked,
}

impl State {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Waiting => "waiting",
            Self::Spawning => "spawning",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Parked => "parked",
        }
    }
}

/// What the health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No check is configured, or no process runs.
    None,
    /// No success yet in this run.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// The last probes failed, fewer than `retries`.
    Failing,
    /// `retries` in a row failed.
    Unhealthy,
}

impl Health {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Failing => "failing",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One service: `mcpctl status NAME --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// Whether it is wanted up.
    pub wanted: bool,
    /// What the health check says.
    pub health: Health,
    /// What it last said of itself with `STATUS=`, `sd_notify(3)`; null when it said nothing.
    #[serde(default)]
    pub status_text: Option<String>,
    /// What the last look at whether it is ready found, in words as below; null when nothing is looked at.
    #[serde(default)]
    pub ready_detail: Option<String>,
    /// The last verdict in words: "200 after 4 ms", "timed out after 5 s".
    #[serde(default)]
    pub health_detail: Option<String>,
    /// Whether a main process runs.
    #[serde(default)]
    pub process_running: bool,
    /// The main process; null when there is none.
    pub pid: Option<u32>,
    /// Counts the processes that were started for this service: one for each command of a start.
    pub generation: u64,
    /// How long the main process has been running; null when there is none.
    pub uptime_seconds: Option<f64>,
    /// Automatic restarts in a row, without a stable run between them.
    pub restarts: u32,
    /// Where `restarts` ends; 0: no limit.
    pub max_restarts: u32,
    /// Automatic restarts since the daemon started.
    pub restarts_total: u64,
    /// For so long it has been available, over all lives of the daemon; null where that is not on record. Only in the answer
    /// to `service.status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_uptime_seconds: Option<f64>,
    /// The share of time in which it was available, of the time in which it was wanted. Only in the answer to
    /// `service.status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Whether it starts with the daemon.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A stable name for the reason of its state, where there is one: `limit`, `prevented`, `program_missing`, `cannot_start` and
    /// `lacking` of a parked one; `never_started`, `stopped`, `stopped_with`, `conflict`, `finished`, `failed`, `completed` and
    /// `reset` of one that is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// Crash reports written for this service since the daemon knows it.
    pub crash_count: u64,
    /// When the main process started, RFC 3339 UTC; null when there is none.
    pub started_at: Option<String>,
    /// When the present state began, RFC 3339 UTC.
    pub since: String,
    /// The cgroup of its processes; null when it has none.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// How its processes are held together; null when there are none.
    #[serde(default)]
    pub tree: Option<Tree>,
    /// What comes of changed files; absent without `[watch]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// What on disk is newer than the process; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// It fails again and again, whatever `state` says just now; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping: Option<Flapping>,
    /// What its processes use and may use: only in the answer to `service.status`, and where they have a cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Program and arguments, the program as it was found. Of a oneshot with several commands, the first.
    pub command: Vec<String>,
    /// All commands of a oneshot that has several, in their order; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Vec<String>>,
    /// Keys of its configuration that changed and wait for its next start, dotted: the process was started before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// Why the service is as it is, one sentence; null when all is well.
    pub reason: Option<String>,
    /// The service that is in the way, while it is `waiting`, or `stopping` and another one stops first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<String>,
    /// What it has to do with other services.
    #[serde(default, skip_serializing_if = "Relations::is_empty")]
    pub relations: Relations,
    /// What happens next and when; null when nothing is due.
    pub next: Option<Next>,
    /// The newest crash; null when there was none.
    pub last_crash: Option<CrashSummary>,
    /// The file that defines it.
    #[serde(default)]
    pub config: Option<String>,
    /// Where it runs.
    #[serde(default)]
    pub working_directory: Option<String>,
    /// Its log file; null when it has none.
    #[serde(default)]
    pub log_file: Option<String>,
    /// Log lines that could not be stored since the daemon started.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// The last lines of its output: only in the answer to `service.status`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<LogLine>,
}

fn yes() -> bool {
    true
}

/// What a service has to do with others: names, as the configuration has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// `requires`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// `binds_to`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binds_to: Vec<String>,
    /// `wants`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<String>,
    /// `part_of`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_of: Vec<String>,
    /// `after`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// `before`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// `conflicts`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// Services that require it, are bound to it or are part of it: a stop of this one stops them. Only in the answer to
    /// `service.status`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_by: Vec<String>,
}

impl Relations {
    /// It has nothing to do with any other.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What on disk is newer than the process: it does not run what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// `program`: what it runs; `files`: what it watches.
    pub what: String,
    /// One sentence.
    pub reason: String,
    /// Since when, RFC 3339 UTC.
    pub since: String,
}

/// A service that fails again and again, until it has run well for long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flapping {
    /// Since when, RFC 3339 UTC.
    pub since: String,
    /// Failures so far, with those that made it flap.
    pub failures: u32,
    /// One sentence.
    pub reason: String,
}

/// What comes of changed files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// `watching`; `settling` while files change; `suspended` after the service itself seems to have changed them too often.
    pub state: String,
    /// What is watched, as configured.
    pub paths: Vec<String>,
    /// Why it is suspended, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the processes of a service use together; null where the system does not say, or there is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Memory now.
    pub memory_bytes: Option<u64>,
    /// The most that it may be.
    pub memory_max_bytes: Option<u64>,
    /// The most that it was in this run.
    pub memory_peak_bytes: Option<u64>,
    /// Processes and threads now.
    pub tasks: Option<u64>,
    /// The most that there may be.
    pub tasks_max: Option<u64>,
    /// The time of processors that this run has used.
    pub cpu_seconds: Option<f64>,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// `start`, `probe`, `kill`, `start_timeout`, `reset_counters`.
    pub what: String,
    /// In so many seconds from when the document was made; 0 when due.
    pub in_seconds: f64,
    /// When, RFC 3339 UTC.
    pub at: String,
}
