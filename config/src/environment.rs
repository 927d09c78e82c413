//! The variables that a configuration may refer to.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What of the process's surroundings has a say in the configuration; handed in, so that a test need not change its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Environment variables. They also serve `${VAR}`, the search for a file and the default directories.
    pub vars: BTreeMap<OsString, OsString>,
    /// Whether the system's places (`/etc`, `/run`, `/var`) are used rather than a user's. Of no effect on Windows.
    pub is_root: bool,
}

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn from_process() -> Self {
        Self { vars: std::env::vars_os().collect(), is_root: is_root() }
    }

    /// The variable's value; on Windows the case of the name does not matter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        if let Some(value) = self.vars.get(OsStr::new(name)) {
            return Some(value);
        }
        if !cfg!(windows) {
            return None;
        }
        self.vars.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_os_str())
    }

    /// The variable's value as a directory; relative and empty ones count as unset, as the XDG specification says.
    pub(crate) fn directory(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    /// These variables, for a user who is not root.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self {
            vars: vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            is_root: false,
        }
    }
}
