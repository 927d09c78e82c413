//! An order for several services, or for those that fit a pattern: each is shown as soon as it is settled.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::message::Notification;
use mcpd_proto::method::{EachOutcome, ListParams, NamesParams, Outcome, Outcomes};
use mcpd_proto::status::StatusDocument;
use serde_json::{Value, json};

use super::act::{Order, WORTH_SAYING, exit_of, explain, line};
use super::{Context, QUESTION, decode, is_pattern};
use crate::args::Names;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::link::{Link, Patience};
use crate::look::Look;
use crate::out::{Out, complain};
use crate::progress::Progress;
use crate::socket::Socket;
use crate::{human, refusal, text};

/// Up to so many services each gets a line of its own, and a failure its whole explanation. Of more, only failures do,
/// and a line is all they get: nobody reads a thousand.
const FEW: usize = 10;
/// Up to so many names are repeated while it waits.
const NAMED: usize = 3;
/// Time is up already: the answer who is left may not take long.
const LEFT: Duration = Duration::from_secs(2);

/// Gives the order and shows what becomes of it.
pub(crate) fn run(order: Order, names: Names, context: &mut Context) -> Result<Exit, Failure> {
    let Names { names, no_wait } = names;
    let whom = if names.len() > NAMED { format!("{} services", names.len()) } else { names.join(", ") };
    let doing = format!("{} {whom}", order.doing);
    let then = if names.len() > NAMED {
        String::new()
    } else {
        names.iter().map(|name| format!(" {}", as_word(name))).collect()
    };
    let asked = names.clone();
    let patience = if no_wait { Patience::Whole(QUESTION) } else { Patience::Endless };
    let link = context.link(patience)?;
    let mut progress = if context.common.json {
        Progress::none()
    } else {
        Progress::on_terminal(doing.clone(), &context.errors)
    };
    let began = Instant::now();
    let mut shown = Shown {
        order,
        json: context.common.json,
        out: &mut context.out,
        errors: &context.errors,
        exits: Vec::new(),
        settled: HashSet::new(),
        done: 0,
        failed: 0,
        of: 0,
    };
    let params = json!(NamesParams { names, wait: !no_wait, each: true });
    let result =
        link.stream_showing(order.method, params, &mut progress, |item, progress| shown.take(item, progress));
    let Shown { exits, settled, done, failed, of, .. } = shown;
    let result = match result {
        Ok(result) => result,
        Err(Failure::TimedOut { limit, .. }) => {
            drop(link);
            let so_far = if of == 0 { String::new() } else { format!(" for all of {of}") };
            let what = format!("{doing} was not done{so_far}");
            let left = left(&asked, &settled, context);
            let then = format!("{left} mcpd goes on with it; see: mcpctl status{then}");
            return Err(Failure::TimedOut { what, limit, then });
        }
        Err(other) => return Err(other),
    };
    // The order has been carried out: whether somebody reads about it changes nothing about the exit code.
    let exit = Exit::together(exits);
    let written = if context.common.json {
        context.out.line(&result)
    } else {
        let _: Outcomes = decode(&result)?;
        let took = (!no_wait).then(|| began.elapsed());
        context.out.text(&summary(order, done - failed, of, took))
    };
    match written.and_then(|()| context.out.flush()) {
        Ok(()) | Err(Failure::OutputClosed) => Ok(exit),
        Err(failure) => Err(failure),
    }
}

/// What has come so far, and where it goes.
struct Shown<'o> {
    order: Order,
    json: bool,
    out: &'o mut Out,
    errors: &'o Look,
    exits: Vec<Exit>,
    /// Whose outcome has come.
    settled: HashSet<String>,
    done: usize,
    failed: usize,
    of: usize,
}

