//! Services' output: from their pipes into files, into memory, to whoever reads along. Never through the loop.
//!
//! ```text
//! pipes ==> pump (one thread, waits for pipes only) ==> queue, bounded ==> writer (one thread, waits for disks) -> files
//!             |                                                              '-> followers
//!             '-> last lines in memory                  ==> queue ==> console (one thread) -> mcpd's own stdout, stderr
//! ```
//!
//! What holds everywhere here:
//! - A service never waits for a reader for longer than two seconds, whatever disks, terminals and followers do.
//!   What cannot be written is dropped, counted, and said once.
//! - Output is bytes. A line is cut at 64 KiB, marked, and never changed.
//! - What reached a file is whole: records are never torn, by rotation or by a full disk.
//! - Without output nothing wakes up, and a service that said nothing costs no buffer.
//!
//! | module | answers |
//! |---|---|
//! | [`pump`](self) `pump`, `service` | who reads the pipes, and what do bytes become? |
//! | `frame`, `format`, `stamp` | where does a line end, how does it look, when was it? |
//! | `ring` | what was said last? |
//! | `watch` | has it said what somebody waits for? |
//! | `queue`, `control` | how do the threads talk, and how much may lie between them? |
//! | `recall` | what was said to a daemon that is dead? |
//! | `spool` | what is between a pipe and a file when the daemon is killed? |
//! | `writer`, `file`, `names`, `trouble` | how does a file grow and rotate, and what if the disk will not? |
//! | `console` | who writes to the terminal? |
//! | `follow`, [`read`] | how is a log read, live and afterwards? |

mod console;
mod control;
mod file;
mod follow;
mod format;
mod frame;
mod names;
mod pipe;
mod pump;
mod queue;
pub mod read;
mod recall;
mod ring;
mod service;
mod spool;
mod stamp;
mod trouble;
mod watch;
mod writer;

#[cfg(all(test, unix))]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mcpd_config::spec::LogSpec;
use mcpd_proto::log::LogLine;
use regex::bytes::Regex;

pub use self::follow::{Follow, Follower};
pub use self::pipe::LogPipe;
pub use self::spool::Spool;

use self::console::Outputs;
use self::control::{Command, Control};
use self::queue::{Queue, Shared, lock};
use self::watch::Watch;

/// What the log path needs to know once.
pub struct Settings {
    /// Where the files are; made when it is missing.
    pub log_dir: PathBuf,
    /// Where what was read and is not written yet outlives this process, with what a daemon before it has left there.
    pub spool: Option<Spool>,
    /// Called when lines begin to be lost and when that is over, from the threads of the log path: must not wait.
    pub on_event: Arc<dyn Fn(LogEvent) + Send + Sync>,
}

/// What someone should know about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// A service's lines cannot be written and are dropped until [`LogEvent::Recovered`]. Said once. The service runs on.
    Failing {
        /// Whose lines.
        service: u32,
        /// Its name.
        name: String,
        /// Where they should go: a file, or `stdout` or `stderr`.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// Lines are written again.
    Recovered {
        /// Whose lines.
        service: u32,
        /// Its name.
        name: String,
        /// Where they go.
        path: PathBuf,
        /// Lines lost in between.
        dropped_lines: u64,
        /// The service's bytes lost in between; of a batch that was half written, its share.
        dropped_bytes: u64,
    },
    /// The file cannot be rotated and grows over its limit; nothing is lost. Said once until it works again.
    RotationFailing {
        /// Whose file.
        service: u32,
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
}

/// How much was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Dropped {
    lines: u64,
    bytes: u64,
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

/// The last lines of one run, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tails {
    /// Of its stdout.
    pub stdout: Vec<LogLine>,
    /// Of its stderr.
    pub stderr: Vec<LogLine>,
}

/// The log path of a daemon. Cheap to clone; when the last clone is dropped, its threads end by themselves.
///
/// Nothing here waits, but for [`Logs::stop`]. Answers come through callbacks, called on threads of the log path: they must
/// not wait. After a stop they are dropped without a call.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    control: Arc<Control>,
}

impl Logs {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no poll or no thread.
    pub fn start(settings: Settings) -> io::Result<Self> {
        Self::start_with(settings, Outputs::own())
    }

