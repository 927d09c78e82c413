//! The shell of mcpd.

pub mod crash;
pub mod demo;
pub mod probe;
