//! Every mistake is found, at its place, and with what to do about it.

use crate::common::{ROOT, errors, load, one};

#[test]
fn one_mistake_in_a_service() {
    // The lines, then where and what, then what to do.
    for (lines, expected) in [
        // Keys.
        ("exce = 1", "3:1: unknown key `exce` in [service.x] (did you mean `exec`?)"),
        ("restart.dealy = 1", "3:9: unknown key `dealy` in [service.x.restart] (did you mean `delay`?)"),
        ("crash.kepe = 1", "3:7: unknown key `kepe` in [service.x.crash] (did you mean `keep`?)"),
        ("banana = 1", "3:1: unknown key `banana` in [service.x] (known here: description, exec,"),
        (
            "sanbdox = 1",
            "3:1: unknown key `sanbdox` in [service.x] (`sandbox` comes nearest, but is not supported yet by this version)",
        ),
        (
            "limit_nofile = 5",
            "3:1: unknown key `limit_nofile` in [service.x] (it stands in [service.x.resources])",
        ),
        (
            "restart.stop_timeout = 5",
            "3:9: unknown key `stop_timeout` in [service.x.restart] (it stands in [service.x])",
        ),
        (
            "timeout = 5",
            "3:1: unknown key `timeout` in [service.x] (it stands in [service.x.ready] or [service.x.health])",
        ),
        ("requirse = ['y']", "3:1: unknown key `requirse` in [service.x] (did you mean `requires`?)"),
        // Types.
        ("description = 1", "3:15: expected a string, found an integer (write \"1\")"),
        ("description = ['a']", "3:15: expected a string, found an array"),
        ("description = \"a\\u0000\"", "3:15: a NUL character cannot be passed on"),
        ("enabled = 'true'", "3:11: expected true or false, found a string (leave out the quotes)"),
        ("enabled = 1", "3:11: expected true or false, found an integer"),
        ("environment = 'A=1'", "3:15: expected a table, found a string (write [service.x.environment])"),
        ("environment = { A = 1 }", "3:21: expected a string, found an integer (write \"1\")"),
        ("environment = { 'A=B' = '1' }", "3:17: \"A=B\" cannot be the name of a variable"),
        (
            "environment_files = 'a'",
            "3:21: expected an array, found a string (write environment_files = [...])",
        ),
        ("environment_files = ['-']", "3:22: the path of the file is missing"),
        ("environment_files = ['-~/x']", "3:22: `~` is not replaced: no shell is run (write \"-${HOME}/x\")"),
        ("working_directory = ''", "3:21: an empty string is of no use here"),
        ("working_directory = '~/x'", "3:21: `~` is not replaced: no shell is run (write \"${HOME}/x\")"),
        ("restart = 1", "3:11: expected a table, found an integer (write [service.x.restart])"),
        // Words.
        ("type = 'oneshto'", "3:8: unknown value \"oneshto\" (did you mean \"oneshot\"?)"),
        ("type = 'smiple'", "3:8: unknown value \"smiple\" (did you mean \"simple\"?)"),
        (
            "restart.when = 'sometimes'",
            "3:16: unknown value \"sometimes\" (expected one of \"always\", \"on-success\",",
        ),
        ("restart.when = true", "3:16: expected a string, found a boolean (write \"true\")"),
        ("stop_signal = 'SIGTREM'", "3:15: unknown signal \"SIGTREM\" (did you mean \"SIGTERM\"?)"),
        ("stop_signal = 'trem'", "3:15: unknown signal \"trem\" (did you mean \"SIGTERM\"?)"),
        ("stop_signal = 65", "3:15: signals have numbers from 1 to 64"),
        ("success_exit_status = [256]", "3:24: expected an integer from 0 to 255, found 256"),
        ("success_exit_status = ['SIGNOPE']", "3:24: unknown signal \"SIGNOPE\" ("),
        (
            "success_exit_status = ['15']",
            "3:24: \"15\" could be an exit code or a signal (an exit code is written 15, a signal by its name)",
        ),
        ("success_exit_status = 0", "3:23: expected an array, found an integer"),
        // Numbers, spans of time, sizes.
        ("restart.max_restarts = -1", "3:24: expected an integer of at least 0, found -1"),
        ("restart.max_restarts = 4294967296", "3:24: expected an integer of at least 0, found 4294967296"),
        ("restart.max_restarts = 99999999999999999999", "3:24: "),
        ("restart.max_restarts = 1.0", "3:24: expected an integer, found a float"),
        ("restart.max_restarts = '1'", "3:24: expected an integer, found a string (leave out the quotes)"),
        ("restart.multiplier = 0.9", "3:22: expected a number of at least 1, found 0.9"),
        ("restart.multiplier = nan", "3:22: expected a finite number"),
        ("restart.multiplier = inf", "3:22: expected a finite number"),
        ("restart.jitter = 1.1", "3:18: expected a number from 0 to 1, found 1.1"),
        ("restart.jitter = '10%'", "3:18: expected a number, found a string"),
        (
            "restart.delay = '10'",
            "3:17: the duration \"10\" lacks a unit (write \"10s\", or 10 without quotes)",
        ),
        ("restart.delay = '1 sec'", "3:17: unknown unit of time \"sec\" (units are ns, us, ms, s, m, h, d)"),
        ("restart.delay = -1", "3:17: a duration cannot be negative"),
        ("restart.delay = nan", "3:17: a duration must be a finite number"),
        ("restart.delay = 1e30", "3:17: a duration can be 100 years at most"),
        ("restart.delay = true", "3:17: expected a duration, found a boolean ("),
        ("restart.delay = 2020-01-01", "3:17: expected a duration, found a date ("),
        ("start_timeout = 0", "3:17: this duration must be at least 1ms, found 0s"),
        (
            "restart = { delay = '2m', max_delay = '1m' }",
            "3:39: `max_delay` is 1m, less than `delay`, which is 2m (delays grow from `delay` to `max_delay`)",
        ),
        (
            "log.max_size = '64MB'",
            "3:16: unknown unit of size \"MB\" (did you mean \"64M\"? (units are powers of 1024))",
        ),
        ("log.max_size = 4095", "3:16: this size must be at least 4K"),
        ("log.max_size = -1", "3:16: a size cannot be negative"),
        ("log.max_size = 1.5", "3:16: expected a size, found a float ("),
        ("crash.keep = 0", "3:14: expected an integer of at least 1, found 0"),
        ("crash.tail_lines = 10001", "3:20: expected an integer from 0 to 10000, found 10001"),
        // Health.
        (
            "health = {}",
            "3:1: [service.x.health] does not say what to ask (give one of `http`, `tcp` and `exec`)",
        ),
        (
            "exec_start_pre = 'a'",
            "3:18: expected a list of commands, found a string (write exec_start_pre = [[",
        ),
        ("exec_start_pre = ['a', 'b']", "3:18: `exec_start_pre` is a list of commands, each a list itself ("),
        ("exec_start_pre = [['a', 1]]", "3:25: expected a string, found an integer (write \"1\")"),
        ("exec_start_pre = [[]]", "3:19: a command needs a program ("),
        ("exec_start_pre = [['-']]", "3:19: the name of the program is empty"),
        ("exec_start_pre = [['~/x']]", "3:19: `~` is not replaced: no shell is run ("),
        ("exec_start_pre = []", "3:18: `exec_start_pre` has no command (leave it out)"),
        ("exec_start_post = []", "3:19: `exec_start_post` has no command (leave it out)"),
        ("exec_stop = []", "3:13: `exec_stop` has no command (leave it out)"),
        ("exec_stop_post = []", "3:18: `exec_stop_post` has no command (leave it out)"),
        ("exec_reload = []", "3:15: `exec_reload` has no command (leave it out)"),
        ("exec_stop = ['a', 'b']", "3:13: `exec_stop` is a list of commands, each a list itself ("),
        ("exec_stop_post = [[]]", "3:19: a command needs a program ("),
        (
            "type = 'oneshot'\nexec_stop = [['a']]",
            "4:1: `exec_stop` goes with `remain_after_exit = true`: a oneshot is down when its commands have ended;",
        ),
        ("stop_timeout = 0\nexec_stop = [['a']]", "4:1: `exec_stop` has no time with `stop_timeout = 0`,"),
        (
            "stop_timeout = 0\nexec_stop_post = [['a']]",
            "4:1: `exec_stop_post` has no time with `stop_timeout = 0`,",
        ),
        ("remain_after_exit = true", "3:1: `remain_after_exit` goes with `type = \"oneshot\"`"),
        (
            "type = 'oneshot'\nready.log = 'x'",
            "4:1: `ready` does not go with `type = \"oneshot\"`, which runs nothing once it is up",
        ),
        ("type = 'oneshot'\nhealth.tcp = 'h:1'", "4:1: `health` does not go with `type = \"oneshot\"`,"),
        (
            "type = 'oneshot'\nrestart.when = 'always'",
            "4:16: a oneshot is not restarted after it has ended well (expected one of \"on-failure\",",
        ),
        ("health.exec = []", "3:15: a command needs a program ("),
        (
            "ready = {}",
            "3:1: [service.x.ready] does not say what to wait for (give one of `http`, `tcp`, `exec`, `log` and `notify`)",
        ),
        (
            "ready = { log = 'up', tcp = 'h:1' }",
            "3:11: `tcp` and `log` exclude each other (one thing says that a service is ready)",
        ),
        (
            "ready = { log = 'up', timeout = 1 }",
            "3:23: `timeout` goes with `http`, `tcp` and `exec`, not with `log`",
        ),
        ("ready = { log = 'up', headers = {} }", "3:23: `headers` goes with `http`, not with `log`"),
        ("ready.log = '('", "3:13: \"(\" is no regular expression: unclosed group"),
        ("ready.log = ''", "3:13: an empty string is of no use here"),
        (
            "ready = { tcp = 'h:1', interval = 1 }",
            "3:24: unknown key `interval` in [service.x.ready] (it stands in [service.x.health])",
        ),
        (
            "ready = { tcp = 'h:1', timeot = 1 }",
            "3:24: unknown key `timeot` in [service.x.ready] (did you mean `timeout`?)",
        ),
        ("ready.notify = false", "3:16: `notify = false` waits for nothing (leave it out)"),
        ("ready.notify = 'yes'", "3:16: expected true or false, found a string"),
        ("ready.tcp = 'h'", "3:13: expected host:port, found \"h\" ("),
        (
            "health = { tcp = 'h:1', exec = 'a' }",
            "3:25: `tcp` and `exec` exclude each other (a service has one health check)",
        ),
        ("health = { tcp = 'h:1', headers = {} }", "3:25: `headers` goes with `http`, not with `tcp`"),
        (
            "health = { exec = 'a', expect_body = '' }",
            "3:24: `expect_body` goes with `http`, not with `exec`",
        ),
        ("health = { tcp = 'h:1', retries = 0 }", "3:35: expected an integer of at least 1, found 0"),
        ("health = { tcp = 'h:1', interval = 0 }", "3:36: this duration must be at least 1ms, found 0s"),
        ("health.tcp = 'h'", "3:14: expected host:port, found \"h\" ("),
        ("health.tcp = ':1'", "3:14: expected host:port, found \":1\" ("),
        ("health.tcp = 'h:0'", "3:14: \"0\" is no port (ports have numbers from 1 to 65535)"),
        ("health.tcp = 'h:+1'", "3:14: \"+1\" is no port ("),
        ("health.tcp = '::1:80'", "3:14: \"::1:80\" has more than one colon ("),
        ("health.tcp = '[::g]:80'", "3:14: \"::g\" is no IPv6 address"),
        ("health.tcp = '[::1:80'", "3:14: \"[::1:80\" lacks a closing `]`"),
        ("health.tcp = 'http://h:1'", "3:14: expected host:port, found \"http://h:1\" ("),
        ("health.http = 'h/x'", "3:15: expected a URL with http:// or https://, found \"h/x\" ("),
        ("health.http = 'http://'", "3:15: the URL \"http://\" has no host"),
        ("health.http = 'http://:80/'", "3:15: the URL \"http://:80/\" has no host"),
        ("health.http = 'http://u@/'", "3:15: the URL \"http://u@/\" has no host"),
        ("health.http = 'http://h:x/'", "3:15: \"x\" is no port ("),
        (
            "health.http = 'http://h/a b'",
            "3:15: ' ' cannot stand in a URL (write it percent-encoded, a blank as %20)",
        ),
        (
            "health = { http = 'http://h', expect_status = [99] }",
            "3:48: expected an integer from 100 to 599, found 99",
        ),
        ("health = { http = 'http://h', expect_json = { '/~2' = 1 } }", "3:47: \"/~2\" is no JSON pointer: "),
        ("health = { http = 'http://h', expect_json = { a = nan } }", "3:51: JSON has only finite numbers"),
        (
            "health = { http = 'http://h', expect_body = '(' }",
            "3:45: \"(\" is no regular expression: unclosed group",
        ),
        (
            "health = { http = 'http://h', headers = { 'a b' = 'c' } }",
            "3:43: \"a b\" cannot be the name of a header",
        ),
        (
            "health = { http = 'http://h', headers = { a = \"b\\nc\" } }",
            "3:47: the value of a header is one line of ASCII",
        ),
        // Variables.
        (
            "description = 'a ${NO} b'",
            "3:18: the variable NO is not set (set it, or give a default: ${NO:-...})",
        ),
        ("description = 'a ${HOEM} b'", "3:18: the variable HOEM is not set (did you mean ${HOME}? "),
        ("description = 'a ${NO'", "3:18: this reference has no closing `}`"),
        ("description = \"\"\"a ${NO}\"\"\"", "3:20: the variable NO is not set"),
        // Where escapes move the characters, the whole string is meant.
        ("description = \"\\t${NO}\"", "3:15: the variable NO is not set"),
    ] {
        let found = one(lines, &[]);
        assert!(
            found.starts_with(&format!("t.toml:{expected}")),
            "{lines}\nwanted {expected}\nfound  {found}"
        );
    }
}

