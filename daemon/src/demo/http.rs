//! How is a small HTTP request read and answered? One request per connection, bounded in size and time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Bytes of a request, head and body. A larger one is not answered.
const MAX_REQUEST: usize = 1024 * 1024;

/// A client has so long to send its request and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// Where a browser's page came from.
    pub(crate) origin: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Reads the one request of a connection.
pub(crate) fn read(stream: &mut TcpStream) -> io::Result<Request> {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break end;
        }
        more(stream, &mut bytes, deadline)?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let header = |wanted: &str| {
        let mut headers = text.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
    };
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let length = match header("content-length") {
        Some(length) => length.parse().map_err(|_| bad("the length is no number"))?,
        None => 0_usize,
    };
    let end = head.saturating_add(4).saturating_add(length);
    if end > MAX_REQUEST {
        return Err(bad("the request is too large"));
    }
    while bytes.len() < end {
        more(stream, &mut bytes, deadline)?;
    }
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(bad("no request line"));
    };
    let path = target.split('?').next().unwrap_or_default();
    Ok(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        origin: header("origin"),
        body: bytes[head + 4..end].to_vec(),
    })
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || bytes.len() > MAX_REQUEST {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend_from_slice(&chunk[..read]);
            Ok(())
        }
    }
}

/// Answers with a JSON document, or with nothing but a status, and ends the connection.
pub(crate) fn answer(stream: &mut TcpStream, status: u16, body: Option<&Value>) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Unknown",
    };
    let body = body.map(|body| format!("{body}\n")).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} {reason}\r\n{kind}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())
}
