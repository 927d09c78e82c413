//! `[service.NAME.resources]`: what a process may use, and how the system treats it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::{CgroupLimit, CgroupValue};
use crate::{duration, size};

/// `[service.NAME.resources]`. What is absent stays as it is for mcpd itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcesSpec {
    /// `nice`: -20 (first in line for the processor) to 19, `setpriority(2)`.
    pub nice: Option<i32>,
    /// `oom_score_adjust`: -1000 (never) to 1000 (first to go when memory runs out), `proc(5)`.
    pub oom_score_adjust: Option<i32>,
    /// `cpu_affinity`: the processors that it may run on, `sched_setaffinity(2)`; rising, none twice, never empty.
    pub cpu_affinity: Option<Vec<u32>>,
    /// `limit_*`, `setrlimit(2)`.
    pub limits: BTreeMap<Limit, LimitValue>,
    /// What the cgroup of a run may use.
    pub cgroup: BTreeMap<CgroupLimit, CgroupValue>,
}

/// A limit of `setrlimit(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is named for its RLIMIT_, which setrlimit(2) explains")]
pub enum Limit {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// What a [`Limit`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitUnit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Microseconds.
    Microseconds,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::As,
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Locks,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nice,
        Self::Nofile,
        Self::Nproc,
        Self::Rss,
        Self::Rtprio,
        Self::Rttime,
        Self::Sigpending,
        Self::Stack,
    ];

    /// Its key, `limit_nofile`: systemd's name in lower case.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::As => "limit_as",
            Self::Core => "limit_core",
            Self::Cpu => "limit_cpu",
            Self::Data => "limit_data",
            Self::Fsize => "limit_fsize",
            Self::Locks => "limit_locks",
            Self::Memlock => "limit_memlock",
            Self::Msgqueue => "limit_msgqueue",
            Self::Nice => "limit_nice",
            Self::Nofile => "limit_nofile",
            Self::Nproc => "limit_nproc",
            Self::Rss => "limit_rss",
            Self::Rtprio => "limit_rtprio",
            Self::Rttime => "limit_rttime",
            Self::Sigpending => "limit_sigpending",
            Self::Stack => "limit_stack",
        }
    }

    /// What it counts.
    #[must_use]
    pub const fn unit(self) -> LimitUnit {
        match self {
            Self::As | Self::Core | Self::Data | Self::Fsize => LimitUnit::Bytes,
            Self::Memlock | Self::Msgqueue | Self::Rss | Self::Stack => LimitUnit::Bytes,
            Self::Cpu => LimitUnit::Seconds,
            Self::Rttime => LimitUnit::Microseconds,
            Self::Locks | Self::Nice | Self::Nofile | Self::Nproc | Self::Rtprio | Self::Sigpending => {
                LimitUnit::Count
            }
        }
    }

    /// The largest number that means something.
    #[must_use]
    pub const fn most(self) -> u64 {
        match self {
            // 20 minus the nice value that may be reached, `setrlimit(2)`.
            Self::Nice => 40,
            // `sched(7)`
            Self::Rtprio => 99,
            Self::As
            | Self::Core
            | Self::Cpu
            | Self::Data
            | Self::Fsize
            | Self::Locks
            | Self::Memlock
            | Self::Msgqueue
            | Self::Nofile
            | Self::Nproc
            | Self::Rss
            | Self::Rttime
            | Self::Sigpending
            | Self::Stack => i64::MAX.unsigned_abs(),
        }
    }
}

/// A soft limit, which is in force and which the program may raise, and the hard one, which ends that. In the unit of
/// the [`Limit`]; `None`: infinity. The soft one is never over the hard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitValue {
    /// In force.
    pub soft: Option<u64>,
    /// As far as the soft one may be raised.
    pub hard: Option<u64>,
}

impl LimitValue {
    /// As it is written in a configuration: `1024:65536`, `64M`, `infinity`.
    #[must_use]
    pub fn text(self, unit: LimitUnit) -> String {
        let one = |value: Option<u64>| match (value, unit) {
            (None, _) => "infinity".to_owned(),
            (Some(value), LimitUnit::Count) => value.to_string(),
            (Some(value), LimitUnit::Bytes) => size::format(value),
            (Some(value), LimitUnit::Seconds) => duration::format(Duration::from_secs(value)),
            (Some(value), LimitUnit::Microseconds) => duration::format(Duration::from_micros(value)),
        };
        if self.soft == self.hard { one(self.soft) } else { format!("{}:{}", one(self.soft), one(self.hard)) }
    }
}

/// Numbers of processors as they are written: `0-3,5`. They must rise.
pub(crate) struct Ranges<'a>(pub(crate) &'a [u32]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match run {
                [] => {}
                [one] => write!(f, "{one}")?,
                [first, .., last] => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}
