//! The shell of mcpd.
pub mod log;

pub mod crash;
pub mod demo;
pub mod probe;

pub mod sys;
