//! Reading back what was written, across rotated files, without reading more than is asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use mcpd_config::spec::LogFormat;
use mcpd_proto::log::LogLine;
use memchr::{memchr, memrchr, memrchr_iter};

use super::file::open_to_read;
use super::format::{bare, cost, parse, time};
use super::frame::MAX_RECORD;
use super::names;
use super::stamp::{self, Micros};

/// Read at once.
const BLOCK: usize = 64 * 1024;
/// About as much memory is given out at once.
const BATCH: usize = 64 * 1024;
/// No record is longer, whatever its format adds; a longer line is not ours and is given in pieces.
const MAX_LINE: usize = 1024 * 1024;

/// Gives the lines of a service's log in the order of writing: all, or the last `lines`, and of those only what came at
/// `since` or later. Where the format keeps no times (`raw`), `since` leaves out whole files only. `each` gets about
/// 256 KiB at a time and ends the reading with `false`. Returns how many lines were given.
///
/// A line at the end of the current file that has no newline yet is left out (but for `raw`): it is being written.
///
/// # Errors
/// The directory or a file cannot be read. No log at all is not an error. A rotated file that is removed meanwhile is
/// left out.
pub fn read(
    dir: &Path,
    name: &str,
    format: LogFormat,
    lines: Option<usize>,
    since: Option<jiff::Timestamp>,
    each: &mut dyn FnMut(Vec<LogLine>) -> bool,
) -> io::Result<u64> {
    // A rotation between listing and opening would show a file twice or not at all; then look again. Each turn means
    // that a whole file was written since the last one, so this ends.
    let mut rotated = names::list(dir, name)?;
    let current = loop {
        let current = match open_to_read(&names::current(dir, name)) {
            Ok(file) => {
                let end = file.metadata()?.len();
                Some((file, end))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let again = names::list(dir, name)?;
        let same = again.last() == rotated.last();
        rotated = again;
        if same {
            break current;
        }
    };
    let mut backlog = Backlog::new(dir, name, format, &rotated, current, lines, since);
    let mut given = 0;
    while let Some(batch) = backlog.next_batch()? {
        given += batch.len() as u64;
        if !each(batch) {
            break;
        }
    }
    Ok(given)
}

/// One file of the backlog.
struct Piece {
    /// Rotated files are opened one after the other; the current one may be renamed any time, so it is open.
    place: Place,
    from: u64,
}

enum Place {
    Rotated(PathBuf),
    Current(File, u64),
}

/// Lines that were written up to a moment.
pub(super) struct Backlog {
    format: LogFormat,
    pieces: VecDeque<Piece>,
    /// The last so many; taken when the beginning has been looked for.
    lines: Option<usize>,
    since: Option<String>,
    /// The last line with a time was not too old; lines without one go with it.
    recent: bool,
    open: Option<Reading>,
    /// The beginning of a line whose end has not been read.
    partial: Vec<u8>,
    block: Vec<u8>,
}

struct Reading {
    file: File,
    left: u64,
    current: bool,
}

impl Backlog {
    pub(super) fn new(
        dir: &Path,
        name: &str,
        format: LogFormat,
        rotated: &[Micros],
        current: Option<(File, u64)>,
        lines: Option<usize>,
        since: Option<jiff::Timestamp>,
    ) -> Self {
        // The first microsecond that is not before `since`.
        let since = since
            .map(|since| since.as_microsecond() + i64::from(since.as_nanosecond().rem_euclid(1000) != 0));
        let mut pieces = VecDeque::new();
        for &at in rotated {
            // No record in a file is younger than its name.
            if since.is_none_or(|since| at >= since) {
                pieces.push_back(Piece { place: Place::Rotated(names::rotated(dir, name, at)), from: 0 });
            }
        }
        pieces.extend(current.map(|(file, end)| Piece { place: Place::Current(file, end), from: 0 }));
        Self {
            format,
            pieces,
            lines,
            since: since.map(stamp::text),
            recent: since.is_none(),
            open: None,
            partial: Vec::new(),
            block: Vec::new(),
        }
    }

    /// The next lines, never none; `None` at the end.
    pub(super) fn next_batch(&mut self) -> io::Result<Option<Vec<LogLine>>> {
        if let Some(lines) = self.lines.take() {
            self.skip_to_last(lines)?;
        }
        let mut batch = Batch { lines: Vec::new(), cost: 0 };
        self.block.resize(BLOCK, 0);
        while batch.cost < BATCH {
            let Some(reading) = &mut self.open else {
                let Some(piece) = self.pieces.pop_front() else {
                    if self.format == LogFormat::Raw {
                        self.end_partial(&mut batch);
                    }
                    break;
                };
                self.open = piece.open()?;
                continue;
            };
            let most = usize::try_from(reading.left).map_or(BLOCK, |left| left.min(BLOCK));
            let count = match reading.file.read(&mut self.block[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            reading.left -= count as u64;
            if count > 0 {
                let block = std::mem::take(&mut self.block);
                self.lines_of(&block[..count], &mut batch);
                self.block = block;
            } else {
                let current = reading.current;
                self.open = None;
                // A raw line goes on in the next file. A record does not: its end is missing.
                match self.format {
                    LogFormat::Raw => {}
                    _ if current => self.partial.clear(),
                    _ => self.end_partial(&mut batch),
                }
            }
        }
        self.block = Vec::new();
        Ok((!batch.lines.is_empty()).then_some(batch.lines))
    }

    fn lines_of(&mut self, mut data: &[u8], batch: &mut Batch) {
        let most = if self.format == LogFormat::Raw { MAX_RECORD } else { MAX_LINE };
        while !data.is_empty() {
            let end = memchr(b'\n', data);
            let size = end.unwrap_or(data.len());
            let room = most - self.partial.len();
            if size > room {
                self.partial.extend_from_slice(&data[..room]);
                let piece = std::mem::take(&mut self.partial);
                self.give(&piece, true, batch);
                data = &data[room..];
            } else if let Some(end) = end {
                if self.partial.is_empty() {
                    self.give(&data[..end], false, batch);
                } else {
                    self.partial.extend_from_slice(&data[..end]);
                    self.end_partial(batch);
                }
                data = &data[end + 1..];
            } else {
                self.partial.extend_from_slice(data);
                break;
            }
        }
    }

    fn end_partial(&mut self, batch: &mut Batch) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.give(&line, false, batch);
        }
    }

    fn give(&mut self, line: &[u8], cut: bool, batch: &mut Batch) {
        if let Some(since) = &self.since {
            match time(self.format, line) {
                Some(time) => self.recent = time >= since.as_bytes(),
                None if self.format == LogFormat::Raw => self.recent = true,
                None => {}
            }
        }
        if self.recent {
            let line = if cut { bare(None, None, line, true) } else { parse(self.format, line) };
            batch.cost += cost(&line);
            batch.lines.push(line);
        }
    }

    /// Drops everything before the last `lines` lines.
    fn skip_to_last(&mut self, lines: usize) -> io::Result<()> {
        let mut wanted = lines;
        let mut keep = 0;
        for piece in self.pieces.iter_mut().rev() {
            if wanted == 0 {
                break;
            }
            keep += 1;
            let (from, found) = piece.last_lines(wanted, self.format)?;
            piece.from = from;
            wanted -= found;
        }
        self.pieces.drain(..self.pieces.len() - keep);
        Ok(())
    }
}

struct Batch {
    lines: Vec<LogLine>,
    cost: usize,
}

impl Piece {
    fn open(self) -> io::Result<Option<Reading>> {
        let (mut file, end, current) = match self.place {
            Place::Current(file, end) => (file, end, true),
            Place::Rotated(path) => match opened(&path)? {
                Some((file, end)) => (file, end, false),
                None => return Ok(None),
            },
        };
        file.seek(SeekFrom::Start(self.from))?;
        Ok(Some(Reading { file, left: end.saturating_sub(self.from), current }))
    }

    /// Where the last `wanted` lines begin, and how many there are, at most `wanted`.
    fn last_lines(&mut self, wanted: usize, format: LogFormat) -> io::Result<(u64, usize)> {
        let rotated;
        let (mut file, end, current) = match &self.place {
            Place::Current(file, end) => (file, *end, true),
            Place::Rotated(path) => match opened(path)? {
                Some((file, end)) => {
                    rotated = file;
                    (&rotated, end, false)
                }
                None => return Ok((0, 0)),
            },
        };
        let mut block = vec![0; BLOCK];
        let mut found = 0;
        let mut at = end;
        // A line ends at its newline. What stands after the last newline is a line of its own, unless it is a record
        // that is still being written.
        let mut at_end = true;
        while at > 0 {
            let size = usize::try_from(at).map_or(BLOCK, |left| left.min(BLOCK));
            at -= size as u64;
            file.seek(SeekFrom::Start(at))?;
            let block = &mut block[..size];
            // Shorter when the writer took back a torn record meanwhile; then nothing stands there.
            let got = (&mut file).take(size as u64).read(block)?;
            block[got..].fill(0);
            if at_end {
                at_end = false;
                let unfinished = memrchr(b'\n', block) != Some(size - 1);
                found += usize::from(unfinished && (!current || format == LogFormat::Raw));
            }
            for newline in memrchr_iter(b'\n', block) {
                if found == wanted {
                    return Ok((at + newline as u64 + 1, found));
                }
                found += 1;
            }
        }
        Ok((0, found))
    }
}

fn opened(path: &Path) -> io::Result<Option<(File, u64)>> {
    match open_to_read(path) {
        Ok(file) => {
            let end = file.metadata()?.len();
            Ok(Some((file, end)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
