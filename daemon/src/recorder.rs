//! Words crash reports and puts them on disk, off the loop, one after the other.

use std::sync::mpsc;

use std::time::Instant;

use mcpd_proto::crash::CrashReport;

use crate::crash::CrashStore;
use crate::crash::storm::{Storm, Verdict};

/// What is looked for only when the report is written: on disks, at the machine.
pub type Completion = Box<dyn FnOnce(&mut CrashReport) + Send>;

/// What became of a report.
#[derive(Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is on disk.
    Written,
    /// It was one too many of its kind, and is counted; `like` is the id of the last one like it.
    Coalesced {
        /// See there.
        like: String,
    },
    /// It is not on disk, for this reason.
    Failed(String),
}

/// A report to make and to write.
pub struct Entry {
    /// Makes the report: wording it takes time that is not the loop's.
    pub report: Box<dyn FnOnce() -> (CrashReport, Completion) + Send>,
    /// Reports kept for its service.
    pub keep: u32,
    /// Called on the recorder's thread with what came of it.
    pub done: Box<dyn FnOnce(CrashReport, Recorded) + Send>,
}

/// The queue to the thread.
#[derive(Clone)]
pub struct Recorder {
    entries: mpsc::Sender<Entry>,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(store: CrashStore) -> std::io::Result<Self> {
        let (entries, queue) = mpsc::channel::<Entry>();
        std::thread::Builder::new().name("recorder".into()).stack_size(256 * 1024).spawn(move || {
            let mut storm = Storm::default();
            while let Ok(Entry { report, keep, done }) = queue.recv() {
                let (mut report, complete) = report();
                let print = report.fingerprint.clone().unwrap_or_default();
                let ends = report.restart.decision != "restart";
                let recorded = match storm.crashed(&print, &report.id, ends, Instant::now()) {
                    Verdict::Count { like } => Recorded::Coalesced { like },
                    Verdict::Write { coalesced } => {
                        report.coalesced = coalesced;
                        complete(&mut report);
                        let written = store.write(&report, keep);
                        written.map_or_else(
                            |error| {
                                storm.failed(&print, coalesced);
                                Recorded::Failed(error.to_string())
                            },
                            |_| Recorded::Written,
                        )
                    }
                };
                done(report, recorded);
            }
        })?;
        Ok(Self { entries })
    }

    /// Queues a report.
    pub fn submit(&self, entry: Entry) {
        let _ = self.entries.send(entry);
    }
}
