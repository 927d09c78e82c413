//! What is sent when something is wrong with a service, and when it is right again: to the programs and webhooks of
//! `crash.notify`.

use serde::{Deserialize, Serialize};

use crate::crash::CrashReport;

/// One condition of one service, that has begun or is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// `failing`, `flapping`, `parked` or `unhealthy`.
    pub condition: String,
    /// `opened` or `closed`.
    pub state: String,
    /// The service.
    pub service: String,
    /// When it began or was over, RFC 3339 UTC.
    pub time: String,
    /// One sentence that a person understands.
    pub reason: String,
    /// The machine.
    pub host: String,
    /// For so long it was so; null when it has just begun.
    pub after_seconds: Option<f64>,
    /// The id of the event `condition_opened` or `condition_closed`.
    pub event: u64,
    /// So many about this service were held back from this receiver before this one, for there were too many.
    #[serde(default)]
    pub suppressed: u64,
    /// So many, of any service, did not reach this receiver before this one.
    #[serde(default)]
    pub lost: u64,
    /// The id of the crash that brought it about, if there is a report of it.
    pub crash_id: Option<String>,
    /// Its report; null when there is none, or none any more. Long ones come without the beginnings of their tails.
    pub crash: Option<CrashReport>,
}
