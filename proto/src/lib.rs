//! What mcpd and its clients say to each other.
//!
//! One JSON-RPC 2.0 object a line, UTF-8, over a Unix stream socket or a named pipe. Requests may be pipelined; answers
//! carry the id. Any JSON tool can speak it. These types are the wire's own: they are versioned ([`SCHEMA`]), fields are
//! only ever added, and nothing of the daemon's inside is derived from them.
//!
//! | module | answers |
//! |---|---|
//! | [`message`] | how does a request, an answer, a notification look? |
//! | [`error`] | what can go wrong, by `kind`? |
//! | [`method`] | which methods are there, with which parameters and results? |
//! | [`status`], [`crash`], [`event`], [`log`], [`plan`] | the documents |
//! | [`notification`] | what is sent when something is wrong with a service? |
//! | [`run`] | what is written down of each run? |
//! | [`history`], [`stats`] | what is remembered of each service, and what is counted from it? |
//! | [`why`] | why is a service as it is, what follows, what can be done? |
//! | [`socket`] | where is the control socket, as a name that both sides understand? |
//! | [`client`] | a blocking client |

pub mod client;
pub mod crash;
pub mod error;
pub mod event;
pub mod history;
pub mod log;
pub mod message;
pub mod method;
pub mod notification;
pub mod plan;
pub mod run;
pub mod socket;
pub mod stats;
pub mod status;
pub mod why;

/// The version of every document here. Fields are added without raising it; a change of meaning raises it.
pub const SCHEMA: u32 = 1;

/// A longer line, in bytes without the newline, gets an error and the connection is closed. The largest honest request
/// is a start of 10,000 names; the largest answer is cut into several lines by its sender.
pub const MAX_LINE: usize = 1024 * 1024;
