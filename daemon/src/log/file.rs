//! One service's log file: append, rotate, prune, and what to do when the disk will not.
//!
//! Only whole records are written: after a write that was cut short the file is taken back to the end of its last
//! record, and where even that fails the next write begins on a fresh line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcpd_config::spec::LogFormat;
use memchr::{memchr, memrchr};

use super::names;
use super::spool::Ticket;
use super::stamp::{self, Micros};
use crate::sys;

/// So long a failing file is left alone: trying costs system calls, and each line of a busy service would try.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// How far over `max_size` a raw file may grow to end with its line.
const RAW_GRACE: usize = 64 * 1024;

/// What could not be written, and why.
pub(super) struct Failure {
    pub(super) error: io::Error,
    /// Bytes from the end of the data that are not in the file.
    pub(super) unwritten: usize,
}

/// A log file by its name. Opened with the first bytes.
pub(super) struct LogFile {
    dir: PathBuf,
    service: String,
    path: PathBuf,
    pub(super) format: LogFormat,
    pub(super) max_size: u64,
    pub(super) max_files: u32,
    open: Option<Open>,
    /// Times in the names of rotated files, oldest first; read from the directory when first needed.
    rotated: Option<Vec<Micros>>,
    /// The time of the youngest record written.
    youngest: Micros,
    /// Rotation failed; not tried again before this.
    rotate_after: Option<Instant>,
    /// The error of a rotation that failed just now, for the caller to take.
    pub(super) rotation_error: Option<io::Error>,
}

struct Open {
    file: File,
    inode: u64,
    length: u64,
    /// The file is empty or ends with a newline.
    line_start: bool,
    /// When it was last seen under its name.
    seen: Instant,
}

impl LogFile {
    pub(super) fn new(dir: &Path, service: &str, format: LogFormat, max_size: u64, max_files: u32) -> Self {
        Self {
            dir: dir.to_owned(),
            service: service.to_owned(),
            path: names::current(dir, service),
            format,
            max_size,
            max_files,
            open: None,
            rotated: None,
            youngest: Micros::MIN,
            rotate_after: None,
            rotation_error: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The last rotation, if any, worked.
    pub(super) fn rotates(&self) -> bool {
        self.rotate_after.is_none()
    }

    /// Writes whole records (raw: any bytes), the youngest of the time `youngest`, rotating where due.
    /// With a ticket each write is noted.
    pub(super) fn append(
        &mut self,
        data: &[u8],
        youngest: Micros,
        fresh_line: bool,
        ticket: Option<Ticket<'_>>,
    ) -> Result<(), Failure> {
        let mut left = data;
        let result = self.append_until(&mut left, youngest, fresh_line, ticket);
        result.map_err(|error| Failure { error, unwritten: left.len() })
    }

    fn append_until(
        &mut self,
        left: &mut &[u8],
        youngest: Micros,
        fresh_line: bool,
        ticket: Option<Ticket<'_>>,
    ) -> io::Result<()> {
        let now = Instant::now();
        self.forget_removed(now);
        while !left.is_empty() {
            let format = self.format;
            let at_line_start = self.opened(now)?.line_start;
            if !at_line_start && (format != LogFormat::Raw || fresh_line) {
                self.put(b"\n")?;
            }
            let size = self.fitting(left, now);
            if size == 0 {
                if let Err(error) = self.rotate() {
                    self.rotate_after = Some(now + RETRY);
                    self.rotation_error = Some(error);
                }
                continue;
            }
            let (piece, rest) = left.split_at(size);
            let noted = ticket
                .as_ref()
                .zip(self.open.as_ref())
                .map(|(ticket, open)| ticket.begin(open.inode, open.length, piece.len(), rest.is_empty()));
            match self.put(piece) {
                Ok(()) => {
                    if let Some(noted) = noted {
                        noted.done();
                    }
                    *left = rest;
                }
                Err(Cut { error, kept }) => {
                    *left = &left[kept..];
                    return Err(error);
                }
            }
            self.youngest = self.youngest.max(youngest);
        }
        Ok(())
    }

    /// How many bytes go into the file as it is now; 0: it is full.
    fn fitting(&self, data: &[u8], now: Instant) -> usize {
        let Some(open) = &self.open else { return data.len() };
        if self.max_size == 0 || self.rotate_after.is_some_and(|after| now < after) {
            return data.len();
        }
        let room = usize::try_from(self.max_size.saturating_sub(open.length)).unwrap_or(usize::MAX);
        if data.len() <= room {
            return data.len();
        }
        if let Some(end) = memrchr(b'\n', &data[..room]) {
            return end + 1;
        }
        if open.length > 0 && open.line_start {
            return 0;
        }
        // The line in hand ends after the limit. A record stays whole, whatever its length.
        if self.format != LogFormat::Raw {
            return memchr(b'\n', data).map_or(data.len(), |end| end + 1);
        }
        let grace = data.len().min(room.saturating_add(RAW_GRACE));
        memchr(b'\n', &data[..grace]).map_or(room, |end| end + 1)
    }

    /// Appends these bytes. When it fails, says how many of them, always whole records, are in the file for good.
    fn put(&mut self, data: &[u8]) -> Result<(), Cut> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut done = 0;
        let error = loop {
            if done == data.len() {
                break None;
            }
            match open.file.write(&data[done..]) {
                Ok(0) => break Some(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        let whole = memrchr(b'\n', &data[..done]).map_or(0, |end| end + 1);
        let kept = if error.is_some() && whole < done && self.format != LogFormat::Raw {
            // A record was torn. Take it back; if that fails too, it is ended by a newline at the next chance.
            match open.file.set_len(open.length + whole as u64) {
                Ok(()) => whole,
                Err(_) => done,
            }
        } else {
            done
        };
        if kept > 0 {
            open.length += kept as u64;
            open.line_start = data[kept - 1] == b'\n';
        }
        match error {
            None => Ok(()),
            Some(error) => {
                let counted = if self.format == LogFormat::Raw { kept } else { whole };
                Err(Cut { error, kept: counted })
            }
        }
    }

    fn opened(&mut self, now: Instant) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let mut file = match open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    std::fs::create_dir_all(&self.dir)?;
                    open(&self.path)?
                }
                other => other?,
            };
            let found = file.metadata()?;
            let length = found.len();
            let line_start = length == 0 || {
                let mut last = [0];
                file.seek(SeekFrom::Start(length - 1))?;
                file.read(&mut last)? == 1 && last[0] == b'\n'
            };
            self.open = Some(Open { file, inode: sys::inode(&found), length, line_start, seen: now });
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("the file was closed"))
    }

