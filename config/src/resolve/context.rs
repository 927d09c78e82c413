//! What every part of the resolver shares: the texts, the environment, and what has been found so far.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Related, Severity};
use crate::environment::Environment;
use crate::origin::{Origin, Origins, dotted};
use crate::raw::{Node, Table, Value};
use crate::resolve::relations::Mention;
use crate::resolve::scalar::{Problem, Scalar, Written};
use crate::source::{FileId, Source, Span};
use crate::variables::{self, BadReference, Used};

/// Errors are collected, not returned: the resolver goes on with a default, so that one run finds all of them. What it
/// makes is handed out only when there were none.
pub(crate) struct Context<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) sources: Vec<Source>,
    pub(crate) origins: Origins,
    /// The instance that is being read, if it is one.
    pub(crate) instance: Option<Instance>,
    /// Where keys of templates stand, by file and offset, and whose they are.
    templates: BTreeMap<(FileId, usize), String>,
    /// Services that other services name, to be looked at when all are known.
    pub(crate) mentions: Vec<Mention>,
    diagnostics: Vec<Diagnostic>,
}

/// An instance of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    /// `worker@`
    pub(crate) template: String,
    /// `worker@a`
    pub(crate) name: String,
}

/// What is said of one place.
pub(crate) struct Finding<'s> {
    pub(crate) span: Span,
    pub(crate) key: &'s str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            sources: Vec::new(),
            origins: Origins::default(),
            instance: None,
            templates: BTreeMap::new(),
            mentions: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    pub(crate) fn directory(&self, file: FileId) -> &Path {
        &self.sources[file].directory
    }

    pub(crate) fn error(&mut self, finding: Finding<'_>) {
        self.push(Severity::Error, finding, None);
    }

    pub(crate) fn warning(&mut self, finding: Finding<'_>) {
        self.push(Severity::Warning, finding, None);
    }

    /// An error that a second place explains.
    pub(crate) fn error_with(&mut self, finding: Finding<'_>, other: Span, label: &str) {
        self.push(Severity::Error, finding, Some((other, label)));
    }

    /// Something about a file as a whole.
    pub(crate) fn about_file(
        &mut self,
        severity: Severity,
        file: FileId,
        message: String,
        help: Option<String>,
    ) {
        self.diagnostics.push(Diagnostic {
            severity,
            file: self.sources[file].path.clone(),
            line: 0,
            column: 0,
            key: String::new(),
            message,
            help,
            excerpt: None,
            related: None,
            order: (file, 0),
            instance: None,
        });
    }

    fn push(&mut self, severity: Severity, finding: Finding<'_>, other: Option<(Span, &str)>) {
        let Finding { span, key, message, help } = finding;
        let source = &self.sources[span.file];
        let (line, column) = source.position(span.start);
        let related = other.map(|(span, label)| {
            let source = &self.sources[span.file];
            let (line, column) = source.position(span.start);
            let excerpt = source.excerpt(span.start, span.end);
            Box::new(Related { file: source.path.clone(), line, column, label: label.to_owned(), excerpt })
        });
        self.diagnostics.push(Diagnostic {
            severity,
            file: source.path.clone(),
            line,
            column,
            key: key.to_owned(),
            message,
            help,
            excerpt: Some(source.excerpt(span.start, span.end)),
            related,
            order: (span.file, span.start),
            instance: self.instance.clone(),
        });
    }

    /// How many errors there are so far.
    pub(crate) fn error_count(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count()
    }

    /// Is there an error about this place already?
    pub(crate) fn is_bad(&self, span: Span) -> bool {
        self.diagnostics.iter().any(|found| {
            let (file, start) = found.order;
            found.severity == Severity::Error && file == span.file && (span.start..=span.end).contains(&start)
        })
    }

    /// All of them, in the order of files and positions: errors, then warnings. What is wrong with a template is said
    /// for the first of its instances only.
    pub(crate) fn into_diagnostics(self) -> (Vec<Diagnostic>, Vec<Diagnostic>, Origins) {
        let mut all = self.diagnostics;
        let mut said: BTreeMap<_, String> = BTreeMap::new();
        all.retain(|found| {
            let Some(Instance { template, name }) = &found.instance else { return true };
            let below = found.key.strip_prefix(&dotted(&["service", name])).unwrap_or(&found.key);
            let mistake = (found.order, template.clone(), below.to_owned());
            said.entry(mistake).or_insert_with(|| name.clone()) == name
        });
        all.sort_by_key(|diagnostic| diagnostic.order);
        let (errors, warnings) = all.into_iter().partition(|found| found.severity == Severity::Error);
        (errors, warnings, self.origins)
    }

    pub(crate) fn set_origin(&mut self, key: &str, span: Span, used: &[Used]) {
        let source = &self.sources[span.file];
        let (line, column) = source.position(span.start);
        let mut variables: Vec<String> = Vec::new();
        for used in used.iter().filter(|used| used.set) {
            if !variables.contains(&used.name) {
                variables.push(used.name.clone());
            }
        }
        let template = self.templates.get(&(span.file, span.start)).cloned();
        let origin = Origin::File { file: source.path.clone(), line, column, variables, template };
        self.origins.set(key.to_owned(), origin);
    }

    /// Notes whose keys these are, for the origins of the instances' values.
    pub(crate) fn note_template(&mut self, template: &str, table: &Table) {
        for entry in &table.entries {
            self.templates.insert((entry.key_span.file, entry.key_span.start), template.to_owned());
            if let Value::Table(below) = &entry.node.value {
                self.note_template(template, below);
            }
        }
    }

    /// The node as a scalar with its references replaced; `None` after having said why not.
    pub(crate) fn scalar<'n>(&mut self, node: &'n Node, key: &str) -> Option<Scalar<'n>> {
        let Value::String(text) = &node.value else {
            return Some(Scalar { written: Written::Typed(&node.value), used: Vec::new() });
        };
        match variables::expand(text, self.environment) {
            Ok(expanded) => {
                let used = expanded.used.clone();
                let written = if expanded.is_one_reference() {
                    Written::Reference(expanded.text())
                } else {
                    Written::Text(expanded)
                };
                Some(Scalar { written, used })
            }
            Err(bad) => {
                for BadReference { at, message, help } in bad {
                    let span = self.inside(node.span, text, at);
                    self.error(Finding { span, key, message, help });
                }
                None
            }
        }
    }

    /// The node as the type that `convert` makes, and the variables that went into it.
    pub(crate) fn convert<'n, T>(
        &mut self,
        node: &'n Node,
        key: &str,
        convert: impl FnOnce(&Scalar<'n>) -> Result<T, Problem>,
    ) -> Option<(T, Vec<Used>)> {
        self.convert_telling(node, key, convert, provenance)
    }

    /// The same for a value that nobody may read in a message: only the names of its variables are told.
    pub(crate) fn convert_secret<'n, T>(
        &mut self,
        node: &'n Node,
        key: &str,
        convert: impl FnOnce(&Scalar<'n>) -> Result<T, Problem>,
    ) -> Option<(T, Vec<Used>)> {
        self.convert_telling(node, key, convert, |used| {
            let names: Vec<String> = used.iter().map(|used| format!("the variable {}", used.name)).collect();
            if names.is_empty() { String::new() } else { format!(" (it comes from {})", names.join(" and ")) }
        })
    }

    fn convert_telling<'n, T>(
        &mut self,
        node: &'n Node,
        key: &str,
        convert: impl FnOnce(&Scalar<'n>) -> Result<T, Problem>,
        provenance: fn(&[Used]) -> String,
    ) -> Option<(T, Vec<Used>)> {
        let scalar = self.scalar(node, key)?;
        match convert(&scalar) {
            Ok(value) => Some((value, scalar.used)),
            Err(Problem { message, help }) => {
                let message = message + &provenance(&scalar.used);
                self.error(Finding { span: node.span, key, message, help });
                None
            }
        }
    }

    /// The part `at` of a string's text, where the file spells it without escapes; the whole string otherwise.
    pub(crate) fn inside(&self, span: Span, text: &str, at: std::ops::Range<usize>) -> Span {
        let written = self.sources[span.file].text().get(span.start..span.end).unwrap_or_default();
        for quotes in [3, 1] {
            let inner = written.get(quotes..written.len().saturating_sub(quotes));
            if inner == Some(text) {
                let start = span.start + quotes;
                return Span { file: span.file, start: start + at.start, end: start + at.end };
            }
        }
        span
    }
}

/// Says where a bad value came from when the file does not show it.
fn provenance(used: &[Used]) -> String {
    /// A value longer than this is cut: it is shown to be recognised, not to be read.
    const SHOWN: usize = 60;
    let parts: Vec<String> = used
        .iter()
        .map(|Used { name, value, set }| {
            let mut shown: String = value.chars().take(SHOWN).collect();
            if shown.len() < value.len() {
                shown.push('…');
            }
            if *set {
                format!("the variable {name} is {shown:?}")
            } else {
                format!("the variable {name} is not set, its default here is {shown:?}")
            }
        })
        .collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}
