//! Facts in words: the sentences that people read.

use std::time::Duration;

use mcpd_config::spec::Signal;
use mcpd_core::action::{Command, DownReason, Stale, StopCause, Then};
use mcpd_core::event::{FLAPPING, FLAPPING_WITHIN, STEADY};
use mcpd_core::verdict::{Decision, Failure, ParkReason, What};
use mcpd_core::view::StateView;
use mcpd_core::{Condition, Exit, ServiceId, Verb};
use mcpd_proto::crash::CrashKind;

/// "340 ms", "1.2 s", "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
#[must_use]
pub fn span(span: Duration) -> String {
    let millis = span.as_millis();
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => {
            let tenths = (millis + 50) / 100;
            if tenths.is_multiple_of(10) {
                format!("{} s", tenths / 10)
            } else {
                format!("{}.{} s", tenths / 10, tenths % 10)
            }
        }
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn two(big: u64, big_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{big} {big_unit}") } else { format!("{big} {big_unit} {small} {small_unit}") }
}

/// "812", "64.0M", "1.5G": powers of 1024, with the letters that the configuration takes.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match UNITS.iter().find(|(_, scale)| bytes >= *scale) {
        Some((unit, scale)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*scale);
            format!("{}.{}{unit}", tenths / 10, tenths % 10)
        }
        None => bytes.to_string(),
    }
}

/// `SIGSEGV`, `SIGRTMIN+3`, or the number.
#[must_use]
pub fn signal(number: i32) -> String {
    Signal::from_number(number).map_or_else(|| format!("signal {number}"), |signal| signal.to_string())
}

/// "exited with code 3", "was killed by SIGSEGV (11), core dumped".
#[must_use]
pub fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal { signal: number, core_dumped } => {
            let core = if core_dumped { ", core dumped" } else { "" };
            format!("was killed by {} ({number}){core}", signal(number))
        }
    }
}

/// The verb as a person types it.
#[must_use]
pub fn verb(verb: Verb) -> String {
    match verb {
        Verb::Start => "start".into(),
        Verb::Stop => "stop".into(),
        Verb::Restart => "restart".into(),
        Verb::Reset => "reset".into(),
        Verb::Reload => "reload".into(),
        Verb::Signal(number, _) => format!("signal {}", signal(number)),
    }
}

/// "its health check failed", ...
#[must_use]
pub fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::Exit => "it exited",
        Failure::Signal => "a signal killed it",
        Failure::Oom => "the kernel killed it for want of memory",
        Failure::Health => "its health check failed",
        Failure::Watchdog => "it did not say in time that it is alive",
        Failure::StartTimeout => "it was not up in time",
        Failure::Spawn => "it could not be started",
        Failure::StopTimeout => "a command of its stop took too long",
    }
}

/// The condition's name on the wire, and what a person calls it.
#[must_use]
pub fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Failing => "failing",
        Condition::Flapping => "flapping",
        Condition::Parked => "parked",
        Condition::Unhealthy => "unhealthy",
    }
}

/// What begins with a condition.
#[must_use]
pub fn opened(condition: Condition) -> String {
    match condition {
        Condition::Failing => "failing, until it has run well for a while".into(),
        Condition::Flapping => {
            let within = span(FLAPPING_WITHIN);
            format!("flapping: {FLAPPING} failures within {within}; until it has run for {}", span(STEADY))
        }
        Condition::Parked => "given up, until somebody acts".into(),
        Condition::Unhealthy => "unhealthy, and left running".into(),
    }
}

/// How often it failed, and how it did the last time.
#[must_use]
pub fn flapping(failures: u32, last: Option<&str>) -> String {
    let last = last.map_or_else(String::new, |last| format!("; the last time: {last}"));
    format!("it fails again and again, {failures} times so far{last}")
}

/// The failure's name on the wire.
#[must_use]
pub fn kind(failure: Failure) -> CrashKind {
    match failure {
        Failure::Exit => CrashKind::Exit,
        Failure::Signal => CrashKind::Signal,
        Failure::Oom => CrashKind::Oom,
        Failure::Health => CrashKind::Health,
        Failure::Watchdog => CrashKind::Watchdog,
        Failure::StartTimeout => CrashKind::StartTimeout,
        Failure::Spawn => CrashKind::Spawn,
        Failure::StopTimeout => CrashKind::StopTimeout,
    }
}

