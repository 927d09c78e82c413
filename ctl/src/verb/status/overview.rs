//! A line per service, under those that are not well the reason, and a summary.

use mcpd_proto::status::{Health, ServiceStatus, State, StatusDocument};

use super::{flaps, health_style, restarts, state_name, style};
use crate::look::{DEFAULT_WIDTH, DIM, Look, PLAIN, WARN};
use crate::table::{Cell, Column, Cut, Table};
use crate::verb::crashes::what;
use crate::{human, text};

/// Names listed in the summary for each state.
const NAMED: usize = 3;

/// The whole answer.
pub(crate) fn render(document: &StatusDocument, look: &Look) -> String {
    let mut services: Vec<&ServiceStatus> = document.services.iter().collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    if document.daemon.state != "running" {
        let state = format!("mcpd itself is {}", text::safe(&document.daemon.state));
        text.push_str(&format!("{}\n", look.paint(WARN, &look.fit(&state, 0))));
    }
    if services.is_empty() {
        let config = text::safe(&document.daemon.config);
        text.push_str(&look.wrap(&format!("No services are configured in {config}."), 0).join("\n"));
        text.push('\n');
        return text;
    }
    text.push_str(&table(&services, look).render(look));
    text.push_str(&format!("\n{}\n", summary(&services, look)));
    text
}

fn table(services: &[&ServiceStatus], look: &Look) -> Table {
    let mut table = Table::new([
        Column::left("NAME", Cut::Middle(12)),
        Column::left("STATE", Cut::Never),
        Column::left("HEALTH", Cut::Never),
        Column::right("PID"),
        Column::right("UPTIME"),
        Column::right("RESTARTS"),
        Column::left("LAST CRASH", Cut::End(14)),
    ]);
    for service in services {
        let none = || Cell::styled("-", DIM);
        let health = match service.health {
            Health::None => none(),
            health => Cell::styled(health.name(), health_style(health)),
        };
        let crash = service.last_crash.as_ref();
        let cells = vec![
            Cell::from(&service.name),
            state(service),
            health,
            service.pid.map_or_else(none, |pid| pid.to_string().into()),
            // The mark of a process that is older than its program; on a terminal the line below says what it means.
            service.uptime_seconds.map_or_else(none, |uptime| match service.stale {
                Some(_) => Cell::styled(format!("{}*", human::seconds(uptime)), WARN),
                None => human::seconds(uptime).into(),
            }),
            Cell::styled(restarts(service), if service.restarts > 0 { WARN } else { PLAIN }),
            crash.map_or_else(none, |crash| {
                format!("{}: {}", look.clock.ago(&crash.time), what(crash)).into()
            }),
        ];
        // A pipe gets one line per service, so that lines can be counted and sorted.
        match trouble(service).filter(|_| look.width.is_some()) {
            Some(why) => table.row_with_note(cells, Cell::styled(why, style(service))),
            None => table.row(cells),
        }
    }
    table
}

/// `5 services: 3 up, 1 in backoff (api, next start in 4 s), 1 parked (db)`: always one line, with as many words as fit.
fn summary(services: &[&ServiceStatus], look: &Look) -> String {
    let limit = look.width.unwrap_or(DEFAULT_WIDTH);
    let told = [Words::Many, Words::Few].map(|words| tally(services, |members| detail(members, words)));
    let told = told.into_iter().find(|told| text::width(told) <= limit);
    told.unwrap_or_else(|| look.fit(&tally(services, |_| String::new()), 0))
}

/// How much the summary says about each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// `api, next start in 4 s`
    Many,
    /// `api in 4 s`
    Few,
}

fn tally(services: &[&ServiceStatus], detail: impl Fn(&[&ServiceStatus]) -> String) -> String {
    let groups: [(&[&str], &str); 8] = [
        (&["up"], "up"),
        (&["spawning", "starting"], "starting"),
        (&["waiting"], "waiting"),
        (&["stopping"], "stopping"),
        (&["backoff"], "in backoff"),
        (&["flapping"], "flapping"),
        (&["parked"], "parked"),
        (&["down"], "down"),
    ];
    let mut parts = Vec::new();
    for (states, what) in groups {
        let members: Vec<&ServiceStatus> =
            services.iter().copied().filter(|service| states.contains(&state_name(service))).collect();
        if !members.is_empty() {
            parts.push(format!("{} {what}{}", members.len(), detail(&members)));
        }
    }
    format!("{}: {}", human::count(services.len(), "service", "services"), parts.join(", "))
}

