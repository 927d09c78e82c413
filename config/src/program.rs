//! Finds programs.
