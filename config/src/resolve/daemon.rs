//! `[daemon]`: where the daemon keeps its things, and which files belong to the configuration.

use std::path::{Path, PathBuf};

use crate::diagnostic::Severity;
use crate::origin::Origin;
use crate::places;
use crate::raw::{Table, Value};
use crate::resolve::MAIN;
use crate::resolve::context::{Context, Finding};
use crate::resolve::scalar::Scalar;
use crate::resolve::section::{Section, path_text};
use crate::schema;
use crate::source::Span;
use crate::spec::{DaemonSpec, OnKeeperDeath, OnStop, ServiceSpec};

/// A Unix socket's path has at most this many bytes (`sun_path` on Linux, with its final NUL).
const SOCKET_PATH_BYTES: usize = 107;

/// One pattern of `include`.
pub(crate) struct Include {
    pub(crate) pattern: String,
    pub(crate) span: Span,
}

/// The patterns of `include`. Mistakes in it are reported here, and only here.
pub(crate) fn includes(cx: &mut Context<'_>, root: &Table) -> Vec<Include> {
    let Some(Value::Table(daemon)) = root.get("daemon").map(|entry| &entry.node.value) else {
        return Vec::new();
    };
    let Some(entry) = daemon.get("include") else { return Vec::new() };
    let Value::Array(nodes) = &entry.node.value else {
        cx.error(Finding {
            span: entry.node.span,
            key: "daemon.include",
            message: format!("expected an array, found {}", entry.node.value.describe()),
            help: Some("write include = [\"services.d/*.toml\"]".to_owned()),
        });
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for node in nodes {
        if let Some((pattern, _)) = cx.convert(node, "daemon.include", path_text) {
            patterns.push(Include { pattern, span: node.span });
        }
    }
    cx.set_origin("daemon.include", entry.key_span, &[]);
    patterns
}

pub(crate) fn resolve(cx: &mut Context<'_>, root: &Table) -> DaemonSpec {
    let root = Section::new(root, Vec::new(), None);
    let daemon = root.section(cx, "daemon", &schema::DAEMON);
    let environment = cx.environment;

    let state_dir =
        settle(cx, &daemon, "state_dir", "STATE_DIRECTORY", "", || places::state_dir(environment));
    let state_dir = state_dir.unwrap_or_else(|| {
        let message =
            "there is no place for the daemon's state: neither `state_dir` nor one of the variables \
                       STATE_DIRECTORY, XDG_STATE_HOME and HOME is set"
                .to_owned();
        let help = Some("set `state_dir` in [daemon]".to_owned());
        // A file that cannot be read has been reported already, and may well have said it.
        if cx.error_count() == 0 {
            cx.about_file(Severity::Error, MAIN, message, help);
        }
        PathBuf::new()
    });
    let log_dir = settle(cx, &daemon, "log_dir", "LOGS_DIRECTORY", "", || places::log_dir(environment))
        .unwrap_or_else(|| state_dir.join("logs"));
    let socket = settle(cx, &daemon, "control_socket", "RUNTIME_DIRECTORY", places::SOCKET_NAME, || {
        places::control_socket(environment)
    })
    .unwrap_or_else(|| state_dir.join(places::SOCKET_NAME));

    if cfg!(unix) {
        check_length(cx, &daemon, &socket, "the control socket", "");
    }
    let max_parallel_starts = daemon.read(cx, "max_parallel_starts", 0, |scalar| scalar.count(0, u32::MAX));
    let auto_reload = daemon.read(cx, "auto_reload", false, Scalar::boolean);
    let on_stop = [("stop", OnStop::Stop), ("keep", OnStop::Keep)];
    let on_stop = daemon.read(cx, "on_stop", OnStop::Stop, |scalar| scalar.choice(&on_stop, &[]));
    let on_death = [("stop", OnKeeperDeath::Stop), ("leave", OnKeeperDeath::Leave)];
    let on_keeper_death =
        daemon.read(cx, "on_keeper_death", OnKeeperDeath::Stop, |scalar| scalar.choice(&on_death, &[]));
    DaemonSpec {
        control_socket: socket,
        state_dir,
        log_dir,
        max_parallel_starts,
        auto_reload,
        on_stop,
        on_keeper_death,
    }
}

/// Services that say things about themselves need a second socket, whose path is a little longer.
pub(crate) fn check_notify_socket<'s>(
    cx: &mut Context<'_>,
    root: &Table,
    spec: &DaemonSpec,
    mut services: impl Iterator<Item = &'s ServiceSpec>,
) {
    let fits = spec.control_socket.as_os_str().len() <= SOCKET_PATH_BYTES;
    if let (true, Some(service)) = (cfg!(unix) && fits, services.find(|service| service.notifies())) {
        let root = Section::new(root, Vec::new(), None);
        let daemon = root.free_section(cx, "daemon");
        let why = format!(", which the service `{}` needs,", service.name);
        check_length(cx, &daemon, &spec.notify_socket(), "the notification socket", &why);
    }
}

fn check_length(cx: &mut Context<'_>, daemon: &Section<'_>, socket: &Path, what: &str, why: &str) {
    let length = socket.as_os_str().len();
    if length <= SOCKET_PATH_BYTES {
        return;
    }
    let message = format!(
        "the path of {what}{why} has {length} bytes, but a Unix socket's can have {SOCKET_PATH_BYTES} at most: {}",
        socket.display()
    );
    let help = Some("set `control_socket` in [daemon] to a shorter path".to_owned());
    let written = matches!(cx.origins.get("daemon.control_socket"), Some(Origin::File { .. }));
    match daemon.entry("control_socket").filter(|_| written) {
        Some(entry) => {
            cx.error(Finding { span: entry.node.span, key: "daemon.control_socket", message, help });
        }
        None => cx.about_file(Severity::Error, MAIN, message, help),
    }
}

/// systemd's variable, or else what the file says, or else the default if there is a fixed one.
fn settle(
    cx: &mut Context<'_>,
    daemon: &Section<'_>,
    key: &str,
    variable: &str,
    below: &str,
    default: impl FnOnce() -> Option<PathBuf>,
) -> Option<PathBuf> {
    // Read in any case: what is wrong in the file is wrong even when a variable wins.
    let written = daemon.path(cx, key);
    if let Some(directory) = places::systemd_directory(cx.environment, variable) {
        cx.origins.set(daemon.key(key), Origin::Environment { variable: variable.to_owned() });
        return Some(if below.is_empty() { directory } else { directory.join(below) });
    }
    written.or_else(default)
}