impl Shown<'_> {
    fn take(&mut self, item: Notification, progress: &mut Progress) -> Result<(), Failure> {
        if item.method != "service.outcome" {
            return Ok(());
        }
        let mut document = item.params;
        // The conversation's own number means nothing to whoever reads the outcome.
        if let Some(fields) = document.as_object_mut() {
            fields.remove("request");
        }
        let EachOutcome { schema: _, done, of, outcome } = decode(&document)?;
        self.exits.push(exit_of(&outcome));
        self.settled.insert(outcome.name.clone());
        (self.done, self.of) = (done, of);
        self.failed += usize::from(!outcome.ok);
        let written = self.write(&document, &outcome, progress);
        progress.say(count(self.order, self.done, self.failed, self.of));
        match written {
            // Whoever read our output has gone; the order goes on, and its exit code is still wanted.
            Ok(()) | Err(Failure::OutputClosed) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn write(&mut self, document: &Value, outcome: &Outcome, progress: &mut Progress) -> Result<(), Failure> {
        if self.json {
            return self.out.line(document).and_then(|()| self.out.flush());
        }
        if outcome.ok && self.of > FEW {
            return Ok(());
        }
        progress.step_aside();
        if outcome.ok {
            let line = line(outcome, &self.out.look);
            return self.out.text(&format!("{line}\n")).and_then(|()| self.out.flush());
        }
        complain(&if self.of > FEW { brief(outcome) } else { explain(outcome, self.errors) });
        Ok(())
    }
}

/// A sentence about those that are not settled yet; nothing when the daemon does not say who they are.
fn left(asked: &[String], settled: &HashSet<String>, context: &Context) -> String {
    let params = json!(ListParams { names: asked.to_vec() });
    let listed = Link::open(Socket::find(context.common.socket.as_deref()), Patience::Whole(LEFT))
        .and_then(|link| link.call("service.list", params))
        .and_then(|document| decode::<StatusDocument>(&document));
    let Ok(listed) = listed else { return String::new() };
    let mut left: Vec<String> = listed
        .services
        .iter()
        .filter(|status| !settled.contains(&status.name))
        .map(|status| format!("{} ({})", text::safe(&status.name), status.state.name()))
        .collect();
    let more = left.len().saturating_sub(NAMED);
    left.truncate(NAMED);
    match (left.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(" Not done: {}.", left.join(", ")),
        (false, more) => format!(" Not done: {} and {more} more.", left.join(", ")),
    }
}

/// A name as a shell has to be told it.
fn as_word(name: &str) -> String {
    if is_pattern(name) { format!("'{name}'") } else { name.to_owned() }
}

/// `starting: 412 of 1000 done, 3 failed`
fn count(order: Order, done: usize, failed: usize, of: usize) -> String {
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{}: {done} of {of} done{failed}", order.doing)
}

/// A failure in one line.
fn brief(outcome: &Outcome) -> String {
    let unexplained = || ErrorObject::new(Kind::Internal, outcome.message.clone());
    let error = outcome.error.clone().unwrap_or_else(unexplained);
    format!("{}: {}\n", text::safe(&outcome.name), refusal::sentence(&error))
}

/// `997 of 1000 services started in 4.2 s`; without a time nobody waited: `starting 1000 services`.
fn summary(order: Order, succeeded: usize, of: usize, took: Option<Duration>) -> String {
    let services = if of == 1 { "service" } else { "services" };
    let Some(took) = took else { return format!("{} {of} {services}\n", order.doing) };
    let all = if succeeded == of { String::new() } else { format!(" of {of}") };
    let took = if took < WORTH_SAYING { String::new() } else { format!(" in {}", human::duration(took)) };
    format!("{succeeded}{all} {services} {}{took}\n", order.done)
}

#[cfg(test)]
mod tests {
    use super::super::act::START;
    use super::*;

    #[test]
    fn what_is_said_of_many() {
        assert_eq!(count(START, 0, 0, 3), "starting: 0 of 3 done");
        assert_eq!(count(START, 412, 3, 1000), "starting: 412 of 1000 done, 3 failed");
        let took = Some(Duration::from_millis(4200));
        assert_eq!(summary(START, 997, 1000, took), "997 of 1000 services started in 4.2 s\n");
        assert_eq!(summary(START, 2, 2, Some(Duration::ZERO)), "2 services started\n");
        assert_eq!(summary(START, 0, 1, Some(Duration::ZERO)), "0 of 1 service started\n");
        assert_eq!(summary(START, 7, 7, None), "starting 7 services\n");
    }

    #[test]
    fn a_failure_among_many_is_one_line() {
        let error = ErrorObject::new(Kind::StartFailed, "did not come up");
        let outcome =
            Outcome { name: "w@7".into(), ok: false, message: "x".into(), error: Some(error), status: None };
        assert_eq!(brief(&outcome), "w@7: did not come up\n");
        assert_eq!(brief(&Outcome { error: None, ..outcome }), "w@7: x\n");
    }
}
