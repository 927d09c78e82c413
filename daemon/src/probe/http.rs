//! How a URL is asked.

use std::fmt;
use std::io::Read;
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use mcpd_config::spec::HttpProbe;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::expect::Expectation;
use super::resolve::{self, Failure};
use super::{Verdict, words};

/// Bytes of a body that are read. A health endpoint answers with a few hundred; whoever streams here is not asked to stop.
const MAX_BODY: usize = 1024 * 1024;

/// Bytes of an answer's status line and headers.
const MAX_HEAD: usize = 16 * 1024;

/// Buffers of a connection while it lives, in bytes. The input must hold a whole head.
const INPUT_BUFFER: usize = 2 * MAX_HEAD;
const OUTPUT_BUFFER: usize = 16 * 1024;

/// One agent for every `http` check: it holds no connections, so only its settings are shared.
static PLAIN: LazyLock<Agent> = LazyLock::new(|| agent(None));

/// A URL, how it is asked and what the answer must be: made once per service, run for every probe.
///
/// Each run is a new connection with `Connection: close`. Redirects are not followed: what the service itself answers
/// is what counts. Proxies of the environment are not used. Certificates are checked against Mozilla's roots, which are
/// built in.
pub struct HttpCheck {
    request: Request<()>,
    timeout: Duration,
    expect: Expectation,
    /// For `https` an agent of its own, made at the first run: the TLS settings are cached per agent, and only when
    /// the timeout is the agent's too.
    secure: Option<OnceLock<Agent>>,
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
            Some("https") => Some(OnceLock::new()),
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
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(Self { request, timeout, expect: Expectation::new(spec)?, secure })
    }

    /// Asks once and judges the answer. Returns within the timeout, give or take scheduling.
    #[must_use]
    pub fn run(&self) -> Verdict {
        let start = Instant::now();
        let answer = match &self.secure {
            Some(agent) => agent.get_or_init(|| self::agent(Some(self.timeout))).run(self.request.clone()),
            None => {
                let request = PLAIN.configure_request(self.request.clone());
                PLAIN.run(request.timeout_global(Some(self.timeout)).build())
            }
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Verdict::bad(self.word(&error)),
        };
        let judged = self.judge(&mut answer);
        let seen = format!("{} after {}", answer.status().as_u16(), words::duration(start.elapsed()));
        match judged {
            Ok(Note::Nothing) => Verdict::good(seen),
            Ok(Note::CutOff) => Verdict::good(format!("{seen} (body over 1 MiB not read)")),
            Err(Wrong::Answer(why)) => Verdict::bad(format!("{seen}: {why}")),
            Err(Wrong::TimedOut(why)) => Verdict::bad(format!("{why} (status {})", answer.status().as_u16())),
        }
    }

    fn judge(&self, answer: &mut Response<ureq::Body>) -> Result<Note, Wrong> {
        let status = answer.status();
        if let Err(why) = self.expect.status(status.as_u16()) {
            let target = answer.headers().get(header::LOCATION).filter(|_| status.is_redirection());
            return Err(Wrong::Answer(match target.and_then(|target| target.to_str().ok()) {
                Some(target) => {
                    format!("{why}, and redirects are not followed ({})", words::shortened(target, 80))
                }
                None => why,
            }));
        }
        // An event stream has no end to wait for; its status is all that it says about health.
        let streams = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"));
        if streams && !self.expect.reads_body() {
            return Ok(Note::Nothing);
        }
        let mut body = Vec::new();
        let mut size = 0;
        let mut reader = answer.body_mut().with_config().limit(u64::MAX).reader();
        let mut chunk = [0; 8 * 1024];
        // Read to its end even when only the status counts: a server that gets stuck in its answer is not well, and
        // one whose client hangs up early logs an error at every probe.
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => {
                    size += read;
                    if size > MAX_BODY {
                        if self.expect.reads_body() {
                            return Err(Wrong::Answer("body is larger than 1 MiB".to_owned()));
                        }
                        return Ok(Note::CutOff);
                    }
                    if self.expect.reads_body() {
                        body.extend_from_slice(&chunk[..read]);
                    }
                }
                Err(error) => {
                    let error = ureq::Error::from(error);
                    return Err(match &error {
                        ureq::Error::Io(inner) if inner.kind() == std::io::ErrorKind::UnexpectedEof => {
                            Wrong::Answer("body is cut off".to_owned())
                        }
                        _ if is_timeout(&error) => Wrong::TimedOut(self.word(&error)),
                        _ => Wrong::Answer(self.word(&error)),
                    });
                }
            }
        }
        self.expect.body(&body).map_err(Wrong::Answer)?;
        Ok(Note::Nothing)
    }

    fn word(&self, error: &ureq::Error) -> String {
        if is_timeout(error) {
            return format!("timed out after {}", words::duration(self.timeout));
        }
        match error {
            // rustls reports what it did not like as "invalid data".
            ureq::Error::Io(inner)
                if self.secure.is_some() && inner.kind() == std::io::ErrorKind::InvalidData =>
            {
                format!("TLS: {inner}")
            }
            ureq::Error::Io(inner) => words::io_error(inner),
            ureq::Error::Other(inner) => inner.to_string(),
            ureq::Error::Protocol(ureq_proto) => {
                let text = ureq_proto.to_string();
                format!("answer is not HTTP: {}", text.strip_prefix("http parse fail: ").unwrap_or(&text))
            }
            ureq::Error::LargeResponseHeader(..) => "answer's headers are larger than 16 KiB".to_owned(),
            ureq::Error::TooManyRedirects => "too many redirects".to_owned(),
            ureq::Error::Rustls(inner) => format!("TLS: {inner}"),
            ureq::Error::Tls(why) => format!("TLS: {why}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for HttpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither URL nor headers: both may hold credentials.
        f.debug_struct("HttpCheck").field("host", &self.request.uri().host()).finish_non_exhaustive()
    }
}

/// What a good verdict adds.
enum Note {
    Nothing,
    CutOff,
}

/// Why an answer that came is not good.
enum Wrong {
    Answer(String),
    TimedOut(String),
}

fn is_timeout(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(inner) => inner.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    }
}

fn agent(timeout: Option<Duration>) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(timeout)
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .user_agent(concat!("mcpd/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(MAX_HEAD)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .build();
    Agent::with_parts(config, DefaultConnector::new(), Names)
}

/// ureq's own resolver starts a thread for every question; see [`resolve`].
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        // Without a timeout the duration is a century or more, which an `Instant` may not hold.
        let limit = (*timeout.after).min(Duration::from_secs(24 * 3600));
        let found = resolve::resolve(host, uri.port_u16().unwrap_or(default), Instant::now() + limit);
        let found = found.map_err(|failure| match failure {
            Failure::TimedOut => ureq::Error::Timeout(timeout.reason),
            Failure::Unknown(why) => ureq::Error::Other(format!("cannot resolve {host}: {why}").into()),
        })?;
        let mut addresses = self.empty();
        for address in found {
            if addresses.try_push(address).is_err() {
                break;
            }
        }
        Ok(addresses)
    }
}
