//! One table being read: which keys it has, what they become, and which of them nobody asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::origin::{Origin, dotted};
use crate::raw::{EMPTY, Entry, Node, Table, Value};
use crate::resolve::context::{Context, Finding};
use crate::resolve::scalar::{Problem, Scalar, not_yet};
use crate::schema::{self, Schema};
use crate::similar::closest;
use crate::source::Span;

/// A table of the file, or an absent one, whose keys then all have their defaults.
pub(crate) struct Section<'t> {
    table: &'t Table,
    path: Vec<String>,
    /// Where to point when something is missing.
    pub(crate) span: Option<Span>,
}

impl<'t> Section<'t> {
    pub(crate) fn new(table: &'t Table, path: Vec<String>, span: Option<Span>) -> Self {
        Self { table, path, span }
    }

    /// The table under `key`, its keys checked.
    pub(crate) fn section(&self, cx: &mut Context<'_>, key: &str, schema: &Schema) -> Self {
        let section = self.free_section(cx, key);
        section.check_keys(cx, schema);
        section
    }

    /// The table under `key`, whose keys may be anything.
    pub(crate) fn free_section(&self, cx: &mut Context<'_>, key: &str) -> Self {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        let Some(entry) = self.entry(key) else { return Self::new(&EMPTY, path, None) };
        let Some(table) = self.table_of(cx, entry) else { return Self::new(&EMPTY, path, None) };
        Self::new(table, path, Some(entry.key_span))
    }

    /// The table of an item of a list in it.
    pub(crate) fn below(&self, table: &'t Table, keys: &[&str], span: Span) -> Self {
        let path = self.path.iter().cloned().chain(keys.iter().map(|&key| key.to_owned()));
        Self::new(table, path.collect(), Some(span))
    }

    /// The dotted path of one of its keys.
    pub(crate) fn key(&self, key: &str) -> String {
        let mut parts: Vec<&str> = self.path.iter().map(String::as_str).collect();
        parts.push(key);
        dotted(&parts)
    }

    /// Its own dotted path.
    pub(crate) fn name(&self) -> String {
        dotted(&self.path)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&'t Entry> {
        self.table.get(key)
    }

