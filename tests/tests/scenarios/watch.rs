//! `[service.NAME.watch]`: what follows when files change.

use std::fs;
use std::path::Path;

use mcpd_tests::proto::event::Event;
use mcpd_tests::proto::status::{ServiceStatus, State};
use mcpd_tests::{Daemon, Sandbox};
use serde_json::json;

/// A service that watches `src`, with more lines of `[watch]`, and what is there from the start.
fn sandbox(more: &str) -> Sandbox {
    let sandbox = Sandbox::new(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        [service.a.watch]
        paths = ["src"]
        debounce = "100ms"
        {more}
        "#
    ));
    fs::create_dir(sandbox.path("src")).unwrap();
    sandbox.write("src/app.py", "1");
    sandbox
}

fn wait_up<'s>(sandbox: &'s Sandbox) -> Daemon<'s> {
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.wait_event("a watches", |event| event.event == "watching");
    daemon
}

fn named<'e>(events: &'e [Event], name: &str) -> Vec<&'e Event> {
    events.iter().filter(|event| event.event == name).collect()
}

/// Waits until the service is up in this generation.
fn wait_generation(daemon: &Daemon<'_>, generation: u64) -> ServiceStatus {
    daemon.wait_status("a", &format!("up, generation {generation}"), |status| {
        status.state == State::Up && status.generation == generation
    })
}

/// Changes the file `canary` until its restart shows that every change before it has been told; how many starts there
/// were before that.
fn starts_before_canary(daemon: &Daemon<'_>, canary: &Path) -> u64 {
    let told = |event: &Event| event.event == "files_changed" && event.message.contains("canary");
    fs::write(canary, "1").unwrap();
    daemon.wait_event("the canary's change", told);
    daemon.status("a").generation
}

#[test]
fn an_edit_restarts_without_a_crash_or_a_restart_in_the_count() {
    let sandbox = sandbox("");
    let daemon = wait_up(&sandbox);
    let before = daemon.pid_of("a");
    sandbox.write("src/app.py", "2");
    let after = wait_generation(&daemon, 2);
    assert_ne!(after.pid, Some(before));
    assert_eq!((after.restarts, after.restarts_total, after.crash_count), (0, 0, 0), "{after:#?}");
    let events = daemon.events();
    let changed = named(&events, "files_changed");
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].message, "restarting: src/app.py changed");
    // The stop has the change for its cause.
    let stopping = named(&events, "stopping");
    assert_eq!(
        (stopping[0].cause, stopping[0].message.as_str()),
        (Some(changed[0].id), "stopping: files that it watches changed")
    );
    assert_eq!(after.watch.unwrap().state, "watching");
}

/// Editors write another file and rename it over the old one.
#[test]
fn a_rename_over_a_file_is_one_change() {
    let sandbox = sandbox("include = [\"**/*.py\"]");
    let daemon = wait_up(&sandbox);
    for generation in [2, 3] {
        sandbox.write("src/.app.py.tmp", "new");
        fs::rename(sandbox.path("src/.app.py.tmp"), sandbox.path("src/app.py")).unwrap();
        wait_generation(&daemon, generation);
    }
    let events = daemon.events();
    let words: Vec<_> = named(&events, "files_changed").iter().map(|event| event.message.clone()).collect();
    assert_eq!(words, ["restarting: src/app.py changed"; 2]);
}

#[test]
fn new_directories_are_watched_and_what_is_in_them_already_counts() {
    let sandbox = sandbox("include = [\"**/*.py\"]");
    let daemon = wait_up(&sandbox);
    fs::create_dir_all(sandbox.path("src/new/deep")).unwrap();
    sandbox.write("src/new/deep/a.py", "1");
    wait_generation(&daemon, 2);
    sandbox.write("src/new/deep/a.py", "2");
    wait_generation(&daemon, 3);
    let events = daemon.events();
    assert!(named(&events, "files_changed").iter().all(|event| event.message.contains("src/new/deep/a.py")));
}

