//! Between reading and resolving: which tables make which service? A plain service is its table and its drop-ins; an
//! instance of a template is four layers, from weak to strong:
//!
//! 1. the template's table, `[service."worker@"]`
//! 2. the template's drop-ins, `worker@.d/*.toml`
//! 3. the instance's own table, `[service."worker@a"]`, if there is one
//! 4. the instance's drop-ins, `worker@a.d/*.toml`
//!
//! Tables are laid over each other key by key. Specifiers are replaced here and nowhere else, so that whoever reads a
//! value later sees it as if it had been written so.

mod instances;
mod layers;
mod specifier;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::origin::dotted;
use crate::raw::{Entry, Node, Table, Value};
use crate::resolve::context::{Context, Finding, Instance};
use crate::resolve::scalar::Problem;
use crate::resolve::section::Section;
use crate::resolve::{Document, MAIN};
use crate::schema;
use crate::similar::closest;
use crate::source::FileId;

use instances::instances;
use layers::lay_over;

/// A service's table as it is to be read, under the service's name.
pub(crate) struct Assembled {
    pub(crate) entry: Entry,
    /// The template that it is an instance of.
    pub(crate) instance: Option<Instance>,
}

/// What brings the drop-ins of a service: its name and the directories to look in, weakest first. What it brings are
/// the service's tables, weakest first.
pub(crate) type DropIns<'d> = dyn FnMut(&mut Context<'_>, &str, &[PathBuf]) -> Vec<Document> + 'd;

/// Every service that the documents define, instances included. Reports what is wrong with the outer tables.
pub(crate) fn assemble(
    cx: &mut Context<'_>,
    documents: &[Document],
    drop_ins: &mut DropIns<'_>,
) -> Vec<Assembled> {
    let defined = defined(cx, documents);
    let mut assembled = Vec::new();
    for (&name, &entry) in &defined {
        if name.ends_with('@') {
            assembled.extend(of_template(cx, entry, &defined, drop_ins));
            continue;
        }
        if template_of(name).is_some_and(|template| defined.contains_key(template.as_str())) {
            // It is read with its template, or reported there.
            continue;
        }
        let mut table = table(entry).clone();
        for document in drop_ins(cx, name, &directories(cx, &[entry.key_span.file])) {
            lay_over(&mut table, own_table(cx, document, name));
        }
        refuse_instances(cx, name, &mut table);
        assembled.push(Assembled { entry: entry_of(entry, name, table), instance: None });
    }
    assembled
}

/// The services that the files define, by name; the first definition of each.
fn defined<'d>(cx: &mut Context<'_>, documents: &'d [Document]) -> BTreeMap<&'d str, &'d Entry> {
    let mut defined: BTreeMap<&str, &Entry> = BTreeMap::new();
    for document in documents {
        let root = Section::new(&document.root, Vec::new(), None);
        root.check_keys(cx, &schema::ROOT);
        if document.file != MAIN {
            refuse_daemon(cx, &root, "an included file cannot have [daemon]");
        }
        let Some(entry) = root.entry("service") else { continue };
        let Some(table) = root.table_of(cx, entry) else { continue };
        for entry in &table.entries {
            let key = dotted(&["service", &entry.key]);
            if let Some(Problem { message, help }) = bad_name(&entry.key) {
                cx.error(Finding { span: entry.key_span, key: &key, message, help });
            }
            let parent = Section::new(table, vec!["service".to_owned()], None);
            let sound = parent.table_of(cx, entry).is_some();
            if let Some(first) = defined.get(entry.key.as_str()) {
                let message = format!("the service `{}` is defined twice", entry.key);
                let help = Some("give one of them another name".to_owned());
                let finding = Finding { span: entry.key_span, key: &key, message, help };
                cx.error_with(finding, first.key_span, "first defined here");
            } else if sound {
                defined.insert(&entry.key, entry);
            }
        }
    }
    defined
}

fn bad_name(name: &str) -> Option<Problem> {
    let Some(prefix) = name.strip_suffix('@') else { return crate::resolve::bad_name(name) };
    if prefix.is_empty() || prefix.contains('@') {
        let problem = Problem::new(format!("`{name}` cannot be the name of a template"));
        return Some(problem.help("a template's name has one `@`, at its end: [service.\"worker@\"]"));
    }
    crate::resolve::bad_name(prefix)
}

/// `worker@` for `worker@a`.
fn template_of(name: &str) -> Option<String> {
    name.split_once('@').map(|(prefix, _)| format!("{prefix}@"))
}

