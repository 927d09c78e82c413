//! `[service.NAME.health]`: what is asked, how often, and which answers are good.

use std::time::Duration;

use crate::raw::Entry;
use crate::resolve::context::{Context, Finding};
use crate::resolve::scalar::{Problem, Scalar};
use crate::resolve::section::{Section, json};
use crate::schema;
use crate::spec::{HealthAction, HealthSpec, HttpProbe, Probe};

/// The ways to ask.
pub(crate) const PROBES: [&str; 3] = ["http", "tcp", "exec"];
const HTTP_ONLY: [&str; 4] = ["expect_status", "expect_json", "expect_body", "headers"];
/// Probing faster than this measures the prober.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

pub(crate) fn resolve(cx: &mut Context<'_>, service: &Section<'_>) -> Option<HealthSpec> {
    let health = service.section(cx, "health", &schema::HEALTH);
    let span = health.span?;
    let asked = one_of(cx, &health, &PROBES, "a service has one health check");
    if asked.is_none() && health.entry("mcp").is_none() {
        let message = format!("[{}] does not say what to ask", health.name());
        let help = Some("give one of `http`, `tcp` and `exec`".to_owned());
        cx.error(Finding { span, key: &health.name(), message, help });
    }
    let probe = probe(cx, &health, asked);
    let action = [("restart", HealthAction::Restart), ("report", HealthAction::Report)];
    let seconds = Duration::from_secs;
    let interval = health.duration(cx, "interval", seconds(30), SHORTEST);
    let timeout = health.duration(cx, "timeout", seconds(5), SHORTEST);
    let retries = health.read(cx, "retries", 3, |scalar| scalar.count(1, u32::MAX));
    let start_period = health.duration(cx, "start_period", seconds(40), Duration::ZERO);
    let action = health.read(cx, "action", HealthAction::Restart, |scalar| scalar.choice(&action, &[]));
    Some(HealthSpec { probe: probe?, interval, timeout, retries, start_period, action })
}

/// The one key that is there of those that exclude each other.
pub(crate) fn one_of<'t>(
    cx: &mut Context<'_>,
    section: &Section<'t>,
    keys: &[&str],
    help: &str,
) -> Option<&'t Entry> {
    let mut there = keys.iter().filter_map(|key| section.entry(key));
    let first = there.next()?;
    for more in there {
        let message = format!("`{}` and `{}` exclude each other", first.key, more.key);
        let help = Some(help.to_owned());
        cx.error(Finding { span: more.key_span, key: &section.key(&more.key), message, help });
    }
    Some(first)
}

/// What is asked. `asked`: the key that says so.
pub(crate) fn probe(cx: &mut Context<'_>, health: &Section<'_>, asked: Option<&Entry>) -> Option<Probe> {
    // Each is read even if there are several, so that every mistake is reported.
    let mut probes = Vec::new();
    if health.entry("http").is_some() {
        probes.push(Probe::Http(http(cx, health)));
    } else if let Some(other) = asked {
        for key in HTTP_ONLY {
            health.refuse(cx, key, &format!("goes with `http`, not with `{}`", other.key));
        }
    }
    if let Some(address) = health.optional(cx, "tcp", tcp_address) {
        probes.push(Probe::Tcp { address });
    }
    if health.entry("exec").is_some() {
        probes.push(Probe::Exec { argv: health.command(cx, "exec") });
    }
    probes.into_iter().next()
}

fn http(cx: &mut Context<'_>, health: &Section<'_>) -> HttpProbe {
    let status = |scalar: &Scalar<'_>| {
        let status = scalar.integer(100, 599)?;
        u16::try_from(status).map_err(|_| Problem::new("no HTTP status"))
    };
    HttpProbe {
        url: health.read(cx, "http", String::new(), http_url),
        expect_status: health.list(cx, "expect_status", status).unwrap_or_default(),
        expect_json: expect_json(cx, health),
        expect_body: health.optional(cx, "expect_body", regular_expression),
        headers: headers(cx, health, false),
    }
}

fn expect_json(cx: &mut Context<'_>, health: &Section<'_>) -> Vec<(String, serde_json::Value)> {
    let table = health.free_section(cx, "expect_json");
    let mut expected = Vec::new();
    for entry in table.entries() {
        let key = table.key(&entry.key);
        if let Some(message) = bad_pointer(&entry.key) {
            let help = Some("write a key, or a JSON pointer as \"/checks/0/status\"".to_owned());
            cx.error(Finding { span: entry.key_span, key: &key, message, help });
        }
        if let Some(value) = json(cx, &entry.node, &key) {
            cx.set_origin(&key, entry.key_span, &[]);
            expected.push((entry.key.clone(), value));
        }
    }
    expected
}

