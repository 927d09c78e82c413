//! Signals through `signal-hook`'s self-pipes, one per wish, so that a storm of SIGCHLD coalesces in its own pipe and
//! never hides a SIGTERM.

use std::io;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::pipe;

use super::Wish;

/// The daemon's signals.
pub struct Signals {
    stop: tokio::net::UnixStream,
    reload: tokio::net::UnixStream,
    reopen: tokio::net::UnixStream,
    collect: tokio::net::UnixStream,
}

impl Signals {
    /// From here on these signals are wishes; before, they ended the process.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            stop: hooked(&[SIGTERM, SIGINT])?,
            reload: hooked(&[SIGHUP])?,
            reopen: hooked(&[SIGUSR1])?,
            collect: hooked(&[SIGCHLD])?,
        })
    }

    /// The next wish.
    ///
    /// # Errors
    /// When a pipe fails, which it does not.
    pub async fn next(&mut self) -> io::Result<Wish> {
        loop {
            let (pipe, wish) = tokio::select! {
                biased;
                ready = self.stop.readable() => (ready.map(|()| &self.stop)?, Wish::Stop),
                ready = self.collect.readable() => (ready.map(|()| &self.collect)?, Wish::Collect),
                ready = self.reload.readable() => (ready.map(|()| &self.reload)?, Wish::Reload),
                ready = self.reopen.readable() => (ready.map(|()| &self.reopen)?, Wish::Reopen),
            };
            if drained(pipe)? {
                return Ok(wish);
            }
        }
    }
}

fn hooked(signals: &[i32]) -> io::Result<tokio::net::UnixStream> {
    let (read, write) = UnixStream::pair()?;
    for signal in signals {
        pipe::register(*signal, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(read)
}

/// Empties the pipe: several signals before this are one wish. False when nothing was there.
fn drained(pipe: &tokio::net::UnixStream) -> io::Result<bool> {
    let mut buffer = [0; 64];
    let mut any = false;
    loop {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => any = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
