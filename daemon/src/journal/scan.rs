//! Lines of one file: from a place on, from a place back, and the place where a record is.
//!
//! A line that is no record (torn by a SIGKILL or a full disk, or written by somebody else) is passed over.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use memchr::{memchr, memmem, memrchr};
use serde::Deserialize;

use super::files::MAX_ID;

/// Read at a time.
const CHUNK: usize = 64 * 1024;
/// Read first where it may be about one line only.
const FIRST: usize = 2 * 1024;
/// A record is shorter; of a longer line the rest is passed over.
const MAX_RECORD: usize = 4 * 1024 * 1024;
/// A search goes on line by line once it has come so near.
const NEAR: u64 = 16 * 1024;

/// What a record is found by.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Head<'a> {
    pub(super) id: u64,
    /// RFC 3339 UTC to the microsecond, so that times sort as text.
    #[serde(borrow)]
    pub(super) time: &'a str,
}

pub(super) fn head(line: &[u8]) -> Option<Head<'_>> {
    serde_json::from_slice::<Head<'_>>(line).ok().filter(|head| head.id < MAX_ID)
}

/// One file as it was when it was opened.
pub(super) struct Piece {
    file: File,
    pub(super) len: u64,
    /// The id of its first record; `None`: it has none.
    pub(super) first: Option<u64>,
}

