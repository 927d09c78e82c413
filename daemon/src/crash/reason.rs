//! What is the one sentence for a person at 3 a.m.?
//!
//! First how the run ended and after how long, then the cause, taken from the output or from the verdicts:
//! `exited with code 1 after 0.3 s: ModuleNotFoundError: No module named 'mcp_studio'`. Texts that may hold secrets go
//! through [`super::redact::lines`] before they come here.

use std::time::Duration;

use mcpd_config::spec::Signal;
use mcpd_proto::crash::{CrashKind, HealthVerdict};
use mcpd_proto::log::LogLine;

use super::evidence::{self, Evidence, Search};
use super::{clean, meaning};
use crate::probe::words;
use crate::sys::Shortage;
use crate::words::bytes;

/// Characters of a reason. It stands in tables, in notifications and in the journal.
pub const MAX_REASON: usize = 300;

/// A reason and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The sentence, [`MAX_REASON`] characters at most.
    pub text: String,
    /// The evidence in it, one line of any length.
    pub cause: Option<String>,
    /// The innermost frames of the stack that came with it.
    pub frames: Vec<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub struct End<'e> {
    /// What kind of failure that is.
    pub kind: CrashKind,
    /// Program and arguments: a code means what its giver says.
    pub command: &'e [String],
    /// The code; on Windows the bits of an NTSTATUS may be in it.
    pub exit_code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// The kernel wrote a core.
    pub core_dumped: bool,
    /// From its start to its end.
    pub uptime: Duration,
}

/// The reason for an end of the process: its decoded status, and the cause that its last output names. Lines are oldest
/// first.
#[must_use]
pub fn exit(end: &End<'_>, stderr: &[LogLine], stdout: &[LogLine]) -> Reason {
    let End { kind, command, exit_code, signal, core_dumped, uptime } = *end;
    let after = words::uptime(uptime);
    let core = if core_dumped { ", core dumped" } else { "" };
    let mut search = match (exit_code, signal) {
        (_, Some(number)) => of_signal(number),
        (Some(code), None) => of_code(code),
        (None, None) => Search::Anything,
    };
    if kind == CrashKind::Oom {
        search = Search::Nothing;
    }
    let evidence = evidence::cause(stderr, stdout, search);
    let end = match (exit_code, signal) {
        (_, Some(number)) => format!("killed by {} after {after}{core}", signal_words(number)),
        // That it panicked is what it says itself.
        (Some(101), None) if evidence.as_ref().is_some_and(|found| found.text.starts_with("panic")) => {
            format!("exited with code 101 after {after}")
        }
        (Some(code), None) => format!("exited with {} after {after}", code_words(command, code)),
        (None, None) => format!("ended after {after}, nobody knows how"),
    };
    let end = match kind {
        CrashKind::Exit | CrashKind::Signal | CrashKind::Spawn | CrashKind::StopTimeout => end,
        CrashKind::Oom => format!("out of memory: {end}"),
        CrashKind::Health => format!("health check failed: {end}"),
        CrashKind::Watchdog => format!("watchdog not fed in time: {end}"),
        CrashKind::StartTimeout => format!("not up in time: {end}"),
    };
    told(&end, evidence)
}

/// The reason for a run that the kernel killed for want of memory: `killed by the kernel for exceeding memory_max = 64M
/// (peak 64.0M), after 3.2 s`. `limit` is its memory_max as it is configured, `peak` the most that all of it took.
#[must_use]
pub fn oom(limit: Option<&str>, shortage: &Shortage, peak: Option<u64>, uptime: Duration) -> Reason {
    let peak = peak.map_or_else(String::new, |peak| format!(" (peak {})", bytes(peak)));
    let after = format!("{peak}, after {}", words::uptime(uptime));
    let want = |within: &str| format!("killed by the kernel for want of memory{within}{after}");
    let within = limit.map_or_else(String::new, |limit| format!(" within its own memory_max = {limit}"));
    match (shortage, limit) {
        (Shortage::Own, Some(limit)) => {
            sentence(&format!("killed by the kernel for exceeding memory_max = {limit}{after}"), None)
        }
        (Shortage::Own, None) => {
            sentence(&format!("killed by the kernel for exceeding the memory.max of its cgroup{after}"), None)
        }
        (Shortage::Above { cgroup, limit }, _) => {
            let cause = format!("the cgroup {} above it has a limit of {}", cgroup.display(), bytes(*limit));
            sentence(&want(&within), Some(&cause))
        }
        (Shortage::Machine, _) => sentence(&want(&within), Some("the machine had none left")),
        (Shortage::Unknown, _) => sentence(&want(""), None),
    }
}

