//! What happened, on disk: every event is one line of JSON under `state_dir/events`, with the id of its cause.
//!
//! A thread of its own writes, for a disk that hangs must not hold the loop up: a bounded queue lies between them, and what
//! has no room in it is counted. One write per batch, nothing is synced but full files: what is written is in the page
//! cache when the daemon is killed, and of the last batch at most one record is torn. Where the disk takes nothing mcpd
//! goes on, says so once, and writes down later what it still has.
//!
//! | file | question |
//! |---|---|
//! | `files` | which files are there? |
//! | `writer` | what is written, and what happens when that fails? |
//! | `storm` | when are records only counted? |
//! | `reader` | what was there: the newest, since when, which one, and why? |
//! | `scan` | where in a file is a record? |

mod files;
mod reader;
mod scan;
mod storm;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use mcpd_proto::event::Event;
use serde_json::{Value, json};
use tokio::sync::watch;

pub use self::reader::{Filter, From, Reader};
pub use self::storm::Coalesced;
use self::writer::{Limits, Writer};

/// Records that wait for the disk; one more is lost, and counted.
const QUEUE: usize = 16 * 1024;

/// Where the journal of a state directory is.
#[must_use]
pub fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("events")
}

/// What the thread has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Nothing can be written from now on.
    Failing {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// It can again, or the disk was only too slow.
    Recovered {
        /// So many records are not in the journal.
        lost: u64,
    },
    /// A service brought too many records.
    Coalesced(Coalesced),
}

/// The queue to the thread. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    queue: Mutex<Queue>,
    bell: Condvar,
    /// Up to this id everything has been written, counted or lost.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    events: Vec<Arc<Event>>,
    lost: u64,
    marks: Vec<mpsc::Sender<()>>,
    closing: bool,
}

impl Journal {
    /// Opens the journal of a state directory and starts its thread; also gives the id of the next record, which goes on
    /// from the last one on disk. `tell` is called on the thread.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(state_dir: &Path, tell: impl Fn(News) + Send + 'static) -> io::Result<(Self, u64)> {
        Self::start_within(writer::LIMITS, state_dir, tell)
    }

    fn start_within(
        limits: Limits,
        state_dir: &Path,
        tell: impl Fn(News) + Send + 'static,
    ) -> io::Result<(Self, u64)> {
        let dir = dir(state_dir);
        let last = files::last_id(&dir);
        let shared = Arc::new(Shared {
            dir: dir.clone(),
            queue: Mutex::default(),
            bell: Condvar::new(),
            done: watch::Sender::new(last),
        });
        let queue = shared.clone();
        let mut writer = Writer::new(dir, limits, last, tell);
        std::thread::Builder::new().name("journal".into()).stack_size(256 * 1024).spawn(move || {
            let mut events = Vec::new();
            loop {
                let (lost, marks, closing) = queue.next(&mut events, writer.wakes());
                let last = events.iter().map(|event| event.id).max();
                writer.take(&mut events, lost, Instant::now());
                if closing {
                    writer.close(Instant::now());
                }
                if let Some(last) = last {
                    queue.done.send_if_modified(|done| std::mem::replace(done, last.max(*done)) < last);
                }
                for mark in marks {
                    // Whoever waited may have had enough of it.
                    let _ = mark.send(());
                }
                if closing {
                    return;
                }
                // A burst needs no room for ever.
                if events.capacity() > 256 {
                    events = Vec::new();
                }
            }
        })?;
        Ok((Self { shared }, last + 1))
    }

    /// Queues records, in the order of their ids.
    pub fn write(&self, events: impl Iterator<Item = Arc<Event>>) {
        let mut queue = self.shared.lock();
        let was_empty = queue.events.is_empty() && queue.lost == 0;
        for event in events {
            if queue.events.len() < QUEUE {
                queue.events.push(event);
            } else {
                queue.lost += 1;
            }
        }
        drop(queue);
        if was_empty {
            self.shared.bell.notify_one();
        }
    }

    /// Waits until everything so far is on disk, if that takes no longer than `within`.
    pub fn flush(&self, within: Duration) {
        let (done, waiting) = mpsc::channel();
        self.shared.lock().marks.push(done);
        self.shared.bell.notify_one();
        let _ = waiting.recv_timeout(within);
    }

    /// The end: as [`Self::flush`], and nothing is written any more.
    pub fn close(&self, within: Duration) {
        self.shared.lock().closing = true;
        self.flush(within);
    }

    /// Tells up to which id everything has been written, counted or lost.
    #[must_use]
    pub fn done(&self) -> watch::Receiver<u64> {
        self.shared.done.subscribe()
    }

    fn dir(&self) -> &Path {
        &self.shared.dir
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, until `wakes` at most.
    fn next(
        &self,
        events: &mut Vec<Arc<Event>>,
        wakes: Option<Instant>,
    ) -> (u64, Vec<mpsc::Sender<()>>, bool) {
        let mut queue = self.lock();
        loop {
            if !queue.events.is_empty() || queue.lost > 0 || !queue.marks.is_empty() || queue.closing {
                std::mem::swap(events, &mut queue.events);
                return (std::mem::take(&mut queue.lost), std::mem::take(&mut queue.marks), queue.closing);
            }
            queue = match wakes.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return (0, Vec::new(), false),
                Some(left) => self.bell.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// What is told of records that were only counted.
#[must_use]
pub fn words(coalesced: &Coalesced) -> String {
    let mut counts: Vec<(&String, &u64)> = coalesced.counts.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let (records, window) = (coalesced.records(), storm::WINDOW.as_secs());
    format!(
        "{records} more events within {window} s were counted and not written down: {}",
        counts.join(", ")
    )
}

/// The facts of it.
#[must_use]
pub fn data(coalesced: &Coalesced) -> Value {
    let Coalesced { service: _, first, last, from, to, counts } = coalesced;
    json!({ "first": first, "last": last, "from": from, "to": to, "records": coalesced.records(), "counts": counts })
}

#[cfg(test)]
mod tests;
