//! Which notification goes next, and when? Pure: `now` is an argument, and nothing here sends.
//!
//! Each target has a line of its own, in which one is under way at a time, so that they arrive in order and a target
//! that hangs holds up nobody else. Before the line stands a bucket per service and target. When it is empty, what comes
//! is held, and told with the next token, unless it has taken itself back by then: what was told last is always true in
//! the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mcpd_config::spec::NotifyTarget;
use mcpd_core::Mono;

use super::Notice;

/// Tokens of a full bucket: so many notifications about a service may reach a target one right after the other.
const BURST: u32 = 5;
/// One more token comes after this long.
const REFILL: Duration = Duration::from_secs(60);
/// Notifications that wait for one target. One more pushes out the oldest: the newer one says what is.
pub(super) const WAITING: usize = 64;
/// Notifications under way at a time, each a thread or a process. One more waits until one of them is over.
pub(super) const AT_ONCE: usize = 16;
/// The pauses before it is tried again; after the last try it is given up.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// A target that asks for a longer pause (`Retry-After`) is given this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// One notification on its way to one target.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) notice: Arc<Notice>,
    /// So many about this service were held back from this target before it.
    pub(super) suppressed: u64,
    /// So many did not reach this target before it, of whatever service.
    pub(super) lost: u64,
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there.
    Delivered,
    /// Not now; the target may have said for how long.
    Failed {
        /// One line, without secrets.
        why: String,
        /// The pause that it asked for.
        pause: Option<Duration>,
    },
    /// Another try would end the same way.
    Refused(String),
}

/// What is worth an event.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// It is there.
    Delivered(Item),
    /// It is given up.
    Failed {
        /// What was to be told.
        item: Item,
        /// How often it was tried.
        tries: usize,
        /// Why the last try failed.
        why: String,
    },
    /// The line is full; told once until something is delivered again.
    Full,
}

/// One that may go, and to whom.
pub(super) type Due = (Arc<NotifyTarget>, Item);

/// Every line.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: BTreeMap<Arc<NotifyTarget>, Line>,
    under_way: usize,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Item>,
    /// The first one is under way.
    busy: bool,
    /// How often the first one was tried.
    tries: usize,
    /// The first one may go from then on.
    ready: Mono,
    lost: u64,
    /// That it is full has been told.
    told_full: bool,
    buckets: BTreeMap<Arc<str>, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    /// When the last token came, unless it is full.
    since: Mono,
    /// At most one per condition, the oldest first.
    held: VecDeque<Arc<Notice>>,
    suppressed: u64,
}

impl Queue {
    /// Takes one in.
    pub(super) fn submit(
        &mut self,
        now: Mono,
        target: &Arc<NotifyTarget>,
        notice: &Arc<Notice>,
    ) -> Option<Told> {
        let line = self.lines.entry(target.clone()).or_default();
        let service = notice.service.clone();
        let bucket = line.buckets.entry(service).or_insert_with(|| Bucket::full(now));
        bucket.hold(notice.clone());
        line.release(now)
    }

    /// What may go now; each is owed a [`Self::done`].
    pub(super) fn due(&mut self, now: Mono) -> (Vec<Due>, Vec<(Arc<NotifyTarget>, Told)>) {
        let mut told = Vec::new();
        for (target, line) in &mut self.lines {
            told.extend(line.release(now).map(|told| (target.clone(), told)));
        }
        self.lines.retain(|_, line| !line.is_idle());
        let mut ready: Vec<_> =
            self.lines.iter_mut().filter(|(_, line)| line.next_try().is_some_and(|at| at <= now)).collect();
        // Whoever has waited longest, so that many that hang do not keep others from their turn for ever.
        ready.sort_by_key(|(_, line)| line.ready);
        let mut due = Vec::new();
        for (target, line) in ready {
            if self.under_way == AT_ONCE {
                break;
            }
            if let Some(item) = line.waiting.front() {
                line.busy = true;
                self.under_way += 1;
                due.push((target.clone(), item.clone()));
            }
        }
        (due, told)
    }