/// RFC 6901: in a pointer, `~` stands only before 0 and 1.
fn bad_pointer(pointer: &str) -> Option<String> {
    if !pointer.starts_with('/') {
        return pointer.is_empty().then(|| "the key is empty".to_owned());
    }
    let bad = pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
    bad.then(|| format!("{pointer:?} is no JSON pointer: `~` is written ~0 and `/` in a key ~1"))
}

/// `secret`: what they hold is not told when it is bad.
pub(crate) fn headers(cx: &mut Context<'_>, section: &Section<'_>, secret: bool) -> Vec<(String, String)> {
    let table = section.free_section(cx, "headers");
    let mut headers = Vec::new();
    for entry in table.entries() {
        let key = table.key(&entry.key);
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if entry.key.is_empty() || !entry.key.chars().all(token) {
            let message = format!("{:?} cannot be the name of a header", entry.key);
            cx.error(Finding { span: entry.key_span, key: &key, message, help: None });
        }
        let value = |scalar: &Scalar<'_>| {
            let value = scalar.string()?;
            let plain = |c: char| c == '\t' || c == ' ' || c.is_ascii_graphic();
            if value.chars().all(plain) {
                Ok(value)
            } else {
                Err(Problem::new("the value of a header is one line of ASCII characters"))
            }
        };
        let converted = if secret {
            cx.convert_secret(&entry.node, &key, value)
        } else {
            cx.convert(&entry.node, &key, value)
        };
        if let Some((value, used)) = converted {
            cx.set_origin(&key, entry.key_span, &used);
            headers.push((entry.key.clone(), value));
        }
    }
    headers
}

fn regular_expression(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let pattern = scalar.string()?;
    compiled(&pattern, |pattern| regex::Regex::new(pattern).map(drop))?;
    Ok(pattern)
}

/// Says why the pattern does not compile.
pub(crate) fn compiled(
    pattern: &str,
    compile: impl Fn(&str) -> Result<(), regex::Error>,
) -> Result<(), Problem> {
    compile(pattern).map_err(|error| {
        // The crate's own text draws the pattern over several lines; its last one says what is wrong.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Problem::new(format!("{pattern:?} is no regular expression: {reason}"))
    })
}

pub(crate) fn http_url(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let url = scalar.string()?;
    let scheme = |name: &str| {
        let prefix = url.get(..name.len())?;
        prefix.eq_ignore_ascii_case(name).then(|| &url[name.len()..])
    };
    let Some(rest) = scheme("http://").or_else(|| scheme("https://")) else {
        return Err(Problem::new(format!("expected a URL with http:// or https://, found {url:?}"))
            .help("write \"http://127.0.0.1:8000/health\""));
    };
    if let Some(c) = url.chars().find(|&c| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(c)) {
        return Err(Problem::new(format!("{c:?} cannot stand in a URL"))
            .help("write it percent-encoded, a blank as %20"));
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return Err(Problem::new(format!("the URL {url:?} has no host")));
    }
    let (host, port) = split_port(host)?;
    if host.is_empty() {
        return Err(Problem::new(format!("the URL {url:?} has no host")));
    }
    port.map_or(Ok(0), port_number)?;
    Ok(url)
}

fn tcp_address(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let address = scalar.string()?;
    if let Some(c) = address.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(Problem::new(format!("{c:?} cannot stand in an address")));
    }
    let expected = || {
        Problem::new(format!("expected host:port, found {address:?}"))
            .help("write \"127.0.0.1:5432\" or \"[::1]:5432\"")
    };
    if address.contains('/') {
        return Err(expected());
    }
    match split_port(&address)? {
        (host, Some(port)) if !host.is_empty() => port_number(port)?,
        _ => return Err(expected()),
    };
    Ok(address)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(text: &str) -> Result<(&str, Option<&str>), Problem> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) =
            rest.split_once(']').ok_or_else(|| Problem::new(format!("{text:?} lacks a closing `]`")))?;
        // A zone, as in fe80::1%eth0, is not part of the address itself.
        let bare = host.split('%').next().unwrap_or_default();
        if bare.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(Problem::new(format!("{host:?} is no IPv6 address")));
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(Problem::new(format!("{after:?} cannot follow the address"))),
        };
    }
    if text.matches(':').count() > 1 {
        return Err(Problem::new(format!("{text:?} has more than one colon"))
            .help("an IPv6 address stands in brackets, as in [::1]:5432"));
    }
    Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))))
}

fn port_number(port: &str) -> Result<u16, Problem> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => Err(Problem::new(format!("{port:?} is no port")).help("ports have numbers from 1 to 65535")),
    }
}
