//! The pump's side: from a pipe into a slot.

use std::io;

use super::layout::{Layout, SLOT};
use super::{Held, Spool, Spooled};
use crate::log::pipe::LogPipe;
use crate::log::queue::lock;
use crate::log::stamp::Micros;

/// What came of it.
pub(in crate::log) struct Got {
    pub(in crate::log) count: usize,
    /// There was no more, for now.
    pub(in crate::log) emptied: bool,
}

impl Spool {
    /// Reads like `read(2)`, and has the bytes in a slot besides. `None`: there is no slot, or no such way out of this pipe.
    pub(in crate::log) fn read(
        &self,
        spooled: &mut Spooled,
        from: &LogPipe,
        buffer: &mut [u8],
        at: Micros,
    ) -> Option<io::Result<Got>> {
        // The whole time: a slot that is being filled is not to be freed.
        let mut table = lock(&self.table);
        let (slot, length, new) = self.slot_for(&mut table, *spooled)?;
        let entry = self.layout.slot(slot);
        if new {
            entry.begin(spooled.stream, spooled.offset);
        }
        entry.set_at(at);
        let filled = self.fill(slot, length, from, buffer);
        let count = filled.as_ref().map_or(0, |(_, here)| *here);
        if count == 0 && new {
            entry.free();
            table.free_slots.push(slot);
        } else if new {
            let held = Held { slot, start: spooled.offset, length: count, ends: false };
            table.slots.entry(spooled.stream).or_default().push_back(held);
        } else if let Some(last) = table.slots.get_mut(&spooled.stream).and_then(|held| held.back_mut()) {
            last.length += count;
        }
        match filled {
            Ok((got, _)) => {
                spooled.offset += got.count as u64;
                Some(Ok(got))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// See [`recover`](super::recover) for what a death between any two of these steps leaves. Says also how many bytes the
    /// slot has of it.
    fn fill(&self, slot: u32, at: usize, from: &LogPipe, buffer: &mut [u8]) -> io::Result<(Got, usize)> {
        let reading = self.layout.reading();
        reading.begin(slot, at);
        let most = buffer.len().min(SLOT - at);
        let (count, emptied) = self.passage.enter(from, most).inspect_err(|_| reading.end())?;
        let mut here = count;
        if count > 0 {
            reading.set_count(count);
            let place = Layout::data(slot) + at;
            if self.passage.leave(&self.layout.0, place, count).is_err() {
                // The system has no page for it. Then it is as without a spool.
                here = count - self.passage.holds()?.min(count);
                self.passage.read(&mut buffer[here..count])?;
            }
            self.layout.slot(slot).set_length(at + here, false);
            self.layout.0.copy(place, &mut buffer[..here]);
        }
        reading.end();
        Ok((Got { count, emptied }, here))
    }
}
