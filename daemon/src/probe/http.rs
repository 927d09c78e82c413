//! How is a URL asked, and how does what came of it read?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mcpd_config::spec::HttpProbe;
use tokio::sync::oneshot;
use tokio::time::Instant;
use ureq_proto::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};

use super::expect::Expectation;
use super::secure::Secure;
use super::{Verdict, deadline, plain, words};
use crate::workers::start_thread;

/// Bytes of a body that are read. A health endpoint answers with a few hundred; whoever streams here is not asked to stop.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// Bytes of an answer's status line and headers.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// Bytes of a body that are judged on the spot, which takes microseconds. A larger one gets a thread.
const JUDGED_HERE: usize = 16 * 1024;

/// A URL, how it is asked and what the answer must be: made once per service, run for every probe.
///
/// Each run is a new connection with `Connection: close`. Redirects are not followed: what the service itself answers
/// is what counts. Proxies of the environment are not used. Certificates are checked against Mozilla's roots, which are
/// built in.
pub struct HttpCheck {
    pub(super) request: Request<()>,
    pub(super) timeout: Duration,
    expect: Arc<Expectation>,
    /// For `https`.
    secure: Option<Secure>,
}

/// What is left to judge of an answer whose status is fine.
pub(super) enum Body {
    /// Its content does not matter, and it came to its end.
    Ignored,
    /// Its content does not matter, and it is larger than [`MAX_BODY`].
    CutOff,
    /// All of it.
    Whole(Vec<u8>),
}

/// Why an answer is not good.
#[derive(Debug)]
pub(super) enum Wrong {
    /// There is none, in a sentence.
    None(String),
    /// What it says, or how it ends.
    Answer(String),
    TimedOut,
    /// This machine could not even ask, and why.
    NotAsked(String),
}

