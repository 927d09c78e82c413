//! `config check|show`: what a file says, without the daemon. `config plan` asks it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mcpd_config::{
    Diagnostic, Environment, Failed, Loaded, ServiceSpec, dotted, find_default, load, program,
    service_environment,
};
use serde_json::{Value, json};

use super::{Context, plan};
use crate::args::ConfigVerb;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::look::{GOOD, Look, WARN};
use crate::out::complain;
use crate::{human, text};

/// The control socket that the configuration names that mcpd would find. Nothing when there is none, or when it has
/// errors: that is not what the caller asked about.
pub(crate) fn default_socket() -> Option<PathBuf> {
    let environment = Environment::from_process();
    let file = find_default(&environment).ok()?;
    Some(load(&file, &environment).ok()?.config.daemon.control_socket)
}

/// Does what the verb says.
pub(crate) fn run(what: ConfigVerb, context: &mut Context) -> Result<Exit, Failure> {
    let environment = Environment::from_process();
    let mut with_secrets = false;
    let (file, checks) = match what {
        ConfigVerb::Plan { restart } => return plan::run(restart, context),
        ConfigVerb::Check { file } => (file, true),
        ConfigVerb::Show { file, secrets } => {
            with_secrets = secrets;
            (file, false)
        }
    };
    let file = match file {
        Some(file) => file,
        None => match find_default(&environment) {
            Ok(file) => file,
            Err(error) => return absent(&error.to_string(), context),
        },
    };
    let loaded = match load(&file, &environment) {
        Ok(loaded) => loaded,
        Err(failed) => return invalid(&file, &failed, context),
    };
    if checks { check(&file, &loaded, context) } else { show(&loaded, with_secrets, context) }
}

fn absent(sentence: &str, context: &mut Context) -> Result<Exit, Failure> {
    if context.common.json {
        let error = json!({ "message": sentence });
        context.out.document(&json!({ "schema": mcpd_proto::SCHEMA, "ok": false, "errors": [error] }))?;
    }
    let lines = context.errors.wrap(&format!("mcpctl: {}", text::safe(sentence)), 2);
    complain(&(lines.join("\n  ") + "\n"));
    Ok(Exit::ConfigInvalid)
}

fn invalid(file: &Path, failed: &Failed, context: &mut Context) -> Result<Exit, Failure> {
    if context.common.json {
        let errors: Vec<Value> = failed.diagnostics.iter().map(diagnostic).collect();
        let document = json!({ "schema": mcpd_proto::SCHEMA, "file": file, "ok": false, "errors": errors });
        context.out.document(&document)?;
    } else {
        complain(&(failed.render(context.errors.color) + "\n"));
    }
    Ok(Exit::ConfigInvalid)
}

fn check(file: &Path, loaded: &Loaded, context: &mut Context) -> Result<Exit, Failure> {
    let missing = missing(&loaded.config.services, || std::env::vars_os().collect());
    let services = loaded.config.services.len();
    if context.common.json {
        let warnings: Vec<Value> = loaded
            .warnings
            .iter()
            .map(diagnostic)
            .chain(
                missing
                    .iter()
                    .map(|missing| json!({ "file": file, "key": missing.key, "message": missing.sentence })),
            )
            .collect();
        context.out.document(&json!({
            "schema": mcpd_proto::SCHEMA,
            "file": file,
            "ok": true,
            "services": services,
            "files": loaded.config.files,
            "errors": [],
            "warnings": warnings,
        }))?;
        return Ok(Exit::Done);
    }
    for warning in &loaded.warnings {
        complain(&(warning.render(context.errors.color) + "\n\n"));
    }
    complain(&unfound(&missing, &context.errors));
    let line = verdict(file, services, loaded.config.files.len(), loaded.warnings.len() + missing.len());
    let line = context.out.look.paint(GOOD, &line);
    context.out.text(&(line + "\n"))?;
    context.out.flush()?;
    Ok(Exit::Done)
}

