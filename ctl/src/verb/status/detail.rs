//! Everything about one service, for whoever has to get it going again.

use mcpd_proto::status::{Health, Next, Relations, ServiceStatus, State, Tree, Usage};

use super::{flaps, health_style, restarts, state_style, style};
use crate::look::{BAD, BOLD, Fact, Look, PLAIN, WARN};
use crate::verb::crashes::{stats, what};
use crate::{human, lines, text};

/// The whole answer.
pub(crate) fn render(status: &ServiceStatus, look: &Look) -> String {
    let mut text = headline(status, look);
    text.push_str(&look.facts(&facts(status, look)));
    if !status.log_tail.is_empty() {
        text.push_str(&format!("\n{}\n", look.paint(BOLD, "Last output:")));
        for line in &status.log_tail {
            text.push_str(&lines::indented(line, true, true, look));
        }
    }
    text
}

/// `● web - MCP Studio`
fn headline(status: &ServiceStatus, look: &Look) -> String {
    let name =
        text::cut_middle(&text::safe(&status.name), look.width.map_or(usize::MAX, |width| width.max(3) - 2));
    let mut headline = format!("{} {}", look.paint(style(status), "●"), look.paint(BOLD, &name));
    if let Some(description) = status.description.as_ref().filter(|text| !text.is_empty()) {
        let description = format!(" - {}", text::safe(description));
        headline.push_str(&look.fit(&description, 2 + text::width(&name)));
    }
    headline.push('\n');
    headline
}

fn facts(status: &ServiceStatus, look: &Look) -> Vec<Fact> {
    let clock = &look.clock;
    let mut facts = Vec::new();
    let since =
        format!("{} since {} ({})", status.state.name(), clock.full(&status.since), clock.ago(&status.since));
    facts.push(Fact::styled("state", since, state_style(status.state)));
    facts.extend(status.flapping.as_ref().map(|flapping| {
        let told = format!("{} ({})", flapping.reason, clock.ago(&flapping.since));
        Fact::styled("flapping", told, if flaps(status) { BAD } else { WARN })
    }));
    facts.extend(status.reason.as_ref().map(|reason| {
        let style = match status.state {
            State::Parked => BAD,
            // On purpose.
            State::Down => PLAIN,
            State::Waiting
            | State::Spawning
            | State::Starting
            | State::Up
            | State::Stopping
            | State::Backoff => WARN,
        };
        Fact::styled("reason", reason, style)
    }));
    if !status.pending.is_empty() {
        let pending = format!("{} changed; in force from the next start on", status.pending.join(", "));
        facts.push(Fact::styled("pending", pending, WARN));
    }
    facts.extend(status.status_text.as_ref().map(|text| Fact::new("says", text)));
    facts.extend(status.next.as_ref().map(|next| Fact::new("next", next_words(next, look))));
    if status.health != Health::None || status.health_detail.is_some() {
        let detail = status.health_detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        // Nobody asks any more: that was the last answer.
        let gone = status.health == Health::None && status.health_detail.is_some();
        let name = if gone { "not asked; the last answer" } else { status.health.name() };
        let health = format!("{name}{detail}");
        facts.push(Fact::styled("health", health, health_style(status.health)));
    }
    facts.extend(
        status
            .pid
            .map(|pid| Fact::new("pid", format!("{pid} (start {} of this service)", status.generation))),
    );
    facts.extend(status.tree.map(|tree| {
        let tree = match (tree, &status.cgroup) {
            (Tree::Cgroup, Some(path)) => format!("cgroup {path}"),
            (Tree::Cgroup, None) => "cgroup".into(),
            (Tree::Session, _) => "its session, and descent from it".into(),
            (Tree::Job, _) => "job object".into(),
        };
        Fact::new("tree", tree)
    }));
    if let Some(usage) = &status.usage {
        facts.extend(memory(usage));
        facts.extend(tasks(usage));
    }
    facts.extend(status.uptime_seconds.map(|uptime| Fact::new("uptime", human::seconds(uptime))));
    let limit = if status.max_restarts == 0 { " in a row, without limit" } else { " in a row" };
    let restarts = format!(
        "{}{limit}; {} since mcpd started; {}",
        restarts(status),
        status.restarts_total,
        human::count(usize::try_from(status.crash_count).unwrap_or(usize::MAX), "crash", "crashes")
    );
    facts.push(Fact::styled("restarts", restarts, if status.restarts > 0 { WARN } else { PLAIN }));
    facts.extend(status.availability.as_ref().filter(|known| known.last_week.is_some()).map(|known| {
        let all = [("last hour", known.last_hour), ("24 h", known.last_day), ("7 d", known.last_week)];
        let all = all.iter().filter(|(_, share)| share.is_some());
        let told: Vec<String> =
            all.map(|(window, share)| format!("{} ({window})", stats::share(*share))).collect();
        Fact::new("there", told.join(", "))
    }));
    if let Some(crash) = &status.last_crash {
        // Where it is the reason, it has been read already.
        let is_reason = status.reason.as_ref() == Some(&crash.reason);
        let words = if is_reason { what(crash) } else { crash.reason.clone() };
        let told = format!("{}: {words}", clock.ago(&crash.time));
        facts.push(Fact::new("crash", told));
        facts.push(Fact::new("see", format!("mcpctl crashes show {}", crash.id)));
    }
    facts.extend(relations(&status.relations));
    facts.extend(
        status.stale.as_ref().map(|stale| {
            Fact::styled("stale", format!("{} ({})", stale.reason, clock.ago(&stale.since)), WARN)
        }),
    );
    facts.extend(status.watch.as_ref().map(|watch| match &watch.reason {
        Some(reason) => Fact::styled("watch", reason, WARN),
        None => Fact::new("watch", watch.paths.join(", ")),
    }));
    if status.commands.is_empty() {
        facts.push(Fact::new("command", command(&status.command)));
    }
    let one_of =
        |(at, words): (usize, &Vec<String>)| Fact::new(if at == 0 { "commands" } else { "" }, command(words));
    facts.extend(status.commands.iter().enumerate().map(one_of));
    facts.extend(status.working_directory.as_ref().map(|path| Fact::new("runs in", path)));
    facts.extend(status.config.as_ref().map(|config| Fact::new("config", config)));
    facts.extend(status.log_file.as_ref().map(|file| Fact::new("log", file)));
    if status.log_lines_dropped > 0 {
        let lost = format!("{} log lines could not be stored", status.log_lines_dropped);
        facts.push(Fact::styled("lost", lost, WARN));
    }
    facts
}

