//! Configuration: what is wrong with a file is said in one go, what is right is shown with where it comes from.

use std::process::Command;

use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{CtlOutput, Sandbox, binaries};
use serde_json::Value;

/// Lines 1 to 4 are `[daemon]`'s.
const BAD: &str = r#"[service.web]
exec = ["/bin/true"]
restrat = { delay = "1s" }
stop_timeout = "ten"
environment = { A = 1 }

[service.web.restart]
max_restarts = -1
when = "on-failur"

[service."a b"]
exec = []

[service.later]
exec = ["/bin/true"]
sandbox = { private_tmp = true }
"#;

fn mcpd(sandbox: &Sandbox, args: &[&str]) -> CtlOutput {
    let mut command = sandbox.command(&binaries::mcpd());
    command.args(args);
    CtlOutput::of(command)
}

fn mcpctl(sandbox: &Sandbox, args: &[&str]) -> CtlOutput {
    let mut command = sandbox.command(&binaries::mcpctl());
    command.args(args);
    CtlOutput::of(command)
}

/// "All errors of a file at once, with file, line, column, a caret under the spot, and "did you mean"."
#[test]
fn all_errors_are_told_at_once() {
    let sandbox = Sandbox::new(BAD);
    let config = sandbox.config();
    let config = config.to_str().unwrap();
    let check = mcpd(&sandbox, &["--config", config, "--check"]);
    let start = mcpd(&sandbox, &["--config", config]);
    let ctl = mcpctl(&sandbox, &["config", "check", config]).expect(6);
    for said in [&check, &start] {
        assert!(said.code > 0, "{said:?}");
    }
    for said in [check.all(), start.all(), ctl.all()] {
        for (line, word) in [
            (7, "restrat"),
            (8, "ten"),
            (9, "environment"),
            (12, "max_restarts"),
            (13, "on-failur"),
            (15, "a b"),
            (16, "exec"),
            (20, "sandbox"),
        ] {
            assert!(said.contains(&format!("mcpd.toml:{line}:")), "line {line}, {word}:\n{said}");
            assert!(said.contains(word), "{word}:\n{said}");
        }
        assert!(said.contains('^'), "a mark under the spot:\n{said}");
        // The nearest known key and value, of which the file has neither.
        assert!(
            said.contains("`restart`") || said.contains("\"restart\"") || said.contains("restart?"),
            "{said}"
        );
        assert!(said.contains("on-failure"), "{said}");
        // "Keys that are designed and not built are rejected as not yet supported, never ignored."
        assert!(said.contains("not supported yet") || said.contains("not yet supported"), "{said}");
    }
    assert!(!sandbox.state_dir().exists(), "nothing was begun");
}

/// "`mcpd --check`": a good file is good, and starts nothing.
#[test]
fn a_good_file_is_good() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"record\", \"@dir/starts\", \"run\"]\n");
    let config = sandbox.config();
    let said = mcpd(&sandbox, &["--config", config.to_str().unwrap(), "--check"]).expect(0);
    assert!(!said.all().to_lowercase().contains("error"), "{said:?}");
    let _ = mcpctl(&sandbox, &["config", "check", config.to_str().unwrap()]).expect(0);
    assert!(sandbox.starts("starts").is_empty() && !sandbox.socket().exists());
}

/// A health check's program that is not there is named, but it may come: the service runs.
#[test]
fn a_missing_health_program_is_a_warning() {
    let sandbox = Sandbox::new(
        "[service.a]\nexec = [\"@fixture\", \"run\"]\nhealth = { exec = [\"no-such-probe\", \"x\"] }\n",
    );
    let config = sandbox.config();
    let config = config.to_str().unwrap();
    let said = mcpd(&sandbox, &["--config", config, "--check"]).expect(0);
    let sentence = "service \"a\": its health check cannot be carried out: ";
    assert!(said.stderr.contains(sentence) && said.stderr.contains("no-such-probe"), "{said:?}");
    let said = mcpctl(&sandbox, &["config", "check", config]).expect(0);
    assert!(said.all().contains("service.a.health.exec") && said.all().contains("no-such-probe"), "{said:?}");
    let daemon = sandbox.start();
    daemon.wait_event("the warning", |event| {
        event.event == "config_warning" && event.message.contains(sentence)
    });
    daemon.wait_state("a", State::Starting);
}

