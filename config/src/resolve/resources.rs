//! Who a service runs as (`user`, `group`, `supplementary_groups`, `umask`) and `[service.NAME.resources]`.

use std::collections::BTreeMap;

use crate::raw::Value;
use crate::resolve::cgroup;
use crate::resolve::context::{Context, Finding};
use crate::resolve::scalar::{Problem, Scalar, Written};
use crate::resolve::section::Section;
use crate::spec::{CgroupLimit, Limit, LimitUnit, LimitValue, ResourcesSpec};
use crate::{duration, schema, size};

/// The first number that `sched_setaffinity(2)`'s set of fixed size has no bit for.
const PROCESSORS: u32 = 1024;
/// `chown(2)` takes this one for "unchanged".
const NOBODY_AT_ALL: u32 = u32::MAX;
/// Keys of the service's own table that this file reads.
const IDENTITY: [&str; 4] = ["user", "group", "supplementary_groups", "umask"];

/// The identity of a service.
pub(super) struct Identity {
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) supplementary_groups: Vec<String>,
    pub(super) umask: Option<u32>,
}

pub(super) fn identity(cx: &mut Context<'_>, service: &Section<'_>) -> Identity {
    refuse_elsewhere(cx, service, IDENTITY.into_iter());
    Identity {
        user: service.optional(cx, "user", account),
        group: service.optional(cx, "group", account),
        supplementary_groups: service.list(cx, "supplementary_groups", account).unwrap_or_default(),
        umask: service.optional(cx, "umask", umask),
    }
}

pub(super) fn resources(cx: &mut Context<'_>, service: &Section<'_>) -> ResourcesSpec {
    let resources = service.section(cx, "resources", &schema::RESOURCES);
    // What asks for a cgroup is for the daemon to refuse, here as on a Linux that has none: service by service.
    let of_cgroups = |key: &&str| CgroupLimit::ALL.iter().any(|limit| limit.key() == *key);
    refuse_elsewhere(cx, &resources, schema::RESOURCES.known.iter().copied().filter(|key| !of_cgroups(key)));
    let mut limits = BTreeMap::new();
    for one in Limit::ALL {
        if let Some(value) = resources.optional(cx, one.key(), |scalar| limit(scalar, one)) {
            limits.insert(one, value);
        }
    }
    let number = |low, high| move |scalar: &Scalar<'_>| scalar.integer(low, high).map(small);
    ResourcesSpec {
        nice: resources.optional(cx, "nice", number(-20, 19)),
        oom_score_adjust: resources.optional(cx, "oom_score_adjust", number(-1000, 1000)),
        cpu_affinity: processors(cx, &resources),
        limits,
        cgroup: cgroup::limits(cx, &resources),
    }
}

/// Windows has no such thing. To start the service all the same would be to ignore what somebody relies on.
fn refuse_elsewhere<'k>(cx: &mut Context<'_>, section: &Section<'_>, keys: impl Iterator<Item = &'k str>) {
    if cfg!(unix) {
        return;
    }
    for key in keys {
        section.refuse(cx, key, "is not supported on Windows: take it out");
    }
}

/// Both ends of the range fit.
fn small(number: i64) -> i32 {
    i32::try_from(number).unwrap_or_default()
}

/// The name of a user or group, or its number.
fn account(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let highest = i64::from(NOBODY_AT_ALL - 1);
    if let Written::Typed(Value::Integer(_)) = &scalar.written {
        return scalar.integer(0, highest).map(|number| number.to_string());
    }
    let text = scalar.non_empty()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<u32>() {
            Ok(number) if number < NOBODY_AT_ALL => Ok(number.to_string()),
            Ok(_) | Err(_) => Err(Problem::new(format!("numbers of users and groups end at {highest}"))),
        };
    }
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | ',');
    match text.chars().find(|&c| bad(c)) {
        Some(c) => Err(Problem::new(format!("{c:?} cannot stand in the name of a user or group"))),
        None if text.starts_with(['-', '+']) => {
            Err(Problem::new(format!("{text:?} cannot be the name of a user or group")))
        }
        None => Ok(text),
    }
}

/// Text only: as a number of TOML, `22` would be another mask than everybody reads.
fn umask(scalar: &Scalar<'_>) -> Result<u32, Problem> {
    let help = "write the octal digits as a string, for example \"0027\"";
    if let Written::Typed(Value::Integer(_)) = &scalar.written {
        return Err(Problem::new("expected a string of octal digits, found an integer").help(help));
    }
    let text = scalar.non_empty()?;
    let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(&text, 8) {
        Ok(mask) if octal && mask <= 0o777 => Ok(mask),
        Ok(_) | Err(_) => Err(Problem::new(format!("{text:?} is no file mode mask")).help(help)),
    }
}

