//! `why NAME`

use mcpd_proto::method::NameParams;
use mcpd_proto::why::{Condition, Link, Why};
use serde_json::json;

use super::{Context, decode};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::look::{BAD, BOLD, BUSY, DIM, Fact, GOOD, Look, PLAIN, WARN};
use crate::{human, text};

/// One screen.
pub(crate) fn run(name: String, context: &mut Context) -> Result<Exit, Failure> {
    let document = context.ask("service.why", &json!(NameParams { name }))?;
    if context.common.json {
        context.out.document(&document)?;
    } else {
        let text = render(&decode(&document)?, &context.out.look);
        context.out.text(&text)?;
        context.out.flush()?;
    }
    Ok(Exit::Done)
}

fn render(why: &Why, look: &Look) -> String {
    let mut text = String::new();
    for (at, line) in look.wrap(&text::safe(&why.summary), 2).iter().enumerate() {
        let mark = if at == 0 { look.paint(style(why.condition), "●") } else { " ".to_owned() };
        text.push_str(&format!("{mark} {}\n", look.paint(BOLD, line)));
    }
    text.push_str(&look.facts(&facts(why, look)));
    if !why.chain.is_empty() {
        text.push_str(&format!("\n{}\n", look.paint(BOLD, "What led there:")));
        for (at, link) in why.chain.iter().enumerate() {
            text.push_str(&step(link, look));
            if at == 0 && why.chain_skipped > 0 {
                let skipped = human::count(why.chain_skipped, "step", "steps");
                text.push_str(&format!(
                    "  {}\n",
                    look.paint(DIM, &format!("... and {skipped} like the following"))
                ));
            }
        }
    }
    if !why.waits_for.is_empty() {
        text.push_str(&format!("\n{}\n", look.paint(BOLD, "What it waits for:")));
        for other in &why.waits_for {
            let reason = other.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            paragraph(&mut text, &format!("{} is {}{reason}", other.service, other.state.name()), 2, look);
        }
    }
    text.push_str(&format!("\n{}\n", look.paint(BOLD, "What mcpd does next:")));
    paragraph(&mut text, &why.then, 2, look);
    if !why.advice.is_empty() {
        text.push_str(&format!("\n{}\n", look.paint(BOLD, "What you can do:")));
        for advice in &why.advice {
            let colon = if advice.command.is_some() { ":" } else { "" };
            paragraph(&mut text, &format!("{}{colon}", advice.text), 2, look);
            // A command that is cut is none.
            if let Some(command) = &advice.command {
                text.push_str(&format!("    {}\n", text::safe(command)));
            }
        }
    }
    text
}

fn facts(why: &Why, look: &Look) -> Vec<Fact> {
    let clock = &look.clock;
    let since = format!("{} since {} ({})", why.state.name(), clock.full(&why.since), clock.ago(&why.since));
    let mut facts = vec![Fact::new("state", since)];
    if let Some(crash) = &why.crash {
        facts.push(Fact::new("crash", format!("{}: {}", clock.ago(&crash.time), crash.reason)));
    }
    facts.extend(why.group.as_ref().filter(|group| group.count > 1).map(|group| {
        let count = human::count(usize::try_from(group.count).unwrap_or(usize::MAX), "time", "times");
        Fact::new("alike", format!("{count} since {}, {}", clock.full(&group.first_seen), group.trend.name()))
    }));
    facts
}

/// `  11:27:00  crash     exited with code 1`
fn step(link: &Link, look: &Look) -> String {
    let time = look.clock.brief(&link.time);
    let whose = link.service.as_ref().map(|other| format!("{other}: ")).unwrap_or_default();
    let head = format!("  {time}  {:<12}  ", text::safe(&link.event));
    let indent = text::width(&head);
    let mut text = String::new();
    for (at, line) in look.wrap(&text::safe(&format!("{whose}{}", link.message)), indent).iter().enumerate() {
        let head = if at == 0 { look.paint(DIM, &head) } else { " ".repeat(indent) };
        text.push_str(&format!("{head}{line}\n"));
    }
    text
}

fn paragraph(text: &mut String, words: &str, indent: usize, look: &Look) {
    for line in look.wrap(&text::safe(words), indent) {
        text.push_str(&format!("{:indent$}{line}\n", ""));
    }
}