    /// A file that someone removed or renamed gets a successor: what is written into it could be read by nobody.
    /// Looked at once a second, not for every write.
    fn forget_removed(&mut self, now: Instant) {
        let Some(open) = &mut self.open else { return };
        if now.duration_since(open.seen) < RETRY {
            return;
        }
        open.seen = now;
        if std::fs::symlink_metadata(&self.path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            self.open = None;
        }
    }

    /// Renames the file and opens a new one under its name; if the second fails, all is as before.
    fn rotate(&mut self) -> io::Result<()> {
        let newest = self.rotated()?.last().copied();
        let mut at = stamp::now().max(self.youngest).max(newest.map_or(Micros::MIN, |newest| newest + 1));
        let mut target = names::rotated(&self.dir, &self.service, at);
        while std::fs::symlink_metadata(&target).is_ok() {
            at += 1;
            target = names::rotated(&self.dir, &self.service, at);
        }
        match std::fs::rename(&self.path, &target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.open = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        match open(&self.path) {
            Ok(file) => {
                let inode = file.metadata().map_or(0, |found| sys::inode(&found));
                self.open = Some(Open { file, inode, length: 0, line_start: true, seen: Instant::now() });
            }
            Err(error) => {
                std::fs::rename(&target, &self.path)?;
                return Err(error);
            }
        }
        self.rotate_after = None;
        self.rotated()?.push(at);
        self.prune()
    }

    fn prune(&mut self) -> io::Result<()> {
        let most = usize::try_from(self.max_files).unwrap_or(usize::MAX);
        loop {
            let rotated = self.rotated()?;
            let Some(&oldest) = rotated.first().filter(|_| rotated.len() > most) else { return Ok(()) };
            match std::fs::remove_file(names::rotated(&self.dir, &self.service, oldest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {
                    self.rotated()?.remove(0);
                }
            }
        }
    }

    fn rotated(&mut self) -> io::Result<&mut Vec<Micros>> {
        if self.rotated.is_none() {
            self.rotated = Some(names::list(&self.dir, &self.service)?);
        }
        self.rotated.as_mut().ok_or_else(|| io::Error::other("the list was taken"))
    }

    /// Closes the file; if it was open, opens it again by its name.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.rotated = None;
        if self.open.take().is_some() {
            self.opened(Instant::now())?;
        }
        Ok(())
    }

    /// What has been written so far, for a reader to see exactly that.
    pub(super) fn written(&mut self) -> io::Result<Written> {
        let rotated = self.rotated()?.clone();
        let mut file = match open_to_read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Written { rotated, current: None, partial: Vec::new() });
            }
            other => other?,
        };
        let mut end = match &self.open {
            Some(open) => open.length,
            None => file.metadata()?.len(),
        };
        let mut partial = Vec::new();
        if self.format == LogFormat::Raw && end > 0 {
            let from = end.saturating_sub(RAW_GRACE as u64);
            file.seek(SeekFrom::Start(from))?;
            (&mut file).take(end - from).read_to_end(&mut partial)?;
            let line = memrchr(b'\n', &partial).map_or(0, |at| at + 1);
            partial.drain(..line);
            end -= partial.len() as u64;
        }
        Ok(Written { rotated, current: Some((file, end)), partial })
    }
}

/// A log at one moment.
pub(super) struct Written {
    /// The times in the names of rotated files, oldest first.
    pub(super) rotated: Vec<Micros>,
    /// The current file and how much of it counts.
    pub(super) current: Option<(File, u64)>,
    /// What follows there, of raw output: a line that has not ended yet.
    pub(super) partial: Vec<u8>,
}

struct Cut {
    error: io::Error,
    kept: usize,
}

impl From<Cut> for io::Error {
    fn from(cut: Cut) -> Self {
        cut.error
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).read(true).create(true).open(path)?;
    if sys::is_pipe(&file.metadata()?) {
        // Nobody may read it, and then all services' logs would wait for that.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, not a file"));
    }
    Ok(file)
}

/// Opens a file for reading; what is no regular file may make its reader wait for ever.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        let message = format!("{} is no regular file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    File::open(path)
}
