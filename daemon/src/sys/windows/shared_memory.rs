//! A daemon that is killed takes its services along: there is nothing to be outlived, and nobody who holds anything.

use std::convert::Infallible;
use std::ffi::CStr;
use std::io;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};
use std::sync::atomic::AtomicU64;

use super::LogPipe;

/// None is made.
#[derive(Debug)]
pub struct SharedMemory(Infallible);

impl SharedMemory {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_name: &CStr, _length: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Refuses as well.
    ///
    /// # Errors
    /// Always.
    pub fn of(_file: OwnedHandle, _length: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called.
    pub fn handle(&self) -> BorrowedHandle<'_> {
        match self.0 {}
    }

    /// Never called.
    pub fn word(&self, _number: usize) -> &AtomicU64 {
        match self.0 {}
    }

    /// Never called.
    pub fn copy(&self, _at: usize, _to: &mut [u8]) {
        match self.0 {}
    }

    /// Never called.
    pub fn give_back(&self, _at: usize, _length: usize) {
        match self.0 {}
    }
}

/// None is made.
#[derive(Debug)]
pub struct Passage(Infallible);

impl Passage {
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
    pub fn of(_exit: OwnedHandle, _entry: OwnedHandle) -> io::Result<Self> {
        Self::new()
    }

    /// Never called.
    pub fn handles(&self) -> [BorrowedHandle<'_>; 2] {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn enter(&self, _from: &LogPipe, _most: usize) -> io::Result<(usize, bool)> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn leave(&self, _memory: &SharedMemory, _at: usize, _count: usize) -> io::Result<()> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn read(&self, _to: &mut [u8]) -> io::Result<()> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn holds(&self) -> io::Result<usize> {
        match self.0 {}
    }
}
