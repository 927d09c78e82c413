//! What was read from pipes and is not in files yet, in memory that outlives the daemon: when it is killed, the next one writes
//! each line that is missing, once.
//!
//! The keeper holds the descriptors. The memory has two places that say what is being done this moment (one for the
//! pump: [`reading`], one for the writer: [`writing`]), an entry for each stream that is read, and slots of 64 KiB with
//! the bytes. A stream's bytes are numbered from its beginning; those up to `written` are in its file, and `skip` bytes
//! of what the next ones look like there as well, when a rotation came between. Every store leaves the whole such that
//! [`recover`] can go on from it.
//!
//! Without a keeper there is none, and when its slots are all in use a pipe is read as if there was none.

mod layout;
mod reading;
mod recover;
mod writing;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Mutex;

use mcpd_proto::log::Stream;

use self::layout::{Layout, SLOT, SLOTS, STREAMS};
use super::queue::lock;
use crate::sys::{Passage, SharedMemory};

#[cfg(all(test, unix))]
pub(super) use self::layout::deaths;
pub(super) use self::reading::Got;
pub(super) use self::recover::{Inherited, Piece};
pub(super) use self::writing::Ticket;

/// So much may be kept in slots that are free, for the next burst.
const KEPT_FREE: usize = 512 * 1024;

/// The memory, and who has which part of it.
#[derive(Debug)]
pub struct Spool {
    layout: Layout,
    passage: Passage,
    table: Mutex<Table>,
    inherited: Vec<Inherited>,
}

/// What is also in the memory, or can be found out from it.
#[derive(Debug, Default)]
struct Table {
    /// Streams that have bytes in slots: oldest first.
    slots: HashMap<u32, VecDeque<Held>>,
    free_slots: Vec<u32>,
    /// Slots from this one on were never used.
    new_slot: u32,
    free_streams: Vec<u32>,
    new_stream: u32,
    /// How far free slots hold pages, and how much that is.
    touched: HashMap<u32, usize>,
}

/// A slot that is in use.
#[derive(Debug, Clone, Copy)]
struct Held {
    slot: u32,
    /// The number of its first byte.
    start: u64,
    length: usize,
    /// After it a line is over, whether it ends with a newline or not.
    ends: bool,
}

impl Held {
    fn end(&self) -> u64 {
        self.start + self.length as u64
    }
}

/// A stream that is read, as its reader holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spooled {
    pub(super) stream: u32,
    /// Bytes read so far, those of before a takeover among them.
    pub(super) offset: u64,
}

/// How far a stream is written with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) stream: u32,
    pub(super) upto: u64,
}

/// Whose stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Whose {
    pub(super) service: u32,
    pub(super) generation: u64,
    pub(super) stream: Stream,
}

impl Spool {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no room.
    pub fn new() -> io::Result<Self> {
        Ok(Self::with(SharedMemory::new(c"mcpd-spool", Layout::LENGTH)?, Passage::new()?))
    }

    fn with(memory: SharedMemory, passage: Passage) -> Self {
        Self { layout: Layout(memory), passage, table: Mutex::default(), inherited: Vec::new() }
    }

    /// Streams of the daemon before this one that are not all written, or still open.
    pub(super) fn take_inherited(&mut self) -> Vec<Inherited> {
        std::mem::take(&mut self.inherited)
    }

    /// Begins to note how far this stream comes. `None`: there are too many.
    pub(super) fn open(&self, whose: Whose) -> Option<Spooled> {
        let mut table = lock(&self.table);
        let stream = match table.free_streams.pop() {
            Some(stream) => stream,
            None if table.new_stream < STREAMS => {
                table.new_stream += 1;
                self.layout.set_used(table.new_stream, table.new_slot);
                table.new_stream - 1
            }
            None => return None,
        };
        self.layout.stream(stream).begin(whose);
        Some(Spooled { stream, offset: 0 })
    }

