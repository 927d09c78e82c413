//! What each key becomes: defaults, types, variables.

use std::time::Duration;

use crate::common::{absolute, errors, load, one, service};
use mcpd_config::spec::{
    CommandSpec, CrashSpec, EnvironmentFile, ExitMatch, HealthAction, HttpProbe, LogFormat, LogSpec,
    LogTarget, OnLimit, OneshotSpec, Probe, ReadySpec, Relations, ResourcesSpec, RestartSpec, RestartWhen,
    ServiceSpec, ServiceType, Signal,
};

#[test]
fn a_service_with_nothing_but_a_program_has_these_defaults() {
    let expected = ServiceSpec {
        name: "x".to_owned(),
        description: None,
        exec: vec!["x".to_owned()],
        exec_start_pre: vec![],
        exec_start_post: vec![],
        exec_reload: vec![],
        exec_stop: vec![],
        exec_stop_post: vec![],
        oneshot: None,
        kind: ServiceType::Simple,
        working_directory: None,
        environment: [].into(),
        environment_files: vec![],
        secret_environment_files: vec![],
        user: None,
        group: None,
        supplementary_groups: vec![],
        umask: None,
        enabled: true,
        stop_signal: Signal::TERM,
        stop_timeout: Duration::from_secs(10),
        start_timeout: Duration::from_secs(90),
        success_exit_status: vec![ExitMatch::Code(0)],
        relations: Relations::default(),
        restart: RestartSpec {
            when: RestartWhen::OnFailure,
            delay: Duration::from_secs(1),
            multiplier: 1.5,
            max_delay: Duration::from_secs(60),
            jitter: 0.1,
            reset_after: Duration::from_secs(60),
            max_restarts: 10,
            on_limit: OnLimit::Park,
            prevent_exit_status: vec![],
        },
        watchdog: None,
        ready: None,
        health: None,
        watch: None,
        log: LogSpec { target: LogTarget::File, format: LogFormat::Text, max_size: 16 << 20, max_files: 8 },
        resources: ResourcesSpec::default(),
        crash: CrashSpec { tail_lines: 100, keep: 100, notify: vec![] },
    };
    assert_eq!(service("", &[]), expected);
}

#[test]
fn a_health_check_with_nothing_but_a_url_has_these_defaults() {
    let health = service("health.http = \"http://h\"", &[]).health.unwrap();
    let probe = HttpProbe {
        url: "http://h".into(),
        expect_status: vec![],
        expect_json: vec![],
        expect_body: None,
        headers: vec![],
    };
    assert_eq!(health.probe, Probe::Http(probe));
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!((health.retries, health.start_period), (3, Duration::from_secs(40)));
    assert_eq!(health.action, HealthAction::Restart);
}

