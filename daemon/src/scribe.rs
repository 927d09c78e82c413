//! Writes down what happens: remembers the newest events, hands them to subscribers, and tells the journal or the
//! terminal through `tracing`, on a thread of its own, for a terminal or a journal that is stuck must not hold the
//! loop up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use mcpd_proto::event::Event;
use serde_json::Value;
use tokio::sync::broadcast;

/// Events remembered for `event.subscribe`'s backlog.
const REMEMBERED: usize = 1000;
/// Events a subscriber may lag behind before it misses some.
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

/// Cheap to clone: all clones write to the same place.
#[derive(Clone)]
pub struct Scribe {
    inner: Arc<Inner>,
}

struct Inner {
    past: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
    teller: mpsc::SyncSender<Told>,
    untold: AtomicU64,
}

impl Scribe {
    /// Starts the telling thread.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start() -> std::io::Result<Self> {
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
        let inner = Inner {
            past: Mutex::new(VecDeque::new()),
            live: broadcast::channel(LAG).0,
            teller,
            untold: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes an event down.
    pub fn write(&self, level: Level, event: Event) {
        let event = Arc::new(event);
        {
            let mut past = self.inner.past.lock().unwrap_or_else(PoisonError::into_inner);
            if past.len() == REMEMBERED {
                past.pop_front();
            }
            past.push_back(event.clone());
            // Under the lock, so that a subscriber sees each event once: in the backlog or live.
            let _ = self.inner.live.send(event.clone());
        }
        if self.inner.teller.try_send(Told::Event(level, event)).is_err() {
            self.inner.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far has been told, for `within` at most: the last words of the daemon.
    pub fn flush(&self, within: Duration) {
        let (done, told) = mpsc::channel();
        if self.inner.teller.try_send(Told::Mark(done)).is_ok() {
            let _ = told.recv_timeout(within);
        }
    }

    /// The last `backlog` events that are `wanted`, and everything after them.
    #[must_use]
    pub fn subscribe(
        &self,
        wanted: impl Fn(&Event) -> bool,
        backlog: usize,
    ) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = self.inner.past.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Arc<Event>> =
            past.iter().rev().filter(|event| wanted(event)).take(backlog).cloned().collect();
        found.reverse();
        (found, self.inner.live.subscribe())
    }
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
