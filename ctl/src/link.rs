//! One conversation with the daemon, under an overall time limit.
//!
//! A thread of its own connects, writes and reads; the command waits for what it brings. That way the limit holds for
//! all of it together, connecting included, on systems whose pipes know no time-outs too, and a command can show that
//! it is waiting. The thread ends with the process.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use mcpd_proto::client::{CallError, Client};
use mcpd_proto::message::{FromDaemon, Id, Notification, Response};
use serde_json::Value;

use crate::failure::Failure;
use crate::progress::Progress;
use crate::socket::Socket;

/// Messages that wait for the command; beyond them the thread, then the daemon, waits for a slow reader.
const QUEUE: usize = 64;

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For ever.
    Endless,
    /// So long for everything together.
    Whole(Duration),
    /// So long for each next message: an answer of unknown length that keeps coming is no failure.
    Each(Duration),
}

/// A conversation.
pub(crate) struct Link {
    ask: Sender<(&'static str, Value)>,
    heard: Receiver<Result<FromDaemon, CallError>>,
    socket: Socket,
    patience: Patience,
    began: Instant,
}

impl Link {
    /// Begins to connect; a failure to do so is what the first call brings.
    pub(crate) fn open(socket: Socket, patience: Patience) -> Result<Self, Failure> {
        let (ask, asked) = channel();
        let (tell, heard) = sync_channel(QUEUE);
        let path = socket.path.clone();
        thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || {
                let talked = Client::connect(&path).and_then(|client| talk(client, &asked, &tell));
                if let Err(error) = talked {
                    // The command may have ended already.
                    let _ = tell.send(Err(error));
                }
            })
            .map_err(|error| Failure::Broken(format!("no thread can be started: {error}")))?;
        Ok(Self { ask, heard, socket, patience, began: Instant::now() })
    }

    /// Asks and waits for the result.
    pub(crate) fn call(&self, method: &'static str, params: Value) -> Result<Value, Failure> {
        self.exchange(method, params, &mut Progress::none(), |_, _| Ok(()))
    }

    /// As [`Self::call`], showing that it waits.
    pub(crate) fn call_showing(
        &self,
        method: &'static str,
        params: Value,
        progress: &mut Progress,
    ) -> Result<Value, Failure> {
        self.stream_showing(method, params, progress, |_, _| Ok(()))
    }

    /// As [`Self::stream`], showing how far it is.
    pub(crate) fn stream_showing(
        &self,
        method: &'static str,
        params: Value,
        progress: &mut Progress,
        each: impl FnMut(Notification, &mut Progress) -> Result<(), Failure>,
    ) -> Result<Value, Failure> {
        let result = self.exchange(method, params, progress, each);
        progress.clear();
        result
    }

    /// Asks, gives each notification to `each`, and waits for the result.
    pub(crate) fn stream(
        &self,
        method: &'static str,
        params: Value,
        mut each: impl FnMut(Notification) -> Result<(), Failure>,
    ) -> Result<Value, Failure> {
        self.exchange(method, params, &mut Progress::none(), |item, _| each(item))
    }

    fn exchange(
        &self,
        method: &'static str,
        params: Value,
        progress: &mut Progress,
        mut each: impl FnMut(Notification, &mut Progress) -> Result<(), Failure>,
    ) -> Result<Value, Failure> {
        // When the thread has ended, its last word is in the queue.
        let _ = self.ask.send((method, params));
        let mut since = Instant::now();
        loop {
            let deadline = match self.patience {
                Patience::Endless => None,
                Patience::Whole(limit) => self.began.checked_add(limit).map(|at| (at, limit)),
                Patience::Each(limit) => since.checked_add(limit).map(|at| (at, limit)),
            };
            match self.next(deadline, progress)? {
                FromDaemon::Notification(item) => {
                    each(item, progress)?;
                    since = Instant::now();
                    progress.tick(since);
                }
                FromDaemon::Response(Response { result, error, .. }) => {
                    return match (result, error) {
                        (_, Some(error)) => Err(Failure::Refused(Box::new(error))),
                        (result, None) => Ok(result.unwrap_or(Value::Null)),
                    };
                }
            }
        }
    }

    fn next(
        &self,
        deadline: Option<(Instant, Duration)>,
        progress: &mut Progress,
    ) -> Result<FromDaemon, Failure> {
        loop {
            let now = Instant::now();
            let wake = [deadline.map(|(at, _)| at), progress.due()].into_iter().flatten().min();
            let heard = match wake {
                Some(at) => self.heard.recv_timeout(at.saturating_duration_since(now)),
                None => self.heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match heard {
                Ok(message) => return message.map_err(|error| self.failure(error)),
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure(CallError::Closed)),
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if let Some((at, limit)) = deadline
                        && at <= now
                    {
                        let what = format!("mcpd at {} did not answer", self.socket.path.display());
                        return Err(Failure::TimedOut { what, limit, then: String::new() });
                    }
                    progress.tick(now);
                }
            }
        }
    }

    fn failure(&self, error: CallError) -> Failure {
        match error {
            CallError::Unreachable { path, source } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    Failure::NotRunning { looked: self.socket.looked.clone() }
                }
                io::ErrorKind::PermissionDenied => Failure::NotPermitted { socket: path },
                _ => Failure::Unreachable { socket: path, source },
            },
            CallError::Closed => Failure::Gone(format!(
                "mcpd at {} closed the connection before it answered: it has ended, or is being restarted.",
                self.socket.path.display()
            )),
            // It was killed before it had read the question.
            CallError::Io(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) =>
            {
                Failure::Gone(format!("mcpd at {} is gone: {error}.", self.socket.path.display()))
            }
            CallError::TimedOut => Failure::Broken("the connection to mcpd stalled".to_owned()),
            CallError::Io(error) => Failure::Broken(format!("the connection to mcpd failed: {error}")),
            CallError::Garbled(what) => Failure::Broken(format!(
                "mcpd at {} sent what mcpctl {} does not understand: {what}",
                self.socket.path.display(),
                env!("CARGO_PKG_VERSION")
            )),
            CallError::Refused(error) => Failure::Refused(error),
        }
    }
}

/// Answers question after question until the command has no more.
fn talk(
    mut client: Client,
    asked: &Receiver<(&'static str, Value)>,
    tell: &SyncSender<Result<FromDaemon, CallError>>,
) -> Result<(), CallError> {
    while let Ok((method, params)) = asked.recv() {
        let id = client.send(method, params)?;
        loop {
            let message = client.receive()?;
            let last = match &message {
                FromDaemon::Notification(_) => false,
                // `null`: the daemon could not even read the question, which was the only one on its way.
                FromDaemon::Response(answer) => answer.id == Id::Number(id) || answer.id == Id::Null,
            };
            let wanted = last || matches!(message, FromDaemon::Notification(_));
            if wanted && tell.send(Ok(message)).is_err() {
                return Ok(());
            }
            if last {
                break;
            }
        }
    }
    Ok(())
}
