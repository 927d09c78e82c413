//! Why did a command not do what it was asked to, in one sentence, and with which exit code?

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mcpd_proto::error::ErrorObject;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::{human, refusal};

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is well-formed and still makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody listens.
    #[error("mcpd is not running: nothing listens on {}. {}", places(.looked), START_IT)]
    NotRunning {
        /// Where.
        looked: Vec<PathBuf>,
    },
    /// The socket is not for this user.
    #[error(
        "you may not connect to {}: it belongs to mcpd's user and group. Use sudo, join the socket's group, or name \
         another socket with --socket.",
        socket.display()
    )]
    NotPermitted {
        /// Which.
        socket: PathBuf,
    },
    /// Connecting failed in another way.
    #[error("mcpd cannot be reached at {}: {source}.", socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `--timeout` is over.
    #[error("{what} within {}.{then}", human::duration(*limit))]
    TimedOut {
        /// "mcpd at /run/mcpd/control.sock did not answer"
        what: String,
        /// The limit.
        limit: Duration,
        /// What goes on nevertheless: empty, or a sentence with a space before it.
        then: String,
    },
    /// The daemon went away.
    #[error("{0}")]
    Gone(String),
    /// The connection broke, or what came over it is not understood.
    #[error("{0}.")]
    Broken(String),
    /// The daemon says no.
    #[error("{}", refusal::sentence(.0))]
    Refused(Box<ErrorObject>),
    /// Whoever read our output has gone: nothing is left to do, and nobody to tell.
    #[error("nobody reads the output")]
    OutputClosed,
    /// Our output cannot be written: a full disk, say.
    #[error("the output cannot be written: {0}.")]
    Output(io::Error),
}

#[cfg(not(windows))]
const START_IT: &str =
    "Start it with \"systemctl start mcpd\" or \"mcpd --config FILE\", or name its socket with --socket.";
#[cfg(windows)]
const START_IT: &str = "Start it with \"mcpd --config FILE\", or name its socket with --socket.";

fn places(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NotRunning { .. } | Self::Unreachable { .. } | Self::Gone(_) => Exit::Unreachable,
            Self::NotPermitted { .. } => Exit::Denied,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Refused(error) => Exit::of_error(error),
            Self::Broken(_) | Self::Output(_) => Exit::Failed,
            Self::OutputClosed => Exit::Done,
        }
    }

    /// What `--json` says: the daemon's own error object, or one of the same form.
    pub(crate) fn document(&self) -> Value {
        let kind = match self {
            Self::Refused(error) => {
                return json!({ "schema": mcpd_proto::SCHEMA, "error": error });
            }
            Self::Usage(_) => "usage",
            Self::NotRunning { .. } | Self::Unreachable { .. } | Self::Gone(_) => "unreachable",
            Self::NotPermitted { .. } => "denied",
            Self::TimedOut { .. } => "timeout",
            Self::Broken(_) | Self::Output(_) | Self::OutputClosed => "failed",
        };
        let error = ErrorObject {
            code: i64::from(self.exit().code()),
            message: self.to_string(),
            data: json!({ "kind": kind }),
        };
        json!({ "schema": mcpd_proto::SCHEMA, "error": error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_daemon_gets_one_sentence_with_a_way_out() {
        let failure = Failure::NotRunning { looked: vec!["/run/mcpd/control.sock".into()] };
        let text = failure.to_string();
        assert!(text.starts_with("mcpd is not running: nothing listens on /run/mcpd/control.sock. Start it"));
        assert!(text.ends_with("--socket.") && !text.contains('\n'), "{text}");
        assert_eq!(failure.exit().code(), 10);
        assert_eq!(failure.document()["error"]["data"]["kind"], "unreachable");
    }

    #[test]
    fn exit_codes() {
        let table = [
            (Failure::Usage(String::new()), 2),
            (Failure::NotPermitted { socket: PathBuf::new() }, 4),
            (Failure::Unreachable { socket: PathBuf::new(), source: io::Error::other("no") }, 10),
            (Failure::TimedOut { what: String::new(), limit: Duration::ZERO, then: String::new() }, 11),
            (Failure::Gone(String::new()), 10),
            (Failure::Broken(String::new()), 1),
            (Failure::Output(io::Error::other("no")), 1),
            (Failure::OutputClosed, 0),
        ];
        for (failure, code) in table {
            assert_eq!(failure.exit().code(), code, "{failure:?}");
        }
    }
}
