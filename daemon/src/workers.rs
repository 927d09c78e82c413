//! Who runs what waits for a disk or a network?
//!
//! Threads of our own, not tokio's blocking pool: when the system has no room for one more thread, the pool keeps the
//! work and says nothing, and whoever asked for it waits without bound. Here that is an error at once. One thread is
//! kept, so that a daemon without room for a second one still reads its configuration again.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

use tokio::sync::{Semaphore, oneshot};

/// Stack of a thread: a TLS handshake in a debug build needs more than a few pages; untouched pages cost nothing.
const STACK: usize = 1024 * 1024;

/// Works at a time for clients; the next one waits for its turn.
const FOR_CLIENTS: usize = 128;

type Work = Box<dyn FnOnce() + Send>;

/// The kept thread, and the right to start others. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    kept: SyncSender<Work>,
    turns: Arc<Semaphore>,
}

impl Workers {
    /// Starts the kept thread.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub fn start() -> io::Result<Self> {
        // Without places: work is taken only by a thread that waits for some.
        let (kept, works) = mpsc::sync_channel::<Work>(0);
        start_thread("worker", move || {
            while let Ok(work) = works.recv() {
                work();
            }
        })?;
        Ok(Self { kept, turns: Arc::new(Semaphore::new(FOR_CLIENTS)) })
    }

    /// Begins it at once, on the kept thread when that has nothing to do, else on a new one.
    ///
    /// # Errors
    /// When it needs a new thread and the system has no room for one; then it is not run.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match self.kept.try_send(Box::new(work)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) => start_thread("worker", work),
        }
    }

    /// Runs it for a client, who waits for what comes of it.
    ///
    /// # Errors
    /// As [`Self::run`]; or when it panicked.
    pub async fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.turns.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (done, result) = oneshot::channel();
        self.run(move || {
            let _ = done.send(work());
            drop(turn);
        })?;
        result.await.map_err(|_| io::Error::other("a worker failed"))
    }
}

/// Runs it on a thread of its own, which ends with it.
///
/// # Errors
/// When the system has no room for one; then it is not run.
pub(crate) fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn work_begins_while_other_work_hangs() {
        let workers = Workers::start().unwrap();
        let (done, dones) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        workers
            .run(move || {
                let _ = held.recv();
            })
            .unwrap();
        for number in 0..3 {
            let done = done.clone();
            workers.run(move || done.send(number).unwrap()).unwrap();
        }
        let mut seen: Vec<i32> =
            (0..3).map(|_| dones.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        drop(release);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_next_work_is_done() {
        let workers = Workers::start().unwrap();
        for _ in 0..3 {
            assert!(workers.answer(|| panic!("on purpose")).await.is_err());
            assert_eq!(workers.answer(|| 7).await.unwrap(), 7);
        }
    }
}
