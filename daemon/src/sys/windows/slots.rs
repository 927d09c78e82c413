//! Nobody looks for a process that a dead daemon was starting: its job ended it.

use std::io;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};

use crate::sys::Key;

/// None are made.
#[derive(Debug)]
pub struct Slots(std::convert::Infallible);

impl Slots {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Refuses as well.
    ///
    /// # Errors
    /// Always.
    pub fn of(_kept: OwnedHandle) -> io::Result<Self> {
        Self::new()
    }

    /// Never called.
    pub fn handle(&self) -> BorrowedHandle<'_> {
        match self.0 {}
    }

    /// Never called.
    pub fn find(&self, _key: Key) -> Option<u32> {
        match self.0 {}
    }
}
