//! Why a program could not be started: from the errno of `posix_spawn` to the thing that a person has to mend.
//!
//! The system answers with one number for many causes: ENOENT is a missing program as well as a missing interpreter.
//! So the files are looked at after the failure. They may have changed in between; the number stays the truth.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::sys::{SpawnError, SpawnPlan, SpawnStep};

/// As much of a file as the kernel looks at to find its `#!` line (BINPRM_BUF_SIZE).
const FIRST_LINE_LIMIT_BYTES: u64 = 256;

/// Whether a failure to start stays one until somebody acts, by its errno.
pub(in crate::sys) fn is_permanent(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENOENT
            | libc::EACCES
            | libc::ENOEXEC
            | libc::EPERM
            | libc::EINVAL
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::ENAMETOOLONG
            | libc::E2BIG
            | libc::ELIBBAD
    )
}

/// The error of a working directory that cannot be opened.
pub(super) fn directory_failure(path: &Path, error: &io::Error) -> SpawnError {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let why = match errno {
        libc::ENOENT => "it does not exist".to_owned(),
        libc::ENOTDIR => "it is not a directory".to_owned(),
        libc::EACCES => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    let message = format!("cannot enter the working directory {}: {why}", path.display());
    SpawnError { step: SpawnStep::WorkingDirectory, errno, message }
}

/// The error of a system without room for another process.
pub(super) fn no_room(plan: &SpawnPlan, errno: i32) -> SpawnError {
    let program = plan.program.display();
    let message = match errno {
        libc::EAGAIN => format!(
            "cannot start {program}: the system has no room for another process (EAGAIN): \
             a limit on the number of processes or threads is reached"
        ),
        _ => format!(
            "cannot start {program}: the system has no room for another process: {}",
            io::Error::from_raw_os_error(errno)
        ),
    };
    SpawnError { step: SpawnStep::Process, errno, message }
}

/// The error of a `posix_spawn` that failed with `errno`.
pub(super) fn failure(plan: &SpawnPlan, directory: Option<&OwnedFd>, errno: i32) -> SpawnError {
    if matches!(errno, libc::EAGAIN | libc::ENOMEM) {
        return no_room(plan, errno);
    }
    if let (Some(path), Some(directory)) = (&plan.working_directory, directory)
        && errno == libc::EACCES
        && rustix::fs::accessat(directory, ".", Access::EXISTS, AtFlags::EACCESS).is_err()
    {
        // It could be opened, but looking anything up in it is denied, and so was entering it.
        return directory_failure(path, &io::Error::from_raw_os_error(errno));
    }
    // A relative path was looked up by the child, after it had changed its directory.
    let file = match &plan.working_directory {
        Some(directory) => directory.join(&plan.program),
        None => plan.program.clone(),
    };
    let cause = match errno {
        libc::ENOENT => missing(&file),
        libc::EACCES => denied(&file),
        libc::ENOEXEC => not_a_program(&file),
        libc::ETXTBSY => "another process is writing to it (text file busy)".to_owned(),
        libc::E2BIG => "its arguments and environment are longer than the system allows".to_owned(),
        libc::ENOTDIR => "a part of its path is not a directory".to_owned(),
        libc::ELOOP => "its path or its #! lines lead through too many links".to_owned(),
        libc::ENAMETOOLONG => "its path is too long".to_owned(),
        _ => io::Error::from_raw_os_error(errno).to_string(),
    };
    SpawnError {
        step: SpawnStep::Exec,
        errno,
        message: format!("cannot run {}: {cause}", plan.program.display()),
    }
}

/// ENOENT: the program itself, or what it needs to run.
fn missing(file: &Path) -> String {
    if fs::metadata(file).is_err() {
        return match fs::read_link(file) {
            Ok(target) => format!("it is a symbolic link to {}, which does not exist", target.display()),
            Err(_) => "it does not exist".to_owned(),
        };
    }
    match interpreter(file) {
        Some(line) if line.carriage_return => format!(
            "the interpreter {} of its #! line does not exist: the line ends with a carriage return (CRLF line ends)",
            line.path.display()
        ),
        Some(line) if fs::metadata(&line.path).is_err() => {
            format!("the interpreter {} of its #! line does not exist", line.path.display())
        }
        Some(line) => format!(
            "the interpreter {} of its #! line cannot run: its own interpreter or program loader does not exist",
            line.path.display()
        ),
        None => "the program loader that it names does not exist (built for another system or C library?)"
            .to_owned(),
    }
}

/// EACCES: no permission for the file, its path or its interpreter.
fn denied(file: &Path) -> String {
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(_) => return "permission denied: a directory of its path may not be entered".to_owned(),
    };
    if meta.is_dir() {
        return "it is a directory".to_owned();
    }
    if !meta.is_file() {
        return "permission denied: it is not a regular file".to_owned();
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o111 == 0 {
        return format!("permission denied: not executable (mode {mode:04o})");
    }
    if !executable(file) {
        return format!(
            "permission denied: not executable for this user (mode {mode:04o}, owner {}:{})",
            meta.uid(),
            meta.gid()
        );
    }
    if let Some(line) = interpreter(file)
        && !executable(&line.path)
    {
        return format!(
            "permission denied: the interpreter {} of its #! line is not executable",
            line.path.display()
        );
    }
    "permission denied: a file system mounted noexec, or a security policy, forbids it".to_owned()
}

/// ENOEXEC: the kernel knows no format that fits.
fn not_a_program(file: &Path) -> String {
    match first_bytes(file) {
        Some(bytes) if bytes.is_empty() => "is not an executable format: the file is empty".to_owned(),
        Some(bytes) if bytes.starts_with(b"\x7fELF") => {
            "is not an executable format of this machine: it was built for another processor, or is damaged"
                .to_owned()
        }
        Some(bytes) if bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "is not an executable format: a script needs a first line like #!/bin/sh".to_owned()
        }
        _ => "is not an executable format".to_owned(),
    }
}

fn executable(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// The interpreter that a script names.
struct Interpreter {
    path: PathBuf,
    /// The path ends with a carriage return, which the kernel takes for a part of the name.
    carriage_return: bool,
}

fn interpreter(file: &Path) -> Option<Interpreter> {
    let bytes = first_bytes(file)?;
    let line = bytes.strip_prefix(b"#!")?;
    let line = line.split(|&byte| byte == b'\n').next()?;
    let mut words = line.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty());
    let word = words.next()?;
    let bare = word.strip_suffix(b"\r");
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(bare.unwrap_or(word)));
    Some(Interpreter { path, carriage_return: bare.is_some() })
}

fn first_bytes(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    // A regular file only: opening a FIFO would wait for its writer.
    if !fs::metadata(file).ok()?.is_file() {
        return None;
    }
    File::open(file).ok()?.take(FIRST_LINE_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
