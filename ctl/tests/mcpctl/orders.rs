//! `start`, `stop`, `restart`, `reset`, `signal`, `daemon`: what is asked, and what people read about the outcome.

use mcpd_proto::error::Kind;
use serde_json::{Value, json};

use crate::fake::{Asked, Fake, Then, daemon, service};
use crate::run::mcpctl;

fn outcomes(outcomes: Value) -> Value {
    json!({"schema": 1, "outcomes": outcomes})
}

#[test]
fn an_order_that_went_well_says_so() {
    let fake = Fake::start(|asked| {
        asked.answer(outcomes(json!([{"name": "web", "ok": true, "message": "running, pid 4711"}])))
    });
    let ended = mcpctl(&fake.socket, "restart web");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(ended.text().starts_with("web: running, pid 4711"), "{ended:?}");
    assert_eq!(fake.asked(), ("service.restart".into(), json!({"names": ["web"], "wait": true})));
    mcpctl(&fake.socket, "start web --no-wait");
    assert_eq!(fake.asked(), ("service.start".into(), json!({"names": ["web"], "wait": false})));
}

#[test]
fn a_start_that_failed_shows_the_reason_the_tail_and_where_to_look() {
    let failed = outcomes(json!([{
        "name": "web", "ok": false, "message": "failed", "error": {
            "code": -32000, "message": "exited with code 1 after 0.3 s", "data": {
                "kind": "start_failed", "service": "web", "crash_id": "c1",
                "stderr_tail": [{"time": null, "stream": "err", "text": "ModuleNotFoundError: mcp"}],
            },
        },
    }]));
    let document = failed.clone();
    let fake = Fake::start(move |asked| asked.answer(failed.clone()));
    let ended = mcpctl(&fake.socket, "start web");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(
        ended.stderr,
        "web: exited with code 1 after 0.3 s\n    ModuleNotFoundError: mcp\n  see: mcpctl logs web -n 50\n       \
         mcpctl crashes show c1\n"
    );
    let ended = mcpctl(&fake.socket, "start web --json");
    assert_eq!((ended.code, ended.json(), ended.stderr.as_str()), (1, document, ""));
}

#[test]
fn a_start_refused_as_a_whole_reads_the_same() {
    let fake = Fake::start(|asked| {
        asked.refuse(Kind::StartFailed, "did not come up", json!({"service": "web", "stderr_tail": ["boom"]}))
    });
    let ended = mcpctl(&fake.socket, "start web");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (1, "web: did not come up\n    boom\n  see: mcpctl logs web -n 50\n")
    );
}

#[test]
fn an_unknown_service_is_5_with_a_suggestion() {
    let fake = Fake::start(|asked| {
        asked.refuse(Kind::NoSuchService, "there is no service \"wbe\"", json!({"nearest": "web"}))
    });
    for verb in ["start wbe", "stop wbe", "restart wbe", "reset wbe", "signal wbe HUP", "logs wbe"] {
        let ended = mcpctl(&fake.socket, verb);
        assert_eq!(ended.code, 5, "{verb}: {ended:?}");
        assert!(ended.stderr.contains("Did you mean \"web\"?"), "{verb}: {ended:?}");
    }
}

/// Tells of `of` services, of which every `bad`th fails, and counts.
fn tell(asked: &mut Asked<'_>, of: usize, bad: usize) -> Then {
    for done in 1..=of {
        let ok = done % bad != 0;
        let error = json!({
            "code": -32000, "message": "did not come up: exited with code 3",
            "data": {"kind": "start_failed", "stderr_tail": ["boom"]},
        });
        let mut outcome = json!({"name": format!("w@{done}"), "ok": ok, "message": "running, pid 7"});
        if !ok {
            outcome["error"] = error;
        }
        asked.notify("service.outcome", json!({"schema": 1, "done": done, "of": of, "outcome": outcome}));
    }
    asked.answer(json!({"schema": 1, "outcomes": [], "succeeded": of - of / bad, "failed": of / bad}))
}

