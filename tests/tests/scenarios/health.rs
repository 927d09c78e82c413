//! Health: what counts as alive, how often it may fail, and what becomes of a process that hangs.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::{Health, ServiceStatus, State};
use mcpd_tests::wait::{patience, wait_for, wait_until};
use mcpd_tests::{Sandbox, binaries, processes};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

/// A sandbox whose configuration knows an address: `@address`.
fn at_address(services: &str) -> Sandbox {
    let sandbox = Sandbox::new("");
    sandbox.configure(&services.replace("@address", &sandbox.address().to_string()));
    sandbox
}

/// "failing `retries` times in a row is a failure of kind `health`, with the last verdicts in the report"
#[test]
fn a_sick_server_is_restarted_with_its_verdicts_in_the_report() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "http", "@address", "--unhealthy-on", "@dir/sick"]
        restart = { delay = "20ms" }
        health = { http = "http://@address/api/health", interval = "30ms", timeout = "2s", retries = 3, expect_status = [200] }
        "#,
    );
    let daemon = sandbox.start();
    let first = daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
    assert!(
        first.health_detail.as_deref().is_some_and(|detail| detail.starts_with("200 after")),
        "{first:#?}"
    );
    sandbox.touch("sick");
    let report = daemon.wait_crashes("a", 1).remove(0);
    sandbox.remove("sick");
    assert_eq!((report.kind, report.pid), (CrashKind::Health, first.pid));
    let last: Vec<_> = report.health.iter().rev().take(3).collect();
    assert_eq!(last.len(), 3);
    for verdict in last {
        // "verdicts with cause ("503 after 4 ms: expected 200", ...)"
        assert!(!verdict.ok && verdict.detail.starts_with("503 after"), "{verdict:?}");
        assert!(verdict.detail.contains("expected 200"), "{verdict:?}");
    }
    assert!(report.health.iter().any(|verdict| verdict.ok), "the last good one is worth seeing: {report:#?}");
    daemon.wait_status("a", "healthy again", |now| now.health == Health::Healthy && now.generation >= 2);
}

/// "the hung process tree really is gone before the next start": stopped by SIGSTOP, deaf, with children. Trap 5 of
/// docs/traps.md: nothing of the old instance answers for the new one.
#[test]
fn a_hung_tree_is_gone_before_the_next_start() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/starts", "http", "@address"]
        stop_timeout = "150ms"
        restart = { delay = "1ms" }
        health = { http = "http://@address/", interval = "20ms", timeout = "150ms", retries = 2 }
        [service.tree]
        exec = ["@fixture", "record", "@dir/tree", "tree", "3", "--pid-file", "@dir/pids", "--deaf"]
        stop_timeout = "150ms"
        restart = { delay = "1ms", max_restarts = 1 }
        health = { exec = ["@fixture", "exists", "@dir/never"], interval = "100ms", retries = 2, start_period = 0 }
        "#,
    );
    let daemon = sandbox.start();
    for round in 1..=2 {
        let now = daemon
            .wait_status("a", "healthy", |now| now.health == Health::Healthy && now.generation == round);
        let hung = now.pid.unwrap();
        processes::signal(hung, Signal::STOP);
        let report = daemon.wait_crashes("a", usize::try_from(round).unwrap()).pop().unwrap();
        assert_eq!(report.kind, CrashKind::Health);
        assert!(report.health.last().unwrap().detail.starts_with("timed out after"), "{:#?}", report.health);
        // The next one listens on the same port: it could not while the hung one lived.
        daemon
            .wait_status("a", "healthy again", |now| now.health == Health::Healthy && now.generation > round);
        assert!(!processes::exists(hung));
    }
    assert_eq!(sandbox.starts("starts").len(), 3, "each start succeeded at once");

    // Of a deaf tree as well: all seven of the first run are dead when the second one has started.
    daemon.wait_state("tree", State::Parked);
    let pids = std::fs::read_to_string(sandbox.path("pids")).unwrap();
    for pid in pids.lines() {
        assert!(!processes::exists(pid.parse().unwrap()), "{pid} lives");
    }
    assert_eq!(sandbox.starts("tree").len(), 2);
}