/// Which ones, where that matters.
fn detail(members: &[&ServiceStatus], words: Words) -> String {
    let Some(first) = members.first() else { return String::new() };
    let described: Vec<String> = match first.state {
        _ if flaps(first) => members.iter().map(|service| text::safe(&service.name)).collect(),
        State::Up => members
            .iter()
            .filter(|service| matches!(service.health, Health::Failing | Health::Unhealthy))
            .map(|service| format!("{} {}", text::safe(&service.name), service.health.name()))
            .collect(),
        State::Down => Vec::new(),
        State::Backoff => members
            .iter()
            .map(|service| {
                let name = text::safe(&service.name);
                match service.next.as_ref().filter(|next| next.what == "start") {
                    Some(next) if members.len() == 1 && words == Words::Many => {
                        format!("{name}, next start in {}", human::seconds(next.in_seconds))
                    }
                    Some(next) => format!("{name} in {}", human::seconds(next.in_seconds)),
                    None => name,
                }
            })
            .collect(),
        State::Waiting | State::Spawning | State::Starting | State::Stopping | State::Parked => {
            members.iter().map(|service| text::safe(&service.name)).collect()
        }
    };
    if described.is_empty() {
        return String::new();
    }
    let mut list = described[..described.len().min(NAMED)].join(", ");
    if described.len() > NAMED {
        list.push_str(&format!(" and {} more", described.len() - NAMED));
    }
    format!(" ({list})")
}

/// `up`, and when a changed definition waits for the next start `up, pending`.
fn state(service: &ServiceStatus) -> Cell {
    let name = state_name(service);
    if service.pending.is_empty() {
        return Cell::styled(name, style(service));
    }
    Cell::styled(format!("{name}, pending"), WARN)
}

/// Why the service is not well, or what waits for its next start; nothing when all is well.
fn trouble(service: &ServiceStatus) -> Option<String> {
    let reason = service.reason.as_deref();
    let flapping = service.flapping.as_ref().filter(|_| flaps(service));
    let why = match (service.state, service.health) {
        _ if flapping.is_some() => flapping.map(|flapping| flapping.reason.as_str()),
        (State::Parked | State::Backoff | State::Waiting, _) => reason,
        (_, Health::Failing | Health::Unhealthy) => reason.or(service.health_detail.as_deref()),
        _ => service.stale.as_ref().map(|stale| stale.reason.as_str()),
    };
    let pending = || {
        let keys = service.pending.join(", ");
        (!keys.is_empty()).then(|| format!("{keys} changed; in force from the next start on"))
    };
    why.map(str::to_owned).or_else(pending)
}

#[cfg(test)]
mod tests {
    use mcpd_proto::status::{DaemonStatus, Flapping, Next, Stale};

    use super::super::tests::{crash, up, without_process};
    use super::*;
    use crate::look::tests::{assert_fits, pipe, terminal};

    #[test]
    fn a_process_older_than_its_program_is_marked() {
        let stale = Stale { what: "program".into(), reason: "/a changed".into(), since: String::new() };
        let old = document(vec![ServiceStatus { stale: Some(stale), ..up("web") }]);
        let text = render(&old, &terminal());
        assert!(text.contains("1h 02m* ") && text.contains("/a changed\n"), "{text}");
        assert!(render(&old, &pipe()).contains("1h 02m* "));
    }

    #[test]
    fn what_comes_and_goes_is_flapping() {
        let flapping = Flapping {
            since: "2026-11-22T11:20:00Z".into(),
            failures: 7,
            reason: "it fails again and again, 7 times so far".into(),
        };
        let flaps = |of: ServiceStatus| ServiceStatus { flapping: Some(flapping.clone()), ..of };
        let services = vec![
            flaps(up("a")),
            flaps(without_process("b", State::Backoff)),
            flaps(without_process("c", State::Parked)),
            up("d"),
        ];
        let text = render(&document(services), &terminal());
        let expected = "\
NAME  STATE     HEALTH    PID  UPTIME  RESTARTS  LAST CRASH
a     flapping  healthy  4711  1h 02m      0/10  -
  it fails again and again, 7 times so far
b     flapping  -           -       -      0/10  -
  it fails again and again, 7 times so far
c     parked    -           -       -      0/10  -
d     up        healthy  4711  1h 02m      0/10  -

4 services: 1 up, 2 flapping (a, b), 1 parked (c)
";
        assert_eq!(text, expected);
    }

    fn document(services: Vec<ServiceStatus>) -> StatusDocument {
        let daemon = DaemonStatus {
            schema: 1,
            version: "0.1.0".into(),
            pid: 1,
            started_at: "2026-11-22T10:00:00Z".into(),
            uptime_seconds: 5400.0,
            config: "/etc/mcpd/mcpd.toml".into(),
            state_dir: "/var/lib/mcpd".into(),
            log_dir: "/var/log/mcpd".into(),
            state: "running".into(),
            summary: String::new(),
            log_lines_dropped: 0,
            tree: Default::default(),
            cgroup: None,
            cgroup_missing: None,
            last_reload: None,
            keeper: None,
        };
        StatusDocument { schema: 1, daemon, services }
    }

