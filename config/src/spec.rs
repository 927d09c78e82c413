//! What a configuration says once everything is settled: defaults filled, variables replaced, types checked.
//!
//! These are plain values. Only the resolver makes them, so that holding one means that it is valid; what is deserialised is
//! what one daemon has written down for the next.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod cgroup;
mod notify;
mod resources;

pub use cgroup::{CgroupLimit, CgroupValue};
pub use notify::{NotifyOn, NotifySpec, NotifyTarget, NotifyTemplate, WebhookSpec, shown_url};
pub(crate) use resources::Ranges;
pub use resources::{Limit, LimitUnit, LimitValue, ResourcesSpec};

/// A whole configuration: the daemon's own settings and the services by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `[daemon]`
    pub daemon: DaemonSpec,
    /// `[service.NAME]`, by name.
    pub services: BTreeMap<String, ServiceSpec>,
    /// Every file that was read, in the order of reading; the first is the one that was asked for.
    pub files: Vec<PathBuf>,
}

/// `[daemon]`: where the daemon keeps its things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonSpec {
    /// The Unix socket or named pipe that clients connect to.
    pub control_socket: PathBuf,
    /// Crash reports, event journal, state, lock.
    pub state_dir: PathBuf,
    /// The services' logs.
    pub log_dir: PathBuf,
    /// So many services may be starting at the same time; 0: any number.
    pub max_parallel_starts: u32,
    /// Reload by itself when a file of the configuration changes.
    pub auto_reload: bool,
    /// What becomes of the services when mcpd is told to end by a signal.
    #[serde(default)]
    pub on_stop: OnStop,
    /// What becomes of them when the keeper dies.
    #[serde(default)]
    pub on_keeper_death: OnKeeperDeath,
}

/// `daemon.on_stop`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStop {
    /// They are stopped.
    #[default]
    Stop,
    /// They go on, and the daemon with them, until another mcpd takes over.
    Keep,
}

/// `daemon.on_keeper_death`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnKeeperDeath {
    /// They are stopped.
    #[default]
    Stop,
    /// They go on, and the daemon with them, until another mcpd takes over.
    Leave,
}

/// One service, `[service.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The name in the table's header: 1 to 128 of `A-Z a-z 0-9 _ . @ : -`, not starting with a dot.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Program and arguments; never empty. The program is looked up by `crate::program::find`. Of a oneshot with several
    /// commands, the first.
    pub exec: Vec<String>,
    /// `exec_start_pre`: these run before `exec`, one after the other.
    pub exec_start_pre: Vec<CommandSpec>,
    /// `exec_start_post`: these run once it is ready, and before it counts as up.
    pub exec_start_post: Vec<CommandSpec>,
    /// `exec_reload`: what `mcpctl reload` runs beside the process, one after the other.
    pub exec_reload: Vec<CommandSpec>,
    /// `exec_stop`: these run when a service that is up is to end, before the stop signal.
    pub exec_stop: Vec<CommandSpec>,
    /// `exec_stop_post`: these run after every end.
    pub exec_stop_post: Vec<CommandSpec>,
    /// `type = "oneshot"`: what `exec` is then.
    pub oneshot: Option<OneshotSpec>,
    /// When the service counts as started.
    pub kind: ServiceType,
    /// Where the program runs; the daemon's own directory when absent.
    pub working_directory: Option<PathBuf>,
    /// Variables set for the program, over those of the daemon.
    pub environment: BTreeMap<String, String>,
    /// Files of `NAME=value` lines, read at every start; they win over `environment`, as systemd's `EnvironmentFile=`.
    pub environment_files: Vec<EnvironmentFile>,
    /// The same, read after those: what they hold is secret, whatever it is called.
    pub secret_environment_files: Vec<EnvironmentFile>,
    /// Whom the program runs as: a name, or a number in digits. mcpd's own user when absent.
    pub user: Option<String>,
    /// Its group, name or number; when absent that of `user`, without such mcpd's own.
    pub group: Option<String>,
    /// Groups, names or numbers, besides those that `user` is in.
    pub supplementary_groups: Vec<String>,
    /// What its files are not to allow, `umask(2)`; mcpd's own when absent.
    pub umask: Option<u32>,
    /// Start with the daemon.
    pub enabled: bool,
    /// What asks the program to end.
    pub stop_signal: Signal,
    /// How long a stop may take before the whole tree gets SIGKILL.
    pub stop_timeout: Duration,
    /// How long a start may take before it is a failure; of a start of several commands, each of them.
    pub start_timeout: Duration,
    /// Which ends are not failures. This is the whole list; default `[0]`.
    pub success_exit_status: Vec<ExitMatch>,
    /// What it has to do with other services.
    pub relations: Relations,
    /// `[service.NAME.restart]`
    pub restart: RestartSpec,
    /// How often, while it is up, it has to say `WATCHDOG=1`.
    pub watchdog: Option<Duration>,
    /// `[service.NAME.ready]`
    pub ready: Option<ReadySpec>,
    /// `[service.NAME.health]`
    pub health: Option<HealthSpec>,
    /// `[service.NAME.watch]`
    pub watch: Option<WatchSpec>,
    /// `[service.NAME.log]`
    pub log: LogSpec,
    /// `[service.NAME.resources]`
    pub resources: ResourcesSpec,
    /// `[service.NAME.crash]`
    pub crash: CrashSpec,
}

