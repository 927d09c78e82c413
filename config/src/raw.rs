//! The first step: TOML text to a tree in which every key and value knows its place. Nothing here knows what keys mean.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::source::{FileId, Span};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    /// `None`: too large for TOML, which has 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

/// Entries in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// A table that is not there.
pub(crate) static EMPTY: Table = Table { entries: Vec::new() };

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

/// A place where the text is not TOML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Value {
    /// With its article, for "expected X, found Y".
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// The tree, and every syntax error; with errors the tree is only what could be understood.
pub(crate) fn parse(file: FileId, text: &str) -> (Table, Vec<SyntaxError>) {
    let (document, found) = DeTable::parse_recoverable(text);
    let mut errors: Vec<SyntaxError> = found
        .into_iter()
        .map(|error| {
            let range = error.span().unwrap_or(text.len()..text.len());
            SyntaxError {
                span: Span { file, start: range.start, end: range.end },
                message: error.message().to_owned(),
            }
        })
        .collect();
    // Stable: of errors at one place the first that was found stays the first.
    errors.sort_by_key(|error| error.span.start);
    // One slip often confuses the parser until the end of the line; only the first message of a line helps.
    let mut line_end = 0;
    errors.retain(|error| {
        let first = error.span.start >= line_end;
        if first {
            let rest = text.get(error.span.start..).unwrap_or_default();
            line_end = rest.find('\n').map_or(usize::MAX, |length| error.span.start + length + 1);
        }
        first
    });
    (table(file, document.into_inner()), errors)
}

fn table(file: FileId, entries: DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = entries
        .into_iter()
        .map(|(key, value)| Entry {
            key_span: span(file, &key),
            key: key.into_inner().into_owned(),
            node: node(file, value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries }
}

fn node(file: FileId, value: Spanned<DeValue<'_>>) -> Node {
    let span = span(file, &value);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(digits) => Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).ok()),
        // The parser has checked the form, so this does not fail; not a number is refused wherever one is read.
        DeValue::Float(digits) => Value::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Value::Boolean(yes),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| node(file, item)).collect()),
        DeValue::Table(entries) => Value::Table(table(file, entries)),
    };
    Node { span, value }
}

fn span<T>(file: FileId, spanned: &Spanned<T>) -> Span {
    let range = spanned.span();
    Span { file, start: range.start, end: range.end }
}
