//! The platform seam: what differs between Linux and Windows, behind one set of signatures.
//!
//! `unix.rs` and `windows.rs` export the same names; the rest of the daemon is written once, against this page. All
//! unsafe code of the project lives below this module. It starts, signals, watches and ends processes and reads the
//! machine's clock and name; it holds no policy: when to start, what to signal and how long to wait is the core's.
//!
//! * [`spawn`] starts one program; any thread may call it.
//! * [`Children`] holds every process that was started and belongs to the loop's thread.
//! * A process that ended is reported once, by [`Children::collect`]; what it leaves running is asked for with
//!   [`Children::leftovers`].
//! * [`Remains`] finds what earlier lives of the daemon have left; it may be used by any one thread.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod allowance;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

pub use allowance::{Allowance, Amount, Controller, Disallowed, Resource, Shortage, Usage};
#[cfg(windows)]
pub use platform::CTRL_C_ARGUMENT;
pub use platform::{
    Barrier, CGROUP_ADVICE, Cgroup, Cgroups, Children, LogPipe, NotifySocket, Passage, Process, Remains,
    RemainsWaker, SharedMemory, Slots, TREE, async_pipe, boot_id, changed_at, control_listener, core_pattern,
    ctrl_c_helper, exec_step, give_back_memory, host_name, identity, in_memory, inode, is_master, is_pipe,
    is_root, is_shortage, log_pipe, machine, make_private_dir, make_runtime_dir, monotonic_ns, open_lock,
    os_release, peer, pipe_handle, port_holder, private, program_name, raise_open_files_limit,
    remove_stale_socket, sample, set_socket_mode, spawn, spawn_announced, start_ticks, stderr_is_the_journal,
    unknown_account, user_name,
};
#[cfg(unix)]
pub use platform::{
    Changed, any_news, close_on_exec, fork_and_execute, inherited_open_files_limit, let_trace,
    open_files_limit_was, take_descriptor, with_descriptor, write_from_the_background,
};

/// The environment variable that carries the run's id into a service and by which its escaped descendants are
/// recognised. The caller of [`spawn`] puts it into [`SpawnPlan::env`].
pub const RUN_ID_VARIABLE: &str = "MCPD_RUN_ID";

/// The environment variable that carries the service's name into it.
pub const SERVICE_VARIABLE: &str = "MCPD_SERVICE";

/// What was written down by earlier lives of the daemon that may have left something running.
#[derive(Debug, Clone, Default)]
pub struct KnownLives {
    /// What their run ids begin with, before a dash.
    pub lives: Vec<String>,
    /// The runs that were not over when it was last written down.
    pub runs: Vec<KnownRun>,
    /// Their cgroups, and of which service each is.
    pub cgroups: Vec<(Arc<str>, Cgroup)>,
}

/// A run of an earlier life of the daemon.
#[derive(Debug, Clone)]
pub struct KnownRun {
    /// Of which service.
    pub service: Arc<str>,
    /// The value of [`RUN_ID_VARIABLE`] in its environment.
    pub run_id: String,
    /// Its main process.
    pub pid: u32,
    /// When that started, as [`Process::start_ticks`] says.
    pub start_ticks: u64,
}

impl KnownLives {
    /// Whether a run id is one of theirs.
    #[must_use]
    pub fn owns(&self, run_id: &str) -> bool {
        let of = |life: &String| run_id.strip_prefix(life.as_str()).is_some_and(|rest| rest.starts_with('-'));
        self.lives.iter().any(of)
    }
}

/// A process that an earlier life of the daemon left running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Of which service.
    pub service: Arc<str>,
    /// Its number.
    pub pid: u32,
    /// The name that the system has for it.
    pub name: String,
}

/// A living process, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub pid: u32,
    /// The name that the system has for it; empty when it does not tell.
    pub name: String,
}

/// Names one run of one service or one helper; chosen by the caller, never used twice.
pub type Key = u64;

/// Called, from any thread, when there may be something to [`Children::collect`]. It must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Where one output stream of a program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The null device.
    Null,
    /// A pipe whose read end is handed back.
    Pipe,
}