#[test]
fn what_is_ignored_does_not_restart() {
    let sandbox = sandbox("ignore = [\"**/tests/**\"]");
    fs::create_dir_all(sandbox.path("src/node_modules/x")).unwrap();
    fs::create_dir_all(sandbox.path("src/tests")).unwrap();
    let daemon = wait_up(&sandbox);
    for file in ["src/tests/t.py", "src/node_modules/x/y.js", "src/.app.py.swp", "src/app.py~", "src/4913"] {
        sandbox.write(file, "1");
    }
    fs::create_dir(sandbox.path("src/__pycache__")).unwrap();
    sandbox.write("src/__pycache__/app.cpython-312.pyc", "1");
    fs::read(sandbox.path("src/app.py")).unwrap();
    let starts = starts_before_canary(&daemon, &sandbox.path("src/canary"));
    let events = daemon.events();
    let words: Vec<_> = named(&events, "files_changed").iter().map(|event| event.message.clone()).collect();
    assert_eq!(words, ["restarting: src/canary changed"]);
    assert!(starts <= 2, "{starts}");
}

/// "a burst of 10,000 changes is one restart"
#[test]
fn ten_thousand_changes_are_one_restart() {
    let sandbox = sandbox("");
    let daemon = wait_up(&sandbox);
    // Longer than its pauses, on a busy machine as well.
    sandbox.configure(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        [service.a.watch]
        paths = ["src"]
        debounce = "2s"
        "#,
    );
    daemon.call("daemon.reload", json!({}));
    for number in 0..10_000 {
        fs::write(sandbox.path(&format!("src/{number}")), "").unwrap();
    }
    wait_generation(&daemon, 2);
    // Nothing of the burst is left over: the next change is one of its own.
    starts_before_canary(&daemon, &sandbox.path("src/canary"));
    let events = daemon.events();
    let words: Vec<_> = named(&events, "files_changed").iter().map(|event| event.message.clone()).collect();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words[0].ends_with("changed (and more than 999 others)"), "{words:?}");
}

/// Trap 12: a service that writes into what is watched is not restarted for ever.
#[test]
fn a_service_that_writes_into_what_it_watches_is_suspended() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/src/starts", "run"]
        enabled = false
        [service.a.watch]
        paths = ["src"]
        debounce = "50ms"
        "#,
    );
    fs::create_dir(sandbox.path("src")).unwrap();
    let daemon = sandbox.start();
    // What is written before the first look at the directory is no change.
    daemon.wait_event("it is watched", |event| event.event == "watching");
    daemon.call("service.start", json!({ "names": ["a"] }));
    let suspended = daemon.wait_status("a", "its watch is suspended", |status| {
        status.watch.as_ref().is_some_and(|watch| watch.state == "suspended")
    });
    assert_eq!((suspended.state, suspended.restarts, suspended.crash_count), (State::Up, 0, 0));
    let starts = sandbox.starts("src/starts").len();
    assert!((5..=6).contains(&starts), "{starts}");
    let reason = suspended.watch.unwrap().reason.unwrap();
    assert!(reason.contains("it seems to write into what it watches"), "{reason}");
    let said = daemon.wait_event("why", |event| event.event == "watch_suspended");
    assert!(said.message.contains("src/starts changed"), "{said:#?}");
    let shown = daemon.ctl(&["status", "a"]);
    assert!(shown.stdout.contains("watch suspended"), "{}", shown.stdout);
    // A person's word lifts it, and the same happens again.
    daemon.call("service.reset", json!({ "names": ["a"] }));
    assert_eq!(daemon.status("a").watch.unwrap().state, "watching");
    sandbox.write("src/file", "1");
    let before = suspended.generation;
    daemon.wait_status("a", "suspended again", |status| {
        status.generation > before && status.watch.as_ref().is_some_and(|watch| watch.state == "suspended")
    });
    // So does a reload that changes what is watched.
    sandbox.configure(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/src/starts", "run"]
        enabled = false
        [service.a.watch]
        paths = ["src"]
        ignore = ["starts"]
        debounce = "50ms"
        "#,
    );
    daemon.call("daemon.reload", json!({}));
    let reloaded = daemon.status("a");
    assert_eq!(reloaded.watch.unwrap().state, "watching");
    daemon.wait("the new watch is in force", || {
        sandbox.write("src/file", "2");
        let status = daemon.status("a");
        if status.generation > reloaded.generation { Ok(()) } else { Err(format!("{status:#?}")) }
    });
}

