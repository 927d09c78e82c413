//! The conversation for `http://`, on the daemon's one runtime: sockets by tokio, the protocol by `ureq-proto`, which
//! does no input or output itself.
//!
//! Read to its end even when only the status counts: a server that gets stuck in its answer is not well, and one whose
//! client hangs up early logs an error at every probe.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use ureq_proto::BodyMode;
use ureq_proto::client::state::{RecvBody, RecvResponse};
use ureq_proto::client::{Call, RecvResponseResult, SendRequestResult};
use ureq_proto::http::{Response, StatusCode};

use super::connect::{Unconnected, connect};
use super::http::{BODY_CUT_OFF, Body, HttpCheck, LARGE_HEAD, MAX_HEAD, Taken, Wrong, not_http};
use super::words;

/// Bytes of a request's head that are put together at a time; a single header is no longer.
const OUTPUT: usize = 16 * 1024;
/// Bytes that are asked of the socket at a time.
const PIECE: usize = 8 * 1024;

/// A connection, and what came on it that is not used up.
struct Line {
    stream: TcpStream,
    input: Vec<u8>,
    ended: bool,
}

/// Asks, and reads the answer as far as it matters; `seen` is its status as soon as there is one. Whoever stops waiting
/// hangs up.
pub(super) async fn ask(
    check: &HttpCheck,
    deadline: Instant,
    seen: &mut Option<StatusCode>,
) -> Result<Body, Wrong> {
    let uri = check.request.uri();
    let stream = connect(uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80), deadline).await;
    let stream = stream.map_err(|why| match why {
        Unconnected::TimedOut => Wrong::TimedOut,
        Unconnected::NoAddress(why) => Wrong::None(why),
        Unconnected::Refused(error) => Wrong::None(words::io_error(&error)),
        Unconnected::NotAsked(why) => Wrong::NotAsked(why),
    })?;
    let mut line = Line { stream, input: Vec::new(), ended: false };
    let mut call = request(check, &mut line).await?;
    let answer = head(&mut call, &mut line).await?;
    *seen = Some(answer.status());
    if !check.look(answer.status(), answer.headers())? {
        return Ok(Body::Ignored);
    }
    let taken = Taken::new(check);
    match call.proceed() {
        Some(RecvResponseResult::RecvBody(call)) => body(call, &mut line, taken).await,
        Some(RecvResponseResult::Redirect(_) | RecvResponseResult::Cleanup(_)) | None => Ok(taken.end()),
    }
}

async fn request(check: &HttpCheck, line: &mut Line) -> Result<Call<RecvResponse>, Wrong> {
    let unsendable = |error: ureq_proto::Error| Wrong::NotAsked(error.to_string());
    let mut call = Call::new(check.request.clone()).map_err(unsendable)?.proceed();
    let mut output = vec![0; OUTPUT];
    while !call.can_proceed() {
        let size = call.write(&mut output).map_err(unsendable)?;
        let written = line.stream.write_all(&output[..size]).await;
        written.map_err(|error| Wrong::None(words::io_error(&error)))?;
    }
    match call.proceed().map_err(unsendable)? {
        Some(SendRequestResult::RecvResponse(call)) => Ok(call),
        // A GET has no body; a configured `Expect` or `Content-Length` does not give it one.
        Some(SendRequestResult::Await100(_) | SendRequestResult::SendBody(_)) | None => {
            Err(Wrong::NotAsked("its headers announce a body".to_owned()))
        }
    }
}

/// The head of the answer; interim ones (1xx) before it are passed over.
async fn head(call: &mut Call<RecvResponse>, line: &mut Line) -> Result<Response<()>, Wrong> {
    let mut interim = 0;
    loop {
        let tried = call.try_response(&line.input, false);
        let (used, answer) = tried.map_err(|error| Wrong::None(not_http(&error)))?;
        let size = if answer.is_some() || used > 0 { used } else { line.input.len() };
        if interim + size > MAX_HEAD {
            return Err(Wrong::None(LARGE_HEAD.to_owned()));
        }
        line.input.drain(..used);
        if let Some(answer) = answer {
            return Ok(answer);
        }
        interim += used;
        if used == 0 {
            line.more().await.map_err(|error| Wrong::None(words::io_error(&error)))?;
            if line.ended {
                return Err(Wrong::None(words::io_error(&ErrorKind::UnexpectedEof.into())));
            }
        }
    }
}

async fn body(mut call: Call<RecvBody>, line: &mut Line, mut taken: Taken) -> Result<Body, Wrong> {
    loop {
        let whole = match call.body_mode() {
            BodyMode::LengthDelimited(_) | BodyMode::Chunked => call.can_proceed(),
            BodyMode::CloseDelimited => false,
            BodyMode::NoBody => true,
        };
        if whole {
            return Ok(taken.end());
        }
        let (used, end) = pass_on(&mut call, &line.input, &mut taken)?;
        line.input.drain(..used);
        if let Some(end) = end {
            return end;
        }
        if used > 0 {
            continue;
        }
        if line.ended {
            // Some servers end a chunked body with its last chunk and leave out the empty line after it.
            let whole = call.can_proceed() || call.is_ended_chunked();
            return if whole { Ok(taken.end()) } else { Err(Wrong::Answer(BODY_CUT_OFF.to_owned())) };
        }
        match line.more().await {
            Ok(()) => {}
            // Where the end of the connection is that of the body, how it ends does not matter.
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) =>
            {
                line.ended = true;
            }
            Err(error) => return Err(Wrong::Answer(words::io_error(&error))),
        }
    }
}

/// What a piece of the body leads to: so many bytes of input are used up, and perhaps that is enough.
type Passed = (usize, Option<Result<Body, Wrong>>);

/// Decodes once. Its buffer is on the stack here, and not part of a task that waits.
fn pass_on(call: &mut Call<RecvBody>, input: &[u8], taken: &mut Taken) -> Result<Passed, Wrong> {
    let mut output = [0; PIECE];
    let (used, made) = call.read(input, &mut output).map_err(|error| Wrong::Answer(not_http(&error)))?;
    Ok((used, taken.more(&output[..made])))
}

impl Line {
    /// Waits for more input, or the end of it.
    async fn more(&mut self) -> std::io::Result<()> {
        self.input.reserve(PIECE);
        self.ended = self.stream.read_buf(&mut self.input).await? == 0;
        Ok(())
    }
}
