//! What `config show` prints means the same as what was read.

use std::path::Path;

use mcpd_config::{Config, Environment, load_text};
use serde_json::json;

use crate::common::{ROOT, absolute, load};

const TEXT: &str = r#"
[daemon]
state_dir = "/s"
max_parallel_starts = 4
[service."a.b"]
exec = ["x", "${V}", "$$HOME", "q\"\\\n\u0007\u007fü"]
description = "two\nlines # no comment"
working_directory = "w"
environment = { "odd name" = "${V}", B = "$${V}" }
environment_files = ["-e", "/f"]
stop_signal = 34
stop_timeout = "1h2m3.004005006s"
success_exit_status = [0, 3, "SIGTERM", "SIGRTMIN+2"]
[service."a.b".restart]
when = "on-abnormal"
delay = 0.25
multiplier = 1e16
prevent_exit_status = [78]
[service."a.b".health]
http = "http://h/?a=${V}"
expect_json = { "/a~1b" = { x = [1, 2.5, "$$"] }, y = false }
expect_body = 'a$'
headers = { X = "$$" }
[service."a.b".watch]
paths = ["src", "/etc/app.conf", "${V}"]
include = ["**/*.py"]
ignore = ["**/tests/**"]
debounce = "1.5s"
[service.c]
exec = "c"
requires = ['d']
binds_to = ['d']
wants = 'a.b'
after = ['a.b']
part_of = ['d', 'a.b']
watch.paths = ["."]
health.exec = "d 'e f'"
log.max_size = 5000
[service.d]
exec = "c"
before = ['c']
enabled = false
conflicts = ['a.b']
health.tcp = "[::1]:1"
[service.j]
type = "oneshot"
remain_after_exit = true
exec = [["-a", "b"], "c d"]
exec_start_pre = [["-e"], "f g"]
exec_start_post = [["h"]]
exec_stop = [["-i"]]
exec_stop_post = [["j", "k"]]
[service.e]
exec = "c"
ready = { http = "http://h/", expect_status = [204], headers = { X = "y" }, timeout = 2 }
[service.f]
exec = "c"
exec_reload = [["-k", "-HUP", "$$MAINPID"]]
ready.log = 'up on [0-9]+ \w'
[service.g]
exec = "c"
crash.notify = [{ exec = "d 'e f'" }, { journal = true, on = ["parked", "failing"] }]
ready.exec = ["d", "e f"]
[[service.f.crash.notify]]
webhook = "https://h/$$x"
template = "ntfy"
headers = { X = "$$" }
"#;

fn reread(text: &str) -> Config {
    // Nothing in it depends on variables any more.
    let loaded = load_text(&Path::new(ROOT).join("elsewhere.toml"), text, &Environment::default());
    loaded.unwrap_or_else(|failed| panic!("{failed}\n{text}")).config
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let loaded = load(TEXT, &[("V", "a$b${c}'\"")]).err();
    // A quote in a URL is refused, so that the value has none for this test.
    assert!(loaded.is_some());
    let loaded = load(TEXT, &[("V", "a$b$$c'")]).unwrap();
    let shown = loaded.show_with_secrets();
    let again = reread(&shown);
    assert_eq!(Config { files: loaded.config.files.clone(), ..again }, loaded.config, "{shown}");
}

#[cfg(unix)]
#[test]
fn what_says_things_about_itself_reads_back_the_same() {
    let text = "[daemon]\nstate_dir = '/s'\n[service.h]\nexec = 'c'\ntype = 'notify'\nwatchdog = '10s'\n\
        [service.i]\nexec = 'c'\ntype = 'exec'\nready.notify = true\n";
    let loaded = load(text, &[]).unwrap();
    let again = reread(&loaded.show_with_secrets());
    assert_eq!(
        Config { files: loaded.config.files.clone(), ..again },
        loaded.config,
        "{}",
        loaded.show_with_secrets()
    );
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let text = "[service.x]\nexec = ['a', '${P}']\nrestart.delay = '${D:-2}'\n";
    let loaded =
        load(text, &[("P", "1"), ("STATE_DIRECTORY", "/st"), ("XDG_RUNTIME_DIR", "/run/u")]).unwrap();
    let file = absolute("t.toml").display().to_string();
    if cfg!(unix) {
        let expected = format!(
            "\
# read: {file}

[daemon]
control_socket = \"/run/u/mcpd/control.sock\"  # default
state_dir = \"/st\"  # environment: STATE_DIRECTORY
log_dir = \"/st/logs\"  # default
max_parallel_starts = 0  # default
auto_reload = false  # default
on_stop = \"stop\"  # default
on_keeper_death = \"stop\"  # default

[service.x]
exec = [\"a\", \"1\"]  # {file}:2 with P
type = \"simple\"  # default
environment_files = []  # default
enabled = true  # default
stop_signal = \"SIGTERM\"  # default
stop_timeout = \"10s\"  # default
start_timeout = \"1m30s\"  # default
success_exit_status = [0]  # default
requires = []  # default
wants = []  # default
after = []  # default
before = []  # default
conflicts = []  # default
part_of = []  # default
binds_to = []  # default

[service.x.restart]
when = \"on-failure\"  # default
delay = \"2s\"  # {file}:3
multiplier = 1.5  # default
max_delay = \"1m\"  # default
jitter = 0.1  # default
reset_after = \"1m\"  # default
max_restarts = 10  # default
on_limit = \"park\"  # default
prevent_exit_status = []  # default

[service.x.log]
target = \"file\"  # default
format = \"text\"  # default
max_size = \"16M\"  # default
max_files = 8  # default

[service.x.crash]
tail_lines = 100  # default
keep = 100  # default
notify = []  # default
"
        );
        assert_eq!(loaded.show_with_secrets(), expected);
    }
    let json = loaded.show_json();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["files"], json!([file]));
    assert_eq!(json["services"]["x"]["exec"], json!(["a", "1"]));
    assert_eq!(json["services"]["x"]["restart"]["delay"], "2s");
    assert_eq!(
        json["origins"]["service.x.exec"],
        json!({ "from": "file", "file": file, "line": 2, "column": 1, "variables": ["P"] })
    );
    assert_eq!(json["origins"]["service.x.restart.when"], json!({ "from": "default" }));
    if cfg!(unix) {
        let origin = json!({ "from": "environment", "variable": "STATE_DIRECTORY" });
        assert_eq!(json["origins"]["daemon.state_dir"], origin);
    }
}

#[test]
fn secrets_are_shown_only_when_that_is_asked_for() {
    let text = "[service.x]\nexec = ['srv', '--token', 'option-secret', '--db', 'pg://me:url-secret@db/x']\n\
        environment = { API_KEY = 'own-secret', MODE = 'fast' }\nsecret_environment_files = ['/run/x.env']\n\
        health = { http = 'http://h/', headers = { Authorization = 'Bearer header-secret' } }\n";
    let loaded = load(text, &[]).unwrap();
    for shown in [loaded.show(), loaded.show_json().to_string()] {
        assert!(!shown.contains("-secret"), "{shown}");
        for part in ["[redacted]", "fast", "x.env", "pg://[redacted]@db/x"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
    for shown in [loaded.show_with_secrets(), loaded.show_json_with_secrets().to_string()] {
        for secret in ["option-secret", "url-secret", "own-secret", "header-secret"] {
            assert!(shown.contains(secret), "{secret} in {shown}");
        }
    }
}