#[test]
fn commands_are_lists_or_words() {
    for (exec, expected) in [
        ("['a', 'b c', '']", vec!["a", "b c", ""]),
        ("'a b  c'", vec!["a", "b", "c"]),
        (r#"'a "b c" d\ e'"#, vec!["a", "b c", "d e"]),
        ("['${TWO}']", vec!["two words"]),
        // A value never becomes two arguments ...
        ("'a ${TWO} x${TWO}x'", vec!["a", "two words", "xtwo wordsx"]),
        ("'a ${EMPTY} b'", vec!["a", "", "b"]),
        ("'a ${QUOTE}'", vec!["a", "it's"]),
        // ... unless it is the whole command.
        ("'${TWO}'", vec!["two", "words"]),
        ("'sh -c \"echo $$HOME\"'", vec!["sh", "-c", "echo $HOME"]),
    ] {
        let vars = [("TWO", "two words"), ("EMPTY", ""), ("QUOTE", "it's")];
        let loaded = load(&format!("[service.x]\nexec = {exec}\n"), &vars).unwrap();
        assert_eq!(loaded.config.services["x"].exec, expected, "{exec}");
    }
}

#[test]
fn a_value_that_is_one_reference_takes_the_type_that_is_wanted() {
    type Check = fn(&ServiceSpec) -> bool;
    let rows: &[(&str, &str, Check)] = &[
        ("restart.max_restarts = '${V}'", "3", |s| s.restart.max_restarts == 3),
        ("restart.multiplier = '${V}'", "2", |s| s.restart.multiplier == 2.0),
        ("restart.multiplier = '${V}'", "2.5", |s| s.restart.multiplier == 2.5),
        ("restart.delay = '${V}'", "1.0", |s| s.restart.delay == Duration::from_secs(1)),
        ("restart.delay = '${V}'", "30", |s| s.restart.delay == Duration::from_secs(30)),
        ("restart.delay = '${V}'", "250ms", |s| s.restart.delay == Duration::from_millis(250)),
        ("restart.delay = '${V}s'", "1.5", |s| s.restart.delay == Duration::from_millis(1500)),
        ("enabled = '${V}'", "false", |s| !s.enabled),
        ("enabled = '${V}'", "No", |s| !s.enabled),
        ("enabled = '${V}'", "1", |s| s.enabled),
        ("log.max_size = '${V}'", "8192", |s| s.log.max_size == 8192),
        ("log.max_size = '${V}'", "1M", |s| s.log.max_size == 1 << 20),
        ("log.max_size = '${V}K'", "64", |s| s.log.max_size == 64 << 10),
        ("log.target = '${V}'", "none", |s| s.log.target == LogTarget::None),
        ("success_exit_status = ['${V}', 'TERM']", "7", |s| {
            s.success_exit_status == [ExitMatch::Code(7), ExitMatch::Signal(Signal::TERM)]
        }),
        ("success_exit_status = ['${V}']", "SIGKILL", |s| {
            s.success_exit_status == [ExitMatch::Signal(Signal::KILL)]
        }),
        ("stop_signal = '${V}'", "INT", |s| s.stop_signal.number() == 2),
        ("description = '${V}'", "10", |s| s.description.as_deref() == Some("10")),
        ("environment = { A = '${V}' }", "10", |s| s.environment["A"] == "10"),
        ("environment.A = 'x${V}'", "10", |s| s.environment["A"] == "x10"),
        ("health.exec = ['a', '${V}']", "10", |s| {
            s.health.as_ref().unwrap().probe == Probe::Exec { argv: vec!["a".into(), "10".into()] }
        }),
        ("health.tcp = 'h:${V}'", "10", |s| {
            s.health.as_ref().unwrap().probe == Probe::Tcp { address: "h:10".into() }
        }),
    ];
    for (line, value, check) in rows {
        assert!(check(&service(line, &[("V", value)])), "{line} with V={value}");
        // The same as a default, for a variable that is not set and for one that is empty.
        let default = line.replace("${V}", &format!("${{V:-{value}}}"));
        assert!(check(&service(&default, &[])), "{default}");
        assert!(check(&service(&default, &[("V", "")])), "{default} with V empty");
    }
}

#[test]
fn a_services_own_environment_is_no_source_of_variables() {
    let found = one("environment = { A = '1' }\ndescription = '${A}'", &[]);
    assert_eq!(found, "t.toml:4:16: the variable A is not set (set it, or give a default: ${A:-...})");
}

#[test]
fn http_checks_with_all_their_keys() {
    let text = "[service.x.health]\nhttp = 'https://[::1]:8443/h?x=1'\nexpect_status = [200, 599]\n\
        expect_json = { status = 'ok${V}', '/a/0' = 1, deep = { x = [1.5, true] } }\nexpect_body = '^ok$'\n\
        headers = { Accept = 'a/b', X-Token = '${V}' }\n";
    let health = service(text, &[("V", "!")]).health.unwrap();
    let Probe::Http(probe) = health.probe else { panic!("{health:?}") };
    assert_eq!(probe.url, "https://[::1]:8443/h?x=1");
    assert_eq!(probe.expect_status, [200, 599]);
    let expected = [
        ("status".to_owned(), serde_json::json!("ok!")),
        ("/a/0".to_owned(), serde_json::json!(1)),
        ("deep".to_owned(), serde_json::json!({ "x": [1.5, true] })),
    ];
    assert_eq!(probe.expect_json, expected);
    assert_eq!(probe.expect_body.as_deref(), Some("^ok$"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(probe.headers, [header("Accept", "a/b"), header("X-Token", "!")]);
}

#[test]
fn what_says_that_it_is_ready() {
    assert_eq!(service("", &[]).ready, None);
    let asked = service("ready = { tcp = 'h:${V}', timeout = '250ms' }", &[("V", "10")]).ready;
    let probe = Probe::Tcp { address: "h:10".into() };
    assert_eq!(asked, Some(ReadySpec::Probe { probe, timeout: Duration::from_millis(250) }));
    // On bytes: what is no UTF-8 can be looked for.
    let log = service(r"ready.log = '(?-u)\xff up$$'", &[]).ready;
    assert_eq!(log, Some(ReadySpec::Log { pattern: r"(?-u)\xff up$".into() }));
}

#[test]
fn several_commands() {
    let command = |ignore_failure, words: &[&str]| CommandSpec {
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        ignore_failure,
    };
    let spec = service("exec_start_pre = [['-/bin/a', '${V}'], \"b 'c d'\"]", &[("V", "x y")]);
    assert_eq!(spec.exec_start_pre, [command(true, &["/bin/a", "x y"]), command(false, &["b", "c d"])]);

    let load =
        |text: &str| load(text, &[]).unwrap_or_else(|failed| panic!("{failed}")).config.services["y"].clone();
    let one = load("[service.y]\ntype = 'oneshot'\nexec = ['-a', 'b']");
    let oneshot = OneshotSpec { exec: vec![command(true, &["a", "b"])], remain_after_exit: false };
    assert_eq!((&one.exec, &one.oneshot), (&vec!["a".to_owned(), "b".to_owned()], &Some(oneshot)));
    assert_eq!(one.restart.when, RestartWhen::Never);
    assert!(one.start_timeout > Duration::from_secs(99 * 365 * 24 * 3600), "no limit");
    let some = load(
        "[service.y]\ntype = 'oneshot'\nremain_after_exit = true\nexec = [['a'], 'b c', ['-d']]\nrestart.when = 'on-failure'\nstart_timeout = 5",
    );
    let exec = vec![command(false, &["a"]), command(false, &["b", "c"]), command(true, &["d"])];
    assert_eq!(some.oneshot, Some(OneshotSpec { exec, remain_after_exit: true }));
    assert_eq!((some.restart.when, some.start_timeout), (RestartWhen::OnFailure, Duration::from_secs(5)));
}

#[cfg(unix)]
#[test]
fn who_says_things_about_itself() {
    let spec = service("type = 'notify'", &[]);
    assert_eq!((spec.kind, &spec.ready), (ServiceType::Notify, &Some(ReadySpec::Notify)));
    assert!(spec.notifies());
    let spec = service("type = 'exec'\nready.notify = '${V}'", &[("V", "yes")]);
    assert_eq!((spec.kind, &spec.ready), (ServiceType::Exec, &Some(ReadySpec::Notify)));
    let spec = service("watchdog = '1.5s'", &[]);
    assert_eq!((spec.watchdog, &spec.ready), (Some(Duration::from_millis(1500)), &None));
    assert!(spec.notifies() && !service("ready.tcp = 'h:1'", &[]).notifies());
}

#[test]
fn one_delay_over_the_usual_maximum_raises_it() {
    assert_eq!(service("restart.delay = '2m'", &[]).restart.max_delay, Duration::from_secs(120));
}

#[test]
fn relative_paths_start_at_the_file() {
    let spec = service("working_directory = 'a/./b'\nenvironment_files = ['-c', '/d']", &[]);
    assert_eq!(spec.working_directory, Some(absolute("a/b")));
    let optional = EnvironmentFile { path: absolute("c"), optional: true };
    let fixed = EnvironmentFile { path: absolute("/d"), optional: false };
    assert_eq!(spec.environment_files, [optional, fixed]);
}

#[test]
fn names_of_services() {
    for name in ["a", "A-1_x", "a.b", "w@1", "x:y", &"n".repeat(128)] {
        let loaded = load(&format!("[service.\"{name}\"]\nexec = 'x'"), &[]).unwrap();
        assert!(loaded.config.services.contains_key(name));
    }
    for (name, message) in [
        ("", "a service's name has 1 to 128 characters, this one 0"),
        ("a b", "' ' cannot stand in a service's name (use letters, digits and _ . @ : -)"),
        ("a/b", "'/' cannot stand in a service's name (use letters, digits and _ . @ : -)"),
        (".a", "a service's name cannot start with a dot or a dash"),
        ("-a", "a service's name cannot start with a dot or a dash"),
        ("w@", "the template `w@` has no `instances`"),
    ] {
        let found = errors(&format!("[service.\"{name}\"]\nexec = 'x'"), &[]);
        assert!(found.len() == 1 && found[0].contains(message), "{name}: {found:?}");
    }
    assert_eq!(errors(&format!("[service.{}]\nexec = 'x'", "n".repeat(129)), &[]).len(), 1);
}

/// A daemon's places: what the file says, what the variables say, and which of them wins.
#[cfg(unix)]
mod places {
    use std::path::PathBuf;

    use mcpd_config::{Environment, Origin};

    use crate::common::{ROOT, errors, load};

    fn daemon(text: &str, vars: &[(&str, &str)], is_root: bool) -> [String; 3] {
        let environment = Environment { is_root, ..vars.iter().copied().collect() };
        let text = format!("[daemon]\n{text}\n[service.x]\nexec = 'x'");
        let daemon = mcpd_config::load_text(&PathBuf::from(ROOT).join("t.toml"), &text, &environment)
            .unwrap()
            .config
            .daemon;
        [daemon.control_socket, daemon.state_dir, daemon.log_dir].map(|path| path.display().to_string())
    }

    #[test]
    fn of_the_system_of_a_user_and_of_systemd() {
        let home = ("HOME", "/home/u");
        let system = ["/run/mcpd/control.sock", "/var/lib/mcpd", "/var/log/mcpd"];
        assert_eq!(daemon("", &[home], true), system);
        let state = "/home/u/.local/state/mcpd";
        let logs = format!("{state}/logs");
        assert_eq!(daemon("", &[home], false), [&format!("{state}/control.sock"), state, &logs]);
        let run = ("XDG_RUNTIME_DIR", "/run/user/1");
        assert_eq!(daemon("", &[home, run], false), ["/run/user/1/mcpd/control.sock", state, &logs]);
        let xdg = ("XDG_STATE_HOME", "/st");
        assert_eq!(daemon("", &[xdg], false), ["/st/mcpd/control.sock", "/st/mcpd", "/st/mcpd/logs"]);
        let text = "state_dir = 's'\ncontrol_socket = '/c'";
        assert_eq!(daemon(text, &[home], false), ["/c", "/etc/mcpd/s", "/etc/mcpd/s/logs"]);
        let systemd = [
            home,
            ("RUNTIME_DIRECTORY", "/run/m:/run/n"),
            ("STATE_DIRECTORY", "/var/lib/m"),
            ("LOGS_DIRECTORY", "/var/log/m"),
        ];
        assert_eq!(daemon(text, &systemd, false), ["/run/m/control.sock", "/var/lib/m", "/var/log/m"]);
    }

    #[test]
    fn their_origins() {
        let text = "[daemon]\nstate_dir = '/s'\nlog_dir = '/${L}'\n[service.x]\nexec = 'x'";
        let loaded = load(text, &[("STATE_DIRECTORY", "/var/lib/m"), ("L", "l")]).unwrap();
        let origin = |key: &str| loaded.origins.get(key).unwrap().to_string();
        assert_eq!(origin("daemon.state_dir"), "environment: STATE_DIRECTORY");
        assert_eq!(origin("daemon.log_dir"), "/etc/mcpd/t.toml:3 with L");
        assert_eq!(loaded.origins.get("daemon.control_socket"), Some(&Origin::Default));
        assert_eq!(origin("service.x.exec"), "/etc/mcpd/t.toml:5");
        assert_eq!(origin("service.x.restart.delay"), "default");
    }

    #[test]
    fn without_a_home_there_must_be_a_directory() {
        let text = "[service.x]\nexec = 'x'";
        let failed = mcpd_config::load_text("t.toml".as_ref(), text, &Environment::default()).unwrap_err();
        assert!(failed.to_string().contains("there is no place for the daemon's state"), "{failed}");
        let text = "[daemon]\nstate_dir = '/s'\n[service.x]\nexec = 'x'";
        mcpd_config::load_text("t.toml".as_ref(), text, &Environment::default()).unwrap();
    }

    #[test]
    fn a_socket_path_that_no_socket_can_have_is_refused() {
        let text = format!("[daemon]\ncontrol_socket = '/{}'\n", "x".repeat(120));
        let found = errors(&text, &[]);
        assert!(
            found[0].starts_with("t.toml:2:18: the path of the control socket has 121 bytes"),
            "{found:?}"
        );
    }
}