#[cfg(unix)]
#[test]
fn mistakes_about_notification() {
    for (lines, expected) in [
        (
            "ready = { notify = true, timeout = 1 }",
            "3:26: `timeout` goes with `http`, `tcp` and `exec`, not with `notify`",
        ),
        (
            "type = 'notify'\nready.tcp = 'h:1'",
            "4:7: `type = \"notify\"` and `tcp` exclude each other (a service of type notify says by itself when it is ready)",
        ),
        ("watchdog = 0", "3:12: this duration must be at least 1ms, found 0s"),
    ] {
        let found = one(lines, &[]);
        assert!(found.starts_with(&format!("t.toml:{expected}")), "{lines}\n{found}\n{expected}");
    }
    // The notification socket is the control socket's path and ".notify".
    let text = |service: &str| {
        format!("[daemon]\ncontrol_socket = '/{}'\n[service.x]\nexec = 'x'\n{service}", "x".repeat(105))
    };
    assert!(load(&text(""), &[]).is_ok());
    let found = errors(&text("type = 'notify'"), &[]);
    let expected =
        "t.toml:2:18: the path of the notification socket, which the service `x` needs, has 113 bytes";
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
}

#[cfg(windows)]
#[test]
fn notification_is_refused_where_there_is_none() {
    for line in ["type = 'notify'", "ready.notify = true", "watchdog = 1"] {
        assert!(one(line, &[]).contains(" is not supported on Windows: it needs sd_notify's Unix socket"));
    }
}

