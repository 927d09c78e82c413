//! What is said and counted when lines cannot be written: once when it begins, once when it is over.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::control::Control;
use super::file::RETRY;
use super::queue::{Batch, Shared};
use super::{Dropped, LogEvent};

/// Whether one service's lines can be written, and what was lost since they could not.
#[derive(Default)]
pub(super) struct Trouble(Option<Box<Episode>>);

struct Episode {
    dropped: Dropped,
    /// No try before this.
    retry: Instant,
}

impl Trouble {
    /// It failed a moment ago; trying again would only cost time.
    pub(super) fn waits(&self) -> bool {
        self.0.as_ref().is_some_and(|episode| Instant::now() < episode.retry)
    }

    /// Something has changed: the next batch is a try again.
    pub(super) fn try_again(&mut self) {
        if let Some(episode) = &mut self.0 {
            episode.retry = Instant::now();
        }
    }

    /// The last try failed.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The last `unwritten` bytes of the batch are lost.
    pub(super) fn lose(&mut self, batch: &Batch, unwritten: usize) {
        let lost = &batch.data[batch.data.len() - unwritten..];
        let lines = memchr::memchr_iter(b'\n', lost).count() as u64;
        // Of a batch that was written in part, the service's own bytes are known in proportion only.
        let share = u128::from(batch.payload) * unwritten as u128 / batch.data.len().max(1) as u128;
        let dropped = Dropped { lines: lines.max(1), bytes: u64::try_from(share).unwrap_or(u64::MAX) };
        batch.service.dropped.fetch_add(dropped.lines, Ordering::Relaxed);
        if let Some(episode) = &mut self.0 {
            episode.dropped += dropped;
        }
    }

    /// Writing failed.
    pub(super) fn failed(&mut self, control: &Control, service: &Shared, path: &Path, error: &io::Error) {
        let retry = Instant::now() + RETRY;
        match &mut self.0 {
            Some(episode) => episode.retry = retry,
            None => {
                self.0 = Some(Box::new(Episode { dropped: Dropped::default(), retry }));
                control.say(LogEvent::Failing {
                    service: service.id,
                    name: service.name.clone(),
                    path: path.to_owned(),
                    error: error.to_string(),
                });
            }
        }
    }

    /// Writing worked.
    pub(super) fn worked(&mut self, control: &Control, service: &Shared, path: &Path) {
        if let Some(episode) = self.0.take() {
            control.say(LogEvent::Recovered {
                service: service.id,
                name: service.name.clone(),
                path: path.to_owned(),
                dropped_lines: episode.dropped.lines,
                dropped_bytes: episode.dropped.bytes,
            });
        }
    }
}
