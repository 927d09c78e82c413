//! The real binary against a daemon that says what a test wants it to say.

// Helpers of tests are tests too; clippy's own exception covers only `#[test]` functions.
#![allow(clippy::unwrap_used)]

mod config;
mod fake;
mod orders;
mod reach;
mod run;
mod status;
mod streams;