    /// A line is over where the stream is now.
    pub(super) fn end_line(&self, spooled: Spooled) {
        let mut table = lock(&self.table);
        let last = table.slots.get_mut(&spooled.stream).and_then(VecDeque::back_mut);
        if let Some(held) = last.filter(|held| held.end() == spooled.offset) {
            held.ends = true;
            self.layout.slot(held.slot).set_length(held.length, true);
        }
    }

    /// All that a stream had to say up to there is written, or given up.
    pub(super) fn settle(&self, progress: Progress) {
        let Progress { stream, upto } = progress;
        self.layout.stream(stream).set_written(upto);
        let mut table = lock(&self.table);
        self.free_slots(&mut table, stream, upto);
    }

    /// The same of all that it will ever have to say: nobody reads it any more. To be asked for after everything else about this
    /// stream, for its entry may be another one's after this.
    pub(super) fn end(&self, progress: Progress) {
        self.settle(progress);
        let mut table = lock(&self.table);
        self.free_slots(&mut table, progress.stream, u64::MAX);
        self.free_stream(&mut table, progress.stream);
    }

    fn free_slots(&self, table: &mut Table, stream: u32, upto: u64) {
        let Some(held) = table.slots.get_mut(&stream) else { return };
        let mut freed = Vec::new();
        while let Some(first) = held.front().filter(|first| first.end() <= upto) {
            self.layout.slot(first.slot).free();
            freed.push(*first);
            held.pop_front();
        }
        if held.is_empty() {
            table.slots.remove(&stream);
        }
        for Held { slot, length, .. } in freed {
            table.free_slots.push(slot);
            let touched = table.touched.entry(slot).or_default();
            *touched = length.max(*touched);
        }
    }

    fn free_stream(&self, table: &mut Table, stream: u32) {
        self.layout.stream(stream).end();
        table.free_streams.push(stream);
    }

    /// Nothing to write for now: gives back what a busy time has used.
    pub(super) fn rest(&self) {
        let mut table = lock(&self.table);
        let Table { touched, slots, .. } = &mut *table;
        if touched.values().sum::<usize>() <= KEPT_FREE {
            return;
        }
        let used: HashSet<u32> = slots.values().flatten().map(|held| held.slot).collect();
        touched.retain(|slot, _| {
            let free = !used.contains(slot);
            if free {
                self.layout.give_back(*slot);
            }
            !free
        });
    }

    /// A slot for the next bytes of a stream: its place, how full it is, and that it is a new one.
    fn slot_for(&self, table: &mut Table, spooled: Spooled) -> Option<(u32, usize, bool)> {
        let last = table.slots.get(&spooled.stream).and_then(VecDeque::back);
        if let Some(held) = last.filter(|held| !held.ends && held.end() == spooled.offset)
            // Not for a rest that is not worth a call.
            && held.length <= SLOT / 2
        {
            return Some((held.slot, held.length, false));
        }
        let slot = match table.free_slots.pop() {
            Some(slot) => slot,
            None if table.new_slot < SLOTS => {
                table.new_slot += 1;
                self.layout.set_used(table.new_stream, table.new_slot);
                table.new_slot - 1
            }
            None => return None,
        };
        Some((slot, 0, true))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_used_again_only_after_the_last_word_about_it() {
        let whose = |generation| Whose { service: 1, generation, stream: Stream::Out };
        let spool = Spool::new().unwrap();
        let first = spool.open(whose(1)).unwrap();
        // What is said of the first one is still on its way to the writer.
        let second = spool.open(whose(2)).unwrap();
        assert_ne!(first.stream, second.stream);
        spool.settle(Progress { stream: first.stream, upto: 70 });
        assert_ne!(spool.open(whose(3)).unwrap().stream, first.stream);
        spool.end(Progress { stream: first.stream, upto: 70 });
        let next = spool.open(whose(4)).unwrap();
        assert_eq!((next.stream, spool.unwritten(next).1), (first.stream, 0));
        assert_eq!(spool.layout.stream(next.stream).written(), 0);
    }
}
