//! How do rows become aligned columns that fit the terminal?

use anstyle::Style;

use crate::look::{BOLD, Look, PLAIN};
use crate::text;

/// Between two columns.
const GAP: usize = 2;

/// What may happen to a column whose table is too wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing, unless everything else failed.
    Never,
    /// The middle gives way, down to so many columns.
    Middle(usize),
    /// The end gives way, down to so many columns.
    End(usize),
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Its header.
    pub(crate) title: &'static str,
    /// What may happen to it.
    pub(crate) cut: Cut,
    /// Numbers stand at the right.
    pub(crate) right: bool,
}

impl Column {
    /// At the left.
    pub(crate) const fn left(title: &'static str, cut: Cut) -> Self {
        Self { title, cut, right: false }
    }

    /// At the right, never cut.
    pub(crate) const fn right(title: &'static str) -> Self {
        Self { title, cut: Cut::Never, right: true }
    }
}

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// In a style.
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: text::safe(text.as_ref()), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, PLAIN)
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    cells: Vec<Cell>,
    note: Option<Cell>,
}

impl Table {
    /// Without rows yet.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// A row: a cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(Row { cells, note: None });
    }

    /// A row with a line of its own under it, indented and cut to the width.
    pub(crate) fn row_with_note(&mut self, cells: Vec<Cell>, note: Cell) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(Row { cells, note: Some(note) });
    }

    /// The header and the rows, each line with its newline.
    pub(crate) fn render(&self, look: &Look) -> String {
        let widths = self.widths(look.width);
        let header: Vec<Cell> = self.columns.iter().map(|column| Cell::styled(column.title, BOLD)).collect();
        let mut text = self.line(&header, &widths, look);
        for row in &self.rows {
            text.push_str(&self.line(&row.cells, &widths, look));
            if let Some(note) = &row.note {
                let fitted = look.fit(&note.text, GAP);
                text.push_str(&format!("{:GAP$}{}\n", "", look.paint(note.style, &fitted)));
            }
        }
        text
    }

    /// Each column as wide as its widest cell; then the widest ones that may give way do, until all fits.
    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = self.rows.iter().filter_map(|row| row.cells.get(at));
                cells.map(|cell| text::width(&cell.text)).max().unwrap_or(0).max(column.title.len())
            })
            .collect();
        let Some(limit) = limit else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            let floor = |at: usize| match self.columns[at].cut {
                Cut::Never => usize::MAX,
                Cut::Middle(floor) | Cut::End(floor) => floor,
            };
            let widest = (0..widths.len()).filter(|&at| widths[at] > floor(at)).max_by_key(|&at| widths[at]);
            match widest {
                Some(at) => widths[at] -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, cells: &[Cell], widths: &[usize], look: &Look) -> String {
        let mut left = look.width.unwrap_or(usize::MAX);
        let mut line = String::new();
        // Spaces owed before the next text, so that no line ends with some.
        let mut owed = 0;
        for ((cell, column), &width) in cells.iter().zip(&self.columns).zip(widths) {
            let text = match column.cut {
                Cut::Middle(_) => text::cut_middle(&cell.text, width),
                Cut::Never | Cut::End(_) => text::cut_end(&cell.text, width),
            };
            let pad = width - text::width(&text);
            if column.right {
                owed += pad;
            }
            if !text.is_empty() {
                // A terminal too narrow even for the floors: what does not fit is left out.
                let text = text::cut_end(&text, left.saturating_sub(owed));
                if text.is_empty() {
                    break;
                }
                line.push_str(&" ".repeat(owed));
                line.push_str(&look.paint(cell.style, &text));
                left -= owed + text::width(&text);
                owed = 0;
            }
            owed += GAP + if column.right { 0 } else { pad };
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::{assert_fits, pipe, terminal};

    fn table() -> Table {
        let mut table = Table::new([
            Column::left("NAME", Cut::Middle(8)),
            Column::right("PID"),
            Column::left("REASON", Cut::End(6)),
        ]);
        table.row(vec!["web".into(), "4711".into(), "".into()]);
        table.row(vec!["a-service-with-a-long-name".into(), "7".into(), "it went away and more".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        assert_eq!(
            table().render(&pipe()),
            "NAME                         PID  REASON\n\
             web                         4711\n\
             a-service-with-a-long-name     7  it went away and more\n"
        );
    }

    #[test]
    fn what_may_give_way_does() {
        let look = Look { width: Some(40), ..terminal() };
        assert_eq!(
            table().render(&look),
            "NAME               PID  REASON\n\
             web               4711\n\
             a-servic…ng-name     7  it went away an…\n"
        );
    }

    #[test]
    fn every_width_is_kept() {
        for width in 1..60 {
            assert_fits(&table().render(&Look { width: Some(width), ..terminal() }), width);
        }
    }
}
