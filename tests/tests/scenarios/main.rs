//! The scenarios that need nothing but what the workspace builds, one module for each of what the user cares about. They are
//! one program, so that they are linked once and wait side by side.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

#[cfg(target_os = "linux")]
mod alone;
mod around;
mod causes;
mod config;
#[cfg(target_os = "linux")]
mod container;
mod control;
mod crash_files;
mod crashes;
#[cfg(target_os = "linux")]
mod earlier_life;
mod events;
mod failure_classes;
mod fixture;
mod harness;
mod health;
mod hooks;
mod identity;
mod logs;
mod many;
mod mcpctl;
mod notices;
mod notify;
mod numbers;
mod oneshot;
mod order;
mod ready;
mod reload;
mod script;
mod secrets;
mod signals;
mod supervision;
#[cfg(target_os = "linux")]
mod survival;
mod templates;
#[cfg(target_os = "linux")]
mod trees;
#[cfg(target_os = "linux")]
mod upgrade;
mod watch;
mod why;
