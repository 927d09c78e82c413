//! What the daemon tells of itself, as it happens: one `event.subscribe` per daemon, read by a thread of its own.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::spawn;
use std::time::{Duration, Instant};

use mcpd_proto::client::{CallError, Client};
use mcpd_proto::event::Event;
use mcpd_proto::message::FromDaemon;
use serde_json::json;

#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    ended: bool,
}

/// The events of one daemon, from its start on.
#[derive(Clone, Default)]
pub struct Watch {
    shared: Arc<(Mutex<Heard>, Condvar)>,
}

impl Watch {
    /// Subscribes.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn open(socket: &Path) -> Result<Self, CallError> {
        let mut client = Client::connect(socket)?;
        // What is in the journal before that is of earlier lives.
        let began = client.call("event.list", json!({ "events": ["began"], "last": 1 }))?;
        let began = began["events"][0]["id"].as_u64().unwrap_or(1);
        client.send("event.subscribe", json!({ "after": began - 1 }))?;
        let watch = Self::default();
        let mine = watch.clone();
        // It ends when the daemon closes the connection, at the latest with the daemon.
        spawn(move || {
            while let Ok(message) = client.receive() {
                if let FromDaemon::Notification(item) = message
                    && let Ok(event) = serde_json::from_value(item.params)
                {
                    mine.lock().events.push(event);
                    mine.shared.1.notify_all();
                }
            }
            mine.lock().ended = true;
            mine.shared.1.notify_all();
        });
        Ok(watch)
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Waits until the event with this id is heard, or without one until the subscription has ended, at most for `bound`.
    pub fn catch_up(&self, id: Option<u64>, bound: Duration) {
        let deadline = Instant::now() + bound;
        let mut heard = self.lock();
        while !heard.ended && !id.is_some_and(|id| heard.events.iter().rev().any(|event| event.id == id)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            heard = self.shared.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The number of events so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().events.len()
    }

    /// Waits until there are more than `seen` events, at most for `bound`.
    pub fn wait_beyond(&self, seen: usize, bound: Duration) {
        let deadline = Instant::now() + bound;
        let mut heard = self.lock();
        // A subscription that ended tells nothing more: then this is the pause between two looks.
        while heard.events.len() <= seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            heard = self.shared.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