/// Why it is asked to end. `name`: what a service is called.
#[must_use]
pub fn stop_cause(cause: StopCause, name: impl Fn(ServiceId) -> String) -> String {
    match cause {
        StopCause::Asked => "a stop was asked for".into(),
        StopCause::Restart => "a restart was asked for".into(),
        StopCause::Changed => "its configuration changed".into(),
        StopCause::Removed => "it was removed from the configuration".into(),
        StopCause::Shutdown => "mcpd is shutting down".into(),
        StopCause::EarlierLife => {
            "an earlier life of mcpd left it running, which is ended before anything else".into()
        }
        StopCause::StoppedWith(other) => format!("{} is stopped", name(other)),
        StopCause::RestartedWith(other) => format!("{} is restarted", name(other)),
        StopCause::Unbound(other) => format!("{}, to which it is bound, is not up", name(other)),
        StopCause::Conflict(other) => format!("{} is started, with which it conflicts", name(other)),
        StopCause::Watch => "files that it watches changed".into(),
        StopCause::Announced => "it says that it is stopping".into(),
        // A process that lives has not ended itself: one of the commands beside it has failed.
        StopCause::Failure(Failure::Exit | Failure::Signal | Failure::Spawn) => {
            "exec_start_post has failed".into()
        }
        StopCause::Failure(cause) => failure(cause).into(),
    }
}

/// The key that lists such commands.
#[must_use]
pub fn key_of(command: Command) -> &'static str {
    match command {
        Command::StartPre(_) => "exec_start_pre",
        Command::Exec(_) => "exec",
        Command::StartPost(_) => "exec_start_post",
        Command::Reload(_) => "exec_reload",
        Command::Stop(_) => "exec_stop",
        Command::StopPost(_) => "exec_stop_post",
    }
}

/// "1 process", "3 processes".
#[must_use]
pub fn processes(count: usize) -> String {
    if count == 1 { "1 process".into() } else { format!("{count} processes") }
}

/// As many processes are named in a sentence; the facts beside it have all.
const NAMED: usize = 10;

/// "python3 (812), sh (813) and 5 more".
#[must_use]
pub fn process_names<'a>(processes: impl Iterator<Item = (u32, &'a str)>) -> String {
    let all: Vec<String> = processes.map(|(pid, name)| format!("{name} ({pid})")).collect();
    match all.split_at_checked(NAMED) {
        Some((named, rest)) if !rest.is_empty() => format!("{} and {} more", named.join(", "), rest.len()),
        Some(_) | None => all.join(", "),
    }
}

/// What follows from changed files, as a stable name.
#[must_use]
pub fn then(then: Then) -> &'static str {
    match then {
        Then::Restart => "restart",
        Then::Start => "start",
        Then::Reload => "reload",
        Then::Signal(_) => "signal",
    }
}

/// What is newer than a process, as a stable name.
#[must_use]
pub fn stale(what: Stale) -> &'static str {
    match what {
        Stale::Program => "program",
        Stale::Files => "files",
    }
}

/// That a process is older than what is on disk. `changed`: what that is.
#[must_use]
pub fn stale_reason(what: Stale, changed: Option<&str>) -> String {
    let (changed, old) = match what {
        Stale::Program => (changed.unwrap_or("its program changed"), "the process still runs the old one"),
        Stale::Files => {
            (changed.unwrap_or("files that it watches changed"), "the process is older than that")
        }
    };
    format!("{changed} on disk since it started: {old}")
}

/// Why changes of files have no consequences any more, and what to do. `changed`: the last of them.
#[must_use]
pub fn watch_suspended(times: u32, changed: &str) -> String {
    let last = if changed.is_empty() { String::new() } else { format!(" (the last time: {changed})") };
    format!(
        "watch suspended: {times} times in a row files changed soon after it was started for changed files{last}; it seems \
         to write into what it watches: name that in watch.ignore, or `mcpctl reset` it"
    )
}

/// Why it is down. `name`: what a service is called.
#[must_use]
pub fn down_reason(reason: DownReason, name: impl Fn(ServiceId) -> String) -> String {
    match reason {
        DownReason::NeverStarted => "not started yet".into(),
        DownReason::Stopped => "stopped".into(),
        DownReason::StoppedWith(other) => format!("stopped with {}", name(other)),
        DownReason::Conflict(other) => format!("stopped because it conflicts with {}", name(other)),
        DownReason::Finished(end) => {
            format!("it {} by itself, which restart.when does not restart", exit(end))
        }
        DownReason::Failed(kind) => format!("{}, and restart.when does not restart it then", failure(kind)),
        DownReason::Reset => "reset after it was parked".into(),
        DownReason::Completed => "done: all its commands have ended well".into(),
    }
}

