//! What a person reads, for each state.

use mcpd_proto::crash::{CrashKind, CrashSummary};
use mcpd_proto::status::{Flapping, Relations, Stale, Watch};
use serde_json::Value;

use super::*;

fn status(state: State) -> ServiceStatus {
    ServiceStatus {
        schema: 1,
        name: "web".into(),
        description: None,
        state,
        wanted: true,
        health: Health::None,
        flapping: None,
        status_text: None,
        ready_detail: None,
        health_detail: None,
        process_running: false,
        pid: None,
        generation: 3,
        uptime_seconds: None,
        restarts: 2,
        max_restarts: 10,
        restarts_total: 2,
        total_uptime_seconds: None,
        availability: None,
        enabled: true,
        reason_code: None,
        crash_count: 2,
        started_at: None,
        since: "2026-11-22T11:27:00.000000Z".into(),
        cgroup: None,
        tree: None,
        watch: None,
        stale: None,
        usage: None,
        command: vec!["web".into()],
        commands: Vec::new(),
        pending: Vec::new(),
        reason: None,
        waiting_on: None,
        relations: Relations::default(),
        next: None,
        last_crash: None,
        config: Some("/etc/mcpd/mcpd.toml:12".into()),
        working_directory: None,
        log_file: None,
        log_lines_dropped: 0,
        log_tail: Vec::new(),
    }
}

fn crash() -> CrashSummary {
    CrashSummary {
        id: "20261122T112700.000000Z-0a1b2c".into(),
        service: "web".into(),
        time: "2026-11-22T11:27:00.000000Z".into(),
        kind: CrashKind::Exit,
        exit_code: Some(1),
        signal: None,
        reason: "exited with code 1 after 12 s: KeyError: 'x'".into(),
        pid: Some(4700),
        uptime_seconds: 12.0,
        decision: "restart".into(),
        fingerprint: None,
        cause: None,
        coalesced: 0,
        group_count: None,
    }
}

fn facts(status: ServiceStatus) -> Facts {
    Facts {
        status,
        waits_for: Vec::new(),
        chain: Vec::new(),
        crashes: Vec::new(),
        group: None,
        port: None,
        health_restarts: true,
    }
}

fn next(what: &str, in_seconds: f64) -> Option<Next> {
    Some(Next { what: what.into(), in_seconds, at: "2026-11-22T11:30:03.000000Z".into() })
}

/// The summary, what comes then, and each piece of advice.
fn told(facts: Facts) -> String {
    let why = why(facts);
    let mut text = format!("{:?}: {}\nthen: {}\n", why.condition, why.summary, why.then);
    for Advice { text: what, command } in why.advice {
        text.push_str(&format!("- {what}: {}\n", command.as_deref().unwrap_or("-")));
    }
    text
}

use mcpd_proto::why::Advice;

#[track_caller]
fn expect(facts: Facts, expected: &str) {
    let told = told(facts);
    assert_eq!(told, expected, "\n{told}");
}

fn down(code: &str, reason: &str) -> ServiceStatus {
    ServiceStatus {
        wanted: false,
        reason_code: Some(code.into()),
        reason: Some(reason.into()),
        ..status(State::Down)
    }
}

fn parked(code: &str, reason: &str) -> ServiceStatus {
    ServiceStatus { last_crash: Some(crash()), state: State::Parked, ..down(code, reason) }
}

#[test]
fn all_is_well() {
    let up = ServiceStatus { health: Health::Healthy, next: next("probe", 12.0), ..status(State::Up) };
    expect(
        facts(up),
        "Well: web is up, and its health check succeeds\nthen: Its health is asked for in 12 s.\n",
    );
    expect(facts(status(State::Up)), "Well: web is up\nthen: Nothing: it is watched.\n");
}

#[test]
fn on_its_way_up() {
    let starting = ServiceStatus {
        reason: Some("waits for a line that fits \"ready\"".into()),
        next: next("start_timeout", 71.0),
        ..status(State::Starting)
    };
    expect(
        facts(starting),
        "Starting: web is starting: waits for a line that fits \"ready\"\n\
         then: Its start counts as failed in 1 min 11 s, unless it is up by then.\n\
         - Watch it start: mcpctl logs web -f\n",
    );
    expect(
        facts(status(State::Spawning)),
        "Starting: web is starting\nthen: It counts as up as soon as it is seen to be.\n\
         - Watch it start: mcpctl logs web -f\n",
    );
}

