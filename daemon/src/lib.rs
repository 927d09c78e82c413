//! The shell of mcpd.
pub mod log;
