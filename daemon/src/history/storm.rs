//! What is added up while a service fails again and again?
//!
//! A service that is restarted without delay and fails at once would bring thousands of records a second. From the
//! [`BURST`]th in a window of [`WINDOW`] on they are added up: crashes by their group, and the service counts as down until
//! the window ends.

use std::collections::BTreeMap;

use mcpd_proto::history::{Is, Record};

/// So long is a window, microseconds.
pub(super) const WINDOW: i64 = 10_000_000;
/// So many records of a service are written one by one in each.
pub(super) const BURST: u32 = 60;

/// Services with records in the present window.
#[derive(Default)]
pub(super) struct Storms {
    of: BTreeMap<String, Storm>,
    /// The end of the first window in which something is added up.
    first: Option<i64>,
    /// When those that are over were looked for.
    swept: i64,
}

struct Storm {
    ends: i64,
    records: u32,
    /// What it was when it was last written down, and what it is by now.
    turn: Option<(Record, bool)>,
    crashes: BTreeMap<(Option<String>, &'static str), Record>,
}

impl Storms {
    /// When the next window ends, microseconds since 1970; `None`: there is nothing to be added up.
    pub(super) fn next_end(&self) -> Option<i64> {
        self.first
    }

    /// A service is up, down, off.
    pub(super) fn turned(&mut self, record: Record, out: &mut Vec<Record>) {
        let storm = self.of(&record, out);
        storm.records += 1;
        if storm.records < BURST {
            out.push(record);
            return;
        }
        if storm.records == BURST {
            out.push(Record { is: Is::Down, ..record.clone() });
        }
        let told = storm.records == BURST && record.is == Is::Down;
        storm.turn = Some((record, told));
        let ends = storm.ends;
        self.ends(ends);
    }

    /// A service has failed.
    pub(super) fn crashed(&mut self, record: Record, out: &mut Vec<Record>) {
        let storm = self.of(&record, out);
        storm.records += 1;
        // One without a report is one of many already.
        if storm.records < BURST && record.id.is_some() {
            out.push(record);
            return;
        }
        let key = (record.group.clone(), record.kind.map_or("", |kind| kind.name()));
        match storm.crashes.get_mut(&key) {
            None => {
                storm.crashes.insert(key, record);
            }
            Some(sum) => {
                let (n, restarts) = (sum.n + record.n, sum.restarts + record.restarts);
                let since = sum.since.unwrap_or(sum.at);
                let id = record.id.clone().or(sum.id.take());
                *sum = Record { n, restarts, since: Some(since), id, ..record };
            }
        }
        let ends = storm.ends;
        self.ends(ends);
    }

    /// Writes down what the windows that are over by `now` have added up.
    pub(super) fn ended(&mut self, now: i64, out: &mut Vec<Record>) {
        if self.first.is_none_or(|first| first > now) {
            return;
        }
        self.of.retain(|_, storm| {
            if storm.ends > now {
                return true;
            }
            out.extend(std::mem::take(&mut storm.crashes).into_values());
            // What it is at the end counts from then on.
            if let Some((record, told)) = storm.turn.take()
                && !told
            {
                out.push(record);
            }
            false
        });
        self.first = self.of.values().filter(|storm| storm.is_pending()).map(|storm| storm.ends).min();
    }

    fn of(&mut self, record: &Record, out: &mut Vec<Record>) -> &mut Storm {
        let over = self.of.get(&record.of).is_some_and(|storm| storm.ends <= record.at);
        if over && let Some(storm) = self.of.remove(&record.of) {
            out.extend(storm.crashes.into_values());
            out.extend(storm.turn.filter(|(_, told)| !told).map(|(record, _)| record));
        }
        // Windows in which nothing is to be added up leave without a word.
        if record.at.saturating_sub(self.swept) > WINDOW {
            self.swept = record.at;
            self.of.retain(|_, storm| storm.is_pending() || storm.ends > record.at);
        }
        let new = || Storm { ends: record.at + WINDOW, records: 0, turn: None, crashes: BTreeMap::new() };
        self.of.entry(record.of.clone()).or_insert_with(new)
    }

    /// In the window that ends then something is to be added up.
    fn ends(&mut self, at: i64) {
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
    }
}

impl Storm {
    fn is_pending(&self) -> bool {
        !self.crashes.is_empty() || self.turn.is_some()
    }
}
