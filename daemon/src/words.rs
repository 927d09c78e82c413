//! Facts in words: the sentences that people read.

use std::time::Duration;

use mcpd_config::spec::Signal;
use mcpd_core::action::{DownReason, StopCause};
use mcpd_core::verdict::{Decision, Failure, ParkReason, What};
use mcpd_core::{Exit, Verb};
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
        Failure::Health => "its health check failed",
        Failure::Watchdog => "it did not say in time that it is alive",
        Failure::StartTimeout => "it was not up in time",
        Failure::Spawn => "it could not be started",
    }
}

/// The failure's name on the wire.
#[must_use]
pub fn kind(failure: Failure) -> CrashKind {
    match failure {
        Failure::Exit => CrashKind::Exit,
        Failure::Signal => CrashKind::Signal,
        Failure::Health => CrashKind::Health,
        Failure::Watchdog => CrashKind::Watchdog,
        Failure::StartTimeout => CrashKind::StartTimeout,
        Failure::Spawn => CrashKind::Spawn,
    }
}

/// Why it is asked to end.
#[must_use]
pub fn stop_cause(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Asked => "a stop was asked for",
        StopCause::Restart => "a restart was asked for",
        StopCause::Changed => "its configuration changed",
        StopCause::Removed => "it was removed from the configuration",
        StopCause::Shutdown => "mcpd is shutting down",
        StopCause::Announced => "it says that it is stopping",
        StopCause::Failure(cause) => failure(cause),
    }
}

/// Why it is down.
#[must_use]
pub fn down_reason(reason: DownReason) -> String {
    match reason {
        DownReason::NeverStarted => "not started yet".into(),
        DownReason::Stopped => "stopped".into(),
        DownReason::Finished(end) => {
            format!("it {} by itself, which restart.when does not restart", exit(end))
        }
        DownReason::Failed(kind) => format!("{}, and restart.when does not restart it then", failure(kind)),
        DownReason::Reset => "reset after it was parked".into(),
        DownReason::Completed => "done: all its commands have ended well".into(),
    }
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
        ParkReason::ProgramMissing => detail.unwrap_or("its program cannot be found or executed").to_owned(),
        ParkReason::CannotStart => {
            let what = detail.unwrap_or("it cannot be started as things are");
            format!("{what}; it is tried again at a start, a restart or a reload, once that is mended")
        }
        ParkReason::Lacking => {
            let what = detail.unwrap_or("it lacks something that no restart brings");
            format!("{what}; it is tried again at a start, a restart or a reload, once that is mended")
        }
    }
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