#[test]
fn waiting_for_others() {
    let waiting = || ServiceStatus {
        reason: Some("waiting for db (waiting for disk, which is parked)".into()),
        waiting_on: Some("db".into()),
        ..status(State::Waiting)
    };
    let obstacle = |service: &str, state| Obstacle { service: service.into(), state, reason: None };
    let waits_for = vec![obstacle("db", State::Waiting), obstacle("disk", State::Parked)];
    expect(
        Facts { waits_for, ..facts(waiting()) },
        "Waiting: web has not been started: waiting for db (waiting for disk, which is parked)\n\
         then: Nothing, until disk is up: that one does not come by itself.\n\
         - See why disk is not ready: mcpctl why disk\n\
         - Start disk: mcpctl start disk\n\
         - Do without it: mcpctl stop web\n",
    );
    expect(
        Facts { waits_for: vec![obstacle("db", State::Starting)], ..facts(waiting()) },
        "Waiting: web has not been started: waiting for db (waiting for disk, which is parked)\n\
         then: It is started as soon as db lets it.\n\
         - See why db is not ready: mcpctl why db\n\
         - Do without it: mcpctl stop web\n",
    );
    let place = ServiceStatus { reason: Some("waiting for a place".into()), ..status(State::Waiting) };
    expect(
        facts(place),
        "Waiting: web has not been started: waiting for a place\n\
         then: It is started as soon as it is its turn.\n\
         - Its turn comes; more start at a time with a larger daemon.max_parallel_starts: -\n",
    );
}

#[test]
fn unhealthy() {
    let unhealthy = |health, reason: &str| ServiceStatus {
        health,
        reason: Some(reason.into()),
        next: next("probe", 2.0),
        ..status(State::Up)
    };
    expect(
        facts(unhealthy(Health::Failing, "health check failed 2 of 3 times: 503 after 4 ms")),
        "Unhealthy: web is up, and is not well: health check failed 2 of 3 times: 503 after 4 ms\n\
         then: It is asked again; when that fails too often in a row, it is restarted.\n\
         - See what it says: mcpctl logs web -n 50\n\
         - Restart it now: mcpctl restart web\n",
    );
    let report = unhealthy(Health::Unhealthy, "health check failed 7 times: timed out after 5 s");
    expect(
        Facts { health_restarts: false, ..facts(report) },
        "Unhealthy: web is up, and is not well: health check failed 7 times: timed out after 5 s\n\
         then: It is asked again; nothing else, for health.action is \"report\".\n\
         - See what it says: mcpctl logs web -n 50\n\
         - Restart it now: mcpctl restart web\n",
    );
}

#[test]
fn failing_and_flapping() {
    let backoff = || ServiceStatus {
        reason: Some(crash().reason),
        last_crash: Some(crash()),
        next: next("start", 3.4),
        ..status(State::Backoff)
    };
    expect(
        facts(backoff()),
        "Failing: web has failed and will be started again: exited with code 1 after 12 s: KeyError: 'x'\n\
         then: It is started again in 3.4 s. Restart 2 in a row; 10 are the limit.\n\
         - Read why it failed, with its last output: mcpctl crashes show 20261122T112700.000000Z-0a1b2c\n\
         - Start it now, without waiting: mcpctl restart web\n\
         - Give it up for now: mcpctl stop web\n",
    );
    let flapping = |status| ServiceStatus {
        flapping: Some(Flapping {
            since: "2026-11-22T11:20:00.000000Z".into(),
            failures: 6,
            reason: "6 failures since it began".into(),
        }),
        ..status
    };
    expect(
        facts(flapping(backoff())),
        "Flapping: web is flapping: 6 failures since it began; now: exited with code 1 after 12 s: KeyError: 'x'\n\
         then: It is started again in 3.4 s.\n\
         - See what it fails of, and how often: mcpctl crashes web --groups\n\
         - Read the newest report: mcpctl crashes show 20261122T112700.000000Z-0a1b2c\n\
         - Give it up for now: mcpctl stop web\n",
    );
    expect(
        facts(flapping(status(State::Up))),
        "Flapping: web is flapping: 6 failures since it began\n\
         then: It is watched as ever; it counts as steady again once it stays up.\n\
         - See what it fails of, and how often: mcpctl crashes web --groups\n\
         - Give it up for now: mcpctl stop web\n",
    );
}

#[test]
fn parked_for_each_reason() {
    let show = "mcpctl crashes show 20261122T112700.000000Z-0a1b2c";
    expect(
        facts(parked("limit", "10 restarts in a row did not help (restart.max_restarts)")),
        &format!(
            "Parked: web is parked, mcpd has given it up: 10 restarts in a row did not help (restart.max_restarts)\n\
             then: Nothing, until somebody starts or resets it, or its configuration or its program changes.\n\
             - Read why it failed the last time, with its last output: {show}\n\
             - Once that is mended, start it: mcpctl start web\n"
        ),
    );
    expect(
        facts(parked("program_missing", "web is not in PATH")),
        "Parked: web is parked, mcpd has given it up: web is not in PATH\n\
         then: It is started by itself as soon as its program is there.\n\
         - Where it was looked for, and every other problem of the file: mcpctl config check\n\
         - Once that is mended, start it: mcpctl start web\n",
    );
    let lacking = parked("lacking", "port 80 is held by nginx (pid 812)");
    let told = told(Facts { port: Some((80, Holder { pid: 812, name: "nginx".into() })), ..facts(lacking) });
    assert!(
        told.contains("- See who holds port 80; end that, or give this service another port: "),
        "{told}"
    );
    assert!(told.contains("812\n") || told.contains("812\"\n"), "{told}");
    assert!(told.contains("then: It is tried again when a file that it needs changes"), "{told}");
}

