//! The configuration of mcpd.
//!
//! Text goes through three steps, each of which only the next one can follow: *raw* (TOML with spans), *resolve*
//! (defaults, variables, types: only this makes a [`ServiceSpec`]) and *plan* (what changed between two configurations).
//! The crate is synchronous and does no I/O except for `load` and `program::find`; it never prints.

pub mod program;
pub mod spec;

pub use spec::{Config, ServiceSpec};
