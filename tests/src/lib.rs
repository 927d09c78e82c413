//! What the scenarios in `tests/` share: a sandbox, the real daemon in it, and waits that end.
//!
//! A scenario makes a [`Sandbox`] from the text of a configuration, starts the real `mcpd` in it, talks to it with the
//! real `mcpctl` or over the socket, and waits for what it expects under a bound. Nothing sleeps for luck, nothing is
//! left behind: when a [`Daemon`] is dropped, it is stopped and every process of its sandbox must be gone.
//!
//! | module | answers |
//! |---|---|
//! | [`sandbox`] | where does a scenario's daemon live, and by which configuration? |
//! | [`daemon`] | how is it started, asked, waited for, stopped? |
//! | [`ctl`] | what did `mcpctl` say? |
//! | [`watch`] | which events did the daemon tell? |
//! | [`wait`] | how long is long enough? |
//! | [`binaries`] | where are the programs under test? |
//! | [`processes`] | which processes are there, and whose are they? |

pub mod binaries;
pub mod ctl;
pub mod daemon;
#[cfg(unix)]
pub mod processes;
pub mod sandbox;
pub mod wait;
pub mod watch;

pub use ctl::CtlOutput;
pub use daemon::Daemon;
pub use mcpd_proto as proto;
pub use sandbox::Sandbox;
pub use wait::{patience, wait_until};
