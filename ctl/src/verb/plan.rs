//! `config plan` and `daemon reload --dry-run`: what would a reload do, and why, key by key?

use mcpd_proto::plan::{KeyChange, Plan, PlanParams, Step, StepAction};
use serde_json::{Value, json};

use super::{Context, decode};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::link::Patience;
use crate::look::{BAD, BOLD, BUSY, DIM, GOOD, Look, PLAIN, WARN};
use crate::progress::Progress;
use crate::{human, text};

/// Asks and shows.
pub(crate) fn run(restart: bool, context: &mut Context) -> Result<Exit, Failure> {
    let mut progress = if context.common.json {
        Progress::none()
    } else {
        Progress::on_terminal("reading the configuration".to_owned(), &context.errors)
    };
    let params = json!(PlanParams { restart });
    let document = context.link(Patience::Endless)?.call_showing("config.plan", params, &mut progress)?;
    if context.common.json {
        context.out.document(&document)?;
    } else {
        let text = render(&decode(&document)?, &context.out.look);
        context.out.text(&text)?;
        context.out.flush()?;
    }
    Ok(Exit::Done)
}

fn render(plan: &Plan, look: &Look) -> String {
    let mut shown = String::new();
    for step in &plan.steps {
        shown.push_str(&told(step, look));
    }
    if !plan.daemon.is_empty() {
        let style = look.paint(PLAIN, &format!("{:<7}", StepAction::Change.name()));
        shown.push_str(&format!(
            "{style} {}: its own settings, in force at once\n",
            look.paint(BOLD, "[daemon]")
        ));
        for change in &plan.daemon {
            shown.push_str(&key(change, StepAction::Change, look));
        }
    }
    for key in &plan.needs_daemon_restart {
        let line = format!("{} changed: that needs a restart of mcpd itself", text::safe(key));
        shown.push_str(&format!("{}\n", look.paint(WARN, &line)));
    }
    for warning in &plan.warnings {
        shown.push_str(&format!("{}: {}\n", look.paint(WARN, "warning"), text::safe(warning)));
    }
    if !shown.is_empty() {
        shown.push('\n');
    }
    shown.push_str(&look.wrap(&summary(plan), 2).join("\n  "));
    shown.push('\n');
    shown
}

/// `restart  web: what it runs changed`, and its keys below.
fn told(step: &Step, look: &Look) -> String {
    let style = match step.action {
        StepAction::Start => GOOD,
        StepAction::Stop | StepAction::Remove => BAD,
        StepAction::Restart => WARN,
        StepAction::Pending => BUSY,
        StepAction::Add | StepAction::Change => PLAIN,
    };
    let action = format!("{:<7}", step.action.name());
    let name = look.paint(BOLD, &text::safe(&step.service));
    let mut told = format!("{} {name}: {}\n", look.paint(style, &action), text::safe(&step.why));
    for change in &step.keys {
        told.push_str(&key(change, step.action, look));
    }
    told
}

/// `  exec = ["a"] -> ["b"]  # mcpd.toml:12`
fn key(change: &KeyChange, action: StepAction, look: &Look) -> String {
    let KeyChange { key, old, new, origin, needs_restart } = change;
    let waits = if *needs_restart && action == StepAction::Pending { ", at the next start" } else { "" };
    let origin = match (origin, waits) {
        (None, "") => String::new(),
        (None, waits) => format!("  #{}", waits.trim_start_matches(',')),
        (Some(origin), waits) => format!("  # {}{waits}", text::safe(origin)),
    };
    format!("        {}: {} -> {}{}\n", text::safe(key), value(old), value(new), look.paint(DIM, &origin))
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        other => text::safe(&other.to_string()),
    }
}

/// `a reload would start 1, restart 2 (web, db) ...`
fn summary(plan: &Plan) -> String {
    let of = |action| plan.steps.iter().filter(|step| step.action == action).count();
    let parts: Vec<String> = [
        (StepAction::Start, "to start"),
        (StepAction::Add, "to add"),
        (StepAction::Stop, "to stop"),
        (StepAction::Remove, "to remove"),
        (StepAction::Restart, "to restart"),
        (StepAction::Pending, "pending"),
        (StepAction::Change, "to change live"),
    ]
    .into_iter()
    .filter(|&(action, _)| of(action) > 0)
    .map(|(action, what)| format!("{} {what}", of(action)))
    .collect();
    let unchanged = human::count(plan.unchanged, "service", "services");
    let mut summary = if parts.is_empty() && !(plan.daemon.is_empty() && plan.needs_daemon_restart.is_empty())
    {
        format!("no service changes: {unchanged} unchanged")
    } else if parts.is_empty() {
        format!("a reload would change nothing: {unchanged} unchanged")
    } else {
        format!("{}; {unchanged} unchanged", parts.join(", "))
    };
    if of(StepAction::Pending) > 0 {
        summary.push_str(
            ". What is pending waits for the next start; to restart now: mcpctl daemon reload --restart",
        );
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::pipe;

    fn plan(steps: Vec<Step>) -> Plan {
        Plan {
            schema: 1,
            id: "0".into(),
            restart: false,
            steps,
            unchanged: 2,
            daemon: Vec::new(),
            needs_daemon_restart: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn nothing_to_do_is_said_so() {
        assert_eq!(
            render(&plan(Vec::new()), &pipe()),
            "a reload would change nothing: 2 services unchanged\n"
        );
    }

    #[test]
    fn settings_of_mcpd_itself_are_told() {
        let mut plan = plan(Vec::new());
        plan.daemon = vec![KeyChange {
            key: "max_parallel_starts".into(),
            old: json!(0),
            new: json!(4),
            origin: Some("mcpd.toml:2".into()),
            needs_restart: false,
        }];
        plan.needs_daemon_restart = vec!["daemon.log_dir".into()];
        assert_eq!(
            render(&plan, &pipe()),
            "\
change  [daemon]: its own settings, in force at once
        max_parallel_starts: 0 -> 4  # mcpd.toml:2
daemon.log_dir changed: that needs a restart of mcpd itself

no service changes: 2 services unchanged
"
        );
    }

    #[test]
    fn steps_say_what_and_why_key_by_key() {
        let keys = vec![
            KeyChange {
                key: "exec".into(),
                old: json!(["a"]),
                new: json!(["b"]),
                origin: Some("mcpd.toml:3".into()),
                needs_restart: true,
            },
            KeyChange {
                key: "description".into(),
                old: Value::Null,
                new: json!("x"),
                origin: None,
                needs_restart: false,
            },
        ];
        let step = |service: &str, action, keys| Step {
            service: service.into(),
            action,
            why: "because".into(),
            keys,
        };
        let steps = vec![step("new", StepAction::Start, Vec::new()), step("web", StepAction::Pending, keys)];
        let text = render(&plan(steps), &pipe());
        assert_eq!(
            text,
            "\
start   new: because
pending web: because
        exec: [\"a\"] -> [\"b\"]  # mcpd.toml:3, at the next start
        description: (none) -> \"x\"

1 to start, 1 pending; 2 services unchanged. What is pending waits for the next start; to restart now: mcpctl daemon \
             reload --restart
"
        );
    }
}