#[test]
fn a_signal_instead_of_a_restart() {
    let sandbox = sandbox("action = \"signal:SIGHUP\"");
    let daemon = wait_up(&sandbox);
    let pid = daemon.pid_of("a");
    sandbox.write("src/app.py", "2");
    let told = daemon.wait_event("the signal", |event| event.event == "files_changed");
    assert_eq!(told.message, "sending SIGHUP: src/app.py changed");
    daemon.wait("the process has had it", || {
        let log = fs::read_to_string(sandbox.log_dir().join("a.log")).unwrap_or_default();
        if log.contains("signal SIGHUP") { Ok(()) } else { Err(log) }
    });
    assert_eq!(daemon.pid_of("a"), pid);
}

#[test]
fn a_reload_instead_of_a_restart() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        exec_reload = [["/bin/ls", "@dir/valid"]]
        [service.a.watch]
        paths = ["src"]
        debounce = "100ms"
        action = "reload"
        "#,
    );
    fs::create_dir(sandbox.path("src")).unwrap();
    sandbox.write("src/app.py", "1");
    sandbox.write("valid", "");
    let daemon = wait_up(&sandbox);
    let pid = daemon.pid_of("a");
    sandbox.write("src/app.py", "2");
    daemon.wait_event("it has reloaded", |event| event.event == "reloaded");
    let told = daemon.events();
    assert_eq!(named(&told, "files_changed")[0].message, "reloading: src/app.py changed");
    assert_eq!((daemon.pid_of("a"), daemon.status("a").stale.is_some()), (pid, false));
    // One that fails leaves the process with the old files, which is said.
    fs::remove_file(sandbox.path("valid")).unwrap();
    sandbox.write("src/app.py", "3");
    let status = daemon.wait_status("a", "stale", |status| status.stale.is_some());
    assert_eq!((status.pid, status.state), (Some(pid), State::Up));
    assert!(daemon.events().iter().any(|event| event.event == "reload_failed"));
}

#[test]
fn a_directory_that_is_deleted_and_made_again() {
    let sandbox = sandbox("");
    let daemon = wait_up(&sandbox);
    fs::remove_dir_all(sandbox.path("src")).unwrap();
    wait_generation(&daemon, 2);
    fs::create_dir(sandbox.path("src")).unwrap();
    sandbox.write("src/app.py", "2");
    wait_generation(&daemon, 3);
    sandbox.write("src/app.py", "3");
    wait_generation(&daemon, 4);
}

/// The human fixed it: no waiting for the backoff, no staying parked.
#[test]
fn a_change_starts_what_waits_or_was_given_up() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exists", "@dir/src/fixed"]
        success_exit_status = [1]
        restart = { when = "always", delay = "10m", max_delay = "10m", max_restarts = 5 }
        watch = { paths = ["src"], debounce = "50ms" }
        [service.p]
        exec = ["@fixture", "exit", "78"]
        restart = { prevent_exit_status = [78] }
        watch = { paths = ["src"], debounce = "50ms" }
        "#,
    );
    fs::create_dir(sandbox.path("src")).unwrap();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Backoff);
    daemon.wait_state("p", State::Parked);
    for service in ["a", "p"] {
        daemon.wait_event("it watches", |event| {
            event.event == "watching" && event.service.as_deref() == Some(service)
        });
    }
    sandbox.write("src/fixed", "1");
    for service in ["a", "p"] {
        daemon.wait_event("it starts", |event| {
            event.service.as_deref() == Some(service) && event.message == "starting: src/fixed changed"
        });
        daemon.wait_status(service, "a second start", |status| status.generation >= 2);
    }
    daemon.wait_state("p", State::Parked);
    // A stop is a stop.
    daemon.call("service.stop", json!({ "names": ["p", "a"] }));
    sandbox.write("src/fixed", "2");
    sandbox.write("src/fixed", "3");
    assert_eq!(daemon.status("p").state, State::Down);
}

