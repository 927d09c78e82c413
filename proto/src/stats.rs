//! Crashes counted: alike ones together, and what they cost.

use serde::{Deserialize, Serialize};

use crate::crash::CrashKind;

/// `crash.groups`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupsParams {
    /// Only this service's, or those that fit a pattern.
    pub name: Option<String>,
    /// At most so many; all when absent.
    pub last: Option<usize>,
}

/// `mcpctl crashes --groups --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashGroups {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// The one with the newest crash first.
    pub groups: Vec<CrashGroup>,
}

/// Whether a group's crashes become more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// The first one was within the last 24 h.
    New,
    /// More in the last 24 h than in the 24 h before.
    Rising,
    /// About as many.
    Steady,
    /// Fewer.
    Falling,
    /// None in the last 24 h.
    Quiet,
}

impl Trend {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Rising => "rising",
            Self::Steady => "steady",
            Self::Falling => "falling",
            Self::Quiet => "quiet",
        }
    }
}

/// Crashes with the same cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashGroup {
    /// What they have in common: [`crate::crash::CrashReport::fingerprint`].
    pub fingerprint: String,
    /// The service.
    pub service: String,
    /// What kind of end.
    pub kind: CrashKind,
    /// The cause, in the words of the newest.
    pub cause: String,
    /// So many, those included whose reports are gone.
    pub count: u64,
    /// When the first was, RFC 3339 UTC.
    pub first_seen: String,
    /// When the newest was.
    pub last_seen: String,
    /// So many in the last 24 h.
    pub last_day: u64,
    /// So many in the 24 h before.
    pub day_before: u64,
    /// Whether they become more.
    pub trend: Trend,
    /// The newest one's report; null when it has none.
    pub newest: Option<String>,
}

/// `crash.stats`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsParams {
    /// Only this service's, or those that fit a pattern.
    pub name: Option<String>,
}

/// `mcpctl crashes stats --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashStats {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// By name. A service of which nothing is on record is not there.
    pub services: Vec<ServiceStats>,
}

/// What is on record of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// The service.
    pub service: String,
    /// Where the record begins, RFC 3339 UTC.
    pub since: String,
    /// The present state of that record: `up`, `down`, `off` (not wanted), `unknown`.
    pub now: String,
    /// So many crashes.
    pub crashes: u64,
    /// So many of them were followed by a restart.
    pub restarts: u64,
    /// For so long it was available.
    pub up_seconds: f64,
    /// For so long it was not, and should have been: crashed, waiting, starting, parked, unhealthy.
    pub down_seconds: f64,
    /// The share of time in which it was available, of the time in which it should have been.
    pub availability: Availability,
    /// The mean time between failures: time up by failures; null without a failure.
    pub mtbf_seconds: Option<f64>,
    /// The mean time to recover: from a failure until it was up again; null while that has never happened.
    pub mttr_seconds: Option<f64>,
    /// The longest of these.
    pub longest_outage_seconds: Option<f64>,
    /// The windows of `availability`, with what happened in them.
    pub windows: Vec<Window>,
    /// By cause, the most frequent first.
    pub causes: Vec<CauseStats>,
}

/// Shares from 0 to 1; null where the service was not wanted, or nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Availability {
    /// Of the last hour.
    pub last_hour: Option<f64>,
    /// Of the last 24 h.
    pub last_day: Option<f64>,
    /// Of the last 7 days.
    pub last_week: Option<f64>,
}

/// What happened in a time that ends now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// `1h`, `24h`, `7d`
    pub name: String,
    /// For so long of it something is known and the service was wanted.
    pub observed_seconds: f64,
    /// For so long it was available.
    pub up_seconds: f64,
    /// So many crashes.
    pub crashes: u64,
    /// So many of them were followed by a restart.
    pub restarts: u64,
}

/// One cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CauseStats {
    /// The group; null where it was not known.
    pub fingerprint: Option<String>,
    /// What kind of end.
    pub kind: CrashKind,
    /// The cause, in the words of the newest.
    pub cause: String,
    /// So many.
    pub crashes: u64,
    /// How long it took to be up again, in the mean; null while that has never happened.
    pub mttr_seconds: Option<f64>,
}
