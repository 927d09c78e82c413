//! Where is the daemon's socket?

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use mcpd_proto::socket;

/// The socket to connect to, and every place that was looked at for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    /// This one.
    pub(crate) path: PathBuf,
    /// For the sentence that says that there is none.
    pub(crate) looked: Vec<PathBuf>,
}

impl Socket {
    /// `--socket`, else `MCPD_SOCKET`, else the first usual place that exists, else the one that the configuration that
    /// mcpd would find names, else the last usual place.
    pub(crate) fn find(given: Option<&Path>) -> Self {
        let from_environment = std::env::var_os("MCPD_SOCKET");
        Self::choose(
            given,
            from_environment,
            socket::candidates(),
            exists,
            crate::verb::config::default_socket,
        )
    }

    fn choose(
        given: Option<&Path>,
        from_environment: Option<OsString>,
        usual: Vec<PathBuf>,
        exists: impl Fn(&Path) -> bool,
        configured: impl FnOnce() -> Option<PathBuf>,
    ) -> Self {
        let told = given.map(Path::to_path_buf);
        let told = told.or_else(|| from_environment.filter(|path| !path.is_empty()).map(PathBuf::from));
        if let Some(path) = told {
            return Self { looked: vec![path.clone()], path };
        }
        // Before the configuration: under systemd RUNTIME_DIRECTORY decides where the socket is, whatever that says.
        if let Some(path) = usual.iter().find(|path| exists(path)) {
            return Self { path: path.clone(), looked: vec![path.clone()] };
        }
        let mut looked = usual;
        if let Some(path) = configured()
            && !looked.contains(&path)
        {
            looked.push(path.clone());
            return Self { path, looked };
        }
        let path = looked.last().cloned().unwrap_or_default();
        Self { path, looked }
    }
}

/// A place that may not be looked at counts as one that is there: connecting then says what is missing. A pipe is not
/// looked at, for that would take one of its instances.
fn exists(path: &Path) -> bool {
    if cfg!(windows) {
        return false;
    }
    match path.try_exists() {
        Ok(exists) => exists,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Vec<PathBuf> {
        vec!["/run/user/7/mcpd/control.sock".into(), "/run/mcpd/control.sock".into()]
    }

    #[test]
    fn what_is_said_wins() {
        let choose = |given: Option<&str>, environment: Option<&str>| {
            Socket::choose(
                given.map(Path::new),
                environment.map(OsString::from),
                usual(),
                |path| path.starts_with("/run/mcpd"),
                || None,
            )
        };
        assert_eq!(choose(Some("a"), Some("b")).path, Path::new("a"));
        assert_eq!(choose(None, Some("b")).looked, [Path::new("b")]);
        assert_eq!(choose(None, Some("")).path, Path::new("/run/mcpd/control.sock"));
        assert_eq!(choose(None, None).path, Path::new("/run/mcpd/control.sock"));
    }

    #[test]
    fn a_socket_that_is_there_wins_over_the_configuration() {
        let only = vec![PathBuf::from("/run/mcpd/control.sock")];
        let found = Socket::choose(None, None, only, |_| true, || Some("/srv/sock".into()));
        assert_eq!(found.looked, [Path::new("/run/mcpd/control.sock")]);
    }

    #[test]
    fn when_nothing_is_there_every_place_is_named() {
        let none = Socket::choose(None, None, usual(), |_| false, || None);
        assert_eq!((none.path.as_path(), none.looked.len()), (Path::new("/run/mcpd/control.sock"), 2));
        let configured = Socket::choose(None, None, usual(), |_| false, || Some("/srv/sock".into()));
        assert_eq!((configured.path.as_path(), configured.looked.len()), (Path::new("/srv/sock"), 3));
    }
}
