//! `status` and `crashes`: documents as they came, or written for people.

use mcpd_proto::error::Kind;
use serde_json::{Value, json};

use crate::fake::{Asked, Fake, Then, daemon, service};
use crate::run::mcpctl;

fn script(asked: &mut Asked<'_>) -> Then {
    let name = asked.params.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    match (asked.method.as_str(), name.as_str()) {
        ("service.list", _) => {
            let services = [service("web", "up"), service("db", "parked")];
            asked.answer(json!({"schema": 1, "daemon": daemon(), "services": services}))
        }
        ("daemon.status", _) => asked.answer(daemon()),
        ("service.status", "web") => asked.answer(service("web", "up")),
        ("service.status", "slow") => asked.answer(service("slow", "starting")),
        ("service.status", "db") => asked.answer(service("db", "parked")),
        ("service.status", name) => {
            let message = format!("there is no service \"{name}\"");
            asked.refuse(Kind::NoSuchService, &message, json!({"name": name, "nearest": "web"}))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn json_is_the_daemons_own_document() {
    let fake = Fake::start(script);
    let ended = mcpctl(&fake.socket, "status --json --color always");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        ended.json(),
        json!({"schema": 1, "daemon": daemon(), "services": [service("web", "up"), service("db", "parked")]})
    );
    let ended = mcpctl(&fake.socket, "status web --json");
    assert_eq!((ended.code, ended.json()), (0, service("web", "up")));
    let ended = mcpctl(&fake.socket, "status web db wbe --json");
    assert_eq!(
        (ended.code, ended.json()),
        (
            4,
            json!({
                "schema": 1, "daemon": daemon(),
                "services": [service("web", "up"), service("db", "parked")],
                "missing": ["wbe"],
            })
        )
    );
    let ended = mcpctl(&fake.socket, "status wbe --json");
    assert_eq!((ended.code, &ended.json()["error"]["data"]["kind"]), (4, &json!("no_such_service")));
}

#[test]
fn exit_codes_are_lsb() {
    let fake = Fake::start(script);
    for (names, code) in
        [("web", 0), ("slow", 0), ("web slow", 0), ("db", 3), ("web db", 3), ("wbe", 4), ("db wbe", 4)]
    {
        assert_eq!(mcpctl(&fake.socket, &format!("status {names}")).code, code, "{names}");
    }
    let ended = mcpctl(&fake.socket, "status wbe");
    assert_eq!(ended.stderr, "mcpctl: there is no service \"wbe\". Did you mean \"web\"?\n");
}

#[test]
fn piped_tables_are_plain_and_sorted() {
    let fake = Fake::start(script);
    let text = mcpctl(&fake.socket, "status").text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NAME  STATE"), "{text}");
    assert!(lines[1].starts_with("db    parked") && lines[2].starts_with("web   up"), "{text}");
    assert!(text.contains("\n2 services: 1 up, 1 parked (db)\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    assert!(mcpctl(&fake.socket, "status --color always").text().contains('\x1b'));
}

#[test]
fn crashes_are_listed_and_shown() {
    let crash = |id: usize| {
        json!({
            "id": format!("c{id}"), "service": "web", "time": "2026-11-22T11:30:00Z", "kind": "exit", "exit_code": 1,
            "signal": null, "reason": "exited with code 1", "pid": 7, "uptime_seconds": 0.5, "new_field": 1,
        })
    };
    let fake = Fake::start(move |asked| {
        let last = asked.params["last"].as_u64().map_or(50, |last| usize::try_from(last).unwrap());
        asked.answer(json!({"schema": 1, "crashes": (0..last.min(50)).map(crash).collect::<Vec<_>>()}))
    });
    let ended = mcpctl(&fake.socket, "crashes");
    assert_eq!(ended.text().lines().count(), 22, "{ended:?}");
    assert!(ended.text().ends_with("There are more: mcpctl crashes --last 100\n"), "{ended:?}");
    assert_eq!(fake.asked(), ("crash.list".into(), json!({"name": null, "last": 21})));

    let ended = mcpctl(&fake.socket, "crashes web --last 3");
    assert_eq!(ended.text().lines().count(), 4, "{ended:?}");
    assert_eq!(fake.asked().1, json!({"name": "web", "last": 3}));

    let ended = mcpctl(&fake.socket, "crashes --json");
    assert_eq!(ended.json()["crashes"].as_array().map(Vec::len), Some(50));
    assert_eq!(fake.asked().1, json!({"name": null, "last": null}));

    mcpctl(&fake.socket, "crashes --name show --json");
    assert_eq!(fake.asked().1["name"], "show");

    mcpctl(&fake.socket, "crashes show c7 --json");
    assert_eq!(fake.asked(), ("crash.get".into(), json!({"id": "c7"})));
}
