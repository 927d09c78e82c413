//! Where a process that is just being started writes its number, so that it can be found when the daemon is killed before
//! it has heard of it.
//!
//! A page or two of memory that daemon and keeper share as a descriptor. Whoever starts a process names its key there first;
//! the new process, which shares the daemon's memory until it executes its program, adds its pid. It does so also when the
//! daemon has died meanwhile. An entry is used again once as many more have been started as there are entries; what is
//! known by then is in the ledger.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::shared_memory::SharedMemory;
use crate::sys::Key;

/// Far more than can be started and not yet be known of.
const ENTRIES: usize = 4096;
/// A key and a pid each.
const BYTES: usize = ENTRIES * 2 * size_of::<AtomicU64>();

/// The entries, in this process's memory for as long as it lives.
#[derive(Debug)]
pub struct Slots(&'static SharedMemory);

/// One entry, for the child that fills it in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(&'static AtomicU64);

impl Slot {
    /// From the new process itself: one store.
    pub(super) fn fill(self, pid: libc::pid_t) {
        self.0.store(u64::from(pid.unsigned_abs()), Ordering::Release);
    }
}

impl Slots {
    /// New ones, all empty.
    ///
    /// # Errors
    /// When the system has no room.
    pub fn new() -> io::Result<Self> {
        SharedMemory::new(c"mcpd-slots", BYTES).map(Self::in_memory)
    }

    /// Those of an earlier daemon.
    ///
    /// # Errors
    /// When they are none.
    pub fn of(file: OwnedFd) -> io::Result<Self> {
        SharedMemory::of(file, BYTES).map(Self::in_memory)
    }

    /// A daemon has one of them, to its end.
    fn in_memory(memory: SharedMemory) -> Self {
        Self(Box::leak(Box::new(memory)))
    }

    /// For the keeper.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.0.handle()
    }

    fn entry(&self, key: Key) -> (&'static AtomicU64, &'static AtomicU64) {
        let place = usize::try_from(key % ENTRIES as u64).unwrap_or(0) * 2;
        (self.0.word(place), self.0.word(place + 1))
    }

    /// A process is going to be started by this key.
    pub(super) fn claim(&self, key: Key) -> Slot {
        let (name, pid) = self.entry(key);
        // In this order: nobody takes an old pid for this key's.
        pid.store(0, Ordering::Release);
        name.store(key, Ordering::Release);
        Slot(pid)
    }

    /// The process that was started by this key; `None`: there is none, or not yet.
    pub fn find(&self, key: Key) -> Option<u32> {
        let (name, pid) = self.entry(key);
        let there = name.load(Ordering::Acquire) == key;
        u32::try_from(pid.load(Ordering::Acquire)).ok().filter(|&pid| there && pid != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_written_the_next_one_finds() {
        let slots = Slots::new().unwrap();
        assert_eq!(slots.find(7), None);
        slots.claim(7).fill(4711);
        let next = Slots::of(slots.handle().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!((next.find(7), next.find(8), next.find(7 + 4096)), (Some(4711), None, None));
        let slot = next.claim(7 + 4096);
        assert_eq!((slots.find(7), slots.find(7 + 4096)), (None, None));
        slot.fill(4712);
        assert_eq!((slots.find(7), slots.find(7 + 4096)), (None, Some(4712)));
        let other = SharedMemory::new(c"other", 64).unwrap();
        assert!(Slots::of(other.handle().try_clone_to_owned().unwrap()).is_err());
    }
}
