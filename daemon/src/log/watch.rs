//! Has it printed the line that somebody waits for? Only asked of a run that is starting and says so by a line.

use regex::bytes::Regex;

use super::frame::Record;

/// What is looked for in the lines of one run.
pub(super) struct Watch {
    pub(super) generation: u64,
    pub(super) pattern: Regex,
    /// Called once, on the thread that reads the pipes: must not wait for that.
    pub(super) found: Box<dyn FnOnce() + Send>,
}

impl Watch {
    fn matches(&self, record: Record<'_>) -> bool {
        let whole;
        let line = if record.kept.is_empty() {
            record.fresh
        } else {
            // Only a line that came in two pieces is put together.
            whole = [record.kept, record.fresh].concat();
            &whole
        };
        self.pattern.is_match(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Looks at a line of this run; the watch is over with the first that matches.
pub(super) fn look(watch: &mut Option<Watch>, generation: u64, record: Record<'_>) {
    if let Some(watch) = watch.take_if(|watch| watch.generation == generation && watch.matches(record)) {
        (watch.found)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_first_line_that_matches_ends_it() {
        let count = Arc::new(AtomicU32::new(0));
        let mine = Arc::clone(&count);
        let found = Box::new(move || {
            mine.fetch_add(1, Ordering::Relaxed);
        });
        let mut watch = Some(Watch { generation: 2, pattern: Regex::new("^up on [0-9]+$").unwrap(), found });
        let mut seen = |generation, kept: &[u8], fresh: &[u8]| {
            look(&mut watch, generation, Record { kept, fresh, continues: false });
            count.load(Ordering::Relaxed)
        };
        assert_eq!(seen(2, b"", b"up on port"), 0);
        // Of another run.
        assert_eq!(seen(1, b"", b"up on 80"), 0);
        // Bytes that are no text, in two pieces, with the line end of Windows.
        assert_eq!(seen(2, b"\xff", b"up on 80"), 0);
        assert_eq!(seen(2, b"up o", b"n 80\r"), 1);
        assert_eq!(seen(2, b"", b"up on 80"), 1);
    }
}