/// A program of its own for a service: a copy that can be replaced.
fn program(sandbox: &Sandbox, name: &str) {
    let copy = sandbox.path(&format!("{name}.new"));
    fs::copy(mcpd_tests::binaries::fixture(), &copy).unwrap();
    // As a package manager does it.
    fs::rename(copy, sandbox.path(name)).unwrap();
}

fn script(sandbox: &Sandbox, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = sandbox.write(name, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Stale code is served for days, and nobody knows.
#[test]
fn a_program_that_is_replaced_makes_its_process_stale() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@dir/current", "run"]
        "#,
    );
    program(&sandbox, "server");
    std::os::unix::fs::symlink("server", sandbox.path("current")).unwrap();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    // Being run and read is no change.
    fs::read(sandbox.path("server")).unwrap();
    assert_eq!(daemon.status("a").stale, None);
    let pid = daemon.pid_of("a");
    program(&sandbox, "server");
    let status = daemon.wait_status("a", "stale", |status| status.stale.is_some());
    let stale = status.stale.unwrap();
    assert_eq!((stale.what.as_str(), status.pid), ("program", Some(pid)));
    assert!(stale.reason.contains("current changed on disk"), "{stale:#?}");
    assert!(daemon.ctl(&["status"]).stdout.contains("s* "));
    assert!(daemon.ctl(&["status", "a"]).stdout.contains("  stale: "));
    assert_eq!(daemon.events().iter().filter(|event| event.event == "stale").count(), 1);
    daemon.call("service.restart", json!({ "names": ["a"] }));
    assert_eq!(daemon.status("a").stale, None);
    // The link is pointed elsewhere.
    program(&sandbox, "server-2");
    std::os::unix::fs::symlink("server-2", sandbox.path("next")).unwrap();
    fs::rename(sandbox.path("next"), sandbox.path("current")).unwrap();
    daemon.wait_status("a", "stale again", |status| status.stale.is_some());
}

#[test]
fn what_only_gets_a_signal_is_stale_afterwards() {
    let sandbox = sandbox("action = \"signal:SIGHUP\"");
    let daemon = wait_up(&sandbox);
    sandbox.write("src/app.py", "2");
    let status = daemon.wait_status("a", "stale", |status| status.stale.is_some());
    let stale = status.stale.unwrap();
    assert_eq!(stale.what, "files");
    assert!(stale.reason.starts_with("src/app.py changed on disk since it started"), "{stale:#?}");
}

/// "parked at once with the reason, and unparked by itself when the configuration, the executable or the named file
/// changes"
#[test]
fn a_service_without_its_program_starts_when_that_appears() {
    let sandbox = Sandbox::new(
        r#"
        [service.missing]
        exec = ["@dir/opt/bin/server", "run"]
        [service.searched]
        exec = ["server", "run"]
        environment = { PATH = "@dir/none:@dir/opt/bin" }
        [service.nowhere]
        exec = ["@fixture", "run"]
        working_directory = "@dir/opt/data"
        [service.mode]
        exec = ["@dir/script"]
        [service.interpreter]
        exec = ["@dir/script2"]
        "#,
    );
    sandbox.write("script", "#!/bin/sh\nexec sleep 1000\n");
    script(&sandbox, "script2", &format!("#!{}/sh\nexec sleep 1000\n", sandbox.dir().display()));
    let daemon = sandbox.start();
    let all = ["missing", "searched", "nowhere", "mode", "interpreter"];
    for service in all {
        daemon.wait_state(service, State::Parked);
        daemon.wait_event("watched", |event| {
            event.event == "watching_program" && event.service.as_deref() == Some(service)
        });
    }
    // What has nothing to do with them changes nothing.
    fs::create_dir_all(sandbox.path("opt/bin")).unwrap();
    sandbox.write("opt/bin/other", "");
    program(&sandbox, "opt/bin/server");
    for service in ["missing", "searched"] {
        daemon.wait_state(service, State::Up);
        let told = daemon.wait_event("why", |event| {
            event.event == "program_changed" && event.service.as_deref() == Some(service)
        });
        assert!(told.message.ends_with("opt/bin/server changed"), "{told:#?}");
    }
    assert_eq!(daemon.status("nowhere").generation, 0);
    fs::create_dir(sandbox.path("opt/data")).unwrap();
    daemon.wait_state("nowhere", State::Up);
    script(&sandbox, "script", "#!/bin/sh\nexec sleep 1000\n");
    daemon.wait_state("mode", State::Up);
    std::os::unix::fs::symlink("/bin/sh", sandbox.path("sh")).unwrap();
    daemon.wait_state("interpreter", State::Up);
    for service in all {
        assert_eq!(daemon.status(service).crash_count, 0, "{service}");
    }
}