#[test]
fn several_commands_are_for_oneshots() {
    let found = errors("[service.x]\nexec = [['a'], ['b']]\n", &[]);
    let expected = "t.toml:2:8: several commands go with `type = \"oneshot\"` (what runs before it goes into `exec_start_pre`)";
    assert_eq!(found, [expected]);
    let found = errors("[service.x]\ntype = 'oneshot'\nexec = [['a'], []]\n", &[]);
    assert!(found.len() == 1 && found[0].starts_with("t.toml:3:16: a command needs a program"), "{found:?}");
}

#[test]
fn what_is_designed_but_not_built_is_refused_and_not_unknown() {
    let keys = "sandbox \
        on_keeper_death log.max_age log.compress health.mcp ready.mcp";
    for key in keys.split_whitespace() {
        let found = one(&format!("{key} = 1"), &[]);
        assert!(found.contains(" is not supported yet by this version"), "{key}: {found}");
        assert!(!found.contains("unknown"), "{key}: {found}");
    }
    for line in ["log.target = 'journal'", "log.target = 'both'"] {
        assert!(one(line, &[]).contains(" is not supported yet by this version"), "{line}");
    }
    let found = errors("[daemon]\naccess = 1", &[]);
    assert!(found.len() == 1 && found[0].contains("is not supported yet by this version"), "{found:?}");
}

