//! Commands, one or several: `exec`, `exec_start_pre`, `exec_start_post`, `exec_reload`, `exec_stop`, `exec_stop_post`.

use std::time::Duration;

use crate::raw::{Node, Value};
use crate::resolve::context::{Context, Finding};
use crate::resolve::scalar::{Problem, Scalar};
use crate::resolve::section::{Section, tilde};
use crate::spec::{CommandSpec, OneshotSpec, ServiceType};

/// What a service of this type runs: its command, and for a oneshot all of them.
pub(crate) fn exec(
    cx: &mut Context<'_>,
    service: &Section<'_>,
    kind: ServiceType,
) -> (Vec<String>, Option<OneshotSpec>) {
    if let (None, Some(span)) = (service.entry("exec"), service.span) {
        let message = format!("[{}] has no `exec`", service.name());
        let help = Some("say what to run: exec = [\"/path/to/program\", \"argument\"]".to_owned());
        cx.error(Finding { span, key: &service.key("exec"), message, help });
    }
    let remain_after_exit = service.read(cx, "remain_after_exit", false, Scalar::boolean);
    let several = service.entry("exec").is_some_and(|entry| is_list_of_lists(&entry.node));
    if kind != ServiceType::Oneshot {
        service.refuse(cx, "remain_after_exit", "goes with `type = \"oneshot\"`");
        if let (true, Some(entry)) = (several, service.entry("exec")) {
            let message = "several commands go with `type = \"oneshot\"`".to_owned();
            let help = Some("what runs before it goes into `exec_start_pre`".to_owned());
            cx.error(Finding { span: entry.node.span, key: &service.key("exec"), message, help });
            return (Vec::new(), None);
        }
        return (service.command(cx, "exec"), None);
    }
    let exec = if several {
        list(cx, service, "exec")
    } else {
        let argv = service.command(cx, "exec");
        if argv.is_empty() { Vec::new() } else { vec![command(argv)] }
    };
    let first = exec.first().map(|command| command.argv.clone()).unwrap_or_default();
    (first, Some(OneshotSpec { exec, remain_after_exit }))
}

fn is_list_of_lists(node: &Node) -> bool {
    let Value::Array(nodes) = &node.value else { return false };
    nodes.iter().any(|node| matches!(node.value, Value::Array(_)))
}

/// A list of commands, each as a list or as one string. Bad ones are reported and left out.
pub(crate) fn list(cx: &mut Context<'_>, service: &Section<'_>, key: &str) -> Vec<CommandSpec> {
    let Some(entry) = service.entry(key) else { return Vec::new() };
    let path = service.key(key);
    let Value::Array(nodes) = &entry.node.value else {
        let message = format!("expected a list of commands, found {}", entry.node.value.describe());
        let help = Some(format!("write {key} = [[\"/path/to/program\", \"argument\"]]"));
        cx.error(Finding { span: entry.node.span, key: &path, message, help });
        return Vec::new();
    };
    if key != "exec" && !nodes.is_empty() && nodes.iter().all(|node| matches!(node.value, Value::String(_))) {
        // One command, or several? A word alone is no command that anybody means here.
        let message = format!("`{key}` is a list of commands, each a list itself");
        let help = Some(format!("write {key} = [[...]]"));
        cx.error(Finding { span: entry.node.span, key: &path, message, help });
        return Vec::new();
    }
    let mut commands = Vec::new();
    let mut all_used = Vec::new();
    for node in nodes {
        let before = cx.error_count();
        let mut argv = Vec::new();
        if let Value::Array(words) = &node.value {
            for word in words {
                if let Some((word, used)) = cx.convert(word, &path, Scalar::string) {
                    argv.push(word);
                    all_used.extend(used);
                }
            }
        } else if let Some((words, used)) = cx.convert(node, &path, Scalar::words) {
            argv = words;
            all_used.extend(used);
        }
        if cx.error_count() > before {
            continue;
        }
        let command = command(argv);
        match unusable(&command) {
            Some(Problem { message, help }) => {
                cx.error(Finding { span: node.span, key: &path, message, help });
            }
            None => commands.push(command),
        }
    }
    if nodes.is_empty() {
        let (message, help) = if key == "exec" {
            ("a oneshot needs a command".to_owned(), None)
        } else {
            (format!("`{key}` has no command"), Some("leave it out".to_owned()))
        };
        cx.error(Finding { span: entry.node.span, key: &path, message, help });
    }
    cx.set_origin(&path, entry.key_span, &all_used);
    commands
}

/// What cannot be with commands that run when a service stops.
pub(crate) fn at_stop(
    cx: &mut Context<'_>,
    service: &Section<'_>,
    oneshot: Option<&OneshotSpec>,
    stop_timeout: Duration,
) {
    if oneshot.is_some_and(|oneshot| !oneshot.remain_after_exit) {
        service.refuse(
            cx,
            "exec_stop",
            "goes with `remain_after_exit = true`: a oneshot is down when its commands have ended; what is to run then \
             goes into `exec_stop_post`",
        );
    }
    if stop_timeout.is_zero() {
        for key in ["exec_stop", "exec_stop_post"] {
            service.refuse(
                cx,
                key,
                "has no time with `stop_timeout = 0`, which each of its commands may take",
            );
        }
    }
}

fn command(mut argv: Vec<String>) -> CommandSpec {
    let program = argv.first_mut();
    let bare = program.as_ref().and_then(|program| program.strip_prefix('-').map(str::to_owned));
    let ignore_failure = bare.is_some();
    if let (Some(program), Some(bare)) = (program, bare) {
        *program = bare;
    }
    CommandSpec { argv, ignore_failure }
}

fn unusable(command: &CommandSpec) -> Option<Problem> {
    match command.argv.first().map(String::as_str) {
        None => {
            Some(Problem::new("a command needs a program").help("write [\"/path/to/program\", \"argument\"]"))
        }
        Some("") => Some(Problem::new("the name of the program is empty")),
        Some(program) => tilde(program),
    }
}
