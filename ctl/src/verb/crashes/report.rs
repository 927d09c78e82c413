//! One crash, told to somebody who has to do something about it.

use mcpd_proto::crash::{CoreFile, CrashReport, HealthVerdict, Host, Pressure, Resources, RestartDecision};
use mcpd_proto::log::LogLine;

use super::what;
use crate::look::{BAD, BOLD, DIM, Fact, GOOD, Look};
use crate::verb::status::command;
use crate::{human, lines, text};

/// The whole report.
pub(crate) fn render(report: &CrashReport, look: &Look) -> String {
    let headline = format!("{} crashed {}: {}", report.service, look.clock.ago(&report.time), report.reason);
    let headline = look.wrap(&text::safe(&headline), 0);
    let headline: Vec<String> = headline.iter().map(|line| look.paint(BAD, line)).collect();
    let mut text = headline.join("\n") + "\n\n";
    text.push_str(&look.facts(&facts(report, look)));
    text.push_str(&verdicts("Readiness checks", &report.ready, look));
    text.push_str(&verdicts("Health checks", &report.health, look));
    text.push_str(&tail("stderr", &report.stderr_tail, look));
    text.push_str(&tail("stdout", &report.stdout_tail, look));
    text
}

fn verdicts(what: &str, verdicts: &[HealthVerdict], look: &Look) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let mut text = title(&format!("{what}, the last one at the end:"), look);
    for verdict in verdicts {
        let (word, style) = match (verdict.ok, verdict.unknown) {
            (true, _) => ("ok", GOOD),
            (false, false) => ("failed", BAD),
            (false, true) => ("?", DIM),
        };
        let time = look.clock.clock_precise(&verdict.time);
        let detail = look.wrap(&text::safe(&verdict.detail), 2 + text::width(&time) + 1 + 7);
        for (at, detail) in detail.iter().enumerate() {
            let lead = if at == 0 {
                format!("{time} {}", look.paint(style, &format!("{word:<6}")))
            } else {
                " ".repeat(text::width(&time) + 7)
            };
            text.push_str(&format!("  {lead} {detail}\n"));
        }
    }
    text
}

fn title(text: &str, look: &Look) -> String {
    format!("\n{}\n", look.paint(BOLD, text))
}

/// Lines are not cut: this is where the cause stands.
fn tail(stream: &str, tail: &[LogLine], look: &Look) -> String {
    if tail.is_empty() {
        return title(&format!("{stream}: nothing."), look);
    }
    let count = human::count(tail.len(), "line", "lines");
    let mut text = title(&format!("{stream}, the last {count}:"), look);
    for line in tail {
        text.push_str(&lines::indented(line, false, false, look));
    }
    text
}

