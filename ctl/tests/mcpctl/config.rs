//! `config check|show`: files are read here, no daemon is asked.

use std::path::Path;

use serde_json::json;

use crate::fake::{Fake, daemon};
use crate::run::{Ended, Running, command};

/// A file and what it needs around it.
fn config(verb: &str, text: &str) -> (Ended, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mcpd.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = command(verb);
    command.arg(&file).env("PATH", "/nowhere/at/all").env("HOME", dir.path());
    (Running::start(command).end(), file.display().to_string())
}

/// A program that is there on every system: the test's own.
fn here() -> String {
    Path::new(env!("CARGO_BIN_EXE_mcpctl")).display().to_string()
}

#[test]
fn a_good_file_is_one_line() {
    let text = format!("[service.web]\nexec = ['{}']\n", here());
    let (ended, file) = config("config check", &text);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert_eq!(ended.text(), format!("{file} is good: 1 service\n"));
    let (ended, file) = config("config check --json", &text);
    assert_eq!((ended.code, &ended.json()["ok"], &ended.json()["file"]), (0, &json!(true), &json!(file)));
}

#[test]
fn a_program_that_is_not_there_is_a_warning_with_the_path_searched() {
    let text = "[service.web]\nexec = [\"no-such-program\"]\n\
                [service.\"own\"]\nexec = [\"other\"]\nenvironment = { PATH = \"/of/its/own\" }\n";
    let (ended, _) = config("config check", text);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.text().ends_with("is good: 2 services, 2 warnings\n"), "{ended:?}");
    for said in ["service.web.exec", "no-such-program", "/nowhere/at/all", "service.own.exec", "/of/its/own"]
    {
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
    let (ended, _) = config("config check --json", text);
    assert_eq!(ended.json()["warnings"][1]["key"], "service.web.exec", "{ended:?}");
    let (ended, _) =
        config("config check", "[service.web]\nexec = [\"x\"]\nenvironment_files = [\"absent.env\"]\n");
    assert!(ended.stderr.contains("service.web.environment_files: ") && ended.stderr.contains("absent.env"));
}

#[test]
fn what_else_would_park_a_service_is_a_warning_too() {
    let text = format!("[service.web]\nexec = ['{}']\nworking_directory = 'absent'\n", here());
    let (ended, _) = config("config check", &text);
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.starts_with("warning: service.web.working_directory: its working directory "), "{told}");
    assert!(told.ends_with("absent does not exist"), "{told}");
    for program in ["-no-such-program", "-/no/such/program"] {
        let (ended, _) = config("config check", &format!("[service.web]\nexec = ['{program}']\n"));
        let told = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("a `-` before a program, which ignores its failure, is for "), "{told}");
    }
}

#[test]
fn every_error_is_told_and_the_code_is_6() {
    let text = "[service.web]\nexec = []\nstop_timeout = \"soon\"\n";
    for verb in ["config check", "config show"] {
        let (ended, file) = config(verb, text);
        assert_eq!((ended.code, ended.text().as_str()), (6, ""), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{file}:2:")), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{file}:3:")), "{ended:?}");
        assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
    }
    let (ended, _) = config("config check --json", text);
    assert_eq!(ended.json()["errors"].as_array().map(Vec::len), Some(2), "{ended:?}");
    assert_eq!((ended.code, &ended.json()["errors"][1]["line"]), (6, &json!(3)));
    let (ended, _) = config("config check --color always", text);
    assert!(ended.stderr.contains('\x1b'), "{ended:?}");
}

#[test]
fn show_is_the_settled_configuration() {
    let (ended, file) = config("config show", "[service.web]\nexec = [\"x\"]\nstop_timeout = \"7s\"\n");
    assert_eq!(ended.code, 0, "{ended:?}");
    let text = ended.text();
    let line = text.lines().find(|line| line.starts_with("stop_timeout")).unwrap();
    assert!(line.contains("7s") && line.contains(&format!("{file}:3")), "{line}");
    let (ended, _) = config("config show --json", "[service.web]\nexec = [\"x\"]\n");
    assert!(ended.json()["services"]["web"].is_object(), "{ended:?}");
}

#[test]
fn no_file_is_6_and_a_file_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command("config check");
    command.arg(dir.path().join("absent.toml"));
    let ended = Running::start(command).end();
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.stderr.contains("absent.toml"), "{ended:?}");
}

#[test]
fn the_configured_socket_is_found() {
    // With a single usual place, as on Windows, that place decides.
    if mcpd_proto::socket::candidates().iter().any(|path| path.exists()) || cfg!(windows) {
        return;
    }
    let fake = Fake::start(|asked| asked.answer(daemon()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mcpd.toml");
    std::fs::write(&file, format!("[daemon]\ncontrol_socket = '{}'\n", fake.socket.display())).unwrap();
    let mut command = command("daemon status");
    command.env("MCPD_CONFIG", &file);
    let ended = Running::start(command).end();
    assert_eq!(ended.code, 0, "{ended:?}");
}
