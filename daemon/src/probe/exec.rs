//! What the end of a probe's program says.

use std::time::Duration;

use mcpd_config::spec::Signal;

use super::{Verdict, words};

/// Characters of the program's last output line in a verdict: enough for a sentence, and a status table stays readable.
const MAX_OUTPUT: usize = 200;

/// Words the end of an `exec` probe: `exited with 2 after 12 ms: last line of output`.
///
/// `timed_out` is the limit that was exceeded, and wins over the signal that ended the program because of it.
/// `output_tail` is the end of its stdout and stderr; its last line that is not blank is the cause.
#[must_use]
pub fn exec_verdict(
    code: Option<i32>,
    signal: Option<i32>,
    timed_out: Option<Duration>,
    took: Duration,
    output_tail: &str,
) -> Verdict {
    let after = words::duration(took);
    let end = match (timed_out, code, signal) {
        (Some(limit), _, _) => format!("timed out after {}", words::duration(limit)),
        (None, Some(0), _) => return Verdict::good(format!("exited with 0 after {after}")),
        (None, Some(code), _) => format!("exited with {code} after {after}"),
        (None, None, Some(number)) => match Signal::from_number(number) {
            Some(signal) => format!("killed by {signal} after {after}"),
            None => format!("killed by signal {number} after {after}"),
        },
        (None, None, None) => format!("ended without a status after {after}"),
    };
    let clean = crate::crash::clean::text(output_tail);
    Verdict::bad(match clean.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => format!("{end}: {}", words::shortened(line, MAX_OUTPUT)),
        None => end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_words() {
        let ms = Duration::from_millis;
        for (code, signal, timed_out, tail, ok, detail) in [
            (Some(0), None, None, "fine\n", true, "exited with 0 after 12 ms"),
            (Some(2), None, None, "", false, "exited with 2 after 12 ms"),
            (Some(2), None, None, "a\n no disk \n\n", false, "exited with 2 after 12 ms: no disk"),
            (Some(1), None, None, "\x1b[31mred\x1b[0m\r\n", false, "exited with 1 after 12 ms: red"),
            (None, Some(11), None, "", false, "killed by SIGSEGV after 12 ms"),
            (None, Some(9), Some(ms(1500)), "waiting", false, "timed out after 1.5 s: waiting"),
            (None, Some(99), None, "", false, "killed by signal 99 after 12 ms"),
            (None, None, None, "", false, "ended without a status after 12 ms"),
        ] {
            let verdict = exec_verdict(code, signal, timed_out, ms(12), tail);
            assert_eq!((verdict.is_good(), verdict.detail.as_str()), (ok, detail));
        }
    }

    #[test]
    fn long_output_is_cut() {
        let verdict = exec_verdict(Some(1), None, None, Duration::ZERO, &"x".repeat(10_000));
        assert!(verdict.detail.chars().count() < 240, "{}", verdict.detail);
    }
}
