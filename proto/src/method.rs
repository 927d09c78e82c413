//! The methods: their names, parameters and results.
//!
//! | method | parameters | result |
//! |---|---|---|
//! | `daemon.hello` | [`HelloParams`] | [`Hello`] |
//! | `daemon.status` | none | [`crate::status::DaemonStatus`] |
//! | `config.plan` | [`crate::plan::PlanParams`] | [`crate::plan::Plan`] |
//! | `daemon.reload` | [`ReloadParams`] | [`Reloaded`] |
//! | `daemon.shutdown` | none | `{}`, once every service is down |
//! | `service.list` | [`ListParams`] | [`crate::status::StatusDocument`] |
//! | `service.status` | [`NameParams`] | [`crate::status::ServiceStatus`], with `log_tail` |
//! | `service.start` `service.stop` `service.restart` `service.reset` `service.reload` | [`NamesParams`] | [`Outcomes`]: one per service, when all are done; with `each` after `service.outcome` notifications ([`EachOutcome`]) |
//! | `service.signal` | [`SignalParams`] | [`Outcomes`] |
//! | `crash.list` | [`CrashListParams`] | [`crate::crash::CrashList`] |
//! | `crash.get` | [`IdParams`] | [`crate::crash::CrashReport`] |
//! | `log.read` | [`LogReadParams`] | [`LogReadDone`] after `log.lines` notifications ([`crate::log::LogLines`]) |
//! | `log.follow` | [`LogReadParams`] | `log.lines` notifications until the client closes or cancels; then [`LogReadDone`] |
//! | `event.list` | [`EventListParams`] | [`EventList`] |
//! | `event.subscribe` | [`SubscribeParams`] | `event` notifications ([`crate::event::Event`]) until the client closes or cancels |
//! | `cancel` | [`CancelParams`] | none: a notification that ends a stream |

use serde::{Deserialize, Serialize};

use crate::error::ErrorObject;
use crate::message::Id;
use crate::status::ServiceStatus;

/// `daemon.hello`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelloParams {
    /// The client's name and version, for the daemon's log.
    pub client: String,
}

/// The answer to `daemon.hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// The methods that this daemon has.
    pub methods: Vec<String>,
}

/// `service.list`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListParams {
    /// Only these, by name or pattern (`worker@*`); all when empty.
    pub names: Vec<String>,
}

/// A method on one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameParams {
    /// The service.
    pub name: String,
}

/// A method on several services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesParams {
    /// The services, by name or pattern (`worker@*`); none of them is touched when one does not exist or fits nothing.
    pub names: Vec<String>,
    /// Wait until it is done (default), or only until it is taken.
    #[serde(default = "yes")]
    pub wait: bool,
    /// Say of each service what became of it as soon as that is known, as a `service.outcome` notification
    /// ([`EachOutcome`]); the answer then only counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
}

fn yes() -> bool {
    true
}

/// `service.signal`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalParams {
    /// The services, by name or pattern.
    pub names: Vec<String>,
    /// `SIGHUP`, `HUP` or a number.
    pub signal: String,
    /// To every process of the service, not to its main process only.
    #[serde(default)]
    pub all: bool,
}

/// What became of a command, one entry per service in the order asked for; those of a pattern by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// One per service; empty when each was told by itself.
    pub outcomes: Vec<Outcome>,
    /// So many went well.
    #[serde(default)]
    pub succeeded: usize,
    /// So many did not.
    #[serde(default)]
    pub failed: usize,
}

/// The parameters of a `service.outcome` notification, besides `request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EachOutcome {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// So many services have an outcome, this one included.
    pub done: usize,
    /// Of so many.
    pub of: usize,
    /// What became of this one.
    pub outcome: Outcome,
}

/// What became of a command on one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The service.
    pub name: String,
    /// It is as asked for.
    pub ok: bool,
    /// One sentence: "running, pid 4711", "was already stopped".
    pub message: String,
    /// Why not, when `ok` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
    /// The service as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<ServiceStatus>>,
}

/// `daemon.reload`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadParams {
    /// Replace processes that changes wait for, those of earlier reloads too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
    /// Do exactly what the plan with this id says ([`crate::plan::Plan`]), or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// The answer to `daemon.reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// New services.
    pub added: Vec<String>,
    /// Services that are no longer there.
    pub removed: Vec<String>,
    /// Services that start or restart, for what they run or what kept them down changed.
    pub restarted: Vec<String>,
    /// Services that stop because of others, and stay known: one that conflicts with them is started.
    #[serde(default)]
    pub stopped: Vec<String>,
    /// Services of which something waits for the next start, since this reload or an earlier one.
    #[serde(default)]
    pub pending: Vec<String>,
    /// Services whose settings changed without touching the process.
    pub updated: Vec<String>,
    /// Services that are as they were: a count.
    pub unchanged: usize,
    /// What changed but needs a restart of the daemon: `daemon.state_dir` and such.
    #[serde(default)]
    pub needs_daemon_restart: Vec<String>,
}

/// `daemon.upgrade`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpgradeParams {
    /// The program that is to take over, an absolute path; absent: the one that is now where mcpd was started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Only ask it whether it would.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The answer to `daemon.upgrade`: it would take over, and unless that was all that was asked it is being executed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrading {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// The version that answers.
    pub from: String,
    /// The version that takes over.
    pub to: String,
    /// Its file.
    pub program: String,
    /// Services that it goes on with.
    pub services: usize,
}

/// `crash.list`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrashListParams {
    /// Only this service's, or those that fit a pattern.
    pub name: Option<String>,
    /// The newest so many; all when absent.
    pub last: Option<usize>,
}

/// `crash.get`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdParams {
    /// The report's id, or a prefix of it that fits only one.
    pub id: String,
}

/// `log.read` and `log.follow`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogReadParams {
    /// The service.
    pub name: String,
    /// The last so many lines. Default: everything for `log.read` (bounded by `since`), 10 for `log.follow`.
    pub lines: Option<usize>,
    /// Only lines at or after this instant, RFC 3339.
    pub since: Option<String>,
}

/// The end of `log.read`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReadDone {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Lines sent.
    pub lines: u64,
}

/// `event.list`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventListParams {
    /// Only this service's events, or those that fit a pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only events with one of these names; none: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Only events at or after this instant, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The newest so many. Default: 100, at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
}

/// The answer to `event.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventList {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Oldest first.
    pub events: Vec<crate::event::Event>,
}

/// `event.subscribe`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscribeParams {
    /// Only this service's events, or those that fit a pattern.
    pub name: Option<String>,
    /// First the last so many events of the journal. Default: none; with `since` or `after` all of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<usize>,
    /// First the events at or after this instant, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// First the events after the one with this id: a client goes on where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Go on with what happens (default); false: end after the backlog, with the result `{}`.
    #[serde(default = "yes")]
    pub follow: bool,
}

/// `cancel`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelParams {
    /// The id of the request that opened the stream.
    pub request: Id,
}
