//! The shell of mcpd.