/// `requires`, `wants`, ...: names of other services of this configuration, as they are written. systemd's meanings, but
/// for one: whoever requires or is bound to another starts after it, unless one of them says the opposite.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// Started with it and before it; a stop or restart of one of them that somebody asked for takes it along.
    pub requires: Vec<String>,
    /// Started with it.
    pub wants: Vec<String>,
    /// It starts after these and stops before them.
    pub after: Vec<String>,
    /// It starts before these and stops after them.
    pub before: Vec<String>,
    /// Never run at the same time as it.
    pub conflicts: Vec<String>,
    /// A stop or restart of one of them that somebody asked for takes it along.
    pub part_of: Vec<String>,
    /// As `requires`, and it is up only as long as these are.
    pub binds_to: Vec<String>,
}

/// `type`: when a start is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Started once the process runs (systemd's `Type=simple`).
    Simple,
    /// Started once the program is executed (systemd's `Type=exec`). That is known here before a process counts as
    /// running, so that it is the same as [`ServiceType::Simple`].
    Exec,
    /// Started once it says `READY=1` (systemd's `Type=notify`). [`ServiceSpec::ready`] is [`ReadySpec::Notify`].
    Notify,
    /// Started once its commands have ended well (systemd's `Type=oneshot`). [`ServiceSpec::oneshot`] has them.
    Oneshot,
}

/// One command of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Written with a leading `-` before the program: its failure is ignored.
    pub ignore_failure: bool,
}

/// What `type = "oneshot"` runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneshotSpec {
    /// The commands of `exec`, one after the other; at least one.
    pub exec: Vec<CommandSpec>,
    /// It counts as up once they have ended well, until it is stopped.
    pub remain_after_exit: bool,
}

/// One entry of `environment_files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// The file; relative paths are relative to the configuration file.
    pub path: PathBuf,
    /// Written with a leading `-`: it may be absent.
    pub optional: bool,
}

/// A signal by its POSIX name, as `SIGTERM`. The number is Linux's on x86-64 and arm64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signal(i32);

/// `signal(7)`, "Standard signals", x86/ARM column.
const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGSTKFLT", 16),
    ("SIGCHLD", 17),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGWINCH", 28),
    ("SIGIO", 29),
    ("SIGPWR", 30),
    ("SIGSYS", 31),
];

/// The first realtime signal that programs may use with glibc.
const FIRST_REALTIME: i32 = 34;

impl ServiceSpec {
    /// It gets a socket to say things about itself (`sd_notify(3)`), and what it says there counts.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.ready == Some(ReadySpec::Notify) || self.watchdog.is_some()
    }
}

impl DaemonSpec {
    /// Where services say things about themselves: `.notify` behind the control socket's path.
    #[must_use]
    pub fn notify_socket(&self) -> PathBuf {
        let mut path = self.control_socket.clone().into_os_string();
        path.push(".notify");
        path.into()
    }
}

impl Signal {
    /// Asks a program to end.
    pub const TERM: Self = Self(15);
    /// Ends a program whether it wants or not.
    pub const KILL: Self = Self(9);

    /// From `SIGTERM`, `TERM`, `term`, `SIGRTMIN+3` or `15`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return (1..=64).contains(&number).then_some(Self(number));
        }
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = bare.strip_prefix("RTMIN") {
            let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<u8>().ok()? };
            return Self::from_number(FIRST_REALTIME + i32::from(offset));
        }
        SIGNALS.iter().find(|(name, _)| &name[3..] == bare).map(|&(_, number)| Self(number))
    }

    /// From its number; `None` outside 1 to 64.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }

    /// The number that the kernel knows it by.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Every name this type knows, for "did you mean".
    pub fn names() -> impl Iterator<Item = &'static str> {
        SIGNALS.iter().map(|&(name, _)| name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.iter().find(|&&(_, number)| number == self.0) {
            Some((name, _)) => f.write_str(name),
            None if self.0 >= FIRST_REALTIME => write!(f, "SIGRTMIN+{}", self.0 - FIRST_REALTIME),
            // 32 and 33 belong to the C library and have no names.
            None => write!(f, "{}", self.0),
        }
    }
}

/// One entry of `success_exit_status` or `prevent_exit_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitMatch {
    /// The program ended with this code, 0 to 255.
    Code(i32),
    /// The program was killed by this signal.
    Signal(Signal),
}

/// `[service.NAME.restart]`: what happens when a run ends that nobody asked to end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestartSpec {
    /// Which ends are followed by a restart.
    pub when: RestartWhen,
    /// The delay before the first restart.
    pub delay: Duration,
    /// Each further delay is the last one times this; at least 1.
    pub multiplier: f64,
    /// Delays grow up to this.
    pub max_delay: Duration,
    /// Up to this share of the delay is added at random, 0 to 1.
    pub jitter: f64,
    /// A run this long starts the counters again.
    pub reset_after: Duration,
    /// Restarts in a row without such a run; 0: no limit.
    pub max_restarts: u32,
    /// What happens at the limit.
    pub on_limit: OnLimit,
    /// Ends that park the service at once.
    pub prevent_exit_status: Vec<ExitMatch>,
}

