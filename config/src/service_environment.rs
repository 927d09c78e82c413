//! The variables that a service starts with.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::environment_file::{self, SyntaxError};
use crate::spec::{EnvironmentFile, ServiceSpec};

/// What systemd says to the daemon and not to those that the daemon starts: a service that took these for its own would
/// report itself ready in the daemon's name, or take sockets that are not there.
const DAEMONS_OWN: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
];
/// What a login sets for one user and is wrong for another.
const OF_THE_LOGIN: &[&str] = &["HOME", "LOGNAME", "SHELL", "USER"];
/// The daemon's own settings.
const DAEMONS_PREFIX: &str = "MCPD_";

/// Why a service's variables could not be put together.
#[derive(Debug)]
pub enum EnvironmentError {
    /// A file of `environment_files` cannot be read, and is not marked as one that may be absent.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file of `environment_files` is not a list of `NAME=value`.
    Malformed {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } if error.kind() == std::io::ErrorKind::NotFound => write!(
                f,
                "the environment file {} does not exist (write \"-{0}\" if it may be absent)",
                file.display()
            ),
            Self::Unreadable { file, error } => {
                write!(f, "the environment file {} cannot be read: {error}", file.display())
            }
            Self::Malformed { file, line, why } => {
                write!(f, "the environment file {}, line {line}: {why}", file.display())
            }
        }
    }
}

impl EnvironmentError {
    /// Whether it stays so until somebody does something about it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        use std::io::ErrorKind::{NotFound, PermissionDenied};
        match self {
            Self::Unreadable { error, .. } => matches!(error.kind(), NotFound | PermissionDenied),
            Self::Malformed { .. } => true,
        }
    }
}

impl std::error::Error for EnvironmentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Malformed { .. } => None,
        }
    }
}

/// What a service starts with.
#[derive(Debug, Default)]
pub struct ServiceEnvironment {
    /// Sorted by name.
    pub variables: Vec<(OsString, OsString)>,
    /// All values that stand in `secret_environment_files`.
    pub secrets: Vec<String>,
}

/// All variables for the service: what the daemon inherited, less its own business, then `environment`, then
/// `environment_files` in their order, then `secret_environment_files`. Later ones win. The files are read now, as at every start. With a `user`, HOME,
/// LOGNAME, SHELL and USER are not inherited: whoever starts the program looks up that user's.
///
/// # Errors
///
/// A file that must be there is not, or a file is not a list of variables.
pub fn service_environment(
    spec: &ServiceSpec,
    inherited: impl Iterator<Item = (OsString, OsString)>,
) -> Result<ServiceEnvironment, EnvironmentError> {
    let mut variables = Variables::default();
    let of_another = |name: &OsStr| spec.user.is_some() && OF_THE_LOGIN.iter().any(|own| name == *own);
    for (name, value) in inherited.filter(|(name, _)| !is_daemons_own(name) && !of_another(name)) {
        variables.set(name, value);
    }
    for (name, value) in &spec.environment {
        variables.set(name.into(), value.into());
    }
    for file in &spec.environment_files {
        for (name, value) in read(file, false)? {
            variables.set(name.into(), value.into());
        }
    }
    let mut secrets = Vec::new();
    for file in &spec.secret_environment_files {
        for (name, value) in read(file, true)? {
            secrets.push(value.clone());
            variables.set(name.into(), value.into());
        }
    }
    Ok(ServiceEnvironment { variables: variables.0.into_values().collect(), secrets })
}

fn read(file: &EnvironmentFile, secret: bool) -> Result<Vec<(String, String)>, EnvironmentError> {
    match std::fs::metadata(&file.path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if file.optional {
                return Ok(Vec::new());
            }
            return Err(EnvironmentError::Unreadable { file: file.path.clone(), error });
        }
        Ok(_) | Err(_) => {}
    }
    let text = crate::load::read(&file.path).map_err(|why| EnvironmentError::Unreadable {
        file: file.path.clone(),
        error: std::io::Error::other(why),
    })?;
    environment_file::parse(&text).map_err(|SyntaxError { line, why }| {
        // What stands in the wrong place may be the secret.
        let why = if secret {
            "expected NAME=value, with a quote closed where one is opened".to_owned()
        } else {
            why
        };
        EnvironmentError::Malformed { file: file.path.clone(), line, why }
    })
}

/// What a program that is the daemon's, and no service's, starts with: what the daemon inherited, less its own business.
#[must_use]
pub fn own_environment(inherited: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    inherited.filter(|(name, _)| !is_daemons_own(name)).collect()
}

fn is_daemons_own(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let name = folded(name);
    DAEMONS_OWN.contains(&name.as_str()) || name.starts_with(DAEMONS_PREFIX)
}

/// By the name under which the system knows the variable: on Windows the case does not matter.
#[derive(Default)]
struct Variables(BTreeMap<OsString, (OsString, OsString)>);

impl Variables {
    fn set(&mut self, name: OsString, value: OsString) {
        let key = name.to_str().map_or_else(|| name.clone(), |name| folded(name).into());
        self.0.insert(key, (name, value));
    }
}

fn folded(name: &str) -> String {
    if cfg!(windows) { name.to_uppercase() } else { name.to_owned() }
}
