//! Why did it die? Crash reports: worded, redacted, kept.
//!
//! The loop collects the facts of an end and hands them over; the recorder's thread words the reason, takes the secrets out
//! and writes the report, before the loop decides on a restart. Nothing here decides what follows a crash.
//!
//! | module | answers |
//! |---|---|
//! | [`CrashStore`] | where are reports kept, and how are they found again? |
//! | [`reason`] | what is the one sentence for a person at 3 a.m.? |
//! | [`meaning`] | what does that exit code stand for? |
//! | [`owed`] | which crashes of an earlier life have no report? |
//! | [`lack`] | does it lack something that no restart brings? |
//! | `evidence` | which line of the output names the cause? |
//! | [`fingerprint`] | which crashes are the same one again? |
//! | [`changed`] | what is different since it last ran well? |
//! | [`core_file`] | where is its core? |
//! | [`storm`] | which of many crashes alike get a report of their own? |
//! | [`redact`] | what must not be in a report? |
//! | [`clean`] | what is text, once escapes and control characters are gone? |
//! | `name` | how are files and folders called? |
//! | `durable` | how does a file come to be on disk as a whole or not at all? |

pub mod changed;
pub mod clean;
pub mod core_file;
mod durable;
mod evidence;
pub mod fingerprint;
pub mod lack;
pub mod meaning;
mod name;
pub mod owed;
pub mod reason;
pub mod redact;
mod store;
pub mod storm;

pub use store::{CrashStore, GetError, Listing};
