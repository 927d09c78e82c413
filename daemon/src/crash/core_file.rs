//! Where is the core of a process that the kernel says it has dumped?

use std::fs;
use std::path::{Path, PathBuf};

use mcpd_proto::crash::CoreFile;

/// Names in one directory that are compared with the pattern.
const MOST_NAMES: usize = 10_000;

/// What is known of the dump.
#[derive(Debug, Clone, Copy)]
pub struct Dump<'d> {
    /// The kernel's pattern, `core(5)`.
    pub pattern: &'d str,
    /// The process that died.
    pub pid: u32,
    /// Its program.
    pub program: &'d str,
    /// Where it ran: a pattern without a directory counts from there.
    pub directory: &'d Path,
}

/// The file, if it is where the pattern says, or how it is asked for, where the core went to a program.
#[must_use]
pub fn find(dump: &Dump<'_>) -> Option<CoreFile> {
    if let Some(program) = dump.pattern.strip_prefix('|') {
        let command = program.split_whitespace().next()?;
        let systemd = command.rsplit('/').next() == Some("systemd-coredump");
        let coredumpctl = Some(format!("coredumpctl info {}", dump.pid)).filter(|_| systemd);
        return Some(CoreFile { path: None, coredumpctl });
    }
    let pattern = dump.directory.join(dump.pattern);
    let name = pieces(pattern.file_name()?.to_str()?, dump);
    let directory = pattern.parent()?;
    if directory.to_str()?.contains('%') {
        return None;
    }
    let names = fs::read_dir(directory).ok()?.take(MOST_NAMES).flatten();
    let fitting = names.filter(|entry| entry.file_name().to_str().is_some_and(|text| fits(text, &name)));
    // Of several the newest: names may come again.
    let newest = fitting.max_by_key(|entry| entry.metadata().and_then(|found| found.modified()).ok())?;
    Some(CoreFile { path: Some(text(newest.path())), coredumpctl: None })
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}

/// Fixed texts with something unknown between each two of them.
fn pieces(pattern: &str, dump: &Dump<'_>) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let known = match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('%')) => Some("%".to_owned()),
            ('%', Some('p' | 'P')) => Some(dump.pid.to_string()),
            // The name as the kernel keeps it: 15 bytes of it.
            ('%', Some('e')) => Some(dump.program.chars().take(15).collect()),
            // The end of the pattern, or something that is not known here: the time, the user, the thread.
            ('%', _) => None,
            (c, _) => Some(c.to_string()),
        };
        match (known, pieces.last_mut()) {
            (Some(known), Some(last)) => last.push_str(&known),
            (Some(_), None) => {}
            (None, _) => pieces.push(String::new()),
        }
    }
    pieces
}

/// Whether a name is these texts with anything between.
fn fits(name: &str, pieces: &[String]) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return false };
    let Some(mut left) = name.strip_prefix(first.as_str()) else { return false };
    let Some((last, between)) = rest.split_last() else { return left.is_empty() };
    for piece in between {
        let Some(at) = left.find(piece.as_str()) else { return false };
        left = &left[at + piece.len()..];
    }
    left.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_found_where_the_pattern_says() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["core", "core.42", "core.43", "core-srv.77.1700000000", "core-srv.78.1"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let found = |pattern: &str, pid: u32| {
            let dump = Dump { pattern, pid, program: "srv", directory: directory.path() };
            find(&dump)?.path.map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
        };
        assert_eq!(found("core", 1).as_deref(), Some("core"));
        assert_eq!(found("core.%p", 42).as_deref(), Some("core.42"));
        assert_eq!(found("core.%p", 44), None);
        assert_eq!(found("core-%e.%p.%t", 77).as_deref(), Some("core-srv.77.1700000000"));
        let elsewhere = format!("{}/core.%P", directory.path().display());
        assert_eq!(found(&elsewhere, 43).as_deref(), Some("core.43"));
        assert_eq!(found("%", 1), found("%t", 1));
    }

    #[test]
    fn a_program_that_takes_cores_is_asked() {
        let with = |pattern| find(&Dump { pattern, pid: 7, program: "srv", directory: Path::new("/") });
        let asked = CoreFile { path: None, coredumpctl: Some("coredumpctl info 7".to_owned()) };
        assert_eq!(with("|/usr/lib/systemd/systemd-coredump %P %u %g"), Some(asked));
        assert_eq!(with("|/usr/share/apport/apport -p%p"), Some(CoreFile::default()));
        assert_eq!(with("|"), None);
    }
}
