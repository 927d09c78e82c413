//! The file: appended to by one writer, read by many, made smaller when it has grown.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use mcpd_proto::history::Record;
use memchr::memmem;

use super::compact::compact;

/// What stands before the name of a group.
const GROUP: &str = "\"group\":\"";

/// When the file is larger, it is made smaller.
pub(super) const MOST: u64 = 32 * 1024 * 1024;
/// To this.
pub(super) const KEPT: usize = 16 * 1024 * 1024;

/// The writer's side.
pub(super) struct Book {
    path: PathBuf,
    /// Open for appending; `None`: to be opened, after trouble too.
    file: Option<File>,
    size: u64,
    most: u64,
    kept: usize,
}

impl Book {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, size: 0, most: MOST, kept: KEPT }
    }

    #[cfg(test)]
    pub(super) fn with_limits(path: PathBuf, most: u64, kept: usize) -> Self {
        Self { path, file: None, size: 0, most, kept }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends records with one write, whole lines always.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(records.len() * 128);
        for record in records {
            serde_json::to_writer(&mut bytes, record)?;
            bytes.push(b'\n');
        }
        if self.size + bytes.len() as u64 > self.most {
            self.shrink()?;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        // On an error it stays closed: there may be half a line, behind which the next one must not be written.
        file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// A torn last line, of a write that a kill or a full disk cut, gets its end.
    fn open(&mut self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
        let mut file = options.open(&self.path)?;
        self.size = file.metadata()?.len();
        if self.size > 0 {
            let mut last = [0];
            file.seek(io::SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                self.size += 1;
            }
        }
        Ok(file)
    }

    /// Writes the file anew with what is worth keeping. Whoever reads the old one reads on in it.
    fn shrink(&mut self) -> io::Result<()> {
        let mut records = Vec::new();
        read(&self.path, Wanted::All, &mut |record| records.push(record))?;
        let kept = compact(records, self.kept);
        let part = self.path.with_extension("jsonl.part");
        let written = (|| {
            let mut file = io::BufWriter::new(File::create(&part)?);
            for record in &kept {
                serde_json::to_writer(&mut file, record)?;
                file.write_all(b"\n")?;
            }
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
            fs::rename(&part, &self.path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        self.file = None;
        self.size = 0;
        written
    }
}

/// No time of another millennium, and no number that nothing can count to: whoever adds up need not fear it.
fn is_sane(record: &Record) -> bool {
    /// 9999-12-31, microseconds since 1970.
    const MILLENNIUM: i64 = 253_402_214_400_000_000;
    /// Of each; a thousand years in microseconds have 55 bits.
    const COUNT: u64 = 1 << 55;
    let times = [Some(record.at), record.since];
    let counts = [record.n, record.restarts, record.up, record.down];
    times.iter().flatten().all(|time| (0..MILLENNIUM).contains(time))
        && counts.iter().all(|count| *count <= COUNT)
}

/// Which records are of interest: the others need not be parsed, which is most of the work.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All of them.
    All,
    /// Those about one service, and about mcpd itself.
    Service(&'a str),
    /// Those of crashes that have a group.
    Grouped,
    /// Those of crashes of these groups.
    Groups(&'a HashSet<&'a str>),
}

/// The records of the file that are wanted, oldest first, and now and then another. What is no record (a torn line) is
/// none.
pub(super) fn read(path: &Path, wanted: Wanted<'_>, each: &mut dyn FnMut(Record)) -> io::Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // Names and groups hold nothing that JSON escapes. Lines of mcpd itself have no `of`.
    let needle = match wanted {
        Wanted::Service(name) => format!("\"of\":\"{name}\""),
        Wanted::All | Wanted::Grouped | Wanted::Groups(_) => String::new(),
    };
    let (whose, anybodys) = (memmem::Finder::new(&needle), memmem::Finder::new("\"of\":"));
    let group = memmem::Finder::new(GROUP);
    let is_wanted = |line: &[u8]| match wanted {
        Wanted::All => true,
        Wanted::Service(_) => whose.find(line).is_some() || anybodys.find(line).is_none(),
        Wanted::Grouped => group.find(line).is_some(),
        Wanted::Groups(groups) => group.find(line).is_some_and(|at| {
            let rest = &line[at + GROUP.len()..];
            let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
            std::str::from_utf8(&rest[..end]).is_ok_and(|group| groups.contains(group))
        }),
    };
    let mut take = |line: &[u8]| {
        let record = if is_wanted(line) { serde_json::from_slice::<Record>(line).ok() } else { None };
        if let Some(record) = record.filter(is_sane) {
            each(record);
        }
    };
    let mut buffer = vec![0; 256 * 1024];
    let mut held = 0;
    loop {
        if held == buffer.len() {
            // No record is that long.
            held = 0;
        }
        let read = file.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        let end = held + read;
        let mut at = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[at..end]) {
            take(&buffer[at..at + length]);
            at += length + 1;
        }
        buffer.copy_within(at..end, 0);
        held = end - at;
    }
}
