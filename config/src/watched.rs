//! Which files below a watched directory count: the globs of `include` and `ignore`.
//!
//! Pure: paths in, answers out. What happens on the disk is the daemon's business.

use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// Ignored everywhere, whatever else is: what version control, package managers, interpreters and editors write by
/// themselves. Part of every [`crate::spec::WatchSpec::ignore`].
pub const IGNORED: &[&str] = &[
    "**/.git",
    "**/.hg",
    "**/.svn",
    "**/.jj",
    "**/node_modules",
    "**/__pycache__",
    "**/*.py[co]",
    "**/.venv",
    "**/.tox",
    "**/.mypy_cache",
    "**/.pytest_cache",
    "**/.ruff_cache",
    "**/.DS_Store",
    "**/.idea",
    "**/*~",
    "**/.#*",
    "**/#*#",
    "**/.*.sw[a-p]",
    "**/4913",
    "**/.goutputstream-*",
    "**/___jb_*___",
    "**/*.kate-swp",
];

/// The globs of one watch, compiled.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<GlobSet>,
    ignore: GlobSet,
    /// The same for directories: who ignores everything in one has no use for it, so it need not be watched.
    closed: GlobSet,
}

/// One pattern: `*` and `?` stay within a name, `**` stands for directories.
pub(crate) fn glob(pattern: &str) -> Result<Glob, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(!cfg!(windows)).build();
    glob.map_err(|error| error.kind().to_string())
}

impl Filter {
    /// Compiles the globs.
    ///
    /// # Errors
    /// The first pattern that is none, with the reason. Those of a [`crate::spec::WatchSpec`] are patterns.
    pub fn new(include: &[String], ignore: &[String]) -> Result<Self, String> {
        let whole = ignore.iter().filter_map(|pattern| pattern.strip_suffix("/**"));
        let closed: Vec<&str> = ignore.iter().map(String::as_str).chain(whole).collect();
        Ok(Self {
            include: if include.is_empty() { None } else { Some(set(include)?) },
            ignore: set(ignore)?,
            closed: set(&closed)?,
        })
    }

    /// Does the file count? `path` is relative to the watched directory.
    #[must_use]
    pub fn counts(&self, path: &Path) -> bool {
        let wanted = self.include.as_ref().is_none_or(|include| include.is_match(path));
        wanted && !self.ignore.is_match(path) && path.parent().is_none_or(|parent| self.enters(parent))
    }

    /// May anything in this directory count? `path` is relative to the watched directory.
    #[must_use]
    pub fn enters(&self, path: &Path) -> bool {
        let above = path.ancestors().take_while(|path| !path.as_os_str().is_empty());
        !above.into_iter().any(|path| self.closed.is_match(path))
    }
}

fn set<P: AsRef<str>>(patterns: &[P]) -> Result<GlobSet, String> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(glob(pattern.as_ref())?);
    }
    builder.build().map_err(|error| error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], ignore: &[&str]) -> Filter {
        let owned = |patterns: &[&str]| patterns.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(ignore)).unwrap()
    }

    fn counted(filter: &Filter, paths: &[&'static str]) -> Vec<&'static str> {
        paths.iter().copied().filter(|path| filter.counts(Path::new(path))).collect()
    }

    #[test]
    fn include_and_ignore() {
        let paths = ["a.py", "a.txt", "x/b.py", "x/tests/c.py", "x/y/tests/d.py", "tests"];
        assert_eq!(counted(&filter(&[], &[]), &paths), paths);
        assert_eq!(counted(&filter(&["*.py"], &[]), &paths), ["a.py"]);
        assert_eq!(counted(&filter(&["**/*.py"], &["**/tests/**"]), &paths), ["a.py", "x/b.py"]);
        assert_eq!(counted(&filter(&[], &["x"]), &paths), ["a.py", "a.txt", "tests"]);
        assert_eq!(counted(&filter(&["{a,b}.*", "x/**"], &["x/*/**"]), &paths), ["a.py", "a.txt", "x/b.py"]);
    }

    #[test]
    fn ignored_directories_are_not_entered() {
        let filter = filter(&["**/*.py"], &["**/cache/**", "build", "out/*"]);
        for (path, enters) in [
            ("cache", false),
            ("a/cache/b", false),
            ("build", false),
            ("a/build", true),
            ("out", true),
            ("out/a", false),
        ] {
            assert_eq!(filter.enters(Path::new(path)), enters, "{path}");
        }
    }

    #[test]
    fn what_tools_write_is_ignored() {
        let filter = filter(&[], IGNORED);
        for path in [
            ".git",
            "a/.git/index",
            "node_modules",
            "web/node_modules/x/y.js",
            "a/__pycache__/m.cpython-312.pyc",
            "m.pyc",
            ".main.py.swp",
            "a/.main.py.swo",
            "main.py~",
            "a/.#main.py",
            "#main.py#",
            "4913",
            ".goutputstream-AB12",
        ] {
            assert!(!filter.counts(Path::new(path)), "{path}");
        }
        for path in ["main.py", "a/git", ".gitignore", ".env", "a/swap.sw", "14913", "jb"] {
            assert!(filter.counts(Path::new(path)), "{path}");
        }
    }
}