    /// Reports every key that does not belong here.
    pub(crate) fn check_keys(&self, cx: &mut Context<'_>, schema: &Schema) {
        for entry in &self.table.entries {
            let name = entry.key.as_str();
            if schema.known.contains(&name) {
                continue;
            }
            let key = self.key(name);
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.name()) };
            if schema.planned.contains(&name) {
                let Problem { message, help } = not_yet(&format!("`{name}`{place}"));
                cx.error(Finding { span: entry.key_span, key: &key, message, help });
                continue;
            }
            let all = schema.known.iter().chain(schema.planned).copied();
            let help = match (self.elsewhere(name), closest(name, all)) {
                (Some(elsewhere), _) => elsewhere,
                (None, Some(near)) if schema.known.contains(&near) => format!("did you mean `{near}`?"),
                (None, Some(near)) => {
                    format!("`{near}` comes nearest, but is not supported yet by this version")
                }
                (None, None) => format!("known here: {}", schema.known.join(", ")),
            };
            let message = format!("unknown key `{name}`{place}");
            cx.error(Finding { span: entry.key_span, key: &key, message, help: Some(help) });
        }
    }

    /// What to do with a key that does not belong here, but in another table of the same service.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let service = match self.path.as_slice() {
            [] => "NAME",
            [first, name, ..] if first == "service" => name.as_str(),
            _ => return None,
        };
        // In a file without a service's table every key of one is at the wrong place; a key of a table below could be
        // anything's.
        let homes = if self.path.is_empty() && schema::SERVICE.known.contains(&key) {
            vec![""]
        } else if self.path.is_empty() {
            return None;
        } else {
            schema::homes(key)
        };
        let table = |home: &&str| {
            let parts = ["service", service, home];
            format!("[{}]", dotted(if home.is_empty() { &parts[..2] } else { &parts }))
        };
        let tables: Vec<String> = homes.iter().map(table).collect();
        (!tables.is_empty()).then(|| format!("it stands in {}", tables.join(" or ")))
    }

    /// The entry's value as a table; `None` after having said that it is not one.
    pub(crate) fn table_of(&self, cx: &mut Context<'_>, entry: &'t Entry) -> Option<&'t Table> {
        if let Value::Table(table) = &entry.node.value {
            return Some(table);
        }
        let message = format!("expected a table, found {}", entry.node.value.describe());
        let key = self.key(&entry.key);
        let help = Some(format!("write [{key}]"));
        cx.error(Finding { span: entry.node.span, key: &key, message, help });
        None
    }

    /// The key's value; `None` when it is absent or, after having said so, bad.
    pub(crate) fn optional<T>(
        &self,
        cx: &mut Context<'_>,
        key: &str,
        convert: impl FnOnce(&Scalar<'t>) -> Result<T, Problem>,
    ) -> Option<T> {
        let path = self.key(key);
        let Some(entry) = self.entry(key) else {
            cx.origins.set(path, Origin::Default);
            return None;
        };
        let (value, used) = cx.convert(&entry.node, &path, convert)?;
        cx.set_origin(&path, entry.key_span, &used);
        Some(value)
    }

    /// As [`Self::optional`], for what nobody may read in a message.
    pub(crate) fn secret<T>(
        &self,
        cx: &mut Context<'_>,
        key: &str,
        convert: impl FnOnce(&Scalar<'t>) -> Result<T, Problem>,
    ) -> Option<T> {
        let path = self.key(key);
        let entry = self.entry(key)?;
        let (value, used) = cx.convert_secret(&entry.node, &path, convert)?;
        cx.set_origin(&path, entry.key_span, &used);
        Some(value)
    }

    pub(crate) fn read<T>(
        &self,
        cx: &mut Context<'_>,
        key: &str,
        default: T,
        convert: impl FnOnce(&Scalar<'t>) -> Result<T, Problem>,
    ) -> T {
        self.optional(cx, key, convert).unwrap_or(default)
    }

    pub(crate) fn duration(
        &self,
        cx: &mut Context<'_>,
        key: &str,
        default: Duration,
        shortest: Duration,
    ) -> Duration {
        self.read(cx, key, default, |scalar| scalar.duration(shortest))
    }

    /// A list, each of whose items is converted; `None` when the key is absent. Bad items are reported and left out.
    pub(crate) fn list<T>(
        &self,
        cx: &mut Context<'_>,
        key: &str,
        convert: impl Fn(&Scalar<'t>) -> Result<T, Problem>,
    ) -> Option<Vec<T>> {
        let path = self.key(key);
        let Some(entry) = self.entry(key) else {
            cx.origins.set(path, Origin::Default);
            return None;
        };
        let Value::Array(nodes) = &entry.node.value else {
            let message = format!("expected an array, found {}", entry.node.value.describe());
            let help = Some(format!("write {key} = [...]"));
            cx.error(Finding { span: entry.node.span, key: &path, message, help });
            return Some(Vec::new());
        };
        let mut items = Vec::new();
        let mut all_used = Vec::new();
        for node in nodes {
            if let Some((item, used)) = cx.convert(node, &path, &convert) {
                items.push(item);
                all_used.extend(used);
            }
        }
        cx.set_origin(&path, entry.key_span, &all_used);
        Some(items)
    }

    /// Program and arguments, as a list or as one string. Empty only after an error or when the key is absent.
    pub(crate) fn command(&self, cx: &mut Context<'_>, key: &str) -> Vec<String> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let path = self.key(key);
        let before = cx.error_count();
        let command = if matches!(entry.node.value, Value::Array(_)) {
            self.list(cx, key, Scalar::string).unwrap_or_default()
        } else {
            self.optional(cx, key, Scalar::words).unwrap_or_default()
        };
        if cx.error_count() > before {
            return command;
        }
        let problem = match command.first().map(String::as_str) {
            None => Some(
                Problem::new("a command needs a program").help("write [\"/path/to/program\", \"argument\"]"),
            ),
            Some("") => Some(Problem::new("the name of the program is empty")),
            Some(program) => tilde(program),
        };
        if let Some(Problem { message, help }) = problem {
            cx.error(Finding { span: entry.node.span, key: &path, message, help });
        }
        command
    }

    /// A path, relative to the file that names it.
    pub(crate) fn path(&self, cx: &mut Context<'_>, key: &str) -> Option<PathBuf> {
        let directory = self.entry(key).map(|entry| cx.directory(entry.key_span.file).to_owned());
        let path = self.optional(cx, key, path_text)?;
        Some(below(&directory.unwrap_or_default(), &path))
    }

    /// Refuses a key that only goes with another one.
    pub(crate) fn refuse(&self, cx: &mut Context<'_>, key: &str, why: &str) {
        if let Some(entry) = self.entry(key) {
            let path = self.key(key);
            let message = format!("`{key}` {why}");
            cx.error(Finding { span: entry.key_span, key: &path, message, help: None });
        }
    }

    /// Every entry, for tables whose keys are free.
    pub(crate) fn entries(&self) -> &'t [Entry] {
        &self.table.entries
    }
}

/// The path from `directory`, without needless `.` in it.
pub(crate) fn below(directory: &Path, path: &str) -> PathBuf {
    directory.join(path).components().collect()
}

/// A path as text, checked for what people expect of a shell.
pub(crate) fn path_text(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let text = scalar.non_empty()?;
    tilde(&text).map_or(Ok(text), Err)
}

pub(crate) fn tilde(text: &str) -> Option<Problem> {
    let rest = text.strip_prefix("~/")?;
    let problem = Problem::new("`~` is not replaced: no shell is run");
    Some(problem.help(format!("write \"${{HOME}}/{rest}\"")))
}

/// The node as JSON, references in its strings replaced.
pub(crate) fn json(cx: &mut Context<'_>, node: &Node, key: &str) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    let wrong = |cx: &mut Context<'_>, message: &str| {
        cx.error(Finding { span: node.span, key, message: message.to_owned(), help: None });
        None
    };
    match &node.value {
        Value::String(_) => cx.convert(node, key, Scalar::string).map(|(text, _)| Json::String(text)),
        Value::Integer(Some(number)) => Some(Json::from(*number)),
        Value::Integer(None) => wrong(cx, "this integer does not fit into 64 bits"),
        Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Some(Json::Number(number)),
            None => wrong(cx, "JSON has only finite numbers"),
        },
        Value::Boolean(yes) => Some(Json::Bool(*yes)),
        Value::Datetime => wrong(cx, "JSON has no dates: write a string"),
        Value::Array(nodes) => {
            let items: Vec<_> = nodes.iter().map(|node| json(cx, node, key)).collect();
            items.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
        }
        Value::Table(table) => {
            let entries: Vec<_> = table
                .entries
                .iter()
                .map(|entry| Some((entry.key.clone(), json(cx, &entry.node, key)?)))
                .collect();
            entries.into_iter().collect::<Option<serde_json::Map<_, _>>>().map(Json::Object)
        }
    }
}