#[test]
fn a_bad_value_says_which_variable_it_came_from() {
    for (line, value, expected) in [
        (
            "restart.max_restarts = '${V}'",
            "ten",
            "t.toml:3:24: expected an integer, found \"ten\" (the variable V is \"ten\")",
        ),
        (
            "health.tcp = 'h:${V}'",
            "x",
            "t.toml:3:14: \"x\" is no port (the variable V is \"x\") (ports have numbers from 1 to 65535)",
        ),
        (
            "restart.jitter = '${NONE:-2}'",
            "",
            "t.toml:3:18: expected a number from 0 to 1, found 2 (the variable NONE is not set, its default here is \"2\")",
        ),
        (
            "enabled = '${V}'",
            "maybe",
            "t.toml:3:11: expected true or false, found \"maybe\" (the variable V is \"maybe\")",
        ),
        (
            "restart.delay = '${V}'",
            "-1",
            "t.toml:3:17: a duration cannot be negative (the variable V is \"-1\")",
        ),
        (
            "restart.delay = '${V}'",
            "NaN",
            "t.toml:3:17: a duration must be a finite number (the variable V is \"NaN\")",
        ),
    ] {
        assert_eq!(one(line, &[("V", value)]), expected);
    }
}

#[test]
fn a_service_needs_a_program() {
    for (text, expected) in [
        (
            "[service.x]",
            "t.toml:1:10: [service.x] has no `exec` (say what to run: exec = [\"/path/to/program\", \"argument\"])",
        ),
        (
            "[service.x]\nexec = []",
            "t.toml:2:8: a command needs a program (write [\"/path/to/program\", \"argument\"])",
        ),
        (
            "[service.x]\nexec = ' '",
            "t.toml:2:8: a command needs a program (write [\"/path/to/program\", \"argument\"])",
        ),
        ("[service.x]\nexec = ['']", "t.toml:2:8: the name of the program is empty"),
        ("[service.x]\nexec = 'a \"b'", "t.toml:2:8: a quote is not closed"),
        ("[service.x]\nexec = ['a', 1]", "t.toml:2:14: expected a string, found an integer (write \"1\")"),
        ("[service.x]\nexec = 1", "t.toml:2:8: expected a list of strings or one string, found an integer"),
        (
            "[service.x]\nexec = '~/bin/a'",
            "t.toml:2:8: `~` is not replaced: no shell is run (write \"${HOME}/bin/a\")",
        ),
        ("service.x = 1", "t.toml:1:13: expected a table, found an integer (write [service.x])"),
        ("[[service]]\nexec = 'a'", "t.toml:1:1: expected a table, found an array (write [service])"),
        ("[services.x]\nexec = 'a'", "t.toml:1:2: unknown key `services` (did you mean `service`?)"),
        ("daemon = 1", "t.toml:1:10: expected a table, found an integer (write [daemon])"),
    ] {
        assert_eq!(errors(text, &[]), [expected], "{text}");
    }
}