/// A stable name for the reason of a state, where there is one.
#[must_use]
pub fn reason_code(state: StateView) -> Option<&'static str> {
    let code = match state {
        StateView::Parked(why) => match why {
            ParkReason::Limit { .. } => "limit",
            ParkReason::Prevented(_) => "prevented",
            ParkReason::ProgramMissing => "program_missing",
            ParkReason::CannotStart => "cannot_start",
            ParkReason::Lacking => "lacking",
        },
        StateView::Down(why) => match why {
            DownReason::NeverStarted => "never_started",
            DownReason::Stopped => "stopped",
            DownReason::StoppedWith(_) => "stopped_with",
            DownReason::Conflict(_) => "conflict",
            DownReason::Finished(_) => "finished",
            DownReason::Failed(_) => "failed",
            DownReason::Completed => "completed",
            DownReason::Reset => "reset",
        },
        StateView::Waiting(_)
        | StateView::Spawning
        | StateView::Starting(_)
        | StateView::Up
        | StateView::Exited
        | StateView::Leaving { .. }
        | StateView::Stopping(_)
        | StateView::Ending { .. }
        | StateView::Backoff { .. } => return None,
    };
    Some(code)
}

/// Why it is parked, and what to do about it where that is not plain. `detail`: what is known of a program that cannot be
/// found, or of a start that failed.
#[must_use]
pub fn park_reason(reason: ParkReason, detail: Option<&str>) -> String {
    match reason {
        ParkReason::Limit { restarts } => {
            let times = if restarts == 1 { "1 restart" } else { &format!("{restarts} restarts in a row") };
            format!("{times} did not help (restart.max_restarts)")
        }
        ParkReason::Prevented(end) => {
            format!("it {}, which restart.prevent_exit_status lists", exit(end))
        }
        ParkReason::ProgramMissing => {
            let what = detail.unwrap_or("its program cannot be found or executed");
            format!("{what}; it starts by itself once that is mended")
        }
        ParkReason::CannotStart => mended(detail.unwrap_or("it cannot be started as things are")),
        ParkReason::Lacking => mended(detail.unwrap_or("it lacks something that no restart brings")),
    }
}

/// What keeps a service down, and when it is tried again.
fn mended(what: &str) -> String {
    format!(
        "{what}; once that is mended it is tried again, by itself when a file that it needs has changed, else at a start, a \
         restart or a reload"
    )
}

/// The decision's stable name in a report, and a sentence.
#[must_use]
pub fn decision(decision: &Decision) -> (&'static str, String) {
    match decision.what {
        What::Restart(delay) => {
            let of = if decision.max == 0 { String::new() } else { format!(" of {}", decision.max) };
            ("restart", format!("restart {}{of} after {}", decision.attempt, span(delay)))
        }
        What::Park(reason) => ("park", format!("parked: {}", park_reason(reason, None))),
        What::StayDown => ("stay_down", "restart.when does not restart after such an end".into()),
        What::AsAsked => ("stopping", "a stop or restart was on its way".into()),
        What::GoOn => ("go_on", "the start goes on".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_processes_are_counted() {
        let names = |count: u32| process_names((1..=count).map(|pid| (pid, "sh")));
        assert_eq!(names(2), "sh (1), sh (2)");
        assert!(names(10).ends_with("sh (9), sh (10)"), "{}", names(10));
        assert!(names(12).ends_with("sh (10) and 2 more"), "{}", names(12));
        assert_eq!([processes(1), processes(2)], ["1 process", "2 processes"]);
    }

    #[test]
    fn bytes_read_well() {
        for (number, text) in [
            (0, "0"),
            (1023, "1023"),
            (1536, "1.5K"),
            (64 << 20, "64.0M"),
            ((64 << 20) - 1, "63.9M"),
            (3 << 40, "3.0T"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn spans_read_well() {
        for (millis, text) in [
            (0, "0 ms"),
            (340, "340 ms"),
            (1000, "1 s"),
            (1240, "1.2 s"),
            (9960, "10 s"),
            (42_000, "42 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
