//! Sends one request and says what came of it, without the URL and what its headers hold.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use mcpd_config::redact::{MIN_SECRET, REDACTED};
use mcpd_config::spec::WebhookSpec;
use ureq::http::{HeaderValue, Request, Response};
use ureq::{Agent, Body, Error};

use super::queue::Outcome;
use super::template::Message;
use crate::probe::words;

/// For name look-up, connection, request and answer together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read: what a service says of a bad request is one line.
const ANSWER: u64 = 4096;
/// Characters of that in an event.
const SHOWN: usize = 200;

/// Made once: it keeps no connections, but TLS's settings.
pub(super) fn agent() -> Agent {
    agent_within(TIMEOUT)
}

fn agent_within(timeout: Duration) -> Agent {
    // Proxies of mcpd's own environment are used: the receiver is elsewhere.
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        // Whoever is sent elsewhere would take the secrets along.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .user_agent(concat!("mcpd/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::new_with_config(config)
}

/// Sends it, and waits for the answer at most [`TIMEOUT`].
pub(super) fn send(agent: &Agent, spec: &WebhookSpec, message: Message) -> Outcome {
    let request = match request(spec, message) {
        Ok(request) => request,
        Err(error) => return Outcome::Refused(clean(spec, &format!("it cannot be asked: {error}"))),
    };
    match agent.run(request) {
        Ok(answer) => judge(spec, answer),
        Err(error) => Outcome::Failed { why: clean(spec, &worded(&error)), pause: None },
    }
}

