//! The conversation for `https://`, by ureq on a thread of its own: TLS is work, and ureq waits where it stands.
//!
//! The threads are few, so that endpoints that hang do not fill the machine with them.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use ureq::config::Config;
use ureq::http::{Request, Response, StatusCode, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::http::{BODY_CUT_OFF, Body, HttpCheck, LARGE_HEAD, MAX_HEAD, Taken, Wrong, not_http};
use super::resolve::{self, Failure};
use super::{deadline, words};
use crate::workers::start_thread;

/// Probes by `https` at a time, each with a thread. One more is not carried out, which says nothing about its service.
const AT_ONCE: usize = 256;

/// ureq sees to the timeout itself and knows best what it was waiting for; it began a little later.
const LATER: Duration = Duration::from_millis(100);

/// Buffers of a connection while it lives, in bytes. The input must hold a whole head.
const INPUT_BUFFER: usize = 2 * MAX_HEAD;
const OUTPUT_BUFFER: usize = 16 * 1024;

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

/// What a check keeps from probe to probe.
pub(super) struct Secure {
    timeout: Duration,
    /// Made at the first run: the TLS settings are cached per agent, and only when the timeout is the agent's too.
    agent: Arc<OnceLock<Agent>>,
    addresses: Addresses,
}

/// What a conversation came to: its status, and its end.
type Came = (Option<StatusCode>, Result<Body, Wrong>);

impl Secure {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, agent: Arc::default(), addresses: Addresses::default() }
    }

    /// As [`super::plain::ask`], and ends in time by itself.
    pub(super) async fn ask(
        &self,
        check: &Arc<HttpCheck>,
        start: Instant,
        seen: &mut Option<StatusCode>,
    ) -> Result<Body, Wrong> {
        let Ok(place) = PLACES.clone().try_acquire_owned() else {
            return Err(Wrong::NotAsked(format!("{AT_ONCE} other https checks are under way")));
        };
        let until = deadline(start, self.timeout);
        let uri = check.request.uri();
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
        let resolved = tokio::time::timeout_at(until, resolve::resolve(host, port)).await;
        let found = resolved.map_err(|_| Wrong::TimedOut)?.map_err(|failure| match failure {
            Failure::Unknown(why) => Wrong::None(format!("cannot resolve {host}: {why}")),
            Failure::NotAsked(why) => Wrong::NotAsked(format!("cannot resolve {host}: {why}")),
        })?;
        *self.addresses.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        let came = self.on_a_thread(check.clone(), place)?;
        match tokio::time::timeout_at(deadline(start, self.timeout + LATER), came).await {
            Ok(Ok((status, end))) => {
                *seen = status;
                end
            }
            Ok(Err(_)) => Err(Wrong::NotAsked("the check itself failed".to_owned())),
            Err(_) => Err(Wrong::TimedOut),
        }
    }

    fn on_a_thread(
        &self,
        check: Arc<HttpCheck>,
        place: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Came>, Wrong> {
        let (done, came) = oneshot::channel();
        let (agent, addresses, timeout) = (self.agent.clone(), self.addresses.clone(), self.timeout);
        start_thread("https", move || {
            let agent = agent.get_or_init(|| self::agent(timeout, addresses));
            let _ = done.send(converse(agent, &check));
            drop(place);
        })
        .map_err(|error| Wrong::NotAsked(format!("no thread to ask: {}", words::io_error(&error))))?;
        Ok(came)
    }
}

fn converse(agent: &Agent, check: &HttpCheck) -> Came {
    let request: Request<()> = check.request.clone();
    let mut answer = match agent.run(request) {
        Ok(answer) => answer,
        Err(error) => return (None, Err(wrong(&error, Wrong::None))),
    };
    (Some(answer.status()), read(&mut answer, check))
}

fn read(answer: &mut Response<ureq::Body>, check: &HttpCheck) -> Result<Body, Wrong> {
    if !check.look(answer.status(), answer.headers())? {
        return Ok(Body::Ignored);
    }
    let mut taken = Taken::new(check);
    let mut reader = answer.body_mut().with_config().limit(u64::MAX).reader();
    let mut chunk = [0; 8 * 1024];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(taken.end()),
            Ok(read) => {
                if let Some(end) = taken.more(&chunk[..read]) {
                    return end;
                }
            }
            Err(error) => {
                let error = Error::from(error);
                return Err(match &error {
                    Error::Io(inner) if inner.kind() == ErrorKind::UnexpectedEof => {
                        Wrong::Answer(BODY_CUT_OFF.to_owned())
                    }
                    _ => wrong(&error, Wrong::Answer),
                });
            }
        }
    }
}

fn wrong(error: &Error, otherwise: fn(String) -> Wrong) -> Wrong {
    otherwise(match error {
        Error::Timeout(_) => return Wrong::TimedOut,
        Error::Io(inner) if inner.kind() == ErrorKind::TimedOut => return Wrong::TimedOut,
        Error::Io(inner) if crate::sys::is_shortage(inner) => {
            return Wrong::NotAsked(words::io_error(inner));
        }
        // rustls reports what it did not like as "invalid data".
        Error::Io(inner) if inner.kind() == ErrorKind::InvalidData => format!("TLS: {inner}"),
        Error::Io(inner) => words::io_error(inner),
        Error::Other(inner) => inner.to_string(),
        Error::Protocol(inner) => not_http(inner),
        Error::LargeResponseHeader(..) => LARGE_HEAD.to_owned(),
        Error::TooManyRedirects => "too many redirects".to_owned(),
        Error::Rustls(inner) => format!("TLS: {inner}"),
        Error::Tls(why) => format!("TLS: {why}"),
        other => other.to_string(),
    })
}

fn agent(timeout: Duration, addresses: Addresses) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .max_response_header_size(MAX_HEAD)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .build();
    Agent::with_parts(config, DefaultConnector::new(), addresses)
}

/// Where the host is, found out before ureq asks: its own resolver starts a thread for every question. See [`resolve`].
#[derive(Debug, Clone, Default)]
struct Addresses {
    found: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Resolver for Addresses {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        for &address in self.found.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if addresses.try_push(address).is_err() {
                break;
            }
        }
        Ok(addresses)
    }
}
