//! Stands where `mcpd_config`'s loader will: its signatures, and a refusal.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use mcpd_config::Config;
use serde_json::Value;

const NOT_YET: &str = "this build of mcpctl cannot read configuration files";

#[derive(Debug, thiserror::Error)]
#[error("{NOT_YET}")]
pub(crate) struct NotFound;

pub(crate) struct Environment;

impl Environment {
    pub(crate) fn from_process() -> Self {
        Self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        static PATH: std::sync::OnceLock<Option<OsString>> = std::sync::OnceLock::new();
        PATH.get_or_init(|| std::env::var_os(name)).as_deref()
    }
}

pub(crate) struct Diagnostic {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn render(&self, _color: bool) -> String {
        self.message.clone()
    }
}

pub(crate) struct Failed {
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Failed {
    pub(crate) fn render(&self, color: bool) -> String {
        self.diagnostics.iter().map(|diagnostic| diagnostic.render(color)).collect()
    }
}

pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Loaded {
    pub(crate) fn show(&self) -> String {
        String::new()
    }

    pub(crate) fn show_json(&self) -> Value {
        Value::Null
    }
}

pub(crate) fn load(path: &Path, _environment: &Environment) -> Result<Loaded, Failed> {
    let message = NOT_YET.to_owned();
    let diagnostic =
        Diagnostic { file: path.to_owned(), line: 0, column: 0, key: String::new(), message, help: None };
    Err(Failed { diagnostics: vec![diagnostic] })
}

pub(crate) fn find_default(_environment: &Environment) -> Result<PathBuf, NotFound> {
    Err(NotFound)
}

pub(crate) mod program {
    use std::ffi::OsStr;
    use std::path::{Path, PathBuf};

    pub(crate) fn find(
        _program: &str,
        _cwd: Option<&Path>,
        _path: Option<&OsStr>,
    ) -> Result<PathBuf, super::NotFound> {
        Err(super::NotFound)
    }
}
