//! The variables that a service starts with.

use std::ffi::OsString;

use mcpd_config::{EnvironmentError, Loaded, service_environment};

use crate::common::environment;

fn load(root: &std::path::Path, lines: &str) -> Loaded {
    let text = format!("[service.x]\nexec = 'x'\n{lines}\n");
    mcpd_config::load_text(&root.join("main.toml"), &text, &environment(&[])).unwrap()
}

fn variables(
    root: &std::path::Path,
    lines: &str,
    inherited: &[(&str, &str)],
) -> Result<Vec<String>, EnvironmentError> {
    let loaded = load(root, lines);
    let inherited = inherited.iter().map(|&(name, value)| (OsString::from(name), OsString::from(value)));
    let found = service_environment(&loaded.config.services["x"], inherited)?;
    Ok(found
        .variables
        .iter()
        .map(|(name, value)| format!("{}={}", name.display(), value.display()))
        .collect())
}

#[test]
fn what_is_the_daemons_business_is_not_inherited() {
    let root = tempfile::tempdir().unwrap();
    let inherited: Vec<(&str, &str)> = "PATH NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC LISTEN_PID LISTEN_FDS \
        LISTEN_FDNAMES INVOCATION_ID JOURNAL_STREAM MANAGERPID SYSTEMD_EXEC_PID MCPD_CONFIG MCPD_LOG MCP_STUDIO_PORT"
        .split_whitespace()
        .map(|name| (name, "1"))
        .collect();
    assert_eq!(variables(root.path(), "", &inherited).unwrap(), ["MCP_STUDIO_PORT=1", "PATH=1"]);
    // What the configuration says itself is said on purpose.
    let given =
        variables(root.path(), "environment.MCPD_X = '2'\nenvironment.NOTIFY_SOCKET = '/n'", &inherited);
    assert_eq!(given.unwrap(), ["MCPD_X=2", "MCP_STUDIO_PORT=1", "NOTIFY_SOCKET=/n", "PATH=1"]);
}

#[test]
fn later_sources_win() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("one"), "C=one\nD=one\n").unwrap();
    std::fs::write(root.path().join("two"), "# comment\nexport D='two'\n").unwrap();
    let lines = "environment = { B = 'table', C = 'table', D = 'table' }\nenvironment_files = ['one', '-missing', 'two']";
    let found = variables(root.path(), lines, &[("A", "inherited"), ("B", "inherited"), ("C", "inherited")]);
    assert_eq!(found.unwrap(), ["A=inherited", "B=table", "C=one", "D=two"]);
}

#[test]
fn a_file_that_must_be_there_and_one_that_is_malformed_are_named() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    let error = variables(root.path(), "environment_files = ['missing']", &[]).unwrap_err();
    let expected = format!(
        "the environment file {0} does not exist (write \"-{0}\" if it may be absent)",
        at("missing")
    );
    assert_eq!(error.to_string(), expected);
    // A leading dash forgives absence, nothing else.
    std::fs::write(root.path().join("bad"), "A=1\n\nhello\n").unwrap();
    let error = variables(root.path(), "environment_files = ['-bad']", &[]).unwrap_err();
    let expected =
        format!("the environment file {}, line 3: expected NAME=value, found \"hello\"", at("bad"));
    assert_eq!(error.to_string(), expected);
    std::fs::create_dir(root.path().join("dir")).unwrap();
    assert!(variables(root.path(), "environment_files = ['-dir']", &[]).is_err());
}

#[test]
fn secret_files_come_last_and_all_that_is_in_them_is_secret() {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in
        [("one", "A=file\nB=file\n"), ("secret", "B=s3\nPIN=1234\n"), ("bad", "hunter2hunter2\n")]
    {
        std::fs::write(root.path().join(name), text).unwrap();
    }
    let lines = "environment_files = ['one']\nsecret_environment_files = ['secret', '-missing']";
    assert_eq!(variables(root.path(), lines, &[]).unwrap(), ["A=file", "B=s3", "PIN=1234"]);
    let loaded = load(root.path(), lines);
    let found = service_environment(&loaded.config.services["x"], std::iter::empty()).unwrap();
    assert_eq!(found.secrets, ["s3", "1234"]);
    // What stands in the wrong place may be the secret.
    let error = variables(root.path(), "secret_environment_files = ['bad']", &[]).unwrap_err().to_string();
    assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_is_not_utf8_is_inherited_as_it_is() {
    use std::os::unix::ffi::OsStringExt as _;
    let root = tempfile::tempdir().unwrap();
    let odd = OsString::from_vec(vec![b'x', 0xff]);
    let found = service_environment(
        &load(root.path(), "").config.services["x"],
        [(odd.clone(), odd.clone())].into_iter(),
    );
    assert_eq!(found.unwrap().variables, [(odd.clone(), odd)]);
}

#[test]
fn the_process_has_an_environment() {
    assert!(mcpd_config::Environment::from_process().get("PATH").is_some());
}
