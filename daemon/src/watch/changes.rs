//! What is remembered of changes: enough for a sentence, whatever their number.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// So many paths are told apart; 8 KiB.
const COUNTED: usize = 1000;

/// The first of the paths that changed, and how many others did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    first: Option<PathBuf>,
    /// Their hashes: a path is counted once, however often it changes.
    seen: HashSet<u64>,
    /// There were more than are told apart.
    more: bool,
}

impl Changes {
    /// One more.
    pub(super) fn add(&mut self, path: &Path) {
        if self.seen.len() >= COUNTED {
            self.more = true;
            return;
        }
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        if self.seen.insert(hasher.finish()) && self.first.is_none() {
            self.first = Some(path.to_owned());
        }
    }

    /// Nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && !self.more
    }

    /// Something changed, nobody knows what.
    pub(super) fn add_unknown(&mut self) {
        self.more = true;
    }

    /// Takes in those that came later.
    pub fn merge(&mut self, later: Self) {
        let Self { first, seen, more } = later;
        if self.first.is_none() {
            self.first = first;
        }
        self.more |= more;
        for hash in seen {
            if self.seen.len() >= COUNTED {
                self.more = true;
                break;
            }
            self.seen.insert(hash);
        }
    }

    /// "src/app.py changed (and 11 more)"
    #[must_use]
    pub fn words(&self) -> String {
        let Some(first) = &self.first else { return "an unknown number of files changed".into() };
        let others = self.seen.len() - 1;
        let and = match (others, self.more) {
            (0, false) => String::new(),
            (0, true) => " (and others)".into(),
            (others, false) => format!(" (and {others} more)"),
            (others, true) => format!(" (and more than {others} others)"),
        };
        format!("{} changed{and}", first.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_words() {
        let mut changes = Changes::default();
        changes.add(Path::new("a"));
        changes.add(Path::new("a"));
        assert_eq!(changes.words(), "a changed");
        changes.add(Path::new("b"));
        let mut later = Changes::default();
        for number in 0..10_000 {
            later.add(Path::new(&number.to_string()));
        }
        assert!(later.seen.len() <= COUNTED);
        let mut few = changes.clone();
        few.merge(changes.clone());
        assert_eq!(few.words(), "a changed (and 1 more)");
        changes.merge(later);
        assert_eq!(changes.words(), "a changed (and more than 999 others)");
        let mut unknown = Changes::default();
        unknown.add_unknown();
        assert_eq!(unknown.words(), "an unknown number of files changed");
    }
}
