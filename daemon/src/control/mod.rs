//! Clients on the control socket: JSON-RPC 2.0, one object a line.
//!
//! Each connection is a task of its own with named limits, so that whatever one client does (garbage, a line without
//! end, never reading) is felt by nobody else. Sessions decide nothing: they ask the loop, or read files that are not
//! the loop's.

mod listen;
mod method;
mod session;
mod stream;

pub use listen::{BindError, listen};

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crash::CrashStore;
use crate::log::Logs;
use crate::scribe::Scribe;
use crate::shell::message::Message;

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
    /// What happens.
    pub scribe: Scribe,
    /// The sessions, and when they are to end.
    pub sessions: Sessions,
}

/// All sessions together.
#[derive(Clone, Default)]
pub struct Sessions {
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Sessions {
    /// Lets every session finish the answers that are under way, and waits for that; no longer than `within`, for a
    /// client that does not read keeps nobody.
    pub async fn close(&self, within: Duration) {
        self.closing.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(within, self.tasks.wait()).await;
    }
}