/// `restart.when`, systemd's `Restart=` with `never` for `no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartWhen {
    /// After every end.
    Always,
    /// After an end that is no failure.
    OnSuccess,
    /// After a failure of any kind.
    OnFailure,
    /// After a failure that is not an exit code: a signal, a timeout, a health check, a watchdog.
    OnAbnormal,
    /// After a hang: a health check, a watchdog.
    OnWatchdog,
    /// Not at all.
    Never,
}

/// `restart.on_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLimit {
    /// Stay down with a reason until asked, or until configuration or executable change.
    Park,
    /// Go on at `max_delay`.
    Retry,
}

/// `[service.NAME.ready]`: when is a start over?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReadySpec {
    /// It is asked, again and again and fast, until it answers well.
    Probe {
        /// What is asked.
        probe: Probe,
        /// How long an answer may take.
        timeout: Duration,
    },
    /// It prints a line that matches.
    Log {
        /// A regular expression (crate `regex`, on bytes) that is looked for in each line of its stdout and stderr;
        /// compiled once already, so known to be good.
        pattern: String,
    },
    /// It says `READY=1`, `sd_notify(3)`.
    Notify,
}

/// `[service.NAME.health]`: how to tell a live service from a hung one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// What is asked.
    pub probe: Probe,
    /// From one probe's end to the next one's start.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures in a row that make a failure of the service; at least 1.
    pub retries: u32,
    /// Failures this soon after the start do not count; the first success ends it.
    pub start_period: Duration,
    /// What a failure leads to.
    pub action: HealthAction,
}

/// `health.action`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthAction {
    /// Stop the hung tree, report, restart by policy.
    Restart,
    /// Only say so.
    Report,
}

/// What a probe asks: exactly one of `http`, `tcp`, `exec`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Probe {
    /// GET this URL and look at the answer.
    Http(HttpProbe),
    /// A connection to `host:port` is accepted.
    Tcp {
        /// `host:port`; an IPv6 address in brackets.
        address: String,
    },
    /// This program ends with code 0.
    Exec {
        /// Program and arguments; never empty.
        argv: Vec<String>,
    },
}

/// `health.http` and the keys that go with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// `http://` or `https://`
    pub url: String,
    /// Statuses that are healthy; empty: any 2xx.
    pub expect_status: Vec<u16>,
    /// Name (a plain key, or a JSON pointer that starts with `/`) and the value that must stand there.
    pub expect_json: Vec<(String, serde_json::Value)>,
    /// A regular expression (crate `regex`) that must match the body; compiled once already, so known to be good.
    pub expect_body: Option<String>,
    /// Sent with the request.
    pub headers: Vec<(String, String)>,
}

/// `[service.NAME.watch]`: what follows when files change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WatchSpec {
    /// Files, and directories with everything below them; absolute where the configuration's own path is. Never empty.
    pub paths: Vec<PathBuf>,
    /// Globs of files that count, relative to the watched directory; empty: all of them.
    pub include: Vec<String>,
    /// Globs of files and directories that do not count, [`crate::watched::IGNORED`] included.
    pub ignore: Vec<String>,
    /// Files have to be quiet for this long.
    pub debounce: Duration,
    /// What follows.
    pub action: WatchAction,
}

/// `watch.action`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WatchAction {
    /// A new process.
    Restart,
    /// The commands of `exec_reload`; there are some.
    Reload,
    /// `signal:NAME`: this signal to the main process.
    Signal(Signal),
}

/// `[service.NAME.log]`: where stdout and stderr go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Where lines go.
    pub target: LogTarget,
    /// How a line is written.
    pub format: LogFormat,
    /// A file that would grow over this many bytes is rotated first.
    pub max_size: u64,
    /// Rotated files kept, the current one not counted.
    pub max_files: u32,
}

/// `log.target`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// `log_dir/NAME.log`
    File,
    /// The daemon's own stdout and stderr.
    Inherit,
    /// Nowhere; the tail for crash reports is still kept.
    None,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// `2026-11-22T11:30:00.123456Z out line`
    Text,
    /// One JSON object a line.
    Json,
    /// Bytes as they came.
    Raw,
}

/// `[service.NAME.crash]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashSpec {
    /// Last lines of each stream in a report.
    pub tail_lines: u32,
    /// Reports kept for this service; at least 1.
    pub keep: u32,
    /// Who is told.
    pub notify: Vec<NotifySpec>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_read_as_it_is_written() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal), "{signal}");
            assert_eq!(Signal::parse(&number.to_string()), Some(signal));
        }
        for text in ["", "SIG", "0", "65", "-1", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMIN+", "NONE"] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
        assert_eq!(Signal::parse("term"), Some(Signal::TERM));
        assert_eq!(Signal::parse("rtmin"), Signal::from_number(34));
    }
}