/// The same of what is not `exec`: the programs of the other commands of a start, a script that an interpreter is to run,
/// and what the last words of a run name.
#[test]
fn what_was_missing_for_a_start_brings_it_back_by_itself() {
    let sandbox = Sandbox::new(
        r#"
        [service.before]
        exec_start_pre = [["@dir/prepare"]]
        exec = ["@fixture", "run"]
        [service.second]
        type = "oneshot"
        remain_after_exit = true
        exec = [["@fixture", "exit", "0"], ["@dir/prepare"]]
        [service.behind]
        exec = ["@fixture", "run"]
        exec_start_post = [["@dir/prepare"]]
        restart.delay = "10ms"
        [service.script]
        exec = ["/bin/sh", "app.sh"]
        working_directory = "@dir"
        [service.named]
        exec = ["/bin/sh", "-c", "test -e @dir/app.py || { echo \"python3: can't open file '@dir/app.py': [Errno 2] No such file or directory\" >&2; exit 2; }; exec sleep 1000"]
        [service.command]
        exec = ["/bin/sh", "-c", "prepare && exec sleep 1000"]
        environment = { PATH = "@dir:/usr/bin:/bin" }
        "#,
    );
    sandbox.write("app.sh", "echo \"ModuleNotFoundError: No module named 'x'\" >&2\nexit 1\n");
    let daemon = sandbox.start();
    for service in ["before", "second", "behind", "script", "named", "command"] {
        let parked = daemon.wait_state(service, State::Parked);
        let reason = parked.reason.unwrap();
        assert!(reason.contains("by itself when a file that it needs has changed"), "{reason}");
        assert_eq!(parked.crash_count, 1, "{service}");
        let since = daemon.events();
        let since =
            since.iter().find(|event| event.event == "parked" && event.service.as_deref() == Some(service));
        let since = since.unwrap().id;
        daemon.wait_event("watched", |event| {
            event.event == "watching_program" && event.service.as_deref() == Some(service) && event.id > since
        });
    }
    script(&sandbox, "prepare", "#!/bin/sh\nexit 0\n");
    for service in ["before", "second", "behind", "command"] {
        daemon.wait_state(service, State::Up);
    }
    assert_eq!([daemon.status("script").generation, daemon.status("named").generation], [1, 1]);
    sandbox.write("app.sh", "exec sleep 1000\n");
    sandbox.write("app.py", "");
    daemon.wait_state("script", State::Up);
    daemon.wait_state("named", State::Up);
}

/// "stay down with a reason until asked, or until config or executable change"
#[test]
fn a_service_parked_at_its_limit_starts_when_its_program_changes() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@dir/server"]
        restart = { delay = "10ms", max_restarts = 2 }
        "#,
    );
    script(&sandbox, "server", "#!/bin/sh\nexit 1\n");
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    daemon.wait_event("watched", |event| {
        event.event == "watching_program"
            && event.id > daemon.events().iter().find(|event| event.event == "parked").unwrap().id
    });
    script(&sandbox, "server.new", "#!/bin/sh\nexec sleep 1000\n");
    fs::rename(sandbox.path("server.new"), sandbox.path("server")).unwrap();
    let up = daemon.wait_state("a", State::Up);
    assert_eq!((up.generation, up.restarts, up.crash_count), (4, 0, 3), "{up:#?}");
}