fn style(condition: Condition) -> anstyle::Style {
    match condition {
        Condition::Well => GOOD,
        Condition::Starting | Condition::Waiting | Condition::Stopping => BUSY,
        Condition::Unhealthy | Condition::Flapping | Condition::Failing | Condition::Stale => WARN,
        Condition::Parked | Condition::Failed => BAD,
        Condition::Stopped | Condition::Finished | Condition::Disabled | Condition::NeverStarted => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use mcpd_proto::stats::{CrashGroup, Trend};
    use mcpd_proto::status::State;
    use mcpd_proto::why::{Advice, Obstacle};

    use super::*;
    use crate::look::tests::{assert_fits, pipe, terminal};
    use crate::verb::status::tests::crash;

    fn link(id: u64, time: &str, event: &str, message: &str) -> Link {
        Link { id, time: time.into(), service: None, event: event.into(), message: message.into() }
    }

    fn parked() -> Why {
        let reason = "10 restarts in a row did not help (restart.max_restarts)";
        Why {
            schema: 1,
            service: "web".into(),
            state: State::Parked,
            condition: Condition::Parked,
            summary: format!("web is parked, mcpd has given it up: {reason}"),
            since: "2026-11-22T11:27:01Z".into(),
            chain: vec![
                Link { service: Some("db".into()), ..link(7, "2026-11-22T11:26:48Z", "down", "stopped") },
                link(8, "2026-11-22T11:26:48Z", "started", "started, pid 4711"),
                link(
                    9,
                    "2026-11-22T11:27:00Z",
                    "exited",
                    &format!("exited with code 1 {}", "and so on ".repeat(9).trim_end()),
                ),
                link(11, "2026-11-22T11:27:01Z", "parked", &format!("parked: {reason}")),
            ],
            chain_skipped: 31,
            waits_for: Vec::new(),
            then: "Nothing, until somebody starts or resets it, or its configuration or its program changes."
                .into(),
            next: None,
            advice: vec![
                Advice {
                    text: "Read why it failed the last time, with its last output".into(),
                    command: Some("mcpctl crashes show 20261122T112700Z-3f9a".into()),
                },
                Advice {
                    text: "Once that is mended, start it".into(),
                    command: Some("mcpctl start web".into()),
                },
            ],
            crash: Some(crash("web")),
            group: Some(CrashGroup {
                fingerprint: "0123456789abcdef".into(),
                service: "web".into(),
                kind: mcpd_proto::crash::CrashKind::Exit,
                cause: "ModuleNotFoundError".into(),
                count: 12,
                first_seen: "2026-11-20T10:00:00Z".into(),
                last_seen: "2026-11-22T11:27:00Z".into(),
                last_day: 11,
                day_before: 0,
                trend: Trend::Rising,
                newest: None,
            }),
        }
    }

    #[test]
    fn one_screen() {
        let text = render(&parked(), &terminal());
        let expected = "\
● web is parked, mcpd has given it up: 10 restarts in a row did not help
  (restart.max_restarts)
  state: parked since 2026-11-22 11:27:01 (2m ago)
  crash: 3m ago: exited with code 1 after 12 s: ModuleNotFoundError: No module
         named 'mcp'
  alike: 12 times since 2026-11-20 10:00:00, rising

What led there:
  11:26:48  down          db: stopped
  ... and 31 steps like the following
  11:26:48  started       started, pid 4711
  11:27:00  exited        exited with code 1 and so on and so on and so on and
                          so on and so on and so on and so on and so on and so
                          on
  11:27:01  parked        parked: 10 restarts in a row did not help
                          (restart.max_restarts)

What mcpd does next:
  Nothing, until somebody starts or resets it, or its configuration or its
  program changes.

What you can do:
  Read why it failed the last time, with its last output:
    mcpctl crashes show 20261122T112700Z-3f9a
  Once that is mended, start it:
    mcpctl start web
";
        assert_eq!(text, expected, "\n{text}");
        assert_fits(&text, 80);
        assert!(render(&parked(), &pipe()).contains("\nWhat you can do:\n"));
    }

    #[test]
    fn whom_it_waits_for() {
        let waits_for =
            vec![Obstacle { service: "db".into(), state: State::Backoff, reason: Some("exited".into()) }];
        let why = Why { waits_for, crash: None, group: None, chain: Vec::new(), ..parked() };
        let text = render(&why, &terminal());
        assert!(text.contains("\nWhat it waits for:\n  db is backoff: exited\n"), "{text}");
        assert!(!text.contains("What led there"), "{text}");
    }
}
