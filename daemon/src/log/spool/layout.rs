//! Where what lies in the memory. A daemon of another version with another layout says so by another number.

use std::sync::atomic::{AtomicU64, Ordering};

use mcpd_proto::log::Stream;

use super::Whose;
use crate::log::stamp::Micros;
use crate::sys::SharedMemory;

/// Of this layout.
pub(super) const VERSION: u32 = 1;
/// Two for each of more services than a machine runs.
pub(super) const STREAMS: u32 = 32 * 1024;
/// Of all streams together.
pub(super) const SLOTS: u32 = 4096;
/// Bytes in a slot: what a pipe holds by default.
pub(super) const SLOT: usize = 64 * 1024;
/// Bytes of a service's name, at most: those of a file's name.
const NAME: usize = 256;

/// Numbers of words.
const READING: usize = 0;
const WRITING: usize = 8;
const WRITING_NAME: usize = 16;
const USED: usize = WRITING_NAME + NAME / size_of::<AtomicU64>();
const STREAM_TABLE: usize = 64;
const SLOT_TABLE: usize = STREAM_TABLE + STREAMS as usize * 4;
const WORDS: usize = SLOT_TABLE + SLOTS as usize * 4;
/// The slots' bytes begin at a page.
const DATA: usize = (WORDS * size_of::<AtomicU64>()).next_multiple_of(SLOT);

#[derive(Debug)]
pub(super) struct Layout(pub(super) SharedMemory);

/// Consecutive words. Stores are seen in the order in which they were made, also by who comes after this process.
#[derive(Clone, Copy)]
struct Words<'a> {
    memory: &'a SharedMemory,
    first: usize,
}

impl Words<'_> {
    fn get(self, number: usize) -> u64 {
        self.memory.word(self.first + number).load(Ordering::SeqCst)
    }

    fn set(self, number: usize, value: u64) {
        #[cfg(test)]
        deaths::step();
        self.memory.word(self.first + number).store(value, Ordering::SeqCst);
    }
}

/// For the test that kills at every step.
#[cfg(test)]
pub(in crate::log) mod deaths {
    use std::cell::Cell;

    /// What such a death unwinds with.
    pub(in crate::log) struct Killed;

    thread_local! {
        /// So many stores of this thread are left to it.
        pub(in crate::log) static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    pub(super) fn step() {
        LEFT.with(|left| match left.get() {
            Some(0) => std::panic::resume_unwind(Box::new(Killed)),
            Some(more) => left.set(Some(more - 1)),
            None => {}
        });
    }
}

impl Layout {
    pub(super) const LENGTH: usize = DATA + SLOTS as usize * SLOT;

    pub(super) fn stream(&self, stream: u32) -> StreamEntry<'_> {
        StreamEntry(self.words(STREAM_TABLE + stream as usize * 4))
    }

    pub(super) fn slot(&self, slot: u32) -> SlotEntry<'_> {
        SlotEntry(self.words(SLOT_TABLE + slot as usize * 4))
    }

    pub(super) fn reading(&self) -> ReadingEntry<'_> {
        ReadingEntry(self.words(READING))
    }

    pub(super) fn writing(&self) -> WritingEntry<'_> {
        WritingEntry(self.words(WRITING), self.words(WRITING_NAME))
    }

    /// How many entries for streams and how many slots were ever used: what lies behind is not to be touched.
    pub(super) fn used(&self) -> (u32, u32) {
        let words = self.words(USED);
        let number = |word| u32::try_from(words.get(word)).unwrap_or(u32::MAX);
        (number(0), number(1))
    }

    pub(super) fn set_used(&self, streams: u32, slots: u32) {
        self.words(USED).set(0, u64::from(streams));
        self.words(USED).set(1, u64::from(slots));
    }

    /// Where a slot's bytes begin.
    pub(super) fn data(slot: u32) -> usize {
        DATA + slot as usize * SLOT
    }

    pub(super) fn give_back(&self, slot: u32) {
        self.0.give_back(Self::data(slot), SLOT);
    }

    fn words(&self, first: usize) -> Words<'_> {
        Words { memory: &self.0, first }
    }
}

/// Whose it is, the run's generation, bytes written, bytes of the next records' form that are written as well.
pub(super) struct StreamEntry<'a>(Words<'a>);

impl StreamEntry<'_> {
    pub(super) fn begin(&self, whose: Whose) {
        self.0.set(1, whose.generation);
        self.0.set(2, 0);
        self.0.set(3, 0);
        let stream = match whose.stream {
            Stream::Out => 2,
            Stream::Err => 3,
        };
        self.0.set(0, u64::from(whose.service) << 2 | stream);
    }

    pub(super) fn end(&self) {
        self.0.set(0, 0);
    }

    pub(super) fn whose(&self) -> Option<Whose> {
        let word = self.0.get(0);
        let stream = match word & 3 {
            2 => Stream::Out,
            3 => Stream::Err,
            _ => return None,
        };
        Some(Whose { service: u32::try_from(word >> 2).ok()?, generation: self.0.get(1), stream })
    }

    pub(super) fn written(&self) -> u64 {
        self.0.get(2)
    }

    pub(super) fn skip(&self) -> u64 {
        self.0.get(3)
    }

    /// Also in the middle of a write that is noted: [`WritingEntry`] says the same of it.
    pub(super) fn set_written(&self, upto: u64) {
        self.0.set(2, upto);
        self.0.set(3, 0);
    }

    pub(super) fn set_skip(&self, skip: u64) {
        self.0.set(3, skip);
    }
}

