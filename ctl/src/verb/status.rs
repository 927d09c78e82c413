//! `status`: asks, and answers with LSB's exit codes.

mod detail;
pub(crate) use detail::command;
mod overview;

use mcpd_proto::error::Kind;
use mcpd_proto::method::{ListParams, NameParams};
use mcpd_proto::status::{Health, ServiceStatus, State, StatusDocument};
use serde_json::{Value, json};

use anstyle::Style;

use super::{Context, decode, is_pattern};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::look::{BAD, BUSY, DIM, GOOD, Look, WARN};
use crate::out::complain;
use crate::refusal;

/// Every service, a line each.
pub(crate) fn all(context: &mut Context) -> Result<Exit, Failure> {
    let document = context.ask("service.list", &json!({}))?;
    if context.common.json {
        context.out.document(&document)?;
    } else {
        let document: StatusDocument = decode(&document)?;
        let text = overview::render(&document, &context.out.look);
        context.out.text(&text)?;
        context.out.flush()?;
    }
    Ok(Exit::Done)
}

/// A line for each of those that fit patterns, as they are named.
fn fitting(names: &[String], context: &mut Context) -> Result<Exit, Failure> {
    let params = json!(ListParams { names: names.to_vec() });
    let document = match context.ask("service.list", &params) {
        Ok(document) => document,
        Err(failure) if is_unknown(&failure) => {
            if context.common.json {
                context.out.document(&failure.document())?;
            } else {
                complain(&explain(&failure, &context.errors));
            }
            return Ok(Exit::StatusUnknown);
        }
        Err(failure) => return Err(failure),
    };
    let listed: StatusDocument = decode(&document)?;
    if context.common.json {
        context.out.document(&document)?;
    } else {
        let text = overview::render(&listed, &context.out.look);
        context.out.text(&text)?;
        context.out.flush()?;
    }
    Ok(worst(listed.services.iter().map(|status| Exit::of_state(status.state))))
}

fn worst(all: impl Iterator<Item = Exit>) -> Exit {
    all.max_by_key(|exit| exit.code()).unwrap_or(Exit::Done)
}

fn explain(failure: &Failure, look: &Look) -> String {
    match failure {
        Failure::Refused(error) => refusal::explain(error, None, None, look),
        other => format!("mcpctl: {other}\n"),
    }
}

/// Everything about these.
pub(crate) fn some(names: &[String], context: &mut Context) -> Result<Exit, Failure> {
    if names.iter().any(|name| is_pattern(name)) {
        return fitting(names, context);
    }
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match context.ask("service.status", &json!(NameParams { name: name.clone() })) {
            Ok(status) => found.push(status),
            Err(failure) if is_unknown(&failure) => missing.push((name, failure)),
            Err(failure) => return Err(failure),
        }
    }
    let statuses: Vec<ServiceStatus> = found.iter().map(decode).collect::<Result<_, _>>()?;
    let running = statuses.iter().map(|status| Exit::of_state(status.state));
    let unknown = missing.iter().map(|_| Exit::StatusUnknown);
    let exit = worst(running.chain(unknown));

    if context.common.json {
        let document = match (names, found.as_slice(), missing.as_slice()) {
            ([_], [one], _) => one.clone(),
            ([_], [], [(_, failure)]) => failure.document(),
            _ => several(&context.ask("daemon.status", &json!({}))?, &found, &missing),
        };
        context.out.document(&document)?;
    } else {
        let look = &context.out.look;
        let texts: Vec<String> = statuses.iter().map(|status| detail::render(status, look)).collect();
        context.out.text(&texts.join("\n"))?;
        context.out.flush()?;
    }
    for (_, failure) in &missing {
        complain(&explain(failure, &context.errors));
    }
    Ok(exit)
}

fn is_unknown(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(error) if error.kind() == Some(Kind::NoSuchService))
}

/// The document of `status`, with these services only.
fn several(daemon: &Value, found: &[Value], missing: &[(&String, Failure)]) -> Value {
    let mut document = json!({ "schema": mcpd_proto::SCHEMA, "daemon": daemon, "services": found });
    if !missing.is_empty() {
        document["missing"] = missing.iter().map(|(name, _)| name.as_str()).collect();
    }
    document
}

