//! What must not be seen of the file where a message shows an excerpt of it.

use std::ops::Range;

use crate::raw::{Node, Table, Value};

/// Where secrets stand in the text, whatever table they are in: behind the host of a webhook's URL, and what headers hold.
/// What is a variable's is no secret as it is written.
pub(crate) fn places(text: &str, root: &Table) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    in_table(text, root, false, &mut found);
    // A file that is not TOML has no tree where the mistake is, and that is what is shown.
    let mut from = 0;
    while let Some(at) = text[from..].find("webhook") {
        from += at;
        let line = text[from..].find('\n').map_or(text.len(), |end| from + end);
        found.extend(tail(text, from..line));
        from = line;
    }
    found
}

fn in_table(text: &str, table: &Table, headers: bool, found: &mut Vec<Range<usize>>) {
    for entry in &table.entries {
        if headers || entry.key == "webhook" {
            found.extend(in_string(text, &entry.node, headers));
        }
        in_node(text, &entry.node, entry.key == "headers", found);
    }
}

fn in_node(text: &str, node: &Node, headers: bool, found: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Table(table) => in_table(text, table, headers, found),
        Value::Array(nodes) => nodes.iter().for_each(|node| in_node(text, node, false, found)),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
}

fn in_string(text: &str, node: &Node, whole: bool) -> Option<Range<usize>> {
    let Value::String(value) = &node.value else { return None };
    let span = node.span.start..node.span.end;
    let reference = value.starts_with("${") && value.ends_with('}') && value.matches('{').count() == 1;
    if reference && !value.contains(":-") {
        None
    } else if whole {
        Some(span)
    } else {
        tail(text, span)
    }
}

/// What follows the host of the first URL there; all of it where there is none.
fn tail(text: &str, within: Range<usize>) -> Option<Range<usize>> {
    let part = text.get(within.clone())?;
    let Some(scheme) = part.find("://") else { return part.starts_with(['"', '\'']).then_some(within) };
    let host = scheme + "://".len();
    let end = part[host..].find(['/', '?', '#', '@']).map_or(part.len(), |at| host + at);
    // The user is the secret, and stands before the host.
    let start = if part[end..].starts_with('@') { host } else { end };
    let close = part[start..].find(['"', '\'', ' ']).map_or(part.len(), |at| start + at);
    Some(within.start + start..within.start + close)
}

/// The text with these ranges of the whole blotted out; it stands at `at` there. Each byte stays in its place.
pub(crate) fn blot(text: &str, at: usize, hidden: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    for (offset, c) in text.char_indices() {
        let place = at + offset;
        let hides = hidden.iter().any(|range| range.contains(&place)) && !matches!(c, '"' | '\'' | '\r');
        if hides {
            out.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    out
}