#[test]
fn old_but_up() {
    let stale = Stale {
        what: "program".into(),
        reason: "/opt/web changed on disk since it started: the process still runs the old one".into(),
        since: "2026-11-22T11:27:00.000000Z".into(),
    };
    let old = ServiceStatus {
        stale: Some(stale),
        pending: vec!["environment".into(), "exec".into()],
        ..status(State::Up)
    };
    expect(
        facts(old),
        "Stale: web is up, and runs something old: /opt/web changed on disk since it started: the process still runs \
         the old one; environment, exec changed and is not in force yet\n\
         then: It goes on as it is until its next start.\n\
         - Let it run what is there now: mcpctl restart web\n",
    );
}

#[test]
fn down_for_each_reason() {
    let nothing = "then: Nothing, until somebody starts it.\n";
    let start = "- Start it: mcpctl start web\n";
    for (status, summary) in [
        (down("stopped", "stopped"), "Stopped: web is down because it was stopped: stopped\n"),
        (
            down("conflict", "stopped because it conflicts with b"),
            "Stopped: web is down because it was stopped: stopped because it conflicts with b\n",
        ),
        (down("reset", "reset after it was parked"), "Stopped: web is down: reset after it was parked\n"),
        (
            down("finished", "it exited with code 0 by itself"),
            "Finished: web has ended, and is not to be restarted: it exited with code 0 by itself\n",
        ),
        (down("never_started", "not started yet"), "NeverStarted: web has not been started yet\n"),
    ] {
        expect(facts(status), &format!("{summary}{nothing}{start}"));
    }
    let disabled = ServiceStatus { enabled: false, ..down("never_started", "not started yet") };
    expect(
        facts(disabled),
        &format!(
            "Disabled: web has never been started: it does not start with mcpd (enabled = false)\n{nothing}\
             - Start it now: mcpctl start web\n\
             - To start it with mcpd, remove enabled = false (/etc/mcpd/mcpd.toml:12), then reload: mcpctl daemon reload\n"
        ),
    );
    let failed = ServiceStatus { last_crash: Some(crash()), ..down("failed", "it exited with code 1") };
    expect(
        facts(failed),
        &format!(
            "Failed: web has failed, and is not to be restarted: it exited with code 1\n{nothing}\
             - Read why it failed, with its last output: mcpctl crashes show 20261122T112700.000000Z-0a1b2c\n\
             - Start it again: mcpctl start web\n"
        ),
    );
}

#[test]
fn on_its_way_down() {
    let stopping = ServiceStatus {
        wanted: false,
        reason: Some("a stop was asked for".into()),
        next: next("kill", 8.0),
        ..status(State::Stopping)
    };
    expect(
        facts(stopping),
        "Stopping: web is stopping: a stop was asked for\n\
         then: SIGKILL goes to all that is left of it in 8 s.\n\
         - See what it still does: mcpctl logs web -n 50\n",
    );
}

#[test]
fn a_suspended_watch_is_told_beside_whatever_else() {
    let watch = Watch { state: "suspended".into(), paths: vec!["/src".into()], reason: None };
    let told = told(facts(ServiceStatus { watch: Some(watch), ..status(State::Up) }));
    assert!(told.ends_with("then reset it: mcpctl reset web\n"), "{told}");
}

fn event(id: u64, service: Option<&str>, name: &str) -> Arc<Event> {
    Arc::new(Event {
        schema: 1,
        id,
        cause: id.checked_sub(1),
        time: "2026-11-22T11:27:00.000000Z".into(),
        service: service.map(str::to_owned),
        event: name.into(),
        message: format!("{name} happened"),
        data: Value::Null,
    })
}

#[test]
fn what_led_there_is_told_from_its_beginning_and_is_short() {
    let mut chain = vec![
        event(9, Some("web"), "parked"),
        event(8, Some("web"), "failed"),
        event(7, Some("db"), "exited"),
    ];
    let answer = why(Facts { chain: chain.clone(), ..facts(status(State::Parked)) });
    let brief: Vec<_> =
        answer.chain.iter().map(|link| (link.id, link.event.as_str(), link.service.as_deref())).collect();
    assert_eq!(brief, [(7, "exited", Some("db")), (9, "parked", None)]);
    // Of an end that was a crash the report's reason.
    let crash = Arc::new(Event { cause: Some(8), ..(*event(10, Some("web"), "crash")).clone() });
    let crashes = vec![crash];
    let answer = why(Facts { chain: chain.clone(), crashes, ..facts(status(State::Parked)) });
    let brief: Vec<_> = answer.chain.iter().map(|link| (link.id, link.event.as_str())).collect();
    assert_eq!(brief, [(10, "crash"), (9, "parked")]);
    // Of many the first one and the last ones.
    chain.extend((10..100).map(|id| event(id, Some("web"), "exited")));
    let answer = why(Facts { chain, ..facts(status(State::Parked)) });
    assert_eq!((answer.chain.len(), answer.chain_skipped), (LINKS, 92 - LINKS));
    assert_eq!((answer.chain[0].id, answer.chain[LINKS - 1].id), (99, 9));
}
