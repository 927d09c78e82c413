//! `[service.NAME.ready]`: what has to be seen before a service counts as up.

use std::time::Duration;

use crate::resolve::context::{Context, Finding};
use crate::resolve::health::{self, PROBES, SHORTEST};
use crate::resolve::scalar::{Problem, Scalar};
use crate::resolve::section::Section;
use crate::schema;
use crate::spec::ReadySpec;

/// Everything that can say it.
const WAYS: [&str; 4] = ["http", "tcp", "exec", "log"];

pub(crate) fn resolve(cx: &mut Context<'_>, service: &Section<'_>) -> Option<ReadySpec> {
    let ready = service.section(cx, "ready", &schema::READY);
    let span = ready.span?;
    let way = health::one_of(cx, &ready, &WAYS, "one thing says that a service is ready");
    let Some(way) = way else {
        let later = schema::READY.planned.iter().any(|key| ready.entry(key).is_some());
        if !later {
            let message = format!("[{}] does not say what to wait for", ready.name());
            let help = Some("give one of `http`, `tcp`, `exec` and `log`".to_owned());
            cx.error(Finding { span, key: &ready.name(), message, help });
        }
        return None;
    };
    let probe = health::probe(cx, &ready, Some(way));
    let pattern = ready.optional(cx, "log", pattern);
    if PROBES.contains(&way.key.as_str()) {
        let timeout = ready.duration(cx, "timeout", Duration::from_secs(5), SHORTEST);
        return Some(ReadySpec::Probe { probe: probe?, timeout });
    }
    ready.refuse(cx, "timeout", &format!("goes with `http`, `tcp` and `exec`, not with `{}`", way.key));
    Some(ReadySpec::Log { pattern: pattern? })
}

/// Lines are bytes, so the pattern is one for bytes.
fn pattern(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let pattern = scalar.non_empty()?;
    health::compiled(&pattern, |pattern| regex::bytes::Regex::new(pattern).map(drop))?;
    Ok(pattern)
}
