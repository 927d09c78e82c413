//! Causes that are one line: an address in use, a shell's "not found", a complaint, or just the last line.

use std::sync::LazyLock;

use regex::Regex;

use super::Found;

/// Characters at a line's start in which a logger puts its level.
const LEVEL_WITHIN: usize = 80;

static IN_USE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)address already in use|EADDRINUSE|only one usage of each socket address")
        .expect("the pattern is a constant")
});

static INFORMATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"\b(?:INFO|DEBUG|TRACE|NOTICE)\b|\blevel=(?:info|debug|trace)\b|"level": ?"(?:info|debug|trace)""#,
    )
    .expect("the pattern is a constant")
});

static COMPLAINT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:error|fatal|critical|panic|exception|failed|failure|cannot|can't|could not|unable to|denied)\b")
        .expect("the pattern is a constant")
});

/// The last line that says that an address is taken.
pub(crate) fn address_in_use(lines: &[String]) -> Option<Found> {
    find(lines, |line| IN_USE.is_match(line))
}

/// A shell's or `env`'s word about a program that is not there or cannot be run.
pub(crate) fn shell(lines: &[String]) -> Option<Found> {
    const ENDS: &[&str] =
        &["not found", "No such file or directory", "Permission denied", "cannot execute binary file"];
    find(lines, |line| ENDS.iter().any(|end| line.ends_with(end)) || line.contains("Exec format error"))
}

/// The last line that is more than information, such as uvicorn's `INFO:     Application shutdown complete.`
pub(crate) fn last_worth_telling(lines: &[String]) -> Option<Found> {
    find(lines, |line| !line.trim().is_empty() && !is_information(line))
}

/// The last line that complains: stdout is no place for errors, but many programs put theirs there.
pub(crate) fn last_complaint(lines: &[String]) -> Option<Found> {
    find(lines, |line| COMPLAINT.is_match(line) && !is_information(line))
}

/// The last line that is not blank.
pub(crate) fn last(lines: &[String]) -> Option<Found> {
    find(lines, |line| !line.trim().is_empty())
}

fn find(lines: &[String], is: impl Fn(&str) -> bool) -> Option<Found> {
    let line = lines.iter().rposition(|line| is(line))?;
    Some(Found { line, text: message(&lines[line]), place: None, frames: Vec::new() })
}

fn is_information(line: &str) -> bool {
    let end = line.char_indices().nth(LEVEL_WITHIN).map_or(line.len(), |(at, _)| at);
    INFORMATION.is_match(&line[..end])
}

/// The line, or its message when it is a JSON log record.
fn message(line: &str) -> String {
    let line = line.trim();
    let record =
        line.starts_with('{').then(|| serde_json::from_str::<serde_json::Value>(line).ok()).flatten();
    let text = record.as_ref().and_then(|record| {
        ["msg", "message", "error", "event"].iter().find_map(|key| record.get(key)?.as_str())
    });
    text.unwrap_or(line).to_owned()
}