/// So many names are told; `--json` has all.
const NAMES: usize = 20;

/// `a, b and 3 more`
fn some(names: &[String]) -> String {
    match names.len().checked_sub(NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMES].join(", ")),
    }
}

/// What it has to do with others, under the keys of the configuration.
fn relations(relations: &Relations) -> Vec<Fact> {
    let Relations { requires, binds_to, wants, part_of, after, before, conflicts, required_by } = relations;
    let all = [
        ("requires", requires),
        ("binds to", binds_to),
        ("wants", wants),
        ("part of", part_of),
        ("after", after),
        ("before", before),
        ("conflicts", conflicts),
        ("needed by", required_by),
    ];
    let told = all.into_iter().filter(|(_, names)| !names.is_empty());
    told.map(|(key, names)| Fact::new(key, some(names))).collect()
}

/// `31.2 MiB of 64.0 MiB, 60.1 MiB at most so far`
fn memory(usage: &Usage) -> Option<Fact> {
    let now = usage.memory_bytes?;
    let limit = usage.memory_max_bytes.map(|limit| format!(" of {}", human::bytes(limit)));
    let peak = usage.memory_peak_bytes.map(|peak| format!(", {} at most so far", human::bytes(peak)));
    let (limit, peak) = (limit.unwrap_or_default(), peak.unwrap_or_default());
    let text = format!("{}{limit}{peak}", human::bytes(now));
    // So near to its end that somebody should know.
    let tight = usage.memory_max_bytes.is_some_and(|limit| now >= limit - limit / 10);
    Some(Fact::styled("memory", text, if tight { WARN } else { PLAIN }))
}

/// `3 of 100`
fn tasks(usage: &Usage) -> Option<Fact> {
    let now = usage.tasks?;
    let limit = usage.tasks_max.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let full = usage.tasks_max.is_some_and(|limit| now >= limit);
    Some(Fact::styled("tasks", format!("{now}{limit}"), if full { WARN } else { PLAIN }))
}

