//! The crate from outside: texts and files in, configurations and errors out.

#![allow(clippy::unwrap_used)]

mod cgroup;
mod common;
mod environment;
mod errors;
mod examples;
mod files;
mod notify;
mod relations;
#[cfg(unix)]
mod resources;
mod robust;
mod show;
mod templates;
mod values;
mod watch;
