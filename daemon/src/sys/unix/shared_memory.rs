//! Memory that outlives this process with whoever holds its descriptor.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, MemfdFlags};

/// A file in memory of a fixed length, mapped. Pages that nobody has touched take no room.
///
/// Words are atomic. Bytes belong to who uses this: those of one place must not be written and read at the same time.
#[derive(Debug)]
pub struct SharedMemory {
    start: NonNull<u8>,
    length: usize,
    file: OwnedFd,
}

// SAFETY: the mapping is there as long as this is; its words are atomics, and bytes are copied under their users' lock.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: nothing that was given out outlives this.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

impl SharedMemory {
    /// New, all zeroes.
    ///
    /// # Errors
    /// When the system has no room.
    pub fn new(name: &CStr, length: usize) -> io::Result<Self> {
        let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        Self::of(file, length)
    }

    /// What an earlier process has left.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of(file: OwnedFd, length: usize) -> io::Result<Self> {
        let file = File::from(file);
        if file.metadata()?.len() != length as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: a new mapping of a file that is as long as this, at a place that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length, file: file.into() })
    }

    /// For the keeper.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The word of this number.
    pub fn word(&self, number: usize) -> &AtomicU64 {
        let words = self.length / size_of::<AtomicU64>();
        assert!(number < words, "word {number} of {words}");
        // SAFETY: within the mapping, which begins at a page and is there as long as this is; any bits are a number.
        unsafe { self.start.cast::<AtomicU64>().add(number).as_ref() }
    }

    /// Copies bytes out.
    pub fn copy(&self, at: usize, to: &mut [u8]) {
        self.check(at, to.len());
        // SAFETY: within the mapping, and `to` is no part of it: it is nothing but a mapping, of which no reference is given.
        unsafe { std::ptr::copy_nonoverlapping(self.start.as_ptr().add(at), to.as_mut_ptr(), to.len()) }
    }

    /// Reads from a descriptor, at most `most` bytes, as `read(2)` does.
    pub(super) fn read(&self, from: BorrowedFd<'_>, at: usize, most: usize) -> io::Result<usize> {
        self.check(at, most);
        // SAFETY: within the mapping.
        let count = unsafe { libc::read(from.as_raw_fd(), self.start.as_ptr().add(at).cast(), most) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Gives back the pages of a part that is not needed for now; it is all zeroes then. To be asked for whole pages.
    pub fn give_back(&self, at: usize, length: usize) {
        self.check(at, length);
        // Where it cannot be done the pages stay.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.file, flags, at as u64, length as u64);
    }

    fn check(&self, at: usize, length: usize) {
        let end = at.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.length), "{length} bytes at {at} of {}", self.length);
    }
}
