//! Is the service well? The blocking halves of the health probes.
//!
//! The loop decides when to probe and what a verdict leads to; a worker thread calls one of these functions, waits as
//! long as the probe's timeout allows and hands the [`Verdict`] back. Nothing here retries, counts, sleeps or knows a
//! service by name. An `exec` probe is a process and so is run by a minder; only its wording lives here.
//!
//! | module | answers |
//! |---|---|
//! | [`http`](HttpCheck) | how is a URL asked? |
//! | `expect` | is that answer the expected one? |
//! | [`tcp()`] | does this address accept a connection? |
//! | [`exec`](exec_verdict) | what does this end of a probe program say? |
//! | `resolve` | which addresses has this host, within a time limit? |
//! | [`words`] | how do a duration and an I/O error read? |

mod exec;
mod expect;
mod http;
mod resolve;
mod tcp;
pub mod words;

pub use exec::exec_verdict;
pub use http::HttpCheck;
pub use tcp::tcp;

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Healthy.
    pub ok: bool,
    /// One line for people: `200 after 4 ms`, `503 after 4 ms: expected any 2xx`, `connection refused`,
    /// `timed out after 5 s`.
    pub detail: String,
}

impl Verdict {
    /// Healthy, with what was seen.
    #[must_use]
    pub(crate) fn good(detail: impl Into<String>) -> Self {
        Self { ok: true, detail: detail.into() }
    }

    /// Not healthy, with the cause.
    #[must_use]
    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self { ok: false, detail: detail.into() }
    }
}
