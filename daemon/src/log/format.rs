//! How does a record look in a file, and back?
//!
//! `text` is `2026-11-22T11:30:00.123456Z out line`; the tag is `out+` or `err+` when the line goes on in the next record
//! of this stream. `json` is a [`LogLine`] an object. `raw` has no records: it is the bytes as they came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcpd_config::spec::LogFormat;
use mcpd_proto::log::{LogLine, Stream};

use super::frame::Record;
use super::stamp::{self, Micros, WIDTH};

/// Bytes before the line in a text record that is not cut: time, space, tag, space.
pub(super) const TEXT_OVERHEAD: usize = WIDTH + 5;

/// Appends a text record.
pub(super) fn text(to: &mut Vec<u8>, stamp: &[u8; WIDTH], stream: Stream, record: Record<'_>) {
    to.reserve(TEXT_OVERHEAD + 2 + record.len());
    to.extend_from_slice(stamp);
    to.extend_from_slice(match (stream, record.continues) {
        (Stream::Out, false) => b" out ",
        (Stream::Err, false) => b" err ",
        (Stream::Out, true) => b" out+ ",
        (Stream::Err, true) => b" err+ ",
    });
    to.extend_from_slice(record.kept);
    to.extend_from_slice(record.fresh);
    to.push(b'\n');
}

/// Appends a JSON record; with the service's name where several services share one destination.
pub(super) fn json(
    to: &mut Vec<u8>,
    stamp: &[u8; WIDTH],
    service: Option<&str>,
    stream: Stream,
    record: Record<'_>,
) {
    to.extend_from_slice(b"{\"time\":\"");
    to.extend_from_slice(stamp);
    if let Some(name) = service {
        to.extend_from_slice(b"\",\"service\":");
        string(to, name);
        to.extend_from_slice(b",\"stream\":\"");
    } else {
        to.extend_from_slice(b"\",\"stream\":\"");
    }
    to.extend_from_slice(stream.name().as_bytes());
    to.extend_from_slice(b"\",\"text\":");
    let joined;
    let bytes = if record.kept.is_empty() {
        record.fresh
    } else {
        joined = [record.kept, record.fresh].concat();
        &joined
    };
    match std::str::from_utf8(bytes) {
        Ok(line) => string(to, line),
        Err(_) => {
            string(to, &String::from_utf8_lossy(bytes));
            to.extend_from_slice(b",\"base64\":\"");
            to.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            to.push(b'"');
        }
    }
    if record.continues {
        to.extend_from_slice(b",\"continues\":true");
    }
    to.extend_from_slice(b"}\n");
}

fn string(to: &mut Vec<u8>, text: &str) {
    // Writing a string into memory has no way to fail.
    let _ = serde_json::to_writer(to, text);
}

/// Appends a line for the daemon's own output, where people read several services at once.
pub(super) fn prefixed(to: &mut Vec<u8>, service: &str, record: Record<'_>) {
    to.extend_from_slice(service.as_bytes());
    to.extend_from_slice(b" | ");
    to.extend_from_slice(record.kept);
    to.extend_from_slice(record.fresh);
    to.push(b'\n');
}

/// A line as it goes over the wire.
pub(super) fn line(at: Micros, stream: Stream, bytes: &[u8], continues: bool) -> LogLine {
    bare(Some(stamp::text(at)), Some(stream), bytes, continues)
}

/// A line of which the format says nothing but the bytes.
pub(super) fn bare(time: Option<String>, stream: Option<Stream>, bytes: &[u8], continues: bool) -> LogLine {
    match std::str::from_utf8(bytes) {
        Ok(text) => LogLine { time, stream, text: text.to_owned(), base64: None, continues },
        Err(_) => LogLine {
            time,
            stream,
            text: String::from_utf8_lossy(bytes).into_owned(),
            base64: Some(STANDARD.encode(bytes)),
            continues,
        },
    }
}

/// Reads one line of a file, without its newline. What is no record of this format (torn by a power cut, written by
/// someone else, left from another format) becomes a line without time and stream.
pub(super) fn parse(format: LogFormat, line: &[u8]) -> LogLine {
    let known = match format {
        LogFormat::Text => parse_text(line),
        LogFormat::Json => serde_json::from_slice(line).ok(),
        LogFormat::Raw => None,
    };
    known.unwrap_or_else(|| bare(None, None, line, false))
}