/// A command beside `exec` that is not there is named before it is needed; one whose failure is ignored is not.
#[test]
fn missing_programs_of_other_commands_are_warnings() {
    let sandbox = Sandbox::new(
        "[service.a]\nexec = [\"@fixture\", \"run\"]\nexec_stop = [[\"@dir/gone\"]]\n\
         exec_stop_post = [[\"-@dir/ignored\"]]\n\
         [service.b]\nexec = [\"@fixture\", \"run\"]\nworking_directory = \"@dir/file\"\n",
    );
    sandbox.write("file", "");
    let config = sandbox.config();
    let config = config.to_str().unwrap();
    let said = mcpd(&sandbox, &["--config", config, "--check"]).expect(0);
    let sentence = "service \"a\": exec_stop cannot be run as things are: the program ";
    assert!(said.stderr.contains(sentence) && said.stderr.contains("gone does not exist"), "{said:?}");
    assert!(said.stderr.contains("file is not a directory") && !said.stderr.contains("ignored"), "{said:?}");
    let said = mcpctl(&sandbox, &["config", "check", config]).expect(0);
    assert!(said.all().contains("service.a.exec_stop: ") && !said.all().contains("ignored"), "{said:?}");
}

/// What a command of `exec_start_pre` makes need not be there before.
#[test]
fn a_program_may_be_made_by_the_command_before_it() {
    let sandbox = Sandbox::new(
        "[service.a]\nexec_start_pre = [[\"/bin/ln\", \"-s\", \"/bin/sleep\", \"@dir/made\"]]\n\
         exec = [\"@dir/made\", \"1000\"]\n",
    );
    let config = sandbox.config();
    let said = mcpd(&sandbox, &["--config", config.to_str().unwrap(), "--check"]).expect(0);
    assert!(said.stderr.contains("exec cannot be run before exec_start_pre has been: "), "{said:?}");
    let daemon = sandbox.start();
    let up = daemon.wait_state("a", State::Up);
    assert_eq!((up.generation, up.crash_count), (2, 0), "{up:#?}");
}

/// A file that is not there, is a directory, or is no TOML.
#[test]
fn unreadable_files_are_named() {
    let sandbox = Sandbox::new("");
    let broken = sandbox.write("broken.toml", "[service.a\nexec = [");
    let absent = sandbox.path("absent.toml");
    for path in [&broken, &absent, &sandbox.dir().to_path_buf()] {
        let path = path.to_str().unwrap();
        let said = mcpd(&sandbox, &["--config", path]);
        assert!(said.code > 0 && said.stderr.contains(path), "{said:?}");
        let said = mcpctl(&sandbox, &["config", "check", path]).expect(6);
        assert!(said.all().contains(path), "{said:?}");
    }
    assert!(mcpd(&sandbox, &["--config", broken.to_str().unwrap()]).stderr.contains("broken.toml:1"));
}

/// "An `exec` that cannot be found or executed is named at load with the PATH that was searched: that service is parked
/// with this reason, the others run."
#[test]
fn a_missing_program_parks_only_its_service() {
    let sandbox = Sandbox::new(
        r#"
        [service.good]
        exec = ["@fixture", "run"]
        [service.missing]
        exec = ["no-such-program", "--serve"]
        [service.locked]
        exec = ["@dir/locked"]
        [service.relative]
        exec = "sh -c 'exec \"$0\" run' @fixture"
        "#,
    );
    sandbox.write("locked", "not to be executed");
    let daemon = sandbox.start_with(|command| {
        command.env("PATH", "/usr/bin:/bin:/somewhere/of/our/own");
    });
    let missing = daemon.wait_state("missing", State::Parked);
    let reason = missing.reason.unwrap();
    assert!(reason.contains("no-such-program") && reason.contains("/somewhere/of/our/own"), "{reason}");
    wait_for("the program named at load, on stderr", || daemon.stderr().contains("no-such-program"));
    let locked = daemon.wait_state("locked", State::Parked).reason.unwrap();
    assert!(locked.contains("locked") && locked.contains("execut"), "{locked}");
    daemon.wait_state("good", State::Up);
    // Found in PATH, split like a shell would.
    let found = daemon.wait_state("relative", State::Up);
    assert!(found.command[0].ends_with("/sh"), "{:?}", found.command);
}