fn of_template(
    cx: &mut Context<'_>,
    entry: &Entry,
    defined: &BTreeMap<&str, &Entry>,
    drop_ins: &mut DropIns<'_>,
) -> Vec<Assembled> {
    let template = entry.key.as_str();
    let prefix = template.trim_end_matches('@');
    let mut common = table(entry).clone();
    for document in drop_ins(cx, template, &directories(cx, &[entry.key_span.file])) {
        lay_over(&mut common, own_table(cx, document, template));
    }
    cx.note_template(template, &common);
    let listed = instances(cx, entry, &common);
    common.entries.retain(|entry| entry.key != "instances");
    let own: BTreeMap<&str, &Entry> = defined
        .iter()
        .filter(|(name, _)| template_of(name).as_deref() == Some(template) && **name != template)
        .map(|(&name, &entry)| (name, entry))
        .collect();
    let known: Vec<String> = listed.iter().map(|instance| format!("{template}{instance}")).collect();
    for (name, own) in &own {
        if !known.iter().any(|known| known == name) {
            refuse_unlisted(cx, own, template, &known);
        }
    }
    let mut assembled = Vec::new();
    for (instance, name) in listed.iter().zip(&known) {
        cx.instance = Some(Instance { template: template.to_owned(), name: name.clone() });
        let mut table = common.clone();
        let mut files = vec![entry.key_span.file];
        if let Some(own) = own.get(name.as_str()) {
            let mut own_table = self::table(own).clone();
            refuse_instances(cx, name, &mut own_table);
            lay_over(&mut table, own_table);
            files.push(own.key_span.file);
        }
        for document in drop_ins(cx, name, &directories(cx, &files)) {
            let mut own_table = own_table(cx, document, name);
            refuse_instances(cx, name, &mut own_table);
            lay_over(&mut table, own_table);
        }
        specifier::replace(cx, &mut table, &specifier::Names { prefix, instance, name });
        assembled.push(Assembled { entry: entry_of(entry, name, table), instance: cx.instance.take() });
    }
    assembled
}

fn refuse_unlisted(cx: &mut Context<'_>, entry: &Entry, template: &str, known: &[String]) {
    let help = match closest(&entry.key, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add it to `instances` in [service.\"{template}\"], or give it another name"),
    };
    let message = format!("`{}` is not among the instances of the template `{template}`", entry.key);
    let key = dotted(&["service", &entry.key]);
    cx.error(Finding { span: entry.key_span, key: &key, message, help: Some(help) });
}

fn refuse_instances(cx: &mut Context<'_>, name: &str, table: &mut Table) {
    let Some(at) = table.entries.iter().position(|entry| entry.key == "instances") else { return };
    let entry = table.entries.remove(at);
    let message = "`instances` goes with a template".to_owned();
    let help = match template_of(name) {
        Some(template) => format!("write it in [service.\"{template}\"]"),
        None => format!("a template's name ends with `@`: [service.\"{name}@\"]"),
    };
    let key = dotted(&["service", name, "instances"]);
    cx.error(Finding { span: entry.key_span, key: &key, message, help: Some(help) });
}

fn refuse_daemon(cx: &mut Context<'_>, root: &Section<'_>, message: &str) {
    if let Some(entry) = root.entry("daemon") {
        let main = cx.sources[MAIN].path.display().to_string();
        cx.error(Finding {
            span: entry.key_span,
            key: "daemon",
            message: message.to_owned(),
            help: Some(format!("move it to {main}")),
        });
    }
}

/// The table of `name` in one of its drop-ins. Whatever else stands there is refused.
fn own_table(cx: &mut Context<'_>, document: Document, name: &str) -> Table {
    let root = Section::new(&document.root, Vec::new(), None);
    root.check_keys(cx, &schema::ROOT);
    refuse_daemon(cx, &root, "a drop-in cannot have [daemon]");
    let services = root.entry("service").and_then(|entry| root.table_of(cx, entry));
    let Some(services) = services else { return Table::default() };
    let mut own = Table::default();
    for entry in &services.entries {
        let key = dotted(&["service", &entry.key]);
        if entry.key != name {
            let message = format!("a drop-in in {name}.d cannot have [{key}]");
            let help = Some(format!("write [{}]", dotted(&["service", name])));
            cx.error(Finding { span: entry.key_span, key: &key, message, help });
            continue;
        }
        let parent = Section::new(services, vec!["service".to_owned()], None);
        if let Some(table) = parent.table_of(cx, entry) {
            own = table.clone();
        }
    }
    own
}

/// Where drop-ins are looked for: beside the files that define the service, then beside the main file.
fn directories(cx: &Context<'_>, files: &[FileId]) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for &file in files.iter().chain(&[MAIN]) {
        let directory = cx.sources[file].path.parent().map(PathBuf::from).unwrap_or_default();
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// Only tables are among the defined.
fn table(entry: &Entry) -> &Table {
    match &entry.node.value {
        Value::Table(table) => table,
        _ => &crate::raw::EMPTY,
    }
}

fn entry_of(header: &Entry, name: &str, table: Table) -> Entry {
    let node = Node { span: header.node.span, value: Value::Table(table) };
    Entry { key: name.to_owned(), key_span: header.key_span, node }
}