impl Piece {
    /// # Errors
    /// When it cannot be read.
    pub(super) fn new(file: File, first: Option<u64>) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let mut piece = Self { file, len, first };
        if first.is_none() {
            let mut lines = piece.forward(0);
            let mut found = None;
            while let Some(line) = lines.next_line()? {
                found = head(line).map(|head| head.id);
                if found.is_some() {
                    break;
                }
            }
            piece.first = found;
        }
        Ok(piece)
    }

    /// The time of its first record.
    pub(super) fn first_time(&self) -> io::Result<Option<String>> {
        let mut lines = self.forward(0);
        while let Some(line) = lines.next_line()? {
            if let Some(head) = head(line) {
                return Ok(Some(head.time.to_owned()));
            }
        }
        Ok(None)
    }

    /// Its lines from the place `at`, where one begins.
    pub(super) fn forward(&self, at: u64) -> Forward<'_> {
        Forward { piece: self, at, chunk: FIRST, buffer: Vec::new(), used: 0 }
    }

    /// Its lines from the place `begin` to the place `end`, the last one first; with a needle those that contain it. They
    /// end with the first error.
    pub(super) fn backward<'a>(&'a self, begin: u64, end: u64, needle: Option<&'a [u8]>) -> Backward<'a> {
        Backward {
            piece: self,
            begin,
            start: end,
            buffer: Vec::new(),
            left: 0,
            whole: 0,
            finder: needle.map(memmem::FinderRev::new),
            dropping: false,
        }
    }

    /// The place of the first record that `is_there`; all after it are too.
    pub(super) fn find(&self, is_there: impl Fn(&Head<'_>) -> bool) -> io::Result<u64> {
        // Where a line begins of which is known that it is not there yet, or nothing is known.
        let mut low = 0;
        let mut high = self.len;
        while high.saturating_sub(low) > NEAR {
            let middle = low + (high - low) / 2;
            let mut lines = self.forward(middle);
            // The rest of the line in whose middle it begins.
            let mut place = middle + lines.next_line()?.map_or(0, |line| line.len() as u64 + 1);
            let mut found = None;
            while place < high {
                let Some(line) = lines.next_line()? else { break };
                if let Some(head) = head(line) {
                    found = Some(is_there(&head));
                    break;
                }
                place += line.len() as u64 + 1;
            }
            match found {
                Some(false) => low = place,
                // Nothing but what is no record until there: it is before.
                Some(true) | None => high = middle,
            }
        }
        let mut lines = self.forward(low);
        let mut place = low;
        while let Some(line) = lines.next_line()? {
            if head(line).is_some_and(|head| is_there(&head)) {
                break;
            }
            place += line.len() as u64 + 1;
        }
        Ok(place.min(self.len))
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))?;
        let mut read = 0;
        while read < into.len() {
            match file.read(&mut into[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

/// Lines in the order in which they were written.
pub(super) struct Forward<'a> {
    piece: &'a Piece,
    /// Where the next chunk is.
    at: u64,
    /// How long it is to be.
    chunk: usize,
    buffer: Vec<u8>,
    /// Of the buffer, these bytes were given out.
    used: usize,
}

impl Forward<'_> {
    /// The next line without its end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.used;
        loop {
            if let Some(end) = memchr(b'\n', &self.buffer[searched..]) {
                let (start, end) = (self.used, searched + end);
                self.used = end + 1;
                return Ok(Some(&self.buffer[start..end]));
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            searched = self.buffer.len();
            if searched > MAX_RECORD {
                // Whatever it is: its end comes out as a line of its own, which is no record either.
                self.used = searched;
            }
            let room = self.piece.len.saturating_sub(self.at);
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(self.chunk);
            self.chunk = (self.chunk * 2).min(CHUNK);
            self.buffer.resize(searched + room, 0);
            let read = self.piece.read(self.at, &mut self.buffer[searched..])?;
            self.buffer.truncate(searched + read);
            self.at += read as u64;
            if read == 0 {
                // What has no end: torn, or whole but for the end.
                let rest = self.used;
                self.used = self.buffer.len();
                let rest = &self.buffer[rest..];
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }
}

/// Lines against the order in which they were written.
pub(super) struct Backward<'a> {
    piece: &'a Piece,
    /// The place before which nothing is wanted, where a line begins.
    begin: u64,
    /// Where the buffer begins in the file.
    start: u64,
    buffer: Vec<u8>,
    /// Of the buffer, so much was not given out yet.
    left: usize,
    /// What is before this in the buffer is the end of a line that begins before the buffer.
    whole: usize,
    finder: Option<memmem::FinderRev<'a>>,
    /// The end of a line that is too long for a record was thrown away.
    dropping: bool,
}

impl Backward<'_> {
    /// The line before.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            while self.left > self.whole {
                let text = &self.buffer[self.whole..self.left];
                let (start, end) = match &self.finder {
                    None => {
                        let end = text.strip_suffix(b"\n").map_or(text.len(), <[u8]>::len);
                        (memrchr(b'\n', &text[..end]).map_or(0, |before| before + 1), end)
                    }
                    Some(finder) => {
                        let Some(found) = finder.rfind(text) else {
                            self.left = self.whole;
                            break;
                        };
                        let start = memrchr(b'\n', &text[..found]).map_or(0, |before| before + 1);
                        (start, memchr(b'\n', &text[found..]).map_or(text.len(), |end| found + end))
                    }
                };
                let (start, end) = (self.whole + start, self.whole + end);
                self.left = start;
                if start < end {
                    return Ok(Some(&self.buffer[start..end]));
                }
            }
            if self.start <= self.begin {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// Reads the chunk before.
    fn fill(&mut self) -> io::Result<()> {
        // The end of a line whose beginning comes now.
        let mut rest = self.whole;
        if rest > MAX_RECORD {
            (rest, self.dropping) = (0, true);
        }
        let chunk = usize::try_from(self.start - self.begin).unwrap_or(usize::MAX).min(CHUNK);
        let mut buffer = vec![0; chunk + rest];
        buffer[chunk..].copy_from_slice(&self.buffer[..rest]);
        self.start -= chunk as u64;
        let read = self.piece.read(self.start, &mut buffer[..chunk])?;
        if read < chunk {
            // Somebody has cut the file: there is nothing to be made of it.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = buffer.len();
        if self.dropping {
            match memrchr(b'\n', &buffer[..chunk]) {
                Some(end) => (self.left, self.dropping) = (end + 1, false),
                None => self.left = 0,
            }
        }
        self.whole = if self.start == self.begin {
            0
        } else {
            memchr(b'\n', &buffer[..self.left]).map_or(self.left, |end| end + 1)
        };
        self.buffer = buffer;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn piece(bytes: &[u8]) -> Piece {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Piece::new(file, None).unwrap()
    }

    fn forward(piece: &Piece) -> Vec<Vec<u8>> {
        let mut lines = piece.forward(0);
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(line.to_vec());
        }
        all
    }

    fn backward(piece: &Piece, needle: Option<&[u8]>) -> Vec<Vec<u8>> {
        let mut lines = piece.backward(0, piece.len, needle);
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(line.to_vec());
        }
        all.reverse();
        all
    }

    #[test]
    fn lines_longer_than_a_chunk_and_longer_than_any_record() {
        let long = vec![b'a'; 3 * CHUNK + 7];
        let bytes = [b"one\n".as_slice(), &long, b"\ntwo\n\nthree"].concat();
        let piece = piece(&bytes);
        assert_eq!(forward(&piece).iter().filter(|line| !line.is_empty()).count(), 4);
        assert_eq!(backward(&piece, None), [b"one".to_vec(), long, b"two".to_vec(), b"three".to_vec()]);
        assert_eq!(backward(&piece, Some(b"t")), [b"two".to_vec(), b"three".to_vec()]);
        let endless = vec![b'a'; 2 * MAX_RECORD];
        let piece = self::piece(&[b"one\n".as_slice(), &endless, b"\ntwo\n"].concat());
        for lines in [forward(&piece), backward(&piece, None)] {
            assert_eq!(
                (lines.first().unwrap().as_slice(), lines.last().unwrap().as_slice()),
                (&b"one"[..], &b"two"[..])
            );
            assert!(lines.iter().all(|line| line.len() < 2 * MAX_RECORD));
        }
    }

    proptest! {
        /// Whatever is between them, records are found by their id, and both ways of reading see the same lines.
        #[test]
        fn a_record_is_found_among_anything(
            gaps in prop::collection::vec((1_u64..5, "[a-z\n{}\"]{0,20}", 0_usize..40_000), 0..40),
            wanted in 0_u64..120,
            torn in any::<bool>(),
        ) {
            let (mut bytes, mut ids, mut id) = (Vec::new(), Vec::new(), 0);
            for (step, garbage, padding) in gaps {
                id += step;
                ids.push(id);
                bytes.extend(format!("{garbage}\n{{\"id\":{id},\"time\":\"t\",\"m\":\"{}\"}}\n", "x".repeat(padding)).bytes());
            }
            if torn {
                bytes.extend(b"{\"id\":1,\"ti");
            }
            let piece = piece(&bytes);
            prop_assert_eq!(piece.first, ids.first().copied());
            let place = piece.find(|head| head.id >= wanted).unwrap();
            let mut lines = piece.forward(place);
            let mut next = None;
            while let Some(line) = lines.next_line().unwrap() {
                next = head(line).map(|head| head.id);
                if next.is_some() {
                    break;
                }
            }
            prop_assert_eq!(next, ids.iter().copied().find(|id| *id >= wanted));
            let mut before = piece.backward(0, place, None);
            let mut last = None;
            while let Some(line) = before.next_line().unwrap() {
                last = head(line).map(|head| head.id);
                if last.is_some() {
                    break;
                }
            }
            prop_assert_eq!(last, ids.iter().copied().rfind(|id| *id < wanted));
            // From there on, and not a line more.
            let mut from = piece.backward(place, piece.len, None);
            let mut first = None;
            while let Some(line) = from.next_line().unwrap() {
                first = head(line).map(|head| head.id).or(first);
            }
            prop_assert_eq!(first, next);
            let there: Vec<_> = forward(&piece).into_iter().filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(backward(&piece, None), there.clone());
            let with_m: Vec<_> = there.into_iter().filter(|line| memmem::find(line, b"\"m\"").is_some()).collect();
            prop_assert_eq!(backward(&piece, Some(b"\"m\"")), with_m);
        }
    }
}