/// "start period": a server that needs 20 s (here 1.5 s) to start is not restarted by its first checks.
#[test]
fn failures_in_the_start_period_do_not_count() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "slow-start", "1500", "http", "@address"]
        health = { http = "http://@address/", interval = "50ms", timeout = "1s", retries = 1, start_period = "15s" }
        "#,
    );
    let daemon = sandbox.start();
    let starting = daemon.wait_status("a", "a first verdict", |now| now.health_detail.is_some());
    assert_eq!((starting.state, starting.health), (State::Starting, Health::Starting));
    let detail = starting.health_detail.unwrap();
    assert!(detail.contains("connection refused"), "{detail}");
    let up = daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
    assert_eq!((up.state, up.generation, up.crash_count), (State::Up, 1, 0));
    assert!(up.uptime_seconds > Some(1.4));
}

/// The design, `start_period`: "the first success ends it".
#[test]
fn the_first_success_ends_the_start_period() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "http", "@address", "--unhealthy-on", "@dir/sick"]
        restart = { delay = "20ms" }
        health = { http = "http://@address/", interval = "30ms", retries = 2, start_period = "1h" }
        start_timeout = "2h"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
    sandbox.touch("sick");
    assert_eq!(daemon.wait_crashes("a", 1)[0].kind, CrashKind::Health);
    sandbox.remove("sick");
}

/// "retries": fewer failures in a row are none.
#[test]
fn failures_that_end_in_time_change_nothing() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "http", "@address", "--unhealthy-on", "@dir/sick"]
        health = { http = "http://@address/", interval = "20ms", retries = 10000 }
        "#,
    );
    let daemon = sandbox.start();
    for _ in 0..3 {
        daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
        sandbox.touch("sick");
        daemon.wait_status("a", "failing", |now| now.health == Health::Failing);
        sandbox.remove("sick");
    }
    let end = daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
    assert_eq!((end.generation, end.crash_count), (1, 0));
}

