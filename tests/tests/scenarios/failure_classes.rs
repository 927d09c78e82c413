//! Which failures are tried again, and which would only fail again.

use std::net::TcpListener;

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Sandbox, binaries};
use serde_json::json;

/// "port already in use (named with the process that holds it)"
#[test]
fn a_port_that_somebody_else_holds_is_named_with_its_holder() {
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    sandbox.configure(&format!(
        "[service.a]\nexec = [\"@fixture\", \"http\", \"{address}\"]\nrestart.delay = \"10ms\"\n\
         health = {{ tcp = \"{address}\", start_period = \"30s\", action = \"report\" }}\n\
         [service.stubborn]\nexec = [\"@fixture\", \"http\", \"{address}\"]\n\
         restart = {{ delay = \"10ms\", max_delay = \"10ms\", max_restarts = 1, on_limit = \"retry\" }}\n"
    ));
    let holder = TcpListener::bind(address).unwrap();
    let daemon = sandbox.start();
    let parked = daemon.wait_state("a", State::Parked);
    assert_eq!((parked.generation, parked.restarts, parked.crash_count), (1, 0, 1), "{parked:#?}");
    let held = format!("port {} is held by ", address.port());
    let by = format!("(pid {})", std::process::id());
    let reason = parked.reason.unwrap();
    assert!(reason.starts_with(&held) && reason.contains(&by) && reason.contains("mended"), "{reason}");
    let report = daemon.reports("a").pop().unwrap();
    assert_eq!((report.kind, report.restart.decision.as_str()), (CrashKind::Exit, "park"));
    assert!(report.reason.contains(&held) && report.reason.contains(&by), "{}", report.reason);
    assert!(report.restart.why.starts_with("parked: "), "{:#?}", report.restart);
    // The person who asks learns the same.
    let said = daemon.ctl(&["start", "a"]).expect(1);
    assert!(said.stderr.contains(&held) && said.stderr.contains(&by), "{said:?}");
    // Who wants to go on for ever does so.
    daemon.wait_crashes("stubborn", 3);

    daemon.call("service.stop", json!({ "names": ["stubborn"] }));
    drop(holder);
    daemon.call("daemon.reload", json!({}));
    daemon.wait_state("a", State::Up);
}

/// A child of the service itself that still listens is ended before the next start: nothing is lacking.
#[test]
fn a_port_that_the_service_itself_still_holds_is_tried_again() {
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    let fixture = binaries::fixture();
    let fixture = fixture.display();
    // The first run leaves a server behind and says that the port is taken; the second finds it free.
    let script = format!(
        "if [ ! -e @dir/ran ]; then touch @dir/ran; {fixture} http {address} --port-file @dir/port & \
         while [ ! -e @dir/port ]; do sleep 0.01; done; \
         echo 'bind {address}: address already in use' >&2; exit 1; fi; exec {fixture} http {address}"
    );
    // What is left does not care for this signal: it still listens when the output is examined.
    sandbox.configure(&format!(
        "[service.a]\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\nrestart.delay = \"10ms\"\n\
         stop_signal = \"SIGUSR1\"\nstop_timeout = \"500ms\"\n\
         health = {{ tcp = \"{address}\", start_period = \"30s\" }}\n"
    ));
    let daemon = sandbox.start();
    // The server that is left behind may answer the first check before the first run is over.
    let up = daemon.wait_status("a", "up again", |a| a.state == State::Up && a.generation > 1);
    assert_eq!((up.generation, up.restarts_total), (2, 1), "{up:#?}");
    let report = daemon.reports("a").pop().unwrap();
    assert_eq!(report.restart.decision, "restart");
    assert!(
        report.reason.contains("address already in use") && !report.reason.contains("held by"),
        "{report:#?}"
    );
}

/// "missing interpreter or module"
#[test]
fn a_missing_module_or_interpreter_parks_at_once() {
    let sandbox = Sandbox::new(
        r#"
        [service.module]
        exec = ["/bin/sh", "-c", "echo \"ModuleNotFoundError: No module named 'x'\" >&2; exit 1"]
        restart.delay = "10ms"
        [service.interpreter]
        exec = ["@dir/script"]
        restart.delay = "10ms"
        [service.other]
        exec = ["@fixture", "exit", "1", "--stderr", "ModuleNotFoundError, it says, is not the matter"]
        restart = { delay = "10ms", max_restarts = 2 }
        "#,
    );
    let script = sandbox.write("script", "#!/usr/bin/env no-such-interpreter\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = sandbox.start();
    for (name, wanted) in
        [("module", "ModuleNotFoundError: No module named 'x'"), ("interpreter", "no-such-interpreter")]
    {
        let parked = daemon.wait_state(name, State::Parked);
        assert_eq!((parked.generation, parked.crash_count), (1, 1), "{parked:#?}");
        let reason = parked.reason.unwrap();
        assert!(reason.contains(wanted) && reason.contains("once that is mended"), "{reason}");
    }
    daemon.wait_state("other", State::Parked);
    assert_eq!(daemon.crashes("other").len(), 3, "an end like any other");

    // What was missing is there: any reload tries again.
    sandbox.write("script", "#!/bin/sh\nexec sleep 1000\n");
    daemon.call("daemon.reload", json!({}));
    daemon.wait_state("interpreter", State::Up);
    wait_for("the module is missing still", || daemon.crashes("module").len() == 2);
    daemon.wait_state("module", State::Parked);
}