    /// When there may be something to do.
    pub(super) fn next(&self) -> Option<Mono> {
        let try_again = self.lines.values().filter_map(Line::next_try).filter(|_| self.under_way < AT_ONCE);
        let tokens = self.lines.values().flat_map(|line| line.buckets.values()).filter_map(Bucket::next);
        try_again.chain(tokens).min()
    }

    /// What came of one that was under way.
    pub(super) fn done(&mut self, now: Mono, target: &NotifyTarget, outcome: Outcome) -> Option<Told> {
        let line = self.lines.get_mut(target).filter(|line| line.busy)?;
        line.busy = false;
        self.under_way -= 1;
        line.tries += 1;
        line.ready = now;
        let why = match outcome {
            Outcome::Delivered => {
                line.tries = 0;
                line.told_full = false;
                return line.waiting.pop_front().map(Told::Delivered);
            }
            Outcome::Failed { why, pause } => {
                if let Some(&least) = PAUSES.get(line.tries - 1) {
                    line.ready = now + pause.unwrap_or_default().clamp(least, LONGEST_PAUSE);
                    return None;
                }
                why
            }
            Outcome::Refused(why) => why,
        };
        let tries = std::mem::take(&mut line.tries);
        let item = line.waiting.pop_front()?;
        line.lost += 1 + item.lost;
        Some(Told::Failed { item, tries, why })
    }

    /// Whether nothing is under way or could go now.
    pub(super) fn is_quiet(&self, now: Mono) -> bool {
        self.under_way == 0 && self.lines.values().all(|line| line.next_try().is_none_or(|at| at > now))
    }
}

impl Line {
    /// Lets out what has a token.
    fn release(&mut self, now: Mono) -> Option<Told> {
        let mut full = false;
        for bucket in self.buckets.values_mut() {
            while let Some((notice, suppressed)) = bucket.take(now) {
                if self.waiting.len() == WAITING {
                    // The first one may be under way.
                    let oldest = usize::from(self.busy || self.tries > 0);
                    let lost = self.waiting.remove(oldest).map_or(0, |item| 1 + item.lost);
                    full |= !std::mem::replace(&mut self.told_full, true);
                    self.lost += lost;
                }
                if self.waiting.is_empty() {
                    self.ready = now;
                }
                let lost = std::mem::take(&mut self.lost);
                self.waiting.push_back(Item { notice, suppressed, lost });
            }
        }
        self.buckets.retain(|_, bucket| !bucket.is_full());
        full.then_some(Told::Full)
    }

    fn next_try(&self) -> Option<Mono> {
        (!self.busy && !self.waiting.is_empty()).then_some(self.ready)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.buckets.is_empty() && self.lost == 0
    }
}

impl Bucket {
    fn full(now: Mono) -> Self {
        Self { tokens: BURST, since: now, held: VecDeque::new(), suppressed: 0 }
    }

    fn hold(&mut self, notice: Arc<Notice>) {
        let same = |held: &Arc<Notice>| held.condition == notice.condition;
        match self.held.iter().position(same) {
            // They alternate: with this one it is again as it was told last.
            Some(at) => {
                self.held.remove(at);
                self.suppressed += 2;
            }
            None => self.held.push_back(notice),
        }
    }

    fn refill(&mut self, now: Mono) {
        while self.tokens < BURST && now >= self.since + REFILL {
            self.tokens += 1;
            self.since = self.since + REFILL;
        }
    }

    fn take(&mut self, now: Mono) -> Option<(Arc<Notice>, u64)> {
        self.refill(now);
        if self.tokens == 0 {
            return None;
        }
        let notice = self.held.pop_front()?;
        if self.tokens == BURST {
            self.since = now;
        }
        self.tokens -= 1;
        Some((notice, std::mem::take(&mut self.suppressed)))
    }

    fn next(&self) -> Option<Mono> {
        (!self.held.is_empty()).then(|| self.since + REFILL)
    }

    fn is_full(&self) -> bool {
        self.tokens == BURST && self.held.is_empty() && self.suppressed == 0
    }
}