#[test]
fn all_errors_are_drawn_in_the_order_of_the_file() {
    let text = "[daemon]\nstate_dri = \"x\"\n\n[service.web]\r\nexec = [\"a\"]\n\tstop_signal = \"SIGTREM\"\n\n\
        [service.web.restart]\nwhen = \"on_failure\"\nmax_restarts = \"${N}\"\ndelay = 'ü${NONE}y'\n";
    let failed = load(text, &[("N", "ten")]).unwrap_err();
    let file = std::path::Path::new(ROOT).join("t.toml").display().to_string();
    let expected = format!(
        "\
error: unknown key `state_dri` in [daemon]
 --> {file}:2:1
  |
2 | state_dri = \"x\"
  | ^^^^^^^^^
  |
  = help: did you mean `state_dir`?

error: unknown signal \"SIGTREM\"
 --> {file}:6:16
  |
6 |     stop_signal = \"SIGTREM\"
  |                   ^^^^^^^^^
  |
  = help: did you mean \"SIGTERM\"?

error: unknown value \"on_failure\"
 --> {file}:9:8
  |
9 | when = \"on_failure\"
  |        ^^^^^^^^^^^^
  |
  = help: did you mean \"on-failure\"?

error: expected an integer, found \"ten\" (the variable N is \"ten\")
  --> {file}:10:16
   |
10 | max_restarts = \"${{N}}\"
   |                ^^^^^^

error: the variable NONE is not set
  --> {file}:11:11
   |
11 | delay = 'ü${{NONE}}y'
   |           ^^^^^^^
   |
   = help: set it, or give a default: ${{NONE:-...}}

5 errors in the configuration"
    );
    assert_eq!(failed.render(false), expected);
    assert_eq!(failed.to_string(), expected);
    let first = &failed.diagnostics[0];
    assert_eq!((first.line, first.column, first.key.as_str()), (2, 1, "daemon.state_dri"));
    assert_eq!(failed.diagnostics[4].key, "service.web.restart.delay");
}

