//! Words crash reports and puts them on disk, off the loop, one after the other.

use std::sync::mpsc;

use mcpd_proto::crash::CrashReport;

use crate::crash::CrashStore;

/// A report to make and to write.
pub struct Entry {
    /// Makes the report: wording it takes time that is not the loop's.
    pub report: Box<dyn FnOnce() -> CrashReport + Send>,
    /// Reports kept for its service.
    pub keep: u32,
    /// Called on the recorder's thread with what came of it.
    pub done: Box<dyn FnOnce(CrashReport, Result<(), String>) + Send>,
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
            while let Ok(Entry { report, keep, done }) = queue.recv() {
                let report = report();
                let result = store.write(&report, keep).map(drop).map_err(|error| error.to_string());
                done(report, result);
            }
        })?;
        Ok(Self { entries })
    }

    /// Queues a report.
    pub fn submit(&self, entry: Entry) {
        let _ = self.entries.send(entry);
    }
}
