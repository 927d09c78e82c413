//! Finds the program that a command names, or says why there is none.
//!
//! The search is the one that `execvp` would do in the service's place, done early and with reasons: a service whose program
//! cannot be run is known before it is started.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf, is_separator};

use crate::spec::{CommandSpec, NotifyTarget, Probe, ReadySpec, ServiceSpec};

/// Searched when the service has no `PATH` at all.
const DEFAULT_PATH: &str =
    if cfg!(windows) { r"C:\Windows\System32;C:\Windows" } else { "/usr/local/bin:/usr/bin:/bin" };
/// Suffixes tried on Windows when `PATHEXT` is not set.
const DEFAULT_SUFFIXES: &str = ".COM;.EXE;.BAT;.CMD";
/// The kernel reads this much of a script's first line.
const INTERPRETER_LINE: u64 = 256;

/// Why a program cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramError {
    /// The name is empty or holds a NUL character.
    BadName {
        /// As configured.
        program: String,
    },
    /// No directory of the search path has it.
    NotInPath {
        /// As configured.
        program: String,
        /// The value of `PATH` that was searched.
        path: OsString,
        /// A file of that name that was passed over, and why.
        passed_over: Option<(PathBuf, Unfit)>,
    },
    /// There is a path, but what it names cannot be run.
    Unfit {
        /// As configured.
        program: String,
        /// Where it was looked for.
        at: PathBuf,
        /// What is wrong with it.
        why: Unfit,
    },
}

/// What keeps a file from being run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// There is nothing of that name.
    Missing,
    /// It is a directory.
    Directory,
    /// It is a socket, a device or the like.
    NotAFile,
    /// Its mode, or the file system that it is on, does not let this process run it.
    NotExecutable,
    /// It is a script whose first line names an interpreter that does not exist.
    NoInterpreter(PathBuf),
    /// The system refused to look.
    Unreachable(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::Directory => f.write_str("is a directory"),
            Self::NotAFile => f.write_str("is not a regular file"),
            Self::NotExecutable => f.write_str("is not executable by this user"),
            Self::NoInterpreter(path) if path.to_string_lossy().ends_with('\r') => {
                let path = path.to_string_lossy();
                let path = path.trim_end_matches('\r');
                write!(
                    f,
                    "is a script whose lines end with CR LF: {path} is not found with a CR; save it with LF"
                )
            }
            Self::NoInterpreter(path) => {
                write!(f, "is a script for {}, which does not exist", path.display())
            }
            Self::Unreachable(error) => write!(f, "cannot be looked at: {error}"),
        }
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { program } => write!(f, "{program:?} cannot be the name of a program"),
            Self::NotInPath { program, path, passed_over } => {
                write!(f, "the program {program:?} was not found in PATH={}", path.display())?;
                if let Some((at, why)) = passed_over {
                    write!(f, " ({} {why})", at.display())?;
                }
                f.write_str(prefix_help(program))
            }
            Self::Unfit { program, at, why } if Path::new(program) == at => {
                write!(f, "the program {} {why}{}", at.display(), prefix_help(program))
            }
            Self::Unfit { program, at, why } => {
                write!(
                    f,
                    "the program {program:?}, looked for at {}, {why}{}",
                    at.display(),
                    prefix_help(program)
                )
            }
        }
    }
}

/// For whoever knows the `-` of systemd's `ExecStart=`.
fn prefix_help(program: &str) -> &'static str {
    if program.starts_with('-') {
        "; a `-` before a program, which ignores its failure, is for the commands of a oneshot and those around a \
         service"
    } else {
        ""
    }
}

impl ProgramError {
    /// Whether it stays so until somebody does something about it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::BadName { .. } | Self::NotInPath { .. } => true,
            Self::Unfit { why, .. } => match why {
                Unfit::Missing | Unfit::Directory | Unfit::NotAFile => true,
                Unfit::NotExecutable | Unfit::NoInterpreter(_) => true,
                // A disk that does not answer, for example.
                Unfit::Unreachable(_) => false,
            },
        }
    }
}

impl std::error::Error for ProgramError {}

/// What keeps every program of this service from being run: its `working_directory` is not there. One sentence.
#[must_use]
pub fn no_directory(service: &ServiceSpec) -> Option<String> {
    let directory = service.working_directory.as_ref().filter(|directory| !directory.is_dir())?;
    let what = if directory.exists() { "is not a directory" } else { "does not exist" };
    Some(format!("its working directory {} {what}", directory.display()))
}

