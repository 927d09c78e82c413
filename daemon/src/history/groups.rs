//! Which crashes are alike? A fold over the records of crashes.

use std::collections::HashMap;

use mcpd_proto::crash::CrashKind;
use mcpd_proto::history::{Is, Record};
use mcpd_proto::stats::{CrashGroup, Trend};

use super::tally::stamp;

/// A day, microseconds.
const DAY: i64 = 24 * 3600 * 1_000_000;

/// The groups so far.
pub struct Groups {
    now: i64,
    of: HashMap<String, Group>,
}

struct Group {
    service: String,
    kind: CrashKind,
    cause: String,
    count: u64,
    first: i64,
    last: i64,
    last_day: u64,
    day_before: u64,
    newest: Option<String>,
}

impl Groups {
    /// Nothing yet. `now`: microseconds since 1970.
    #[must_use]
    pub fn new(now: i64) -> Self {
        Self { now, of: HashMap::new() }
    }

    /// Takes in the next record. What is no crash, or one without a fingerprint, is left out.
    pub fn add(&mut self, record: Record) {
        let (Is::Crash | Is::Past, Some(fingerprint), Some(kind)) = (record.is, record.group, record.kind)
        else {
            return;
        };
        let new = || Group {
            service: record.of,
            kind,
            cause: String::new(),
            count: 0,
            first: i64::MAX,
            last: i64::MIN,
            last_day: 0,
            day_before: 0,
            newest: None,
        };
        let group = self.of.entry(fingerprint).or_insert_with(new);
        group.count += record.n;
        group.first = group.first.min(record.since.unwrap_or(record.at));
        match self.now - record.at {
            ..DAY => group.last_day += record.n,
            age if age < 2 * DAY => group.day_before += record.n,
            _ => {}
        }
        if record.at >= group.last {
            group.last = record.at;
            group.kind = kind;
            group.newest = record.id.or(group.newest.take());
            if let Some(cause) = record.cause {
                group.cause = cause;
            }
        }
    }

    /// How many crashes each has.
    #[must_use]
    pub fn count(&self, fingerprint: &str) -> Option<u64> {
        self.of.get(fingerprint).map(|group| group.count)
    }

    /// All groups, the one with the newest crash first.
    #[must_use]
    pub fn finish(self) -> Vec<CrashGroup> {
        let Self { now, of } = self;
        let mut groups: Vec<(String, Group)> = of.into_iter().collect();
        groups.sort_by(|(a, x), (b, y)| y.last.cmp(&x.last).then_with(|| a.cmp(b)));
        let document = |(fingerprint, group): (String, Group)| CrashGroup {
            trend: trend(now, &group),
            fingerprint,
            service: group.service,
            kind: group.kind,
            cause: group.cause,
            count: group.count,
            first_seen: stamp(group.first),
            last_seen: stamp(group.last),
            last_day: group.last_day,
            day_before: group.day_before,
            newest: group.newest,
        };
        groups.into_iter().map(document).collect()
    }
}

fn trend(now: i64, group: &Group) -> Trend {
    if group.last_day == 0 {
        return Trend::Quiet;
    }
    if now - group.first < DAY {
        return Trend::New;
    }
    // One more or less than a few says nothing.
    let (now, before) = (group.last_day, group.day_before);
    if now >= before.saturating_add(2) && now * 2 > before * 3 {
        Trend::Rising
    } else if before >= now + 2 && before * 2 > now * 3 {
        Trend::Falling
    } else {
        Trend::Steady
    }
}
