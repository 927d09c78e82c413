//! Brings the texts together: the file that was asked for and those that it includes.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::assemble::assemble;
use crate::diagnostic::{Diagnostic, Failed, Severity};
use crate::environment::Environment;
use crate::include::{IncludeError, Named, follow, place};
use crate::origin::Origins;
use crate::raw;
use crate::resolve::context::{Context, Finding};
use crate::resolve::daemon::includes;
use crate::resolve::scalar::Problem;
use crate::resolve::{Document, MAIN, resolve};
use crate::source::{FileId, Source};
use crate::spec::Config;

/// A larger file is not a configuration; reading a device by mistake must end.
const LARGEST_FILE: u64 = 16 << 20;

/// A valid configuration and what can be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settled values.
    pub config: Config,
    /// Where each of them came from.
    pub origins: Origins,
    /// What is allowed but probably not meant, by file and position.
    pub warnings: Vec<Diagnostic>,
    /// Where files that `include` would name and drop-ins may appear: directories, and globs of the files below them.
    pub places: Vec<(PathBuf, String)>,
}

/// Reads the file and everything that it includes.
///
/// # Errors
///
/// Everything that is wrong with any of the files, in one go.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Failed> {
    let mut cx = Context::new(environment);
    match read(path) {
        Ok(bytes) => load_bytes(cx, path, bytes),
        Err(problem) => {
            cx.sources.push(Source::new(path, ""));
            cx.about_file(Severity::Error, MAIN, format!("cannot read the configuration: {problem}"), None);
            Err(Failed { diagnostics: cx.into_diagnostics().0 })
        }
    }
}

/// As [`load`], for a text that is no file. Relative paths start at the directory of `path`, which need not exist.
///
/// # Errors
///
/// As [`load`].
pub fn load_text(path: &Path, text: &str, environment: &Environment) -> Result<Loaded, Failed> {
    load_bytes(Context::new(environment), path, text.as_bytes().to_vec())
}

fn load_bytes(mut cx: Context<'_>, path: &Path, bytes: Vec<u8>) -> Result<Loaded, Failed> {
    let mut documents = Vec::new();
    let (root, sound) = add(&mut cx, path, bytes);
    // A file that is not TOML may still say which others belong to it: their errors are reported in the same go. What is
    // wrong with the list itself is then not worth a word, as half of it may be missing.
    let patterns = if sound {
        includes(&mut cx, &root)
    } else {
        let mut aside = Context::new(cx.environment);
        aside.sources.push(Source::new(path, cx.sources[MAIN].text()));
        includes(&mut aside, &root)
    };
    if sound {
        documents.push(Document { file: MAIN, root });
    }
    let mut places: Vec<_> =
        patterns.iter().filter_map(|include| place(directory_of(path), &include.pattern)).collect();
    let mut known = BTreeSet::from([identity(path)]);
    for include in patterns {
        match files_of(path, &include.pattern) {
            Ok(paths) => {
                for path in paths {
                    if known.insert(identity(&path)) {
                        documents.extend(add_included(&mut cx, &path, "included file"));
                    }
                }
            }
            Err(Problem { message, help }) if sound => {
                cx.error(Finding { span: include.span, key: "daemon.include", message, help });
            }
            Err(_) => {}
        }
    }
    let services = assemble(&mut cx, &documents, &mut |cx, name, directories| {
        places.extend(directories.iter().filter_map(|directory| place(directory, &drop_in_pattern(name))));
        drop_ins(cx, name, directories, &mut known)
    });
    let main = documents.iter().find(|document| document.file == MAIN);
    let config = resolve(&mut cx, main.map(|document| &document.root), services);
    if config.services.is_empty() && cx.error_count() == 0 {
        let help = Some("a service is a table [service.NAME] with an `exec`".to_owned());
        cx.about_file(Severity::Warning, MAIN, "the configuration has no services".to_owned(), help);
    }
    let (errors, warnings, origins) = cx.into_diagnostics();
    if errors.is_empty() {
        Ok(Loaded { config, origins, warnings, places })
    } else {
        Err(Failed { diagnostics: errors })
    }
}

