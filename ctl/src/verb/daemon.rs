//! `daemon status|reload|upgrade|shutdown`

mod upgrade;

use mcpd_proto::method::{ReloadParams, Reloaded};
use mcpd_proto::status::{DaemonStatus, Keeper, Tree};
use serde_json::{Value, json};

use super::{Context, decode, plan};
use crate::args::DaemonVerb;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::link::Patience;
use crate::look::{BOLD, Fact, GOOD, Look, WARN};
use crate::out::complain;
use crate::progress::Progress;
use crate::{human, text};

/// Does what the verb says.
pub(crate) fn run(what: DaemonVerb, context: &mut Context) -> Result<Exit, Failure> {
    match what {
        DaemonVerb::Status => status(context),
        DaemonVerb::Reload { restart, dry_run: true, .. } => plan::run(restart, context),
        DaemonVerb::Reload { restart, dry_run: false, plan } => {
            reload(ReloadParams { restart, plan }, context)
        }
        DaemonVerb::Upgrade { program, dry_run } => upgrade::run(program, dry_run, context),
        DaemonVerb::Shutdown => shutdown(context),
    }
}

fn status(context: &mut Context) -> Result<Exit, Failure> {
    let document = context.ask("daemon.status", &json!({}))?;
    show(&document, context, |document, look| Ok(describe(&decode(document)?, look)))
}

fn reload(params: ReloadParams, context: &mut Context) -> Result<Exit, Failure> {
    let document = patiently("daemon.reload", json!(params), "reloading", context)?;
    let reloaded: Reloaded = decode(&document)?;
    if !reloaded.needs_daemon_restart.is_empty() {
        let keys = text::safe(&reloaded.needs_daemon_restart.join(", "));
        complain(&format!("mcpctl: {keys} changed too, which needs a restart of mcpd itself.\n"));
    }
    show(&document, context, |_, look| Ok(changes(&reloaded, look)))
}

fn shutdown(context: &mut Context) -> Result<Exit, Failure> {
    let document = match patiently("daemon.shutdown", json!({}), "stopping every service and mcpd", context) {
        // It may be gone before its answer is: what was asked for has happened.
        Err(Failure::Gone(_)) => json!({}),
        other => other?,
    };
    show(&document, context, |_, _| Ok("mcpd and all its services are down\n".to_owned()))
}

/// The daemon bounds how long these take: without `--timeout` the wait is as long as that.
fn patiently(method: &'static str, params: Value, what: &str, context: &Context) -> Result<Value, Failure> {
    let mut progress = if context.common.json {
        Progress::none()
    } else {
        Progress::on_terminal(what.to_owned(), &context.errors)
    };
    context.link(Patience::Endless)?.call_showing(method, params, &mut progress)
}

fn show(
    document: &Value,
    context: &mut Context,
    render: impl FnOnce(&Value, &Look) -> Result<String, Failure>,
) -> Result<Exit, Failure> {
    if context.common.json {
        context.out.document(document)?;
    } else {
        let text = render(document, &context.out.look)?;
        context.out.text(&text)?;
        context.out.flush()?;
    }
    Ok(Exit::Done)
}

fn describe(daemon: &DaemonStatus, look: &Look) -> String {
    let style = if daemon.state == "running" { GOOD } else { WARN };
    let headline = format!(
        "{} {} {}, {}\n",
        look.paint(style, "●"),
        look.paint(BOLD, "mcpd"),
        text::safe(&daemon.version),
        look.paint(style, &text::safe(&daemon.state))
    );
    let since =
        format!("{} ({})", look.clock.full(&daemon.started_at), human::seconds(daemon.uptime_seconds));
    let mut facts = vec![
        Fact::new("services", &daemon.summary),
        Fact::new("since", since),
        Fact::new("pid", daemon.pid.to_string()),
        Fact::new("config", &daemon.config),
        Fact::new("state", &daemon.state_dir),
        Fact::new("logs", &daemon.log_dir),
    ];
    match &daemon.keeper {
        Some(keeper) => facts.push(Fact::new("keeper", kept_by(keeper, look))),
        // On Windows there never is one.
        None if daemon.tree == Tree::Job => {}
        None => facts.push(Fact::styled("keeper", "none: should this daemon die, nobody takes over", WARN)),
    }
    facts.push(Fact::new("trees", trees(daemon)));
    facts.extend(daemon.last_reload.as_ref().map(|reload| Fact::new("reload", reload)));
    if daemon.log_lines_dropped > 0 {
        let lost = format!("{} log lines could not be stored", daemon.log_lines_dropped);
        facts.push(Fact::styled("lost", lost, WARN));
    }
    headline + &look.facts(&facts)
}

