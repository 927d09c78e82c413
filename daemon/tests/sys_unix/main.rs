//! The platform seam of Linux against real processes.
//!
//! Reaping and the child subreaper are matters of the whole process, so that tests running side by side would take each
//! other's children: each holds a `Lab`, of which there is one. When it goes, no process may be left.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod cgroups;
mod lab;
mod leftovers;
mod programs;
