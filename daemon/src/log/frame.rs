//! Where does a line end? Cuts a stream of chunks into records, whatever the bytes are.

use memchr::memchr;

/// A longer line is cut into records of this many bytes: a line costs a service's share of memory at most this much,
/// and no reader ever meets a longer one.
pub(super) const MAX_RECORD: usize = 64 * 1024;

/// One line without its newline, or a piece of a line that is too long. It may lie in two places: what was kept from
/// earlier chunks, and this chunk.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) kept: &'a [u8],
    pub(super) fresh: &'a [u8],
    /// The line goes on in the next record of this stream.
    pub(super) continues: bool,
}

impl Record<'_> {
    pub(super) fn len(&self) -> usize {
        self.kept.len() + self.fresh.len()
    }
}

/// The state of one stream between two chunks: the line that has not ended yet.
#[derive(Default)]
pub(super) struct Framer {
    partial: Vec<u8>,
}

impl Framer {
    /// Gives every record that this chunk completes.
    pub(super) fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Record<'_>)) {
        let mut rest = chunk;
        if !self.partial.is_empty() {
            let end = memchr(b'\n', rest);
            let piece = end.unwrap_or(rest.len());
            let room = MAX_RECORD - self.partial.len();
            match end {
                Some(end) if piece <= room => {
                    each(Record { kept: &self.partial, fresh: &rest[..end], continues: false });
                    rest = &rest[end + 1..];
                }
                None if piece <= room => {
                    self.partial.extend_from_slice(rest);
                    return;
                }
                _ => {
                    each(Record { kept: &self.partial, fresh: &rest[..room], continues: true });
                    rest = &rest[room..];
                }
            }
            self.partial.clear();
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', rest) {
            let last = cut(&rest[start..end], &mut each);
            each(Record { kept: &[], fresh: last, continues: false });
            start = end + 1;
        }
        let last = cut(&rest[start..], &mut each);
        self.partial.extend_from_slice(last);
    }

    /// Ends the line that waits for its newline, if any.
    pub(super) fn finish(&mut self, each: impl FnOnce(Record<'_>)) {
        if !self.partial.is_empty() {
            each(Record { kept: &self.partial, fresh: &[], continues: false });
            self.partial = Vec::new();
        }
    }

    /// Forgets the line that waits: its bytes went another way.
    pub(super) fn forget(&mut self) {
        self.partial.clear();
    }

    /// Bytes of the line that has not ended yet.
    pub(super) fn waiting(&self) -> usize {
        self.partial.len()
    }

    /// Nothing more to read for now: gives back memory that holds nothing.
    pub(super) fn settle(&mut self) {
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
    }
}

/// Gives all of `line` but its last piece, which fits into a record.
fn cut<'a>(mut line: &'a [u8], each: &mut impl FnMut(Record<'_>)) -> &'a [u8] {
    while line.len() > MAX_RECORD {
        each(Record { kept: &[], fresh: &line[..MAX_RECORD], continues: true });
        line = &line[MAX_RECORD..];
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut found = Vec::new();
        let mut framer = Framer::default();
        for chunk in chunks {
            framer.feed(chunk, |r| found.push(([r.kept, r.fresh].concat(), r.continues)));
        }
        framer.finish(|r| found.push(([r.kept, r.fresh].concat(), r.continues)));
        found
    }

    #[test]
    fn lines_do_not_care_where_chunks_end() {
        let whole = records(&[b"one\n\ntwo\nthree"]);
        assert_eq!(
            whole.iter().map(|r| r.0.as_slice()).collect::<Vec<_>>(),
            [&b"one"[..], b"", b"two", b"three"]
        );
        assert_eq!(whole, records(&[b"on", b"e", b"\n", b"\ntwo\nth", b"ree"]));
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_one_record() {
        let mut line = vec![b'x'; MAX_RECORD];
        line.push(b'\n');
        for at in [1, 100, MAX_RECORD - 1, MAX_RECORD] {
            let (a, b) = line.split_at(at);
            assert_eq!(records(&[a, b]), [(line[..MAX_RECORD].to_vec(), false)]);
        }
    }

    #[test]
    fn a_longer_line_is_cut_and_marked() {
        let mut line = vec![b'x'; 2 * MAX_RECORD + 7];
        line.push(b'\n');
        for at in [0, 1, MAX_RECORD, MAX_RECORD + 1, 2 * MAX_RECORD + 7] {
            let (a, b) = line.split_at(at);
            let cut: Vec<_> = records(&[a, b]).iter().map(|r| (r.0.len(), r.1)).collect();
            assert_eq!(cut, [(MAX_RECORD, true), (MAX_RECORD, true), (7, false)]);
        }
    }
}
