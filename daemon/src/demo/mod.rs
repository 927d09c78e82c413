//! `mcpd demo`: what mcpd does, on a machine with nothing but this program.
//!
//! The configuration starts this same program three more times, as `mcpd __demo-server NAME PORT`: a server that is
//! well, one that crashes, one that hangs. They are plain threads and blocking sockets, for they stand in for programs
//! that know nothing of mcpd. Nothing here supervises: the demo is an ordinary configuration for the ordinary daemon.
//!
//! | module | answers |
//! |---|---|
//! | `configuration` | which configuration does the demo run? |
//! | `greeting` | what is there to type in a second terminal? |
//! | [`server`] | how do the three servers behave? |
//! | `http` | how is a small HTTP request read and answered? |
//! | `mcp` | how is a minimal MCP server spoken to? |

mod configuration;
mod greeting;
mod http;
mod mcp;
pub mod server;

pub use configuration::{Ports, configuration, control_socket};
pub use greeting::greeting;
pub use server::serve;

/// The hidden verb that runs one of the demo's servers: `mcpd __demo-server NAME PORT`.
pub const SERVER_VERB: &str = "__demo-server";
