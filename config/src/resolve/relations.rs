//! `requires`, `wants`, `after`, ...: what services have to do with each other, and whether that can be.
//!
//! The names are read with their service and looked at when all services are known, for they may stand in any file.

use std::collections::{BTreeMap, BTreeSet};

use crate::raw::{Node, Value};
use crate::resolve::context::{Context, Finding};
use crate::resolve::order;
use crate::resolve::scalar::Scalar;
use crate::resolve::section::Section;
use crate::similar::closest;
use crate::source::Span;
use crate::spec::{Relations, ServiceSpec};

/// One service named by another.
#[derive(Debug, Clone)]
pub(crate) struct Mention {
    pub(crate) service: String,
    /// The key of the configuration.
    pub(crate) says: &'static str,
    pub(crate) other: String,
    pub(crate) span: Span,
}

impl Mention {
    /// The dotted path of the key.
    pub(crate) fn key(&self) -> String {
        crate::origin::dotted(&["service", &self.service, self.says])
    }

    /// "`a` requires `b`"
    pub(crate) fn words(&self) -> String {
        let verb = match self.says {
            "requires" => "requires",
            "wants" => "wants",
            "after" => "is after",
            "before" => "is before",
            "conflicts" => "conflicts with",
            "part_of" => "is part of",
            "binds_to" => "is bound to",
            other => other,
        };
        format!("`{}` {verb} `{}`", self.service, self.other)
    }

    /// It cannot be without the other.
    pub(crate) fn is_need(&self) -> bool {
        matches!(self.says, "requires" | "binds_to")
    }
}

/// What the service says of others.
pub(crate) fn read(cx: &mut Context<'_>, service: &Section<'_>, name: &str) -> Relations {
    let mut names = |key| read_names(cx, service, name, key);
    Relations {
        requires: names("requires"),
        wants: names("wants"),
        after: names("after"),
        before: names("before"),
        conflicts: names("conflicts"),
        part_of: names("part_of"),
        binds_to: names("binds_to"),
    }
}

/// A list of names, or one name.
fn read_names(cx: &mut Context<'_>, service: &Section<'_>, name: &str, key: &'static str) -> Vec<String> {
    let nodes: &[Node] = match service.entry(key).map(|entry| &entry.node) {
        Some(Node { value: Value::Array(nodes), .. }) => nodes,
        Some(node @ Node { value: Value::String(_), .. }) => std::slice::from_ref(node),
        // Says that it is absent, or that it is no list.
        Some(_) | None => return service.list(cx, key, Scalar::non_empty).unwrap_or_default(),
    };
    let path = service.key(key);
    let mut names = Vec::new();
    let mut all_used = Vec::new();
    for node in nodes {
        let Some((other, used)) = cx.convert(node, &path, Scalar::non_empty) else { continue };
        all_used.extend(used);
        let mention = Mention { service: name.to_owned(), says: key, other: other.clone(), span: node.span };
        cx.mentions.push(mention);
        names.push(other);
    }
    if let Some(entry) = service.entry(key) {
        cx.set_origin(&path, entry.key_span, &all_used);
    }
    names
}

/// Reports what cannot be.
pub(crate) fn check(cx: &mut Context<'_>, services: &BTreeMap<String, ServiceSpec>) {
    let mentions = std::mem::take(&mut cx.mentions);
    let before = cx.error_count();
    for mention in &mentions {
        // A template's mistake is that of each of its instances, and told once.
        if !cx.is_bad(mention.span) {
            name(cx, services, mention);
        }
    }
    contradictions(cx, &mentions);
    if cx.error_count() > before {
        // Half of the names are wrong: what follows from them is not worth a word.
        return;
    }
    conflicts(cx, services, &mentions);
    order::check(cx, &mentions);
}

