//! What changed since the service last ran well?
//!
//! A list for a person who asks "but it worked yesterday": keys of its configuration, and files that it depends on and that
//! were changed after the last good run began. Looked at by the recorder's thread, within bounds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use mcpd_config::watched::Filter;
use mcpd_config::{ServiceSpec, dotted, plan};

use crate::sys;

/// Entries of the list; more are counted.
const MOST: usize = 20;

/// Files and directories below the watched ones that are looked at.
const MOST_LOOKS: usize = 2000;

/// What package managers write where a project lies, when they change what it uses.
const LOCK_FILES: &[&str] = &[
    "package.json",
    "package-lock.json",
    "node_modules/.package-lock.json",
    "node_modules/.yarn-state.yml",
    "node_modules/.modules.yaml",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "bun.lockb",
    "deno.lock",
    "pyproject.toml",
    "requirements.txt",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    ".venv/pyvenv.cfg",
    "go.mod",
    "go.sum",
    "Cargo.toml",
    "Cargo.lock",
    "Gemfile.lock",
    "composer.lock",
    "pom.xml",
    "build.gradle",
    "gradle.lockfile",
];

/// A run that was good: it was up for long enough to be trusted, or nothing was wrong with it when it ended.
#[derive(Debug, Clone)]
pub struct Good {
    /// What it was started with.
    pub spec: std::sync::Arc<ServiceSpec>,
    /// When it began.
    pub since: Timestamp,
}

/// What is different for a run of `spec` that executes `program`.
#[must_use]
pub fn since(good: &Good, spec: &ServiceSpec, program: Option<&Path>) -> Vec<String> {
    let mut changed = Vec::new();
    for change in plan::changes(&good.spec, spec) {
        changed.push(format!("configuration: {}", dotted(&change.key)));
    }
    let files = files(spec, program, good.since.into());
    changed.extend(files.into_iter().map(|(what, path)| format!("{what}: {}", path.display())));
    if changed.len() > MOST {
        let more = changed.len() - (MOST - 1);
        changed.truncate(MOST - 1);
        changed.push(format!("and {more} more"));
    }
    changed
}

fn files(spec: &ServiceSpec, program: Option<&Path>, since: SystemTime) -> Vec<(&'static str, PathBuf)> {
    let directory = spec.working_directory.as_deref().unwrap_or(Path::new(""));
    let mut candidates: Vec<(&'static str, PathBuf)> = Vec::new();
    candidates.extend(program.map(|path| ("program", path.to_path_buf())));
    let words = spec.exec.iter().skip(1).filter(|word| !word.starts_with('-'));
    candidates.extend(words.filter(|word| is_path(word)).map(|word| ("argument", directory.join(word))));
    let environment = spec.environment_files.iter().chain(&spec.secret_environment_files);
    candidates.extend(environment.map(|file| ("environment file", file.path.clone())));
    if spec.working_directory.is_some() {
        candidates.extend(LOCK_FILES.iter().map(|name| ("packages", directory.join(name))));
    }
    let newer = |path: &Path| {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        found.and_then(|found| sys::changed_at(&found)).is_some_and(|at| at > since)
    };
    let mut seen = BTreeSet::new();
    let mut changed: Vec<_> =
        candidates.into_iter().filter(|(_, path)| newer(path) && seen.insert(path.clone())).collect();
    changed.extend(
        watched(spec, since).into_iter().filter(|path| !seen.contains(path)).map(|path| ("watched", path)),
    );
    changed
}

/// A word that may name a file: with a directory or an ending.
fn is_path(word: &str) -> bool {
    !word.contains("://") && !word.contains(char::is_whitespace) && word.contains(['/', '\\', '.'])
}

/// What counts of the watched files, as far as the looks go.
fn watched(spec: &ServiceSpec, since: SystemTime) -> Vec<PathBuf> {
    let Some(watch) = &spec.watch else { return Vec::new() };
    let Ok(filter) = Filter::new(&watch.include, &watch.ignore) else { return Vec::new() };
    let mut changed = Vec::new();
    let mut looks = 0;
    for root in &watch.paths {
        let mut open = vec![root.clone()];
        while let Some(path) = open.pop() {
            looks += 1;
            if looks > MOST_LOOKS {
                return changed;
            }
            // Links are not followed, but for the path that is named: they may lead in a circle.
            let found = if path == *root { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
            let Ok(found) = found else { continue };
            let below = path.strip_prefix(root).unwrap_or(Path::new(""));
            if found.is_dir() {
                if below.as_os_str().is_empty() || filter.enters(below) {
                    let inside = fs::read_dir(&path).into_iter().flatten().flatten();
                    open.extend(inside.take(MOST_LOOKS).map(|entry| entry.path()));
                }
            } else if (path == *root || filter.counts(below))
                && sys::changed_at(&found).is_some_and(|at| at > since)
            {
                changed.push(path);
            }
        }
    }
    changed.sort();
    changed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn spec(directory: &Path, more: &str) -> ServiceSpec {
        let text = format!(
            "[daemon]\nstate_dir = '/s'\n[service.a]\nexec = ['python3', '-u', 'main.py', 'x', 'http://h/x.y']\nworking_directory = '{}'\n{more}",
            directory.display()
        );
        let loaded =
            mcpd_config::load_text(Path::new("/m.toml"), &text, &mcpd_config::Environment::default());
        loaded.unwrap().config.services["a"].clone()
    }

    #[test]
    fn what_is_newer_and_what_is_different() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let old = ["main.py", "uv.lock", "python3", "secret.env", "src/a.py", "src/b.txt"];
        fs::create_dir(at("src")).unwrap();
        for name in old {
            fs::write(at(name), "").unwrap();
        }
        let more = "environment = { A = '1' }\nsecret_environment_files = ['@/secret.env']\n\
                    watch = { paths = ['@/src'], include = ['**/*.py'] }\n"
            .replace('@', &directory.path().display().to_string());
        let before = spec(directory.path(), &more);
        let good = |since| Good { spec: Arc::new(before.clone()), since };
        let program = at("python3");
        let newest = old.iter().filter_map(|name| sys::changed_at(&fs::metadata(at(name)).unwrap())).max();
        let now = Timestamp::try_from(newest.unwrap()).unwrap();
        assert!(since(&good(now), &before, Some(&program)).is_empty(), "nothing has changed");
        let now = spec(directory.path(), &more.replace("'1'", "'2'"));
        let all = since(&good(Timestamp::UNIX_EPOCH), &now, Some(&program));
        let expected = [
            "configuration: environment.A".to_owned(),
            format!("program: {}", program.display()),
            format!("argument: {}", at("main.py").display()),
            format!("environment file: {}", at("secret.env").display()),
            format!("packages: {}", at("uv.lock").display()),
            format!("watched: {}", at("src/a.py").display()),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn the_list_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..50 {
            fs::write(directory.path().join(format!("f{number:02}")), "").unwrap();
        }
        let watch = format!("watch = {{ paths = ['{}'] }}\n", directory.path().display());
        let spec = spec(directory.path(), &watch);
        let good = Good { spec: Arc::new(spec.clone()), since: Timestamp::UNIX_EPOCH };
        let all = since(&good, &spec, None);
        assert_eq!((all.len(), all.last().map(String::as_str)), (MOST, Some("and 31 more")));
    }
}
