//! The configuration of mcpd.
//!
//! Text goes through three steps, each of which only the next one can follow: *raw* (TOML with spans), *resolve*
//! (defaults, variables, types: only this makes a [`ServiceSpec`]) and *plan* (what changed between two configurations).
//! The crate is synchronous and does no I/O except for [`load()`], [`find_default`], [`program::find`] and
//! [`service_environment`]; it never prints.
//!
//! | question | module |
//! |---|---|
//! | what does the text say? | `raw`, `source` |
//! | which files belong to it? | `load`, `include`, `places` |
//! | which tables make which service? | `assemble` |
//! | what does it mean? | `resolve`, `schema`, `variables`, `duration`, `size` |
//! | what is settled? | [`spec`], [`Origins`], `show` |
//! | what is wrong? | [`Diagnostic`], [`Failed`] |
//! | what must not be seen? | `hidden` |
//! | what changed? | [`plan`] |
//! | which files count for a watch? | [`watched`] |
//! | what of it is secret? | [`redact`] |
//! | what will be run, with which variables? | [`program`], [`service_environment`] |

mod assemble;
mod diagnostic;
mod duration;
mod environment;
mod environment_file;
mod hidden;
mod include;
mod load;
mod origin;
mod places;
mod raw;
mod resolve;
mod schema;
mod service_environment;
mod show;
mod similar;
mod size;
mod source;
mod variables;
mod write;

pub mod plan;
pub mod program;
pub mod redact;
pub mod spec;
pub mod watched;

pub use diagnostic::{Diagnostic, Failed, Severity};
pub use environment::Environment;
pub use load::{Loaded, load, load_text};
pub use origin::{Origin, Origins, dotted};
pub use places::{NotFound, find_default};
pub use service_environment::{EnvironmentError, ServiceEnvironment, own_environment, service_environment};
pub use spec::{Config, ServiceSpec};