fn show(loaded: &Loaded, secrets: bool, context: &mut Context) -> Result<Exit, Failure> {
    for warning in &loaded.warnings {
        complain(&(warning.render(context.errors.color) + "\n\n"));
    }
    if context.common.json {
        let document = if secrets { loaded.show_json_with_secrets() } else { loaded.show_json() };
        context.out.document(&document)?;
    } else {
        let text = if secrets { loaded.show_with_secrets() } else { loaded.show() };
        context.out.text(&(text.trim_end().to_owned() + "\n"))?;
        context.out.flush()?;
    }
    Ok(Exit::Done)
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    json!({
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "key": diagnostic.key,
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}

/// `mcpd.toml is good: 5 services in 2 files, 1 warning`
fn verdict(file: &Path, services: usize, files: usize, warnings: usize) -> String {
    let mut line = format!("{} is good: {}", file.display(), human::count(services, "service", "services"));
    if files > 1 {
        line.push_str(&format!(" in {files} files"));
    }
    if warnings > 0 {
        line.push_str(&format!(", {}", human::count(warnings, "warning", "warnings")));
    }
    line
}

/// Something that is not there outside of the configuration: mcpd would park this service.
#[derive(Debug)]
struct Missing {
    key: String,
    sentence: String,
}

/// Looks as mcpd would, with the variables that it would inherit if it were started here.
fn missing(
    services: &BTreeMap<String, ServiceSpec>,
    inherited: impl Fn() -> Vec<(OsString, OsString)>,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    for (name, service) in services {
        let key = |key: &str| dotted(&["service", name, key]);
        if let Some(sentence) = program::no_directory(service) {
            missing.push(Missing { key: key("working_directory"), sentence });
            continue;
        }
        let path = match service_environment(service, inherited().into_iter()) {
            // Windows ignores the case of names and writes "Path".
            Ok(found) => found.variables.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("PATH")),
            Err(error) => {
                missing.push(Missing { key: key("environment_files"), sentence: error.to_string() });
                continue;
            }
        };
        let path = path.as_ref().map(|(_, path)| path.as_os_str());
        let mut find = |keys: &str, argv: &[String]| {
            let Some(asked) = argv.first() else { return true };
            let found = program::find(asked, service.working_directory.as_deref(), path);
            let Err(error) = found else { return true };
            let parts: Vec<&str> = ["service", name].into_iter().chain(keys.split('.')).collect();
            missing.push(Missing { key: dotted(&parts), sentence: error.to_string() });
            false
        };
        if find("exec", &service.exec) || !service.exec_start_pre.is_empty() {
            for (keys, argv) in program::others(service) {
                find(keys, argv);
            }
        }
    }
    missing
}

fn unfound(missing: &[Missing], look: &Look) -> String {
    let mut text = String::new();
    for Missing { key, sentence } in missing {
        let told = text::safe(&format!("{key}: {sentence}"));
        let lines = look.wrap(&told, 9);
        text.push_str(&format!("{}: {}\n", look.paint(WARN, "warning"), lines.join("\n         ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::{assert_fits, terminal};

    #[test]
    fn a_good_file_is_one_line() {
        assert_eq!(verdict(Path::new("mcpd.toml"), 1, 1, 0), "mcpd.toml is good: 1 service");
        assert_eq!(verdict(Path::new("a"), 5, 2, 1), "a is good: 5 services in 2 files, 1 warning");
    }

    #[test]
    fn programs_that_are_not_there_are_warned_about() {
        let sentence = format!("\"pythn\" is in none of {}", "/usr/local/bin:/usr/bin ".repeat(6));
        let text = unfound(&[Missing { key: "service.web.exec".into(), sentence }], &terminal());
        assert!(text.starts_with("warning: service.web.exec: \"pythn\" is in none of"), "{text}");
        assert_fits(&text, 80);
    }
}
