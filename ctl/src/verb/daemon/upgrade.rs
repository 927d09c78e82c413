//! `daemon upgrade`: has another program take over, and says who is there then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mcpd_proto::method::{UpgradeParams, Upgrading};
use mcpd_proto::status::{DaemonStatus, MADE_WAY};
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::link::Patience;
use crate::text;
use crate::verb::{Context, decode};

/// So long it may take without `--timeout`: a daemon that is not ready after a minute is given up by its keeper.
const LIMIT: Duration = Duration::from_secs(100);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) fn run(program: Option<PathBuf>, dry_run: bool, context: &mut Context) -> Result<Exit, Failure> {
    let before: DaemonStatus = status(context)?;
    // It means the same file to mcpd as to whoever says it.
    let program = program.map(|program| std::path::absolute(&program).unwrap_or(program));
    let program = program.map(|program| program.to_string_lossy().into_owned());
    let params = UpgradeParams { program, dry_run };
    let answer = match context.link(Patience::Endless)?.call("daemon.upgrade", json!(params)) {
        Ok(answer) => Some(decode::<Upgrading>(&answer)?),
        // It is ended for what was asked of it, maybe before it could say so.
        Err(Failure::Gone(_)) if !dry_run => None,
        Err(failure) => return Err(failure),
    };
    if dry_run {
        let Some(would) = answer else { return Ok(Exit::Failed) };
        let services = count(would.services);
        let sentence = format!(
            "{} is mcpd {} and would take over from {} with {services}\n",
            text::safe(&would.program),
            text::safe(&would.to),
            text::safe(&would.from)
        );
        return say(&json!(would), &sentence, context);
    }
    let after = successor(before.pid, context)?;
    let keeper = after.keeper.as_ref();
    if let Some(why) = keeper.and_then(|keeper| keeper.not_upgraded.as_deref()) {
        let version = text::safe(&after.version);
        return Err(Failure::Broken(format!("not upgraded: {}; mcpd {version} goes on", text::safe(why))));
    }
    let made_way = keeper.and_then(|keeper| keeper.last.as_ref()).is_some_and(|last| last.how == MADE_WAY);
    if answer.is_none() && !made_way {
        let why = "the daemon died before it could ask the program: nothing was changed. Try again.";
        return Err(Failure::Gone(why.into()));
    }
    let sentence = format!(
        "mcpd {} took over from {}: keeper pid {}, daemon pid {}; no service was touched\n",
        text::safe(&after.version),
        text::safe(&before.version),
        keeper.map_or(0, |keeper| keeper.pid),
        after.pid
    );
    let document = json!({
        "schema": mcpd_proto::SCHEMA,
        "from": before.version,
        "to": after.version,
        "program": answer.map(|answer| answer.program),
        "keeper": keeper.map(|keeper| json!({ "pid": keeper.pid, "version": keeper.version })),
        "pid": after.pid,
    });
    say(&document, &sentence, context)
}

fn status(context: &Context) -> Result<DaemonStatus, Failure> {
    decode(&context.ask("daemon.status", &json!({}))?)
}

/// The daemon that comes after this one.
fn successor(before: u32, context: &Context) -> Result<DaemonStatus, Failure> {
    let limit = context.common.timeout.as_ref().map_or(Some(LIMIT), |limit| limit.0);
    let began = Instant::now();
    loop {
        let failure = match status(context) {
            Ok(now) if now.pid != before => return Ok(now),
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        if let Some(limit) = limit.filter(|&limit| began.elapsed() >= limit) {
            return Err(failure.unwrap_or(Failure::TimedOut {
                what: "nobody took over".into(),
                limit,
                then: " \"mcpctl daemon status\" and mcpd's stderr say more.".into(),
            }));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn count(services: usize) -> String {
    if services == 1 { "1 service".into() } else { format!("{services} services") }
}

fn say(document: &serde_json::Value, sentence: &str, context: &mut Context) -> Result<Exit, Failure> {
    if context.common.json {
        context.out.document(document)?;
    } else {
        context.out.text(sentence)?;
        context.out.flush()?;
    }
    Ok(Exit::Done)
}
