//! What earlier lives of the daemon have left running: nothing. Each service's job is closed with the daemon's last handle
//! on it, and `JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE` ends all that is in it.

use std::io;

use crate::sys::{KnownLives, Leftover};

/// Nothing.
#[derive(Debug)]
pub struct Remains;

/// Wakes nobody.
#[derive(Debug, Clone)]
pub struct RemainsWaker;

impl RemainsWaker {
    /// Nobody waits.
    pub fn wake(&self) {}
}

impl Remains {
    /// Nothing is left of them.
    ///
    /// # Errors
    /// None.
    pub fn new(known: KnownLives) -> io::Result<Self> {
        drop(known);
        Ok(Self)
    }

    /// None.
    pub fn leftovers(&self) -> Vec<Leftover> {
        Vec::new()
    }

    /// Finds nothing.
    pub fn look(&mut self) {}

    /// Always.
    pub fn is_settled(&self) -> bool {
        true
    }

    /// None.
    pub fn take_blindness(&mut self) -> Option<String> {
        None
    }

    /// Nobody gets it.
    pub fn signal(&mut self, service: &str, signal: i32) -> Vec<Leftover> {
        let _ = (service, signal);
        Vec::new()
    }

    /// A handle that does nothing.
    pub fn waker(&self) -> RemainsWaker {
        RemainsWaker
    }

    /// Nothing ends that is not there.
    pub fn wait(&mut self) {}
}
