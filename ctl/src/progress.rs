//! The one line that says that a command is waiting, on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::look::Look;

/// What is done sooner needs no such line.
const AFTER: Duration = Duration::from_millis(300);
/// Seconds are shown, so they are what it counts.
const EVERY: Duration = Duration::from_secs(1);

/// A count that runs is read at a glance; more often than this it only flickers.
const AT_MOST: Duration = Duration::from_millis(100);

/// A line on standard error that is rewritten in place.
pub(crate) struct Progress {
    what: String,
    began: Instant,
    due: Option<Instant>,
    shown: bool,
    look: Option<Look>,
}

impl Progress {
    /// Shows nothing.
    pub(crate) fn none() -> Self {
        Self { what: String::new(), began: Instant::now(), due: None, shown: false, look: None }
    }

    /// Shows `what` when it takes long and standard error is a terminal.
    pub(crate) fn on_terminal(what: String, look: &Look) -> Self {
        let began = Instant::now();
        let due = io::stderr().is_terminal().then(|| began + AFTER);
        Self { what, began, due, shown: false, look: Some(look.clone()) }
    }

    /// From now on it says this.
    pub(crate) fn say(&mut self, what: String) {
        self.what = what;
        if self.shown {
            let soon = Instant::now() + AT_MOST;
            self.due = self.due.map(|due| due.min(soon));
        }
    }

    /// Makes room for lines that stay; it comes back below them.
    pub(crate) fn step_aside(&mut self) {
        if std::mem::take(&mut self.shown) {
            erase();
            self.due = Some(Instant::now());
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Rewrites the line if it is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        let Some(look) = &self.look else { return };
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = Some(now + EVERY);
        self.shown = true;
        let line = line(&self.what, now.duration_since(self.began), look);
        let mut stderr = io::stderr().lock();
        // Decoration: when it cannot be written nothing is lost.
        let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            erase();
        }
        self.due = None;
    }
}

fn erase() {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
}

/// One column is left free, for some terminals break the line when the last one is written.
fn line(what: &str, waited: Duration, look: &Look) -> String {
    let waited = match waited.as_secs() {
        0 => String::new(),
        seconds => format!(" {seconds} s"),
    };
    look.fit(&format!("{what} ...{waited}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::{assert_fits, terminal};

    #[test]
    fn the_line_fits() {
        let what = format!("restarting {}", "a-long-name, ".repeat(20));
        assert_fits(&line(&what, Duration::from_secs(3), &terminal()), 79);
        assert_eq!(
            line("restarting web", Duration::from_millis(3200), &terminal()),
            "restarting web ... 3 s"
        );
    }

    #[test]
    fn nothing_is_due_where_nothing_is_shown() {
        assert_eq!(Progress::none().due(), None);
    }
}
