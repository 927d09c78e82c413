//! `[service.NAME.watch]`: which files, and what follows when they change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::resolve::context::{Context, Finding};
use crate::resolve::scalar::{Problem, Scalar, not_yet};
use crate::resolve::section::{Section, below, path_text};
use crate::schema;
use crate::spec::{Signal, WatchAction, WatchSpec};
use crate::watched::{IGNORED, glob};

const DEBOUNCE: Duration = Duration::from_millis(300);
/// An editor's own pauses within one save are longer than anything below this.
const SHORTEST: Duration = Duration::from_millis(1);

pub(crate) fn resolve(
    cx: &mut Context<'_>,
    service: &Section<'_>,
    working_directory: Option<&Path>,
) -> Option<WatchSpec> {
    let watch = service.section(cx, "watch", &schema::WATCH);
    let span = watch.span?;
    // They are the service's files, named as the service itself would name them.
    let directory = match working_directory {
        Some(directory) => directory.to_owned(),
        None => cx.directory(span.file).to_owned(),
    };
    let before = cx.error_count();
    let path = |scalar: &Scalar<'_>| no_pattern(scalar).map(|path| below(&directory, &path));
    let paths: Vec<PathBuf> = watch.list(cx, "paths", path).unwrap_or_default();
    if paths.is_empty() && cx.error_count() == before {
        let message = format!("[{}] does not say what to watch", watch.name());
        let help = Some("name files or directories: paths = [\"src\"]".to_owned());
        cx.error(Finding { span, key: &watch.key("paths"), message, help });
    }
    let include = watch.list(cx, "include", pattern).unwrap_or_default();
    let mut ignore: Vec<String> = IGNORED.iter().map(|&pattern| pattern.to_owned()).collect();
    for pattern in watch.list(cx, "ignore", pattern).unwrap_or_default() {
        // What `config show` prints holds the built-in ones, and reads back the same.
        if !ignore.contains(&pattern) {
            ignore.push(pattern);
        }
    }
    let debounce = watch.duration(cx, "debounce", DEBOUNCE, SHORTEST);
    let reloads = service.entry("exec_reload").is_some();
    let action = watch.read(cx, "action", WatchAction::Restart, |scalar| action(scalar, reloads));
    Some(WatchSpec { paths, include, ignore, debounce, action })
}

/// A path. One that need not exist is never missed: a pattern there would watch nothing, and nobody would know.
fn no_pattern(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let text = path_text(scalar)?;
    // Brackets and braces are part of real names: `[id].tsx`.
    let Some(at) = text.find(['*', '?']) else { return Ok(text) };
    let (directory, pattern) = match text[..at].rfind('/') {
        Some(slash) => text.split_at(slash + 1),
        None => ("", text.as_str()),
    };
    let directory = match directory.strip_suffix('/') {
        Some("") => "/",
        Some(directory) => directory,
        None => ".",
    };
    let help = format!(
        "name the directory, and what counts in it: paths = [{directory:?}], include = [{pattern:?}]"
    );
    Err(Problem::new(format!("{text:?} is a pattern, and no path")).help(help))
}

fn pattern(scalar: &Scalar<'_>) -> Result<String, Problem> {
    let text = scalar.non_empty()?;
    if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
        let help = "patterns are relative to the watched directory: write \"**/*.py\"";
        return Err(Problem::new(format!("{text:?} would never match")).help(help));
    }
    match glob(&text) {
        Ok(_) => Ok(text),
        Err(reason) => Err(Problem::new(format!("{text:?} is no pattern: {reason}"))),
    }
}

/// `reloads`: there are commands for it.
fn action(scalar: &Scalar<'_>, reloads: bool) -> Result<WatchAction, Problem> {
    let text = scalar.string()?;
    let Some(name) = text.strip_prefix("signal:") else {
        let choices = [("restart", WatchAction::Restart), ("reload", WatchAction::Reload)];
        let action = scalar.choice(&choices, &[]).map_err(|problem| {
            if problem.help.as_ref().is_some_and(|help| help.starts_with("did you mean")) {
                problem
            } else {
                problem.help("write \"restart\", \"reload\" or a signal, as \"signal:SIGHUP\"")
            }
        })?;
        if action == WatchAction::Reload && !reloads {
            let help = "set `exec_reload`, or write a signal, as \"signal:SIGHUP\"";
            return Err(Problem::new("\"reload\" needs commands to reload by").help(help));
        }
        return Ok(action);
    };
    if cfg!(windows) {
        return Err(not_yet("a signal as `action` on Windows"));
    }
    let signal = Signal::parse(name.trim()).ok_or_else(|| {
        let near =
            crate::similar::closest(&format!("SIG{}", name.trim_start_matches("SIG")), Signal::names());
        let help = near.map_or_else(
            || "write a name as in signal(7), for example \"signal:SIGHUP\"".to_owned(),
            |name| format!("did you mean \"signal:{name}\"?"),
        );
        Problem::new(format!("unknown signal {name:?}")).help(help)
    })?;
    Ok(WatchAction::Signal(signal))
}
