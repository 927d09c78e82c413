//! The keys of `[service.NAME.resources]` that hold for the cgroup of a run.

use std::collections::BTreeMap;

use crate::raw::Value;
use crate::resolve::context::Context;
use crate::resolve::scalar::{Problem, Scalar, Written};
use crate::resolve::section::Section;
use crate::spec::{CgroupLimit, CgroupValue};

/// The kernel counts no further (`PID_MAX_LIMIT`).
const MOST_TASKS: u32 = 4_194_304;
/// cgroup v2 has these weights.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Hundredths of a percent: 0.1 % of a processor is a millisecond per second, the least that the kernel gives.
const LEAST_QUOTA: u32 = 10;
/// 10,000 processors, more than Linux runs on.
const MOST_QUOTA: u32 = 100_000_000;
/// Hundredths of a percent that are the whole.
const WHOLE: u32 = 10_000;

pub(super) fn limits(cx: &mut Context<'_>, resources: &Section<'_>) -> BTreeMap<CgroupLimit, CgroupValue> {
    let mut limits = BTreeMap::new();
    for one in CgroupLimit::ALL {
        if let Some(value) = resources.optional(cx, one.key(), |scalar| limit(scalar, one)) {
            limits.insert(one, value);
        }
    }
    limits
}

fn limit(scalar: &Scalar<'_>, limit: CgroupLimit) -> Result<CgroupValue, Problem> {
    match limit {
        CgroupLimit::MemoryMax | CgroupLimit::MemoryHigh => memory(scalar),
        CgroupLimit::MemorySwapMax => swap(scalar),
        CgroupLimit::TasksMax => tasks(scalar),
        CgroupLimit::CpuQuota => quota(scalar),
        CgroupLimit::CpuWeight | CgroupLimit::IoWeight => {
            scalar.count(*WEIGHTS.start(), *WEIGHTS.end()).map(|weight| CgroupValue::Number(weight.into()))
        }
    }
}

/// What is no number of TOML's, trimmed.
fn text(scalar: &Scalar<'_>) -> Option<String> {
    match &scalar.written {
        Written::Typed(_) => None,
        Written::Text(expanded) => Some(expanded.text().trim().to_owned()),
        Written::Reference(text) => Some(text.trim().to_owned()),
    }
}

fn memory(scalar: &Scalar<'_>) -> Result<CgroupValue, Problem> {
    let help = "write \"512M\", \"50%\" of the machine's memory, or \"infinity\"";
    let bytes = match text(scalar).as_deref() {
        Some("infinity") => return Ok(CgroupValue::Infinity),
        Some(text) if text.ends_with('%') => return share(text, help),
        Some(_) | None => scalar.size(0)?,
    };
    if bytes == 0 {
        return Err(Problem::new("nothing runs without memory").help(help));
    }
    Ok(CgroupValue::Number(bytes))
}

fn swap(scalar: &Scalar<'_>) -> Result<CgroupValue, Problem> {
    match text(scalar).as_deref() {
        Some("infinity") => Ok(CgroupValue::Infinity),
        Some(text) if text.ends_with('%') => Err(Problem::new("swap is not limited by a percentage")
            .help("write \"512M\", 0 for none at all, or \"infinity\"")),
        Some(_) | None => scalar.size(0).map(CgroupValue::Number),
    }
}

fn tasks(scalar: &Scalar<'_>) -> Result<CgroupValue, Problem> {
    let help = "write a number, \"10%\" of what the system allows, or \"infinity\"";
    match text(scalar).as_deref() {
        Some("infinity") => Ok(CgroupValue::Infinity),
        Some(text) if text.ends_with('%') => share(text, help),
        Some(text) => {
            let number = text.parse::<u32>().ok().filter(|number| (1..=MOST_TASKS).contains(number));
            number.map(|number| CgroupValue::Number(number.into())).ok_or_else(|| {
                let message = format!("expected a number of tasks from 1 to {MOST_TASKS}, found {text:?}");
                Problem::new(message).help(help)
            })
        }
        None => scalar.count(1, MOST_TASKS).map(|number| CgroupValue::Number(number.into())),
    }
}

fn quota(scalar: &Scalar<'_>) -> Result<CgroupValue, Problem> {
    let help = "write \"50%\" for half a processor's time, \"200%\" for two, or \"infinity\"";
    let Some(text) = text(scalar) else {
        let Written::Typed(value) = &scalar.written else {
            return Err(Problem::new("expected a percentage"));
        };
        let problem = Problem::new(format!("expected a percentage, found {}", value.describe()));
        return Err(if let Value::Integer(Some(number)) = value {
            problem.help(format!("write \"{number}%\" if that share of one processor is meant"))
        } else {
            problem.help(help)
        });
    };
    if text == "infinity" {
        return Ok(CgroupValue::Infinity);
    }
    match hundredths(&text) {
        Some(share) if (LEAST_QUOTA..=MOST_QUOTA).contains(&share) => Ok(CgroupValue::Share(share)),
        Some(_) | None => {
            let message = format!("expected a percentage from 0.1% to 1000000%, found {text:?}");
            Err(Problem::new(message).help(help))
        }
    }
}

/// Over nothing, up to the whole.
fn share(text: &str, help: &str) -> Result<CgroupValue, Problem> {
    match hundredths(text).filter(|share| (1..=WHOLE).contains(share)) {
        Some(share) => Ok(CgroupValue::Share(share)),
        None => {
            let message = format!("expected a percentage from 0.01% to 100%, found {text:?}");
            Err(Problem::new(message).help(help))
        }
    }
}

/// `12.5%`: at most two decimals, as systemd has it.
fn hundredths(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part = part.parse::<u32>().ok()? * if part.len() == 1 { 10 } else { 1 };
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}
