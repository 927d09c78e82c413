//! The second step: from trees to a [`Config`]. Defaults, variables, types and every check that needs no second file.
//!
//! It reads nothing but what it is given; [`crate::load`] brings the texts.

mod commands;
pub(crate) mod context;
pub(crate) mod daemon;
mod health;
mod ready;
mod resources;
pub(crate) mod scalar;
mod section;
mod service;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::raw::Table;
use crate::resolve::context::{Context, Finding};
use crate::resolve::section::Section;
use crate::schema;
use crate::source::{FileId, Span};
use crate::spec::{Config, ServiceSpec};

/// One file's tree. Files with syntax errors are not among them.
pub(crate) struct Document {
    pub(crate) file: FileId,
    pub(crate) root: Table,
}

/// The configuration that the documents make. It means something only if no error was reported.
pub(crate) fn resolve(cx: &mut Context<'_>, documents: &[Document]) -> Config {
    let main = documents.iter().find(|document| document.file == MAIN);
    let empty = Table::default();
    let main = main.map_or(&empty, |document| &document.root);
    let daemon = daemon::resolve(cx, main);

    let mut services: BTreeMap<String, ServiceSpec> = BTreeMap::new();
    let mut defined: BTreeMap<String, Span> = BTreeMap::new();
    for document in documents {
        let root = Section::new(&document.root, Vec::new(), None);
        root.check_keys(cx, &schema::ROOT);
        if document.file != MAIN {
            refuse_daemon(cx, &root);
        }
        let Some(entry) = root.entry("service") else { continue };
        let Some(table) = root.table_of(cx, entry) else { continue };
        for entry in &table.entries {
            let key = crate::origin::dotted(&["service", &entry.key]);
            if let Some(&first) = defined.get(&entry.key) {
                let message = format!("the service `{}` is defined twice", entry.key);
                let help = Some("give one of them another name".to_owned());
                let finding = Finding { span: entry.key_span, key: &key, message, help };
                cx.error_with(finding, first, "first defined here");
            } else {
                defined.insert(entry.key.clone(), entry.key_span);
            }
            if let Some(problem) = service::bad_name(&entry.key) {
                let (message, help) = (problem.message, problem.help);
                cx.error(Finding { span: entry.key_span, key: &key, message, help });
            }
            if let Some(spec) = service::resolve(cx, entry) {
                services.entry(entry.key.clone()).or_insert(spec);
            }
        }
    }
    daemon::check_notify_socket(cx, main, &daemon, services.values());
    let files: Vec<PathBuf> = cx.sources.iter().map(|source| source.path.clone()).collect();
    Config { daemon, services, files }
}

/// The file that was asked for is read first.
pub(crate) const MAIN: FileId = 0;

fn refuse_daemon(cx: &mut Context<'_>, root: &Section<'_>) {
    if let Some(entry) = root.entry("daemon") {
        let main = cx.sources[MAIN].path.display().to_string();
        cx.error(Finding {
            span: entry.key_span,
            key: "daemon",
            message: "an included file cannot have [daemon]".to_owned(),
            help: Some(format!("move it to {main}")),
        });
    }
}
