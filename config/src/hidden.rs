//! What must not be seen of the file where a message shows an excerpt of it.

use std::ops::Range;

use crate::raw::{Node, Table, Value};
use crate::redact::is_secret_name;

/// What stands for itself in an entry of `crash.notify`. Everything else there is, or may be a slip of, what is secret.
const PLAIN: [&str; 4] = ["exec", "template", "journal", "on"];

/// Where secrets stand in the text, whatever table they are in: behind the host of a webhook's URL, and what headers
/// hold. What is a variable's is no secret as it is written. `sound`: all of the text is in the tree.
pub(crate) fn places(text: &str, root: &Table, sound: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    in_table(text, root, &mut found);
    // A file that is not TOML has no tree where the mistake is, and that is what is shown: there it is better to hide
    // too much.
    if !sound {
        found.extend(text.match_indices("://").filter_map(|(at, _)| tail(text, at..line_end(text, at))));
        found.extend(named_in_text(text));
        for word in ["webhook", "headers"] {
            found.extend(text.match_indices(word).map(|(at, _)| at + word.len()..table_end(text, at)));
        }
    }
    found
}

fn in_table(text: &str, table: &Table, found: &mut Vec<Range<usize>>) {
    for entry in &table.entries {
        match entry.key.as_str() {
            "headers" => all(&entry.node, found),
            "webhook" => found.extend(in_string(text, &entry.node)),
            "notify" => in_notify(text, &entry.node, found),
            key if is_secret_name(key) => named(&entry.node, found),
            _ => in_node(text, &entry.node, found),
        }
    }
}

fn in_node(text: &str, node: &Node, found: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Table(table) => in_table(text, table, found),
        Value::Array(nodes) => nodes.iter().for_each(|node| in_node(text, node, found)),
        Value::String(_) => found.extend(login(text, node)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
}

/// What stands behind a name that sounds like a secret's, of whatever kind it is.
fn named(node: &Node, found: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::String(_) | Value::Array(_) | Value::Table(_) => all(node, found),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {
            found.push(node.span.start..node.span.end);
        }
    }
}

/// User and password in a URL: `postgres://me:secret@db/x`.
fn login(text: &str, node: &Node) -> Option<Range<usize>> {
    let part = text.get(node.span.start..node.span.end)?;
    let start = part.find("://")? + "://".len();
    let end = part[start..].find(['/', '?', '#', ' ']).map_or(part.len(), |at| start + at);
    let at = part[start..end].rfind('@')?;
    Some(node.span.start + start..node.span.start + start + at)
}

/// What stands behind such a name in a text that is not understood, up to the end of its line.
fn named_in_text(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices('=').filter_map(|(at, _)| {
        let before = text[..at].trim_end_matches([' ', '\t', '"', '\'']);
        let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').next()?;
        is_secret_name(name).then(|| at + 1..line_end(text, at))
    })
}

fn in_notify(text: &str, node: &Node, found: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Array(nodes) => nodes.iter().for_each(|node| in_notify(text, node, found)),
        Value::Table(table) => {
            for entry in table.entries.iter().filter(|entry| !PLAIN.contains(&entry.key.as_str())) {
                match &entry.node.value {
                    Value::String(_) => found.extend(in_string(text, &entry.node)),
                    _ => all(&entry.node, found),
                }
            }
        }
        Value::String(_) => found.extend(in_string(text, node)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
}

/// Every string in it.
fn all(node: &Node, found: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::String(value) => {
            found.extend((!is_reference(value)).then_some(node.span.start..node.span.end));
        }
        Value::Array(nodes) => nodes.iter().for_each(|node| all(node, found)),
        Value::Table(table) => table.entries.iter().for_each(|entry| all(&entry.node, found)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
}

fn in_string(text: &str, node: &Node) -> Option<Range<usize>> {
    let Value::String(value) = &node.value else { return None };
    if is_reference(value) { None } else { tail(text, node.span.start..node.span.end) }
}

/// `${NAME}` and nothing else.
fn is_reference(value: &str) -> bool {
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.contains([':', '{', '}']))
}

/// What follows the host of the first URL there; all of it where there is none.
fn tail(text: &str, within: Range<usize>) -> Option<Range<usize>> {
    let part = text.get(within.clone())?;
    let Some(scheme) = part.find("://") else { return Some(within) };
    let host = scheme + "://".len();
    let end = part[host..].find(['/', '?', '#', '@']).map_or(part.len(), |at| host + at);
    // The user is a secret too, and stands before the host.
    let start = if part[end..].starts_with('@') { host } else { end };
    Some(within.start + start..within.end)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end)
}

/// Where the table that this stands in ends: with its brace when it is written in one line, else with the next table.
fn table_end(text: &str, at: usize) -> usize {
    let line = &text[at..line_end(text, at)];
    match line.find('{').and(line.rfind('}')) {
        Some(brace) => at + brace,
        None => text[at..].find("\n[").map_or(text.len(), |end| at + end),
    }
}

/// The text with these ranges of the whole blotted out; it stands at `at` there. Each byte stays in its place.
pub(crate) fn blot(text: &str, at: usize, hidden: &[Range<usize>]) -> String {
    let whole = at..at + text.len();
    let here = |range: &&Range<usize>| range.start < whole.end && whole.start < range.end;
    let hidden: Vec<_> = hidden.iter().filter(here).collect();
    let mut out = String::with_capacity(text.len());
    for (offset, c) in text.char_indices() {
        let hides = hidden.iter().any(|range| range.contains(&(at + offset)));
        if hides && !matches!(c, '"' | '\'' | '\r' | '\t' | ' ') {
            out.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::Environment;

    #[test]
    fn excerpts_show_no_secrets() {
        const SECRET: &str = "hunter2hunter2";
        for lines in [
            "environment = { API_TOKEN = 'SECRET', A = 1 }",
            "environment = { API_TOKEN = 'SECRET', A = [] }",
            "environment = { API_TOKEN = 'SECRET }",
            "environment.DB_PASSWORD = \"SECRET",
            "environment.\"DB_PASSWORD\" = SECRET",
            "environment = { DB = 'postgres://me:SECRET@db/x', A = [] }",
            "exec = 'x' \nenvironment = { API_TOKEN = 'SECRET' }, x",
        ] {
            let text = format!("[service.a]\nexec = 'a'\n{}\n", lines.replace("SECRET", SECRET));
            let Err(failed) = crate::load_text(Path::new("m.toml"), &text, &Environment::default()) else {
                continue;
            };
            let said = failed.render(false);
            assert!(!said.contains(SECRET), "{said}");
            assert!(!format!("{failed:?}").contains(SECRET), "{failed:?}");
        }
    }
}
