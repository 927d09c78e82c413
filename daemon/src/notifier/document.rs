//! What is told, as a document and in words.

use std::path::PathBuf;

use mcpd_config::spec::NotifyOn;
use mcpd_proto::SCHEMA;
use mcpd_proto::crash::CrashReport;
use mcpd_proto::log::LogLine;
use mcpd_proto::notification::Notification;

use super::queue::Item;
use crate::crash::CrashStore;
use crate::words;

/// Bytes of the lines of output that a document carries, both streams together. The whole is in the report on disk.
const TAILS: usize = 64 * 1024;
/// Lines of output in a text for people, and characters of each.
const LINES: usize = 5;
const LINE: usize = 160;

/// A notification as it is sent, and where the report of its crash is.
pub(super) struct Document {
    pub(super) notification: Notification,
    pub(super) report: Option<PathBuf>,
}

/// Reads the report, if there is one: this may wait for a disk.
pub(super) fn document(item: &Item, store: &CrashStore) -> Document {
    let Item { notice, suppressed, lost } = item;
    let id = notice.crash.as_deref();
    let mut crash = id.and_then(|id| store.report_of(&notice.service, id));
    let report = id.filter(|_| crash.is_some()).and_then(|id| store.path_of(&notice.service, id));
    if let Some(crash) = &mut crash {
        shorten(crash);
    }
    let notification = Notification {
        schema: SCHEMA,
        condition: notice.condition.name().to_owned(),
        state: if notice.opened { "opened" } else { "closed" }.to_owned(),
        service: notice.service.to_string(),
        time: format!("{:.6}", notice.time),
        reason: notice.reason.clone(),
        host: notice.host.to_string(),
        after_seconds: notice.after.map(|after| after.as_secs_f64()),
        event: notice.event,
        suppressed: *suppressed,
        lost: *lost,
        crash_id: crash.as_ref().map(|crash| crash.id.clone()),
        crash,
    };
    Document { notification, report }
}

/// The newest lines are the ones that tell; stderr tells more than stdout.
fn shorten(crash: &mut CrashReport) {
    let mut room = TAILS;
    for tail in [&mut crash.stderr_tail, &mut crash.stdout_tail] {
        let size = |line: &LogLine| line.text.len() + line.base64.as_ref().map_or(0, String::len) + 64;
        let fits = tail.iter().rev().take_while(|line| match room.checked_sub(size(line)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let fits = fits.count();
        tail.drain(..tail.len() - fits);
    }
}

/// One line: what is the matter with which service, and where.
pub(super) fn title(item: &Item) -> String {
    let notice = &item.notice;
    let (service, host) = (&notice.service, &notice.host);
    let what = match (notice.condition, notice.opened) {
        (NotifyOn::Failing, true) => "has failed",
        (NotifyOn::Failing, false) => "is no longer failing",
        (NotifyOn::Flapping, true) => "fails again and again",
        (NotifyOn::Flapping, false) => "no longer fails again and again",
        (NotifyOn::Parked, true) => "is parked: mcpd has given up on it",
        (NotifyOn::Parked, false) => "is no longer parked",
        (NotifyOn::Unhealthy, true) => "is unhealthy",
        (NotifyOn::Unhealthy, false) => "is no longer unhealthy",
    };
    let place = if host.is_empty() { String::new() } else { format!(" on {host}") };
    format!("{service}{place} {what}")
}

/// What there is to add, a sentence a line.
pub(super) fn details(item: &Item, notification: &Notification) -> Vec<String> {
    let notice = &item.notice;
    let mut lines = vec![notice.reason.clone()];
    if let Some(after) = notice.after {
        lines.push(format!("It was so for {}.", words::span(after)));
    }
    let times =
        |count: u64| if count == 1 { "1 notification".to_owned() } else { format!("{count} notifications") };
    if item.suppressed > 0 {
        lines.push(format!("{} about it were held back before this one.", times(item.suppressed)));
    }
    if item.lost > 0 {
        lines.push(format!("{} did not get through before this one.", times(item.lost)));
    }
    if let (true, Some(crash)) = (notice.opened, &notification.crash_id) {
        lines.push(format!("Report: mcpctl crashes show {crash}"));
    }
    lines
}

/// The last lines that it printed, for people. Empty when it is over.
pub(super) fn last_lines(notification: &Notification) -> Vec<String> {
    let Some(crash) = notification.crash.as_ref().filter(|_| notification.state == "opened") else {
        return Vec::new();
    };
    let tail = if crash.stderr_tail.is_empty() { &crash.stdout_tail } else { &crash.stderr_tail };
    let newest = &tail[tail.len().saturating_sub(LINES)..];
    newest.iter().map(|line| crate::probe::words::shortened(&line.text, LINE)).collect()
}
