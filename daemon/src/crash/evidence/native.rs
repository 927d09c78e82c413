//! Last words of compiled programs: Rust, Go, C++, and the engines below scripts.

use std::sync::LazyLock;

use regex::Regex;

use super::{Found, MAX_FRAMES};

/// Lines between Go's message and its first goroutine: the message may go on, and a signal has a line of its own.
const MAX_MESSAGE: usize = 8;

/// `thread 'main' panicked at ...`, with the thread's number since Rust 1.91.
static RUST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^thread '[^']*' (?:\(\d+\) )?panicked at (?P<rest>.*)$").expect("the pattern is a constant")
});

/// Before Rust 1.73: `'message', src/main.rs:1:2`.
static RUST_OLD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^'(?P<message>.*)', (?P<place>\S+:\d+:\d+)$").expect("the pattern is a constant")
});

static GO_PLACE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s+(?P<file>\S+\.go):(?P<line>\d+)(?: \+0x[0-9a-f]+)?$").expect("the pattern is a constant")
});

/// The last of these words.
pub(crate) fn find(lines: &[String]) -> Option<Found> {
    let recognisers = [rust, rust_error, go, cpp, fatal];
    (0..lines.len()).rev().find_map(|at| {
        let text = recognisers.iter().find_map(|recogniser| recogniser(lines, at))?;
        let frames = if text.starts_with("panic: ") || text.starts_with("fatal error: ") {
            go_frames(&lines[at + 1..])
        } else {
            Vec::new()
        };
        Some(Found { line: at, text, place: None, frames })
    })
}

/// The functions of Go's first goroutine, without their arguments.
fn go_frames(below: &[String]) -> Vec<String> {
    let stack = below.iter().skip_while(|line| !line.starts_with("goroutine ")).skip(1);
    let calls = stack.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with(['\t', ' ']));
    let functions = calls.filter_map(|line| Some(line.rsplit_once('(')?.0));
    let own = functions.filter(|name| *name != "panic" && !name.starts_with("runtime."));
    own.take(MAX_FRAMES).map(str::to_owned).collect()
}

fn rust(lines: &[String], at: usize) -> Option<String> {
    let rest = RUST.captures(&lines[at])?.name("rest")?.as_str();
    if let Some(place) = rest.strip_suffix(':') {
        let message = lines.get(at + 1).map_or("", |line| line.trim());
        return Some(match message {
            "" => format!("panic at {place}"),
            message => format!("panic: {message} ({place})"),
        });
    }
    Some(match RUST_OLD.captures(rest) {
        Some(old) => format!("panic: {} ({})", &old["message"], &old["place"]),
        None => format!("panic: {rest}"),
    })
}

/// `Error: ...`, an empty line, `Caused by:` and indented causes, as error reports of Rust programs print them.
fn rust_error(lines: &[String], at: usize) -> Option<String> {
    let message = lines[at].strip_prefix("Error: ")?;
    let causes = lines.get(at + 1..)?.iter().position(|line| !line.is_empty())? + at + 1;
    if lines[causes] != "Caused by:" {
        return None;
    }
    let cause = lines[causes + 1..].iter().take_while(|line| line.starts_with(' ')).last()?.trim();
    let numbered = cause.split_once(": ").filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()));
    Some(format!("{message}, caused by {}", numbered.map_or(cause, |(_, cause)| cause)))
}

fn go(lines: &[String], at: usize) -> Option<String> {
    let line = lines[at].as_str();
    if !line.starts_with("panic: ") && !line.starts_with("fatal error: ") {
        return None;
    }
    let below = &lines[at + 1..];
    let stack = below.iter().take(MAX_MESSAGE).position(|line| line.starts_with("goroutine "))?;
    let frames = below[stack + 1..].iter().take_while(|line| !line.is_empty());
    let place = frames.filter_map(|line| GO_PLACE.captures(line)).find(|place| {
        let file = &place["file"];
        !file.contains("/src/runtime/") && !file.ends_with("/panic.go")
    });
    Some(match place {
        Some(place) => {
            let file = place["file"].rsplit('/').next().unwrap_or_default();
            format!("{line} ({file}:{})", &place["line"])
        }
        None => line.to_owned(),
    })
}

fn cpp(lines: &[String], at: usize) -> Option<String> {
    let kind =
        lines[at].strip_prefix("terminate called after throwing an instance of '")?.strip_suffix('\'')?;
    let what = lines.get(at + 1).and_then(|line| line.trim().strip_prefix("what():"));
    Some(what.map_or_else(|| kind.to_owned(), |what| format!("{kind}: {}", what.trim())))
}

/// V8 out of memory, an assertion of the C library: one line, over a stack that nobody reads.
fn fatal(lines: &[String], at: usize) -> Option<String> {
    let line = &lines[at];
    if let Some(fatal) = line.strip_prefix("Fatal Python error: ") {
        return Some(format!("Fatal Python error: {}", fatal.trim_end_matches(':')));
    }
    if let Some((_, fatal)) = line.split_once("FATAL ERROR: ") {
        return Some(fatal.to_owned());
    }
    let assertion = line.contains(": Assertion `") && line.ends_with("failed.");
    assertion.then(|| line.clone())
}
