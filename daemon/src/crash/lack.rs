//! Did it end for want of something that no restart brings?
//!
//! A guess from the words that the crash report names as the cause, and so a careful one: only of a program that ended
//! soon after its start, by itself, with a code of failure; only words that mean one thing; and a port only when another
//! process is found that holds it, for one that has just been left is free again in a minute.

use std::sync::LazyLock;
use std::time::Duration;

use mcpd_proto::log::LogLine;
use regex::Regex;

use super::{evidence, reason};

/// A program that lives longer has found what it needs to start.
pub const SOON: Duration = Duration::from_secs(10);

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// What is lacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A port: somebody has it.
    Port(u16, Holder),
    /// A file, a module, a program, in the words of whoever missed it.
    Thing(String),
}

impl Lack {
    /// One sentence.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Port(port, Holder { pid, name }) => format!("port {port} is held by {name} (pid {pid})"),
            Self::Thing(words) => words.clone(),
        }
    }

    /// The file or the command that its words name, as they name it: once that is there, or another one, the program may
    /// run. A module is neither.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        let Self::Thing(words) = self else { return None };
        let found = MISSED.captures(words)?;
        found.iter().skip(1).flatten().next().map(|name| name.as_str())
    }
}

static IN_USE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)address (?:already )?in use|EADDRINUSE|connection in use").expect("a constant")
});
static CLOCK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b\d{1,2}:\d{2}:\d{2}\b").expect("a constant"));
/// `0.0.0.0:80`, `:::3000`, `('127.0.0.1', 8000)`, `port 80`.
static PORT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)(?::|', |\bport )(\d{1,5})\b").expect("a constant"));
/// Python's, Node's.
static MODULE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^ModuleNotFoundError: No module named |python[0-9.]*(?:\.exe)?: No module named ",
        r"|^Error(?: \[ERR_MODULE_NOT_FOUND\])?: Cannot find (?:module|package) ",
        r"|python[0-9.]*(?:\.exe)?: can't open file .*No such file or directory$",
    ))
    .expect("a constant")
});
/// A shell's, or `env`'s in a `#!` line.
static COMMAND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:: (?:command )?not found|: No such file or directory)$").expect("a constant")
});
/// A path in quotes; a command that a shell or `env` did not find.
static MISSED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"['\u{2018}]((?:[A-Za-z]:)?[/\\][^'\u{2019}]*)['\u{2019}]",
        r"|['\u{2018}]([^'\u{2019}/]+)['\u{2019}]: No such file or directory$",
        r"|([^\s:]+): (?:command )?not found$|([^\s:]+): No such file or directory$",
    ))
    .expect("a constant")
});

/// What a program that ended with `exit_code` soon after its start lacks. `usual_ports` are tried in turn when the words
/// name no port; `holder` finds who listens on one, if that is somebody else.
#[must_use]
pub fn lack(
    exit_code: i32,
    stderr: &[LogLine],
    stdout: &[LogLine],
    usual_ports: &[u16],
    holder: impl Fn(u16) -> Option<Holder>,
) -> Option<Lack> {
    if exit_code == 0 {
        return None;
    }
    let cause = evidence::cause(stderr, stdout, reason::of_code(exit_code))?.text;
    let missing = match exit_code {
        127 => COMMAND.is_match(&cause),
        _ => MODULE.is_match(&cause),
    };
    if missing {
        return Some(Lack::Thing(cause));
    }
    if !IN_USE.is_match(&cause) {
        return None;
    }
    let timeless = CLOCK.replace_all(&cause, "");
    let named: Vec<u16> = PORT.captures_iter(&timeless).filter_map(|found| found[1].parse().ok()).collect();
    // Of those that are named the last one: a message ends with what it is about.
    let ports = if named.is_empty() { usual_ports.to_vec() } else { named.into_iter().rev().collect() };
    ports.into_iter().find_map(|port| holder(port).map(|holder| Lack::Port(port, holder)))
}
