//! What the operating system asks of the daemon by signals, or by console events on Windows.

#[cfg(unix)]
#[path = "unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

pub use platform::Signals;

/// What a signal wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGCHLD: some process ended.
    Collect,
    /// SIGTERM, SIGINT; CTRL+C, close, shutdown: stop everything in order; a second time: at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the log files again.
    Reopen,
}
