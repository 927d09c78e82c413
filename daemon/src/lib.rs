//! The shell of mcpd.

pub mod sys;
