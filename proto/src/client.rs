//! A blocking client: no runtime, so that a command starts fast.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use interprocess::local_socket::{Stream, prelude::*};
use serde_json::Value;

use crate::error::ErrorObject;
use crate::message::{FromDaemon, Id, Notification, Request, Response};
use crate::{MAX_LINE, socket};

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("no daemon answers at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection ended before the answer.
    #[error("the daemon closed the connection before it answered")]
    Closed,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Reading or writing failed.
    #[error("the connection to the daemon failed: {0}")]
    Io(io::Error),
    /// The daemon sent something that is no message.
    #[error("the daemon sent what this version does not understand: {0}")]
    Garbled(String),
    /// The daemon says no.
    #[error("{}", .0.message)]
    Refused(Box<ErrorObject>),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Self::Closed
            }
            _ => Self::Io(error),
        }
    }
}

/// A connection to a daemon.
pub struct Client {
    stream: BufReader<Stream>,
    next_id: i64,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`CallError::Unreachable`].
    pub fn connect(path: &Path) -> Result<Self, CallError> {
        let connect = || Stream::connect(socket::name(path)?);
        let stream =
            connect().map_err(|source| CallError::Unreachable { path: path.to_path_buf(), source })?;
        Ok(Self { stream: BufReader::new(stream), next_id: 1 })
    }

    /// Longest wait for the next byte of an answer; `None`: for ever. Where the system has no such limit (named
    /// pipes), this does nothing.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        // Not fatal: without the limit a call waits for the daemon, which answers or closes.
        let _ = self.stream.get_ref().set_recv_timeout(timeout);
        let _ = self.stream.get_ref().set_send_timeout(timeout);
    }

    /// Sends a request and waits for its result; notifications that come first go to `each`.
    ///
    /// # Errors
    /// Every [`CallError`] but `Unreachable`.
    pub fn call_streaming(
        &mut self,
        method: &str,
        params: Value,
        mut each: impl FnMut(Notification),
    ) -> Result<Value, CallError> {
        let id = self.send(method, params)?;
        loop {
            match self.receive()? {
                FromDaemon::Notification(item) => each(item),
                FromDaemon::Response(Response { id: answered, result, error, .. }) => {
                    if answered != Id::Number(id) && answered != Id::Null {
                        continue;
                    }
                    return match (result, error) {
                        (_, Some(error)) => Err(CallError::Refused(Box::new(error))),
                        (Some(result), None) => Ok(result),
                        (None, None) => Ok(Value::Null),
                    };
                }
            }
        }
    }

    /// Sends a request and waits for its result.
    ///
    /// # Errors
    /// Every [`CallError`] but `Unreachable`.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, CallError> {
        self.call_streaming(method, params, |_| {})
    }

    /// Sends a request and returns its id.
    ///
    /// # Errors
    /// When writing fails.
    pub fn send(&mut self, method: &str, params: Value) -> Result<i64, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Request::new(id, method, params))
            .map_err(|error| CallError::Garbled(error.to_string()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        Ok(id)
    }

    /// The next message, whatever it is.
    ///
    /// # Errors
    /// When the connection ends, the time is over or the line is no message.
    pub fn receive(&mut self) -> Result<FromDaemon, CallError> {
        // An answer may hold a document of a thousand services: no limit but sixteen request lines' worth.
        const LIMIT: u64 = 16 * MAX_LINE as u64;
        let mut line = Vec::new();
        (&mut self.stream).take(LIMIT).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(CallError::Closed);
        }
        serde_json::from_slice(&line).map_err(|error| CallError::Garbled(error.to_string()))
    }
}