/// The reason for a failure of the health check: `health check failed 3 times in a row: timed out after 5 s`. The cause
/// is the last verdict that was bad.
#[must_use]
pub fn health(retries: u32, verdicts: &[HealthVerdict]) -> Reason {
    let end = match retries {
        0 | 1 => "health check failed".to_owned(),
        times => format!("health check failed {times} times in a row"),
    };
    let last = verdicts.iter().rev().find(|verdict| !verdict.ok && !verdict.unknown);
    sentence(&end, last.map(|verdict| verdict.detail.as_str()))
}

/// The reason for a service that was not up within `limit`. `awaited` is what it was waited for, the cause the last verdict
/// that was not good.
#[must_use]
pub fn start_timeout(limit: Duration, awaited: Option<&str>, verdicts: &[HealthVerdict]) -> Reason {
    let limit = words::duration(limit);
    let end = match awaited {
        Some(awaited) => format!("not ready within {limit}, waiting for {awaited}"),
        None => format!("not up within {limit}"),
    };
    let last = verdicts.iter().rev().find(|verdict| !verdict.ok);
    sentence(&end, last.map(|verdict| verdict.detail.as_str()))
}

/// The reason for a command of a stop that took longer than `limit`.
#[must_use]
pub fn stop_timeout(limit: Duration, stderr: &[LogLine], stdout: &[LogLine]) -> Reason {
    let end = format!("did not end within {} and was killed", words::duration(limit));
    told(&end, evidence::cause(stderr, stdout, Search::Anything))
}

/// The reason for a service that did not say `WATCHDOG=1` for longer than `silent`; `None`: it said `WATCHDOG=trigger`.
/// `status` is what it last said of itself.
#[must_use]
pub fn watchdog(silent: Option<Duration>, status: Option<&str>) -> Reason {
    let end = match silent {
        Some(silent) => format!("watchdog: it did not say for {} that it is alive", words::duration(silent)),
        None => "watchdog: it said WATCHDOG=trigger".to_owned(),
    };
    sentence(&end, status.map(|status| format!("its last STATUS was \"{status}\"")).as_deref())
}

/// The reason for a service whose process could not be started; `message` says what was tried and why it failed.
#[must_use]
pub fn spawn(message: &str) -> Reason {
    sentence("could not be started", Some(message))
}

/// The same for a command around a service; `message` says all of it.
#[must_use]
pub fn not_run(message: &str) -> Reason {
    let Reason { text, .. } = sentence(message, None);
    Reason { text, cause: Some(message.to_owned()), frames: Vec::new() }
}

/// The reason of a command other than `exec`: `exec_start_pre: exited with code 1 after 3 ms: no such table`.
#[must_use]
pub fn of_phase(phase: &str, reason: Reason) -> Reason {
    Reason { text: words::shortened(&format!("{phase}: {}", reason.text), MAX_REASON), ..reason }
}

/// A reason with what else is known, which is not to be lost at its end.
#[must_use]
pub fn with(reason: Reason, more: &str) -> Reason {
    let room = MAX_REASON.saturating_sub(more.chars().count() + 2);
    let text = words::shortened(&format!("{}; {more}", words::shortened(&reason.text, room)), MAX_REASON);
    Reason { text, ..reason }
}

/// What was found in the output.
fn told(end: &str, evidence: Option<Evidence>) -> Reason {
    let evidence = evidence.unwrap_or_default();
    Reason { frames: evidence.frames.clone(), ..sentence(end, Some(&evidence.words())) }
}

