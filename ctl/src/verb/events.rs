//! `events`

use anstyle::Style;
use mcpd_proto::event::Event;
use mcpd_proto::message::Notification;
use mcpd_proto::method::SubscribeParams;
use serde_json::{Value, json};

use super::{Context, Lost, QUESTION, decode, until_interrupted};
use crate::args::Events;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::link::Patience;
use crate::look::{BAD, BUSY, DIM, GOOD, Look, PLAIN, WARN};
use crate::out::{Out, complain};
use crate::text;

/// Events shown when nobody says how many.
const READ: usize = 100;
/// Before those that come.
const FOLLOW: usize = 10;

/// Shows them.
pub(crate) fn run(events: &Events, context: &mut Context) -> Result<Exit, Failure> {
    let since = events.since.as_deref().map(|text| context.out.look.clock.since(text));
    let since = since.transpose().map_err(Failure::Usage)?.map(|instant| instant.to_string());
    // Who says from when on wants all of it.
    let most = if events.follow { FOLLOW } else { READ };
    let backlog = events.last.or_else(|| since.is_none().then_some(most));
    let params =
        SubscribeParams { name: events.name.clone(), backlog, since, after: None, follow: events.follow };
    if !events.follow {
        let link = context.link(Patience::Each(QUESTION))?;
        let json = context.common.json;
        let ended = link.stream("event.subscribe", json!(params), |item| take(item, json, &mut context.out));
        context.out.flush()?;
        return ended.map(|_| Exit::Done);
    }
    until_interrupted()?;
    follow(params, context)
}

/// Until somebody ends it, over the deaths of daemons: each next one goes on where the last one was.
fn follow(mut params: SubscribeParams, context: &mut Context) -> Result<Exit, Failure> {
    let mut lost = Lost::default();
    loop {
        let link = context.link(Patience::Endless)?;
        let (json, out) = (context.common.json, &mut context.out);
        let ended = link.stream("event.subscribe", json!(params), |item| {
            lost.found();
            if let Some(id) = item.params.get("id").and_then(Value::as_u64) {
                params.after = Some(id);
            }
            take(item, json, out)
        });
        out.flush()?;
        match ended {
            Ok(_) => {
                let why = "mcpd ended the stream of events: it is on its way down.";
                return Err(Failure::Gone(why.to_owned()));
            }
            Err(failure) if lost.may_come_back(&failure) => {}
            Err(failure) => return Err(lost.last_word(failure)),
        }
        if params.after.is_some() {
            (params.backlog, params.since) = (None, None);
        }
    }
}

fn take(item: Notification, json: bool, out: &mut Out) -> Result<(), Failure> {
    if item.method == "events_missed" {
        out.flush()?;
        return missed(&item.params, json, out);
    }
    if item.method != "event" {
        return Ok(());
    }
    let mut event = item.params;
    if json {
        // The conversation's own number means nothing to whoever reads the event.
        if let Some(fields) = event.as_object_mut() {
            fields.remove("request");
        }
        out.line(&event)?;
    } else {
        let text = line(&decode(&event)?, &out.look);
        out.text(&text)?;
    }
    out.flush()
}

/// The daemon does not wait for a slow reader: it says how many events it left out.
fn missed(params: &Value, json: bool, out: &mut Out) -> Result<(), Failure> {
    let missed = params.get("missed").and_then(Value::as_u64).unwrap_or(0);
    if json {
        out.line(&json!({ "missed": missed }))?;
        return out.flush();
    }
    complain(&format!("mcpctl: {missed} events left out here, this reader was too slow\n"));
    Ok(())
}

/// For people `2026-11-22 11:30:00 web          started    message`; for programs the same with UTC and single spaces.
fn line(event: &Event, look: &Look) -> String {
    let service = event.service.as_deref().map_or_else(|| "-".to_owned(), text::safe);
    let (name, message) = (text::safe(&event.event), text::safe(&event.message));
    if look.width.is_none() {
        let painted = look.paint(style(&event.event), &name);
        return format!("{} {service} {painted} {message}\n", text::safe(&event.time));
    }
    format!(
        "{} {service:<12} {} {message}\n",
        look.paint(DIM, &look.clock.full(&event.time)),
        look.paint(style(&event.event), &format!("{name:<10}"))
    )
}

fn style(event: &str) -> Style {
    match event {
        "started" | "up" | "ready" | "healthy" => GOOD,
        "starting" | "spawning" | "waiting" | "wanted" | "reload" => BUSY,
        "exited" | "backoff" | "failing" | "stopping" => WARN,
        "crash" | "failed" | "unhealthy" | "parked" => BAD,
        _ => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::{pipe, terminal};

    #[test]
    fn one_line_each() {
        let event = Event {
            schema: 1,
            id: 7,
            cause: None,
            time: "2026-11-22T11:29:58.5Z".into(),
            service: Some("web".into()),
            event: "crash".into(),
            message: "exited with code 1\nafter 12 s".into(),
            data: Value::Null,
        };
        assert_eq!(
            line(&event, &terminal()),
            "2026-11-22 11:29:58 web          crash      exited with code 1␊after 12 s\n"
        );
        let own = Event { service: None, ..event };
        assert_eq!(line(&own, &pipe()), "2026-11-22T11:29:58.5Z - crash exited with code 1␊after 12 s\n");
    }
}
