//! What the subcommands need of the system, on Windows. CTRL+C keeps its default there: the process ends.

use std::io::{self, Write};
use std::thread::park;
use std::time::Duration;

use crate::args::Args;
use crate::wrong;

/// How a run that was asked to end does so; on Windows the system ends it.
#[derive(Default)]
pub(crate) struct Stay {
    /// The exit code.
    pub(crate) code: i32,
    /// How long the end takes.
    pub(crate) delay: Duration,
    /// Crash instead.
    pub(crate) crash: bool,
}

/// Stands for the signals that [`Signals::stay`] waits for; there are none here.
pub(crate) struct Signals;

impl Signals {
    /// Nothing to block.
    pub(crate) fn block() -> Self {
        Self
    }

    /// Runs until it is killed.
    pub(crate) fn stay(&self, stay: &Stay) -> ! {
        // Options that describe the answer to SIGTERM cannot be kept here: better to say so than to ignore them.
        if stay.crash || stay.code != 0 || !stay.delay.is_zero() {
            unix_only("run with options");
        }
        loop {
            park();
        }
    }
}

/// Descriptors and masks are Linux's.
pub(crate) fn state() -> String {
    "null".into()
}

/// Past the line buffer.
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<usize> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(bytes.len())
}

fn unix_only(what: &str) -> ! {
    wrong(&format!("`{what}` is for Unix only"))
}

/// Not here.
pub(crate) fn signal_self(_: Args) -> ! {
    unix_only("signal-self")
}

/// Not here.
pub(crate) fn stop_self(_: Args) -> ! {
    unix_only("stop-self")
}

/// Not here.
pub(crate) fn ignore_term(_: Args) -> ! {
    unix_only("ignore-term")
}

/// Not here.
pub(crate) fn fork_away(_: Args) -> ! {
    unix_only("fork-away")
}

/// Not here.
pub(crate) fn crowd(_: Args) -> ! {
    unix_only("crowd")
}

/// Not here.
pub(crate) fn tree(_: Args) -> ! {
    unix_only("tree")
}
