//! What stays when the history is made smaller?
//!
//! Every service keeps its newest records, as many as fit its share; what is older is added up, so that no crash and no
//! hour is forgotten, only when exactly it was. Shares are fair: a service that says little keeps everything, however
//! much another one says.

use std::collections::{BTreeMap, HashMap, HashSet};

use mcpd_proto::history::{Is, Record};

use super::tally::{Line, Turn};

/// About so many bytes has a line, besides its texts.
const LINE: usize = 64;

/// The records that stay, in their order, at most about `budget` bytes of them besides sums. Of what is added up the last
/// turn stays where it is: what follows from it is not over yet.
pub(super) fn compact(records: Vec<Record>, budget: usize) -> Vec<Record> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for record in &records {
        *sizes.entry(&record.of).or_default() += size(record);
    }
    let share = fair_share(sizes.values().copied().collect(), budget);
    // From the newest to the oldest: whose share is used up has the rest added up.
    let mut shares: HashMap<&str, usize> = HashMap::new();
    let mut turns: HashSet<&str> = HashSet::new();
    let mut fates = vec![Fate::Stays; records.len()];
    for (at, record) in records.iter().enumerate().rev() {
        let used = shares.entry(&record.of).or_default();
        *used = used.saturating_add(size(record));
        if record.of.is_empty() || (record.is != Is::Past && *used <= share) {
            continue;
        }
        *used = usize::MAX;
        let last_turn = matches!(record.is, Is::Up | Is::Down | Is::Off) && turns.insert(&record.of);
        fates[at] = if last_turn { Fate::Turns } else { Fate::Goes };
    }
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut kept = Vec::new();
    for (record, fate) in records.into_iter().zip(fates) {
        if record.of.is_empty() {
            // A life ends what was known of everybody.
            for sum in sums.values_mut().filter(|sum| !sum.over) {
                sum.turn(record.since.unwrap_or(record.at).min(record.at), Turn::Unknown);
            }
            // Before the first one that stays it says nothing any more.
            if !kept.is_empty() {
                kept.push(record);
            }
            continue;
        }
        if fate != Fate::Stays {
            sums.entry(record.of.clone()).or_default().add(&record);
        }
        if fate == Fate::Turns
            && let Some(sum) = sums.get_mut(&record.of)
        {
            sum.over = true;
        }
        if fate != Fate::Goes {
            kept.push(record);
        }
    }
    let mut all: Vec<Record> = sums.into_iter().flat_map(|(of, sum)| sum.records(&of)).collect();
    all.append(&mut kept);
    all
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It is the last turn of those that are added up.
    Turns,
    Goes,
}

fn size(record: &Record) -> usize {
    let texts = [&record.id, &record.group, &record.cause];
    LINE + record.of.len() + texts.iter().filter_map(|text| Some(text.as_ref()?.len() + 12)).sum::<usize>()
}

/// The largest share with which all fit the budget, when each takes no more than it needs.
fn fair_share(mut needs: Vec<usize>, budget: usize) -> usize {
    needs.sort_unstable();
    let mut left = budget;
    for (at, need) in needs.iter().enumerate() {
        let share = left / (needs.len() - at);
        if *need > share {
            return share;
        }
        left -= need;
    }
    usize::MAX - 1
}

/// What the older records of a service come to.
#[derive(Default)]
struct Sum {
    line: Line,
    up: u64,
    down: u64,
    first: Option<i64>,
    last: i64,
    /// The turns that are added up are over.
    over: bool,
    groups: BTreeMap<(Option<String>, &'static str), Record>,
}

impl Sum {
    fn add(&mut self, record: &Record) {
        let since = record.since.filter(|_| record.is == Is::Past).unwrap_or(record.at);
        self.first = Some(self.first.map_or(since, |first| first.min(since)));
        self.last = self.last.max(record.at);
        match record.is {
            Is::Up | Is::Down | Is::Off => self.turn(record.at, Turn::of(record.is)),
            Is::Past if record.kind.is_none() => {
                self.up += record.up;
                self.down += record.down;
            }
            Is::Crash | Is::Past => {
                let key = (record.group.clone(), record.kind.map_or("", |kind| kind.name()));
                let new = || Record { n: 0, restarts: 0, ..record.clone() };
                let sum = self.groups.entry(key).or_insert_with(new);
                let first = sum.since.unwrap_or(sum.at).min(record.since.unwrap_or(record.at));
                let (n, restarts) = (sum.n + record.n, sum.restarts + record.restarts);
                let newest = if record.at >= sum.at { record.clone() } else { sum.clone() };
                *sum = Record { is: Is::Past, n, restarts, since: Some(first), ran: None, ..newest };
            }
            Is::Life | Is::Gap | Is::Unknown => {}
        }
    }

    fn turn(&mut self, at: i64, to: Turn) {
        let Some(span) = self.line.turn(at, to) else { return };
        match span.was {
            Turn::Up => self.up += span.length(),
            Turn::Down => self.down += span.length(),
            Turn::Off | Turn::Unknown => {}
        }
    }

    fn records(self, of: &str) -> Vec<Record> {
        let times = Record {
            since: self.first,
            up: self.up,
            down: self.down,
            ..Record::new(self.last, of, Is::Past)
        };
        std::iter::once(times).chain(self.groups.into_values()).collect()
    }
}
