//! Starts one program: created suspended, put into its job, resumed.
//!
//! It gets a hidden console of its own. That keeps it away from the daemon's console and its CTRL+C, and is what a
//! CTRL+C of the daemon's is later sent to. (CREATE_NEW_PROCESS_GROUP would switch CTRL+C off in it, so it is not used.)
//! Handles do not leak between programs started at the same time: the standard library makes the three that are meant
//! inheritable only while it holds its own lock.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Seek, Write};
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_EXE_FORMAT, ERROR_COMMITMENT_LIMIT, ERROR_DIRECTORY,
    ERROR_ELEVATION_REQUIRED, ERROR_EXE_MACHINE_TYPE_MISMATCH, ERROR_FILE_NOT_FOUND,
    ERROR_FILENAME_EXCED_RANGE, ERROR_GEN_FAILURE, ERROR_INVALID_PARAMETER, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_ENOUGH_QUOTA, ERROR_NOT_SUPPORTED, ERROR_PATH_NOT_FOUND,
    ERROR_SHARING_VIOLATION, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_TEMPORARY, FILE_FLAG_DELETE_ON_CLOSE, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED,
    PIPE_ACCESS_INBOUND,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, OpenThread, ResumeThread, THREAD_SUSPEND_RESUME,
};

use super::LogPipe;
use super::job::Job;
use crate::sys::{Output, SpawnError, SpawnPlan, SpawnStep, Spawned};

/// How much output fits into a pipe before the program has to wait for the daemon: what Linux has.
const PIPE_BYTES: u32 = 64 * 1024;

/// A process that was started, in its job. Dropped without being adopted, it ends with all that it started.
#[derive(Debug)]
pub struct Process {
    pub(super) handle: OwnedHandle,
    pub(super) job: Job,
    pub(super) pid: u32,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Not needed here: nothing of a process outlives the daemon.
    pub fn start_ticks(&self) -> Option<u64> {
        None
    }
}

/// As [`spawn`]: nobody has to find the process without this daemon.
///
/// # Errors
///
/// As [`spawn`].
pub fn spawn_announced(
    plan: &SpawnPlan,
    _slots: Option<(&super::Slots, crate::sys::Key)>,
    _announce: &dyn Fn(Option<&LogPipe>, Option<&LogPipe>),
) -> Result<Spawned, SpawnError> {
    spawn(plan)
}

/// Starts what `plan` says. Any thread may call it, several at once.
///
/// # Errors
///
/// The program does not run; the error names the step that failed and the cause.
pub fn spawn(plan: &SpawnPlan) -> Result<Spawned, SpawnError> {
    if !plan.setup.is_empty() {
        let errno = ERROR_NOT_SUPPORTED.cast_signed();
        let message =
            format!("cannot start {}: Windows has none of {:?}", plan.program.display(), plan.setup);
        return Err(SpawnError { step: SpawnStep::Setup, errno, message });
    }
    if let Some(directory) = &plan.working_directory {
        check_directory(directory)?;
    }
    let stdout = output(plan.stdout)?;
    let stderr = if plan.merge_stderr { None } else { output(plan.stderr)? };
    let stdout_end = stdio(stdout.as_ref())?;
    let stderr_end = stdio(if plan.merge_stderr { stdout.as_ref() } else { stderr.as_ref() })?;

    let job = Job::new().map_err(|error| process_error(plan, "cannot create a job object", &error))?;
    let mut command = Command::new(program_file(plan));
    command
        .args(plan.argv.iter().skip(1))
        .env_clear()
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .stdin(stdin(plan)?)
        .stdout(stdout_end)
        .stderr(stderr_end)
        .creation_flags(CREATE_SUSPENDED | CREATE_NO_WINDOW);
    if let Some(directory) = &plan.working_directory {
        command.current_dir(directory);
    }
    let mut child = command.spawn().map_err(|error| exec_error(plan, &error))?;
    let pid = child.id();
    let started = job
        .assign(&child)
        .map_err(|error| process_error(plan, "cannot put the process into its job object", &error))
        .and_then(|()| {
            resume(&child).map_err(|error| process_error(plan, "cannot resume the process", &error))
        });
    if let Err(error) = started {
        // It never ran. If even this fails, the job's end ends it.
        let _ = child.kill();
        return Err(error);
    }
    Ok(Spawned {
        process: Process { handle: OwnedHandle::from(child), job, pid },
        stdout: stdout.map(|pipe| pipe.read),
        stderr: stderr.map(|pipe| pipe.read),
    })
}

