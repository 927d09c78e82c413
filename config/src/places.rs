//! Where things are when nobody says so: the configuration file and the daemon's directories.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// The control socket in a directory of the daemon's own.
pub(crate) const SOCKET_NAME: &str = "control.sock";

/// No configuration file was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// Every place that was looked at, in order, and why there is no file to use.
    pub looked: Vec<(PathBuf, String)>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no configuration file found; looked at")?;
        for (path, why) in &self.looked {
            write!(f, "\n  {} ({why})", path.display())?;
        }
        f.write_str("\nname one with --config FILE or the variable MCPD_CONFIG")
    }
}

impl std::error::Error for NotFound {}

/// The configuration file to use when none is named: `$MCPD_CONFIG`, `./mcpd.toml`, `$XDG_CONFIG_HOME/mcpd/mcpd.toml`,
/// `/etc/mcpd/mcpd.toml`; as root the last one first, so that no directory that root happens to be in decides. On Windows
/// `%ProgramData%\mcpd\mcpd.toml` is the last one.
///
/// A file that `$MCPD_CONFIG` names is the answer even if it does not exist: who names a file wants that one.
///
/// # Errors
///
/// None of the places has a file.
pub fn find_default(environment: &Environment) -> Result<PathBuf, NotFound> {
    let mut looked = Vec::new();
    for Candidate { path, named } in candidates(environment) {
        match std::fs::metadata(&path) {
            _ if named => return Ok(path),
            Ok(found) if found.is_dir() => looked.push((path, "a directory".to_owned())),
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                looked.push((path, "does not exist".to_owned()));
            }
            Err(error) => looked.push((path, error.to_string())),
        }
    }
    Err(NotFound { looked })
}

#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    path: PathBuf,
    named: bool,
}

