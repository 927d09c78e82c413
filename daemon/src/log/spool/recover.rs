//! What a dead daemon has left: what it was doing is brought to an end, and what it had read and not written is found.
//!
//! Reading. Before the passage is entered: it is empty, and no count is noted: nothing has happened. Entered: all of it is
//! there. The count is noted: what is not there any more is in the slot. The slot has its new length: noted twice, it
//! is the same.
//!
//! Writing. The file is as long as it was, and something of the write may be behind that: a file that is not as long as it was
//! to be is cut off there, and the bytes are still in their slots. (The kernel may stop in the middle of a write when its
//! process is killed.) If it is, the write was made, and what was to be noted after it is.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::layout::{Layout, SLOT, SLOTS, STREAMS, VERSION, Writing};
use super::{Held, Spool, Spooled, Whose};
use crate::keeper::{Handle, Kept};
use crate::log::names;
use crate::log::queue::lock;
use crate::log::stamp::Micros;
use crate::sys::{self, Passage, SharedMemory};

/// A stream that is not all written, or that is still read.
#[derive(Debug, Clone, Copy)]
pub(in crate::log) struct Inherited {
    pub(in crate::log) whose: Whose,
    pub(in crate::log) spooled: Spooled,
}

/// Bytes that were read and not written.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::log) struct Piece {
    pub(in crate::log) bytes: Vec<u8>,
    /// The number of the byte after them.
    pub(in crate::log) end: u64,
    pub(in crate::log) at: Micros,
    /// A line is over after them.
    pub(in crate::log) ends: bool,
}

impl Spool {
    /// For the keeper: what it is, and the descriptors.
    #[must_use]
    pub fn handles(&self) -> (String, [Handle<'_>; 3]) {
        let [exit, entry] = self.passage.handles();
        (VERSION.to_string(), [self.layout.0.handle(), exit, entry])
    }

    /// What the keeper has kept of a daemon that is dead: what that one had begun is brought to an end.
    ///
    /// # Errors
    /// When it is nothing that this version of mcpd can read.
    pub fn of(kept: Kept, log_dir: &Path) -> io::Result<Self> {
        let mut spool = Self::as_it_was_left(kept)?;
        spool.end_reading()?;
        spool.end_writing(log_dir);
        spool.inherited = spool.find();
        Ok(spool)
    }

    pub(in crate::log) fn as_it_was_left(kept: Kept) -> io::Result<Self> {
        let other = || io::Error::from(io::ErrorKind::InvalidData);
        if kept.text != Some(VERSION.to_string()) {
            return Err(other());
        }
        let [memory, exit, entry] = <[_; 3]>::try_from(kept.handles).map_err(|_| other())?;
        let memory = SharedMemory::of(memory, Layout::LENGTH)?;
        Ok(Self::with(memory, Passage::of(exit, entry)?))
    }

    fn end_reading(&self) -> io::Result<()> {
        let entry = self.layout.reading();
        let left = self.passage.holds()?;
        if let Some(reading) = entry.get() {
            let count = if reading.count == 0 { left } else { reading.count };
            if left > count || reading.at + count > SLOT {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if count > 0 {
                entry.set_count(count);
                let place = Layout::data(reading.slot) + reading.at + (count - left);
                self.passage.leave(&self.layout.0, place, left)?;
                self.layout.slot(reading.slot).set_length(reading.at + count, false);
            }
            entry.end();
        } else if left > 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    fn end_writing(&self, log_dir: &Path) {
        let mut name = String::new();
        let entry = self.layout.writing();
        if let Some(writing) = entry.get(&mut name) {
            let path = names::current(log_dir, writing.name);
            // What cannot be read or cut was not written as far as anyone can tell.
            if was_written(&path, &writing).unwrap_or(false) {
                self.apply(writing.stream, writing.after);
            }
        }
        entry.end();
    }

    fn find(&self) -> Vec<Inherited> {
        let mut table = lock(&self.table);
        let (streams, slots) = self.layout.used();
        (table.new_stream, table.new_slot) = (streams.min(STREAMS), slots.min(SLOTS));
        for slot in 0..table.new_slot {
            let entry = self.layout.slot(slot);
            let (start, (length, ends)) = (entry.start(), entry.length());
            let held = Held { slot, start, length, ends };
            let stream = entry.stream().filter(|&stream| {
                let entry = self.layout.stream(stream);
                entry.whose().is_some() && length > 0 && held.end() > entry.written()
            });
            if let Some(stream) = stream {
                table.slots.entry(stream).or_default().push_back(held);
            } else {
                entry.free();
                table.free_slots.push(slot);
                table.touched.insert(slot, SLOT);
            }
        }
        for held in table.slots.values_mut() {
            held.make_contiguous().sort_unstable_by_key(|held| held.start);
        }
        let mut found = Vec::new();
        for stream in 0..table.new_stream {
            let entry = self.layout.stream(stream);
            let Some(whose) = entry.whose() else {
                table.free_streams.push(stream);
                continue;
            };
            let end = table.slots.get(&stream).and_then(|held| held.back()).map_or(0, Held::end);
            let spooled = Spooled { stream, offset: end.max(entry.written()) };
            found.push(Inherited { whose, spooled });
        }
        found
    }

    /// What of this stream was read and not written, oldest first, and how many bytes of what it will look like are in the file.
    pub(in crate::log) fn unwritten(&self, spooled: Spooled) -> (Vec<Piece>, u64) {
        let table = lock(&self.table);
        let entry = self.layout.stream(spooled.stream);
        let written = entry.written();
        let pieces = table.slots.get(&spooled.stream).into_iter().flatten().map(|held| {
            let over = usize::try_from(written.saturating_sub(held.start)).unwrap_or(SLOT).min(held.length);
            let mut bytes = vec![0; held.length - over];
            self.layout.0.copy(Layout::data(held.slot) + over, &mut bytes);
            Piece { bytes, end: held.end(), at: self.layout.slot(held.slot).at(), ends: held.ends }
        });
        (pieces.collect(), entry.skip())
    }
}

#[cfg(all(test, unix))]
impl Spool {
    /// What the kernel may do when it kills in the middle of a write: half of it is made.
    pub(in crate::log) fn tear(&self, log_dir: &Path) {
        let mut name = String::new();
        if let Some(writing) = self.layout.writing().get(&mut name)
            && let Ok(file) = OpenOptions::new().append(true).open(names::current(log_dir, writing.name))
            && file
                .metadata()
                .is_ok_and(|found| found.len() == writing.before && sys::inode(&found) == writing.inode)
        {
            let half = usize::try_from(writing.length / 2).unwrap_or(0);
            let _ = io::Write::write_all(&mut &file, &vec![b'?'; half]);
        }
    }
}

/// Otherwise nothing of it is.
fn was_written(path: &Path, writing: &Writing<'_>) -> io::Result<bool> {
    let file: File = OpenOptions::new().write(true).open(path)?;
    let found = file.metadata()?;
    if sys::inode(&found) != writing.inode {
        return Ok(false);
    }
    let written = found.len() >= writing.before + writing.length;
    if !written && found.len() > writing.before {
        file.set_len(writing.before)?;
    }
    Ok(written)
}
