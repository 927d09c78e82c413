//! Which file, which line, which column: the texts that were read and positions in them.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// Index into [`Sources`].
pub(crate) type FileId = usize;

/// A stretch of bytes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The text of one file, without a byte order mark.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it was asked for; shown to people.
    pub(crate) path: PathBuf,
    /// Absolute where that can be known; relative paths in the file start here.
    pub(crate) directory: PathBuf,
    text: String,
    /// The offset of each line's first byte.
    lines: Vec<usize>,
    /// What no excerpt shows.
    hidden: Vec<Range<usize>>,
}

/// A piece of one line, cut out so that a diagnostic can be shown after the text is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The line, or a window of it when it is very long.
    pub(crate) text: String,
    /// What to underline, as bytes of `text`; never empty unless at its end.
    pub(crate) mark: Range<usize>,
}

impl Excerpt {
    /// The mark stands at this column of the excerpt too, so that nothing was cut off on its left.
    pub(crate) fn is_whole_line(&self, column: usize) -> bool {
        self.text[..self.mark.start].chars().count() + 1 == column
    }
}

/// Longer lines are cut down to a window: enough for any terminal, small enough to keep by the thousand.
const EXCERPT_BYTES: usize = 400;

impl Source {
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let directory = absolute.parent().map(Path::to_owned).unwrap_or_default();
        Self { path: path.to_owned(), directory, text, lines, hidden: Vec::new() }
    }

    /// From now on no excerpt shows these stretches of the text.
    pub(crate) fn hide(&mut self, hidden: Vec<Range<usize>>) {
        self.hidden = hidden;
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column, both from 1; columns count characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = floor(&self.text, offset);
        let line = self.lines.partition_point(|&start| start <= offset);
        let start = self.lines[line - 1];
        (line, self.text[start..offset].chars().count() + 1)
    }

    /// The line that `start` is on, with the part up to `end` (or to the end of the line) marked.
    pub(crate) fn excerpt(&self, start: usize, end: usize) -> Excerpt {
        let start = floor(&self.text, start);
        let line = self.lines.partition_point(|&at| at <= start) - 1;
        let line_start = self.lines[line];
        let line_end = self.lines.get(line + 1).map_or(self.text.len(), |&next| next - 1);
        let whole = self.text[line_start..line_end].trim_end_matches('\r');
        let from = (start - line_start).min(whole.len());
        let to = floor(whole, end.saturating_sub(line_start)).max(from);
        let (low, high) = if whole.len() <= EXCERPT_BYTES {
            (0, whole.len())
        } else {
            (floor(whole, from.saturating_sub(EXCERPT_BYTES / 2)), floor(whole, from + EXCERPT_BYTES / 2))
        };
        let text = crate::hidden::blot(&whole[low..high], line_start + low, &self.hidden);
        Excerpt { text, mark: from - low..to.min(high) - low }
    }
}

/// The nearest character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new(Path::new("x"), "\u{feff}a\r\nüb\n");
        for (offset, expected) in
            [(0, (1, 1)), (1, (1, 2)), (3, (2, 1)), (5, (2, 2)), (6, (2, 3)), (7, (3, 1)), (99, (3, 1))]
        {
            assert_eq!(source.position(offset), expected, "offset {offset}");
        }
    }

    #[test]
    fn an_excerpt_is_one_line_without_its_end() {
        let source = Source::new(Path::new("x"), "one\r\ntwo = [\r\n1]\r\n");
        assert_eq!(source.excerpt(11, 16), Excerpt { text: "two = [".into(), mark: 6..7 });
        assert_eq!(source.excerpt(19, 19), Excerpt { text: String::new(), mark: 0..0 });
        let long = "x".repeat(10_000);
        let excerpt = Source::new(Path::new("x"), &long).excerpt(5_000, 9_000);
        assert_eq!((excerpt.text.len(), excerpt.mark), (400, 200..400));
    }
}
