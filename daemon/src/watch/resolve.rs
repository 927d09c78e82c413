//! Which directories decide what a path means?

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as Linux follows in one path (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// A path, walked from its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Names in directories: when one of them comes, goes or changes, the path may mean something else. Each link on the
    /// way, and the end; or the first thing that is missing.
    pub(super) guards: Vec<(PathBuf, OsString)>,
    pub(super) found: Found,
}

/// What is there. The paths have no links in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    File(PathBuf),
    Directory(PathBuf),
}

/// Walks an absolute path.
pub(super) fn resolve(path: &Path) -> Resolved {
    let mut guards = Vec::new();
    let mut left: VecDeque<OsString> = parts(path);
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            None | Some(Component::CurDir) => continue,
            Some(Component::ParentDir) => {
                here.pop();
                continue;
            }
            Some(Component::Prefix(_) | Component::RootDir) => {
                here.push(&part);
                continue;
            }
            Some(Component::Normal(_)) => {}
        }
        let next = here.join(&part);
        let Ok(found) = fs::symlink_metadata(&next) else {
            guards.push((here, part));
            return Resolved { guards, found: Found::Nothing };
        };
        if found.is_symlink() {
            guards.push((here.clone(), part));
            links += 1;
            let Some(to) = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS) else {
                return Resolved { guards, found: Found::Nothing };
            };
            if to.is_absolute() {
                here = PathBuf::new();
            }
            for part in parts(&to).into_iter().rev() {
                left.push_front(part);
            }
            continue;
        }
        let end = left.is_empty();
        if end || !found.is_dir() {
            guards.push((here, part));
        }
        if !found.is_dir() {
            return Resolved { guards, found: if end { Found::File(next) } else { Found::Nothing } };
        }
        here = next;
    }
    Resolved { guards, found: Found::Directory(here) }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components().map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_ends_and_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("releases/2/src")).unwrap();
        fs::write(at.join("releases/2/main"), "").unwrap();
        symlink("releases/2", at.join("current")).unwrap();
        symlink(at.join("current/main"), at.join("main")).unwrap();
        symlink("loop", at.join("loop")).unwrap();
        let guard =
            |dir: &str, name: &str| (at.join(dir).components().collect::<PathBuf>(), OsString::from(name));
        for (path, guards, found) in [
            ("releases/2/src", vec![guard("releases/2", "src")], Found::Directory(at.join("releases/2/src"))),
            (
                "releases/./2/../2/main",
                vec![guard("releases/2", "main")],
                Found::File(at.join("releases/2/main")),
            ),
            (
                "current/src",
                vec![guard("", "current"), guard("releases/2", "src")],
                Found::Directory(at.join("releases/2/src")),
            ),
            (
                "main",
                vec![guard("", "main"), guard("", "current"), guard("releases/2", "main")],
                Found::File(at.join("releases/2/main")),
            ),
            ("releases/3/src/x", vec![guard("releases", "3")], Found::Nothing),
            ("releases/2/main/x", vec![guard("releases/2", "main")], Found::Nothing),
        ] {
            assert_eq!(resolve(&at.join(path)), Resolved { guards, found }, "{path}");
        }
        assert_eq!(resolve(&at.join("loop/x")).found, Found::Nothing);
        assert_eq!(resolve(Path::new("/")), Resolved { guards: vec![], found: Found::Directory("/".into()) });
    }
}
