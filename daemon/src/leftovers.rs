//! Minds what earlier lives of the daemon have left running, until nothing is: hears of their ends, signals them when the
//! core says so, and looks again whenever a service seems to be free of them. On a thread of its own that lives as long as
//! they do: a look reads all of `/proc`.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use crate::sys::{Leftover, Remains, RemainsWaker};

/// What the thread has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// So many processes are left of a service now. Zero is the last word about it.
    Left {
        /// Of which service.
        service: Arc<str>,
        /// So many.
        left: u32,
    },
    /// These got a signal.
    Signalled {
        /// Of which service.
        service: Arc<str>,
        /// Which one.
        signal: i32,
        /// Who.
        whom: Vec<Leftover>,
    },
    /// The ends of some are only noticed by looking now and then; why.
    Blind(String),
}

struct Order {
    service: Arc<str>,
    signal: i32,
}

/// The way to the thread.
pub struct Leftovers {
    orders: mpsc::Sender<Order>,
    waker: RemainsWaker,
}

impl Leftovers {
    /// Starts to mind them. `tell` is called on the thread.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn mind(remains: Remains, tell: impl Fn(Told) + Send + 'static) -> std::io::Result<Self> {
        let (orders, queue) = mpsc::channel();
        let waker = remains.waker();
        let minder = Minder { left: counts(&remains), remains, queue, tell };
        std::thread::Builder::new()
            .name("leftovers".into())
            .stack_size(256 * 1024)
            .spawn(move || minder.work())?;
        Ok(Self { orders, waker })
    }

    /// Sends a signal to all that is left of a service, after another look at who that is.
    pub fn signal(&self, service: Arc<str>, signal: i32) {
        // After the last word nobody is left to be signalled.
        let _ = self.orders.send(Order { service, signal });
        self.waker.wake();
    }
}

struct Minder<T> {
    remains: Remains,
    queue: mpsc::Receiver<Order>,
    tell: T,
    /// What was said last; services of which nothing is left are not in it.
    left: BTreeMap<Arc<str>, u32>,
}

impl<T: Fn(Told)> Minder<T> {
    fn work(mut self) {
        while !self.left.is_empty() {
            if let Some(why) = self.remains.take_blindness() {
                (self.tell)(Told::Blind(why));
            }
            self.remains.wait();
            let orders: Vec<Order> = self.queue.try_iter().collect();
            let now = counts(&self.remains);
            // Before it is said that nothing is left, and before a signal, what was started meanwhile is looked for.
            if !orders.is_empty()
                || !self.remains.is_settled()
                || self.left.keys().any(|service| !now.contains_key(service))
            {
                self.remains.look();
            }
            for Order { service, signal } in orders {
                let whom = self.remains.signal(&service, signal);
                (self.tell)(Told::Signalled { service, signal, whom });
            }
            self.say();
        }
    }

    /// What has changed since it was said last.
    fn say(&mut self) {
        let mut now = counts(&self.remains);
        // What comes to light of a service after the last word about it is not for the core any more.
        now.retain(|service, _| self.left.contains_key(service));
        // That nothing is left is said when nothing can have escaped the look; until then, as much as last time.
        for (service, count) in self.left.iter().filter(|_| !self.remains.is_settled()) {
            now.entry(Arc::clone(service)).or_insert(*count);
        }
        let before = std::mem::replace(&mut self.left, now);
        for (service, count) in before {
            let left = self.left.get(&service).copied().unwrap_or(0);
            if left != count {
                (self.tell)(Told::Left { service, left });
            }
        }
    }
}

/// Processes per service.
fn counts(remains: &Remains) -> BTreeMap<Arc<str>, u32> {
    let mut counts = BTreeMap::new();
    for leftover in remains.leftovers() {
        *counts.entry(leftover.service).or_insert(0) += 1;
    }
    counts
}