    fn mixture() -> Vec<ServiceStatus> {
        let next = Next { what: "start".into(), in_seconds: 4.0, at: "2026-11-22T11:30:04Z".into() };
        vec![
            ServiceStatus { last_crash: Some(crash("web")), restarts: 1, ..up("web") },
            up("auth"),
            ServiceStatus {
                health: Health::Failing,
                health_detail: Some("503 after 4 ms: expected 200".into()),
                pid: Some(4_194_304),
                ..up("mcp-studio")
            },
            ServiceStatus {
                restarts: 2,
                reason: Some("exited with code 1 after 12 s".into()),
                last_crash: Some(crash("api")),
                next: Some(next),
                ..without_process("api", State::Backoff)
            },
            ServiceStatus {
                restarts: 10,
                reason: Some(
                    "restarted 10 times in a row without a stable run; start it with mcpctl start db".into(),
                ),
                ..without_process("db", State::Parked)
            },
        ]
    }

    #[test]
    fn a_mixture_on_a_terminal() {
        let text = render(&document(mixture()), &terminal());
        let expected = "\
NAME        STATE    HEALTH       PID  UPTIME  RESTARTS  LAST CRASH
api         backoff  -              -       -      2/10  3m ago: exit 1
  exited with code 1 after 12 s
auth        up       healthy     4711  1h 02m      0/10  -
db          parked   -              -       -     10/10  -
  restarted 10 times in a row without a stable run; start it with mcpctl start …
mcp-studio  up       failing  4194304  1h 02m      0/10  -
  503 after 4 ms: expected 200
web         up       healthy     4711  1h 02m      1/10  3m ago: exit 1

5 services: 3 up (mcp-studio failing), 1 in backoff (api in 4 s), 1 parked (db)
";
        assert_eq!(text, expected);
        assert_fits(&text, 80);
    }

    #[test]
    fn a_pipe_gets_everything_in_one_line_each() {
        let long = "a-name-that-is-much-longer-than-anything-that-would-fit-in-a-terminal-of-eighty-columns";
        let mut services = mixture();
        services.push(up(long));
        let text = render(&document(services), &pipe());
        assert!(text.contains(long) && !text.contains('…'), "{text}");
        assert_eq!(text.lines().count(), 1 + 6 + 2, "{text}");
        assert!(
            text.ends_with(
                "\n6 services: 4 up (mcp-studio failing), 1 in backoff (api in 4 s), 1 parked (db)\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_summary_names_names_where_they_fit() {
        let mut services = mixture();
        services.remove(2);
        let text = render(&document(services), &terminal());
        assert!(
            text.ends_with("\n4 services: 2 up, 1 in backoff (api, next start in 4 s), 1 parked (db)\n"),
            "{text}"
        );
        let mut many = mixture();
        many.extend((0..3).map(|at| without_process(&format!("waiting-{at}"), State::Waiting)));
        let text = render(&document(many), &terminal());
        assert!(text.ends_with("\n8 services: 3 up, 3 waiting, 1 in backoff, 1 parked\n"), "{text}");
        let parked = (0..5).map(|at| without_process(&format!("s{at}"), State::Parked)).collect();
        let text = render(&document(parked), &terminal());
        assert!(text.ends_with("\n5 services: 5 parked (s0, s1, s2 and 2 more)\n"), "{text}");
    }

    #[test]
    fn no_line_is_ever_too_long() {
        let mut services = mixture();
        for (at, state) in [State::Down, State::Waiting, State::Spawning, State::Starting, State::Stopping]
            .into_iter()
            .chain([State::Parked; 12])
            .enumerate()
        {
            let mut service = without_process(&format!("service-number-{at}-of-a-very-long-name"), state);
            service.reason = Some("because of something that takes rather many words to explain ".repeat(3));
            service.last_crash = Some(crash("x"));
            services.push(service);
        }
        for width in 30..130 {
            let look = Look { width: Some(width), ..terminal() };
            assert_fits(&render(&document(services.clone()), &look), width);
        }
    }

    #[test]
    fn nothing_configured_says_where() {
        let text = render(&document(Vec::new()), &terminal());
        assert_eq!(text, "No services are configured in /etc/mcpd/mcpd.toml.\n");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = render(&document(mixture()), &terminal());
        let coloured = render(&document(mixture()), &Look { color: true, ..terminal() });
        assert_ne!(plain, coloured);
        let stripped: Vec<String> = coloured.lines().map(text::safe).collect();
        assert_eq!(stripped, plain.lines().collect::<Vec<_>>());
    }
}
