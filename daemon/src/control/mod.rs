//! Clients on the control socket: JSON-RPC 2.0, one object a line.
//!
//! Each connection is a task of its own with named limits, so that whatever one client does (garbage, a line without
//! end, never reading) is felt by nobody else. Sessions decide nothing: they ask the loop, or read files that are not
//! the loop's.

mod asker;
mod events;
mod listen;
mod method;
mod numbers;
mod order;
mod session;
mod stream;

pub use asker::Asker;
pub use listen::{BindError, listen};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcpd_proto::error::{ErrorObject, Kind};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crash::CrashStore;
use crate::history::History;
use crate::journal::Reader;
use crate::log::Logs;
use crate::scribe::Scribe;
use crate::shell::message::Message;
use crate::workers::Workers;

/// What sessions work with.
#[derive(Clone)]
pub struct Desk {
    /// To the loop.
    pub outbox: mpsc::Sender<Message>,
    /// What services print.
    pub logs: Logs,
    /// Where logs are.
    pub log_dir: std::path::PathBuf,
    /// Crash reports.
    pub store: CrashStore,
    /// What is remembered of each service.
    pub history: History,
    /// What happens.
    pub scribe: Scribe,
    /// What happened.
    pub journal: Reader,
    /// Run what waits for a disk.
    pub workers: Workers,
    /// The sessions, and when they are to end.
    pub sessions: Sessions,
}

/// All sessions together.
#[derive(Clone, Default)]
pub struct Sessions {
    /// Places for readers of logs: each may hold lines that its client does not take.
    log_readers: Arc<AtomicUsize>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// Clients that read logs at a time, `logs -f` included; one more is told so. What each may hold back is bounded in
/// bytes, so this bounds the whole.
const LOG_READERS: usize = 64;

/// A place among the readers of logs, given back when dropped.
struct LogReader(Arc<AtomicUsize>);

impl Drop for LogReader {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sessions {
    fn log_reader(&self) -> Result<LogReader, ErrorObject> {
        if self.log_readers.fetch_add(1, Ordering::Relaxed) >= LOG_READERS {
            self.log_readers.fetch_sub(1, Ordering::Relaxed);
            let message =
                format!("{LOG_READERS} clients are reading logs already: try again when one has ended");
            return Err(ErrorObject::new(Kind::DaemonBusy, message));
        }
        Ok(LogReader(self.log_readers.clone()))
    }

    /// Lets every session finish the answers that are under way, and waits for that; no longer than `within`, for a
    /// client that does not read keeps nobody.
    pub async fn close(&self, within: Duration) {
        self.closing.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(within, self.tasks.wait()).await;
    }
}