/// The file to run for `program`.
///
/// A name with a slash is a path, relative to `working_directory` (without one, to the daemon's own). Any other is looked
/// for in the directories of `path`, the service's `PATH`; `None` stands for the system's usual directories. On Windows the
/// suffixes of `PATHEXT` are tried as well.
///
/// # Errors
///
/// There is no such program, or it cannot be run.
pub fn find(
    program: &str,
    working_directory: Option<&Path>,
    path: Option<&OsStr>,
) -> Result<PathBuf, ProgramError> {
    if program.is_empty() || program.contains('\0') {
        return Err(ProgramError::BadName { program: program.to_owned() });
    }
    let suffixes = suffixes(program);
    let directory = working_directory.unwrap_or(Path::new(""));
    if program.contains(is_separator) {
        let at = directory.join(program);
        return first_fit(&at, &suffixes).map_err(|(at, why)| ProgramError::Unfit {
            program: program.to_owned(),
            at,
            why,
        });
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut passed_over = None;
    for entry in std::env::split_paths(path) {
        // An empty entry means the current directory, which is nobody's intention in a service.
        if entry.as_os_str().is_empty() {
            continue;
        }
        match first_fit(&directory.join(entry).join(program), &suffixes) {
            Ok(found) => return Ok(found),
            Err((_, Unfit::Missing)) => {}
            Err(unfit) => passed_over = passed_over.or(Some(unfit)),
        }
    }
    Err(ProgramError::NotInPath { program: program.to_owned(), path: path.to_owned(), passed_over })
}

/// Every file that [`find`] would look at, in its order, whether it exists or not.
#[must_use]
pub fn candidates(program: &str, working_directory: Option<&Path>, path: Option<&OsStr>) -> Vec<PathBuf> {
    let directory = working_directory.unwrap_or(Path::new(""));
    let bases: Vec<PathBuf> = if program.contains(is_separator) {
        vec![directory.join(program)]
    } else {
        let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
        let entries = std::env::split_paths(path).filter(|entry| !entry.as_os_str().is_empty());
        entries.map(|entry| directory.join(entry).join(program)).collect()
    };
    let suffixes = suffixes(program);
    let files = bases.iter().flat_map(|base| {
        suffixes.iter().map(|suffix| {
            let mut name = base.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        })
    });
    files.collect()
}

/// The commands of a service besides the one that `exec` begins with, each with its key: programs that are looked for
/// whenever they are needed. Not those whose failure is ignored.
#[must_use]
pub fn others(spec: &ServiceSpec) -> Vec<(&'static str, &[String])> {
    let ready = match &spec.ready {
        Some(ReadySpec::Probe { probe, .. }) => Some(probe),
        Some(ReadySpec::Log { .. } | ReadySpec::Notify) | None => None,
    };
    let health = spec.health.as_ref().map(|health| &health.probe);
    let probes = [("health.exec", health), ("ready.exec", ready)];
    let probes = probes.into_iter().filter_map(|(key, probe)| match probe {
        Some(Probe::Exec { argv }) => Some((key, &argv[..])),
        Some(Probe::Http(_) | Probe::Tcp { .. }) | None => None,
    });
    let further = spec.oneshot.as_ref().and_then(|oneshot| oneshot.exec.get(1..)).unwrap_or_default();
    let lists: [(&'static str, &[CommandSpec]); 6] = [
        ("exec_start_pre", &spec.exec_start_pre),
        ("exec", further),
        ("exec_start_post", &spec.exec_start_post),
        ("exec_reload", &spec.exec_reload),
        ("exec_stop", &spec.exec_stop),
        ("exec_stop_post", &spec.exec_stop_post),
    ];
    let commands = lists.into_iter().flat_map(|(key, commands)| {
        let counts = commands.iter().filter(|command| !command.ignore_failure);
        counts.map(move |command| (key, &command.argv[..]))
    });
    let told = spec.crash.notify.iter().filter_map(|notify| match &notify.target {
        NotifyTarget::Exec { argv } => Some(("crash.notify", &argv[..])),
        NotifyTarget::Webhook(_) | NotifyTarget::Journal => None,
    });
    probes.chain(commands).chain(told).collect()
}

/// What may follow the name: nothing, except on Windows.
fn suffixes(program: &str) -> Vec<String> {
    if !cfg!(windows) {
        return vec![String::new()];
    }
    let known = std::env::var("PATHEXT").unwrap_or_else(|_| DEFAULT_SUFFIXES.to_owned());
    windows_suffixes(program, &known)
}

/// A name with one of the known suffixes is complete; any other gets each of them in turn.
fn windows_suffixes(program: &str, known: &str) -> Vec<String> {
    let known: Vec<String> =
        known.split(';').filter(|suffix| suffix.starts_with('.')).map(str::to_owned).collect();
    let lower = program.to_ascii_lowercase();
    if known.iter().any(|suffix| lower.ends_with(&suffix.to_ascii_lowercase())) {
        return vec![String::new()];
    }
    known
}

/// The first of the files that can be run, or what is wrong with the most promising one.
fn first_fit(base: &Path, suffixes: &[String]) -> Result<PathBuf, (PathBuf, Unfit)> {
    let mut worst = None;
    for suffix in suffixes {
        let mut name = base.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        match unfit(&path) {
            None => return Ok(path),
            Some(Unfit::Missing) => {}
            Some(why) => worst = worst.or(Some((path, why))),
        }
    }
    Err(worst.unwrap_or_else(|| (base.to_owned(), Unfit::Missing)))
}

fn unfit(path: &Path) -> Option<Unfit> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Some(Unfit::Missing),
        Err(error) => return Some(Unfit::Unreachable(error.to_string())),
    };
    if found.is_dir() {
        Some(Unfit::Directory)
    } else if !found.is_file() {
        Some(Unfit::NotAFile)
    } else if !may_execute(path, &found) {
        Some(Unfit::NotExecutable)
    } else {
        missing_interpreter(path).map(Unfit::NoInterpreter)
    }
}

