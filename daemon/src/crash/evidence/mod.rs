//! Which line of the output names the cause?
//!
//! Each recogniser knows how some kind of program says its last words and gives the place and the words; the last
//! words of all win. Without any, the last line that is no mere information has to do. Output is cut at both ends
//! and mixed with log lines, so a recogniser takes what it finds and never insists on a whole.

mod at_stack;
mod native;
mod plain;
mod python;

use std::time::Duration;

use jiff::Timestamp;
use mcpd_proto::log::LogLine;

use super::clean;

/// An exception that is this much older than the last line of output was not what ended the program: it was caught.
const FRESH: Duration = Duration::from_secs(10);

/// Frames of a stack that are taken along, to tell one failure from another: further out they are the same for all.
pub(crate) const MAX_FRAMES: usize = 5;

impl Evidence {
    /// The words with the place behind what was thrown: `Error: boom (server.js:12), caused by ...`.
    pub(crate) fn words(&self) -> String {
        let Some(place) = &self.place else { return self.text.clone() };
        let (thrown, cause) = self.text.split_at(self.text.find(", caused by ").unwrap_or(self.text.len()));
        format!("{thrown} ({place}){cause}")
    }
}

/// Words found in an output, and where they start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Index of the line.
    pub(crate) line: usize,
    /// The cause, one line.
    pub(crate) text: String,
    /// The file and line that threw it, where the words do not say so themselves.
    pub(crate) place: Option<String>,
    /// Where it came from, the innermost frame first, [`MAX_FRAMES`] at most; none where there is no stack.
    pub(crate) frames: Vec<String>,
}

/// What the output says is the cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// One line.
    pub(crate) text: String,
    /// See [`Found::place`].
    pub(crate) place: Option<String>,
    /// See [`Found::frames`].
    pub(crate) frames: Vec<String>,
}

/// How much an end calls for a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// Someone else ended it (SIGKILL, SIGTERM): whatever it printed before is not the cause.
    Nothing,
    /// It ended well: only last words of an exception are worth telling.
    LastWords,
    /// Last words, else the last line.
    Anything,
    /// As `Anything`, but a "not found" first: the code is a shell's 126 or 127.
    Shell,
}

/// The cause that the output names, if any.
pub(crate) fn cause(stderr: &[LogLine], stdout: &[LogLine], search: Search) -> Option<Evidence> {
    if search == Search::Nothing {
        return None;
    }
    let last = last_time(stderr).max(last_time(stdout));
    let (err, out) = (cleaned(stderr), cleaned(stdout));
    let found = |lines: &[String], times: &[LogLine], find: fn(&[String]) -> Option<Found>| {
        find(lines)
            .filter(|found| is_fresh(times, found.line, last) || is_the_end(lines, times, found.line, last))
            .map(|Found { line: _, text, place, frames }| Evidence { text, place, frames })
    };
    let shell = || match search {
        Search::Shell => found(&err, stderr, plain::shell),
        Search::Nothing | Search::LastWords | Search::Anything => None,
    };
    let last_words = || found(&err, stderr, last_words).or_else(|| found(&out, stdout, last_words));
    let anything = || match search {
        Search::Nothing | Search::LastWords => None,
        Search::Anything | Search::Shell => found(&err, stderr, plain::address_in_use)
            .or_else(|| found(&out, stdout, plain::address_in_use))
            .or_else(|| found(&err, stderr, plain::last_worth_telling))
            .or_else(|| found(&out, stdout, plain::last_complaint))
            .or_else(|| plain::last(&err).map(|last| Evidence { text: last.text, ..Evidence::default() })),
    };
    shell().or_else(last_words).or_else(anything)
}

fn last_words(lines: &[String]) -> Option<Found> {
    let recognisers = [python::find, at_stack::find, native::find];
    recognisers.iter().filter_map(|find| find(lines)).max_by_key(|found| found.line)
}

fn cleaned(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| clean::text(&line.text).trim_end().replace('\n', " ")).collect()
}

fn time(line: &LogLine) -> Option<Timestamp> {
    line.time.as_deref()?.parse().ok()
}

fn last_time(lines: &[LogLine]) -> Option<Timestamp> {
    lines.iter().rev().find_map(time)
}

/// Nothing but the rest of the message and its stack came after it: names for a stack are read from disk, which may take
/// long.
fn is_the_end(lines: &[String], times: &[LogLine], index: usize, last: Option<Timestamp>) -> bool {
    let is_stack = |line: &String| {
        let line = line.as_str();
        let frame = line.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        line.is_empty()
            || line.starts_with([' ', '\t'])
            || line == "stack backtrace:"
            || line.starts_with("note: ")
            || frame
    };
    // `panicked at src/main.rs:1:2:` has its message on the next line.
    let message = lines.get(index).is_some_and(|line| line.ends_with(':'));
    last_time(times) == last && lines.iter().skip(index + 1 + usize::from(message)).all(is_stack)
}

/// Without times every line is fresh.
fn is_fresh(lines: &[LogLine], index: usize, last: Option<Timestamp>) -> bool {
    match (lines.get(index).and_then(time), last) {
        (Some(time), Some(last)) => {
            Duration::try_from(last.duration_since(time)).is_ok_and(|age| age <= FRESH)
        }
        _ => true,
    }
}