/// The file to execute as an absolute path, so that nothing searches for it.
fn program_file(plan: &SpawnPlan) -> PathBuf {
    let file = match &plan.working_directory {
        Some(directory) => directory.join(&plan.program),
        None => plan.program.clone(),
    };
    std::path::absolute(&file).unwrap_or(file)
}

/// A named pipe of which the daemon reads one end without waiting and the program writes the other one as an ordinary
/// file. (Anonymous pipes know no reading without waiting.)
struct Pipe {
    read: LogPipe,
    write: File,
}

fn output(output: Output) -> Result<Option<Pipe>, SpawnError> {
    match output {
        Output::Null => Ok(None),
        Output::Pipe => open_pipe().map(Some).map_err(|error| pipes_error(&error)),
    }
}

fn stdio(pipe: Option<&Pipe>) -> Result<Stdio, SpawnError> {
    pipe.map_or_else(
        || Ok(Stdio::null()),
        |pipe| pipe.write.try_clone().map(Stdio::from).map_err(|error| pipes_error(&error)),
    )
}

fn stdin(plan: &SpawnPlan) -> Result<Stdio, SpawnError> {
    plan.stdin.as_ref().map_or_else(
        || Ok(Stdio::null()),
        |file| file.try_clone().map(Stdio::from).map_err(|error| pipes_error(&error)),
    )
}

/// A file that holds this, to be read from its beginning: a [`SpawnPlan::stdin`]. It is gone with the last who has it open,
/// and in memory as long as there is room. One program reads it: the position is its own as the file is.
///
/// # Errors
/// When the system has no room for it.
pub fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        // Nobody else opens it meanwhile.
        .share_mode(0)
        .attributes(FILE_ATTRIBUTE_TEMPORARY)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .open(std::env::temp_dir().join(unique("mcpd-input")))?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// The number makes the name unique, the hash unpredictable: nobody can create or open it first.
fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = RandomState::new().hash_one(number);
    format!("{what}-{}-{number}-{hash:016x}", std::process::id())
}

fn open_pipe() -> io::Result<Pipe> {
    let name = PathBuf::from(format!(r"\\.\pipe\{}", unique("mcpd-output")));
    let wide: Vec<u16> = name.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: `wide` ends with a NUL; the last pointer may be null: default security.
    let handle = unsafe {
        CreateNamedPipeW(
            wide.as_ptr(),
            PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            1,
            PIPE_BYTES,
            PIPE_BYTES,
            0,
            std::ptr::null(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just created, is overlapped and belongs to no one else.
    let read = unsafe { LogPipe::from_raw_handle(handle) };
    let write = File::options().write(true).open(&name)?;
    Ok(Pipe { read, write })
}

/// Lets a process that was created suspended run: it has one thread, which only a list of all threads names.
fn resume(child: &Child) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just created and belongs to no one else.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let size = u32::try_from(size_of::<THREADENTRY32>()).unwrap_or(0);
    let mut entry = THREADENTRY32 { dwSize: size, ..Default::default() };
    // SAFETY: the snapshot is open and `entry` is writable and holds its own size.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == child.id() {
            return resume_thread(entry.th32ThreadID);
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &raw mut entry) };
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "its thread is not listed"))
}