/// `[daemon] auto_reload`: what `mcpctl daemon reload` does, by itself.
#[test]
fn the_configuration_reloads_itself() {
    let sandbox = Sandbox::new("");
    let config = fs::read_to_string(sandbox.config()).unwrap();
    let (daemon_table, _) = config.split_once("\n\n").unwrap_or((&config, ""));
    let with = |services: &str| {
        let text = format!(
            "{daemon_table}\nauto_reload = true\ninclude = [\"services.d/*.toml\"]\n{}",
            sandbox.fill(services)
        );
        // As an editor does it.
        sandbox.write("mcpd.toml.tmp", &text);
        fs::rename(sandbox.path("mcpd.toml.tmp"), sandbox.config()).unwrap();
    };
    with("[service.a]\nexec = [\"@fixture\", \"run\"]\n");
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.wait_event("it watches", |event| event.event == "watching_config");
    let pid = daemon.pid_of("a");
    // A new file where `include` looks, in a directory that did not exist.
    fs::create_dir(sandbox.path("services.d")).unwrap();
    let service = sandbox.fill("[service.b]\nexec = [\"@fixture\", \"run\"]\n");
    sandbox.write("services.d/b.toml", &service);
    daemon.wait("b is there", || {
        let up = daemon.list().services.iter().any(|known| known.name == "b" && known.state == State::Up);
        if up { Ok(()) } else { Err(format!("{:#?}", daemon.list())) }
    });
    // A bad file changes nothing and says why, once.
    sandbox.write("services.d/b.toml", "[service.b]\nexce = 1\n");
    let failed = daemon.wait_event("the reason", |event| event.event == "reload_failed");
    assert!(failed.message.contains("did you mean `exec`?"), "{failed:#?}");
    assert_eq!(daemon.status("b").state, State::Up);
    sandbox.remove("services.d/b.toml");
    daemon.wait("b is gone", || {
        let names: Vec<String> = daemon.list().services.into_iter().map(|known| known.name).collect();
        if names == ["a"] { Ok(()) } else { Err(format!("{names:?}")) }
    });
    assert_eq!(named(&daemon.events(), "reload_failed").len(), 1);
    assert_eq!(daemon.pid_of("a"), pid);
    let told = named(&daemon.events(), "config_changed")
        .iter()
        .map(|event| event.message.clone())
        .collect::<Vec<_>>();
    assert!(told.iter().all(|message| message == "reloading: services.d/b.toml changed"), "{told:?}");
    // The file itself, and the end of it.
    with("[service.c]\nexec = [\"@fixture\", \"run\"]\n");
    daemon.wait("c instead of a", || {
        let names: Vec<String> = daemon.list().services.into_iter().map(|known| known.name).collect();
        if names == ["c"] { Ok(()) } else { Err(format!("{names:?}")) }
    });
    // A writer that has only begun, or has no room on its disk, has stopped nothing, and is still looked at.
    let pid = daemon.wait_state("c", State::Up).pid;
    sandbox.write("mcpd.toml", "");
    daemon.wait_event("it is not followed", |event| {
        event.event == "reload_failed" && event.message.contains("no services any more")
    });
    assert_eq!(daemon.status("c").pid, pid);
    with("[service.c]\nexec = [\"@fixture\", \"run\"]\n[service.d]\nexec = [\"@fixture\", \"run\"]\n");
    daemon.wait("d is there", || {
        let up = daemon.list().services.iter().any(|known| known.name == "d" && known.state == State::Up);
        if up { Ok(()) } else { Err(format!("{:#?}", daemon.list())) }
    });
    assert_eq!(daemon.status("c").pid, pid);
}
