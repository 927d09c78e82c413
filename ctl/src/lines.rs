//! How is a line of a service's output shown?

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mcpd_proto::log::{LogLine, Stream};

use crate::look::{BAD, DIM, Look, PLAIN};
use crate::text;

/// Of a line that was cut into pieces, more than this many bytes are not held back for its end.
const LONGEST_HELD: usize = 64 * 1024 * 1024;

/// The line's bytes as the service wrote them, without the newline.
pub(crate) fn bytes(line: &LogLine) -> Vec<u8> {
    let exact = line.base64.as_ref().and_then(|encoded| STANDARD.decode(encoded).ok());
    exact.unwrap_or_else(|| line.text.clone().into_bytes())
}

/// For people: `2026-11-22 11:30:00.123 err | text`, nothing cut. Where the log keeps neither times nor streams, the
/// text alone.
pub(crate) fn full(line: &LogLine, look: &Look) -> String {
    format!("{}{}\n", lead(line, look, |time| look.clock.precise(time)), shown(line, look))
}

/// For people, in a report: `11:30:00.123 err | text`, indented, cut to the width when `cut`.
pub(crate) fn indented(line: &LogLine, with_stream: bool, cut: bool, look: &Look) -> String {
    let mut line = line.clone();
    if !with_stream {
        line.stream = None;
    }
    let plain = Look { color: false, ..look.clone() };
    let time = |time: &str| look.clock.clock_precise(time);
    let used = 2 + text::width(&lead(&line, &plain, time));
    let shown = shown(&line, look);
    let shown = if cut { look.fit(&shown, used) } else { shown };
    format!("  {}{shown}\n", lead(&line, look, time))
}

fn lead(line: &LogLine, look: &Look, format: impl Fn(&str) -> String) -> String {
    let mut lead = String::new();
    if let Some(time) = &line.time {
        lead.push_str(&look.paint(DIM, &format(time)));
        lead.push(' ');
    }
    if let Some(stream) = line.stream {
        let style = if stream == Stream::Err { BAD } else { PLAIN };
        lead.push_str(&look.paint(style, stream.name()));
        lead.push(' ');
    }
    if !lead.is_empty() {
        lead.push_str(&look.paint(DIM, "|"));
        lead.push(' ');
    }
    lead
}

/// The text, with a mark where it was cut and goes on in the next line.
fn shown(line: &LogLine, look: &Look) -> String {
    let mut shown = text::safe(&line.text);
    if line.continues {
        shown.push_str(&look.paint(DIM, "\\"));
    }
    shown
}

/// Puts lines that were cut for their length together again, each stream's by itself.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    held: [Vec<u8>; 3],
}

impl Joiner {
    /// The whole line that ends with this piece; nothing while more is to come.
    pub(crate) fn join(&mut self, line: &LogLine) -> Option<Vec<u8>> {
        let held = &mut self.held[slot(line)];
        held.extend_from_slice(&bytes(line));
        if line.continues && held.len() < LONGEST_HELD { None } else { Some(std::mem::take(held)) }
    }

    /// Beginnings whose ends never came.
    pub(crate) fn rest(&mut self) -> impl Iterator<Item = Vec<u8>> {
        std::mem::take(&mut self.held).into_iter().filter(|held| !held.is_empty())
    }
}

const fn slot(line: &LogLine) -> usize {
    match line.stream {
        Some(Stream::Out) => 0,
        Some(Stream::Err) => 1,
        None => 2,
    }
}

/// For programs: `2026-11-22T11:30:00.123456Z out text`, the text byte for byte.
pub(crate) fn plain(line: &LogLine, text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len() + 40);
    if let Some(time) = &line.time {
        plain.extend_from_slice(time.as_bytes());
        plain.push(b' ');
    }
    if let Some(stream) = line.stream {
        plain.extend_from_slice(stream.name().as_bytes());
        plain.push(b' ');
    }
    plain.extend_from_slice(text);
    plain.push(b'\n');
    plain
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::look::tests::{assert_fits, terminal};

    pub(crate) fn line(stream: Stream, text: &str) -> LogLine {
        LogLine {
            time: Some("2026-11-22T11:29:58.123456Z".into()),
            stream: Some(stream),
            text: text.into(),
            base64: None,
            continues: false,
        }
    }

    #[test]
    fn people_see_local_time_and_stream() {
        let look = terminal();
        assert_eq!(full(&line(Stream::Err, "boom\x1b[0m"), &look), "2026-11-22 11:29:58.123 err | boom\n");
        let bare = LogLine { time: None, stream: None, ..line(Stream::Out, "bare") };
        assert_eq!(full(&bare, &look), "bare\n");
        let long = line(Stream::Out, &"x".repeat(500));
        assert_fits(&indented(&long, true, true, &look), 80);
        assert_eq!(indented(&line(Stream::Err, "a"), false, false, &look), "  11:29:58.123 | a\n");
    }

    #[test]
    fn bytes_come_back_exactly() {
        let mut garbage = line(Stream::Out, "\u{fffd}x");
        garbage.base64 = Some(STANDARD.encode(b"\xffx\0"));
        assert_eq!(bytes(&garbage), b"\xffx\0");
        assert_eq!(plain(&garbage, &bytes(&garbage)), b"2026-11-22T11:29:58.123456Z out \xffx\0\n");
    }

    #[test]
    fn pieces_are_joined_by_stream() {
        let piece = |stream, text| LogLine { continues: true, ..line(stream, text) };
        let mut joiner = Joiner::default();
        assert_eq!(joiner.join(&piece(Stream::Out, "ab")), None);
        assert_eq!(joiner.join(&line(Stream::Err, "between")), Some(b"between".to_vec()));
        assert_eq!(joiner.join(&line(Stream::Out, "cd")), Some(b"abcd".to_vec()));
        assert_eq!(joiner.join(&piece(Stream::Err, "unfinished")), None);
        assert_eq!(joiner.rest().collect::<Vec<_>>(), [b"unfinished".to_vec()]);
        assert_eq!(joiner.rest().count(), 0);
    }
}
