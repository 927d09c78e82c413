//! The methods: their names, parameters and results.
//!
//! | method | parameters | result |
//! |---|---|---|
//! | `daemon.hello` | [`HelloParams`] | [`Hello`] |
//! | `daemon.status` | none | [`crate::status::DaemonStatus`] |
//! | `daemon.reload` | none | [`Reloaded`] |
//! | `daemon.shutdown` | none | `{}`, once every service is down |
//! | `service.list` | none | [`crate::status::StatusDocument`] |
//! | `service.status` | [`NameParams`] | [`crate::status::ServiceStatus`], with `log_tail` |
//! | `service.start` `service.stop` `service.restart` `service.reset` `service.reload` | [`NamesParams`] | [`Outcomes`]: one per name, when all are done |
//! | `service.signal` | [`SignalParams`] | [`Outcomes`] |
//! | `crash.list` | [`CrashListParams`] | [`crate::crash::CrashList`] |
//! | `crash.get` | [`IdParams`] | [`crate::crash::CrashReport`] |
//! | `log.read` | [`LogReadParams`] | [`LogReadDone`] after `log.lines` notifications ([`crate::log::LogLines`]) |
//! | `log.follow` | [`LogReadParams`] | `log.lines` notifications until the client closes or cancels; then [`LogReadDone`] |
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
    /// The services; none of them is touched when one does not exist.
    pub names: Vec<String>,
    /// Wait until it is done (default), or only until it is taken.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn yes() -> bool {
    true
}

/// `service.signal`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalParams {
    /// The services.
    pub names: Vec<String>,
    /// `SIGHUP`, `HUP` or a number.
    pub signal: String,
    /// To every process of the service, not to its main process only.
    #[serde(default)]
    pub all: bool,
}

/// What became of a command, one entry per name in the order asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// One per name.
    pub outcomes: Vec<Outcome>,
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
pub struct Reloaded {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// New services.
    pub added: Vec<String>,
    /// Services that are no longer there.
    pub removed: Vec<String>,
    /// Services that are restarted, if they run, for what they run changed.
    pub restarted: Vec<String>,
    /// Services whose settings changed without touching the process.
    pub updated: Vec<String>,
    /// Services that are as they were: a count.
    pub unchanged: usize,
    /// What changed but needs a restart of the daemon: `daemon.state_dir` and such.
    #[serde(default)]
    pub needs_daemon_restart: Vec<String>,
}

/// `crash.list`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrashListParams {
    /// Only this service's.
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

/// `event.subscribe`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscribeParams {
    /// Only this service's events.
    pub name: Option<String>,
    /// First the last so many events that the daemon remembers.
    pub backlog: usize,
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
