//! `%i` and its like in the values of a template, with systemd's letters (systemd.unit(5), "Specifiers").
//!
//! Only here: in a service that is no instance `%` stands for itself, as in the date formats of many a command line.

use crate::origin::dotted;
use crate::raw::{Node, Table, Value};
use crate::resolve::context::{Context, Finding};

/// What the specifiers of one instance stand for.
pub(super) struct Names<'n> {
    /// `%p`: `worker`
    pub(super) prefix: &'n str,
    /// `%i`: `a`
    pub(super) instance: &'n str,
    /// `%n`: `worker@a`
    pub(super) name: &'n str,
}

/// Replaces the specifiers in every string of the table.
pub(super) fn replace(cx: &mut Context<'_>, table: &mut Table, names: &Names<'_>) {
    let mut path = vec!["service".to_owned(), names.name.to_owned()];
    in_table(cx, table, names, &mut path);
}

fn in_table(cx: &mut Context<'_>, table: &mut Table, names: &Names<'_>, path: &mut Vec<String>) {
    for entry in &mut table.entries {
        path.push(entry.key.clone());
        in_node(cx, &mut entry.node, names, path);
        path.pop();
    }
}

fn in_node(cx: &mut Context<'_>, node: &mut Node, names: &Names<'_>, path: &mut Vec<String>) {
    match &mut node.value {
        Value::String(text) if text.contains('%') => match expand(text, names) {
            Ok(expanded) => *text = expanded,
            Err(at) => {
                let message = match text[at..].chars().nth(1) {
                    Some(letter) => format!("%{letter} stands for nothing in a template"),
                    None => "a % at the end stands for nothing in a template".to_owned(),
                };
                let end = at + 1 + text[at..].chars().nth(1).map_or(0, char::len_utf8);
                let help = "%i is the instance, %p what stands before the @, %n the whole name; %% is a percent sign";
                let span = cx.inside(node.span, text, at..end);
                let key = dotted(path);
                cx.error(Finding { span, key: &key, message, help: Some(help.to_owned()) });
                // What it says has been told; the rest of it may be read.
                *text = text.replace('%', "");
            }
        },
        Value::Array(nodes) => nodes.iter_mut().for_each(|node| in_node(cx, node, names, path)),
        Value::Table(table) => in_table(cx, table, names, path),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
}

/// The text with its specifiers replaced, or where one stands for nothing.
fn expand(text: &str, names: &Names<'_>) -> Result<String, usize> {
    let mut expanded = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].find('%') {
        expanded.push_str(&text[at..at + found]);
        at += found;
        expanded.push_str(match text.as_bytes().get(at + 1) {
            Some(b'i') => names.instance,
            Some(b'p') => names.prefix,
            Some(b'n') => names.name,
            Some(b'%') => "%",
            Some(_) | None => return Err(at),
        });
        at += 2;
    }
    expanded.push_str(&text[at..]);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers() {
        let names = Names { prefix: "w", instance: "a", name: "w@a" };
        for (text, expected) in [
            ("", Ok("")),
            ("%i", Ok("a")),
            ("x%i%ny", Ok("xaw@ay")),
            ("%p-%i", Ok("w-a")),
            ("100%%", Ok("100%")),
            ("%%i", Ok("%i")),
            ("%%%i", Ok("%a")),
            ("%", Err(0)),
            ("a%", Err(1)),
            ("ü%H", Err(2)),
            ("%ü", Err(0)),
        ] {
            assert_eq!(expand(text, &names), expected.map(str::to_owned), "{text}");
        }
    }
}
