//! No secret reaches a report, wherever in it the secret would have stood and however it was known.

#![allow(clippy::unwrap_used)] // helpers of tests are no tests to clippy

use std::path::Path;

use mcpd::crash::redact::{self, Redactor};
use mcpd_config::Environment;
use mcpd_proto::crash::{Ancestor, CrashKind, CrashReport, HealthVerdict, Host, Resources, RestartDecision};
use mcpd_proto::log::LogLine;
use proptest::prelude::*;

/// With `text` wherever somebody else than mcpd has a say.
fn report(text: &str) -> CrashReport {
    let some = || text.to_owned();
    let line = || LogLine {
        time: None,
        stream: None,
        text: some(),
        base64: Some("AAAA".to_owned()),
        continues: false,
    };
    let verdict = || HealthVerdict { time: String::new(), ok: false, unknown: false, detail: some() };
    let ancestor = Ancestor { id: String::new(), time: String::new(), kind: CrashKind::Exit, reason: some() };
    CrashReport {
        schema: 1,
        id: String::new(),
        service: "web".to_owned(),
        generation: 1,
        time: String::new(),
        kind: CrashKind::Exit,
        exit_code: Some(1),
        signal: None,
        core_dumped: false,
        core: None,
        reason: some(),
        cause: Some(some()),
        pid: None,
        started_at: None,
        uptime_seconds: 0.0,
        command: vec!["srv".to_owned(), some(), format!("--key={text}")],
        working_directory: Some(some()),
        restart: RestartDecision { why: some(), ..RestartDecision::default() },
        stderr_tail: vec![line()],
        stdout_tail: vec![line()],
        health: vec![verdict()],
        ready: vec![verdict()],
        status_text: Some(some()),
        phase: None,
        resources: Resources::default(),
        left_behind: Vec::new(),
        killed: Vec::new(),
        changed: vec![some()],
        previous: None,
        lineage: vec![ancestor],
        fingerprint: None,
        coalesced: 0,
        host: Host::default(),
    }
}

proptest! {
    #[test]
    fn no_secret_reaches_a_report(
        secret in "[A-Za-z0-9]{8,32}",
        before in "[ -~]{0,24}",
        after in "[ -~]{0,24}",
        name in "[A-Z]{1,8}_(TOKEN|PASSWORD|SECRET|API_KEY)",
    ) {
        let header = format!("[service.a]\nexec = 'a'\nhealth = {{ http = 'http://h/', headers = {{ Authorization = 'Bearer {secret}' }} }}\n");
        let loaded = mcpd_config::load_text(Path::new("/m.toml"), &format!("[daemon]\nstate_dir = '/s'\n{header}"), &Environment::default());
        let spec = &loaded.unwrap().config.services["a"];
        for redactor in [
            Redactor::new([(name.as_str(), secret.as_str())]),
            Redactor::default().hide([&secret]),
            Redactor::of(spec),
        ] {
            let mut report = report(&format!("{before}{secret}{after}"));
            redact::report(&redactor, &mut report);
            let text = serde_json::to_string(&report).unwrap();
            prop_assert!(!text.contains(&secret), "{}", text);
            prop_assert!(!text.contains("AAAA"), "its bytes are left: {}", text);
        }
    }

    #[test]
    fn secrets_in_urls_and_options_are_known_by_their_place(secret in "[A-Za-z0-9]{8,32}", user in "[a-z]{1,8}") {
        for text in [
            format!("cannot connect to postgres://{user}:{secret}@db:5432/x"),
            format!("GET https://api/x?access_token={secret}&n=1: 401"),
            format!("Authorization: Bearer {secret}"),
            format!("{{\"api_key\": \"{secret}\"}}"),
            format!("CLIENT_SECRET={secret} ./run"),
        ] {
            let mut report = report(&text);
            redact::report(&Redactor::default(), &mut report);
            let text = serde_json::to_string(&report).unwrap();
            prop_assert!(!text.contains(&secret), "{}", text);
        }
        let command = Redactor::default().command(&["srv".into(), "--token".into(), secret.clone()]);
        prop_assert!(!command.contains(&secret));
    }
}
