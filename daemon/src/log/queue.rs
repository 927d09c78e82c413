//! What lies between the pump, which must never wait, and a thread that writes, which may wait for a disk.
//!
//! Bounded in bytes. The reader of pipes asks [`Queue::room`] before it reads, so that a slow disk slows the services
//! that print most, each within its share, and never the pump.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcpd_config::spec::{LogFormat, LogSpec};
use mcpd_proto::log::{LogLine, Stream};
use tokio::sync::oneshot;

use super::follow::{Sink, Start};
use super::spool::Progress;
use super::stamp::Micros;

/// Bytes that wait in one queue before services are held back.
pub(super) const LIMIT: usize = 8 * 1024 * 1024;
/// One service's share of [`LIMIT`].
pub(super) const SHARE: usize = 1024 * 1024;
/// A service with less than this in the queue is quiet: it may go on up to twice [`LIMIT`], so that those that flood
/// do not silence the others.
const QUIET: usize = 16 * 1024;
/// The last words of a dead process may fill the queue up to this.
const LAST_WORDS: usize = 4 * LIMIT;
/// One service is read for so many bytes in a row; then it is another's turn.
pub(super) const TURN: usize = 256 * 1024;
/// Buffers from this size on are used again.
const POOLED: usize = 16 * 1024;
/// Buffers that wait for use.
const POOL: usize = 4;

/// What threads know about one service.
pub(super) struct Shared {
    pub(super) id: u32,
    pub(super) name: String,
    /// Bytes in queues.
    pub(super) waiting: AtomicUsize,
    /// Lines dropped since the service was defined.
    pub(super) dropped: AtomicU64,
    pub(super) followers: AtomicUsize,
    /// No longer wanted: to be forgotten when its pipes end.
    pub(super) removed: AtomicBool,
}

/// Records of one service that were read together.
pub(super) struct Batch {
    pub(super) service: Arc<Shared>,
    /// Whose stdout or stderr it is; only the console tells them apart.
    pub(super) stream: Stream,
    pub(super) format: LogFormat,
    pub(super) data: Vec<u8>,
    /// The time of its youngest record.
    pub(super) youngest: Micros,
    /// Bytes of the service itself, without what the format adds.
    pub(super) payload: u64,
    /// Lines left out right before this batch.
    pub(super) missed: u64,
    /// How far its stream is written with it, where that is noted.
    pub(super) progress: Option<Progress>,
    /// For followers alone: it goes into no file.
    pub(super) live_only: bool,
}

/// What is asked of a writing thread, in order.
pub(super) enum Job {
    Define(Arc<Shared>, LogSpec),
    Remove(u32),
    Batch(Batch),
    /// Nothing more comes of a stream whose bytes were noted so far.
    End(Progress),
    Follow {
        service: u32,
        ring: Option<Vec<LogLine>>,
        start: oneshot::Sender<Start>,
        sink: Sink,
    },
    /// The last lines that are written of a service.
    Recall {
        service: u32,
        lines: usize,
        done: Box<dyn FnOnce(Vec<LogLine>) + Send>,
    },
    Reopen,
    /// A service was started again: somebody may have mended its disk before that.
    NewRun(u32),
    Mark(Box<dyn FnOnce() + Send>),
    Stop,
}

#[derive(Default)]
struct Inside {
    jobs: VecDeque<Job>,
    pool: Vec<Vec<u8>>,
}

/// A queue with one thread at each end.
#[derive(Default)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    filled: Condvar,
    emptied: Condvar,
    bytes: AtomicUsize,
}

/// A panic elsewhere leaves a queue as usable as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// How many bytes of this service may be read now.
    pub(super) fn room(&self, service: &Shared) -> usize {
        let (all, own) = (self.bytes.load(Ordering::SeqCst), service.waiting.load(Ordering::SeqCst));
        if all < LIMIT && own < SHARE {
            TURN
        } else if all < 2 * LIMIT && own < QUIET {
            QUIET
        } else {
            0
        }
    }

    /// Whether there is so much room again that a service whose lines are dropped may be written again.
    pub(super) fn relaxed(&self, service: &Shared) -> bool {
        self.bytes.load(Ordering::SeqCst) <= LIMIT / 2 && service.waiting.load(Ordering::SeqCst) <= SHARE / 2
    }

    /// Whether there is room for the last words of a process.
    pub(super) fn takes_last_words(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) < LAST_WORDS
    }

    /// Adds a batch; small ones join the one before if that is of the same kind. `scratch` is left empty.
    pub(super) fn push_batch(&self, mut batch: Batch, scratch: &mut Vec<u8>) {
        let size = scratch.len();
        self.bytes.fetch_add(size, Ordering::SeqCst);
        batch.service.waiting.fetch_add(size, Ordering::SeqCst);
        let mut inside = lock(&self.inside);
        if let Some(Job::Batch(last)) = inside.jobs.back_mut()
            && last.service.id == batch.service.id
            && last.stream == batch.stream
            && last.format == batch.format
            && last.live_only == batch.live_only
            && last.progress.map(|last| last.stream) == batch.progress.map(|progress| progress.stream)
            && batch.missed == 0
            && last.data.len() + size <= TURN
        {
            last.data.extend_from_slice(scratch);
            last.youngest = last.youngest.max(batch.youngest);
            last.payload += batch.payload;
            last.progress = batch.progress;
            scratch.clear();
            return;
        }
        if size < POOLED {
            batch.data = scratch.as_slice().to_vec();
            scratch.clear();
        } else {
            batch.data = std::mem::replace(scratch, inside.pool.pop().unwrap_or_default());
        }
        inside.jobs.push_back(Job::Batch(batch));
        drop(inside);
        self.filled.notify_one();
    }

    /// Adds anything else.
    pub(super) fn push(&self, job: Job) {
        lock(&self.inside).jobs.push_back(job);
        self.filled.notify_one();
    }

    /// The next thing to do; waits for it, and says so before. Memory of a busy time is given back once there is nothing to do.
    pub(super) fn next(&self, rest: impl FnOnce()) -> Job {
        let mut inside = lock(&self.inside);
        if inside.jobs.is_empty() {
            drop(inside);
            rest();
            inside = lock(&self.inside);
        }
        loop {
            if let Some(job) = inside.jobs.pop_front() {
                return job;
            }
            inside.pool = Vec::new();
            if inside.jobs.capacity() > 64 {
                inside.jobs = VecDeque::new();
            }
            inside = self.filled.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A batch is done with: its bytes no longer count.
    pub(super) fn done(&self, batch: Batch) {
        let mut data = batch.data;
        batch.service.waiting.fetch_sub(data.len(), Ordering::SeqCst);
        self.bytes.fetch_sub(data.len(), Ordering::SeqCst);
        let mut inside = lock(&self.inside);
        // Only while more is to come: an idle daemon keeps no buffers.
        if (POOLED..=2 * TURN).contains(&data.capacity())
            && inside.pool.len() < POOL
            && !inside.jobs.is_empty()
        {
            data.clear();
            inside.pool.push(data);
        }
        drop(inside);
        self.emptied.notify_all();
    }

    /// Waits until there is room again, but not past `until`.
    pub(super) fn wait_for_room(&self, until: Instant) {
        let mut inside = lock(&self.inside);
        while self.bytes.load(Ordering::SeqCst) >= LIMIT {
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return;
            }
            inside = self.emptied.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
