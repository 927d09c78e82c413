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
    // Proxies of mcpd's own environment are used: the receiver is elsewhere.
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
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
    // Too early, too many, or its own fault: these pass. It is wrong about everything else for as long as it is asked so.
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
    use super::*;
    use mcpd_config::spec::NotifyTemplate;

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
