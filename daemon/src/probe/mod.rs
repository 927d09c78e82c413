//! Is the service well? The health probes, each of which waits without a thread of its own where that is possible.
//!
//! The loop decides when to probe and what a verdict leads to; a task runs one of these functions, which ends when the
//! probe's timeout is over at the latest, and hands the [`Verdict`] back. Nothing here retries, counts, sleeps or knows
//! a service by name. An `exec` probe is a process and so is run by a minder; only its wording lives here.
//!
//! | module | answers | needs |
//! |---|---|---|
//! | [`http`](HttpCheck) | how is a URL asked, and how does what came of it read? | |
//! | `plain` | the conversation for `http://` | a socket |
//! | `secure` | the conversation for `https://` | a thread, one of 256 at most |
//! | `expect` | is that answer the expected one? | a thread for a large body |
//! | [`tcp()`] | does this address accept a connection? | a socket |
//! | [`exec`](exec_verdict) | what does this end of a probe program say? | |
//! | `connect` | how is a connection made within a time limit? | a socket |
//! | `resolve` | which addresses has this host? | a thread per name, but for literals and `localhost` |
//! | [`words`] | how do a duration and an I/O error read? | |

mod connect;
mod exec;
mod expect;
mod http;
mod plain;
mod resolve;
mod secure;
mod tcp;
pub mod words;

use std::time::Duration;

use mcpd_core::Finding;
use tokio::time::Instant;

pub use exec::exec_verdict;
pub use http::HttpCheck;
pub use tcp::tcp;

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What that says of the service.
    pub finding: Finding,
    /// One line for people: `200 after 4 ms`, `503 after 4 ms: expected any 2xx`, `connection refused`,
    /// `timed out after 5 s`, `could not be asked: Too many open files`.
    pub detail: String,
}

impl Verdict {
    /// Healthy, with what was seen.
    #[must_use]
    pub(crate) fn good(detail: impl Into<String>) -> Self {
        Self { finding: Finding::Good, detail: detail.into() }
    }

    /// Not healthy, with the cause.
    #[must_use]
    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self { finding: Finding::Bad, detail: detail.into() }
    }

    /// The service could not even be asked, and why: nothing about its health.
    #[must_use]
    pub(crate) fn unknown(why: &str) -> Self {
        Self { finding: Finding::Unknown, detail: format!("could not be asked: {why}") }
    }

    /// No answer within the limit: not healthy.
    #[must_use]
    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::bad(format!("timed out after {}", words::duration(limit)))
    }

    /// Healthy?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.finding == Finding::Good
    }
}

/// When a probe's time is over. A timeout past the end of the clock is none.
fn deadline(start: Instant, timeout: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    start.checked_add(timeout).unwrap_or(start + FOR_EVER)
}
