//! Which files a pattern of `include` names.

use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// Directories below a `**` are entered this deep.
const DEEPEST: usize = 32;

/// Why a pattern could not be followed.
#[derive(Debug)]
pub(crate) enum IncludeError {
    /// It is no pattern.
    Pattern(String),
    /// A directory could not be listed.
    Directory { path: PathBuf, error: io::Error },
}

/// What one entry of `include` names.
#[derive(Debug)]
pub(crate) enum Named {
    /// Exactly this file, which must exist.
    File(PathBuf),
    /// Whatever matches, sorted by name; perhaps nothing.
    Matches(Vec<PathBuf>),
}

/// Follows `pattern` from `directory`. As in a shell, names with a leading dot match only a pattern that has one too: editors
/// leave such files behind.
pub(crate) fn follow(directory: &Path, pattern: &str) -> Result<Named, IncludeError> {
    let Some((base, rest)) = split(directory, pattern) else {
        return Ok(Named::File(directory.join(pattern)));
    };
    let mut steps = Vec::new();
    for part in rest.iter().filter(|part| !part.is_empty() && **part != ".") {
        steps.push(if *part == "**" {
            Step::Below
        } else {
            Step::Name(matcher(part)?, part.starts_with('.'))
        });
    }
    let mut found = Vec::new();
    walk(&base, &steps, DEEPEST, &mut found)?;
    found.sort();
    found.dedup();
    Ok(Named::Matches(found))
}

/// The directory at which a pattern begins to be one, and its parts from there on; `None` for a plain name.
fn split<'p>(directory: &Path, pattern: &'p str) -> Option<(PathBuf, Vec<&'p str>)> {
    let special = |text: &str| text.contains(['*', '?', '[', '{']);
    if !special(pattern) {
        return None;
    }
    let mut base = directory.to_owned();
    let mut parts: Vec<&str> = pattern.split(std::path::is_separator).collect();
    let fixed = parts.iter().position(|part| special(part)).unwrap_or(0);
    let rest = parts.split_off(fixed);
    if !parts.is_empty() {
        // Joined with its separator, so that "/" and "C:\\" stay absolute.
        let length = parts.iter().map(|part| part.len() + 1).sum::<usize>();
        base = base.join(&pattern[..length]).components().collect();
    }
    Some((base, rest))
}

/// The directory and the glob of the files below it that `pattern` names; `None` for a plain name.
pub(crate) fn place(directory: &Path, pattern: &str) -> Option<(PathBuf, String)> {
    let (base, rest) = split(directory, pattern)?;
    let rest: Vec<&str> = rest.into_iter().filter(|part| !part.is_empty() && *part != ".").collect();
    Some((base, rest.join("/")))
}

enum Step {
    /// One name; the flag allows a leading dot.
    Name(GlobMatcher, bool),
    /// `**`: here and in every directory below.
    Below,
}

fn matcher(part: &str) -> Result<GlobMatcher, IncludeError> {
    let glob = GlobBuilder::new(part).literal_separator(true).backslash_escape(!cfg!(windows)).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| IncludeError::Pattern(error.kind().to_string()))
}

fn walk(
    directory: &Path,
    steps: &[Step],
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), IncludeError> {
    let Some((step, rest)) = steps.split_first() else { return Ok(()) };
    if depth == 0 {
        return Ok(());
    }
    if matches!(step, Step::Below) && !rest.is_empty() {
        walk(directory, rest, depth, found)?;
    }
    let broken = |error| IncludeError::Directory { path: directory.to_owned(), error };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Asked instead of read off the error: systems disagree about its kind.
        Err(_) if std::fs::metadata(directory).is_ok_and(|found| !found.is_dir()) => return Ok(()),
        Err(error) => return Err(broken(error)),
    };
    for entry in entries {
        let entry = entry.map_err(broken)?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        match step {
            Step::Name(matcher, dot) => {
                if (hidden && !dot) || !matcher.is_match(&name) {
                    continue;
                }
                if !rest.is_empty() {
                    walk(&path, rest, depth - 1, found)?;
                } else if !path.is_dir() {
                    found.push(path);
                }
            }
            Step::Below => {
                // Links are not followed: they may lead back up.
                let kind = entry.file_type().map_err(broken)?;
                if hidden {
                    continue;
                }
                if kind.is_dir() {
                    walk(&path, steps, depth - 1, found)?;
                } else if rest.is_empty() && !path.is_dir() {
                    found.push(path);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_what_they_name() {
        let root = tempfile::tempdir().unwrap();
        for file in ["b.toml", "a.toml", ".hidden.toml", "c.txt", "d/e.toml", "d/f/g.toml", ".git/h.toml"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::create_dir(root.path().join("dir.toml")).unwrap();
        for (pattern, expected) in [
            ("*.toml", vec!["a.toml", "b.toml"]),
            ("./*.toml", vec!["a.toml", "b.toml"]),
            (".*.toml", vec![".hidden.toml"]),
            ("[ab].toml", vec!["a.toml", "b.toml"]),
            ("{a,c}.*", vec!["a.toml", "c.txt"]),
            ("d/*.toml", vec!["d/e.toml"]),
            ("*/*.toml", vec!["d/e.toml"]),
            ("**/*.toml", vec!["a.toml", "b.toml", "d/e.toml", "d/f/g.toml"]),
            ("d/**", vec!["d/e.toml", "d/f/g.toml"]),
            ("none/*.toml", vec![]),
            ("a.toml/*", vec![]),
        ] {
            let Named::Matches(found) = follow(root.path(), pattern).unwrap() else { panic!("{pattern}") };
            let found: Vec<_> = found
                .iter()
                .map(|path| {
                    let path = path.components().collect::<PathBuf>();
                    path.strip_prefix(root.path()).unwrap().to_str().unwrap().replace('\\', "/")
                })
                .collect();
            assert_eq!(found, expected, "{pattern}");
        }
        let absolute = format!("{}/?.toml", root.path().display());
        assert!(
            matches!(follow(Path::new("/elsewhere"), &absolute), Ok(Named::Matches(found)) if found.len() == 2)
        );
        assert!(matches!(follow(root.path(), "none.toml"), Ok(Named::File(_))));
        assert!(matches!(follow(root.path(), "[a.toml"), Err(IncludeError::Pattern(_))));
    }
}
