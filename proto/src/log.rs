//! Lines of services' output.

use serde::{Deserialize, Serialize};

use crate::message::Id;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// stdout
    Out,
    /// stderr
    Err,
}

impl Stream {
    /// The name in a log file and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// One line, without its newline. Bytes that are no UTF-8 travel in `base64`; `text` is then a readable approximation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When its last byte was read, RFC 3339 UTC; null where the format keeps no times (`raw`).
    pub time: Option<String>,
    /// Which stream; null where the format keeps none (`raw`).
    pub stream: Option<Stream>,
    /// The line.
    pub text: String,
    /// The line's bytes, when they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// The line goes on in the next one of the same stream: it was cut for its length.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

/// The notification `log.lines`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// The request that asked for them.
    #[serde(default = "no_request")]
    pub request: Id,
    /// In the order in which they came.
    pub lines: Vec<LogLine>,
    /// Lines left out before these, for this reader was too slow.
    #[serde(default)]
    pub skipped: u64,
}

fn no_request() -> Id {
    Id::Null
}
