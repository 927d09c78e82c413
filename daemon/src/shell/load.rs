//! Reads a configuration and looks at what it names on this machine, off the loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mcpd_config::spec::Probe;
use mcpd_config::{Config, Environment, Origin, Origins, ServiceSpec};

use crate::probe::HttpCheck;

/// A configuration that is valid, and what was found out about it.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where files that `include` would name may appear: directories, and globs of the files below them.
    pub include_places: Vec<(PathBuf, String)>,
    /// Where each service is defined, `file:line`.
    pub origins: BTreeMap<String, String>,
    /// Where each value came from.
    pub places: Origins,
    /// Things that are no errors, in sentences.
    pub warnings: Vec<String>,
    /// Services whose program cannot be found, and why.
    pub missing: BTreeMap<String, String>,
    /// Where programs were found.
    pub programs: BTreeMap<String, PathBuf>,
}

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file, read again at each reload.
    File(PathBuf),
    /// A text that is part of the program.
    Text(PathBuf, String),
}

impl Source {
    /// The file, or what stands for it.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Text(path, _) => path,
        }
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// Every error of the configuration, rendered for people.
    pub fn load(&self, color: bool) -> Result<Loaded, String> {
        let env = Environment::from_process();
        let loaded = match self {
            Self::File(path) => mcpd_config::load(path, &env),
            Self::Text(path, text) => mcpd_config::load_text(path, text, &env),
        }
        .map_err(|failed| failed.render(color))?;
        let mut missing = BTreeMap::new();
        let mut programs = BTreeMap::new();
        let mut origins = BTreeMap::new();
        let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        for (name, spec) in &loaded.config.services {
            let key = mcpd_config::dotted(&["service", name, "exec"]);
            if let Some(Origin::File { file, line, .. }) = loaded.origins.get(&key) {
                origins.insert(name.clone(), format!("{}:{line}", file.display()));
            }
            let mut lacking = find_others(spec);
            match find_program(spec, &spec.exec) {
                Ok(program) => drop(programs.insert(name.clone(), program)),
                // The commands before it may be what brings it: that is seen when its turn comes.
                Err(why) if is_prepared(spec) => {
                    lacking.insert(0, format!("exec cannot be run before exec_start_pre has been: {why}"));
                }
                Err(why) => {
                    lacking.clear();
                    missing.insert(name.clone(), why);
                }
            }
            warnings.extend(lacking.into_iter().map(|what| format!("service \"{name}\": {what}")));
        }
        Ok(Loaded {
            config: loaded.config,
            include_places: loaded.places,
            origins,
            places: loaded.origins,
            warnings,
            missing,
            programs,
        })
    }
}

/// Something runs before `exec`. Without its directory nothing does.
fn is_prepared(spec: &ServiceSpec) -> bool {
    !spec.exec_start_pre.is_empty()
        && spec.working_directory.as_ref().is_none_or(|directory| directory.is_dir())
}

/// What cannot be run of the other programs. They are looked for whenever they are needed, so that they may come later:
/// what makes one of the commands before another is no mistake.
fn find_others(spec: &ServiceSpec) -> Vec<String> {
    let unfound = |(key, argv): (&str, &[String])| {
        let found = if key == "crash.notify" { find_own(argv) } else { find_program(spec, argv) };
        let why = found.err()?;
        Some(match key {
            "crash.notify" => format!("nobody can be told by crash.notify as things are: {why}"),
            "health.exec" => format!("its health check cannot be carried out: {why}"),
            key => format!("{key} cannot be run as things are: {why}"),
        })
    };
    mcpd_config::program::others(spec).into_iter().filter_map(unfound).collect()
}

/// A program with the PATH that the service will have; an error names the PATH that was searched.
fn find_program(spec: &ServiceSpec, argv: &[String]) -> Result<PathBuf, String> {
    let Some(first) = argv.first() else { return Err("exec is empty".into()) };
    if let Some(why) = mcpd_config::program::no_directory(spec) {
        return Err(why);
    }
    let path = match spec.environment.get("PATH") {
        Some(path) => Some(path.into()),
        None => std::env::var_os("PATH"),
    };
    mcpd_config::program::find(first, spec.working_directory.as_deref(), path.as_deref())
        .map_err(|error| error.to_string())
}

/// A program that mcpd runs as itself.
fn find_own(argv: &[String]) -> Result<PathBuf, String> {
    let Some(first) = argv.first() else { return Err("exec is empty".into()) };
    let path = std::env::var_os("PATH");
    mcpd_config::program::find(first, None, path.as_deref()).map_err(|error| error.to_string())
}

/// A check of a service, ready to be asked, when it is an HTTP one.
///
/// # Errors
/// A sentence.
pub fn http_check(check: Option<(&Probe, Duration)>) -> Result<Option<Arc<HttpCheck>>, String> {
    match check {
        Some((Probe::Http(http), timeout)) => {
            HttpCheck::new(http, timeout).map(|check| Some(Arc::new(check)))
        }
        Some((Probe::Tcp { .. } | Probe::Exec { .. }, _)) | None => Ok(None),
    }
}
