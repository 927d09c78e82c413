//! Which instances does a template have?

use crate::origin::dotted;
use crate::raw::{Entry, Table, Value};
use crate::resolve::context::{Context, Finding};
use crate::resolve::scalar::{Problem, Scalar};

/// More of one template are an accident.
const MOST_INSTANCES: u32 = 10_000;

/// `instances = ["a", "b"]`, or `instances = 3` for "1", "2" and "3". Bad ones are reported and left out.
pub(super) fn instances(cx: &mut Context<'_>, header: &Entry, table: &Table) -> Vec<String> {
    let template = header.key.as_str();
    let key = dotted(&["service", template, "instances"]);
    let Some(entry) = table.get("instances") else {
        let message = format!("the template `{template}` has no `instances`");
        let help = "say which there are, instances = [\"a\", \"b\"], or how many, instances = 4".to_owned();
        cx.error(Finding { span: header.key_span, key: &key, message, help: Some(help) });
        return Vec::new();
    };
    let Value::Array(nodes) = &entry.node.value else {
        let count = cx.convert(&entry.node, &key, |scalar| count(scalar, &entry.node.value));
        return count.map_or_else(Vec::new, |(count, _)| (1..=count).map(|n| n.to_string()).collect());
    };
    if nodes.is_empty() {
        let message = "a template needs at least one instance".to_owned();
        let help = Some("take the template out, or name an instance".to_owned());
        cx.error(Finding { span: entry.node.span, key: &key, message, help });
    }
    let mut found: Vec<String> = Vec::new();
    for node in nodes {
        let checked = |scalar: &Scalar<'_>| {
            let instance = scalar.string()?;
            bad(&instance, template).map_or(Ok(instance), Err)
        };
        let Some((instance, _)) = cx.convert(node, &key, checked) else { continue };
        if found.contains(&instance) {
            let message = format!("the instance {instance:?} is listed twice");
            cx.error(Finding { span: node.span, key: &key, message, help: None });
        } else {
            found.push(instance);
        }
    }
    found
}

fn count(scalar: &Scalar<'_>, value: &Value) -> Result<u32, Problem> {
    match value {
        Value::Integer(_) | Value::String(_) => scalar.count(1, MOST_INSTANCES).map_err(|problem| {
            problem.help("a list names the instances, a number counts them: [\"a\", \"b\"] or 4")
        }),
        other => {
            Err(Problem::new(format!("expected a list of names or a number, found {}", other.describe())))
        }
    }
}

fn bad(instance: &str, template: &str) -> Option<Problem> {
    if instance.is_empty() {
        return Some(Problem::new("the name of an instance is empty"));
    }
    if instance.contains('@') {
        return Some(Problem::new("'@' cannot stand in the name of an instance"));
    }
    crate::resolve::bad_name(&format!("{template}{instance}"))
}
