//! Why is a service as it is, what follows, and what can a person do? A pure function of what is known.
//!
//! | module | answers |
//! |---|---|
//! | here | in one word and one sentence, what is it? What led there, and what does mcpd do next? |
//! | `advice` | what can a person do, with which command? |

mod advice;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use mcpd_proto::SCHEMA;
use mcpd_proto::event::Event;
use mcpd_proto::stats::CrashGroup;
use mcpd_proto::status::{Health, Next, ServiceStatus, State};
use mcpd_proto::why::{Condition, Link, Obstacle, Why};

use crate::crash::lack::Holder;
use crate::words;

/// What is known.
pub struct Facts {
    /// The service as it is.
    pub status: ServiceStatus,
    /// Whom it waits for, and whom these wait for.
    pub waits_for: Vec<Obstacle>,
    /// The event that brought the present state about, the one that brought that about, and so on.
    pub chain: Vec<Arc<Event>>,
    /// The newest events `crash` of the service.
    pub crashes: Vec<Arc<Event>>,
    /// How often its last crash has happened.
    pub group: Option<CrashGroup>,
    /// The port that its last run lacked, and who holds it.
    pub port: Option<(u16, Holder)>,
    /// An unhealthy one is restarted.
    pub health_restarts: bool,
}

/// The answer.
#[must_use]
pub fn why(facts: Facts) -> Why {
    let condition = condition(&facts.status);
    let advice = advice::advice(condition, &facts);
    let summary = summary(condition, &facts.status);
    let then = then(condition, &facts);
    let Facts { status, waits_for, chain, crashes, group, .. } = facts;
    let (chain, chain_skipped) = links(&status.name, &chain, &crashes);
    let crash = status.last_crash.filter(|_| has_to_do_with_a_crash(condition));
    Why {
        schema: SCHEMA,
        state: status.state,
        condition,
        summary,
        since: status.since,
        chain,
        chain_skipped,
        waits_for,
        then,
        next: status.next,
        advice,
        group: group.filter(|_| crash.is_some()),
        crash,
        service: status.name,
    }
}

/// What the state means for a person.
fn condition(status: &ServiceStatus) -> Condition {
    let flapping = status.flapping.is_some();
    match status.state {
        State::Parked => Condition::Parked,
        State::Backoff if flapping => Condition::Flapping,
        State::Backoff => Condition::Failing,
        State::Waiting => Condition::Waiting,
        State::Stopping => Condition::Stopping,
        State::Spawning | State::Starting if flapping => Condition::Flapping,
        State::Spawning | State::Starting => Condition::Starting,
        State::Up => match status.health {
            Health::Unhealthy | Health::Failing => Condition::Unhealthy,
            Health::None | Health::Starting | Health::Healthy if flapping => Condition::Flapping,
            Health::None | Health::Starting | Health::Healthy => {
                if status.stale.is_some() || !status.pending.is_empty() {
                    Condition::Stale
                } else {
                    Condition::Well
                }
            }
        },
        State::Down => match status.reason_code.as_deref() {
            Some("never_started") if !status.enabled => Condition::Disabled,
            Some("never_started") => Condition::NeverStarted,
            Some("finished" | "completed") => Condition::Finished,
            Some("failed") => Condition::Failed,
            Some(_) | None => Condition::Stopped,
        },
    }
}

/// Whether its last crash is what a person has to look at.
fn has_to_do_with_a_crash(condition: Condition) -> bool {
    match condition {
        Condition::Failing
        | Condition::Flapping
        | Condition::Parked
        | Condition::Failed
        | Condition::Unhealthy
        | Condition::Starting
        | Condition::Stopping => true,
        Condition::Well
        | Condition::Waiting
        | Condition::Stale
        | Condition::Stopped
        | Condition::Finished
        | Condition::Disabled
        | Condition::NeverStarted => false,
    }
}

/// One sentence.
fn summary(condition: Condition, status: &ServiceStatus) -> String {
    let name = &status.name;
    let reason = status.reason.as_deref();
    let because = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    match condition {
        Condition::Well => match &status.health {
            Health::Healthy => format!("{name} is up, and its health check succeeds{because}"),
            Health::None | Health::Starting | Health::Failing | Health::Unhealthy => {
                format!("{name} is up{because}")
            }
        },
        Condition::Starting => format!("{name} is starting{because}"),
        Condition::Waiting => format!("{name} has not been started{because}"),
        Condition::Unhealthy => format!("{name} is up, and is not well{because}"),
        Condition::Flapping => {
            let flapping = status.flapping.as_ref().map_or("it fails again and again", |it| &it.reason);
            format!(
                "{name} is flapping: {flapping}{}",
                reason.map_or_else(String::new, |it| format!("; now: {it}"))
            )
        }
        Condition::Failing => format!("{name} has failed and will be started again{because}"),
        Condition::Parked => format!("{name} is parked, mcpd has given it up{because}"),
        Condition::Stale => {
            let stale = status.stale.as_ref().map(|stale| stale.reason.clone());
            let pending = (!status.pending.is_empty())
                .then(|| format!("{} changed and is not in force yet", status.pending.join(", ")));
            let old: Vec<String> = stale.into_iter().chain(pending).collect();
            format!("{name} is up, and runs something old: {}", old.join("; "))
        }
        Condition::Stopping => format!("{name} is stopping{because}"),
        Condition::Stopped if status.reason_code.as_deref() == Some("reset") => {
            format!("{name} is down{because}")
        }
        Condition::Stopped => format!("{name} is down because it was stopped{because}"),
        Condition::Finished => format!("{name} has ended, and is not to be restarted{because}"),
        Condition::Failed => format!("{name} has failed, and is not to be restarted{because}"),
        Condition::Disabled => {
            format!("{name} has never been started: it does not start with mcpd (enabled = false)")
        }
        Condition::NeverStarted => format!("{name} has not been started yet"),
    }
}