impl HttpCheck {
    /// From the resolved configuration. `timeout` holds for name look-up, connection, answer and body together.
    ///
    /// # Errors
    /// A URL, header or pattern that is no such thing, in a sentence.
    pub fn new(spec: &HttpProbe, timeout: Duration) -> Result<Self, String> {
        let uri: Uri = spec.url.parse().map_err(|error| format!("{:?} is no URL: {error}", spec.url))?;
        let secure = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(Secure::new(timeout)),
            _ => return Err(format!("{:?} does not start with http:// or https://", spec.url)),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(format!("{:?} names no host", spec.url));
        }
        let mut request = Request::get(uri);
        for (name, value) in &spec.headers {
            let name_ok = HeaderName::from_bytes(name.as_bytes());
            let name_ok = name_ok.map_err(|_| format!("{name:?} is no header name"))?;
            // Not the value itself: it may be a token.
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("the value of {name} is no header value"))?;
            request = request.header(name_ok, value);
        }
        let mut request = request.body(()).map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let agent = HeaderValue::from_static(concat!("mcpd/", env!("CARGO_PKG_VERSION")));
        headers.entry(header::USER_AGENT).or_insert(agent);
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        Ok(Self { request, timeout, expect: Arc::new(Expectation::new(spec)?), secure })
    }

    /// Asks once and judges the answer. Ends within the timeout, give or take scheduling.
    pub async fn run(self: &Arc<Self>) -> Verdict {
        let start = Instant::now();
        let mut status = None;
        let end = match &self.secure {
            None => {
                let until = deadline(start, self.timeout);
                let asked = plain::ask(self, until, &mut status);
                tokio::time::timeout_at(until, asked).await.unwrap_or(Err(Wrong::TimedOut))
            }
            Some(secure) => secure.ask(self, start, &mut status).await,
        };
        let took = start.elapsed();
        let end = match end {
            Ok(Body::Whole(body)) => self.judge(body).await.map(|()| ""),
            Ok(Body::Ignored) => Ok(""),
            Ok(Body::CutOff) => Ok(" (body over 1 MiB not read)"),
            Err(wrong) => Err(wrong),
        };
        let seen = status.map_or_else(String::new, |status| {
            format!("{} after {}", status.as_u16(), words::duration(took))
        });
        match (end, status) {
            (Ok(more), _) => Verdict::good(format!("{seen}{more}")),
            (Err(Wrong::NotAsked(why)), _) => Verdict::unknown(&why),
            (Err(Wrong::TimedOut), None) => Verdict::timed_out(self.timeout),
            (Err(Wrong::TimedOut), Some(status)) => {
                let limit = words::duration(self.timeout);
                Verdict::bad(format!("timed out after {limit} (status {})", status.as_u16()))
            }
            (Err(Wrong::None(why) | Wrong::Answer(why)), None) => Verdict::bad(why),
            (Err(Wrong::None(why) | Wrong::Answer(why)), Some(_)) => Verdict::bad(format!("{seen}: {why}")),
        }
    }

    /// Whether the body's content matters.
    pub(super) fn reads_body(&self) -> bool {
        self.expect.reads_body()
    }

    /// What is wrong with the head of an answer, if anything; else whether its body is to be read.
    pub(super) fn look(&self, status: StatusCode, headers: &HeaderMap) -> Result<bool, Wrong> {
        if let Err(why) = self.expect.status(status.as_u16()) {
            let target = headers.get(header::LOCATION).filter(|_| status.is_redirection());
            return Err(Wrong::Answer(match target.and_then(|target| target.to_str().ok()) {
                Some(target) => {
                    format!("{why}, and redirects are not followed ({})", words::shortened(target, 80))
                }
                None => why,
            }));
        }
        // An event stream has no end to wait for; its status is all that it says about health.
        let streams = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"));
        Ok(self.reads_body() || !streams)
    }

    async fn judge(&self, body: Vec<u8>) -> Result<(), Wrong> {
        if body.len() <= JUDGED_HERE {
            return self.expect.body(&body).map_err(Wrong::Answer);
        }
        let (judged, verdict) = oneshot::channel();
        let expect = self.expect.clone();
        start_thread("judge", move || drop(judged.send(expect.body(&body)))).map_err(|error| {
            Wrong::NotAsked(format!("no thread to read its answer: {}", words::io_error(&error)))
        })?;
        match verdict.await {
            Ok(verdict) => verdict.map_err(Wrong::Answer),
            Err(_) => Err(Wrong::NotAsked("its answer could not be read".to_owned())),
        }
    }
}

impl fmt::Debug for HttpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither URL nor headers: both may hold credentials.
        f.debug_struct("HttpCheck").field("host", &self.request.uri().host()).finish_non_exhaustive()
    }
}

/// A body on its way in: how much of it there was, and what of it is kept.
pub(super) struct Taken {
    keep: bool,
    size: usize,
    kept: Vec<u8>,
}

impl Taken {
    pub(super) fn new(check: &HttpCheck) -> Self {
        Self { keep: check.reads_body(), size: 0, kept: Vec::new() }
    }

    /// Takes in a piece; with a result the body is not read any further.
    pub(super) fn more(&mut self, piece: &[u8]) -> Option<Result<Body, Wrong>> {
        self.size += piece.len();
        if self.size <= MAX_BODY {
            if self.keep {
                self.kept.extend_from_slice(piece);
            }
            return None;
        }
        Some(if self.keep {
            Err(Wrong::Answer("body is larger than 1 MiB".to_owned()))
        } else {
            Ok(Body::CutOff)
        })
    }

    /// That was all.
    pub(super) fn end(self) -> Body {
        if self.keep { Body::Whole(self.kept) } else { Body::Ignored }
    }
}

/// An answer that breaks the protocol.
pub(super) fn not_http(error: &ureq_proto::Error) -> String {
    let text = error.to_string();
    format!("answer is not HTTP: {}", text.strip_prefix("http parse fail: ").unwrap_or(&text))
}

pub(super) const LARGE_HEAD: &str = "answer's headers are larger than 16 KiB";
pub(super) const BODY_CUT_OFF: &str = "body is cut off";
