//! How long was a service up, how often did it fail? A fold over its records.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mcpd_proto::crash::CrashKind;
use mcpd_proto::history::{Is, Record};
use mcpd_proto::stats::{Availability, CauseStats, ServiceStats, Window};

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// The windows for which availability is told: name and microseconds.
const WINDOWS: [(&str, i64); 3] =
    [("1h", 3600 * SECOND), ("24h", 24 * 3600 * SECOND), ("7d", 7 * 24 * 3600 * SECOND)];

/// What a service is for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Turn {
    /// Available.
    Up,
    /// Not available, and wanted.
    Down,
    /// Not wanted.
    Off,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Turn {
    /// What a record turns it to.
    #[must_use]
    pub fn of(is: Is) -> Self {
        match is {
            Is::Up => Self::Up,
            Is::Down => Self::Down,
            Is::Off => Self::Off,
            Is::Crash | Is::Life | Is::Gap | Is::Past | Is::Unknown => Self::Unknown,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

/// A while in which a service was the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What.
    pub was: Turn,
    /// Microseconds since 1970.
    pub from: i64,
    /// Not before `from`, whatever the clock did.
    pub to: i64,
}

impl Span {
    /// Microseconds.
    #[must_use]
    pub fn length(self) -> u64 {
        u64::try_from(self.to - self.from).unwrap_or(0)
    }

    /// So much of it is within a time.
    fn within(self, from: i64, to: i64) -> u64 {
        u64::try_from(self.to.min(to) - self.from.max(from)).unwrap_or(0)
    }
}

/// What a service is, one while after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    was: Turn,
    from: i64,
}

impl Line {
    /// From now on it is this; gives the while that ends.
    pub fn turn(&mut self, at: i64, to: Turn) -> Option<Span> {
        let span = Span { was: self.was, from: self.from, to: at.max(self.from) };
        let known = span.was != Turn::Unknown;
        *self = Self { was: to, from: span.to.max(at) };
        known.then_some(span)
    }
}

#[derive(Default)]
struct Cause {
    kind: Option<CrashKind>,
    words: String,
    crashes: u64,
    recoveries: u64,
    recovered: u64,
}

/// The numbers of one service so far.
pub struct Tally {
    now: i64,
    since: Option<i64>,
    line: Line,
    crashes: u64,
    restarts: u64,
    up: u64,
    down: u64,
    windows: [Counted; 3],
    /// The first crash since it was up last, and what brought it down.
    failed: Option<(i64, (Option<String>, &'static str))>,
    recoveries: u64,
    recovered: u64,
    longest: Option<u64>,
    causes: BTreeMap<(Option<String>, &'static str), Cause>,
}

#[derive(Default, Clone, Copy)]
struct Counted {
    up: u64,
    down: u64,
    crashes: u64,
    restarts: u64,
}

impl Tally {
    /// Nothing yet. `now`: microseconds since 1970.
    #[must_use]
    pub fn new(now: i64) -> Self {
        Self {
            now,
            since: None,
            line: Line::default(),
            crashes: 0,
            restarts: 0,
            up: 0,
            down: 0,
            windows: [Counted::default(); 3],
            failed: None,
            recoveries: 0,
            recovered: 0,
            longest: None,
            causes: BTreeMap::new(),
        }
    }

    /// Takes in the next record of this service, or of mcpd itself.
    pub fn add(&mut self, record: &Record) {
        if record.of.is_empty() {
            if let Is::Life | Is::Gap = record.is {
                // It was last seen so before mcpd ended.
                self.turn(record.since.unwrap_or(record.at).min(record.at), Turn::Unknown);
                self.failed = None;
            }
            return;
        }
        let first = record.since.unwrap_or(record.at);
        self.since = Some(self.since.map_or(first, |since| since.min(first)));
        match record.is {
            Is::Up => {
                self.turn(record.at, Turn::Up);
                self.recover(record.at);
            }
            Is::Down => self.turn(record.at, Turn::Down),
            Is::Off => {
                self.turn(record.at, Turn::Off);
                self.failed = None;
            }
            Is::Past if record.kind.is_none() => {
                self.up += record.up;
                self.down += record.down;
            }
            Is::Crash | Is::Past => self.crash(record),
            Is::Life | Is::Gap | Is::Unknown => {}
        }
    }

    fn turn(&mut self, at: i64, to: Turn) {
        let Some(span) = self.line.turn(at, to) else { return };
        self.count(span);
    }

    fn count(&mut self, span: Span) {
        let all = match span.was {
            Turn::Up => &mut self.up,
            Turn::Down => &mut self.down,
            Turn::Off | Turn::Unknown => return,
        };
        *all += span.length();
        for (counted, (_, length)) in self.windows.iter_mut().zip(WINDOWS) {
            let part = span.within(self.now - length, self.now);
            match span.was {
                Turn::Up => counted.up += part,
                Turn::Down => counted.down += part,
                Turn::Off | Turn::Unknown => {}
            }
        }
    }

    fn crash(&mut self, record: &Record) {
        self.crashes += record.n;
        self.restarts += record.restarts;
        for (counted, (_, length)) in self.windows.iter_mut().zip(WINDOWS) {
            // Of several that were added up the last one's time counts for all.
            if record.at >= self.now - length && record.at <= self.now {
                counted.crashes += record.n;
                counted.restarts += record.restarts;
            }
        }
        let key = (record.group.clone(), record.kind.map_or("", CrashKind::name));
        if self.failed.is_none() && record.is == Is::Crash {
            self.failed = Some((record.since.unwrap_or(record.at), key.clone()));
        }
        let cause = self.causes.entry(key).or_default();
        cause.kind = record.kind.or(cause.kind);
        cause.crashes += record.n;
        if let Some(words) = &record.cause {
            cause.words.clone_from(words);
        }
    }

    fn recover(&mut self, at: i64) {
        let Some((since, cause)) = self.failed.take() else { return };
        let took = u64::try_from(at - since).unwrap_or(0);
        self.recoveries += 1;
        self.recovered += took;
        self.longest = Some(self.longest.map_or(took, |longest| longest.max(took)));
        if let Some(cause) = self.causes.get_mut(&cause) {
            cause.recoveries += 1;
            cause.recovered += took;
        }
    }

    /// The numbers; `None` where nothing is on record.
    #[must_use]
    pub fn finish(mut self, service: String) -> Option<ServiceStats> {
        let since = self.since?;
        let now = self.line.was;
        self.turn(self.now, now);
        let windows: Vec<Window> = self.windows.iter().zip(WINDOWS).map(window).collect();
        let share = |at: usize| {
            let Counted { up, down, .. } = self.windows[at];
            (up + down > 0).then(|| up as f64 / (up + down) as f64)
        };
        let mut causes: Vec<CauseStats> = self
            .causes
            .into_iter()
            .filter_map(|((fingerprint, _), cause)| {
                Some(CauseStats {
                    fingerprint,
                    kind: cause.kind?,
                    cause: cause.words,
                    crashes: cause.crashes,
                    mttr_seconds: mean(cause.recovered, cause.recoveries),
                })
            })
            .collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.crashes));
        Some(ServiceStats {
            service,
            since: stamp(since),
            now: now.name().to_owned(),
            crashes: self.crashes,
            restarts: self.restarts,
            up_seconds: seconds(self.up),
            down_seconds: seconds(self.down),
            availability: Availability { last_hour: share(0), last_day: share(1), last_week: share(2) },
            mtbf_seconds: mean(self.up, self.crashes),
            mttr_seconds: mean(self.recovered, self.recoveries),
            longest_outage_seconds: self.longest.map(seconds),
            windows,
            causes,
        })
    }
}

/// The numbers of all services that `wanted` wants, by name.
pub fn all(
    now: i64,
    records: impl FnOnce(&mut dyn FnMut(Record)) -> std::io::Result<()>,
    wanted: impl Fn(&str) -> bool,
) -> std::io::Result<Vec<ServiceStats>> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    records(&mut |record| {
        if record.of.is_empty() {
            tallies.values_mut().for_each(|tally| tally.add(&record));
        } else if let Some(tally) = tallies.get_mut(&record.of) {
            tally.add(&record);
        } else if wanted(&record.of) {
            let mut tally = Tally::new(now);
            tally.add(&record);
            tallies.insert(record.of, tally);
        }
    })?;
    Ok(tallies.into_iter().filter_map(|(service, tally)| tally.finish(service)).collect())
}

fn window((counted, (name, _)): (&Counted, (&str, i64))) -> Window {
    Window {
        name: name.to_owned(),
        observed_seconds: seconds(counted.up + counted.down),
        up_seconds: seconds(counted.up),
        crashes: counted.crashes,
        restarts: counted.restarts,
    }
}

// A year in microseconds has 45 bits, a float 53.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn mean(micros: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| seconds(micros) / of as f64)
}

/// RFC 3339 UTC, as every document has it.
pub(super) fn stamp(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or_default();
    format!("{time:.6}")
}
