//! What does a person need to read when the daemon says no?

use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::log::LogLine;
use serde_json::Value;

use crate::look::{BAD, DIM, Look};
use crate::text;

/// Lines of stderr shown under a failed start; the whole tail is in the crash report.
const TAIL: usize = 20;

/// The daemon's sentence, with "did you mean" when it names something close and does not say so itself.
pub(crate) fn sentence(error: &ErrorObject) -> String {
    let mut sentence = text::safe(&error.message);
    let nearest = error.data.get("nearest").and_then(Value::as_str);
    if let Some(nearest) = nearest.filter(|_| !sentence.to_lowercase().contains("did you mean")) {
        if !sentence.ends_with(['.', '?', '!']) {
            sentence.push('.');
        }
        sentence.push_str(&format!(" Did you mean \"{}\"?", text::safe(nearest)));
    }
    sentence
}

/// The headline, the last stderr lines, the configuration's errors, and what to look at next.
///
/// `service` is whose command failed; without it the error's own `data.service` counts. `crash` is the report that
/// belongs to it, unless the error names one.
pub(crate) fn explain(
    error: &ErrorObject,
    service: Option<&str>,
    crash: Option<&str>,
    look: &Look,
) -> String {
    let named = error.data.get("service").and_then(Value::as_str);
    let service = service.or(named);
    let sentence = sentence(error);
    let subject = service.unwrap_or("mcpctl");
    let headline = if service.is_some_and(|name| says_name(&sentence, name)) {
        sentence
    } else {
        format!("{subject}: {sentence}")
    };
    let mut explained = String::new();
    for (at, line) in look.wrap(&headline, 2).iter().enumerate() {
        let indent = if at == 0 { "" } else { "  " };
        explained.push_str(&format!("{indent}{}\n", look.paint(BAD, line)));
    }
    let tail = tail(&error.data);
    for line in &tail[tail.len().saturating_sub(TAIL)..] {
        explained.push_str(&format!("    {}\n", text::safe(line)));
    }
    if let Some(diagnostics) = error.data.get("diagnostics").and_then(Value::as_str) {
        explained.push('\n');
        for line in diagnostics.trim_end().lines() {
            explained.push_str(&format!("{}\n", text::safe(line)));
        }
    }
    if error.kind() == Some(Kind::StartFailed)
        && let Some(service) = service
    {
        let crash = error.data.get("crash_id").and_then(Value::as_str).or(crash);
        let mut hints = vec![format!("mcpctl logs {service} -n 50")];
        hints.extend(crash.map(|id| format!("mcpctl crashes show {id}")));
        for (at, hint) in hints.iter().enumerate() {
            let lead = if at == 0 { "see:" } else { "" };
            explained.push_str(&look.paint(DIM, &format!("  {lead:<4} {}", text::safe(hint))));
            explained.push('\n');
        }
    }
    explained
}

/// Whether the sentence begins with the service's name already.
fn says_name(sentence: &str, name: &str) -> bool {
    let bare = sentence.trim_start_matches(['"', '\'', '`']);
    bare.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
}

/// `data.stderr_tail`: log lines, or plain strings.
fn tail(data: &Value) -> Vec<String> {
    let Some(lines) = data.get("stderr_tail").and_then(Value::as_array) else { return Vec::new() };
    lines
        .iter()
        .filter_map(|line| match line {
            Value::String(text) => Some(text.clone()),
            other => serde_json::from_value::<LogLine>(other.clone()).ok().map(|line| line.text),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::look::tests::{assert_fits, terminal};

    fn error(kind: Kind, message: &str, data: Value) -> ErrorObject {
        let Value::Object(data) = data else { panic!("an object") };
        ErrorObject::with(kind, message, data)
    }

    #[test]
    fn a_close_name_is_offered_once() {
        let unsaid = error(Kind::NoSuchService, "there is no service \"wbe\"", json!({"nearest": "web"}));
        assert_eq!(sentence(&unsaid), "there is no service \"wbe\". Did you mean \"web\"?");
        let said = error(Kind::NoSuchService, "no \"wbe\"; did you mean \"web\"?", json!({"nearest": "web"}));
        assert_eq!(sentence(&said), "no \"wbe\"; did you mean \"web\"?");
    }

    #[test]
    fn a_failed_start_shows_its_tail_and_where_to_look() {
        let failed = error(
            Kind::StartFailed,
            "exited with code 1 after 0.3 s",
            json!({"service": "web", "crash_id": "c1", "stderr_tail": [
                "Traceback (most recent call last):",
                {"time": null, "stream": "err", "text": "ModuleNotFoundError: \u{1b}[31mmcp"},
            ]}),
        );
        let text = explain(&failed, Some("web"), Some("older"), &terminal());
        assert_eq!(
            text,
            "web: exited with code 1 after 0.3 s\n    Traceback (most recent call last):\n    \
             ModuleNotFoundError: mcp\n  see: mcpctl logs web -n 50\n       mcpctl crashes show c1\n"
        );
    }

    #[test]
    fn long_sentences_are_wrapped_and_names_not_said_twice() {
        let long = format!("\"web\" did not come up: {}", "for many reasons ".repeat(20));
        let text = explain(&error(Kind::StartFailed, &long, json!({})), Some("web"), None, &terminal());
        assert!(text.starts_with("\"web\" did not"), "{text}");
        assert_fits(&text, 80);
        let other =
            explain(&error(Kind::StartFailed, "web-2 is gone", json!({})), Some("web"), None, &terminal());
        assert!(other.starts_with("web: web-2 is gone"), "{other}");
    }

    #[test]
    fn a_bad_configuration_shows_its_diagnostics() {
        let bad =
            error(Kind::ConfigInvalid, "nothing was changed", json!({"diagnostics": "error: x\n --> f:1\n"}));
        let text = explain(&bad, None, None, &terminal());
        assert_eq!(text, "mcpctl: nothing was changed\n\nerror: x\n --> f:1\n");
    }
}
