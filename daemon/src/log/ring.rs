//! What did a stream say last? The last lines of one stream in memory, for crash reports and status.

use std::collections::VecDeque;

use mcpd_proto::log::{LogLine, Stream};

use super::format;
use super::frame::Record;
use super::stamp::Micros;

/// Bytes kept per stream, so that a thousand services that all print long lines cost at most 64 MiB.
pub(super) const RING_BYTES: usize = 32 * 1024;

/// Which line of which run.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// The order among both streams of a service.
    pub(super) sequence: u64,
    pub(super) at: Micros,
    pub(super) generation: u64,
}

struct Entry {
    origin: Origin,
    length: usize,
    continues: bool,
}

/// The last lines of one stream: at most as many as asked for and at most [`RING_BYTES`]. Of a record longer than that
/// its end is kept.
#[derive(Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    entries: VecDeque<Entry>,
}

impl Ring {
    pub(super) fn push(&mut self, most: usize, origin: Origin, record: Record<'_>) {
        if most == 0 {
            return;
        }
        let length = record.len().min(RING_BYTES);
        while self.entries.len() >= most || self.bytes.len() + length > RING_BYTES {
            let Some(old) = self.entries.pop_front() else { break };
            self.bytes.drain(..old.length);
        }
        let fresh = &record.fresh[record.fresh.len().saturating_sub(length)..];
        let kept = &record.kept[record.kept.len() - (length - fresh.len())..];
        self.bytes.extend(kept);
        self.bytes.extend(fresh);
        self.entries.push_back(Entry { origin, length, continues: record.continues });
    }

    /// Adds those of another ring that have at least this number.
    pub(super) fn append(&mut self, most: usize, other: &mut Self, from: u64) {
        let bytes = other.bytes.make_contiguous();
        let mut start = 0;
        for entry in &other.entries {
            let line = &bytes[start..start + entry.length];
            start += entry.length;
            if entry.origin.sequence >= from {
                let record = Record { kept: &[], fresh: line, continues: entry.continues };
                self.push(most, entry.origin, record);
            }
        }
    }

    /// Fewer lines are wanted from now on.
    pub(super) fn limit(&mut self, most: usize) {
        while self.entries.len() > most {
            if let Some(old) = self.entries.pop_front() {
                self.bytes.drain(..old.length);
            }
        }
        self.settle();
    }

    /// Nothing more comes for now: gives back memory that stands empty for the most part.
    pub(super) fn settle(&mut self) {
        if self.bytes.capacity() > 4 * self.bytes.len().max(256) {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
        if self.entries.capacity() > 4 * self.entries.len().max(4) {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// The last `most` lines, oldest first, with their sequence numbers; of one generation or of all.
    pub(super) fn lines(
        &mut self,
        stream: Stream,
        most: usize,
        generation: Option<u64>,
    ) -> Vec<(u64, LogLine)> {
        let bytes = self.bytes.make_contiguous();
        let mut end = bytes.len();
        let mut found = Vec::new();
        for entry in self.entries.iter().rev() {
            let start = end - entry.length;
            if found.len() < most && generation.is_none_or(|g| g == entry.origin.generation) {
                let line = format::line(entry.origin.at, stream, &bytes[start..end], entry.continues);
                found.push((entry.origin.sequence, line));
            }
            end = start;
        }
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut Ring, most: usize, sequence: u64, line: &[u8]) {
        let (kept, fresh) = line.split_at(line.len() / 2);
        let origin = Origin { sequence, at: 0, generation: sequence / 10 };
        ring.push(most, origin, Record { kept, fresh, continues: false });
    }

    fn texts(ring: &mut Ring, most: usize, generation: Option<u64>) -> Vec<String> {
        ring.lines(Stream::Out, most, generation).into_iter().map(|l| l.1.text).collect()
    }

    #[test]
    fn keeps_the_last_lines_within_both_bounds() {
        let mut ring = Ring::default();
        for n in 0..25 {
            push(&mut ring, 5, n, format!("line {n}").as_bytes());
        }
        assert_eq!(texts(&mut ring, 9, None), ["line 20", "line 21", "line 22", "line 23", "line 24"]);
        assert_eq!(texts(&mut ring, 2, None), ["line 23", "line 24"]);
        assert_eq!(texts(&mut ring, 9, Some(1)), [""; 0]);
        push(&mut ring, 5, 30, &vec![b'x'; RING_BYTES - 7]);
        assert_eq!(texts(&mut ring, 9, None).len(), 2, "the long line left room for one short one");
        push(&mut ring, 5, 31, &[vec![b'a'; RING_BYTES], b"end".to_vec()].concat());
        let left = texts(&mut ring, 9, None);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].len(), RING_BYTES);
        assert!(left[0].ends_with("aend"));
    }

    #[test]
    fn memory_follows_the_content() {
        let mut ring = Ring::default();
        for n in 0..100 {
            push(&mut ring, 100, n, &[b'x'; 1000]);
        }
        for n in 0..200 {
            push(&mut ring, 100, n, b"x");
        }
        ring.settle();
        assert!(ring.bytes.capacity() <= 1024, "{}", ring.bytes.capacity());
        ring.limit(0);
        assert_eq!(texts(&mut ring, 9, None), [""; 0]);
    }
}
