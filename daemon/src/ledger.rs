//! What the next daemon has to know, written down as it comes to be: a file in memory that the keeper holds.
//!
//! A page is a line of JSON, written by one call before what it says is acted upon. What a daemon was killed in the middle
//! of writing has no end of line, and is none: it was not acted upon either. The first page is everything, each
//! after it what has changed. When those have become more than the first one, everything is written anew, into
//! another file: the keeper has the old one until it has that.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::keeper::Handle;
use crate::sys;

/// Changes may take so much room besides what the first page takes.
const SPARE: u64 = 1024 * 1024;
/// So much is read: a thousand services take some megabytes.
const MOST: u64 = 1024 * 1024 * 1024;

/// The file, open for writing.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    first: u64,
    changes: u64,
}

impl Ledger {
    /// A new one with its first page.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub fn begin(mut page: Vec<u8>) -> io::Result<Self> {
        page.push(b'\n');
        let first = page.len() as u64;
        let mut file = sys::in_memory(&page)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, first, changes: 0 })
    }

    /// One more page.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub fn add(&mut self, mut page: Vec<u8>) -> io::Result<()> {
        page.push(b'\n');
        self.file.write_all(&page)?;
        self.changes += page.len() as u64;
        Ok(())
    }

    /// It is time to begin a new one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.changes > self.first + SPARE
    }

    /// The same file, open once more: to be read from its beginning while this is written.
    ///
    /// # Errors
    /// When it cannot be opened, as on systems where nobody takes over.
    pub fn copy(&self) -> io::Result<File> {
        #[cfg(unix)]
        return File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file)));
        #[cfg(windows)]
        return Err(io::ErrorKind::Unsupported.into());
    }

    /// For the keeper.
    #[must_use]
    pub fn handle(&self) -> Handle<'_> {
        #[cfg(unix)]
        return std::os::fd::AsFd::as_fd(&self.file);
        #[cfg(windows)]
        return std::os::windows::io::AsHandle::as_handle(&self.file);
    }
}

/// The whole pages of one that somebody else has written.
///
/// # Errors
/// When it cannot be read.
pub fn pages(mut file: File) -> io::Result<Vec<Vec<u8>>> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    let mut pages: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    // What comes after the last end of line.
    pages.pop();
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_was_torn_is_not() {
        let mut ledger = Ledger::begin(b"first".to_vec()).unwrap();
        ledger.add(b"second".to_vec()).unwrap();
        ledger.file.write_all(b"thi").unwrap();
        let read = pages(ledger.file.try_clone().unwrap()).unwrap();
        assert_eq!(read, [b"first".to_vec(), b"second".to_vec()]);
        assert!(!ledger.is_full());
        ledger.add(vec![b'x'; 1024 * 1024]).unwrap();
        assert!(ledger.is_full());
    }
}