/// Its stream and one, the number of the first byte, how many there are, when they were read.
pub(super) struct SlotEntry<'a>(Words<'a>);

const ENDS: u64 = 1 << 32;

impl SlotEntry<'_> {
    pub(super) fn begin(&self, stream: u32, start: u64) {
        self.0.set(1, start);
        self.0.set(2, 0);
        self.0.set(0, u64::from(stream) + 1);
    }

    pub(super) fn free(&self) {
        self.0.set(0, 0);
    }

    pub(super) fn stream(&self) -> Option<u32> {
        u32::try_from(self.0.get(0).checked_sub(1)?).ok().filter(|&stream| stream < STREAMS)
    }

    pub(super) fn start(&self) -> u64 {
        self.0.get(1)
    }

    /// And whether a line is over after them.
    pub(super) fn length(&self) -> (usize, bool) {
        let word = self.0.get(2);
        let length = usize::try_from(word & (ENDS - 1)).unwrap_or(SLOT).min(SLOT);
        (length, word & ENDS != 0)
    }

    pub(super) fn set_length(&self, length: usize, ends: bool) {
        self.0.set(2, length as u64 | if ends { ENDS } else { 0 });
    }

    pub(super) fn at(&self) -> Micros {
        self.0.get(3).cast_signed()
    }

    pub(super) fn set_at(&self, at: Micros) {
        self.0.set(3, at.cast_unsigned());
    }
}

/// Whether something is being read, into which slot, behind how many bytes, and how many once that is known.
pub(super) struct ReadingEntry<'a>(Words<'a>);

pub(super) struct Reading {
    pub(super) slot: u32,
    pub(super) at: usize,
    pub(super) count: usize,
}

impl ReadingEntry<'_> {
    pub(super) fn begin(&self, slot: u32, at: usize) {
        self.0.set(1, u64::from(slot));
        self.0.set(2, at as u64);
        self.0.set(3, 0);
        self.0.set(0, 1);
    }

    pub(super) fn set_count(&self, count: usize) {
        self.0.set(3, count as u64);
    }

    pub(super) fn end(&self) {
        self.0.set(0, 0);
    }

    pub(super) fn get(&self) -> Option<Reading> {
        if self.0.get(0) == 0 {
            return None;
        }
        Some(Reading {
            slot: u32::try_from(self.0.get(1)).ok().filter(|&slot| slot < SLOTS)?,
            at: usize::try_from(self.0.get(2)).ok().filter(|&at| at <= SLOT)?,
            count: usize::try_from(self.0.get(3)).ok().filter(|&count| count <= SLOT)?,
        })
    }
}

/// Whether something is being written, and what.
pub(super) struct WritingEntry<'a>(Words<'a>, Words<'a>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Writing<'a> {
    pub(super) stream: u32,
    /// Of the stream, once this is written; `None`: it is only so many bytes more of its next records.
    pub(super) after: After,
    /// The file's length before, and how much comes to it.
    pub(super) before: u64,
    pub(super) length: u64,
    pub(super) inode: u64,
    /// The service, which is the file's name.
    pub(super) name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Written(u64),
    Skip(u64),
}

impl WritingEntry<'_> {
    pub(super) fn begin(&self, writing: Writing<'_>) -> bool {
        let Self(words, name) = self;
        if writing.name.len() > NAME {
            return false;
        }
        let (kind, value) = match writing.after {
            After::Written(upto) => (1, upto),
            After::Skip(skip) => (2, skip),
        };
        words.set(1, u64::from(writing.stream));
        words.set(2, value);
        words.set(3, writing.before);
        words.set(4, writing.length);
        words.set(5, writing.inode);
        words.set(6, writing.name.len() as u64);
        for (number, bytes) in writing.name.as_bytes().chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            name.set(number, u64::from_le_bytes(word));
        }
        words.set(0, kind);
        true
    }

    pub(super) fn end(&self) {
        self.0.set(0, 0);
    }

    /// What was being written; the name is put into `to`.
    pub(super) fn get<'a>(&self, to: &'a mut String) -> Option<Writing<'a>> {
        let Self(words, name) = self;
        let after = match words.get(0) {
            1 => After::Written(words.get(2)),
            2 => After::Skip(words.get(2)),
            _ => return None,
        };
        let length = usize::try_from(words.get(6)).ok().filter(|&length| length <= NAME)?;
        let bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|n| name.get(n).to_le_bytes()).collect();
        to.push_str(std::str::from_utf8(bytes.get(..length)?).ok()?);
        Some(Writing {
            stream: u32::try_from(words.get(1)).ok().filter(|&stream| stream < STREAMS)?,
            after,
            before: words.get(3),
            length: words.get(4),
            inode: words.get(5),
            name: to,
        })
    }
}
