//! One client: its lines in, its answers out.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_core::Stream as _;
use interprocess::local_socket::tokio::Stream;
use mcpd_proto::MAX_LINE;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::message::{Id, Request, Response, VERSION};
use serde::Serialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use tokio_util::sync::CancellationToken;

use super::asker::{Asker, Peer};
use super::{Desk, method};

/// Requests of one client under way at a time; the next line is read when one is done.
const UNDER_WAY: usize = 32;
/// Answers that wait for one client to read.
const UNREAD: usize = 4;
/// A client that reads nothing for this long while something waits for it is let go.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// A connection on which no whole request has come for this long is closed: half a request keeps no place.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// Where a session's answers go.
#[derive(Clone)]
pub(super) struct Out {
    lines: mpsc::Sender<Vec<u8>>,
    peer: Peer,
}

impl Out {
    /// Who orders something.
    pub(super) async fn asker(&self, desk: &Desk) -> Option<Arc<Asker>> {
        self.peer.asker(desk).await
    }

    /// Queues a message; waits while the client is slow. False when the client is gone.
    pub(super) async fn send(&self, message: &impl Serialize) -> bool {
        let Ok(mut line) = serde_json::to_vec(message) else { return false };
        line.push(b'\n');
        self.lines.send(line).await.is_ok()
    }
}

/// The streams that a session has open, by the id of their request.
#[derive(Clone, Default)]
pub(super) struct Streams {
    open: Arc<Mutex<HashMap<Id, CancellationToken>>>,
}

impl Streams {
    pub(super) fn open(&self, id: &Id, session: &CancellationToken) -> CancellationToken {
        let token = session.child_token();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), token.clone());
        token
    }

    pub(super) fn close(&self, id: &Id) {
        if let Some(token) = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id) {
            token.cancel();
        }
    }
}

pub(super) async fn serve(stream: Stream, desk: Desk) {
    let (read, mut write) = (&stream, &stream);
    let (lines, mut queue) = mpsc::channel::<Vec<u8>>(UNREAD);
    let out = Out { lines, peer: Peer::of(&stream) };
    let over = CancellationToken::new();
    let writer = async {
        while let Some(line) = queue.recv().await {
            match tokio::time::timeout(READ_WITHIN, write.write_all(&line)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        // Without it the last answer might be lost on a pipe; a client that is gone does not miss it.
        let _ = tokio::time::timeout(READ_WITHIN, write.flush()).await;
        over.cancel();
        // Nobody may wait for room in a queue that is not read any more.
        queue.close();
        while queue.recv().await.is_some() {}
    };
    tokio::join!(writer, read_requests(read, desk, out, &over));
}

async fn read_requests(read: &Stream, desk: Desk, out: Out, over: &CancellationToken) {
    let newline = || b"\n".to_vec();
    let codec = AnyDelimiterCodec::new_with_max_length(newline(), newline(), MAX_LINE);
    let mut incoming = std::pin::pin!(FramedRead::new(read, codec));
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let streams = Streams::default();
    let mut patience = Some(std::pin::pin!(tokio::time::sleep(FIRST_REQUEST)));
    loop {
        let line = tokio::select! {
            () = over.cancelled() => break,
            () = desk.sessions.closing.cancelled() => break,
            () = over_with(&mut patience) => break,
            line = std::future::poll_fn(|cx| incoming.as_mut().poll_next(cx)) => line,
        };
        match line {
            None | Some(Err(AnyDelimiterCodecError::Io(_))) => break,
            Some(Err(AnyDelimiterCodecError::MaxChunkLengthExceeded)) => {
                let message = format!("a line may have {MAX_LINE} bytes at most: the connection is closed");
                let error = ErrorObject::new(Kind::LineTooLong, message);
                out.send(&Response::<Value>::err(Id::Null, error)).await;
                break;
            }
            Some(Ok(line)) if line.iter().all(u8::is_ascii_whitespace) => {}
            Some(Ok(line)) => match parse(&line) {
                Err((id, error)) => {
                    out.send(&Response::<Value>::err(id, error)).await;
                }
                Ok(request) => {
                    patience = None;
                    let Ok(place) = room.clone().acquire_owned().await else { break };
                    let (desk, out, streams, over) =
                        (desk.clone(), out.clone(), streams.clone(), over.clone());
                    tokio::spawn(async move {
                        method::answer(request, &desk, &out, &streams, &over, place).await;
                    });
                }
            },
        }
    }
    // The client has said its last line; answers under way are still its own. Streams end.
    streams.open.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(CancellationToken::cancel);
}

/// Ends when the patience is over; never without one.
async fn over_with(patience: &mut Option<Pin<&mut tokio::time::Sleep>>) {
    match patience {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

/// A request, or the error that its sender is told, with its id where one can be read.
fn parse(line: &[u8]) -> Result<Request, (Id, ErrorObject)> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| (Id::Null, ErrorObject::new(Kind::ParseError, format!("not JSON: {error}"))))?;
    let given = value.get("id").cloned();
    let id = match &given {
        Some(id) => serde_json::from_value(id.clone()).map_err(|_| {
            let message = "an id is a string, a whole number of 64 bits or null";
            (Id::Null, ErrorObject::new(Kind::InvalidRequest, message))
        })?,
        None => Id::Null,
    };
    let invalid = |what: &str| (id.clone(), ErrorObject::new(Kind::InvalidRequest, what.to_owned()));
    if value.is_array() {
        return Err(invalid("batches are not supported: send one object a line"));
    }
    if value.get("jsonrpc").and_then(Value::as_str) != Some(VERSION) {
        return Err(invalid("a request has \"jsonrpc\": \"2.0\""));
    }
    let mut request: Request =
        serde_json::from_value(value).map_err(|error| invalid(&format!("not a request: {error}")))?;
    // `"id": null` is an id, if an unwise one; only without the member nobody waits for an answer.
    request.id = given.map(|_| id.clone());
    Ok(request)
}
