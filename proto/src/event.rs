//! What happened: one record per transition, decision, command.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Grows by one.
    pub id: u64,
    /// The id of the event that brought this one about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// When, RFC 3339 UTC.
    pub time: String,
    /// The service; null for the daemon's own.
    pub service: Option<String>,
    /// A stable name: `started`, `exited`, `unhealthy`, `crash`, `backoff`, `parked`, `stopped`, `reload`, ...
    pub event: String,
    /// One sentence.
    pub message: String,
    /// Facts: `pid`, `generation`, `state`, `crash_id`, ...
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}
