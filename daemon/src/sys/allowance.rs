//! What the processes of a cgroup may use together, and what they have used.

use std::path::PathBuf;
use std::time::Duration;

/// A controller of cgroup v2, `cgroups(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// The time of processors.
    Cpu,
    /// Disks.
    Io,
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// All that something can be asked of.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Io, Self::Memory, Self::Pids];

    /// The kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// What is limited or shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Memory: over it the kernel kills.
    MemoryMax,
    /// Memory: over it the kernel slows down and reclaims.
    MemoryHigh,
    /// Swap.
    MemorySwapMax,
    /// Processes and threads.
    TasksMax,
    /// Time of processors. A [`Amount::Share`] is one of a single processor, and may be over the whole.
    CpuQuota,
    /// A share where processors are short.
    CpuWeight,
    /// A share where disks are short.
    IoWeight,
}

impl Resource {
    /// Who sees to it.
    #[must_use]
    pub const fn controller(self) -> Controller {
        match self {
            Self::MemoryMax | Self::MemoryHigh | Self::MemorySwapMax => Controller::Memory,
            Self::TasksMax => Controller::Pids,
            Self::CpuQuota | Self::CpuWeight => Controller::Cpu,
            Self::IoWeight => Controller::Io,
        }
    }
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// As much as there is.
    Unlimited,
    /// Bytes, tasks, or a weight.
    Number(u64),
    /// Hundredths of a percent of what the machine has.
    Share(u32),
}

/// One thing that the processes of a cgroup may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The configuration's key for it: what an error names.
    pub key: &'static str,
    /// What.
    pub resource: Resource,
    /// How much of it.
    pub amount: Amount,
}

/// Why an allowance is not in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Disallowed {
    /// A sentence that names the key, what was tried and what is to be done.
    pub message: String,
    /// Another try would fail as well until somebody changes something.
    pub permanent: bool,
}

/// What the processes of a cgroup use and have used; `None` where the system does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory now, in bytes.
    pub memory: Option<u64>,
    /// The most that it may be; also `None` without a limit.
    pub memory_max: Option<u64>,
    /// The most that it ever was.
    pub memory_peak: Option<u64>,
    /// Processes and threads now.
    pub tasks: Option<u64>,
    /// The most that there may be; also `None` without a limit.
    pub tasks_max: Option<u64>,
    /// The time of processors so far.
    pub cpu: Option<Duration>,
    /// Processes that the kernel has killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// What memory was short of when the kernel killed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortage {
    /// The cgroup had reached its own limit.
    Own,
    /// Its own limit was not the matter: the nearest cgroup above it that has one.
    Above {
        /// Its directory.
        cgroup: PathBuf,
        /// Its limit in bytes.
        limit: u64,
    },
    /// No cgroup that can be seen from here has a limit.
    Machine,
    /// Its cgroup is gone already.
    Unknown,
}
