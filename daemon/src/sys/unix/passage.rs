//! The way from a service's pipe into memory that outlives this process, on which no byte gets lost when it is killed.
//!
//! `read(2)` takes bytes out of a pipe before the reader can note how many. So they are moved to a pipe of our own first
//! (`splice(2)`: the pages change hands, nothing is copied), which the keeper holds as well and nobody else writes into.
//! Whatever is killed between two steps, what is still in that pipe tells how far it came.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags};

use super::shared_memory::SharedMemory;

/// The pipe in between.
#[derive(Debug)]
pub struct Passage {
    exit: OwnedFd,
    entry: OwnedFd,
    buffers: usize,
}

/// As many bytes as an unprivileged user may ask for (`/proc/sys/fs/pipe-max-size`).
const LARGEST: usize = 1024 * 1024;
/// Buffers of a new pipe, see `pipe(7)`.
const SMALLEST: usize = 16;

impl Passage {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no room.
    pub fn new() -> io::Result<Self> {
        let (exit, entry) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Of a user who has too many large ones it stays small.
        let _ = rustix::pipe::fcntl_setpipe_size(&entry, LARGEST);
        Self::of(exit, entry)
    }

    /// The one of an earlier daemon.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(exit: OwnedFd, entry: OwnedFd) -> io::Result<Self> {
        let buffers = rustix::pipe::fcntl_getpipe_size(&entry)? / rustix::param::page_size();
        Ok(Self { exit, entry, buffers: buffers.max(SMALLEST) })
    }

    /// For the keeper.
    pub fn handles(&self) -> [BorrowedFd<'_>; 2] {
        [self.exit.as_fd(), self.entry.as_fd()]
    }

    /// Takes at most `most` bytes in. 0: the other end is closed. The second says that there was no more, for now.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, and what `splice(2)` says.
    pub fn enter(&self, from: &super::LogPipe, most: usize) -> io::Result<(usize, bool)> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let count = rustix::pipe::splice(from, None, &self.entry, None, most, flags)?;
        // A buffer has a byte at least: so few of them did not fill it.
        Ok((count, count < most && count < self.buffers))
    }

    /// Takes out exactly so many bytes, which are there.
    ///
    /// # Errors
    /// When they are not.
    pub fn leave(&self, memory: &SharedMemory, at: usize, count: usize) -> io::Result<()> {
        let mut done = 0;
        while done < count {
            match memory.read(self.exit.as_fd(), at + done, count - done) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes out what is in it, into memory of this process.
    ///
    /// # Errors
    /// When there is less.
    pub fn read(&self, mut to: &mut [u8]) -> io::Result<()> {
        while !to.is_empty() {
            let count = rustix::io::read(&self.exit, &mut *to)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to = &mut to[count..];
        }
        Ok(())
    }

    /// Bytes that are in it.
    ///
    /// # Errors
    /// When it is no pipe.
    pub fn holds(&self) -> io::Result<usize> {
        Ok(usize::try_from(rustix::io::ioctl_fionread(&self.exit)?).unwrap_or(usize::MAX))
    }
}
