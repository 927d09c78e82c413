//! How does the place that we write to look: colours, width, local time?

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

use crate::args::ColorChoice;
use crate::text;
use crate::when::Clock;

/// What a renderer needs to know about the place that its text goes to.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Colours are wanted.
    pub(crate) color: bool,
    /// Columns of the terminal; `None`: no terminal, so nothing is ever cut.
    pub(crate) width: Option<usize>,
    /// The reader's time.
    pub(crate) clock: Clock,
}

/// Titles.
pub(crate) const BOLD: Style = Style::new().bold();
/// Less important.
pub(crate) const DIM: Style = Style::new().dimmed();
/// All is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// On its way.
pub(crate) const BUSY: Style = AnsiColor::Cyan.on_default();
/// Look at this.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Look at this first.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// As it is.
pub(crate) const PLAIN: Style = Style::new();

/// Where nothing says how wide the terminal is.
pub(crate) const DEFAULT_WIDTH: usize = 80;

impl Look {
    /// Of standard output.
    pub(crate) fn stdout(choice: ColorChoice) -> Self {
        let stdout = std::io::stdout();
        Self::of(choice, stdout.is_terminal(), || terminal_size::terminal_size_of(&stdout))
    }

    /// Of standard error.
    pub(crate) fn stderr(choice: ColorChoice) -> Self {
        let stderr = std::io::stderr();
        Self::of(choice, stderr.is_terminal(), || terminal_size::terminal_size_of(&stderr))
    }

    fn of(
        choice: ColorChoice,
        terminal: bool,
        size: impl FnOnce() -> Option<(terminal_size::Width, terminal_size::Height)>,
    ) -> Self {
        let width = terminal.then(|| {
            let asked = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
            asked
                .or_else(|| size().map(|(width, _)| usize::from(width.0)))
                .filter(|&width| width > 0)
                .unwrap_or(DEFAULT_WIDTH)
        });
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                terminal && !anstyle_query::no_color() && anstyle_query::term_supports_color()
            }
        };
        // Old Windows consoles want to be asked; elsewhere this is `None` and costs nothing.
        let color = color && (!terminal || anstyle_query::windows::enable_ansi_colors() != Some(false));
        Self { color, width, clock: Clock::system() }
    }

    /// The text in this style, where colours are wanted.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.color && style != PLAIN && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// The text cut at its end so that it fits behind `used` columns.
    pub(crate) fn fit(&self, text: &str, used: usize) -> String {
        match self.width {
            Some(width) => text::cut_end(text, width.saturating_sub(used)),
            None => text.to_owned(),
        }
    }

    /// The text in lines that fit behind `indent` columns; one line when there is no terminal.
    pub(crate) fn wrap(&self, text: &str, indent: usize) -> Vec<String> {
        match self.width {
            Some(width) => text::wrap(text, width.saturating_sub(indent)),
            None => vec![text.to_owned()],
        }
    }

    /// `key: value` lines under a headline; long values go on under themselves. Without a terminal they still do, but no
    /// word is broken: what is piped to a file or a pager is read by people as well.
    pub(crate) fn facts(&self, facts: &[Fact]) -> String {
        let keys = facts.iter().map(|fact| fact.key.len()).max().unwrap_or(0) + 1;
        let mut text = String::new();
        for fact in facts {
            let indent = 2 + keys + 1;
            let value = text::safe(&fact.value);
            let lines = match self.width {
                Some(_) => self.wrap(&value, indent),
                None => text::wrap_between_words(&value, DEFAULT_WIDTH - indent),
            };
            for (at, line) in lines.iter().enumerate() {
                // One without a key goes on where the one before it ended.
                let named = at == 0 && !fact.key.is_empty();
                let key = if named { format!("{}:", fact.key) } else { String::new() };
                let key = self.paint(DIM, &format!("{key:<keys$}"));
                text.push_str(&format!("  {key} {}\n", self.paint(fact.style, line)));
            }
        }
        text
    }
}

/// One line of [`Look::facts`].
#[derive(Debug)]
pub(crate) struct Fact {
    key: &'static str,
    value: String,
    style: Style,
}

impl Fact {
    /// A plain one.
    pub(crate) fn new(key: &'static str, value: impl Into<String>) -> Self {
        Self { key, value: value.into(), style: PLAIN }
    }

    /// With the value in this style.
    pub(crate) fn styled(key: &'static str, value: impl Into<String>, style: Style) -> Self {
        Self { key, value: value.into(), style }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// A terminal of 80 columns without colours, in UTC, at 2026-11-22T11:30:00Z.
    pub(crate) fn terminal() -> Look {
        let clock = Clock { now: "2026-11-22T11:30:00Z".parse().unwrap(), zone: TimeZone::UTC };
        Look { color: false, width: Some(80), clock }
    }

    /// The same, piped.
    pub(crate) fn pipe() -> Look {
        Look { width: None, ..terminal() }
    }

    /// Fails on a line over `limit` columns.
    pub(crate) fn assert_fits(text: &str, limit: usize) {
        for line in text.lines() {
            assert!(text::width(line) <= limit, "{} columns: {line}", text::width(line));
        }
    }

    #[test]
    fn facts_are_aligned_and_wrapped() {
        let look = Look { width: Some(30), ..terminal() };
        let text = look.facts(&[
            Fact::new("pid", "4711"),
            Fact::new("command", "python -m uvicorn main:app --port 7787"),
        ]);
        assert_eq!(
            text,
            "  pid:     4711\n  command: python -m uvicorn\n           main:app --port\n           7787\n"
        );
        assert_fits(&text, 30);
    }

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(terminal().paint(BAD, "x"), "x");
        let look = Look { color: true, ..terminal() };
        assert_eq!(look.paint(GOOD, "x"), "\x1b[32mx\x1b[0m");
        assert_eq!(look.paint(PLAIN, "x"), "x");
    }
}