/// `"0-3,5"`, a number, or a list of such.
fn processors(cx: &mut Context<'_>, resources: &Section<'_>) -> Option<Vec<u32>> {
    let key = "cpu_affinity";
    let entry = resources.entry(key);
    let before = cx.error_count();
    let mut all: Vec<u32> = match entry.map(|entry| &entry.node.value) {
        Some(Value::Array(_)) => resources.list(cx, key, ranges)?.concat(),
        Some(_) | None => resources.optional(cx, key, ranges)?,
    };
    if let (true, Some(entry)) = (all.is_empty() && cx.error_count() == before, entry) {
        let message = "a service needs a processor to run on".to_owned();
        let help = Some("take `cpu_affinity` out to let it run on all of them".to_owned());
        cx.error(Finding { span: entry.node.span, key: &resources.key(key), message, help });
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn ranges(scalar: &Scalar<'_>) -> Result<Vec<u32>, Problem> {
    if let Written::Typed(Value::Integer(_)) = &scalar.written {
        return Ok(vec![scalar.count(0, PROCESSORS - 1)?]);
    }
    let text = scalar.non_empty()?;
    let malformed = || {
        Problem::new(format!("{text:?} is no list of processors"))
            .help(format!("write \"0-3,5\"; processors have numbers from 0 to {}", PROCESSORS - 1))
    };
    let number = |text: &str| {
        let number = text.trim().parse().ok().filter(|&number: &u32| number < PROCESSORS);
        number.ok_or_else(malformed)
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => all.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(malformed());
                }
                all.extend(first..=last);
            }
        }
    }
    Ok(all)
}

/// A value for both limits, or `soft:hard`.
fn limit(scalar: &Scalar<'_>, limit: Limit) -> Result<LimitValue, Problem> {
    let text = match &scalar.written {
        Written::Typed(_) => {
            let value = Some(number(scalar, limit)?);
            return Ok(LimitValue { soft: value, hard: value });
        }
        Written::Text(expanded) => expanded.text(),
        Written::Reference(text) => text.clone(),
    };
    let (soft, hard) = text.split_once(':').unwrap_or((&text, &text));
    let value = LimitValue { soft: part(soft.trim(), limit)?, hard: part(hard.trim(), limit)? };
    let over = match (value.soft, value.hard) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(soft), Some(hard)) => soft > hard,
    };
    if over {
        let message = format!("the soft limit {} is over the hard limit {}", soft.trim(), hard.trim());
        return Err(Problem::new(message).help("write \"soft:hard\", the smaller one first"));
    }
    Ok(value)
}

/// A value that TOML has typed.
fn number(scalar: &Scalar<'_>, limit: Limit) -> Result<u64, Problem> {
    match limit.unit() {
        LimitUnit::Count => {
            let most = i64::try_from(limit.most()).unwrap_or(i64::MAX);
            scalar.integer(0, most).map(i64::unsigned_abs)
        }
        LimitUnit::Bytes => scalar.size(0),
        LimitUnit::Seconds | LimitUnit::Microseconds => {
            whole(scalar.duration(std::time::Duration::ZERO)?, limit)
        }
    }
}

/// One side of `soft:hard`; `None`: infinity.
fn part(text: &str, limit: Limit) -> Result<Option<u64>, Problem> {
    if text == "infinity" {
        return Ok(None);
    }
    let help = "write a value for both, \"soft:hard\", or \"infinity\"";
    let value = match limit.unit() {
        LimitUnit::Count => {
            let value = text.parse().ok().filter(|&value: &u64| value <= limit.most());
            let most = match limit.most() {
                most if most < u64::from(u32::MAX) => format!(" up to {most}"),
                _ => String::new(),
            };
            value.ok_or_else(|| Problem::new(format!("expected a number{most}, found {text:?}")).help(help))
        }
        LimitUnit::Bytes => size::parse(text).map_err(|error| {
            let help = error.help().unwrap_or_else(|| help.to_owned());
            Problem::new(error.to_string()).help(help)
        }),
        LimitUnit::Seconds | LimitUnit::Microseconds => {
            let span = match text.parse::<f64>() {
                Ok(seconds) => duration::from_seconds(seconds),
                Err(_) => duration::parse(text),
            };
            let span = span.map_err(|error| Problem { message: error.to_string(), help: error.help() })?;
            whole(span, limit)
        }
    };
    value.map(Some)
}

/// The span in the limit's unit, which it must fill.
fn whole(span: std::time::Duration, limit: Limit) -> Result<u64, Problem> {
    let nanoseconds = match limit.unit() {
        LimitUnit::Seconds => 1_000_000_000,
        LimitUnit::Microseconds | LimitUnit::Bytes | LimitUnit::Count => 1_000,
    };
    let (units, rest) = (span.as_nanos() / nanoseconds, span.as_nanos() % nanoseconds);
    if rest > 0 {
        let unit = if nanoseconds == 1_000 { "microseconds" } else { "seconds" };
        return Err(Problem::new(format!("the system counts this limit in whole {unit}")));
    }
    u64::try_from(units).map_err(|_| Problem::new("this span is too long"))
}
