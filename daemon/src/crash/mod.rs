//! placeholder
pub mod clean;