    fn start_with(settings: Settings, outputs: Outputs) -> io::Result<Self> {
        let Settings { log_dir, spool, on_event } = settings;
        let spool = spool.map(|mut spool| {
            let inherited = spool.take_inherited();
            (Arc::new(spool), inherited)
        });
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), pump::WAKER)?;
        let control = Arc::new(Control::new(waker, on_event));
        let queue = Arc::new(Queue::default());
        let writer = writer::Writer {
            queue: Arc::clone(&queue),
            control: Arc::clone(&control),
            dir: log_dir.clone(),
            spool: spool.as_ref().map(|(spool, _)| Arc::clone(spool)),
        };
        let pump = pump::Pump::new(poll, Arc::clone(&control), Arc::clone(&queue), outputs, log_dir, spool);
        std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run())?;
        let started = std::thread::Builder::new().name("log-pump".into()).spawn(move || pump.run());
        if let Err(error) = started {
            queue.push(queue::Job::Stop);
            return Err(error);
        }
        Ok(Self { inner: Arc::new(Inner { control }) })
    }

    /// Says where a service's lines go; again, when that has changed. `tail_lines` of each stream are kept in memory.
    /// To be called before its first pipe is attached.
    pub fn define(&self, service: u32, name: &str, spec: &LogSpec, tail_lines: u32) {
        let mut services = lock(&self.inner.control.services);
        let shared = match services.get(&service) {
            Some(shared) if shared.name == name => Arc::clone(shared),
            _ => Arc::new(Shared::new(service, name.to_owned())),
        };
        shared.removed.store(false, Ordering::SeqCst);
        services.insert(service, Arc::clone(&shared));
        // Within the lock: who defines last is heard last.
        self.inner.control.ask(Command::Define { shared, spec: spec.clone(), tail_lines });
    }

    /// Forgets a service once its pipes have ended; until then its lines go where they went.
    pub fn remove(&self, service: u32) {
        let services = lock(&self.inner.control.services);
        if let Some(shared) = services.get(&service) {
            shared.removed.store(true, Ordering::SeqCst);
            self.inner.control.ask(Command::Remove(service));
        }
    }

    /// Reads these pipes from now on until they end. `generation` says of which run they are.
    pub fn attach(&self, service: u32, generation: u64, stdout: Option<LogPipe>, stderr: Option<LogPipe>) {
        self.inner.control.ask(Command::Attach { service, generation, stdout, stderr });
    }

    /// The same with pipes of a run that another daemon began at this time: its last lines are in the file, and a line that is
    /// [looked for](Self::watch) may be as well.
    pub fn attach_again(
        &self,
        service: u32,
        generation: u64,
        began: jiff::Timestamp,
        stdout: Option<LogPipe>,
        stderr: Option<LogPipe>,
    ) {
        let began = began.as_microsecond();
        self.inner.control.ask(Command::AttachAgain { service, generation, began, stdout, stderr });
    }

    /// Every service of the daemon before this one is defined, and every pipe of it that is open is attached: of the others
    /// nothing more comes than what that one has read.
    pub fn taken_over(&self) {
        self.inner.control.ask(Command::TakenOver);
    }

    /// Looks for a line that matches in the output of one run, and calls back at the first. To be called before its pipes
    /// are attached; in place of what was looked for before in any run of this service.
    pub fn watch(&self, service: u32, generation: u64, pattern: Regex, found: Box<dyn FnOnce() + Send>) {
        let watch = Watch { generation, pattern, found };
        self.inner.control.ask(Command::Watch { service, watch: Some(watch) });
    }

    /// Nobody waits for a line any more.
    pub fn unwatch(&self, service: u32) {
        self.inner.control.ask(Command::Watch { service, watch: None });
    }

    /// Reads what a run's pipes hold now (at most 2 MiB each), ends its last lines, and gives its tails. To be called when
    /// its main process is gone: a descendant may hold the pipes and goes on being read, but nothing waits for it.
    pub fn drain(&self, service: u32, generation: u64, done: Box<dyn FnOnce(Tails) + Send>) {
        self.inner.control.ask(Command::Drain { service, generation, done });
    }

    /// Gives the last lines in memory, both streams in the order in which they came, of all runs.
    pub fn tail(&self, service: u32, lines: usize, done: Box<dyn FnOnce(Vec<LogLine>) + Send>) {
        self.inner.control.ask(Command::Tail { service, lines, done });
    }

    /// Gives the last lines of the log and then every new one. For a service without a file, the last lines are those in
    /// memory. A service that is not known has no lines, and the follower ends at once.
    #[must_use]
    pub fn follow(&self, service: u32, request: Follow) -> Follower {
        let known = lock(&self.inner.control.services).get(&service).cloned();
        let shared = known.unwrap_or_else(|| Arc::new(Shared::new(service, String::new())));
        let (sink, start, follower) = follow::pair(&shared, request);
        self.inner.control.ask(Command::Follow { service, start, sink });
        follower
    }

    /// Lines of this service that could not be written since it was defined.
    #[must_use]
    pub fn dropped(&self, service: u32) -> u64 {
        let services = lock(&self.inner.control.services);
        services.get(&service).map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Closes the files and opens them again by name, for those who rename them.
    pub fn reopen(&self) {
        self.inner.control.ask(Command::Reopen);
    }

    /// Calls back when everything read so far is written.
    pub fn flush(&self, done: Box<dyn FnOnce() + Send>) {
        self.inner.control.ask(Command::Flush(done));
    }

    /// Reads what the pipes hold, writes it, and ends the threads. Waits for that, but not longer than `within`: a
    /// thread that hangs in a write is left behind.
    pub fn stop(self, within: Duration) {
        let until = Instant::now() + within;
        let (done, all_done) = mpsc::channel();
        self.inner.control.ask(Command::Stop { until, done });
        // Each thread drops its end when it is through.
        let _ = all_done.recv_timeout(within);
    }

    /// How often the reading thread woke up, for the test that idle services cost nothing.
    #[doc(hidden)]
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.inner.control.wakeups.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Reads and writes what is there, with nobody waiting for it.
        let until = Instant::now() + Duration::from_secs(1);
        self.control.ask(Command::Stop { until, done: mpsc::channel().0 });
    }
}
