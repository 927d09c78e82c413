//! What the keeper has of a daemon, in that daemon's own words: for the case that the keeper dies and another mcpd takes over.
//!
//! Nothing is kept open for that: what was handed to the keeper is open here as well, by the same number, as long as it is
//! needed. A number that means something else by now is found out and left out.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::Handle;
use super::papers::Item;

#[derive(Debug, Default)]
pub(super) struct Record(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    text: Option<String>,
    open: Vec<Open>,
}

/// A descriptor's number, and what was open there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    number: RawFd,
    device: u64,
    inode: u64,
}

impl Open {
    fn of(open: Handle<'_>) -> Option<Self> {
        let found = rustix::fs::fstat(open).ok()?;
        Some(Self { number: open.as_raw_fd(), device: found.st_dev, inode: found.st_ino })
    }
}

impl Record {
    pub(super) fn note(&mut self, name: &str, text: Option<&str>, handles: &[Handle<'_>]) {
        let open = handles.iter().filter_map(|handle| Open::of(*handle)).collect();
        self.0.insert(name.to_owned(), Entry { text: text.map(str::to_owned), open });
    }

    pub(super) fn drop(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// All that is still open. Something of which a part is not is left out: without its end nobody can use it.
    pub(super) fn items(&self) -> Vec<Item> {
        let still = |open: &Open| {
            crate::sys::with_descriptor(open.number, |now: BorrowedFd<'_>| Open::of(now)) == Some(*open)
        };
        let whole = self.0.iter().filter(|(_, entry)| entry.open.iter().all(still));
        let item = |(name, entry): (&String, &Entry)| Item {
            name: name.clone(),
            text: entry.text.clone(),
            handles: entry.open.iter().map(|open| open.number).collect(),
        };
        whole.map(item).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_number_that_means_something_else_is_left_out() {
        let mut record = Record::default();
        let (read, write) = std::io::pipe().unwrap();
        record.note("both", Some("text"), &[read.as_fd(), write.as_fd()]);
        record.note("read", None, &[read.as_fd()]);
        record.note("words", Some("alone"), &[]);
        record.note("gone", None, &[]);
        record.drop("gone");
        let names = |record: &Record| record.items().into_iter().map(|item| item.name).collect::<Vec<_>>();
        assert_eq!(names(&record), ["both", "read", "words"]);
        let item = record.items().remove(0);
        assert_eq!(
            (item.text.as_deref(), item.handles),
            (Some("text"), vec![read.as_raw_fd(), write.as_raw_fd()])
        );
        drop(write);
        assert_eq!(names(&record), ["read", "words"]);
        // A pipe is none without one of its ends, whatever has taken its number.
        let other = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(names(&record), ["read", "words"]);
        drop(other);
    }
}