/// Is there such a service, and is it another one?
fn name(cx: &mut Context<'_>, services: &BTreeMap<String, ServiceSpec>, mention: &Mention) {
    let Mention { service, says, other, span } = mention;
    let (message, help) = if other == service {
        (format!("`{service}` names itself in `{says}`"), Some("take it out".to_owned()))
    } else if services.contains_key(other) {
        return;
    } else {
        let instance = services.keys().find(|name| other.ends_with('@') && name.starts_with(other));
        let near = closest(other, services.keys().map(String::as_str));
        let help = match (instance, near) {
            (Some(instance), _) => format!("that is a template: name its instances, such as `{instance}`"),
            (None, _) if other.contains(['*', '?', '[', '{']) => {
                "patterns are for mcpctl: name each service".to_owned()
            }
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("define [service.{other}], or take the name out"),
        };
        (format!("`{says}` names `{other}`, and there is no such service"), Some(help))
    };
    cx.error(Finding { span: *span, key: &mention.key(), message, help });
}

/// What one service says of another and cannot both be meant.
fn contradictions(cx: &mut Context<'_>, mentions: &[Mention]) {
    let mut pairs: BTreeMap<(&str, &str), Vec<&Mention>> = BTreeMap::new();
    for mention in mentions {
        let (one, other) = (mention.service.as_str(), mention.other.as_str());
        pairs.entry((one.min(other), one.max(other))).or_default().push(mention);
    }
    for pair in pairs.values() {
        let conflict = pair.iter().find(|mention| mention.says == "conflicts");
        let needs = pair.iter().find(|mention| matches!(mention.says, "requires" | "wants" | "binds_to"));
        if let (Some(conflict), Some(needs)) = (conflict, needs) {
            let message = format!("{}, but {}", conflict.words(), needs.words());
            let finding = Finding { span: conflict.span, key: &conflict.key(), message, help: None };
            cx.error_with(finding, needs.span, "said here");
        }
        for bound in pair.iter().filter(|mention| mention.says == "binds_to") {
            let opposite = pair.iter().find(|mention| {
                (mention.says == "before" && mention.service == bound.service)
                    || (mention.says == "after" && mention.service != bound.service)
            });
            if let Some(opposite) = opposite {
                let message =
                    format!("{}, but would have to start first: {}", bound.words(), opposite.words());
                let help = Some("what is bound to another starts after it".to_owned());
                let finding = Finding { span: bound.span, key: &bound.key(), message, help };
                cx.error_with(finding, opposite.span, "said here");
            }
        }
    }
}

/// Services that exclude each other and are both needed.
fn conflicts(cx: &mut Context<'_>, services: &BTreeMap<String, ServiceSpec>, mentions: &[Mention]) {
    let mut needed_by: BTreeMap<&str, Vec<&Mention>> = BTreeMap::new();
    for mention in mentions.iter().filter(|mention| mention.is_need()) {
        needed_by.entry(&mention.other).or_default().push(mention);
    }
    for conflict in mentions.iter().filter(|mention| mention.says == "conflicts") {
        let (one, other) = (conflict.service.as_str(), conflict.other.as_str());
        let enabled = |name| services.get(name).is_some_and(|service| service.enabled);
        let both = needs_of(one, &needed_by);
        let both = needs_of(other, &needed_by).into_iter().find(|name| both.contains(name));
        let (message, help) = if let Some(name) = both {
            (format!("{}, and `{name}` cannot be without both of them", conflict.words()), None)
        } else if enabled(one) && enabled(other) {
            let help = "set `enabled = false` for one of them; a start of it stops the other";
            (format!("{}, and both start with mcpd", conflict.words()), Some(help.to_owned()))
        } else {
            continue;
        };
        cx.error(Finding { span: conflict.span, key: &conflict.key(), message, help });
    }
}

/// The service and all that cannot be without it.
fn needs_of<'m>(name: &'m str, needed_by: &BTreeMap<&'m str, Vec<&'m Mention>>) -> BTreeSet<&'m str> {
    let mut all = BTreeSet::from([name]);
    let mut queue = vec![name];
    while let Some(name) = queue.pop() {
        for mention in needed_by.get(name).into_iter().flatten() {
            if all.insert(&mention.service) {
                queue.push(&mention.service);
            }
        }
    }
    all
}
