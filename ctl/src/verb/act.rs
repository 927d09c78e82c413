//! `start`, `stop`, `restart`, `reload`, `reset`: orders that the daemon answers once they are settled.

use std::time::{Duration, Instant};

use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::method::{NamesParams, Outcome, Outcomes};
use serde_json::{Value, json};

use super::{Context, QUESTION, decode, is_pattern, many};
use crate::args::Names;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::link::Patience;
use crate::look::{GOOD, Look};
use crate::out::complain;
use crate::progress::Progress;
use crate::{human, refusal, text};

/// Sooner than this, how long it took is of no interest.
pub(super) const WORTH_SAYING: Duration = Duration::from_millis(20);

/// An order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(super) method: &'static str,
    pub(super) doing: &'static str,
    pub(super) done: &'static str,
}

/// `start`
pub(crate) const START: Order = Order { method: "service.start", doing: "starting", done: "started" };
/// `stop`
pub(crate) const STOP: Order = Order { method: "service.stop", doing: "stopping", done: "stopped" };
/// `restart`
pub(crate) const RESTART: Order = Order { method: "service.restart", doing: "restarting", done: "restarted" };
/// `reload`
pub(crate) const RELOAD: Order = Order { method: "service.reload", doing: "reloading", done: "reloaded" };
/// `reset`
pub(crate) const RESET: Order = Order { method: "service.reset", doing: "resetting", done: "reset" };

/// Gives the order and shows what became of it.
pub(crate) fn run(order: Order, names: Names, context: &mut Context) -> Result<Exit, Failure> {
    if names.names.len() > 1 || names.names.iter().any(|name| is_pattern(name)) {
        return many::run(order, names, context);
    }
    let Names { names, no_wait } = names;
    let doing = format!("{} {}", order.doing, names.join(", "));
    let then = format!(" mcpd goes on with it; see: mcpctl status {}", names.join(" "));
    let patience = if no_wait { Patience::Whole(QUESTION) } else { Patience::Endless };
    let link = context.link(patience)?;
    let mut progress = if context.common.json {
        Progress::none()
    } else {
        Progress::on_terminal(doing.clone(), &context.errors)
    };
    let began = Instant::now();
    let params = json!(NamesParams { names, wait: !no_wait, each: false });
    let result = link.call_showing(order.method, params, &mut progress).map_err(|failure| match failure {
        Failure::TimedOut { limit, .. } => {
            Failure::TimedOut { what: format!("{doing} was not done"), limit, then }
        }
        other => other,
    })?;
    let took = (!no_wait).then(|| (order.done, began.elapsed()));
    show(&result, took, context)
}

/// Shows outcomes: what went well on standard output, what did not on standard error with the reason. `took` is the verb
/// and the time, when it waited.
pub(crate) fn show(
    result: &Value,
    took: Option<(&str, Duration)>,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let outcomes: Outcomes = decode(result)?;
    let exit = exit(&outcomes);
    // The order has been carried out: whether somebody reads about it changes nothing about the exit code.
    let written = if context.common.json {
        context.out.document(result)
    } else {
        let took = took.filter(|(_, took)| *took >= WORTH_SAYING);
        let good = good(&outcomes, took, &context.out.look);
        let written = context.out.text(&good).and_then(|()| context.out.flush());
        complain(&bad(&outcomes, &context.errors));
        written
    };
    match written {
        Ok(()) | Err(Failure::OutputClosed) => Ok(exit),
        Err(failure) => Err(failure),
    }
}

fn exit(outcomes: &Outcomes) -> Exit {
    Exit::together(outcomes.outcomes.iter().map(exit_of))
}

pub(super) fn exit_of(outcome: &Outcome) -> Exit {
    match &outcome.error {
        _ if outcome.ok => Exit::Done,
        Some(error) => Exit::of_error(error),
        None => Exit::Failed,
    }
}

