//! Short ways to load a text.

use std::path::{Path, PathBuf};

use mcpd_config::{Diagnostic, Environment, Failed, Loaded, ServiceSpec, load_text};

/// Where the texts pretend to be.
pub(crate) const ROOT: &str = if cfg!(windows) { r"C:\mcpd" } else { "/etc/mcpd" };

pub(crate) fn environment(vars: &[(&str, &str)]) -> Environment {
    let home = [("HOME", "/home/u")];
    home.iter().chain(vars).copied().collect()
}

pub(crate) fn load(text: &str, vars: &[(&str, &str)]) -> Result<Loaded, Failed> {
    load_text(&Path::new(ROOT).join("t.toml"), text, &environment(vars))
}

/// The service `x` with a program and these lines.
pub(crate) fn service(lines: &str, vars: &[(&str, &str)]) -> ServiceSpec {
    let text = format!("[service.x]\nexec = 'x'\n{lines}\n");
    load(&text, vars).unwrap_or_else(|failed| panic!("{failed}")).config.services.remove("x").unwrap()
}

/// The errors of a text, one line each, without the directory.
pub(crate) fn errors(text: &str, vars: &[(&str, &str)]) -> Vec<String> {
    let failed = load(text, vars).expect_err(text);
    failed.diagnostics.iter().map(line).collect()
}

pub(crate) fn line(diagnostic: &Diagnostic) -> String {
    let name = diagnostic.file.file_name().unwrap_or_default().to_owned();
    let mut diagnostic = diagnostic.clone();
    diagnostic.file = name.into();
    diagnostic.to_string()
}

/// The only error of the service `x` with these lines; they start on line 3.
pub(crate) fn one(lines: &str, vars: &[(&str, &str)]) -> String {
    let mut found = errors(&format!("[service.x]\nexec = 'x'\n{lines}\n"), vars);
    assert_eq!(found.len(), 1, "{lines}: {found:#?}");
    found.remove(0)
}

/// A path as the texts at [`ROOT`] mean it.
pub(crate) fn absolute(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}
