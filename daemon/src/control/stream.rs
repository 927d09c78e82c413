//! Streams: log lines, as notifications, until the client has enough.

use jiff::Timestamp;
use mcpd_config::spec::LogTarget;
use mcpd_proto::SCHEMA;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::log::LogLine;
use mcpd_proto::message::{Id, Notification};
use mcpd_proto::method::{LogReadDone, LogReadParams};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::method::{Written, asked, blocking, value};
use super::session::Out;
use super::{Desk, LogReader};
use crate::crash::redact;
use crate::log::{Follow, read};
use crate::shell::message::{Ask, Found};
use crate::spawner::{Secrets, secrets};

/// Lines before the first live one when nothing is said.
const FOLLOW_BACKLOG: usize = 10;
/// Batches of lines read ahead of a client.
const AHEAD: usize = 2;

fn since(params: &LogReadParams) -> Result<Option<Timestamp>, ErrorObject> {
    let Some(text) = &params.since else { return Ok(None) };
    text.parse().map(Some).map_err(|error| {
        ErrorObject::new(Kind::InvalidParams, format!("since is no RFC 3339 time: \"{text}\": {error}"))
    })
}

/// What every reading of a log begins with: since when, a place among the readers, and where the log is.
async fn open(
    desk: &Desk,
    params: &LogReadParams,
) -> Result<(Option<Timestamp>, LogReader, Found), ErrorObject> {
    let since = since(params)?;
    let reader = desk.sessions.log_reader()?;
    let name = params.name.clone();
    let mut found = asked(desk, |reply| Ask::Find(name, reply)).await?;
    if let Some(spec) = found.unread.take() {
        found.redactors.push(blocking(desk, move || secrets(&spec)).await?);
    }
    Ok((since, reader, found))
}

fn lines_notification(id: &Id, lines: &[LogLine], skipped: u64) -> Notification {
    Notification::new("log.lines", id, json!({ "lines": lines, "skipped": skipped }))
}

fn done(lines: u64) -> Result<Written, ErrorObject> {
    value(&LogReadDone { schema: SCHEMA, lines })
}

pub(super) async fn log_read(
    desk: &Desk,
    out: &Out,
    id: &Id,
    params: &LogReadParams,
    token: &CancellationToken,
) -> Result<Written, ErrorObject> {
    let (since, _reader, Found { service, log, redactors, .. }) = open(desk, params).await?;
    if log.target != LogTarget::File {
        // Only what is remembered: this service's lines are not kept in files.
        let (sender, tail) = oneshot::channel::<Vec<LogLine>>();
        let count = params.lines.unwrap_or(usize::MAX);
        desk.logs.tail(service.0, count, Box::new(move |lines| drop(sender.send(lines))));
        let mut lines = tail.await.unwrap_or_default();
        if let Some(since) = since {
            lines.retain(|line| time_of(line).is_none_or(|time| time >= since));
        }
        clean(&redactors, &mut lines);
        out.send(&lines_notification(id, &lines, 0)).await;
        return done(lines.len() as u64);
    }
    // What is written by now is what was printed by now.
    let (flushed, written) = oneshot::channel();
    desk.logs.flush(Box::new(move || {
        let _ = flushed.send(());
    }));
    let _ = written.await;
    let (sender, mut batches) = mpsc::channel::<Vec<LogLine>>(AHEAD);
    let (dir, name, count) = (desk.log_dir.clone(), params.name.clone(), params.lines);
    let reading = blocking(desk, move || {
        read::read(&dir, &name, log.format, count, since, &mut |mut lines| {
            clean(&redactors, &mut lines);
            sender.blocking_send(lines).is_ok()
        })
    });
    let sending = async {
        while let Some(lines) = batches.recv().await {
            if token.is_cancelled() || !out.send(&lines_notification(id, &lines, 0)).await {
                break;
            }
        }
        batches.close();
    };
    let (result, ()) = tokio::join!(reading, sending);
    let count = result?.map_err(|error| {
        ErrorObject::new(Kind::Internal, format!("the log of \"{}\" cannot be read: {error}", params.name))
    })?;
    done(count)
}

/// What is in the file is what the service printed; whoever asks mcpd gets it without the secrets that are known.
fn clean(redactors: &[Secrets], lines: &mut [LogLine]) {
    for redactor in redactors {
        redact::lines(redactor, lines);
    }
}

fn time_of(line: &LogLine) -> Option<Timestamp> {
    line.time.as_deref()?.parse().ok()
}

pub(super) async fn log_follow(
    desk: &Desk,
    out: &Out,
    id: &Id,
    params: &LogReadParams,
    token: &CancellationToken,
) -> Result<Written, ErrorObject> {
    let (since, _reader, Found { service, redactors, .. }) = open(desk, params).await?;
    let backlog = params.lines.unwrap_or(if since.is_some() { usize::MAX } else { FOLLOW_BACKLOG });
    let mut batches = desk.logs.follow(service.0, Follow { lines: backlog, since });
    let mut count = 0;
    loop {
        let batch = tokio::select! {
            () = token.cancelled() => break,
            batch = batches.recv() => batch,
        };
        let Some(mut batch) = batch else { break };
        clean(&redactors, &mut batch.lines);
        count += batch.lines.len() as u64;
        if !out.send(&lines_notification(id, &batch.lines, batch.skipped)).await {
            break;
        }
    }
    done(count)
}