#[cfg(unix)]
fn may_execute(path: &Path, found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    found.permissions().mode() & 0o111 != 0 && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn may_execute(_: &Path, _: &std::fs::Metadata) -> bool {
    true
}

/// The interpreter that a script names, if that does not exist. The kernel answers such a script with "no such file", which
/// reads as if the script itself were missing: the usual end of a Python environment whose Python was upgraded.
fn missing_interpreter(path: &Path) -> Option<PathBuf> {
    let interpreter = interpreter(path)?;
    let missing =
        std::fs::metadata(&interpreter).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    missing.then_some(interpreter)
}

/// The interpreter that a script's first line names: the program that really runs. `None` for what is no script.
#[must_use]
pub fn interpreter(path: &Path) -> Option<PathBuf> {
    if !cfg!(unix) {
        return None;
    }
    // With room for it all it is one call, not one for each doubling.
    let mut start = Vec::with_capacity(512);
    // A program may be run without being readable; then there is nothing to say.
    std::fs::File::open(path).ok()?.take(INTERPRETER_LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_start_matches([' ', '\t']);
    // A carriage return at the end belongs to the name, as it does for the kernel.
    line.split([' ', '\t']).next().filter(|name| name.starts_with('/')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_names_and_suffixes() {
        assert_eq!(windows_suffixes("python", ".COM;.EXE"), [".COM", ".EXE"]);
        assert_eq!(windows_suffixes("python3.12", ".COM;.EXE"), [".COM", ".EXE"]);
        assert_eq!(windows_suffixes("Python.exe", ".COM;.EXE"), [""]);
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::fs::PermissionsExt as _;

        fn file(path: &Path, text: &str, mode: u32) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }

        fn message(result: Result<PathBuf, ProgramError>) -> String {
            result.unwrap_err().to_string()
        }

        #[test]
        fn a_plain_name_is_looked_for_in_path() {
            let root = tempfile::tempdir().unwrap();
            let (a, b) = (root.path().join("a"), root.path().join("b"));
            file(&a.join("tool"), "", 0o644);
            file(&b.join("tool"), "", 0o755);
            std::fs::create_dir(a.join("dir")).unwrap();
            let path = std::env::join_paths([&a, &b]).unwrap();
            assert_eq!(find("tool", None, Some(&path)), Ok(b.join("tool")));
            let only = a.as_os_str();
            let at = a.display();
            assert_eq!(
                message(find("tool", None, Some(only))),
                format!(
                    "the program \"tool\" was not found in PATH={at} ({at}/tool is not executable by this user)"
                )
            );
            assert_eq!(
                message(find("dir", None, Some(only))),
                format!("the program \"dir\" was not found in PATH={at} ({at}/dir is a directory)")
            );
            assert_eq!(
                message(find("none", None, Some(OsStr::new("/x:")))),
                "the program \"none\" was not found in PATH=/x:"
            );
            // Relative entries start where the service does.
            assert_eq!(find("tool", Some(root.path()), Some(OsStr::new("b"))), Ok(b.join("tool")));
        }

        #[test]
        fn a_path_is_relative_to_the_working_directory() {
            let root = tempfile::tempdir().unwrap();
            let tool = root.path().join("bin/tool");
            file(&tool, "#!/bin/sh\n", 0o755);
            assert_eq!(find("bin/tool", Some(root.path()), None), Ok(tool.clone()));
            assert_eq!(find(tool.to_str().unwrap(), Some(Path::new("/")), None), Ok(tool.clone()));
            let at = root.path().display();
            assert_eq!(
                message(find("./none", Some(root.path()), None)),
                format!("the program \"./none\", looked for at {at}/./none, does not exist")
            );
            assert_eq!(message(find("/no/such", None, None)), "the program /no/such does not exist");
            assert_eq!(message(find("/", None, None)), "the program / is a directory");
            assert_eq!(message(find("/dev/null", None, None)), "the program /dev/null is not a regular file");
            assert_eq!(message(find("", None, None)), "\"\" cannot be the name of a program");
        }

        #[test]
        fn a_script_with_the_line_ends_of_windows_is_told_so() {
            let root = tempfile::tempdir().unwrap();
            file(&root.path().join("script"), "#!/bin/sh\r\necho\r\n", 0o755);
            let message = message(find("./script", Some(root.path()), None));
            assert!(message.contains("lines end with CR LF: /bin/sh is not found with a CR"), "{message}");
        }

        #[test]
        fn a_script_needs_its_interpreter() {
            let root = tempfile::tempdir().unwrap();
            let script = root.path().join("script");
            file(&script, "#! /no/python3 -E\nprint()\n", 0o755);
            assert_eq!(
                message(find("./script", Some(root.path()), None)),
                format!(
                    "the program \"./script\", looked for at {}/./script, is a script for /no/python3, which does not exist",
                    root.path().display()
                )
            );
        }
    }
}