fn resume_thread(id: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let thread = unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, id) };
    if thread.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened and belongs to no one else.
    let thread = unsafe { OwnedHandle::from_raw_handle(thread) };
    // SAFETY: the handle is open.
    if unsafe { ResumeThread(thread.as_raw_handle()) } == u32::MAX {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn check_directory(path: &Path) -> Result<(), SpawnError> {
    let (errno, why) = match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => (ERROR_DIRECTORY.cast_signed(), "it is not a directory".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (errno(&error), "it does not exist".to_owned())
        }
        Err(error) => (errno(&error), error.to_string()),
    };
    Err(directory_error(path, errno, &why))
}

fn directory_error(path: &Path, errno: i32, why: &str) -> SpawnError {
    let message = format!("cannot enter the working directory {}: {why}", path.display());
    SpawnError { step: SpawnStep::WorkingDirectory, errno, message }
}

fn pipes_error(error: &io::Error) -> SpawnError {
    let message = format!("cannot open a pipe for the output: {error}");
    SpawnError { step: SpawnStep::Pipes, errno: errno(error), message }
}

fn process_error(plan: &SpawnPlan, what: &str, error: &io::Error) -> SpawnError {
    let message = format!("cannot start {}: {what}: {error}", plan.program.display());
    SpawnError { step: SpawnStep::Process, errno: errno(error), message }
}

/// Whether a failure to start stays one until somebody acts, by its number.
pub(in crate::sys) fn is_permanent(errno: i32) -> bool {
    matches!(
        errno.cast_unsigned(),
        ERROR_FILE_NOT_FOUND
            | ERROR_PATH_NOT_FOUND
            | ERROR_ACCESS_DENIED
            | ERROR_BAD_EXE_FORMAT
            | ERROR_EXE_MACHINE_TYPE_MISMATCH
            | ERROR_ELEVATION_REQUIRED
            | ERROR_FILENAME_EXCED_RANGE
            | ERROR_DIRECTORY
            | ERROR_INVALID_PARAMETER
            | ERROR_NOT_SUPPORTED
    )
}

/// The cause of a CreateProcess that failed.
fn exec_error(plan: &SpawnPlan, error: &io::Error) -> SpawnError {
    let errno = errno(error);
    let cause = match errno.cast_unsigned() {
        ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND => "it does not exist".to_owned(),
        ERROR_ACCESS_DENIED if program_file(plan).is_dir() => "it is a directory".to_owned(),
        ERROR_ACCESS_DENIED => "permission denied: this user may not execute it".to_owned(),
        ERROR_BAD_EXE_FORMAT => {
            "is not an executable format: a script needs its interpreter as the program".to_owned()
        }
        ERROR_EXE_MACHINE_TYPE_MISMATCH => "is not an executable format of this machine".to_owned(),
        ERROR_ELEVATION_REQUIRED => "it demands to be run as administrator".to_owned(),
        ERROR_SHARING_VIOLATION => "another process is writing to it".to_owned(),
        ERROR_FILENAME_EXCED_RANGE => {
            "its path, or its arguments, are longer than the system allows".to_owned()
        }
        ERROR_DIRECTORY => {
            let directory = plan.working_directory.as_deref().unwrap_or(Path::new("."));
            return directory_error(directory, errno, "it is not a directory");
        }
        ERROR_NOT_ENOUGH_MEMORY
        | ERROR_NO_SYSTEM_RESOURCES
        | ERROR_COMMITMENT_LIMIT
        | ERROR_NOT_ENOUGH_QUOTA => {
            return process_error(plan, "the system has no room for another process", error);
        }
        _ => error.to_string(),
    };
    SpawnError {
        step: SpawnStep::Exec,
        errno,
        message: format!("cannot run {}: {cause}", plan.program.display()),
    }
}

/// The system's number of an error; the standard library finds some without asking the system.
fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or_else(|| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => ERROR_FILE_NOT_FOUND,
            io::ErrorKind::PermissionDenied => ERROR_ACCESS_DENIED,
            io::ErrorKind::InvalidInput => ERROR_INVALID_PARAMETER,
            _ => ERROR_GEN_FAILURE,
        };
        code.cast_signed()
    })
}
