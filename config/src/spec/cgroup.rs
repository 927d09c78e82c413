//! What the cgroup of a run may use: the keys of `[service.NAME.resources]` that `systemd.resource-control(5)`
//! explains.

use serde::{Deserialize, Serialize};

use crate::size;

/// A limit, or a share, of all processes of a run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CgroupLimit {
    /// `memory_max`, `MemoryMax=`: over it the kernel kills.
    MemoryMax,
    /// `memory_high`, `MemoryHigh=`: over it memory is reclaimed and the processes are slowed down.
    MemoryHigh,
    /// `memory_swap_max`, `MemorySwapMax=`
    MemorySwapMax,
    /// `tasks_max`, `TasksMax=`: processes and threads.
    TasksMax,
    /// `cpu_quota`, `CPUQuota=`: of the time of one processor.
    CpuQuota,
    /// `cpu_weight`, `CPUWeight=`: a share where processors are short; 100 without it.
    CpuWeight,
    /// `io_weight`, `IOWeight=`: a share where disks are short; 100 without it.
    IoWeight,
}

/// The value of a [`CgroupLimit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupValue {
    /// No limit.
    Infinity,
    /// So many: bytes, tasks, or a weight.
    Number(u64),
    /// Hundredths of a percent: of the machine's memory, of the tasks that it allows, of one processor's time.
    Share(u32),
}

impl CgroupLimit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::MemoryMax,
        Self::MemoryHigh,
        Self::MemorySwapMax,
        Self::TasksMax,
        Self::CpuQuota,
        Self::CpuWeight,
        Self::IoWeight,
    ];

    /// Its key: systemd's name in lower case.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::MemoryMax => "memory_max",
            Self::MemoryHigh => "memory_high",
            Self::MemorySwapMax => "memory_swap_max",
            Self::TasksMax => "tasks_max",
            Self::CpuQuota => "cpu_quota",
            Self::CpuWeight => "cpu_weight",
            Self::IoWeight => "io_weight",
        }
    }
}

impl CgroupValue {
    /// As it is written in a configuration: `64M`, `200%`, `infinity`.
    #[must_use]
    pub fn text(self, of: CgroupLimit) -> String {
        match (self, of) {
            (Self::Infinity, _) => "infinity".to_owned(),
            (Self::Share(share), _) => percent(share),
            (
                Self::Number(bytes),
                CgroupLimit::MemoryMax | CgroupLimit::MemoryHigh | CgroupLimit::MemorySwapMax,
            ) => size::format(bytes),
            (
                Self::Number(number),
                CgroupLimit::TasksMax
                | CgroupLimit::CpuQuota
                | CgroupLimit::CpuWeight
                | CgroupLimit::IoWeight,
            ) => number.to_string(),
        }
    }
}

/// `200%`, `12.5%`
fn percent(hundredths: u32) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}
