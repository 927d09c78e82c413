//! `[service.NAME.ready]`: what has to be seen before a service counts as up.

use std::time::Duration;

use crate::resolve::context::{Context, Finding};
use crate::resolve::health::{self, PROBES, SHORTEST};
use crate::resolve::scalar::{Problem, Scalar};
use crate::resolve::section::Section;
use crate::schema;
use crate::spec::{ReadySpec, ServiceType};

/// Everything that can say it.
const WAYS: [&str; 5] = ["http", "tcp", "exec", "log", "notify"];

pub(crate) fn resolve(cx: &mut Context<'_>, service: &Section<'_>, kind: ServiceType) -> Option<ReadySpec> {
    let ready = service.section(cx, "ready", &schema::READY);
    let notifies = kind == ServiceType::Notify;
    if kind == ServiceType::Oneshot {
        for key in ["ready", "health", "watchdog", "exec_reload"] {
            service.refuse(
                cx,
                key,
                "does not go with `type = \"oneshot\"`, which runs nothing once it is up",
            );
        }
        return None;
    }
    let Some(span) = ready.span else { return notifies.then_some(ReadySpec::Notify) };
    let way = health::one_of(cx, &ready, &WAYS, "one thing says that a service is ready");
    let Some(way) = way else {
        let later = schema::READY.planned.iter().any(|key| ready.entry(key).is_some());
        if !later {
            let message = format!("[{}] does not say what to wait for", ready.name());
            let help = Some("give one of `http`, `tcp`, `exec`, `log` and `notify`".to_owned());
            cx.error(Finding { span, key: &ready.name(), message, help });
        }
        return None;
    };
    if notifies && way.key != "notify" {
        let message = format!("`type = \"notify\"` and `{}` exclude each other", way.key);
        let help = Some("a service of type notify says by itself when it is ready".to_owned());
        cx.error(Finding { span: way.key_span, key: &ready.key(&way.key), message, help });
    }
    let probe = health::probe(cx, &ready, Some(way));
    let pattern = ready.optional(cx, "log", pattern);
    let notify = ready.optional(cx, "notify", notify);
    if PROBES.contains(&way.key.as_str()) {
        let timeout = ready.duration(cx, "timeout", Duration::from_secs(5), SHORTEST);
        return Some(ReadySpec::Probe { probe: probe?, timeout });
    }
    ready.refuse(cx, "timeout", &format!("goes with `http`, `tcp` and `exec`, not with `{}`", way.key));
    notify.or(pattern.map(|pattern| ReadySpec::Log { pattern }))
}

/// Lines are bytes, so the pattern is one for bytes.
fn pattern(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let pattern = scalar.non_empty()?;
    health::compiled(&pattern, |pattern| regex::bytes::Regex::new(pattern).map(drop))?;
    Ok(pattern)
}

fn notify(scalar: &Scalar<'_>) -> Result<ReadySpec, Problem> {
    if !scalar.boolean()? {
        return Err(Problem::new("`notify = false` waits for nothing").help("leave it out"));
    }
    can_notify("`notify`")?;
    Ok(ReadySpec::Notify)
}

/// `sd_notify(3)` needs a Unix datagram socket, and a kernel that says who has sent something.
pub(crate) fn can_notify(what: &str) -> Result<(), Problem> {
    if cfg!(windows) {
        return Err(Problem::new(format!(
            "{what} is not supported on Windows: it needs sd_notify's Unix socket"
        ))
        .help("wait for `http`, `tcp`, `exec` or `log` in [service.NAME.ready]"));
    }
    Ok(())
}