#[test]
fn colour_adds_nothing_but_colour() {
    let failed = load("[service.x]\nexec = 1", &[]).unwrap_err();
    let colored = failed.render(true);
    assert!(colored.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    assert_eq!(plain + rest, failed.render(false));
}

#[test]
fn several_syntax_errors_are_found_and_replace_all_others() {
    let found = errors("[service.x]\nexec = \nunknown = 1\nb = = 2\n c = 'x\n", &[]);
    assert_eq!(found.len(), 3, "{found:#?}");
    for (found, place) in found.iter().zip(["t.toml:2:8:", "t.toml:4:5:", "t.toml:5:8:"]) {
        assert!(found.starts_with(place), "{found}");
    }
    let twice = errors("[service.x]\nexec = 'a'\nexec = 'b'\n", &[]);
    assert_eq!(twice, ["t.toml:3:1: duplicate key"]);
    assert_eq!(errors("[service.x]\nexec = 'a'\n[service.x]\n", &[]).len(), 1);
}

#[test]
fn what_the_file_says_cannot_drive_a_terminal() {
    let failed = load("[service.x]\n\"ex\\u001b[31mec\" = 1", &[("V", "\u{1b}]0;x\u{7}")]).unwrap_err();
    assert!(!failed.render(false).contains('\u{1b}'), "{failed}");
    let failed = load("[service.x]\nexec = 'x'\nenabled = '${V}'", &[("V", "\u{1b}]0;x\u{7}")]).unwrap_err();
    assert!(!failed.render(false).contains(['\u{1b}', '\u{7}']), "{failed}");
}

#[test]
fn a_very_long_line_is_shown_in_part() {
    let text = format!("[service.x]\nexec = ['x', '{}', 1, '{}']\n", "y".repeat(50_000), "z".repeat(50_000));
    let failed = load(&text, &[]).unwrap_err();
    assert_eq!((failed.diagnostics[0].line, failed.diagnostics[0].column), (2, 50_018));
    let rendered = failed.render(false);
    assert!(rendered.contains("t.toml:2:50018") && rendered.len() < 2_000, "{rendered}");
}

#[test]
fn restarts_without_pause_and_limit_are_worth_a_warning() {
    let warnings = |lines: &str| {
        let text = format!("[service.x]\nexec = 'x'\n[service.x.restart]\n{lines}");
        load(&text, &[]).unwrap().warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
    };
    let endless = ["restarts without a pause and without a limit"];
    assert_eq!(warnings("delay = 0\nmax_restarts = 0"), endless);
    assert_eq!(warnings("delay = 0\nreset_after = 0"), endless);
    assert_eq!(warnings("delay = 0\non_limit = 'retry'"), endless);
    assert!(warnings("delay = 0").is_empty());
    assert!(warnings("delay = 0\nmax_restarts = 0\nwhen = 'never'").is_empty());
    assert!(warnings("max_restarts = 0").is_empty());
}

#[test]
fn what_becomes_of_services_is_one_of_two_words() {
    let found = errors("[daemon]\non_stop = 'leave'\non_keeper_death = 'keep'\n", &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("\"stop\"") && found[0].contains("\"keep\""), "{found:?}");
    assert!(found[1].contains("\"stop\"") && found[1].contains("\"leave\""), "{found:?}");
}