fn facts(report: &CrashReport, look: &Look) -> Vec<Fact> {
    let clock = &look.clock;
    let summary = report.summary();
    let core = if report.core_dumped { ", core dumped" } else { "" };
    let signal =
        report.signal.as_ref().filter(|_| what(&summary) != summary.signal.clone().unwrap_or_default());
    let signal = signal.map(|signal| format!(", ended by {signal}")).unwrap_or_default();
    let mut facts = vec![
        Fact::new("id", &report.id),
        Fact::new("time", clock.precise(&report.time)),
        Fact::new("kind", format!("{} ({}{signal}{core})", report.kind.name(), what(&summary))),
    ];
    let started =
        report.started_at.as_ref().map(|at| format!(", from {}", clock.full(at))).unwrap_or_default();
    let pid = report.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let ran = format!("{}{started}{pid}, start {}", human::seconds(report.uptime_seconds), report.generation);
    facts.push(Fact::new("ran", ran));
    facts.push(Fact::new("then", decision(&report.restart, look)));
    facts.push(Fact::new("command", command(&report.command)));
    facts.extend(report.status_text.as_ref().map(|text| Fact::new("said", text)));
    facts.extend(report.working_directory.as_ref().map(|path| Fact::new("ran in", path)));
    facts.extend(used(&report.resources).map(|used| Fact::new("used", used)));
    facts.extend(held(&report.resources, look).map(|held| Fact::new("held", held)));
    facts.extend(report.core.as_ref().and_then(core_file).map(|core| Fact::new("core", core)));
    for (name, processes) in [("left", &report.left_behind), ("killed", &report.killed)] {
        if !processes.is_empty() {
            let names: Vec<String> =
                processes.iter().map(|process| format!("{} ({})", process.name, process.pid)).collect();
            facts.push(Fact::new(name, names.join(", ")));
        }
    }
    if !report.changed.is_empty() {
        facts.push(Fact::new("changed", report.changed.join(", ")));
    }
    if report.coalesced > 0 {
        let alike = human::count(usize::try_from(report.coalesced).unwrap_or(usize::MAX), "crash", "crashes");
        facts.push(Fact::new(
            "alike",
            format!("{alike} before it had no report of their own: too many at once"),
        ));
    }
    if let Some(oldest) = report.lineage.last() {
        facts.push(Fact::new("row", row(report.lineage.len(), &oldest.time, look)));
    }
    facts.extend(report.previous.as_ref().map(|id| Fact::new("before", format!("mcpctl crashes show {id}"))));
    facts.push(Fact::new("more", format!("mcpctl logs {} --since {}", report.service, since(report))));
    let host = [&report.host.name, &report.host.os].map(|text| text.as_str()).join(", ");
    facts.push(Fact::new("host", format!("{host}, mcpd {}", report.host.mcpd)));
    facts.extend(machine(&report.host).map(|machine| Fact::new("machine", machine)));
    facts
}

/// `the 4th in a row, the first one 12m ago`
fn row(before: usize, oldest: &str, look: &Look) -> String {
    let crashes = human::count(before, "crash", "crashes");
    // A report names so many and no more.
    let least = if before >= 10 { "at least " } else { "" };
    format!("{least}{crashes} before it since the last stable run, from {} on", look.clock.ago(oldest))
}