/// `web: running, pid 4711`
pub(super) fn line(outcome: &Outcome, look: &Look) -> String {
    format!("{}: {}", look.paint(GOOD, &outcome.name), text::safe(&outcome.message))
}

/// `web: running, pid 4711 (restarted in 400 ms)`
fn good(outcomes: &Outcomes, took: Option<(&str, Duration)>, look: &Look) -> String {
    let all = &outcomes.outcomes;
    let mut shown = String::new();
    for outcome in all.iter().filter(|outcome| outcome.ok) {
        // The answer comes when all are settled, so that the time belongs to one only if there is one.
        let took = took.filter(|_| all.len() == 1 && !outcome.message.contains("already"));
        let took = took.map(|(done, took)| format!(" ({done} in {})", human::duration(took)));
        shown.push_str(&format!("{}{}\n", line(outcome, look), took.unwrap_or_default()));
    }
    if let Some((done, took)) = took.filter(|_| all.len() > 1) {
        let done_count = all.iter().filter(|outcome| outcome.ok).count();
        let of = if done_count == all.len() { String::new() } else { format!(" of {}", all.len()) };
        shown.push_str(&format!("{done_count}{of} services {done} in {}\n", human::duration(took)));
    }
    shown
}

/// Reasons, last stderr lines, hints.
fn bad(outcomes: &Outcomes, look: &Look) -> String {
    let mut shown = String::new();
    for outcome in outcomes.outcomes.iter().filter(|outcome| !outcome.ok) {
        shown.push_str(&explain(outcome, look));
    }
    shown
}

pub(super) fn explain(outcome: &Outcome, look: &Look) -> String {
    let unexplained;
    let error = match &outcome.error {
        Some(error) => error,
        None => {
            unexplained = ErrorObject::new(Kind::Internal, outcome.message.clone());
            &unexplained
        }
    };
    let crash = outcome.status.as_ref().and_then(|status| status.last_crash.as_ref());
    refusal::explain(error, Some(&outcome.name), crash.map(|crash| crash.id.as_str()), look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::{assert_fits, terminal};

    fn outcomes(value: Value) -> Outcomes {
        serde_json::from_value(json!({"schema": 1, "outcomes": value})).unwrap()
    }

    #[test]
    fn one_service_says_how_long_it_took() {
        let one = outcomes(json!([{"name": "web", "ok": true, "message": "running, pid 4711"}]));
        let took = Some(("restarted", Duration::from_millis(400)));
        assert_eq!(good(&one, took, &terminal()), "web: running, pid 4711 (restarted in 400 ms)\n");
        assert_eq!(good(&one, None, &terminal()), "web: running, pid 4711\n");
        let already = outcomes(json!([{"name": "web", "ok": true, "message": "was already stopped"}]));
        assert_eq!(good(&already, took, &terminal()), "web: was already stopped\n");
    }

    #[test]
    fn several_are_summed_up_and_failures_explained() {
        let mixed = outcomes(json!([
            {"name": "web", "ok": true, "message": "running, pid 1"},
            {"name": "db", "ok": false, "message": "failed", "error": {
                "code": -32000,
                "message": "db exited with code 78 after 3 ms, which restart.prevent_exit_status lists, so it is parked",
                "data": {"kind": "start_failed", "stderr_tail": ["bad licence"]},
            }},
            {"name": "x", "ok": false, "message": "stopped while it started"},
        ]));
        let took = Some(("started", Duration::from_secs(2)));
        assert_eq!(good(&mixed, took, &terminal()), "web: running, pid 1\n1 of 3 services started in 2 s\n");
        let text = bad(&mixed, &terminal());
        assert_fits(&text, 80);
        assert!(text.starts_with("db exited with code 78"), "{text}");
        assert!(text.contains("    bad licence\n  see: mcpctl logs db -n 50\n"), "{text}");
        assert!(text.ends_with("x: stopped while it started\n"), "{text}");
        assert_eq!(exit(&mixed), Exit::Failed);
    }
}
