//! What is wrong, where, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::resolve::context::Instance;
use crate::source::{Excerpt, FileId};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but is probably not what was meant.
    Warning,
}

/// One thing to say about a configuration, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named when it was asked for.
    pub file: PathBuf,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the whole file is meant.
    pub column: usize,
    /// The dotted path of the key, as `service.web.restart.delay`; empty when none is concerned.
    pub key: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it, if that is known.
    pub help: Option<String>,
    pub(crate) excerpt: Option<Excerpt>,
    pub(crate) related: Option<Box<Related>>,
    /// File and offset, to sort by.
    pub(crate) order: (FileId, usize),
    /// The instance of a template that it is about, if it is about one.
    pub(crate) instance: Option<Instance>,
}

/// A second place that belongs to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Related {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) label: String,
    pub(crate) excerpt: Excerpt,
}

impl Diagnostic {
    /// The text for people: title, `file:line:column`, the source line, a mark under the spot, help.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        // Messages quote what the file says; control characters in that must not reach a terminal.
        let mut group = Group::with_title(level.primary_title(printable(&self.message)));
        let file = self.file.to_string_lossy();
        group = match &self.excerpt {
            Some(excerpt) => show(group, excerpt, &file, (self.line, self.column), None),
            None => group.element(Origin::path(printable(&file))),
        };
        if let Some(Related { file, line, column, label, excerpt }) = self.related.as_deref() {
            group = show(group, excerpt, &file.to_string_lossy(), (*line, *column), Some(label));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// Adds one line of a file with its mark.
fn show<'a>(
    group: Group<'a>,
    excerpt: &'a Excerpt,
    file: &str,
    (line, column): (usize, usize),
    label: Option<&'a str>,
) -> Group<'a> {
    let kind = if label.is_some() { AnnotationKind::Context } else { AnnotationKind::Primary };
    let mark = kind.span(excerpt.mark.clone());
    let mark = if let Some(label) = label { mark.label(label) } else { mark };
    let snippet = Snippet::source(excerpt.text.as_str()).line_start(line).annotation(mark);
    let file = printable(file);
    // The renderer counts columns in the excerpt. Where that is not the whole line, it has to be told.
    if excerpt.is_whole_line(column) {
        group.element(snippet.path(file))
    } else {
        group.element(Origin::path(file).line(line).char_column(column)).element(snippet)
    }
}

/// The text with control characters replaced by their escapes.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

impl fmt::Display for Diagnostic {
    /// One line: `file:line:column: message (help)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}", printable(&self.message))?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({})", printable(help)))
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// Errors in the order of files and positions; never empty. Warnings are left out.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failed {
    /// Every error as people read it, then a line that counts them. Ends without a line break.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&diagnostic.render(color));
            text.push_str("\n\n");
        }
        text.push_str(&match self.diagnostics.len() {
            1 => "1 error in the configuration".to_owned(),
            count => format!("{count} errors in the configuration"),
        });
        text
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Failed {}