/// `12 descriptors, 4 threads at 11:29:58`
fn held(resources: &Resources, look: &Look) -> Option<String> {
    let Resources { fds, threads, sampled_at, .. } = resources;
    let count = |count: u64, one, many| human::count(usize::try_from(count).unwrap_or(usize::MAX), one, many);
    let parts: Vec<String> = [
        fds.map(|fds| count(fds, "descriptor", "descriptors")),
        threads.map(|threads| count(threads, "thread", "threads")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let at = sampled_at.as_ref().map(|at| format!(" at {}", look.clock.short(at))).unwrap_or_default();
    (!parts.is_empty()).then(|| parts.join(", ") + &at)
}

fn core_file(core: &CoreFile) -> Option<String> {
    core.path.clone().or_else(|| core.coredumpctl.clone())
}

/// `1.2 GiB of 7.7 GiB memory free, load 0.4, waiting for cpu 1 %, memory 0 %, disk 3 %`
fn machine(host: &Host) -> Option<String> {
    let Host { name: _, os: _, mcpd: _, pressure, memory_available_bytes, memory_total_bytes, load } = host;
    let memory = memory_available_bytes.zip(*memory_total_bytes);
    let memory =
        memory.map(|(free, all)| format!("{} of {} memory free", human::bytes(free), human::bytes(all)));
    let load = load.map(|load| format!("load {load}"));
    let waits = pressure.as_ref().map(|Pressure { cpu, memory, io }| {
        let waits = [("cpu", cpu), ("memory", memory), ("disk", io)];
        let waits =
            waits.into_iter().filter_map(|(what, share)| share.map(|share| format!("{what} {share:.0} %")));
        format!("waiting for {}", waits.collect::<Vec<_>>().join(", "))
    });
    let parts: Vec<String> = [memory, load, waits].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Where to look for all that the run wrote.
fn since(report: &CrashReport) -> &str {
    report.started_at.as_deref().unwrap_or(&report.time)
}

/// `restart 2 of 10 after 1.5 s, at 11:30:03: why`
fn decision(restart: &RestartDecision, look: &Look) -> String {
    let what = match restart.decision.as_str() {
        "restart" => {
            let of = if restart.max == 0 { String::new() } else { format!(" of {}", restart.max) };
            let after = restart.delay_seconds.map(|delay| format!(" after {}", human::seconds(delay)));
            let at = restart.next_at.as_ref().map(|at| format!(", at {}", look.clock.short(at)));
            format!("restart {}{of}{}{}", restart.attempt, after.unwrap_or_default(), at.unwrap_or_default())
        }
        // The daemon's own words say why, and now and then what is to be done.
        "park" if restart.why.contains("once that is mended") => return restart.why.clone(),
        "park" => {
            let why = restart.why.strip_prefix("parked: ").unwrap_or(&restart.why);
            let why = if why.is_empty() { String::new() } else { format!("{why}; ") };
            return format!(
                "parked: {why}it stays down until somebody starts it or something about it changes"
            );
        }
        "stay_down" => "no restart".to_owned(),
        "unknown" => "not known".to_owned(),
        "stopping" => "no restart, it was being stopped".to_owned(),
        other => other.to_owned(),
    };
    // The daemon's own words for a restart say the same numbers.
    let said =
        restart.why.is_empty() || (restart.decision == "restart" && restart.why.starts_with("restart "));
    if said { what } else { format!("{what}; {}", restart.why) }
}

fn used(resources: &Resources) -> Option<String> {
    let Resources { max_rss_bytes, cpu_seconds, memory_peak, oom_kills, major_faults, .. } = resources;
    let Resources { voluntary_switches, involuntary_switches, .. } = resources;
    let switches = voluntary_switches.zip(*involuntary_switches);
    let parts: Vec<String> = [
        max_rss_bytes.map(|bytes| format!("{} resident at most", human::bytes(bytes))),
        memory_peak.map(|bytes| format!("{} memory at most", human::bytes(bytes))),
        cpu_seconds.map(|seconds| format!("{} of CPU", human::seconds(seconds))),
        major_faults.filter(|&count| count > 0).map(|count| format!("{count} page faults from disk")),
        switches.map(|(own, other)| format!("{own} waits, {other} preemptions")),
        oom_kills.filter(|&count| count > 0).map(|count| format!("{count} killed for memory")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use mcpd_proto::crash::{Ancestor, CrashKind, ProcessName};
    use mcpd_proto::log::Stream;

    use super::*;
    use crate::lines::tests::line;
    use crate::look::tests::{assert_fits, terminal};

    fn report() -> CrashReport {
        CrashReport {
            schema: 1,
            id: "20261122T112700Z-3f9a".into(),
            service: "web".into(),
            generation: 3,
            time: "2026-11-22T11:27:00.5Z".into(),
            kind: CrashKind::Health,
            exit_code: None,
            signal: Some("SIGKILL".into()),
            core_dumped: false,
            core: None,
            reason: "3 health checks in a row failed, the last one: timed out after 5 s".into(),
            cause: Some("timed out after 5 s".into()),
            pid: Some(4700),
            started_at: Some("2026-11-22T11:20:00Z".into()),
            uptime_seconds: 420.5,
            command: vec!["python3".into(), "-c".into(), "while 1: pass".into()],
            working_directory: Some("/opt/web".into()),
            restart: RestartDecision {
                attempt: 2,
                max: 10,
                delay_seconds: Some(1.5),
                next_at: Some("2026-11-22T11:27:02Z".into()),
                decision: "restart".into(),
                why: "restart.when = \"on-failure\"".into(),
            },
            stderr_tail: vec![line(Stream::Err, "Traceback"), line(Stream::Err, "KeyError")],
            stdout_tail: Vec::new(),
            health: vec![HealthVerdict {
                time: "2026-11-22T11:26:59Z".into(),
                ok: false,
                unknown: false,
                detail: "503 after 4 ms: expected 200, and the body said something that takes long".into(),
            }],
            ready: Vec::new(),
            status_text: None,
            phase: None,
            resources: Resources {
                max_rss_bytes: Some(47_395_635),
                cpu_seconds: Some(1.2),
                oom_kills: Some(0),
                major_faults: Some(12),
                voluntary_switches: Some(340),
                involuntary_switches: Some(5),
                fds: Some(9),
                threads: Some(1),
                sampled_at: Some("2026-11-22T11:26:59Z".into()),
                ..Resources::default()
            },
            left_behind: vec![ProcessName { pid: 4701, name: "node".into() }],
            killed: Vec::new(),
            changed: vec!["configuration: exec".into(), "packages: /opt/web/uv.lock".into()],
            previous: Some("20261122T110000Z-0001".into()),
            lineage: vec![Ancestor {
                id: "20261122T110000Z-0001".into(),
                time: "2026-11-22T11:00:00Z".into(),
                kind: CrashKind::Exit,
                reason: "exited with code 1".into(),
            }],
            fingerprint: None,
            coalesced: 7,
            host: Host {
                name: "box".into(),
                os: "Linux 6.1".into(),
                mcpd: "0.1.0".into(),
                pressure: Some(Pressure { cpu: Some(1.53), memory: Some(0.0), io: Some(12.0) }),
                memory_available_bytes: Some(1_288_490_189),
                memory_total_bytes: Some(8_232_226_816),
                load: Some(0.42),
            },
        }
    }

    #[test]
    fn a_report_reads_well() {
        let text = render(&report(), &terminal());
        let expected = "\
web crashed 2m ago: 3 health checks in a row failed, the last one: timed out
after 5 s

  id:      20261122T112700Z-3f9a
  time:    2026-11-22 11:27:00.500
  kind:    health (health check, ended by SIGKILL)
  ran:     7m 01s, from 2026-11-22 11:20:00, pid 4700, start 3
  then:    restart 2 of 10 after 1.5 s, at 11:27:02; restart.when = \"on-failure\"
  command: python3 -c 'while 1: pass'
  ran in:  /opt/web
  used:    45.1 MiB resident at most, 1.2 s of CPU, 12 page faults from disk,
           340 waits, 5 preemptions
  held:    9 descriptors, 1 thread at 11:26:59
  left:    node (4701)
  changed: configuration: exec, packages: /opt/web/uv.lock
  alike:   7 crashes before it had no report of their own: too many at once
  row:     1 crash before it since the last stable run, from 30m ago on
  before:  mcpctl crashes show 20261122T110000Z-0001
  more:    mcpctl logs web --since 2026-11-22T11:20:00Z
  host:    box, Linux 6.1, mcpd 0.1.0
  machine: 1.2 GiB of 7.6 GiB memory free, load 0.42, waiting for cpu 2 %,
           memory 0 %, disk 12 %

Health checks, the last one at the end:
  11:26:59.000 failed 503 after 4 ms: expected 200, and the body said something
                      that takes long

stderr, the last 2 lines:
  11:29:58.123 | Traceback
  11:29:58.123 | KeyError

stdout: nothing.
";
        assert_eq!(text, expected);
        assert_fits(&text, 80);
    }

    #[test]
    fn decisions_in_words() {
        let words = |decision: &str| {
            decision_words(RestartDecision { decision: decision.into(), ..RestartDecision::default() })
        };
        assert!(words("park").starts_with("parked"));
        let parked = |why: &str| {
            let (decision, why) = ("park".into(), why.into());
            decision_words(RestartDecision { decision, why, ..RestartDecision::default() })
        };
        let limit = "parked: 1 restart did not help; it stays down until somebody starts it or something about it changes";
        assert_eq!(parked("parked: 1 restart did not help"), limit);
        let told = "parked: no module x; once that is mended it is tried again";
        assert_eq!(parked(told), told);
        assert_eq!(words("stay_down"), "no restart");
        assert_eq!(words("of_a_later_version"), "of_a_later_version");
    }

    fn decision_words(restart: RestartDecision) -> String {
        decision(&restart, &terminal())
    }
}