/// How a state stands out.
const fn state_style(state: State) -> Style {
    match state {
        State::Up => GOOD,
        State::Waiting | State::Spawning | State::Starting => BUSY,
        State::Stopping | State::Backoff => WARN,
        State::Parked => BAD,
        State::Down => DIM,
    }
}

/// Where it is in its life, as a person sees it: what comes and goes is neither up nor in backoff.
fn state_name(status: &ServiceStatus) -> &'static str {
    if flaps(status) { "flapping" } else { status.state.name() }
}

/// How that stands out.
fn style(status: &ServiceStatus) -> Style {
    if flaps(status) { BAD } else { state_style(status.state) }
}

/// It fails again and again, and its present state is only a moment of that.
fn flaps(status: &ServiceStatus) -> bool {
    let comes_and_goes = match status.state {
        State::Spawning | State::Starting | State::Up | State::Backoff => true,
        // What is left of a run that has ended: nobody has asked it to.
        State::Stopping => status.wanted && status.pid.is_none(),
        State::Down | State::Waiting | State::Parked => false,
    };
    comes_and_goes && status.flapping.is_some()
}

/// How a verdict stands out.
const fn health_style(health: Health) -> Style {
    match health {
        Health::None => DIM,
        Health::Starting => BUSY,
        Health::Healthy => GOOD,
        Health::Failing => WARN,
        Health::Unhealthy => BAD,
    }
}

/// `2/10`; without a limit `2`.
fn restarts(status: &ServiceStatus) -> String {
    match status.max_restarts {
        0 => status.restarts.to_string(),
        max => format!("{}/{max}", status.restarts),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mcpd_proto::crash::{CrashKind, CrashSummary};
    use mcpd_proto::status::{Relations, Tree};

    use super::*;

    /// A service that is well.
    pub(super) fn up(name: &str) -> ServiceStatus {
        ServiceStatus {
            schema: 1,
            name: name.into(),
            description: None,
            state: State::Up,
            wanted: true,
            health: Health::Healthy,
            status_text: None,
            ready_detail: None,
            health_detail: Some("200 after 4 ms".into()),
            process_running: true,
            pid: Some(4711),
            generation: 3,
            uptime_seconds: Some(3720.0),
            restarts: 0,
            max_restarts: 10,
            restarts_total: 2,
            total_uptime_seconds: None,
            availability: None,
            enabled: true,
            reason_code: None,
            crash_count: 2,
            started_at: Some("2026-11-22T10:28:00Z".into()),
            since: "2026-11-22T10:28:01Z".into(),
            cgroup: None,
            tree: Some(Tree::Session),
            watch: None,
            stale: None,
            flapping: None,
            usage: None,
            command: vec!["/usr/bin/python3".into(), "-m".into(), "uvicorn".into()],
            commands: Vec::new(),
            pending: Vec::new(),
            reason: None,
            waiting_on: None,
            relations: Relations::default(),
            next: None,
            last_crash: None,
            config: Some("/etc/mcpd/mcpd.toml:12".into()),
            working_directory: None,
            log_file: Some(format!("/var/log/mcpd/{name}.log")),
            log_lines_dropped: 0,
            log_tail: Vec::new(),
        }
    }

    /// The same, without a process.
    pub(super) fn without_process(name: &str, state: State) -> ServiceStatus {
        ServiceStatus {
            state,
            health: Health::None,
            health_detail: None,
            process_running: false,
            pid: None,
            uptime_seconds: None,
            started_at: None,
            tree: None,
            ..up(name)
        }
    }

    /// It ended with code 1, three minutes before the tests' now.
    pub(crate) fn crash(service: &str) -> CrashSummary {
        CrashSummary {
            id: "20261122T112700Z-3f9a".into(),
            service: service.into(),
            time: "2026-11-22T11:27:00Z".into(),
            kind: CrashKind::Exit,
            exit_code: Some(1),
            signal: None,
            reason: "exited with code 1 after 12 s: ModuleNotFoundError: No module named 'mcp'".into(),
            pid: Some(4700),
            uptime_seconds: 12.0,
            decision: "restart".into(),
            fingerprint: None,
            cause: None,
            coalesced: 0,
            group_count: None,
        }
    }

    #[test]
    fn restarts_show_their_limit() {
        let mut status = ServiceStatus { restarts: 2, ..up("web") };
        assert_eq!(restarts(&status), "2/10");
        status.max_restarts = 0;
        assert_eq!(restarts(&status), "2");
    }
}