/// Of the path as it was given, so that files are shown the way the user names them.
fn directory_of(main: &Path) -> &Path {
    main.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The files that a pattern in the file `main` names.
fn files_of(main: &Path, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
    let directory = directory_of(main);
    match follow(directory, pattern) {
        Ok(Named::Matches(paths)) => Ok(paths.iter().map(|path| tidy(path)).collect()),
        Ok(Named::File(path)) => {
            let path = tidy(&path);
            if !path.exists() {
                Err(Problem::new(format!("the file {} does not exist", path.display()))
                    .help("a pattern such as \"services.d/*.toml\" may match nothing"))
            } else if identity(&path) == identity(main) {
                Err(Problem::new("a file cannot include itself"))
            } else {
                Ok(vec![path])
            }
        }
        Err(IncludeError::Pattern(reason)) => {
            Err(Problem::new(format!("{pattern:?} is no pattern: {reason}")))
        }
        Err(IncludeError::Directory { path, error }) => {
            Err(Problem::new(format!("cannot list the directory {}: {error}", path.display())))
        }
    }
}

fn drop_in_pattern(service: &str) -> String {
    format!("{service}.d/*.toml")
}

/// The drop-ins of a service: `NAME.d/*.toml` in these directories, in the order of their names, as systemd has it. Of
/// equal names the one from the later directory comes later. A file that belongs to the configuration already is none.
fn drop_ins(
    cx: &mut Context<'_>,
    name: &str,
    directories: &[PathBuf],
    known: &mut BTreeSet<PathBuf>,
) -> Vec<Document> {
    let mut found = Vec::new();
    // Such a name cannot be a directory's on Windows.
    if cfg!(windows) && name.contains(':') {
        return Vec::new();
    }
    for directory in directories {
        let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match follow(here, &drop_in_pattern(name)) {
            Ok(Named::Matches(paths)) => found.extend(paths.iter().map(|path| tidy(path))),
            // A name has nothing in it that would make the pattern another one.
            Ok(Named::File(_)) | Err(IncludeError::Pattern(_)) => {}
            Err(IncludeError::Directory { path, error }) => {
                let file = cx.sources.len();
                cx.sources.push(Source::new(&tidy(&path), ""));
                let message = format!("cannot list this directory of drop-ins: {error}");
                cx.about_file(Severity::Error, file, message, None);
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found.retain(|path| known.insert(identity(path)));
    found.iter().filter_map(|path| add_included(cx, path, "drop-in")).collect()
}

/// As a person would write it.
fn tidy(path: &Path) -> PathBuf {
    path.strip_prefix(".").unwrap_or(path).components().collect()
}

/// The same file by whatever path.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn add_included(cx: &mut Context<'_>, path: &Path, what: &str) -> Option<Document> {
    match read(path) {
        Ok(bytes) => {
            let file = cx.sources.len();
            let (root, sound) = add(cx, path, bytes);
            sound.then_some(Document { file, root })
        }
        Err(problem) => {
            let file = cx.sources.len();
            cx.sources.push(Source::new(path, ""));
            cx.about_file(Severity::Error, file, format!("cannot read this {what}: {problem}"), None);
            None
        }
    }
}

/// Adds the text and parses it; whether it is TOML throughout.
fn add(cx: &mut Context<'_>, path: &Path, bytes: Vec<u8>) -> (raw::Table, bool) {
    let file: FileId = cx.sources.len();
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let shown = Source::new(path, &text);
            // Up to there the lossy text has the same bytes, except for a byte order mark.
            let start = valid - (text.len() - shown.text().len()).min(valid);
            cx.sources.push(shown);
            let span = crate::source::Span { file, start, end: start + '\u{fffd}'.len_utf8() };
            let help = Some("TOML files are UTF-8: save it in that encoding".to_owned());
            cx.error(Finding { span, key: "", message: "the file is not UTF-8".to_owned(), help });
            return (raw::Table::default(), false);
        }
    };
    cx.sources.push(Source::new(path, &text));
    let (root, errors) = raw::parse(file, cx.sources[file].text());
    let sound = errors.is_empty();
    let hidden = crate::hidden::places(cx.sources[file].text(), &root, sound);
    cx.sources[file].hide(hidden);
    for error in errors {
        cx.error(Finding { span: error.span, key: "", message: error.message, help: None });
    }
    (root, sound)
}

/// Reads a regular file of up to 16M.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Asked before it is opened: some systems refuse a directory with a misleading reason, and opening a pipe waits for
    // its writer.
    if let Ok(found) = std::fs::metadata(path) {
        if found.is_dir() {
            return Err("it is a directory".to_owned());
        }
        if !found.is_file() {
            return Err("it is no regular file".to_owned());
        }
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST_FILE) {
        return Err(format!("it is larger than {}", crate::size::format(LARGEST_FILE)));
    }
    Ok(bytes)
}