/// "`include`, `${VAR:-default}` with typed results"
#[test]
fn includes_and_variables() {
    let sandbox = Sandbox::new("");
    sandbox.configure("include = [\"services.d/*.toml\"]\n[service.main]\nexec = [\"@fixture\", \"run\"]\n");
    sandbox.write(
        "services.d/one.toml",
        "[service.one]\nexec = [\"@fixture\", \"run\", \"--exit-code\", \"${ONE_CODE:-0}\"]\n\
         restart = { max_restarts = \"${ONE_MAX:-10}\", delay = \"${ONE_DELAY:-1.0}\" }\n",
    );
    let daemon = sandbox.start_with(|command| {
        command.env("ONE_MAX", "4");
    });
    let one = daemon.wait_state("one", State::Up);
    assert_eq!(one.max_restarts, 4);
    assert_eq!(one.command.last().map(String::as_str), Some("0"));
    assert!(one.config.as_deref().is_some_and(|file| file.contains("services.d/one.toml")), "{one:#?}");
    daemon.wait_state("main", State::Up);
    drop(daemon);

    // A value of the wrong type names the variable that it came from.
    let config = sandbox.config();
    let mut command = sandbox.command(&binaries::mcpctl());
    command.args(["config", "check", config.to_str().unwrap()]).env("ONE_MAX", "many");
    let said = CtlOutput::of(command).expect(6);
    assert!(said.all().contains("ONE_MAX") && said.all().contains("one.toml:3"), "{said:?}");
}

/// "`mcpctl config show` (show: the resolved configuration with defaults, and which file and line each value came from)"
#[test]
fn show_tells_values_and_origins() {
    let sandbox =
        Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\nstop_timeout = \"${STOP:-7s}\"\n");
    let config = sandbox.config();
    let shown = mcpctl(&sandbox, &["config", "show", config.to_str().unwrap()]).expect(0).stdout;
    let line_with = |word: &str| {
        shown
            .lines()
            .find(|line| line.contains(word))
            .unwrap_or_else(|| panic!("no {word} in\n{shown}"))
            .to_owned()
    };
    assert!(line_with("stop_timeout").contains("7s"), "{shown}");
    assert!(line_with("stop_timeout").contains(":7"), "the line in the file:\n{shown}");
    assert!(line_with("multiplier").contains("1.5"), "{shown}");
    assert!(line_with("multiplier").contains("default"), "{shown}");
    let json: Value =
        mcpctl(&sandbox, &["config", "show", "--json", config.to_str().unwrap()]).expect(0).json();
    assert!(json.to_string().contains("stop_timeout"), "{json:#}");
}

/// "default search path, user and system directories"
#[test]
fn the_default_places_are_searched() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\n");
    let check = |prepare: &dyn Fn(&mut Command)| {
        let mut command = sandbox.command(&binaries::mcpd());
        command.arg("--check").env("HOME", sandbox.path("home")).env_remove("XDG_CONFIG_HOME");
        prepare(&mut command);
        CtlOutput::of(command)
    };
    sandbox.write("empty/.keep", "");
    sandbox.write("named.toml", "[service.a]\nexec = 1\n");
    // $MCPD_CONFIG, then ./mcpd.toml, then $XDG_CONFIG_HOME/mcpd/mcpd.toml. The broken one tells that it was read.
    let named = check(&|command| {
        command.env("MCPD_CONFIG", sandbox.path("named.toml"));
    });
    assert!(named.code > 0 && named.all().contains("named.toml:2"), "{named:?}");
    let _ = check(&|_| {}).expect(0);
    sandbox.write("xdg/mcpd/mcpd.toml", "[service.a]\nexec = 2\n");
    let user = check(&|command| {
        command.env("XDG_CONFIG_HOME", sandbox.path("xdg")).current_dir(sandbox.path("empty"));
    });
    assert!(user.code > 0 && user.all().contains("xdg/mcpd/mcpd.toml:2"), "{user:?}");
}
