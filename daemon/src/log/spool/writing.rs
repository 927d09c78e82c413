//! The writer's side: from a batch into a file.

use super::layout::{After, Writing};
use super::{Progress, Spool};

/// Goes with a batch to its file, and notes each write before it is made and after it.
#[derive(Clone, Copy)]
pub(in crate::log) struct Ticket<'a> {
    pub(in crate::log) spool: &'a Spool,
    pub(in crate::log) progress: Progress,
    /// The service's name.
    pub(in crate::log) name: &'a str,
}

impl Ticket<'_> {
    /// So many bytes are going to be written behind `before` others of this file; `last`: then the batch is written.
    pub(in crate::log) fn begin(&self, inode: u64, before: u64, length: usize, last: bool) -> Noted<'_> {
        let Self { spool, progress: Progress { stream, upto }, name } = *self;
        let length = length as u64;
        let after = if last {
            After::Written(upto)
        } else {
            After::Skip(spool.layout.stream(stream).skip() + length)
        };
        let writing = Writing { stream, after, before, length, inode, name };
        Noted { spool, writing: spool.layout.writing().begin(writing).then_some(writing) }
    }
}

/// A write that is being made.
pub(in crate::log) struct Noted<'a> {
    spool: &'a Spool,
    writing: Option<Writing<'a>>,
}

impl Noted<'_> {
    /// It was made.
    pub(in crate::log) fn done(self) {
        if let Some(writing) = self.writing {
            self.spool.apply(writing.stream, writing.after);
            self.spool.layout.writing().end();
        }
    }
}

impl Spool {
    /// The same as often as one likes.
    pub(super) fn apply(&self, stream: u32, after: After) {
        let entry = self.layout.stream(stream);
        match after {
            After::Written(upto) => entry.set_written(upto),
            After::Skip(skip) => entry.set_skip(skip),
        }
    }

    /// A batch is done with, whether it is in its file or given up.
    pub(in crate::log) fn batch_done(&self, progress: Progress) {
        self.settle(progress);
        self.layout.writing().end();
    }
}