/// Everything that is needed to start one program.
#[derive(Debug, Clone)]
pub struct SpawnPlan {
    /// The file to execute. No PATH is searched; a relative path counts from `working_directory`.
    pub program: PathBuf,
    /// The arguments, the program's own name first. Windows gives the program its path in place of that name.
    pub argv: Vec<OsString>,
    /// The complete environment: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Where the program starts; `None`: where the daemon is.
    pub working_directory: Option<PathBuf>,
    /// What its stdin reads, as [`in_memory`] makes it; `None`: the null device.
    pub stdin: Option<Arc<File>>,
    /// Where stdout goes.
    pub stdout: Output,
    /// Where stderr goes, unless `merge_stderr`.
    pub stderr: Output,
    /// Sends stderr where stdout goes, in the order of writing (for probes).
    pub merge_stderr: bool,
    /// The cgroup that it is in from its first instruction on; it exists. Never one on Windows.
    pub cgroup: Option<Cgroup>,
    /// What is set in the process before the program runs, in this order; after it the working directory is entered.
    pub setup: Vec<Setup>,
}

/// One thing that is set in a process before its program runs. On Windows there is none of them: a plan that asks for
/// one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setup {
    /// A limit of `setrlimit(2)`.
    Limit {
        /// As that page names it, without RLIMIT_ and in lower case.
        name: String,
        /// The soft limit, in that page's unit; `None`: infinity.
        soft: Option<u64>,
        /// The hard limit.
        hard: Option<u64>,
    },
    /// `setpriority(2)`: -20 to 19.
    Nice(i32),
    /// `/proc/PID/oom_score_adj`: -1000 to 1000.
    OomScoreAdjust(i32),
    /// `sched_setaffinity(2)`: the processors by number. It is an error if one of them cannot be used.
    CpuAffinity(Vec<u32>),
    /// Whom it runs as, by names or numbers. With a user also USER, LOGNAME, HOME and SHELL, as far as the plan's
    /// environment does not have them.
    Identity {
        /// The user.
        user: Option<String>,
        /// The group; without it the user's own.
        group: Option<String>,
        /// Groups besides those that the user is in.
        supplementary_groups: Vec<String>,
    },
    /// `umask(2)`
    Umask(u32),
}

/// A program that was started: its process, to be given to [`Children::adopt`], and the read ends of its output.
#[derive(Debug)]
pub struct Spawned {
    /// The process, running.
    pub process: Process,
    /// The read end of stdout, non-blocking, when it was planned as a pipe.
    pub stdout: Option<LogPipe>,
    /// The read end of stderr, non-blocking, when it was planned as a pipe and not merged.
    pub stderr: Option<LogPipe>,
}

/// What could not be done when starting a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpawnStep {
    /// The pipes for its output, or the null device.
    Pipes,
    /// The step between the process and its program: see [`exec_step`].
    Setup,
    /// A limit.
    Limits,
    /// The nice value.
    Nice,
    /// What happens to it when memory runs out.
    OomScoreAdjust,
    /// Its processors.
    CpuAffinity,
    /// Its groups.
    Group,
    /// Its user.
    User,
    /// Its working directory.
    WorkingDirectory,
    /// Its cgroup.
    Cgroup,
    /// A process to run it in.
    Process,
    /// Running the program itself.
    Exec,
}

/// Why a program was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct SpawnError {
    /// What could not be done.
    pub step: SpawnStep,
    /// The system's number for it (`errno`; on Windows the value of `GetLastError`).
    pub errno: i32,
    /// One sentence that names what was tried and what is wrong with it.
    pub message: String,
}

impl SpawnError {
    /// Whether another try would fail as well until somebody changes something: no program, no such user, a refused
    /// limit. What is not known to be so counts as something that passes.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        platform::is_permanent(self.errno)
    }
}

