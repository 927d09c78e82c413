//! The thread that writes: batches to the file, a new file when that is full, and what happens while it cannot.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mcpd_proto::SCHEMA;
use mcpd_proto::event::Event;

use super::storm::{Coalesced, Storms};
use super::{News, files, words};
use crate::sys;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A file of this size is full; one batch may be beyond it.
    pub(super) full: u64,
    /// Files that are kept, the one that is written to included.
    pub(super) files: usize,
    /// Bytes that are written at once.
    pub(super) batch: usize,
}

pub(super) const LIMITS: Limits = Limits { full: 16 * 1024 * 1024, files: 16, batch: 256 * 1024 };

/// Records that are kept while the disk takes none.
const HELD: usize = 1000;
/// Between two attempts while the disk takes none.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Writer<F> {
    dir: PathBuf,
    limits: Limits,
    tell: F,
    file: Option<Open>,
    /// What is not on disk yet, oldest first.
    waiting: VecDeque<Arc<Event>>,
    storms: Storms,
    /// Since when the disk takes nothing, and when it was asked last.
    failing: Option<Instant>,
    /// Records that will never be on disk.
    lost: u64,
    last_id: u64,
}

struct Open {
    file: File,
    size: u64,
    /// The id of its first record; `None`: it has none.
    first: Option<u64>,
    /// Its last line has no end.
    torn: bool,
}

impl<F: Fn(News)> Writer<F> {
    pub(super) fn new(dir: PathBuf, limits: Limits, last_id: u64, tell: F) -> Self {
        Self {
            dir,
            limits,
            tell,
            file: None,
            waiting: VecDeque::new(),
            storms: Storms::default(),
            failing: None,
            lost: 0,
            last_id,
        }
    }

    /// When it has something to do even if nothing comes.
    pub(super) fn wakes(&self) -> Option<Instant> {
        self.storms.next_end()
    }

    /// Takes what came, and `lost` that could not; writes what there is.
    pub(super) fn take(&mut self, events: &mut Vec<Arc<Event>>, lost: u64, now: Instant) {
        self.lost += lost;
        for coalesced in self.storms.ended(now) {
            (self.tell)(News::Coalesced(coalesced));
        }
        for event in events.drain(..) {
            self.last_id = self.last_id.max(event.id);
            if self.storms.admits(&event, now) {
                self.waiting.push_back(event);
            }
        }
        if self.failing.is_none_or(|last| now >= last + AGAIN) {
            self.write(now);
        }
        if self.failing.is_some() {
            let beyond = self.waiting.len().saturating_sub(HELD);
            self.waiting.drain(..beyond);
            self.lost += beyond as u64;
        }
    }

    /// The end: nothing comes any more.
    pub(super) fn close(&mut self, now: Instant) {
        for coalesced in self.storms.all() {
            // Nobody is there to give it a number: it is the last one.
            self.last_id += 1;
            let time = format!("{:.6}", Timestamp::now());
            self.waiting.push_back(Arc::new(record(self.last_id, time, &coalesced)));
        }
        self.write(now);
        if let Some(open) = &self.file {
            // Of no consequence: what the daemon has written outlives it all the same.
            let _ = open.file.sync_data();
        }
    }

    fn write(&mut self, now: Instant) {
        if self.waiting.is_empty() {
            return;
        }
        match self.try_to_write() {
            Ok(()) => {
                let lost = std::mem::take(&mut self.lost);
                if self.failing.take().is_some() || lost > 0 {
                    (self.tell)(News::Recovered { lost });
                }
            }
            Err(error) => {
                self.file = None;
                if self.failing.replace(now).is_none() {
                    (self.tell)(News::Failing { path: files::active(&self.dir), error: error.to_string() });
                }
            }
        }
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        while let Some(next) = self.waiting.front().map(|event| event.id) {
            self.make_room(next)?;
            let Some(open) = &mut self.file else { return Ok(()) };
            bytes.clear();
            if open.torn {
                bytes.push(b'\n');
            }
            let mut ends = Vec::new();
            for event in &self.waiting {
                serde_json::to_writer(&mut bytes, &**event)?;
                bytes.push(b'\n');
                ends.push(bytes.len());
                if bytes.len() >= self.limits.batch {
                    break;
                }
            }
            let (written, result) = write_all(&mut open.file, &bytes);
            let whole = ends.iter().filter(|end| **end <= written).count();
            if open.first.is_none() && whole > 0 {
                open.first = Some(next);
            }
            self.waiting.drain(..whole);
            open.size += written as u64;
            open.torn = false;
            result?;
        }
        Ok(())
    }

    /// Sees to it that there is a file with room; `next` is the id of the next record.
    fn make_room(&mut self, next: u64) -> io::Result<()> {
        let path = files::active(&self.dir);
        let open = match self.file.take() {
            Some(open) => open,
            None => {
                sys::make_private_dir(&self.dir)?;
                Open::at(&path)?
            }
        };
        if open.size < self.limits.full {
            self.file = Some(open);
            return Ok(());
        }
        open.file.sync_data()?;
        let first = open.first.unwrap_or(next);
        drop(open);
        fs::rename(&path, files::full(&self.dir, first))?;
        let full_ones = files::full_ones(&self.dir)?;
        let spare = (full_ones.len() + 1).saturating_sub(self.limits.files);
        for (_, path) in &full_ones[..spare] {
            fs::remove_file(path)?;
        }
        self.file = Some(Open::at(&path)?);
        Ok(())
    }
}

impl Open {
    /// Opens it for appending.
    fn at(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let first = super::scan::Piece::new(file.try_clone()?, None)?.first;
        Ok(Self { file, size, first, torn: last != *b"\n" })
    }
}

/// How much of it is in the file, and whether that is all.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// The record of what was only counted.
fn record(id: u64, time: String, coalesced: &Coalesced) -> Event {
    Event {
        schema: SCHEMA,
        id,
        cause: None,
        time,
        service: coalesced.service.clone(),
        event: "coalesced".into(),
        message: words(coalesced),
        data: super::data(coalesced),
    }
}
