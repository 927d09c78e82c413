//! Errors on the wire: a JSON-RPC code, a sentence for people, and a stable `kind` for programs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// JSON-RPC's `error` member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorObject {
    /// JSON-RPC's own codes, or -32000 for everything of mcpd's.
    pub code: i64,
    /// One sentence: what was tried, on what, what to do next.
    pub message: String,
    /// At least `{"kind": KIND}`.
    #[serde(default)]
    pub data: Value,
}

/// The stable `data.kind` of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Not JSON, or not UTF-8.
    ParseError,
    /// JSON, but no JSON-RPC request.
    InvalidRequest,
    /// No such method.
    MethodNotFound,
    /// The method is known, its parameters are wrong.
    InvalidParams,
    /// A line over [`crate::MAX_LINE`]; the connection is closed.
    LineTooLong,
    /// No service of that name; `data.name`, and `data.nearest` when one is close.
    NoSuchService,
    /// No crash report with that id.
    NoSuchCrash,
    /// There is a crash report with that id, but its file is damaged; `data.path` is the file.
    DamagedCrash,
    /// The service did not come up; `data.stderr_tail` is a list of its last lines, `data.service` its name.
    StartFailed,
    /// The service is not running and the verb needs it to.
    NotRunning,
    /// The service has no `exec_reload`.
    NoReload,
    /// A command of `exec_reload` has failed; the service runs on.
    ReloadFailed,
    /// Another command took over: a stop during a start, say.
    Superseded,
    /// The plan that was to be carried out is not what a reload would do any more; nothing was changed.
    PlanChanged,
    /// The program that was to take over would not, or cannot be executed; nothing was changed.
    NotUpgraded,
    /// The configuration has errors; `data.diagnostics` is the text that `--check` prints.
    ConfigInvalid,
    /// The daemon is on its way down.
    ShuttingDown,
    /// Too much at once: requests waiting, sessions.
    DaemonBusy,
    /// The peer may not do this.
    Denied,
    /// It took longer than asked for.
    Timeout,
    /// A defect of mcpd's own.
    Internal,
}

impl ErrorObject {
    /// An error with nothing but its kind in `data`.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::with(kind, message, Map::new())
    }

    /// An error with more in `data`; `kind` is added to it.
    #[must_use]
    pub fn with(kind: Kind, message: impl Into<String>, mut data: Map<String, Value>) -> Self {
        data.insert("kind".into(), json!(kind));
        let code = match kind {
            Kind::ParseError => -32700,
            Kind::InvalidRequest | Kind::LineTooLong => -32600,
            Kind::MethodNotFound => -32601,
            Kind::InvalidParams => -32602,
            Kind::Internal => -32603,
            Kind::NoSuchService
            | Kind::NoSuchCrash
            | Kind::DamagedCrash
            | Kind::StartFailed
            | Kind::NotRunning
            | Kind::NoReload
            | Kind::ReloadFailed
            | Kind::Superseded
            | Kind::PlanChanged
            | Kind::NotUpgraded
            | Kind::ConfigInvalid
            | Kind::ShuttingDown
            | Kind::DaemonBusy
            | Kind::Denied
            | Kind::Timeout => -32000,
        };
        Self { code, message: message.into(), data: Value::Object(data) }
    }

    /// `data.kind`, when it is one that this version knows.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        serde_json::from_value(self.data.get("kind")?.clone()).ok()
    }
}
