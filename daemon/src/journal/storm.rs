//! Coalescing: of a service that brings records without end, some are written and the rest is counted.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use mcpd_proto::event::Event;

/// Records of one service in one [`WINDOW`] that are written. A start has some five: this is a hundred starts.
pub(super) const MOST: u32 = 500;
/// It begins with the first record after the last one.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// What was only counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coalesced {
    /// Whose records they were; `None`: the daemon's own.
    pub service: Option<String>,
    /// The id of the first that is not in the journal.
    pub first: u64,
    /// The id of the last one.
    pub last: u64,
    /// When the first one was.
    pub from: String,
    /// When the last one was.
    pub to: String,
    /// How many, by the name of the event.
    pub counts: BTreeMap<String, u64>,
}

impl Coalesced {
    /// How many in all.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.counts.values().sum()
    }
}

struct Window {
    ends: Instant,
    written: u32,
    rest: Option<Coalesced>,
}

/// The windows of all services that had records lately.
#[derive(Default)]
pub(super) struct Storms {
    windows: HashMap<Option<String>, Window>,
    /// When the next window ends of which something was only counted.
    next_end: Option<Instant>,
    /// When those of which nothing was are looked at.
    tidy: Option<Instant>,
}

impl Storms {
    /// Whether it is to be written. [`Self::ended`] has been called at `now`.
    pub(super) fn admits(&mut self, event: &Event, now: Instant) -> bool {
        // What tells of the journal itself is rare, and has to be in it.
        if event.event == "coalesced" || event.event.starts_with("journal_") {
            return true;
        }
        let fresh = || Window { ends: now + WINDOW, written: 0, rest: None };
        let window = match self.windows.get_mut(&event.service) {
            Some(window) => window,
            None => self.windows.entry(event.service.clone()).or_insert_with(fresh),
        };
        if window.ends <= now {
            *window = fresh();
        }
        if window.written < MOST {
            window.written += 1;
            return true;
        }
        let rest = window.rest.get_or_insert_with(|| Coalesced {
            service: event.service.clone(),
            first: event.id,
            last: event.id,
            from: event.time.clone(),
            to: String::new(),
            counts: BTreeMap::new(),
        });
        rest.last = event.id;
        rest.to.clone_from(&event.time);
        match rest.counts.get_mut(&event.event) {
            Some(count) => *count += 1,
            None => drop(rest.counts.insert(event.event.clone(), 1)),
        }
        self.next_end = Some(self.next_end.map_or(window.ends, |next| next.min(window.ends)));
        false
    }

    /// When [`Self::ended`] has something to tell.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.next_end
    }

    /// What was only counted in windows that are over.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<Coalesced> {
        let tidy = *self.tidy.get_or_insert(now + WINDOW);
        if tidy > now && self.next_end.is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.tidy = Some(now + WINDOW);
        self.take(|window| window.ends <= now)
    }

    /// What was only counted so far, at the end.
    pub(super) fn all(&mut self) -> Vec<Coalesced> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Window) -> bool) -> Vec<Coalesced> {
        let mut over = Vec::new();
        self.windows.retain(|_, window| {
            let keep = !is_over(window);
            if !keep {
                over.extend(window.rest.take());
            }
            keep
        });
        let counting = self.windows.values().filter(|window| window.rest.is_some());
        self.next_end = counting.map(|window| window.ends).min();
        over.sort_by_key(|coalesced| coalesced.first);
        over
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    #[test]
    fn a_storm_is_written_to_its_limit_and_counted_from_there() {
        let mut storms = Storms::default();
        let start = Instant::now();
        let mut written = 0;
        for id in 0..2_000 {
            assert!(storms.ended(start).is_empty());
            let name = if id % 4 == 0 { "failed" } else { "started" };
            written += u32::from(storms.admits(&event(id, Some("web"), name), start));
            // Others are not concerned.
            assert!(id >= 400 || storms.admits(&event(id, Some("quiet"), name), start));
            assert!(id >= 400 || storms.admits(&event(id, None, name), start));
        }
        assert_eq!(written, MOST);
        assert!(storms.admits(&event(2_001, Some("web"), "coalesced"), start));
        assert_eq!(storms.next_end(), Some(start + WINDOW));
        assert!(storms.ended(start + WINDOW / 2).is_empty());
        let told = storms.ended(start + WINDOW);
        let [told] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((told.first, told.last, told.records()), (500, 1_999, 1_500));
        assert_eq!((told.counts["failed"], told.counts["started"]), (375, 1_125));
        assert_eq!(
            (told.service.as_deref(), told.from.as_str()),
            (Some("web"), event(500, None, "").time.as_str())
        );
        // From here on everything is written again, and nothing of the quiet ones is kept.
        assert_eq!((storms.next_end(), storms.windows.len()), (None, 0));
        assert!(storms.admits(&event(2_002, Some("web"), "started"), start + WINDOW));
    }
}