/// What mcpd does next.
fn then(condition: Condition, facts: &Facts) -> String {
    let status = &facts.status;
    let due = status.next.as_ref().map(due);
    let of_next = |what: &str| due.as_ref().map(|due| format!("{what} {due}"));
    let is_next = |what: &str| status.next.as_ref().is_some_and(|next| next.what == what);
    match condition {
        Condition::Failing => match (of_next("It is started again"), status.max_restarts) {
            (Some(start), 0) => format!("{start}. Restart {} in a row, without a limit.", status.restarts),
            (Some(start), max) => format!("{start}. Restart {} in a row; {max} are the limit.", status.restarts),
            (None, _) => "It is started again.".into(),
        },
        Condition::Flapping if status.state == State::Backoff => {
            of_next("It is started again").map_or_else(|| "It is started again.".into(), |start| start + ".")
        }
        Condition::Flapping => "It is watched as ever; it counts as steady again once it stays up.".into(),
        Condition::Parked => match status.reason_code.as_deref() {
            Some("program_missing") => "It is started by itself as soon as its program is there.".into(),
            Some("cannot_start" | "lacking") => {
                "It is tried again when a file that it needs changes, or its configuration does; else nothing happens."
                    .into()
            }
            Some(_) | None => {
                "Nothing, until somebody starts or resets it, or its configuration or its program changes.".into()
            }
        },
        Condition::Waiting => match facts.waits_for.last() {
            Some(last) if matches!(last.state, State::Parked | State::Down) => {
                format!("Nothing, until {} is up: that one does not come by itself.", last.service)
            }
            Some(last) => format!("It is started as soon as {} lets it.", last.service),
            None => "It is started as soon as it is its turn.".into(),
        },
        Condition::Starting if is_next("start_timeout") => {
            of_next("Its start counts as failed").map_or_else(String::new, |late| late + ", unless it is up by then.")
        }
        Condition::Starting => "It counts as up as soon as it is seen to be.".into(),
        Condition::Unhealthy if facts.health_restarts && status.health == Health::Failing => {
            "It is asked again; when that fails too often in a row, it is restarted.".into()
        }
        Condition::Unhealthy if facts.health_restarts => "It is restarted.".into(),
        Condition::Unhealthy => {
            "It is asked again; nothing else, for health.action is \"report\".".into()
        }
        Condition::Stopping if is_next("kill") => {
            of_next("SIGKILL goes to all that is left of it").map_or_else(String::new, |kill| kill + ".")
        }
        Condition::Stopping => "It is gone as soon as all its processes are.".into(),
        Condition::Stale => "It goes on as it is until its next start.".into(),
        Condition::Well if is_next("probe") => {
            of_next("Its health is asked for").map_or_else(String::new, |probe| probe + ".")
        }
        Condition::Well => "Nothing: it is watched.".into(),
        Condition::Stopped | Condition::Finished | Condition::Failed | Condition::Disabled | Condition::NeverStarted => {
            "Nothing, until somebody starts it.".into()
        }
    }
}

/// "in 3.4 s", "now"
fn due(next: &Next) -> String {
    if next.in_seconds <= 0.0 {
        return "now".into();
    }
    let left = Duration::try_from_secs_f64(next.in_seconds).unwrap_or_default();
    format!("in {}", words::span(left))
}

/// More are not needed to understand.
const LINKS: usize = 10;

/// What led there, oldest first, and how many steps are left out after the first one. Steps that every start and every end
/// has say nothing; of an end that was a crash its report's reason says most.
fn links(service: &str, chain: &[Arc<Event>], crashes: &[Arc<Event>]) -> (Vec<Link>, usize) {
    let mut links = Vec::new();
    let mut told_by_crash = false;
    for event in chain {
        let crash = crashes.iter().find(|crash| event.event == "failed" && crash.cause == Some(event.id));
        match (event.event.as_str(), crash) {
            (_, Some(crash)) => {
                links.push(link(service, crash));
                told_by_crash = true;
                continue;
            }
            ("exited" | "spawn_failed", None) if told_by_crash => {}
            ("spawning" | "failed" | "command", None) => continue,
            (_, None) => links.push(link(service, event)),
        }
        told_by_crash = false;
    }
    links.reverse();
    let skipped = links.len().saturating_sub(LINKS);
    if skipped > 0 {
        // The first one is where it began, the last ones are where it is.
        links.drain(1..=skipped);
    }
    (links, skipped)
}

fn link(service: &str, event: &Event) -> Link {
    Link {
        id: event.id,
        time: event.time.clone(),
        service: event.service.clone().filter(|other| other != service),
        event: event.event.clone(),
        message: event.message.clone(),
    }
}