fn request(spec: &WebhookSpec, message: Message) -> Result<Request<Vec<u8>>, ureq::http::Error> {
    let mut request = Request::post(&spec.url);
    let own = |name: &str| spec.headers.iter().any(|(set, _)| set.eq_ignore_ascii_case(name));
    for (name, value) in message.headers.into_iter().filter(|(name, _)| !own(name)) {
        request = request.header(name, value);
    }
    for (name, value) in &spec.headers {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(message.body)
}

fn judge(spec: &WebhookSpec, mut answer: Response<Body>) -> Outcome {
    let status = answer.status();
    if status.is_success() {
        return Outcome::Delivered;
    }
    let pause = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let pause = pause.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    let mut said = Vec::new();
    // What came before it broke off will do.
    let _ = answer.body_mut().as_reader().take(ANSWER).read_to_end(&mut said);
    let said = crate::crash::clean::text(&String::from_utf8_lossy(&said));
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    let why = match line {
        Some(line) => format!("it answered {}: {}", status.as_u16(), clean(spec, line)),
        None => format!("it answered {}", status.as_u16()),
    };
    let why = words::shortened(&why, SHOWN);
    // Too early, too many, or its own fault: these pass. Whatever else it does not like, it will not like again.
    let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if passes { Outcome::Failed { why, pause } } else { Outcome::Refused(why) }
}

fn worded(error: &Error) -> String {
    match error {
        Error::Timeout(_) => timed_out(),
        Error::Io(inner) if inner.kind() == ErrorKind::TimedOut => timed_out(),
        Error::Io(inner) => words::io_error(inner),
        Error::HostNotFound => "its host is not known".to_owned(),
        other => other.to_string(),
    }
}

fn timed_out() -> String {
    format!("no answer within {}", words::duration(TIMEOUT))
}

/// An error may quote what it was about.
fn clean(spec: &WebhookSpec, text: &str) -> String {
    let mut text = text.replace(&spec.url, &spec.shown_url());
    let rest = spec.url.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.find('/').map_or("", |slash| &rest[slash..]);
    if path.len() > 1 {
        text = text.replace(path, &format!("/{REDACTED}"));
    }
    let values = spec.headers.iter().map(|(_, value)| value.as_str());
    for secret in values.chain(path.strip_prefix('/')).filter(|secret| secret.chars().count() >= MIN_SECRET) {
        text = text.replace(secret, REDACTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use mcpd_config::spec::NotifyTemplate;

    use super::*;

    fn spec(address: SocketAddr) -> WebhookSpec {
        let url = format!("http://{address}/T0PSECRET");
        WebhookSpec { url, template: NotifyTemplate::Json, headers: Vec::new() }
    }

    fn message() -> Message {
        Message { headers: vec![("content-type", "text/plain".into())], body: b"hello".to_vec() }
    }

    /// What becomes of a message to somebody who does this with the connection.
    fn outcome(of: impl FnOnce(TcpStream) + Send + 'static) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let spec = spec(listener.local_addr().unwrap());
        let receiver = std::thread::spawn(move || of(listener.accept().unwrap().0));
        let outcome = send(&agent_within(Duration::from_millis(500)), &spec, message());
        receiver.join().unwrap();
        outcome
    }

    fn answers(head: &'static str, body: &'static str) -> Outcome {
        outcome(move |mut stream| {
            // Read first: an answer before the request has come is thrown away with the connection.
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"hello") {
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "cut off: {request:?}");
                request.extend_from_slice(&buffer[..count]);
            }
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}");
        })
    }

    #[test]
    fn an_answer_says_whether_another_try_makes_sense() {
        let failed = |why: &str, pause: Option<u64>| Outcome::Failed {
            why: why.into(),
            pause: pause.map(Duration::from_secs),
        };
        let refused = |why: &str| Outcome::Refused(why.into());
        for (head, body, expected) in [
            ("200 OK", "ok", Outcome::Delivered),
            ("204 No Content", "", Outcome::Delivered),
            ("429 Too Many", "slow down\nplease", failed("it answered 429: slow down", None)),
            ("429 Too Many\r\nretry-after: 7", "", failed("it answered 429", Some(7))),
            (
                "429 Too Many\r\nretry-after: Fri, 31 Dec 1999 23:59:59 GMT",
                "",
                failed("it answered 429", None),
            ),
            ("500 Oops", "\u{1b}[31mred\u{7}", failed("it answered 500: red", None)),
            ("503 Busy\r\nretry-after: 99999999999999999999", "", failed("it answered 503", None)),
            (
                "404 Not Found",
                "no_service at /T0PSECRET",
                refused("it answered 404: no_service at /[redacted]"),
            ),
            // Not followed: the URL that it leads to is not the one that was trusted.
            ("302 Found\r\nlocation: http://127.0.0.1:9/", "", refused("it answered 302")),
        ] {
            assert_eq!(answers(head, body), expected, "{head}");
        }
    }

    #[test]
    fn who_hangs_or_breaks_off_is_tried_again() {
        let why = |outcome: Outcome| match outcome {
            Outcome::Failed { why, pause: None } => why,
            other => panic!("{other:?}"),
        };
        // It reads until the sender has had enough.
        let hangs = outcome(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
        assert!(why(hangs).starts_with("no answer within"));
        let nonsense = outcome(|mut stream| {
            let _ = stream.write_all(b"\0\0nonsense\r\n\r\n");
            drop(stream.read_to_end(&mut Vec::new()));
        });
        assert!(!why(nonsense).is_empty());
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(why(send(&agent(), &spec(gone), message())), "connection refused");
    }

    #[test]
    fn what_is_secret_is_taken_out() {
        let spec = WebhookSpec {
            url: "https://h.example/services/T0/xyz".into(),
            template: NotifyTemplate::Slack,
            headers: vec![("Authorization".into(), "Bearer abc".into()), ("Empty".into(), String::new())],
        };
        for (said, shown) in [
            ("bad uri: https://h.example/services/T0/xyz", "bad uri: https://h.example/[redacted]"),
            ("no /services/T0/xyz here", "no /[redacted] here"),
            ("Bearer abc is not welcome", "[redacted] is not welcome"),
            ("connection refused", "connection refused"),
        ] {
            assert_eq!(clean(&spec, said), shown);
        }
    }
}