/// `start in 3.4 s (at 12:00:03)`
fn next_words(next: &Next, look: &Look) -> String {
    let what = match next.what.as_str() {
        "start" => "start",
        "probe" => "health check",
        "kill" => "SIGKILL to all its processes",
        "start_timeout" => "the start counts as failed",
        "reset_counters" => "restarts count from 0 again",
        "run_timeout" => "this command has had its time",
        other => other,
    };
    if next.in_seconds <= 0.0 {
        return format!("{what} now");
    }
    format!("{what} in {} (at {})", human::seconds(next.in_seconds), look.clock.short(&next.at))
}

/// The command as it can be pasted into a shell.
pub(crate) fn command(words: &[String]) -> String {
    let harmless = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            if !word.is_empty() && word.chars().all(harmless) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use mcpd_proto::log::Stream;
    use mcpd_proto::status::{Stale, Watch};

    use super::super::tests::{crash, up, without_process};
    use super::*;
    use crate::lines::tests::line;
    use crate::look::tests::{assert_fits, pipe, terminal};

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (1..=699).map(|n| format!("f{n}")).collect();
        assert_eq!(some(&names[..2]), "f1, f2");
        assert!(some(&names[..20]).ends_with(", f20"), "{}", some(&names[..20]));
        assert!(some(&names).ends_with("f20 and 679 more"), "{}", some(&names));
    }

    #[test]
    fn a_last_answer_is_told_as_such() {
        let parked = ServiceStatus {
            health_detail: Some("503 after 3 ms".into()),
            ..without_process("web", State::Parked)
        };
        let look = terminal();
        let shown = look.facts(&facts(&parked, &look));
        assert!(shown.contains(" not asked; the last answer: 503 after 3 ms\n"), "{shown}");
    }

    fn in_backoff() -> ServiceStatus {
        ServiceStatus {
            description: Some("MCP Studio".into()),
            since: "2026-11-22T11:27:00Z".into(),
            restarts: 2,
            reason: Some("exited with code 1 after 12 s".into()),
            next: Some(Next { what: "start".into(), in_seconds: 3.4, at: "2026-11-22T11:30:03Z".into() }),
            last_crash: Some(crash("web")),
            working_directory: Some("/opt/mcp-studio".into()),
            log_lines_dropped: 7,
            log_tail: vec![
                line(Stream::Out, "starting"),
                line(Stream::Err, &format!("ModuleNotFoundError: {}", "x".repeat(100))),
            ],
            ..without_process("web", State::Backoff)
        }
    }

    #[test]
    fn a_crashed_service_on_a_terminal() {
        let text = render(&in_backoff(), &terminal());
        let expected = "\
● web - MCP Studio
  state:    backoff since 2026-11-22 11:27:00 (3m ago)
  reason:   exited with code 1 after 12 s
  next:     start in 3.4 s (at 11:30:03)
  restarts: 2/10 in a row; 2 since mcpd started; 2 crashes
  crash:    3m ago: exited with code 1 after 12 s: ModuleNotFoundError: No
            module named 'mcp'
  see:      mcpctl crashes show 20261122T112700Z-3f9a
  command:  /usr/bin/python3 -m uvicorn
  runs in:  /opt/mcp-studio
  config:   /etc/mcpd/mcpd.toml:12
  log:      /var/log/mcpd/web.log
  lost:     7 log lines could not be stored

Last output:
  11:29:58.123 out | starting
  11:29:58.123 err | ModuleNotFoundError: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
";
        assert_eq!(text, expected);
        for width in 40..120 {
            assert_fits(&render(&in_backoff(), &Look { width: Some(width), ..terminal() }), width);
        }
    }

    #[test]
    fn a_pipe_gets_everything() {
        let path = "/a/directory/with/a/name/that/is/longer/than/any/terminal/has/columns/".repeat(2);
        let status = ServiceStatus { command: vec![path.clone(), "--port".into()], ..in_backoff() };
        let text = render(&status, &pipe());
        assert!(text.contains(&"x".repeat(100)) && text.contains(&path) && !text.contains('…'), "{text}");
        assert!(text.contains("ModuleNotFoundError: No\n            module named 'mcp'\n"), "{text}");
    }

    #[test]
    fn a_oneshot_shows_all_its_commands() {
        let commands =
            [["/bin/mkdir", "a"], ["/bin/echo", "b c"]].map(|words| words.map(str::to_owned).to_vec());
        let status = ServiceStatus { commands: commands.to_vec(), ..in_backoff() };
        let text = render(&status, &terminal());
        assert!(text.contains("  commands: /bin/mkdir a\n            /bin/echo 'b c'\n"), "{text}");
        assert!(!text.contains("command: "), "{text}");
    }

    #[test]
    fn the_reason_is_not_told_twice() {
        let same = ServiceStatus { reason: Some(crash("web").reason), ..in_backoff() };
        let text = render(&same, &terminal());
        assert_eq!(text.matches("ModuleNotFoundError: No").count(), 1, "{text}");
        assert!(text.contains("  crash:    3m ago: exit 1\n"), "{text}");
    }

    #[test]
    fn a_healthy_one_says_so() {
        let text = render(&up("web"), &terminal());
        assert!(text.starts_with("● web\n  state:    up since 2026-11-22 10:28:01 (1h ago)\n"), "{text}");
        assert!(text.contains("  health:   healthy: 200 after 4 ms\n  pid:      4711 (start 3"), "{text}");
        assert!(text.contains("  tree:     its session, and descent from it\n"), "{text}");
        let cgroup = Some("/sys/fs/cgroup/web@1".to_owned());
        let text = render(&ServiceStatus { tree: Some(Tree::Cgroup), cgroup, ..up("web") }, &terminal());
        assert!(text.contains("  tree:     cgroup /sys/fs/cgroup/web@1\n"), "{text}");
        assert!(!text.contains("Last output"), "{text}");
    }

    #[test]
    fn a_process_older_than_its_program_says_so() {
        let stale = Stale {
            what: "program".into(),
            reason: "/a/b changed on disk".into(),
            since: "2026-11-22T11:27:00Z".into(),
        };
        let text = render(&ServiceStatus { stale: Some(stale), ..up("web") }, &terminal());
        assert!(text.contains("  stale:    /a/b changed on disk (3m ago)\n"), "{text}");
    }

    #[test]
    fn what_it_watches_or_why_not() {
        let watch = |reason: Option<&str>| Watch {
            state: "watching".into(),
            paths: vec!["/a/src".into(), "/a/b.toml".into()],
            reason: reason.map(str::to_owned),
        };
        let text = render(&ServiceStatus { watch: Some(watch(None)), ..up("web") }, &terminal());
        assert!(text.contains("  watch:    /a/src, /a/b.toml\n"), "{text}");
        let text = render(
            &ServiceStatus { watch: Some(watch(Some("watch suspended: x"))), ..up("web") },
            &terminal(),
        );
        assert!(text.contains("  watch:    watch suspended: x\n"), "{text}");
    }

    #[test]
    fn what_it_uses_and_may_use() {
        let usage = Usage {
            memory_bytes: Some(30 << 20),
            memory_max_bytes: Some(64 << 20),
            memory_peak_bytes: Some(60 << 20),
            tasks: Some(3),
            tasks_max: None,
            cpu_seconds: Some(1.5),
        };
        let shown =
            |usage: &Usage| render(&ServiceStatus { usage: Some(usage.clone()), ..up("web") }, &pipe());
        let text = shown(&usage);
        let memory = "\n  memory:   30.0 MiB of 64.0 MiB, 60.0 MiB at most so far\n  tasks:    3\n";
        assert!(text.contains(memory), "{text}");
        let text =
            shown(&Usage { memory_max_bytes: None, memory_peak_bytes: None, tasks_max: Some(3), ..usage });
        assert!(text.contains("\n  memory:   30.0 MiB\n  tasks:    3 of 3\n"), "{text}");
        let text = shown(&Usage::default());
        assert!(!text.contains("memory") && !text.contains("tasks"), "{text}");
    }

    #[test]
    fn what_comes_next() {
        let words = |what: &str, in_seconds| {
            next_words(
                &Next { what: what.into(), in_seconds, at: "2026-11-22T11:30:03Z".into() },
                &terminal(),
            )
        };
        assert_eq!(words("kill", 2.0), "SIGKILL to all its processes in 2 s (at 11:30:03)");
        assert_eq!(words("start", 0.0), "start now");
        assert_eq!(words("of_a_later_version", 1.0), "of_a_later_version in 1 s (at 11:30:03)");
    }

    #[test]
    fn commands_can_be_pasted() {
        let words = ["sh", "-c", "echo 'a b'", ""].map(str::to_owned);
        assert_eq!(command(&words), r"sh -c 'echo '\''a b'\''' ''");
    }
}
