//! There is no `sd_notify(3)` here: what needs it is refused when the configuration is read.

use std::io;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};
use std::path::Path;

use crate::sys::Datagram;

/// The receiving end that cannot be had.
#[derive(Debug)]
pub struct NotifySocket(std::convert::Infallible);

/// Nothing comes along with what does not arrive.
#[derive(Debug, Default)]
pub struct Barrier;

impl NotifySocket {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn bind(_path: &Path) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "sd_notify is not supported on Windows"))
    }

    /// Refuses as well.
    ///
    /// # Errors
    /// Always.
    pub fn of(_kept: OwnedHandle) -> io::Result<Self> {
        Self::bind(Path::new(""))
    }

    /// Never called.
    #[must_use]
    pub fn handle(&self) -> BorrowedHandle<'_> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub async fn receive(&self) -> io::Result<Datagram> {
        match self.0 {}
    }
}
