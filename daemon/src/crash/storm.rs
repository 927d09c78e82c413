//! Which of many crashes alike get a report of their own?
//!
//! A service that fails at once and is restarted without a delay brings a thousand crashes a second, each the same as the
//! one before. Of one service and fingerprint [`REPORTS`] in a window of [`WINDOW`] are written; the others are counted, and
//! the next one that is written says how many they were.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So long is a window.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Reports of one fingerprint that are written in each.
pub const REPORTS: u32 = 20;

/// Fingerprints that are known at once. Those whose window is over go first.
pub const KNOWN: usize = 1024;

/// What is to be done with a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is written; so many like it were not before it.
    Write {
        /// How many.
        coalesced: u64,
    },
    /// It is counted; this is the last one like it that was written.
    Count {
        /// Its id.
        like: String,
    },
}

#[derive(Debug)]
struct Window {
    began: Instant,
    written: u32,
    /// Since the last one that was written, in whatever window that was.
    counted: u64,
    /// The id of that one.
    last: String,
}

/// The present windows.
#[derive(Debug, Default)]
pub struct Storm {
    /// By fingerprint: the service is in it.
    windows: HashMap<String, Window>,
}

impl Storm {
    /// One more crash. `ends`: nothing starts the service again by itself, and so this one is what a person asks about and
    /// always written; it bounds itself.
    pub fn crashed(&mut self, fingerprint: &str, id: &str, ends: bool, now: Instant) -> Verdict {
        if let Some(window) = self.windows.get_mut(fingerprint) {
            if now.saturating_duration_since(window.began) >= WINDOW {
                (window.began, window.written) = (now, 0);
            }
            if window.written >= REPORTS && !ends {
                window.counted += 1;
                return Verdict::Count { like: window.last.clone() };
            }
            window.written = window.written.saturating_add(1);
            id.clone_into(&mut window.last);
            return Verdict::Write { coalesced: std::mem::take(&mut window.counted) };
        }
        if self.windows.len() >= KNOWN {
            self.make_room(now);
        }
        let window = Window { began: now, written: 1, counted: 0, last: id.to_owned() };
        self.windows.insert(fingerprint.to_owned(), window);
        Verdict::Write { coalesced: 0 }
    }

    /// It could not be written: what it would have said is for the next one.
    pub fn failed(&mut self, fingerprint: &str, coalesced: u64) {
        if let Some(window) = self.windows.get_mut(fingerprint) {
            window.counted += coalesced;
        }
    }

    /// Those that are over and have nothing left to say go, else the oldest quarter.
    fn make_room(&mut self, now: Instant) {
        let over = |window: &Window| now.saturating_duration_since(window.began) >= WINDOW;
        self.windows.retain(|_, window| window.counted > 0 || !over(window));
        if self.windows.len() < KNOWN {
            return;
        }
        let mut begun: Vec<Instant> = self.windows.values().map(|window| window.began).collect();
        begun.sort_unstable();
        let oldest = begun[KNOWN / 4];
        self.windows.retain(|_, window| window.began > oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_written_and_the_next_one_says_how_many_were_not() {
        let (mut storm, start) = (Storm::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let mut written = Vec::new();
        for number in 0..10_500_u64 {
            let id = number.to_string();
            match storm.crashed("a", &id, false, at(number)) {
                Verdict::Write { coalesced } => written.push((number, coalesced)),
                Verdict::Count { like } => assert_eq!(like, written.last().unwrap().0.to_string()),
            }
        }
        let first = (0..20).map(|number| (number, 0));
        let second = (10_000..10_020).map(|number| (number, if number == 10_000 { 9980 } else { 0 }));
        assert_eq!(written, first.chain(second).collect::<Vec<_>>());
    }

    #[test]
    fn each_fingerprint_counts_for_itself_and_a_slow_row_is_none() {
        let (mut storm, start) = (Storm::default(), Instant::now());
        for number in 0..1000_u32 {
            let verdict = storm.crashed("slow", "x", false, start + Duration::from_millis(510) * number);
            assert_eq!(verdict, Verdict::Write { coalesced: 0 });
        }
        for number in 0..20 {
            for print in ["b", "c"] {
                assert_eq!(
                    storm.crashed(print, "x", false, start),
                    Verdict::Write { coalesced: 0 },
                    "{number}"
                );
            }
        }
        assert_eq!(storm.crashed("c", "y", false, start), Verdict::Count { like: "x".to_owned() });
        assert_eq!(
            storm.crashed("c", "z", true, start),
            Verdict::Write { coalesced: 1 },
            "the one that parks it"
        );
    }

    #[test]
    fn memory_is_bounded_and_what_is_counted_is_kept() {
        let (mut storm, start) = (Storm::default(), Instant::now());
        for _ in 0..25 {
            storm.crashed("storm", "x", false, start);
        }
        for number in 0..10_000_u32 {
            storm.crashed(&number.to_string(), "x", false, start + WINDOW * 2);
            assert!(storm.windows.len() <= KNOWN);
        }
        let (mut storm, later) = (Storm::default(), start + WINDOW * 3);
        for _ in 0..25 {
            storm.crashed("storm", "x", false, start);
        }
        for number in 0..KNOWN - 1 {
            storm.crashed(&number.to_string(), "x", false, start);
        }
        storm.crashed("one more", "x", false, later);
        assert_eq!(storm.crashed("storm", "x", false, later), Verdict::Write { coalesced: 5 });
        // A full disk loses a report, not the number.
        for _ in 0..30 {
            storm.crashed("full", "x", false, later);
        }
        let next = later + WINDOW;
        assert_eq!(storm.crashed("full", "x", false, next), Verdict::Write { coalesced: 10 });
        storm.failed("full", 10);
        assert_eq!(storm.crashed("full", "x", false, next), Verdict::Write { coalesced: 10 });
    }
}
