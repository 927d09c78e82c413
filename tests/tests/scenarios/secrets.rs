//! Secrets: nothing that mcpd says itself holds one.

use mcpd_tests::Sandbox;

/// The design: "Secrets are redacted by key name and by known value", wherever the service had them from.
#[test]
fn secrets_of_the_environment_stay_out_of_reports() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["sh", "-c", "echo using $OWN_TOKEN; echo login with $FILE_PASSWORD failed, $INHERITED_API_KEY too >&2; exit 1"]
        environment = { OWN_TOKEN = "own-0123456789" }
        environment_files = ["secrets.env"]
        restart = { when = "never" }
        "#,
    );
    sandbox.write("secrets.env", "FILE_PASSWORD=file-0123456789\n");
    let daemon = sandbox.start_with(|command| {
        command.env("INHERITED_API_KEY", "inherited-0123456789");
    });
    let report = daemon.wait_crashes("a", 1).remove(0);
    let id = report.id.clone();
    let file = sandbox.state_dir().join("crashes/a").join(format!("{id}.json"));
    let on_disk = std::fs::read_to_string(file).unwrap();
    let shown = daemon.ctl(&["crashes", "show", &id]).expect(0).all() + &daemon.ctl(&["status", "a"]).stdout;
    let failed = daemon.ctl(&["restart", "a"]).expect(1).all();
    assert!(report.reason.contains("login with [redacted] failed, [redacted] too"), "{}", report.reason);
    for secret in ["own-0123456789", "file-0123456789", "inherited-0123456789"] {
        assert!(!on_disk.contains(secret), "{on_disk}");
        assert!(!failed.contains(secret), "{failed}");
        assert!(!shown.contains(secret), "{shown}");
        assert!(!daemon.stderr().contains(secret));
    }
}

/// Wherever mcpd says something itself: reports, status, events, plans, `config show`, its own log.
#[test]
fn no_secret_is_told_to_anybody() {
    const SECRETS: [&str; 5] =
        ["marked-0123456789", "header-0123456789", "option-0123456789", "url-0123456789", "own-0123456789"];
    let text = |delay: &str| {
        format!(
            r#"
        [service.a]
        exec = ["sh", "-c", "echo plain is $PLAIN >&2; sleep 0.2; echo plain was $PLAIN; exit 1", "x", "--token", "option-0123456789"]
        environment = {{ OWN_TOKEN = "own-0123456789", DB = "postgres://me:url-0123456789@db/x" }}
        secret_environment_files = ["secrets.env"]
        restart = {{ delay = "{delay}" }}
        exec_stop_post = [["sh", "-c", "echo $PLAIN; exit 3"]]

        [service.a.health]
        exec = ["sh", "-c", "echo not well: $PLAIN; exit 1"]
        interval = "50ms"
        "#
        )
    };
    let more = "[service.b]\nexec = ['sleep', '1000']\n\
        health = { http = 'http://127.0.0.1:9/', headers = { X-Api-Key = 'header-0123456789' } }\n";
    let sandbox = Sandbox::new(&(text("1h") + more));
    sandbox.write("secrets.env", "PLAIN=marked-0123456789\n");
    let daemon = sandbox.start();
    let id = daemon.wait_crashes("a", 1).remove(0).id;
    let file = sandbox.state_dir().join("crashes/a").join(format!("{id}.json"));
    sandbox.configure(&(text("2h") + more).replace("-0123456789\"", "-0123456789-new\""));
    let said = [
        std::fs::read_to_string(file).unwrap(),
        daemon.ctl(&["crashes", "show", &id]).all(),
        daemon.ctl(&["crashes", "--json"]).all(),
        daemon.ctl(&["status", "--json"]).all(),
        daemon.ctl(&["status", "a", "--json"]).all(),
        daemon.ctl(&["config", "plan", "--json"]).all(),
        daemon.ctl(&["config", "plan"]).all(),
        daemon.ctl(&["config", "show", sandbox.config().to_str().unwrap()]).all(),
        daemon.ctl(&["config", "show", sandbox.config().to_str().unwrap(), "--json"]).all(),
        daemon.ctl(&["start", "a", "--timeout", "20s"]).all(),
        daemon.ctl(&["events", "--json"]).all(),
        daemon.ctl(&["logs", "a"]).all(),
        daemon.ctl(&["logs", "a", "--json"]).all(),
        daemon.stderr(),
    ];
    let logs = &said[said.len() - 3];
    assert!(logs.contains("plain was [redacted]"), "{logs}");
    assert!(said[0].contains("plain is [redacted]"), "{}", said[0]);
    for text in &said {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let whole = daemon.ctl(&["config", "show", sandbox.config().to_str().unwrap(), "--secrets"]).expect(0);
    assert!(whole.stdout.contains("own-0123456789"), "{whole:?}");
}

/// Nobody's secret is shown because its definition changed after somebody had looked.
#[test]
fn a_command_that_changes_is_looked_through_again() {
    let sandbox = Sandbox::new("[service.a]\nexec = ['sleep', '1000']\nenabled = false\n");
    let daemon = sandbox.start();
    assert_eq!(daemon.status("a").command.len(), 2);
    sandbox.configure("[service.a]\nexec = ['srv', '--token', 'hunter2hunter2']\nenabled = false\n");
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    assert_eq!(daemon.status("a").command[1..], ["--token", "[redacted]"]);
}