fn parse_text(line: &[u8]) -> Option<LogLine> {
    let (stamp, rest) = line.split_at_checked(WIDTH)?;
    let (tag, text) = rest.split_at_checked(TEXT_OVERHEAD - WIDTH)?;
    let (stream, continues, text) = match tag {
        b" out " => (Stream::Out, false, text),
        b" err " => (Stream::Err, false, text),
        b" out+" => (Stream::Out, true, text.strip_prefix(b" ")?),
        b" err+" => (Stream::Err, true, text.strip_prefix(b" ")?),
        _ => return None,
    };
    if !stamp::is_stamp(stamp) {
        return None;
    }
    let time = std::str::from_utf8(stamp).ok()?.to_owned();
    Some(bare(Some(time), Some(stream), text, continues))
}

/// The bytes of a line, as its service wrote them.
pub(super) fn bytes(line: &LogLine) -> Vec<u8> {
    let raw = line.base64.as_ref().and_then(|encoded| STANDARD.decode(encoded).ok());
    raw.unwrap_or_else(|| line.text.clone().into_bytes())
}

/// When a line came.
pub(super) fn at(line: &LogLine) -> Option<Micros> {
    Some(line.time.as_ref()?.parse::<jiff::Timestamp>().ok()?.as_microsecond())
}

/// The time that a line of a file begins with, to compare with another's without reading the rest.
pub(super) fn time(format: LogFormat, line: &[u8]) -> Option<&[u8]> {
    let line = match format {
        LogFormat::Text => line,
        LogFormat::Json => line.strip_prefix(b"{\"time\":\"")?,
        LogFormat::Raw => return None,
    };
    let stamp = line.get(..WIDTH)?;
    stamp::is_stamp(stamp).then_some(stamp)
}

/// About how much memory a line takes on its way, in bytes.
pub(super) fn cost(line: &LogLine) -> usize {
    // The struct, the time, the allocator's share.
    line.text.len() + line.base64.as_ref().map_or(0, String::len) + 160
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::stamp::Stamper;

    fn round(format: LogFormat, bytes: &[u8], continues: bool) -> (Vec<u8>, LogLine) {
        let mut stamper = Stamper::new();
        let stamp = stamper.at(1_795_347_000_123_456);
        let (kept, fresh) = bytes.split_at(bytes.len() / 2);
        let record = Record { kept, fresh, continues };
        let mut file = Vec::new();
        match format {
            LogFormat::Text => text(&mut file, stamp, Stream::Err, record),
            _ => json(&mut file, stamp, None, Stream::Err, record),
        }
        assert_eq!(file.pop(), Some(b'\n'));
        assert!(!file.contains(&b'\n'), "a record is one line");
        assert_eq!(time(format, &file), Some(&b"2026-11-22T11:30:00.123456Z"[..]));
        let line = parse(format, &file);
        (file, line)
    }

    #[test]
    fn every_record_reads_back_as_itself() {
        for format in [LogFormat::Text, LogFormat::Json] {
            for bytes in
                [&b""[..], b" ", b"plain", b"\0\x01\r\t\"\\", "gr\u{fc}n".as_bytes(), b"\xff\xfe bad", b"+ x"]
            {
                for continues in [false, true] {
                    let (_, back) = round(format, bytes, continues);
                    assert_eq!(back, line(1_795_347_000_123_456, Stream::Err, bytes, continues));
                }
            }
        }
        assert_eq!(round(LogFormat::Text, b"line", false).0, b"2026-11-22T11:30:00.123456Z err line");
        assert_eq!(round(LogFormat::Text, b"line", true).0, b"2026-11-22T11:30:00.123456Z err+ line");
        assert_eq!(
            round(LogFormat::Json, b"line", false).0,
            br#"{"time":"2026-11-22T11:30:00.123456Z","stream":"err","text":"line"}"#
        );
    }

    #[test]
    fn what_is_no_record_is_still_a_line() {
        for torn in [
            &b""[..],
            b"2026-11-22T11:30:00.1234",
            b"2026-11-22T11:30:00.123456Z ou",
            b"Traceback",
            b"{\"a\":1}",
        ] {
            for format in [LogFormat::Text, LogFormat::Json, LogFormat::Raw] {
                assert_eq!(parse(format, torn), bare(None, None, torn, false));
            }
        }
    }
}
