//! The files of the journal: what they are called, which are there, which number comes next.
//!
//! `events.jsonl` is written to. A full one is renamed to `events-NUMBER.jsonl`, where NUMBER is the id of its first
//! record with 20 digits: so names sort as the records do.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::scan::{Piece, head};

/// Ids beyond it are no number to every reader of JSON: such a line is not ours.
pub(super) const MAX_ID: u64 = 1 << 53;

/// The file that is written to.
pub(super) fn active(dir: &Path) -> PathBuf {
    dir.join("events.jsonl")
}

/// A full one whose first record has this id.
pub(super) fn full(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("events-{first:020}.jsonl"))
}

/// The full ones with the ids that their names tell, oldest first. A folder that is not there has none.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn full_ones(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix("events-")?.strip_suffix(".jsonl"));
        let id = id.filter(|id| id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            found.push((id, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// All files, oldest first, opened as they are now: what is rotated or removed from here on makes no difference.
///
/// # Errors
/// When the folder or a file that is there cannot be read.
pub(super) fn open_all(dir: &Path) -> io::Result<Vec<Piece>> {
    // Before the names of the others are read: if it is renamed meanwhile, it is among them, and known by its first id.
    let active = open(&active(dir))?.map(|file| Piece::new(file, None)).transpose()?;
    let first = active.as_ref().and_then(|piece| piece.first);
    let mut pieces = Vec::new();
    for (id, path) in full_ones(dir)? {
        if first.is_some_and(|first| id >= first) {
            break;
        }
        if let Some(file) = open(&path)? {
            pieces.push(Piece::new(file, Some(id))?);
        }
    }
    pieces.extend(active.filter(|piece| piece.len > 0));
    Ok(pieces)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id of the last record that is on disk; 0 without one.
pub(super) fn last_id(dir: &Path) -> u64 {
    // What cannot be read has no say: mcpd starts all the same.
    let Ok(pieces) = open_all(dir) else { return 0 };
    let last = |piece: &Piece| {
        let mut lines = piece.backward(0, piece.len, None);
        while let Ok(Some(line)) = lines.next_line() {
            if let Some(head) = head(line) {
                return Some(head.id);
            }
        }
        None
    };
    pieces.iter().rev().find_map(last).unwrap_or(0)
}