/// "answered as each finishes, ... a plain line per failure, `--json` streams lines; exit code is the worst"
#[test]
fn many_are_told_one_by_one() {
    let fake = Fake::start(|asked| tell(asked, 30, 10));
    let ended = mcpctl(&fake.socket, "restart w@*");
    let params = json!({"names": ["w@*"], "wait": true, "each": true});
    assert_eq!(fake.asked(), ("service.restart".into(), params));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.text().starts_with("27 of 30 services restarted"), "{ended:?}");
    let line = |n: u32| format!("w@{n}: did not come up: exited with code 3\n");
    assert_eq!(ended.stderr, [line(10), line(20), line(30)].concat());

    let ended = mcpctl(&fake.socket, "restart w@* --json");
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
    let lines: Vec<Value> = ended.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 31);
    assert_eq!((&lines[9]["outcome"]["name"], &lines[9]["done"]), (&json!("w@10"), &json!(10)));
    assert!(lines[9].get("request").is_none(), "{}", lines[9]);
    assert_eq!((&lines[30]["succeeded"], &lines[30]["failed"]), (&json!(27), &json!(3)));
}

#[test]
fn a_few_get_a_line_each_and_failures_their_explanation() {
    let fake = Fake::start(|asked| tell(asked, 3, 3));
    let ended = mcpctl(&fake.socket, "start a b c");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.text().starts_with("w@1: running, pid 7\nw@2: running, pid 7\n2 of 3 services started"),
        "{ended:?}"
    );
    assert_eq!(
        ended.stderr,
        "w@3: did not come up: exited with code 3\n    boom\n  see: mcpctl logs w@3 -n 50\n"
    );
    let ended = mcpctl(&fake.socket, "start a b --no-wait");
    assert!(ended.text().ends_with("starting 3 services\n"), "{ended:?}");
}

#[test]
fn a_time_limit_in_the_middle_of_many_says_that_it_goes_on() {
    let fake = Fake::start(|asked| {
        if asked.method == "service.list" {
            let services: Vec<Value> = (1..=5).map(|n| service(&format!("w@{n}"), "stopping")).collect();
            return asked.answer(json!({"schema": 1, "daemon": daemon(), "services": services}));
        }
        let outcome = json!({"name": "w@1", "ok": true, "message": "stopped"});
        asked.notify("service.outcome", json!({"schema": 1, "done": 1, "of": 5, "outcome": outcome}))
    });
    let ended = mcpctl(&fake.socket, "stop w@* --timeout 300ms");
    assert_eq!(ended.code, 11, "{ended:?}");
    assert!(ended.stderr.contains("stopping w@* was not done for all of 5 within 300 ms"), "{ended:?}");
    assert!(ended.stderr.contains("w@2 (stopping), w@3 (stopping), w@4 (stopping) and 1 more"), "{ended:?}");
    assert!(ended.stderr.contains("mcpctl status 'w@*'"), "{ended:?}");
}

#[test]
fn signals_go_out_by_their_full_name() {
    let fake = Fake::start(|asked| asked.answer(outcomes(json!([]))));
    for (line, names, signal, all) in [
        ("signal web SIGHUP", json!(["web"]), "SIGHUP", false),
        ("signal -s usr1 web db", json!(["web", "db"]), "SIGUSR1", false),
        ("signal web 15 --all", json!(["web"]), "SIGTERM", true),
    ] {
        assert_eq!(mcpctl(&fake.socket, line).code, 0, "{line}");
        let params = json!({"names": names, "signal": signal, "all": all});
        assert_eq!(fake.asked(), ("service.signal".into(), params), "{line}");
    }
}

#[test]
fn a_reload_tells_what_it_touched_or_what_is_wrong() {
    let fake = Fake::start(|asked| {
        asked.answer(json!({
            "schema": 1, "added": ["a"], "removed": [], "restarted": ["b"], "updated": [], "unchanged": 3,
            "needs_daemon_restart": ["daemon.state_dir"],
        }))
    });
    let ended = mcpctl(&fake.socket, "daemon reload");
    assert_eq!(ended.text(), "configuration reloaded: 1 added (a), 1 restarted (b), 3 unchanged\n");
    assert!(ended.stderr.contains("daemon.state_dir"), "{ended:?}");

    let fake = Fake::start(|asked| {
        let data = json!({"diagnostics": "error: no such key\n --> mcpd.toml:3:1\n"});
        asked.refuse(Kind::ConfigInvalid, "the configuration has errors; nothing was changed", data)
    });
    let ended = mcpctl(&fake.socket, "daemon reload");
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.stderr.ends_with("\n\nerror: no such key\n --> mcpd.toml:3:1\n"), "{ended:?}");
}

#[test]
fn a_daemon_that_is_gone_before_it_answers_has_shut_down() {
    let fake = Fake::start(|_| Then::Close);
    let ended = mcpctl(&fake.socket, "daemon shutdown");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert_eq!(ended.text(), "mcpd and all its services are down\n");
}
