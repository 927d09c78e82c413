//! What a service's output comes through, on each system.

/// The read end of one output stream of a service: already non-blocking, not yet registered with any poll.
#[cfg(unix)]
pub type LogPipe = mio::unix::pipe::Receiver;
/// The read end of one output stream of a service: already non-blocking, not yet registered with any poll.
#[cfg(windows)]
pub type LogPipe = mio::windows::NamedPipe;

/// A read that gives less than was asked for has emptied the pipe, so that the next one may wait for the next event.
/// True for every Unix pipe (`epoll(7)`, edge-triggered reading of streams); a Windows pipe must be read until it would
/// block, for only then the next read is scheduled.
pub(super) const SHORT_READ_EMPTIES: bool = cfg!(unix);
