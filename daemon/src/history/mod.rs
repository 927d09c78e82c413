//! When was each service available, and what failed? Remembered for years in few bytes: `state_dir/history.jsonl`.
//!
//! The loop says what turned; a thread of its own writes, for a disk that hangs must not hold the loop up. Nothing is
//! synced: the file has to outlive the daemon, and the crash reports, which are synced, say what a power cut takes.
//! Whoever asks reads the file from a worker; nothing of it is kept in memory.
//!
//! | module | answers |
//! |---|---|
//! | `book` | how is it written, and made smaller when it grows? |
//! | `compact` | what stays when it is made smaller? |
//! | `storm` | what is added up while a service fails again and again? |
//! | [`groups`] | which crashes are alike? |
//! | [`tally`] | how long was a service up, how often did it fail? |

mod book;
mod compact;
pub mod groups;
mod storm;
pub mod tally;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use mcpd_proto::crash::CrashSummary;
use mcpd_proto::history::{Is, Record};

pub use self::book::Wanted;

use self::book::Book;
use self::storm::Storms;

/// Records that wait for the disk; one more is lost, and a gap says so.
const QUEUE: usize = 8192;

/// How long whoever reads waits for what is on its way to the file.
const FLUSH: Duration = Duration::from_millis(500);

enum Entry {
    Turned(Arc<str>, Is, Timestamp),
    Crashed(Box<CrashSummary>),
    /// Everything before this is written.
    Mark(mpsc::Sender<()>),
    Close(mpsc::Sender<()>),
}

/// Cheap to clone: all clones write to the same file.
#[derive(Clone)]
pub struct History {
    to: mpsc::SyncSender<Entry>,
    lost: Arc<AtomicU64>,
    path: Arc<Path>,
}

impl History {
    /// Goes on with the history of a state directory. `trouble` is told, once until it is over, when it cannot be written.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(state_dir: &Path, trouble: impl Fn(&Path, &io::Error) + Send + 'static) -> io::Result<Self> {
        let path: Arc<Path> = state_dir.join("history.jsonl").into();
        let seen = last_seen(state_dir, &path);
        let (to, queue) = mpsc::sync_channel::<Entry>(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            book: Book::new(path.to_path_buf()),
            storms: Storms::default(),
            lost: lost.clone(),
            failing: false,
            trouble: Box::new(trouble),
            batch: Vec::new(),
        };
        let began = Record { since: seen, ..Record::new(Timestamp::now().as_microsecond(), "", Is::Life) };
        writer.batch.push(began);
        let run = move || writer.run(&queue);
        std::thread::Builder::new().name("history".into()).stack_size(256 * 1024).spawn(run)?;
        Ok(Self { to, lost, path })
    }

    /// From now on this is so.
    pub fn turned(&self, service: &Arc<str>, is: Is, at: Timestamp) {
        self.send(Entry::Turned(service.clone(), is, at));
    }

    /// It failed.
    pub fn crashed(&self, crash: &CrashSummary) {
        self.send(Entry::Crashed(Box::new(crash.clone())));
    }

    fn send(&self, entry: Entry) {
        // The loop does not wait. Its counter is looked at with the next record that finds room.
        if self.to.try_send(entry).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The records that are wanted, and now and then another, oldest first; what is on its way to the file is waited for. Blocks: call it from a worker.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn read(&self, wanted: Wanted<'_>, each: &mut dyn FnMut(Record)) -> io::Result<()> {
        let (done, written) = mpsc::channel();
        if self.to.try_send(Entry::Mark(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
        book::read(&self.path, wanted, each)
    }

    /// The end: waits until everything is written, for `within` at most.
    pub fn close(&self, within: Duration) {
        let (done, closed) = mpsc::channel();
        if self.to.try_send(Entry::Close(done)).is_ok() {
            let _ = closed.recv_timeout(within);
        }
    }
}

/// When the life before this one was last seen to write something: what it did after that, nobody knows.
fn last_seen(state_dir: &Path, path: &Path) -> Option<i64> {
    let files: [PathBuf; 3] =
        [path.to_path_buf(), state_dir.join("events").join("events.jsonl"), state_dir.join("runs.jsonl")];
    let modified = files.iter().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok());
    Timestamp::try_from(modified.max()?).ok().map(Timestamp::as_microsecond)
}

/// Who hears that the file cannot be written.
type Trouble = Box<dyn Fn(&Path, &io::Error) + Send>;

/// The thread.
struct Writer {
    book: Book,
    storms: Storms,
    lost: Arc<AtomicU64>,
    failing: bool,
    trouble: Trouble,
    batch: Vec<Record>,
}

impl Writer {
    fn run(&mut self, queue: &mpsc::Receiver<Entry>) {
        self.write();
        loop {
            let next = match self.storms.next_end() {
                None => queue.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                Some(end) => {
                    let left = end.saturating_sub(Timestamp::now().as_microsecond());
                    queue.recv_timeout(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
                }
            };
            let (mut marks, mut closed) = (Vec::new(), false);
            match next {
                Ok(entry) => closed |= self.take(entry, &mut marks),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => closed = true,
            }
            // As many as there are go with one write.
            while let Ok(entry) = queue.try_recv() {
                closed |= self.take(entry, &mut marks);
            }
            let now = if closed { i64::MAX } else { Timestamp::now().as_microsecond() };
            self.storms.ended(now, &mut self.batch);
            self.write();
            for mark in marks {
                let _ = mark.send(());
            }
            if closed {
                return;
            }
        }
    }

    /// Says whether that was the last one.
    fn take(&mut self, entry: Entry, marks: &mut Vec<mpsc::Sender<()>>) -> bool {
        if self.lost.swap(0, Ordering::Relaxed) > 0 {
            self.batch.push(Record::new(Timestamp::now().as_microsecond(), "", Is::Gap));
        }
        match entry {
            Entry::Turned(service, is, at) => {
                self.storms.turned(Record::new(at.as_microsecond(), &service, is), &mut self.batch);
            }
            Entry::Crashed(crash) => self.storms.crashed(crash_record(&crash), &mut self.batch),
            Entry::Mark(done) => marks.push(done),
            Entry::Close(done) => {
                marks.push(done);
                return true;
            }
        }
        false
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.book.append(&self.batch) {
            Ok(()) => self.failing = false,
            Err(error) => {
                // What was lost with it is not known: a gap will say so.
                self.lost.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    self.failing = true;
                    (self.trouble)(self.book.path(), &error);
                }
            }
        }
        self.batch.clear();
    }
}

/// A crash as it is remembered: the group's cause, not the whole reason.
fn crash_record(crash: &CrashSummary) -> Record {
    let at = crash.time.parse::<Timestamp>().unwrap_or_else(|_| Timestamp::now()).as_microsecond();
    let restarted = crash.decision == "restart";
    Record {
        id: Some(crash.id.clone()).filter(|id| !id.is_empty()),
        kind: Some(crash.kind),
        group: crash.fingerprint.clone(),
        cause: Some(crash.cause.clone().unwrap_or_else(|| crash.reason.clone())),
        ran: Some(crash.uptime_seconds),
        restarts: u64::from(restarted),
        ..Record::new(at, &crash.service, Is::Crash)
    }
}

#[cfg(test)]
mod tests;
