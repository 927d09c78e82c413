//! Writes down what happens: remembers the newest events, hands them to subscribers and to mcpd's own journal, and tells
//! systemd's journal or the terminal through `tracing`, on a thread of its own, for a terminal or a journal that is stuck
//! must not hold the loop up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use mcpd_proto::event::Event;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use crate::journal::{Journal, Reader};

/// Events remembered, so that most who ask what was just now need no disk.
const REMEMBERED: usize = 256;
/// Events a subscriber may lag behind before it has to read them from the journal.
const LAG: usize = 4096;
/// Events the telling thread may lag behind before some are only counted.
const QUEUE: usize = 4096;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Of interest when one looks.
    Debug,
    /// As it should be.
    Info,
    /// Somebody may want to act.
    Warn,
    /// Somebody has to act.
    Error,
}

/// What the telling thread is given.
enum Told {
    Event(Level, Arc<Event>),
    /// Everything before this has been told.
    Mark(mpsc::Sender<()>),
}

/// The newest events, whatever becomes of the disk. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Past {
    events: Arc<Mutex<VecDeque<Arc<Event>>>>,
}

impl Past {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest `most` that are `wanted`, newest first, and the id of the oldest that is remembered at all.
    pub(crate) fn newest(
        &self,
        wanted: impl Fn(&Event) -> bool,
        most: usize,
    ) -> (Vec<Arc<Event>>, Option<u64>) {
        let past = self.lock();
        let found = past.iter().rev().filter(|event| wanted(event)).take(most).cloned().collect();
        (found, past.front().map(|event| event.id))
    }

    /// All that are `wanted`, oldest first, and the id of the oldest that is remembered at all.
    pub(crate) fn all(&self, wanted: impl Fn(&Event) -> bool) -> (Vec<Arc<Event>>, Option<u64>) {
        let past = self.lock();
        let found = past.iter().filter(|event| wanted(event)).cloned().collect();
        (found, past.front().map(|event| event.id))
    }

    /// The one with this id.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Event>> {
        let past = self.lock();
        let place = past.binary_search_by_key(&id, |event| event.id).ok()?;
        past.get(place).cloned()
    }
}

/// Cheap to clone: all clones write to the same place.
#[derive(Clone)]
pub struct Scribe {
    inner: Arc<Inner>,
}

struct Inner {
    past: Past,
    live: broadcast::Sender<Arc<Event>>,
    journal: Journal,
    teller: mpsc::SyncSender<Told>,
    untold: AtomicU64,
}

impl Scribe {
    /// Starts the telling thread.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(journal: Journal) -> std::io::Result<Self> {
        let (teller, queue) = mpsc::sync_channel::<Told>(QUEUE);
        std::thread::Builder::new().name("scribe".into()).stack_size(256 * 1024).spawn(move || {
            while let Ok(told) = queue.recv() {
                match told {
                    Told::Event(level, event) => tell(level, &event),
                    // Whoever waited may have had enough of it.
                    Told::Mark(done) => drop(done.send(())),
                }
            }
        })?;
        let live = broadcast::channel(LAG).0;
        let inner = Inner { past: Past::default(), live, journal, teller, untold: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes events down, in the order of their ids, which is after all before them.
    pub fn write(&self, events: impl IntoIterator<Item = (Level, Event)>) {
        let events: Vec<(Level, Arc<Event>)> =
            events.into_iter().map(|(level, event)| (level, Arc::new(event))).collect();
        {
            let mut past = self.inner.past.lock();
            for (_, event) in &events {
                if past.len() == REMEMBERED {
                    past.pop_front();
                }
                past.push_back(event.clone());
                // Under the lock, so that a subscriber sees each event once: in what was or live.
                let _ = self.inner.live.send(event.clone());
            }
        }
        self.inner.journal.write(events.iter().map(|(_, event)| event.clone()));
        for (level, event) in events {
            if self.inner.teller.try_send(Told::Event(level, event)).is_err() {
                self.inner.untold.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until everything so far is on disk, for `within` at most, and goes on.
    pub fn settle(&self, within: Duration) {
        self.inner.journal.flush(within);
    }

    /// Waits until everything so far has been told, for `within` at most: the last words of the daemon.
    pub fn flush(&self, within: Duration) {
        let (done, told) = mpsc::channel();
        if self.inner.teller.try_send(Told::Mark(done)).is_ok() {
            let _ = told.recv_timeout(within);
        }
        self.inner.journal.close(within);
    }

    /// Reads what was written down.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.inner.journal.clone(), self.inner.past.clone())
    }

    /// Tells up to which id everything has been written, counted or lost.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<u64> {
        self.inner.journal.done()
    }

    /// The events that are `wanted` and remembered, and everything from now on.
    #[must_use]
    pub fn subscribe(&self, wanted: impl Fn(&Event) -> bool) -> Subscription {
        let past = self.inner.past.lock();
        Subscription {
            past: past.iter().filter(|event| wanted(event)).cloned().collect(),
            oldest: past.front().map(|event| event.id),
            newest: past.back().map(|event| event.id),
            live: self.inner.live.subscribe(),
        }
    }
}

/// What a subscriber begins with: no event is missing between what was and what comes, and none is in both.
pub struct Subscription {
    /// Oldest first.
    pub past: Vec<Arc<Event>>,
    /// The id of the oldest that is remembered at all.
    pub oldest: Option<u64>,
    /// The id of the newest.
    pub newest: Option<u64>,
    /// All that come.
    pub live: broadcast::Receiver<Arc<Event>>,
}

fn tell(level: Level, event: &Event) {
    let service = event.service.as_deref().unwrap_or("mcpd");
    let (name, message) = (event.event.as_str(), event.message.as_str());
    let crash = event.data.get("crash_id").and_then(Value::as_str).unwrap_or_default();
    let id = message_id(name);
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(
                target: "mcpd",
                $level,
                mcpd_service = service,
                mcpd_event = name,
                mcpd_crash_id = crash,
                message_id = %id,
                "{service}: {message}"
            )
        };
    }
    match level {
        Level::Debug => say!(tracing::Level::DEBUG),
        Level::Info => say!(tracing::Level::INFO),
        Level::Warn => say!(tracing::Level::WARN),
        Level::Error => say!(tracing::Level::ERROR),
    }
}

/// One fixed 128-bit id per kind of event, as `sd_journal` wants for MESSAGE_ID: two FNV-1a sums of the name.
fn message_id(name: &str) -> String {
    let sum = |start: u64| {
        name.bytes().fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    format!("{:016x}{:016x}", sum(0xcbf2_9ce4_8422_2325), sum(0x6d63_7064_6d63_7064))
}
