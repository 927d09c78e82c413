//! What are a service's log files called, and which are there?
//!
//! `NAME.log` is written; `NAME.log.20261122T113000.123456Z` were. The time in the name is that of the rotation: no
//! record in the file is younger, and names sort in the order of writing even when the wall clock was set back.

use std::io;
use std::path::{Path, PathBuf};

use super::stamp::{self, Micros};

/// The file that is written.
pub(super) fn current(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("{}.log", file_name(service)))
}

/// A rotated file.
pub(super) fn rotated(dir: &Path, service: &str, at: Micros) -> PathBuf {
    dir.join(format!("{}.log.{}", file_name(service), stamp::compact(at)))
}

/// Windows gives `:` a meaning of its own in file names; `%` never stands in a service's name, so this stays unique.
fn file_name(service: &str) -> String {
    if cfg!(windows) { service.replace(':', "%3A") } else { service.to_owned() }
}

/// The times of all rotated files, oldest first. A directory that is not there has none.
pub(super) fn list(dir: &Path, service: &str) -> io::Result<Vec<Micros>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let start = format!("{}.log.", file_name(service));
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(&start));
        found.extend(rest.and_then(stamp::parse_compact));
    }
    found.sort_unstable();
    Ok(found)
}