fn candidates(environment: &Environment) -> Vec<Candidate> {
    let place = |path: PathBuf| Candidate { path, named: false };
    let named = environment.get("MCPD_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut candidates: Vec<Candidate> =
        named.map(|path| Candidate { path, named: true }).into_iter().collect();
    candidates.push(place(PathBuf::from("mcpd.toml")));
    candidates.extend(config_home(environment).map(|home| place(home.join("mcpd").join("mcpd.toml"))));
    let system = place(system_config(environment));
    if environment.is_root && !cfg!(windows) {
        candidates.insert(0, system);
    } else {
        candidates.push(system);
    }
    candidates
}

fn config_home(environment: &Environment) -> Option<PathBuf> {
    environment
        .directory("XDG_CONFIG_HOME")
        .or_else(|| environment.directory("HOME").map(|home| home.join(".config")))
}

fn system_config(environment: &Environment) -> PathBuf {
    if cfg!(windows) {
        program_data(environment).join("mcpd.toml")
    } else {
        PathBuf::from("/etc/mcpd/mcpd.toml")
    }
}

fn program_data(environment: &Environment) -> PathBuf {
    let data = environment.directory("ProgramData");
    data.unwrap_or_else(|| PathBuf::from(r"C:\ProgramData")).join("mcpd")
}

/// The default of `state_dir`; `None` when even the home directory is unknown.
pub(crate) fn state_dir(environment: &Environment) -> Option<PathBuf> {
    if cfg!(windows) {
        return Some(program_data(environment));
    }
    if environment.is_root {
        return Some(PathBuf::from("/var/lib/mcpd"));
    }
    let home = || environment.directory("HOME").map(|home| home.join(".local").join("state"));
    environment.directory("XDG_STATE_HOME").or_else(home).map(|state| state.join("mcpd"))
}

/// The default of `log_dir`; `None`: `state_dir/logs`.
pub(crate) fn log_dir(environment: &Environment) -> Option<PathBuf> {
    (environment.is_root && !cfg!(windows)).then(|| PathBuf::from("/var/log/mcpd"))
}

/// The default of `control_socket`; `None`: in `state_dir`.
pub(crate) fn control_socket(environment: &Environment) -> Option<PathBuf> {
    if cfg!(windows) {
        return Some(PathBuf::from(r"\\.\pipe\mcpd"));
    }
    if environment.is_root {
        return Some(Path::new("/run/mcpd").join(SOCKET_NAME));
    }
    environment.directory("XDG_RUNTIME_DIR").map(|run| run.join("mcpd").join(SOCKET_NAME))
}

/// The first directory of a variable such as `STATE_DIRECTORY`, which systemd.exec(5) separates by colons.
pub(crate) fn systemd_directory(environment: &Environment, variable: &str) -> Option<PathBuf> {
    if cfg!(windows) {
        return None;
    }
    let all = environment.get(variable)?;
    std::env::split_paths(all).find(|path| path.is_absolute())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn paths(environment: &Environment) -> Vec<String> {
        candidates(environment).iter().map(|candidate| candidate.path.display().to_string()).collect()
    }

    #[test]
    fn where_a_file_is_looked_for() {
        let mut environment: Environment = [("HOME", "/home/u")].into_iter().collect();
        assert_eq!(
            paths(&environment),
            ["mcpd.toml", "/home/u/.config/mcpd/mcpd.toml", "/etc/mcpd/mcpd.toml"]
        );
        environment.vars.insert("XDG_CONFIG_HOME".into(), "/cfg".into());
        environment.vars.insert("MCPD_CONFIG".into(), "/named.toml".into());
        assert_eq!(
            paths(&environment),
            ["/named.toml", "mcpd.toml", "/cfg/mcpd/mcpd.toml", "/etc/mcpd/mcpd.toml"]
        );
        environment.is_root = true;
        assert_eq!(
            paths(&environment),
            ["/etc/mcpd/mcpd.toml", "/named.toml", "mcpd.toml", "/cfg/mcpd/mcpd.toml"]
        );
        let relative: Environment = [("HOME", ""), ("XDG_CONFIG_HOME", "cfg")].into_iter().collect();
        assert_eq!(paths(&relative), ["mcpd.toml", "/etc/mcpd/mcpd.toml"]);
    }

    #[test]
    fn a_named_file_is_the_answer_even_if_it_is_missing() {
        let environment: Environment = [("MCPD_CONFIG", "/nowhere/at/all.toml")].into_iter().collect();
        assert_eq!(find_default(&environment), Ok(PathBuf::from("/nowhere/at/all.toml")));
    }

    #[test]
    fn every_place_is_named_when_there_is_no_file() {
        let empty = tempfile::tempdir().unwrap();
        let home = empty.path().display().to_string();
        let environment: Environment = [("XDG_CONFIG_HOME", home.as_str())].into_iter().collect();
        std::fs::create_dir_all(empty.path().join("mcpd/mcpd.toml")).unwrap();
        // The package's own directory has no mcpd.toml; a machine with /etc/mcpd/mcpd.toml has an answer.
        let Err(error) = find_default(&environment) else { return };
        let expected = format!(
            "no configuration file found; looked at\n  mcpd.toml (does not exist)\n  {home}/mcpd/mcpd.toml (a directory)\n  \
             /etc/mcpd/mcpd.toml (does not exist)\nname one with --config FILE or the variable MCPD_CONFIG"
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_file_in_a_users_directory_is_found() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("mcpd/mcpd.toml");
        std::fs::create_dir_all(home.path().join("mcpd")).unwrap();
        std::fs::write(&path, "").unwrap();
        let environment: Environment = [("XDG_CONFIG_HOME", home.path())].into_iter().collect();
        assert_eq!(find_default(&environment), Ok(path));
    }

    #[test]
    fn directories_of_users_and_of_the_system() {
        let user: Environment =
            [("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/7")].into_iter().collect();
        assert_eq!(state_dir(&user), Some("/home/u/.local/state/mcpd".into()));
        assert_eq!(log_dir(&user), None);
        assert_eq!(control_socket(&user), Some("/run/user/7/mcpd/control.sock".into()));
        let root = Environment { is_root: true, ..user };
        assert_eq!(state_dir(&root), Some("/var/lib/mcpd".into()));
        assert_eq!(log_dir(&root), Some("/var/log/mcpd".into()));
        assert_eq!(control_socket(&root), Some("/run/mcpd/control.sock".into()));
        assert_eq!(state_dir(&Environment::default()), None);
        let systemd: Environment = [("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")].into_iter().collect();
        assert_eq!(systemd_directory(&systemd, "STATE_DIRECTORY"), Some("/var/lib/a".into()));
        assert_eq!(systemd_directory(&systemd, "LOGS_DIRECTORY"), None);
    }
}
