//! Where a process that is just being started writes its number, so that it can be found when the daemon is killed before
//! it has heard of it.
//!
//! A page or two of memory that daemon and keeper share as a descriptor. Whoever starts a process names its key there first;
//! the new process, which shares the daemon's memory until it executes its program, adds its pid. It does so also when the
//! daemon has died meanwhile. An entry is used again once as many more have been started as there are entries; what is
//! known by then is in the ledger.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::MemfdFlags;

use crate::sys::Key;

/// Far more than can be started and not yet be known of.
const ENTRIES: usize = 4096;
/// A key and a pid each.
const BYTES: usize = ENTRIES * 2 * size_of::<AtomicU64>();

/// The entries, in this process's memory for as long as it lives.
#[derive(Debug)]
pub struct Slots {
    memory: NonNull<AtomicU64>,
    file: OwnedFd,
}

// SAFETY: the memory is never unmapped and holds nothing but atomics.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

/// One entry, for the child that fills it in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(NonNull<AtomicU64>);

impl Slot {
    /// From the new process itself: one store.
    pub(super) fn fill(self, pid: libc::pid_t) {
        // SAFETY: it leads into memory of `Slots`, which is never unmapped.
        unsafe { self.0.as_ref() }.store(u64::from(pid.unsigned_abs()), Ordering::Release);
    }
}

impl Slots {
    /// New ones, all empty.
    ///
    /// # Errors
    /// When the system has no room.
    pub fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create(c"mcpd-slots", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, BYTES as u64)?;
        Self::of(file)
    }

    /// Those of an earlier daemon.
    ///
    /// # Errors
    /// When they are none.
    pub fn of(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        if file.metadata()?.len() != BYTES as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let file = OwnedFd::from(file);
        // SAFETY: a new mapping of a file that is as long as this, at a place that the kernel chooses.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                std::os::fd::AsRawFd::as_raw_fd(&file),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, file })
    }

    /// For the keeper.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn entry(&self, key: Key) -> (NonNull<AtomicU64>, NonNull<AtomicU64>) {
        let place = usize::try_from(key % ENTRIES as u64).unwrap_or(0) * 2;
        // SAFETY: within the mapping, for `place` is less than twice the number of entries.
        unsafe { (self.memory.add(place), self.memory.add(place + 1)) }
    }

    /// A process is going to be started by this key.
    pub(super) fn claim(&self, key: Key) -> Slot {
        let (name, pid) = self.entry(key);
        // SAFETY: both lead into the mapping, which is never unmapped.
        unsafe {
            // In this order: nobody takes an old pid for this key's.
            pid.as_ref().store(0, Ordering::Release);
            name.as_ref().store(key, Ordering::Release);
        }
        Slot(pid)
    }

    /// The process that was started by this key; `None`: there is none, or not yet.
    pub fn find(&self, key: Key) -> Option<u32> {
        let (name, pid) = self.entry(key);
        // SAFETY: as in `claim`.
        let (name, pid) = unsafe { (name.as_ref(), pid.as_ref()) };
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
        assert!(Slots::of(rustix::fs::memfd_create(c"other", MemfdFlags::CLOEXEC).unwrap()).is_err());
    }
}