/// "expected status, JSON pointer equality, body regex; verdicts with cause". Trap 17 of docs/traps.md: a server that
/// refuses is not healthy by that.
#[test]
fn an_answer_is_judged_by_status_json_and_body() {
    // name, how the server answers, what is expected of it, healthy?, what the verdict says
    let table: [(&str, &[&str], &str, bool, &str); 13] = [
        ("any-2xx", &["--status", "204", "--body", ""], "", true, "204"),
        ("absent", &["--status", "404"], "", false, "404"),
        ("refused", &["--status", "401"], "", false, "401"),
        ("redirect", &["--status", "302"], "", false, "302"),
        ("status", &["--status", "404"], "expect_status = [404]", true, "404"),
        ("other-status", &["--status", "201"], "expect_status = [200]", false, "expected 200"),
        ("json", &[], r#"expect_json = { status = "healthy" }"#, true, "200"),
        ("pointer", &["--body", r#"{"a":{"b":[1,2]}}"#], r#"expect_json = { "/a/b/1" = 2 }"#, true, "200"),
        (
            "other-json",
            &["--body", r#"{"status":"sick"}"#],
            r#"expect_json = { status = "healthy" }"#,
            false,
            "sick",
        ),
        ("no-json", &["--body", "<html>"], r#"expect_json = { status = "healthy" }"#, false, "JSON"),
        ("missing", &["--body", "{}"], r#"expect_json = { status = "healthy" }"#, false, "status"),
        ("regex", &["--body", "build 1234 ok"], r#"expect_body = "build \\d+ ok""#, true, "200"),
        ("other-body", &["--body", "down"], r#"expect_body = "build \\d+ ok""#, false, "build"),
    ];
    let sandbox = Sandbox::new("");
    let mut services = String::new();
    for (name, answer, expect, ..) in table {
        let address = sandbox.address();
        let mut words = vec!["@fixture".to_owned(), "http".into(), address.to_string()];
        words.extend(answer.iter().map(|&word| word.to_owned()));
        services += &format!(
            "[service.{name}]\nexec = {}\n[service.{name}.health]\nhttp = \"http://{address}/x\"\n{expect}\n\
             interval = \"50ms\"\nretries = 1\nstart_period = 0\naction = \"report\"\n",
            serde_json::to_string(&words).unwrap()
        );
    }
    sandbox.configure(&services);
    let daemon = sandbox.start();
    for (name, _, _, healthy, says) in table {
        let wanted = if healthy { Health::Healthy } else { Health::Unhealthy };
        // A verdict before the server listened says "connection refused": the next one is the one to look at.
        daemon.wait_status(name, &format!("{wanted:?}, with `{says}`"), |now| {
            now.health == wanted && now.health_detail.as_deref().is_some_and(|detail| detail.contains(says))
        });
    }
}

/// "`tcp`, `exec`"
#[test]
fn tcp_and_exec_probes() {
    let sandbox = at_address(
        r#"
        [service.tcp]
        exec = ["@fixture", "slow-start", "300", "hang-listen", "@address"]
        health = { tcp = "@address", interval = "30ms", action = "report", retries = 1, start_period = 0 }
        [service.exec]
        exec = ["@fixture", "run"]
        health = { exec = ["@fixture", "exists", "@dir/well"], interval = "30ms", action = "report", retries = 1, start_period = 0 }
        [service.hanging]
        exec = ["@fixture", "run"]
        health = { exec = ["@fixture", "tree", "1", "--deaf", "--pid-file", "@dir/probe"], timeout = "150ms", interval = "50ms", action = "report", retries = 1, start_period = 0 }
        "#,
    );
    let daemon = sandbox.start();
    let refused = daemon.wait_status("tcp", "a verdict", |now| now.health_detail.is_some());
    assert!(refused.health_detail.as_deref().unwrap().contains("connection refused"), "{refused:#?}");
    daemon.wait_status("tcp", "healthy", |now| now.health == Health::Healthy);

    let sick = daemon.wait_status("exec", "unhealthy", |now| now.health == Health::Unhealthy);
    let detail = sick.health_detail.unwrap();
    assert!(detail.contains("code 1") || detail.contains("is not there"), "{detail}");
    sandbox.touch("well");
    daemon.wait_status("exec", "healthy", |now| now.health == Health::Healthy);

    // A probe that hangs is a verdict, and its whole tree is gone.
    let hung = daemon.wait_status("hanging", "unhealthy", |now| now.health == Health::Unhealthy);
    assert!(hung.health_detail.as_deref().unwrap().starts_with("timed out after"), "{hung:#?}");
    let pids = std::fs::read_to_string(sandbox.path("probe")).unwrap_or_default();
    wait_for("the probe's processes to be gone", || {
        pids.lines().all(|pid| !processes::exists(pid.parse().unwrap()))
    });
}

/// Trap 7 of docs/traps.md, probes that leak: what a probe's program leaves behind ends with it, in a session of its
/// own and with an environment of its own too, whether it ended by itself or its time was over.
#[cfg(target_os = "linux")]
#[test]
fn a_probe_leaves_nothing_behind() {
    let sandbox = Sandbox::new(
        r#"
        [service.ends]
        exec = ["@fixture", "run"]
        health = { exec = ["/bin/sh", "-c", "echo . >> @dir/ends; setsid sleep 1001 & exit 0"], interval = "20ms" }
        [service.hangs]
        exec = ["@fixture", "run"]
        health = { exec = ["/bin/sh", "-c", "echo . >> @dir/hangs; setsid sleep 1002 & exec sleep 1003"], interval = "20ms", timeout = "100ms", action = "report" }
        "#,
    );
    let left = |what: &str| {
        let sleeps = processes::marked(sandbox.mark()).into_iter().filter(|process| process.name == "sleep");
        let words = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        sleeps.filter(|process| words(process.pid).windows(4).any(|word| word == what.as_bytes())).count()
    };
    let both = [Some(sandbox.start()), None];
    for (round, daemon) in both.into_iter().enumerate() {
        let Some(daemon) = daemon.or_else(|| mcpd_tests::Daemon::without_cgroups(&sandbox)) else { return };
        for name in ["ends", "hangs"] {
            let asked = || std::fs::read_to_string(sandbox.path(name)).unwrap_or_default().lines().count();
            wait_for("twenty probes", || asked() >= 20 * (round + 1));
        }
        // Of the probe that is under way, and of the one before it that is being ended.
        for sleep in ["1001", "1002", "1003"] {
            wait_for("what the last probes left to be gone", || left(sleep) <= 2);
        }
        let _ = daemon.ctl(&["stop", "ends", "hangs"]).expect(0);
        wait_until(patience(), "no probe to be left", || {
            let left = ["1001", "1002", "1003"].map(|sleep| (sleep, left(sleep)));
            if left.iter().all(|(_, count)| *count == 0) { Ok(()) } else { Err((round, left)) }
        });
    }
}

/// Trap 7 of docs/traps.md: a probe ends with the run that it asks about, not when its time is over.
#[test]
fn a_probe_does_not_outlive_its_run() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        health = { exec = ["@fixture", "tree", "1", "--deaf", "--pid-file", "@dir/probe"], interval = "10ms", timeout = "1h" }
        [service.b]
        exec = ["@fixture", "run"]
        ready.exec = ["@fixture", "tree", "1", "--deaf", "--pid-file", "@dir/ready"]
        ready.timeout = "1h"
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    let [probe, ready] = ["probe", "ready"].map(|name| {
        wait_until(patience(), "all three processes of a probe", || {
            let text = std::fs::read_to_string(sandbox.path(name)).unwrap_or_default();
            let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            if pids.len() == 3 { Ok(pids) } else { Err(text) }
        })
    });
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    wait_for("the probe to be gone", || !probe.iter().any(|&pid| processes::lives(pid)));
    processes::signal(daemon.pid_of("b"), Signal::KILL);
    wait_for("the probe to be gone", || !ready.iter().any(|&pid| processes::lives(pid)));
    daemon.wait_state("b", State::Down);
}

/// The design, `action = "report"`: said, not acted upon.
#[test]
fn report_only_reports() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        health = { tcp = "@address", interval = "20ms", retries = 2, action = "report", start_period = 0 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_status("a", "unhealthy", |now| now.health == Health::Unhealthy);
    daemon
        .wait_event("unhealthy", |event| event.event == "unhealthy" && event.service.as_deref() == Some("a"));
    let now = daemon.status("a");
    assert_eq!((now.state, now.generation, now.crash_count), (State::Up, 1, 0));
}

/// "A thousand services whose endpoints hang must not delay the probe of a healthy one." (250 of them here)
#[test]
fn hanging_endpoints_do_not_delay_a_healthy_one() {
    const HANGING: usize = 250;
    let sandbox = Sandbox::new("");
    let (hang, well) = (sandbox.address(), sandbox.address());
    let mut services = format!(
        "[service.hang]\nexec = [\"@fixture\", \"hang-listen\", \"{hang}\"]\n\
         [service.well]\nexec = [\"@fixture\", \"http\", \"{well}\", \"--count-file\", \"@dir/count\"]\n\
         health = {{ http = \"http://{well}/\", interval = \"20ms\", timeout = \"1s\", retries = 1 }}\n"
    );
    for number in 0..HANGING {
        services += &format!(
            "[service.s{number}]\nexec = [\"@fixture\", \"run\"]\nlog = {{ target = \"none\" }}\n\
             health = {{ http = \"http://{hang}/\", interval = \"10ms\", timeout = \"60s\", action = \"report\" }}\n"
        );
    }
    sandbox.configure(&services);
    let daemon = sandbox.start();
    daemon.wait("all up", || {
        let up = daemon.list().services.iter().filter(|service| service.pid.is_some()).count();
        if up == HANGING + 2 { Ok(()) } else { Err(format!("{up}")) }
    });
    daemon.wait_status("well", "healthy", |now| now.health == Health::Healthy);
    let count = || std::fs::metadata(sandbox.path("count")).map_or(0, |metadata| metadata.len());
    let before = count();
    let asked = Instant::now();
    wait_for("50 more probes", || count() >= before + 50);
    // 50 probes at 20 ms take 1 s; a single one held back by a hanging endpoint would take 60 s.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let end = daemon.status("well");
    assert_eq!((end.health, end.generation), (Health::Healthy, 1));
    // A probe in flight is a socket and no thread; whatever the number of services, the daemon has these.
    let threads = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let threads = threads.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim().to_owned();
    assert!(threads.parse::<usize>().unwrap() <= 13, "{threads} threads");
}

/// A probe whose program cannot be started says nothing of the service: with `retries = 1`, a single failure would end
/// it.
#[test]
fn a_probe_whose_program_is_gone_is_no_failure() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        health = { exec = ["@dir/probe", "exists", "@dir/well"], interval = "20ms", retries = 1, start_period = "1ms" }
        [service.clock]
        exec = ["@fixture", "run"]
        health = { exec = ["@fixture", "record", "@dir/clock", "exists", "@dir"], interval = "20ms" }
        "#,
    );
    let gone = || sandbox.remove("probe");
    let there = || symlink(binaries::fixture(), sandbox.path("probe")).unwrap();
    sandbox.touch("well");
    let daemon = sandbox.start();
    let unknown = |now: &ServiceStatus| {
        now.health_detail.as_deref().is_some_and(|detail| detail.starts_with("could not be asked: "))
    };
    daemon.wait_status("a", "unknown from the start", unknown);
    there();
    daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy && !unknown(now));
    gone();
    let blind = daemon.wait_status("a", "unknown again", unknown);
    assert!(blind.health_detail.unwrap().contains("/probe"));
    assert_eq!((blind.health, blind.generation), (Health::Healthy, 1), "what was known of it stays");
    // Several of them in a row: one event when it begins, one when it is over.
    let before = sandbox.starts("clock").len();
    wait_for("the time of ten probes", || sandbox.starts("clock").len() >= before + 10);
    there();
    daemon.wait_status("a", "known again", |now| now.health == Health::Healthy && !unknown(now));
    let told = |name: &str| daemon.events().iter().filter(|event| event.event == name).count();
    assert_eq!((told("probe_unknown"), told("probe_known")), (2, 2));
    assert_eq!((daemon.status("a").generation, daemon.status("a").crash_count), (1, 0));
    // What does fail still counts.
    sandbox.remove("well");
    let report = daemon.wait_crashes("a", 1).remove(0);
    assert_eq!(report.kind, CrashKind::Health);
}

/// A daemon without a free descriptor cannot ask anybody.
#[test]
fn a_daemon_out_of_descriptors_blames_no_service() {
    let sandbox = at_address(
        r#"
        [service.http]
        exec = ["@fixture", "http", "@address"]
        health = { http = "http://@address/", interval = "20ms", retries = 1 }
        [service.tcp]
        exec = ["@fixture", "run"]
        health = { tcp = "@address", interval = "20ms", retries = 1 }
        "#,
    );
    let daemon = sandbox.start();
    let both = ["http", "tcp"];
    for name in both {
        daemon.wait_status(name, "healthy", |now| now.health == Health::Healthy);
    }
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    // Its hard limit is the one that it got from here.
    let none = Rlimit { current: Some(1), maximum: getrlimit(Resource::Nofile).maximum };
    let usual = prlimit(pid, Resource::Nofile, none).unwrap();
    let event = |name: &str, service: &str| {
        daemon.wait_event(name, |event| event.event == name && event.service.as_deref() == Some(service))
    };
    for name in both {
        assert!(event("probe_unknown", name).message.contains("could not be asked: Too many open files"));
    }
    prlimit(pid, Resource::Nofile, usual).unwrap();
    for name in both {
        event("probe_known", name);
        let now = daemon.wait_status(name, "healthy", |now| now.health == Health::Healthy);
        assert_eq!((now.generation, now.crash_count), (1, 0), "{name}");
    }
}

/// "`start_timeout`": who is not up in time is a failure of that kind, though its start period goes on.
#[test]
fn a_start_that_takes_too_long_is_a_failure() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "tree", "1", "--pid-file", "@dir/pids"]
        start_timeout = "300ms"
        restart = { when = "on-abnormal", delay = "1ms", max_restarts = 1 }
        health = { tcp = "@address", interval = "50ms", start_period = "1h" }
        "#,
    );
    let daemon = sandbox.start();
    let parked = daemon.wait_state("a", State::Parked);
    assert_eq!(parked.generation, 2);
    for report in daemon.reports("a") {
        assert_eq!(report.kind, CrashKind::StartTimeout);
        assert!((0.29..10.0).contains(&report.uptime_seconds), "{report:#?}");
        assert!(report.health.iter().all(|verdict| !verdict.ok) && !report.health.is_empty(), "{report:#?}");
    }
    let pids = std::fs::read_to_string(sandbox.path("pids")).unwrap();
    assert!(pids.lines().all(|pid| !processes::exists(pid.parse().unwrap())), "{pids}");
}
