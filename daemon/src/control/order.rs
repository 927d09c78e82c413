//! Orders for services: one answer when all is done, or a word as each is.

use mcpd_config::spec::Signal;
use mcpd_core::{Verb, Whom};
use mcpd_proto::SCHEMA;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::message::{Id, Notification};
use mcpd_proto::method::{EachOutcome, NamesParams, Outcome, Outcomes, SignalParams};
use serde_json::{Value, json};

use super::Desk;
use super::method::{Written, asked, parsed, value};
use super::session::Out;
use crate::shell::message::{Answers, Ask};

pub(super) async fn command(
    desk: &Desk,
    out: &Out,
    id: Option<&Id>,
    verb: Verb,
    params: Value,
) -> Result<Written, ErrorObject> {
    let NamesParams { names, wait, each } = parsed(params)?;
    let by = out.asker(desk).await;
    let answers = asked(desk, |reply| Ask::Command { names, verb, wait, by, reply }).await?;
    match id.filter(|_| each) {
        Some(id) => one_by_one(out, id, answers).await,
        None => together(answers).await,
    }
}

pub(super) async fn signal(desk: &Desk, out: &Out, params: Value) -> Result<Written, ErrorObject> {
    let SignalParams { names, signal, all } = parsed(params)?;
    let Some(number) = Signal::parse(&signal).map(Signal::number) else {
        return Err(ErrorObject::new(Kind::InvalidParams, format!("there is no signal \"{signal}\"")));
    };
    let whom = if all { Whom::Group } else { Whom::Main };
    let verb = Verb::Signal(number, whom);
    let by = out.asker(desk).await;
    together(asked(desk, |reply| Ask::Command { names, verb, wait: true, by, reply }).await?).await
}

/// All outcomes in one document, in the order asked for.
async fn together(answers: Answers) -> Result<Written, ErrorObject> {
    let Answers { of, outcomes: mut coming } = answers;
    let mut outcomes: Vec<Option<Outcome>> = vec![None; of];
    while let Some((place, outcome)) = coming.recv().await {
        if let Some(slot) = outcomes.get_mut(place) {
            *slot = Some(outcome);
        }
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    if outcomes.len() < of {
        return Err(ended());
    }
    let succeeded = outcomes.iter().filter(|outcome| outcome.ok).count();
    value(&Outcomes { schema: SCHEMA, succeeded, failed: of - succeeded, outcomes })
}

/// Each outcome as a notification as soon as it is there, and how many there were of each sort.
async fn one_by_one(out: &Out, id: &Id, answers: Answers) -> Result<Written, ErrorObject> {
    let Answers { of, mut outcomes } = answers;
    let (mut done, mut succeeded) = (0, 0);
    while let Some((_, outcome)) = outcomes.recv().await {
        done += 1;
        succeeded += usize::from(outcome.ok);
        let item = EachOutcome { schema: SCHEMA, done, of, outcome };
        // The order stands, whether or not somebody hears of it.
        if !out.send(&Notification::new("service.outcome", id, json!(item))).await {
            break;
        }
    }
    if done < of {
        return Err(ended());
    }
    value(&Outcomes { schema: SCHEMA, succeeded, failed: of - succeeded, outcomes: Vec::new() })
}

fn ended() -> ErrorObject {
    ErrorObject::new(Kind::ShuttingDown, "mcpd is shutting down")
}
