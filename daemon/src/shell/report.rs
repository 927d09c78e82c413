//! Makes the report of a crash from what the core decided and what the shell knows.

use jiff::Timestamp;
use mcpd_core::action::Crash;
use mcpd_core::verdict::{Failure, What};
use mcpd_core::{Exit, Mono};
use mcpd_proto::SCHEMA;
use mcpd_proto::crash::{CrashReport, Host, Resources, RestartDecision};

use super::entry::Entry;
use crate::crash::{CrashStore, reason, redact};
use crate::{sys, words};

/// What a report needs besides the crash and the service.
pub(super) struct Surroundings<'a> {
    pub(super) now: (Mono, Timestamp),
    pub(super) host: &'a Host,
}

pub(super) fn report(crash: &Crash, entry: &Entry, around: &Surroundings<'_>) -> CrashReport {
    let at = |at: Mono| wall(around.now, at);
    let wall = |when: Mono| stamp(at(when));
    let uptime = crash.ended.since(crash.started);
    let run = entry.run.as_ref().filter(|run| run.generation == crash.generation);
    let mut tails = run.and_then(|run| run.tails.clone()).unwrap_or_default();
    let secrets = entry.spec.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let redactor = redact::Redactor::new(secrets);
    // Before a reason is taken from them: a reason is cut, and half a secret is not recognised.
    redactor.lines(&mut tails.stderr);
    redactor.lines(&mut tails.stdout);
    let (exit_code, signal, core_dumped) = match crash.exit {
        Some(Exit::Code(code)) => (Some(code), None, false),
        Some(Exit::Signal { signal, core_dumped }) => (None, Some(words::signal(signal)), core_dumped),
        None => (None, None, false),
    };
    let verdicts: Vec<_> = entry.verdicts.iter().cloned().collect();
    let kind = words::kind(crash.failure);
    let reason = match crash.failure {
        Failure::Exit | Failure::Signal => {
            let number = match crash.exit {
                Some(Exit::Signal { signal, .. }) => Some(signal),
                Some(Exit::Code(_)) | None => None,
            };
            reason::exit(kind, exit_code, number, core_dumped, uptime, &tails.stderr, &tails.stdout)
        }
        Failure::Health => {
            let retries = entry.spec.health.as_ref().map_or(0, |health| health.retries);
            reason::health(retries, &verdicts)
        }
        Failure::StartTimeout => reason::start_timeout(entry.spec.start_timeout),
        Failure::Spawn => reason::spawn(entry.spawn_error.as_deref().unwrap_or("the system did not say why")),
    };
    let (decision, why) = words::decision(&crash.decision);
    let delay = match crash.decision.what {
        What::Restart(delay) => Some(delay),
        What::Park(_) | What::StayDown | What::AsAsked => None,
    };
    let exit = run.and_then(|run| run.exit.as_ref());
    let mut report = CrashReport {
        schema: SCHEMA,
        id: CrashStore::new_id(at(crash.ended)),
        service: entry.name.to_string(),
        generation: crash.generation,
        time: wall(crash.ended),
        kind,
        exit_code,
        signal,
        core_dumped,
        reason,
        pid: crash.pid,
        started_at: crash.pid.is_some().then(|| wall(crash.started)),
        uptime_seconds: uptime.as_secs_f64(),
        command: entry.command(),
        working_directory: entry.spec.working_directory.as_ref().map(|dir| dir.display().to_string()),
        restart: RestartDecision {
            attempt: crash.decision.attempt,
            max: crash.decision.max,
            delay_seconds: delay.map(|delay| delay.as_secs_f64()),
            next_at: delay.map(|delay| wall(crash.ended + delay)),
            decision: decision.into(),
            why,
        },
        stderr_tail: tails.stderr,
        stdout_tail: tails.stdout,
        health: verdicts,
        resources: Resources {
            max_rss_bytes: exit.and_then(|exit| exit.max_rss_bytes),
            cpu_seconds: exit.and_then(|exit| exit.cpu).map(|cpu| cpu.as_secs_f64()),
            ..Resources::default()
        },
        changed: Vec::new(),
        previous: entry.last_crash.as_ref().map(|crash| crash.id.clone()),
        fingerprint: None,
        host: around.host.clone(),
    };
    redactor.report(&mut report);
    report
}

/// RFC 3339 UTC to the microsecond, as every document has it.
pub(super) fn stamp(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The wall clock's time of a monotonic instant near `now`.
pub(super) fn wall(now: (Mono, Timestamp), at: Mono) -> Timestamp {
    let (mono, time) = now;
    let moved = if at >= mono {
        jiff::SignedDuration::try_from(at.since(mono)).map(|ahead| time.checked_add(ahead))
    } else {
        jiff::SignedDuration::try_from(mono.since(at)).map(|back| time.checked_sub(back))
    };
    // Past the end of jiff's calendar nobody asks.
    moved.ok().and_then(Result::ok).unwrap_or(time)
}

/// The machine, found out once.
pub(super) fn host() -> Host {
    Host { name: sys::host_name(), os: sys::os_release(), mcpd: env!("CARGO_PKG_VERSION").into() }
}
