//! What must not be in a report: what [`mcpd_config::redact`] knows to be secret.
//!
//! It errs on the side of taking out too much, within reason: the text around stays readable.

use std::borrow::Cow;

use mcpd_proto::crash::CrashReport;
use mcpd_proto::log::LogLine;

pub use mcpd_config::redact::{REDACTED, Redactor};

/// Lines of output without secrets. Do this before a reason is worded from them: a reason is cut to length, and a
/// secret cut in half is no longer found.
pub fn lines(redactor: &Redactor, lines: &mut [LogLine]) {
    for line in lines {
        if let Cow::Owned(clean) = redactor.text(&line.text) {
            line.text = clean;
            // The exact bytes would hold what was just removed.
            line.base64 = None;
        }
    }
}

/// Removes secrets from all of a report that programs, people or configuration wrote.
pub fn report(redactor: &Redactor, report: &mut CrashReport) {
    report.command = redactor.command(&report.command);
    lines(redactor, &mut report.stderr_tail);
    lines(redactor, &mut report.stdout_tail);
    let verdicts = report.health.iter_mut().chain(&mut report.ready);
    let health = verdicts.map(|verdict| &mut verdict.detail);
    let texts = [&mut report.reason, &mut report.restart.why].into_iter();
    for text in texts
        .chain(&mut report.cause)
        .chain(report.lineage.iter_mut().map(|ancestor| &mut ancestor.reason))
        .chain(&mut report.working_directory)
        .chain(&mut report.changed)
        .chain(&mut report.status_text)
        .chain(health)
    {
        if let Cow::Owned(clean) = redactor.text(text) {
            *text = clean;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_bytes_go_with_the_text() {
        let line = |text: &str| LogLine {
            time: None,
            stream: None,
            text: text.to_owned(),
            base64: Some("AAAA".to_owned()),
            continues: false,
        };
        let mut lines = [line("\u{fffd}ghp_0123456789"), line("\u{fffd}fine")];
        super::lines(&Redactor::new([("GITHUB_TOKEN", "ghp_0123456789")]), &mut lines);
        assert_eq!(lines[0].text, "\u{fffd}[redacted]");
        assert_eq!(lines[0].base64, None);
        assert!(lines[1].base64.is_some());
    }
}