/// How the processes of a service are held together.
fn kept_by(keeper: &Keeper, look: &Look) -> String {
    let mut own = format!("pid {}, mcpd {}", keeper.pid, text::safe(&keeper.version));
    if let Some(why) = &keeper.not_upgraded {
        own += &format!("; not upgraded: {}", text::safe(why));
    }
    match &keeper.last {
        None => own,
        Some(last) => format!(
            "{own}; daemon {} of its own, for the one before (pid {}) {}, {}",
            keeper.daemons,
            last.pid,
            text::safe(&last.how),
            look.clock.full(&last.time)
        ),
    }
}

fn trees(daemon: &DaemonStatus) -> String {
    match (daemon.tree, &daemon.cgroup, &daemon.cgroup_missing) {
        (Tree::Cgroup, Some(path), _) => format!("a cgroup each, in {path}"),
        (Tree::Cgroup, None, _) => "a cgroup each".into(),
        (Tree::Session, _, Some(why)) => format!("a session each, and descent; no cgroups: {why}"),
        (Tree::Session, _, None) => "a session each, and descent".into(),
        (Tree::Job, _, _) => "a job object each".into(),
    }
}

fn changes(reloaded: &Reloaded, look: &Look) -> String {
    let Reloaded {
        schema: _,
        added,
        removed,
        restarted,
        stopped,
        pending,
        updated,
        unchanged,
        needs_daemon_restart: _,
    } = reloaded;
    let named = [
        (added, "added"),
        (removed, "removed"),
        (restarted, "restarted"),
        (stopped, "stopped"),
        (updated, "updated"),
        (pending, "pending"),
    ];
    let mut parts: Vec<String> = named
        .iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, what)| format!("{} {what} ({})", names.len(), text::safe(&names.join(", "))))
        .collect();
    let nothing = parts.is_empty();
    parts.push(format!("{unchanged} unchanged"));
    let what = if nothing { "nothing changed" } else { "configuration reloaded" };
    let hint = if pending.is_empty() {
        ""
    } else {
        ". What is pending waits for the next start; to restart now: mcpctl daemon reload --restart"
    };
    look.wrap(&format!("{what}: {}{hint}", parts.join(", ")), 2).join("\n  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::{assert_fits, terminal};

    #[test]
    fn a_reload_says_what_it_touched() {
        let mut reloaded = Reloaded { unchanged: 3, ..Reloaded::default() };
        assert_eq!(changes(&reloaded, &terminal()), "nothing changed: 3 unchanged\n");
        reloaded.added = vec!["a".into(), "b".into()];
        reloaded.restarted = vec!["web".into()];
        assert_eq!(
            changes(&reloaded, &terminal()),
            "configuration reloaded: 2 added (a, b), 1 restarted (web), 3 unchanged\n"
        );
    }

    #[test]
    fn the_daemon_is_described() {
        let daemon = DaemonStatus {
            schema: 1,
            version: "0.1.0".into(),
            pid: 7,
            started_at: "2026-11-22T10:28:00Z".into(),
            uptime_seconds: 3720.0,
            config: "/etc/mcpd/mcpd.toml".into(),
            state_dir: "/var/lib/mcpd".into(),
            log_dir: "/var/log/mcpd".into(),
            state: "running".into(),
            summary: "3 running, 1 in backoff".into(),
            log_lines_dropped: 5,
            tree: Tree::Session,
            cgroup: None,
            cgroup_missing: Some("systemd has not delegated the cgroup /x (Delegate=yes in the unit)".into()),
            last_reload: None,
            keeper: None,
        };
        let text = describe(&daemon, &terminal());
        assert_fits(&text, 80);
        assert!(text.starts_with("● mcpd 0.1.0, running\n  services: 3 running, 1 in backoff\n"), "{text}");
        assert!(text.contains("since:    2026-11-22 10:28:00 (1h 02m)"), "{text}");
        assert!(text.contains("lost:     5 log lines"), "{text}");
        assert!(text.contains("trees:    a session each, and descent; no cgroups: systemd"), "{text}");
        let path = Some("/sys/fs/cgroup/mcpd-1".to_owned());
        let delegated = DaemonStatus { tree: Tree::Cgroup, cgroup: path, cgroup_missing: None, ..daemon };
        assert_eq!(trees(&delegated), "a cgroup each, in /sys/fs/cgroup/mcpd-1");
    }
}