/// How a process ended and what it had used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, when it ended by itself. On Windows also the NTSTATUS of a crash (negative: 0xC0000005 and the
    /// like).
    pub code: Option<i32>,
    /// The signal that ended it. On Windows only 9, for a process that [`Children`] terminated.
    pub signal: Option<i32>,
    /// Whether a core was written.
    pub core_dumped: bool,
    /// The kernel has killed a process of its cgroup, this one or another, for want of memory. Never where there is
    /// none.
    pub oom: bool,
    /// The most memory it ever had resident, in bytes; `None` when the system does not tell.
    pub max_rss_bytes: Option<u64>,
    /// The processor time, user and system, of it and the descendants that it waited for (Windows: of its whole tree).
    pub cpu: Option<Duration>,
    /// What it took the kernel; `None` when the system does not tell.
    pub effort: Option<Effort>,
}

/// What a process and the descendants that it waited for took of the kernel: `getrusage(2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Page faults without a disk.
    pub minor_faults: u64,
    /// Page faults that read from a disk.
    pub major_faults: u64,
    /// How often it gave the processor up.
    pub voluntary_switches: u64,
    /// How often the processor was taken from it.
    pub involuntary_switches: u64,
}

/// A process that was reaped, as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Its former process id.
    pub pid: u32,
    /// [`Exit::code`]
    pub code: Option<i32>,
    /// [`Exit::signal`]
    pub signal: Option<i32>,
    /// [`Exit::core_dumped`]
    pub core_dumped: bool,
    /// The most memory it ever had resident, in bytes; of a child also what it shared with the daemon at first.
    pub max_rss_bytes: u64,
    /// [`Exit::cpu`]
    pub cpu: Duration,
    /// [`Exit::effort`]
    pub effort: Effort,
}

/// A process that is about to be reaped.
#[derive(Debug, Clone, Copy)]
pub enum Ending<'a> {
    /// The one that was started for this key.
    Main(Key, &'a Exit),
    /// One that may have been started, and is not adopted yet; or somebody's orphan.
    Unknown(&'a Dead),
}

/// What a successor of the daemon has to know of a process that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// Its process id.
    pub pid: u32,
    /// [`Process::start_ticks`]
    pub start_ticks: Option<u64>,
    /// The value of [`RUN_ID_VARIABLE`] in its environment.
    pub run_id: String,
    /// The directory of its cgroup.
    pub cgroup: Option<PathBuf>,
    /// What the daemon itself had resident when it was started.
    pub rss_floor_bytes: u64,
    /// It has ended, and that was told.
    pub ended: bool,
}

/// What a living process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Open descriptors.
    pub fds: Option<u32>,
    /// Threads.
    pub threads: Option<u32>,
}

/// How the machine is; each `None` where the system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Machine {
    /// The share of the last 10 s, in percent, in which some task waited for a processor.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
    /// The same for disks.
    pub io_pressure: Option<f64>,
    /// Memory to be had without swapping, in bytes.
    pub memory_available: Option<u64>,
    /// All memory, in bytes.
    pub memory_total: Option<u64>,
    /// Load average of the last minute.
    pub load: Option<f64>,
}

/// A process that listens on a TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its id.
    pub pid: u32,
    /// The system's name for it, as short as the system keeps it.
    pub name: String,
    /// The service that it was started for, if its environment says so.
    pub service: Option<String>,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The started process alone.
    Main,
    /// Its process group; on Windows its job or its console.
    Group,
}

/// One message of [`NotifySocket`].
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it, as the kernel says; `None` when that is nobody whom this daemon can know.
    pub pid: Option<u32>,
    /// What it says.
    pub bytes: Vec<u8>,
    /// It was longer than a message may be, and the rest is lost.
    pub truncated: bool,
    /// To be dropped once this message has been dealt with.
    pub barrier: Barrier,
}

/// One thing that [`Children::collect`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collected {
    /// The process started for `key` has ended.
    Main {
        /// Whose process it was.
        key: Key,
        /// How it ended.
        exit: Exit,
    },
    /// A process that some run had left behind ended: a run that waits for its leftovers may be free of them now. Or a
    /// process that was started and is not adopted yet: its end is reported when it is.
    Orphan {
        /// Its former process id.
        pid: u32,
    },
}
