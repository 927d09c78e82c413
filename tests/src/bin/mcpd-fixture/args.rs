//! The command line: words in order, `--name VALUE` and `--flag` anywhere behind the subcommand.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::wrong;

/// What is left of the command line.
pub(crate) struct Args {
    left: VecDeque<String>,
}

impl Args {
    /// Everything after the program's name.
    pub(crate) fn from_environment() -> Self {
        Self { left: std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect() }
    }

    /// The next word.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.left.pop_front()
    }

    /// The next word, which must be there.
    pub(crate) fn word(&mut self, what: &str) -> String {
        self.next().unwrap_or_else(|| wrong(&format!("{what} is missing")))
    }

    /// The next word as a value of type `T`.
    pub(crate) fn value<T: FromStr>(&mut self, what: &str) -> T {
        parse(what, &self.word(what))
    }

    /// The next word as a path.
    pub(crate) fn path(&mut self, what: &str) -> PathBuf {
        self.word(what).into()
    }

    /// Takes `--name` out; whether it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.left.iter().position(|word| word == name);
        at.map(|at| self.left.remove(at)).is_some()
    }

    /// Takes `--name VALUE` out.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.left.iter().position(|word| word == name)?;
        self.left.remove(at);
        Some(self.left.remove(at).unwrap_or_else(|| wrong(&format!("{name} wants a value"))))
    }

    /// Takes `--name VALUE` out, as a value of type `T`.
    pub(crate) fn option<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.text(name).map(|text| parse(name, &text))
    }

    /// Takes `--name FILE` out.
    pub(crate) fn file(&mut self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// Takes `--name MILLISECONDS` out.
    pub(crate) fn millis(&mut self, name: &str) -> Option<Duration> {
        self.option(name).map(Duration::from_millis)
    }

    /// Nothing may be left: a misspelt option must not pass for a scenario that succeeds.
    pub(crate) fn done(self) {
        if let Some(word) = self.left.front() {
            wrong(&format!("`{word}` means nothing here"));
        }
    }
}

fn parse<T: FromStr>(what: &str, text: &str) -> T {
    text.parse().unwrap_or_else(|_| wrong(&format!("{what}: `{text}` is no value for it")))
}
