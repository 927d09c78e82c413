//! `[[service.NAME.crash.notify]]`: who is told of what.

use crate::raw::{Entry, Node, Table, Value};
use crate::resolve::context::{Context, Finding};
use crate::resolve::health::{self, http_url, one_of};
use crate::resolve::scalar::{Problem, Scalar};
use crate::resolve::section::Section;
use crate::schema;
use crate::spec::{NotifyOn, NotifySpec, NotifyTarget, NotifyTemplate, WebhookSpec};

/// Each entry is told of every condition of the service, and has a queue of its own.
const MOST: usize = 16;
/// The ways to tell.
const TARGETS: [&str; 3] = ["exec", "webhook", "journal"];
const WEBHOOK_ONLY: [&str; 2] = ["template", "headers"];

/// `crash`: the table that the list stands in.
pub(crate) fn resolve(cx: &mut Context<'_>, crash: &Section<'_>) -> Vec<NotifySpec> {
    let path = crash.key("notify");
    let Some(entry) = crash.entry("notify") else {
        cx.origins.set(path, crate::origin::Origin::Default);
        return Vec::new();
    };
    let help = "write notify = [{ exec = [\"/path/to/program\"] }, { webhook = \"https://...\" }]";
    let Value::Array(nodes) = &entry.node.value else {
        let message = format!("expected a list of tables, found {}", entry.node.value.describe());
        cx.error(Finding { span: entry.node.span, key: &path, message, help: Some(help.to_owned()) });
        return Vec::new();
    };
    if nodes.len() > MOST {
        let message = format!("at most {MOST} can be told of a service, and these are {}", nodes.len());
        cx.error(Finding { span: entry.node.span, key: &path, message, help: None });
    }
    cx.set_origin(&path, entry.key_span, &[]);
    let mut all = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let Value::Table(table) = &node.value else {
            let message = format!("expected a table, found {}", node.value.describe());
            cx.error(Finding { span: node.span, key: &path, message, help: Some(help.to_owned()) });
            continue;
        };
        all.extend(one(cx, crash, entry, node, table, at));
    }
    all
}

fn one(
    cx: &mut Context<'_>,
    crash: &Section<'_>,
    entry: &Entry,
    node: &Node,
    table: &Table,
    at: usize,
) -> Option<NotifySpec> {
    let named = crash.below(table, &[&entry.key], node.span);
    named.check_keys(cx, &schema::NOTIFY);
    // The origins of the values are told apart by the number of the entry.
    let section = crash.below(table, &[&entry.key, &at.to_string()], node.span);
    let way = one_of(cx, &section, &TARGETS, "give each an entry of its own: notify = [{ ... }, { ... }]");
    if way.is_none() {
        let message = format!("this entry of [{}] does not say who is told", named.name());
        let help = Some("give one of `exec`, `webhook` and `journal`".to_owned());
        cx.error(Finding { span: node.span, key: &section.name(), message, help });
    }
    let on = on(cx, &section);
    // Each is read even if there are several, so that every mistake is reported.
    let mut targets = Vec::new();
    if section.entry("exec").is_some() {
        targets.push(NotifyTarget::Exec { argv: section.command(cx, "exec") });
    }
    if section.entry("webhook").is_some() {
        targets.push(NotifyTarget::Webhook(webhook(cx, &section)));
    } else if let Some(way) = way {
        for key in WEBHOOK_ONLY {
            section.refuse(cx, key, &format!("goes with `webhook`, not with `{}`", way.key));
        }
    }
    if section.read(cx, "journal", false, Scalar::boolean) {
        targets.push(NotifyTarget::Journal);
    }
    // `journal = false` is nobody: a variable can switch it off.
    targets.into_iter().next().map(|target| NotifySpec { target, on })
}

fn on(cx: &mut Context<'_>, section: &Section<'_>) -> Vec<NotifyOn> {
    let words = NotifyOn::ALL.map(|on| (on.name(), on));
    let Some(listed) = section.list(cx, "on", |scalar| scalar.choice(&words, &[])) else {
        return NotifyOn::ALL.to_vec();
    };
    let wanted: Vec<NotifyOn> = NotifyOn::ALL.into_iter().filter(|on| listed.contains(on)).collect();
    if let (true, Some(entry)) = (wanted.is_empty(), section.entry("on"))
        && !cx.is_bad(entry.node.span)
    {
        let message = "`on` is empty: nothing would ever be told".to_owned();
        let help = Some("leave it out for everything".to_owned());
        cx.error(Finding { span: entry.node.span, key: &section.key("on"), message, help });
    }
    wanted
}

fn webhook(cx: &mut Context<'_>, section: &Section<'_>) -> WebhookSpec {
    let templates =
        [NotifyTemplate::Json, NotifyTemplate::Slack, NotifyTemplate::Discord, NotifyTemplate::Ntfy]
            .map(|template| (template.name(), template));
    WebhookSpec {
        url: section.secret(cx, "webhook", webhook_url).unwrap_or_default(),
        template: section.read(cx, "template", NotifyTemplate::Json, |scalar| scalar.choice(&templates, &[])),
        headers: health::headers(cx, section, true),
    }
}

/// As the URL of a health check; what is wrong with it is said without quoting it.
fn webhook_url(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let url = scalar.string()?;
    http_url(scalar).map_err(|problem| {
        let message = problem.message.replace(&format!("{url:?}"), "something else");
        let message = message.replace("the URL something else has", "this URL has");
        let help = problem.help.map(|help| help.replace("http://127.0.0.1:8000/health", "https://..."));
        Problem { message, help }
    })
}
