//! A Python traceback, also a chained one, one of an exception group, and one whose beginning is cut off.

use std::sync::LazyLock;

use regex::Regex;

use super::{Found, MAX_FRAMES};

/// Ends the first line of a traceback, whatever a logger put before it.
const HEADER: &str = "Traceback (most recent call last):";
const GROUP_HEADER: &str = "Exception Group Traceback (most recent call last):";
const DIRECT_CAUSE: &str = "The above exception was the direct cause of the following exception:";

/// `ValueError`, `json.decoder.JSONDecodeError: Expecting value`.
static EXCEPTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?P<name>[A-Za-z_][A-Za-z0-9_.]*)(?:: .*|:)?$").expect("the pattern is a constant")
});

/// The last exception that ended in a traceback.
pub(crate) fn find(lines: &[String]) -> Option<Found> {
    let group = lines.iter().rposition(|line| is_group_header(line));
    let plain = lines.iter().rposition(|line| is_anchor(line));
    match (group, plain) {
        (Some(group), plain) if plain.is_none_or(|plain| plain < group) => exception_group(lines, group),
        (_, Some(anchor)) => traceback(lines, anchor),
        (_, None) => None,
    }
}

/// The outermost one of a group; those of groups inside stand behind a `|`.
fn is_group_header(line: &str) -> bool {
    line.trim_start().strip_prefix("+ ") == Some(GROUP_HEADER)
}

/// A traceback's header or one of its frames.
fn is_anchor(line: &str) -> bool {
    (line.ends_with(HEADER) && in_group(line).is_none())
        || (line.starts_with("  File \"") && line.contains("\", line "))
}

fn traceback(lines: &[String], anchor: usize) -> Option<Found> {
    let at = exception_after(lines, anchor)?;
    let mut text = lines[at].trim_end_matches(':').to_owned();
    // pydantic and its like put what is wrong on the lines below.
    if text.contains("validation error") {
        for line in lines[at + 1..].iter().map(|line| line.trim()).filter(|line| !line.is_empty()).take(2) {
            text = format!("{text}: {line}");
        }
    }
    let header = lines[..at].iter().rposition(|line| line.ends_with(HEADER)).unwrap_or(anchor);
    let before = lines[..header].iter().rposition(|line| !line.trim().is_empty());
    if let Some(cause) = before.filter(|&before| lines[before] == DIRECT_CAUSE)
        && let Some(cause) = find(&lines[..cause])
    {
        // Only the nearest cause, not that one's own: a sentence, no history.
        let nearest = cause.text.split(", caused by ").next().unwrap_or_default();
        text = format!("{text}, caused by {nearest}");
    }
    Some(Found { line: at, text, place: None, frames: frames(lines[header..at].iter().map(String::as_str)) })
}

/// The frames in a part of a traceback.
fn frames<'l>(lines: impl DoubleEndedIterator<Item = &'l str>) -> Vec<String> {
    let frames = lines.rev().map(str::trim_start).filter(|line| line.starts_with("File \""));
    frames.take(MAX_FRAMES).map(str::to_owned).collect()
}

/// The first line after the frames, if it is an exception.
fn exception_after(lines: &[String], anchor: usize) -> Option<usize> {
    let flush = |line: &String| !line.is_empty() && !line.starts_with(' ');
    let at = anchor + 1 + lines[anchor + 1..].iter().position(flush)?;
    is_exception(&lines[at]).then_some(at)
}

fn is_exception(line: &str) -> bool {
    let Some(found) = EXCEPTION.captures(line) else { return false };
    let name = &found["name"];
    let level = ["INFO", "WARNING", "ERROR", "DEBUG", "CRITICAL"].contains(&name);
    !level && (name.contains('.') || name.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// What stands in a group's block behind its `|` or `+`, with the inner indentation.
fn in_group(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let inner =
        rest.strip_prefix("| ").or_else(|| rest.strip_prefix("+ ")).or_else(|| rest.strip_prefix("+-"));
    inner.or_else(|| (rest == "|").then_some(""))
}

/// The group's own line and the first exception in it that is no group. A message of several lines leaves the block's
/// margin, so only an empty line ends the block.
fn exception_group(lines: &[String], header: usize) -> Option<Found> {
    let mut title = None;
    let mut leaf = None;
    for (at, line) in lines.iter().enumerate().skip(header + 1).take_while(|(_, line)| !line.is_empty()) {
        let Some(rest) = in_group(line) else { continue };
        if rest.starts_with("--") || rest.starts_with("+--") {
            if leaf.is_some() {
                break;
            }
        } else if is_exception(rest) {
            let name = rest.split(':').next().unwrap_or_default();
            if !name.ends_with("ExceptionGroup") {
                leaf = Some((at, rest));
            } else if title.is_none() {
                title = Some((at, rest));
            }
        }
    }
    let (line, title) = title?;
    let text = leaf.map_or_else(|| title.to_owned(), |(_, leaf)| format!("{title}: {leaf}"));
    let block = &lines[header..leaf.map_or(line, |(at, _)| at)];
    let frames = frames(block.iter().filter_map(|line| in_group(line)));
    Some(Found { line, text, place: None, frames })
}
