//! An exception over a stack of `at ...` lines: Node, Deno, Java and its kin, .NET.

use std::sync::LazyLock;

use regex::Regex;

use super::{Found, MAX_FRAMES};

/// Lines of a message that goes on before the stack begins (`Require stack:`, `- /app/index.js`).
const MAX_MESSAGE: usize = 12;

/// Lines from the stack's beginning on that may hold Node's `code: 'EADDRINUSE'`.
const MAX_STACK: usize = 60;

static HEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"^(?:Exception in thread "[^"]*" |Unhandled exception\. |error: )?(?:Uncaught )?(?:\(in promise\) )?"#,
        r"(?P<what>(?P<name>[A-Za-z_$][A-Za-z0-9_$.]*)(?: \[[A-Z][A-Z0-9_]+\])?(?:: .*)?)$",
    ))
    .expect("the pattern is a constant")
});

/// `(/app/server.js:12:5)`, `file:///app/main.ts:1:7`, `(Main.java:5)`, `in /app/Program.cs:line 3`; not `[eval]:1:16`.
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^at |[ (/\\])(?P<file>[^\s()\[\]/\\:]+\.[A-Za-z]+):(?:line )?(?P<line>\d+)(?::\d+)?\)?$")
        .expect("the pattern is a constant")
});

/// The reason inside `[UnhandledPromiseRejection: ...]`.
static REJECTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^\[?UnhandledPromiseRejection\w*\b.*rejected with the reason "(?P<reason>.*)"\."#)
        .expect("the pattern is a constant")
});

/// The last exception with a stack below it.
pub(crate) fn find(lines: &[String]) -> Option<Found> {
    (0..lines.len()).rev().find_map(|at| rejection(lines, at).or_else(|| exception(lines, at)))
}

fn exception(lines: &[String], at: usize) -> Option<Found> {
    let found = HEAD.captures(&lines[at])?;
    if !found["name"].contains(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let below = &lines[at + 1..];
    let message = below.iter().take(MAX_MESSAGE).take_while(|line| !line.is_empty());
    let stack = message.enumerate().find_map(|(index, line)| is_frame(line).then_some(index))?;
    let mut text = found["what"].to_owned();
    let after = &below[stack..];
    let block = after.iter().take_while(|line| is_frame(line) || is_nested(line));
    if let Some(cause) = block.filter_map(|line| line.trim_start().strip_prefix("Caused by: ")).last() {
        text = format!("{text}, caused by {cause}");
    }
    // Node prints an error's own properties below its stack, deeper causes among them.
    let rest = || after.iter().take(MAX_STACK).take_while(|line| !line.is_empty());
    if let Some(cause) = rest().filter_map(|line| line.trim_start().strip_prefix("[cause]: ")).last() {
        text = format!("{text}, caused by {cause}");
    }
    let code = rest().filter_map(|line| line.trim_start().strip_prefix("code: '")?.split('\'').next());
    if let Some(code) = code.take(1).find(|code| !text.contains(code)) {
        text = format!("{text} ({code})");
    }
    let frames = after.iter().take_while(|line| is_frame(line) || is_nested(line));
    // What an engine does around the program's own code changes with its version.
    let frames = frames.filter(|line| is_frame(line) && !line.contains("node:")).map(|line| line.trim());
    let frames: Vec<String> = frames.take(MAX_FRAMES).map(str::to_owned).collect();
    let place = frames.first().and_then(|frame| place(frame));
    Some(Found { line: at, text, place, frames })
}

/// `server.js:12` of a frame.
fn place(frame: &str) -> Option<String> {
    let found = PLACE.captures(frame)?;
    Some(format!("{}:{}", &found["file"], &found["line"]))
}

fn rejection(lines: &[String], at: usize) -> Option<Found> {
    let found = REJECTION.captures(&lines[at])?;
    let text = format!("unhandled promise rejection: {}", &found["reason"]);
    Some(Found { line: at, text, place: None, frames: Vec::new() })
}

fn is_frame(line: &str) -> bool {
    line.starts_with(' ') && line.trim_start().starts_with("at ")
}

/// What Java puts between frames.
fn is_nested(line: &str) -> bool {
    let bare = line.trim_start();
    bare.starts_with("Caused by: ") || bare.starts_with("Suppressed: ") || bare.starts_with("... ")
}