/// Both parts on one bounded line.
fn sentence(end: &str, cause: Option<&str>) -> Reason {
    let cause = cause.map(|cause| clean::text(cause).split_whitespace().collect::<Vec<_>>().join(" "));
    let cause = cause.filter(|cause| !cause.is_empty());
    let text = match &cause {
        Some(cause) => words::shortened(&format!("{end}: {cause}"), MAX_REASON),
        None => words::shortened(end, MAX_REASON),
    };
    Reason { text, cause, frames: Vec::new() }
}

/// `SIGKILL (9)`
fn signal_words(number: i32) -> String {
    match Signal::from_number(number) {
        Some(signal) => format!("{signal} ({number})"),
        None => format!("signal {number}"),
    }
}

/// A program that brings a signal on itself says why; one that is sent a signal by others does not know.
fn of_signal(number: i32) -> Search {
    const OF_ITS_OWN: &[&str] = &["ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS"];
    let own =
        OF_ITS_OWN.iter().filter_map(|name| Signal::parse(name)).any(|signal| signal.number() == number);
    if own { Search::Anything } else { Search::Nothing }
}

pub(super) fn of_code(code: i32) -> Search {
    match code {
        0 => Search::LastWords,
        126 | 127 => Search::Shell,
        _ => match shells_signal(code) {
            Some(signal) => of_signal(signal.number()),
            None => Search::Anything,
        },
    }
}

/// `code 1`, `code 127 (command not found)`, `code 137 (128+9: SIGKILL)`, `0xC0000005 (access violation)`.
fn code_words(command: &[String], code: i32) -> String {
    match code {
        0..=255 => match (shells_signal(code), meaning::of(command, code)) {
            (Some(signal), _) => format!("code {code} (128+{}: {signal})", signal.number()),
            (None, Some(meaning)) => format!("code {code} ({meaning})"),
            (None, None) => format!("code {code}"),
        },
        _ => {
            let status = code.cast_unsigned();
            match NTSTATUS.iter().find(|&&(number, _)| number == status) {
                Some((_, meaning)) => format!("0x{status:08X} ({meaning})"),
                None if code < 0 => format!("0x{status:08X}"),
                None => format!("code {code}"),
            }
        }
    }
}

/// The signal behind 128+n, by which a shell, a container's init or a runtime passes a signal on. Only signals that
/// commonly end programs: other numbers above 128 are more likely codes of the program's own.
pub(super) fn shells_signal(code: i32) -> Option<Signal> {
    const COMMON: &[i32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 24];
    let number = code.checked_sub(128).filter(|number| COMMON.contains(number))?;
    Signal::from_number(number)
}

/// Statuses that Windows ends processes with (`ntstatus.h`).
const NTSTATUS: &[(u32, &str)] = &[
    (0x4001_0004, "ended by a debugger or at logoff"),
    (0x8000_0003, "breakpoint"),
    (0xC000_0005, "access violation"),
    (0xC000_0006, "a page could not be read"),
    (0xC000_0008, "invalid handle"),
    (0xC000_0017, "out of memory"),
    (0xC000_001D, "illegal instruction"),
    (0xC000_0022, "access denied"),
    (0xC000_007B, "not a program for this system"),
    (0xC000_0094, "division by zero"),
    (0xC000_00FD, "stack overflow"),
    (0xC000_012D, "the system's commit limit is reached"),
    (0xC000_0135, "a DLL was not found"),
    (0xC000_0138, "a DLL lacks a function by number"),
    (0xC000_0139, "a DLL lacks a function"),
    (0xC000_013A, "ended by Ctrl+C"),
    (0xC000_0142, "a DLL could not be initialised"),
    (0xC000_0374, "heap corruption"),
    (0xC000_0409, "abort or stack buffer overrun"),
    (0xC000_0417, "invalid argument to the C library"),
    (0xC000_0420, "assertion failed"),
    (0xE043_4352, ".NET exception"),
    (0xE06D_7363, "C++ exception"),
];
