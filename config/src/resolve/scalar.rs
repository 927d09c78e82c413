//! One value to one type: numbers, words, spans of time, sizes.

use std::time::Duration;

use crate::duration;
use crate::raw::Value;
use crate::similar::closest;
use crate::size;
use crate::spec::{ExitMatch, Signal};
use crate::variables::{Expanded, Piece, Used};

/// Why a value is not of the type that is wanted.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A value of the file with its references replaced.
#[derive(Debug)]
pub(crate) struct Scalar<'n> {
    pub(crate) written: Written<'n>,
    pub(crate) used: Vec<Used>,
}

#[derive(Debug)]
pub(crate) enum Written<'n> {
    /// No string: as TOML typed it.
    Typed(&'n Value),
    /// A string, perhaps with values of variables in it.
    Text(Expanded),
    /// The value of a variable and nothing else: it becomes whatever is wanted.
    Reference(String),
}

impl Scalar<'_> {
    fn expected(&self, wanted: &str) -> Problem {
        match &self.written {
            Written::Typed(value) => Problem::new(format!("expected {wanted}, found {}", value.describe())),
            Written::Text(_) => Problem::new(format!("expected {wanted}, found a string")),
            Written::Reference(text) => Problem::new(format!("expected {wanted}, found {text:?}")),
        }
    }

    /// Any text that a program can be handed; a NUL byte ends a string there.
    pub(crate) fn string(&self) -> Result<String, Problem> {
        let text = match &self.written {
            Written::Text(expanded) => expanded.text(),
            Written::Reference(text) => text.clone(),
            Written::Typed(Value::Integer(Some(number))) => {
                return Err(self.expected("a string").help(format!("write \"{number}\"")));
            }
            Written::Typed(Value::Boolean(yes)) => {
                return Err(self.expected("a string").help(format!("write \"{yes}\"")));
            }
            Written::Typed(_) => return Err(self.expected("a string")),
        };
        if text.contains('\0') { Err(Problem::new("a NUL character cannot be passed on")) } else { Ok(text) }
    }

    pub(crate) fn non_empty(&self) -> Result<String, Problem> {
        let text = self.string()?;
        if text.is_empty() { Err(Problem::new("an empty string is of no use here")) } else { Ok(text) }
    }

    pub(crate) fn boolean(&self) -> Result<bool, Problem> {
        match &self.written {
            Written::Typed(Value::Boolean(yes)) => Ok(*yes),
            Written::Reference(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(self.expected("true or false")),
            },
            Written::Text(expanded) if matches!(expanded.text().as_str(), "true" | "false") => {
                Err(self.expected("true or false").help("leave out the quotes"))
            }
            Written::Typed(_) | Written::Text(_) => Err(self.expected("true or false")),
        }
    }

    pub(crate) fn integer(&self, low: i64, high: i64) -> Result<i64, Problem> {
        let number = match &self.written {
            Written::Typed(Value::Integer(number)) => *number,
            Written::Reference(text) => {
                let text = text.trim();
                let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(self.expected("an integer"));
                }
                text.parse().ok()
            }
            Written::Text(expanded) if expanded.text().parse::<i64>().is_ok() => {
                return Err(self.expected("an integer").help("leave out the quotes"));
            }
            Written::Typed(_) | Written::Text(_) => return Err(self.expected("an integer")),
        };
        number.filter(|number| (low..=high).contains(number)).ok_or_else(|| {
            let found = number.map_or_else(|| "a larger one".to_owned(), |number| number.to_string());
            Problem::new(if high >= i64::from(u32::MAX) {
                format!("expected an integer of at least {low}, found {found}")
            } else {
                format!("expected an integer from {low} to {high}, found {found}")
            })
        })
    }

    /// An integer that is counted with 32 bits.
    pub(crate) fn count(&self, low: u32, high: u32) -> Result<u32, Problem> {
        let number = self.integer(i64::from(low), i64::from(high))?;
        u32::try_from(number).map_err(|_| Problem::new(format!("{number} is too large")))
    }

    pub(crate) fn float(&self, low: f64, high: f64) -> Result<f64, Problem> {
        let number = self.number().ok_or_else(|| self.expected("a number"))?;
        if !number.is_finite() {
            Err(Problem::new("expected a finite number"))
        } else if number < low || number > high {
            Err(Problem::new(if high.is_finite() {
                format!("expected a number from {low} to {high}, found {number}")
            } else {
                format!("expected a number of at least {low}, found {number}")
            }))
        } else {
            Ok(number)
        }
    }

    fn number(&self) -> Option<f64> {
        match &self.written {
            // Numbers of 16 digits and more lose their last ones here; they are out of every range anyway.
            #[allow(clippy::cast_precision_loss)]
            Written::Typed(Value::Integer(number)) => {
                Some(number.map_or(f64::INFINITY, |number| number as f64))
            }
            Written::Typed(Value::Float(number)) => Some(*number),
            Written::Reference(text) => text.trim().parse().ok(),
            Written::Typed(_) | Written::Text(_) => None,
        }
    }

    /// Text with units, or a number of seconds; at least `shortest`.
    pub(crate) fn duration(&self, shortest: Duration) -> Result<Duration, Problem> {
        let span = match (&self.written, self.number()) {
            (_, Some(seconds)) => duration::from_seconds(seconds),
            (Written::Text(expanded), None) => duration::parse(&expanded.text()),
            (Written::Reference(text), None) => duration::parse(text),
            (Written::Typed(_), None) => {
                return Err(self
                    .expected("a duration")
                    .help("write \"1.5s\", \"2m\" or a number of seconds"));
            }
        };
        let span = span.map_err(|error| Problem { message: error.to_string(), help: error.help() })?;
        if span < shortest {
            let message = format!(
                "this duration must be at least {}, found {}",
                duration::format(shortest),
                duration::format(span)
            );
            return Err(Problem::new(message));
        }
        Ok(span)
    }

    /// Text with units, or a number of bytes; at least `smallest`.
    pub(crate) fn size(&self, smallest: u64) -> Result<u64, Problem> {
        let bytes = match &self.written {
            Written::Typed(Value::Integer(Some(number))) => {
                u64::try_from(*number).map_err(|_| size::SizeError::Negative)
            }
            Written::Typed(Value::Integer(None)) => Err(size::SizeError::TooLarge),
            Written::Text(expanded) => size::parse(&expanded.text()),
            Written::Reference(text) => size::parse(text),
            Written::Typed(_) => {
                return Err(self.expected("a size").help("write \"64M\" or a number of bytes"));
            }
        };
        let bytes = bytes.map_err(|error| Problem { message: error.to_string(), help: error.help() })?;
        if bytes < smallest {
            return Err(Problem::new(format!("this size must be at least {}", size::format(smallest))));
        }
        Ok(bytes)
    }

    /// One of some words. `planned` are those that a later version will know.
    pub(crate) fn choice<T: Copy>(&self, words: &[(&str, T)], planned: &[&str]) -> Result<T, Problem> {
        let text = self.string()?;
        if let Some(&(_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(value);
        }
        if planned.contains(&text.as_str()) {
            return Err(not_yet(&format!("{text:?}")));
        }
        let known = words.iter().map(|&(word, _)| word);
        let list = known.clone().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let problem = Problem::new(format!("unknown value {text:?}"));
        Err(match closest(&text, known) {
            Some(word) => problem.help(format!("did you mean {word:?}?")),
            None => problem.help(format!("expected one of {list}")),
        })
    }

    /// `"SIGTERM"`, `"TERM"` or a number.
    pub(crate) fn signal(&self) -> Result<Signal, Problem> {
        if let Written::Typed(Value::Integer(number)) = &self.written {
            let signal = number.and_then(|number| i32::try_from(number).ok()).and_then(Signal::from_number);
            return signal.ok_or_else(|| Problem::new("signals have numbers from 1 to 64"));
        }
        let text = self.string()?;
        Signal::parse(text.trim()).ok_or_else(|| unknown_signal(&text))
    }

    /// An exit code as a number, or a signal by name.
    pub(crate) fn exit_match(&self) -> Result<ExitMatch, Problem> {
        let code = || self.count(0, 255).map(|code| ExitMatch::Code(i32::try_from(code).unwrap_or(255)));
        let named = |text: &str| match Signal::parse(text.trim()) {
            Some(signal) => Ok(ExitMatch::Signal(signal)),
            None => Err(unknown_signal(text)),
        };
        let numeric = |text: &str| text.trim().parse::<i128>().is_ok();
        match &self.written {
            Written::Typed(Value::Integer(_)) => code(),
            Written::Reference(text) if numeric(text) => code(),
            Written::Reference(text) => named(text),
            Written::Text(expanded) => {
                let text = expanded.text();
                if numeric(&text) {
                    return Err(Problem::new(format!("{text:?} could be an exit code or a signal"))
                        .help(format!("an exit code is written {}, a signal by its name", text.trim())));
                }
                named(&text)
            }
            Written::Typed(_) => Err(self.expected("an exit code or the name of a signal")),
        }
    }

    /// A command line as one string. It is split before values are put in, so that no value can become two arguments; only
    /// a value that stands alone is split itself.
    pub(crate) fn words(&self) -> Result<Vec<String>, Problem> {
        let split = |text: &str| {
            if text.contains('\0') {
                return Err(Problem::new("a NUL character cannot be passed on"));
            }
            shell_words::split(text).map_err(|_| Problem::new("a quote is not closed"))
        };
        match &self.written {
            Written::Reference(text) => split(text),
            Written::Text(expanded) => {
                // NUL is the one character that no argument holds, so it can stand for the values until the split is done.
                let mut template = String::new();
                let mut values = Vec::new();
                for piece in &expanded.pieces {
                    match piece {
                        Piece::Literal(text) | Piece::Value(text) if text.contains('\0') => {
                            return Err(Problem::new("a NUL character cannot be passed on"));
                        }
                        Piece::Literal(text) => template.push_str(text),
                        Piece::Value(text) => {
                            template.push('\0');
                            values.push(text.as_str());
                        }
                    }
                }
                let words =
                    shell_words::split(&template).map_err(|_| Problem::new("a quote is not closed"))?;
                let mut values = values.into_iter();
                let fill = |word: String| {
                    let mut filled = String::new();
                    for c in word.chars() {
                        if c == '\0' {
                            filled.push_str(values.next().unwrap_or_default())
                        } else {
                            filled.push(c)
                        }
                    }
                    filled
                };
                Ok(words.into_iter().map(fill).collect())
            }
            Written::Typed(_) => Err(self.expected("a list of strings or one string")),
        }
    }
}

/// For what is designed but not built.
pub(crate) fn not_yet(what: &str) -> Problem {
    Problem::new(format!("{what} is not supported yet by this version"))
        .help("take it out: mcpd does not start with a setting that it would have to ignore")
}

fn unknown_signal(text: &str) -> Problem {
    let problem = Problem::new(format!("unknown signal {text:?}"));
    // Both spellings are compared, so that "TREM" finds SIGTERM.
    let full = format!("SIG{}", text.to_ascii_uppercase().trim_start_matches("SIG"));
    match closest(&full, Signal::names()) {
        Some(name) => problem.help(format!("did you mean {name:?}?")),
        None => problem.help("write a name as in signal(7), for example \"SIGTERM\""),
    }
}
