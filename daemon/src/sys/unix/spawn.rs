//! Starts one program as `posix_spawn` does (`launch.rs`).
//!
//! It is done with `CLONE_VM | CLONE_VFORK`: the cost does not grow with the daemon's memory, and the call returns once the program runs or has failed to. Nothing leaks into the program: every descriptor of the daemon
//! is close-on-exec, signal mask and dispositions are the system's defaults (a Rust program ignores SIGPIPE, and an
//! ignored signal stays ignored over exec). Each program leads a session and a process group of its own, so that it has
//! no terminal and its whole group can be signalled. What else has to be set is done by the [exec step](super::exec_step).

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::cgroup::Cgroup;
use super::exec_step::Handover;
use super::launch::{self, Failed, Launch};
use super::slots::Slots;
use super::{LogPipe, explain, limits, proc_files};
use crate::sys::{Key, Output, SpawnError, SpawnPlan, SpawnStep, Spawned};

/// A child that was started and not yet reaped. It is a plain number: see [`Children`](super::Children) for why that
/// is safe. Dropped without being adopted, it lives on and is reaped as an orphan.
#[derive(Debug)]
pub struct Process {
    pub(super) pid: libc::pid_t,
    /// When it was asked for, a moment before its pid was given out.
    pub(super) began: u64,
    /// In clock ticks since the machine's start; `None`: it had ended and was reaped before anybody could look.
    pub(super) start_ticks: Option<u64>,
    /// Where it and all that it starts are.
    pub(super) cgroup: Option<Cgroup>,
    /// The daemon's own peak of resident memory when it started the child: the kernel counts that in, see
    /// [`Children::collect`](super::Children::collect).
    pub(super) rss_floor_bytes: u64,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// When it started, in the system's own unit: with the pid it names the process for good, until the machine starts
    /// again. `None`: it had ended before it could be asked, or the system needs no such thing.
    pub fn start_ticks(&self) -> Option<u64> {
        self.start_ticks
    }
}

/// Starts what `plan` says. Any thread may call it, several at once.
///
/// # Errors
///
/// The program does not run; the error names the step that failed and the cause.
pub fn spawn(plan: &SpawnPlan) -> Result<Spawned, SpawnError> {
    spawn_announced(plan, None, &|_, _| ())
}

/// The same so that the process can be found when this one is killed meanwhile: its pid goes where `slots` has room for
/// `key`, and `announce` is shown the read ends of its output before there is a process.
///
/// # Errors
///
/// As [`spawn`].
pub fn spawn_announced(
    plan: &SpawnPlan,
    slots: Option<(&Slots, Key)>,
    announce: &dyn Fn(Option<&LogPipe>, Option<&LogPipe>),
) -> Result<Spawned, SpawnError> {
    let words = Words::of(plan)?;
    let null = null_device().map_err(|error| pipes_error("cannot open /dev/null", &error))?;
    let stdout = output(plan.stdout)?;
    let stderr = if plan.merge_stderr { None } else { output(plan.stderr)? };

    let stdout_target = stdout.as_ref().map_or(null, |pipe| pipe.write.as_raw_fd());
    let stderr_target = if plan.merge_stderr {
        stdout_target
    } else {
        stderr.as_ref().map_or(null, |pipe| pipe.write.as_raw_fd())
    };

    let cgroup = plan.cgroup.as_ref().map(|cgroup| open_cgroup(plan, cgroup)).transpose()?;
    let stdin = plan.stdin.as_ref().map_or(null, |file| file.as_raw_fd());
    let streams = [stdin, stdout_target, stderr_target];
    let enter = cgroup.as_ref().map(AsRawFd::as_raw_fd);

    announce(stdout.as_ref().map(|pipe| &pipe.read), stderr.as_ref().map(|pipe| &pipe.read));
    let slot = slots.map(|(slots, key)| slots.claim(key));
    let began = super::monotonic_ns();
    let pid = if plan.setup.is_empty() {
        let directory = plan.working_directory.as_deref().map(open_directory).transpose()?;
        let launch = Launch {
            program: &words.program,
            argv: &pointers(&words.argv),
            env: &pointers(&words.env),
            streams,
            inherits: &[],
            directory: directory.as_ref().map(AsRawFd::as_raw_fd),
            slot,
        };
        let pid = launch::start(&launch, enter).map_err(|failed| match failed {
            Failed::Start(errno) => explain::failure(plan, directory.as_ref(), errno),
            Failed::Cgroup(errno) => cgroup_error(plan, &io::Error::from_raw_os_error(errno)),
        })?;
        limits::restore_in(pid);
        pid
    } else {
        let handover = Handover::prepare(plan, &words)?;
        let launch = Launch {
            program: OWN_PROGRAM,
            argv: &pointers(&handover.argv),
            env: &pointers(&handover.env),
            streams,
            inherits: &handover.descriptors(),
            directory: None,
            slot,
        };
        let pid = launch::start(&launch, enter).map_err(|failed| match failed {
            Failed::Start(errno) => process_error(plan, &io::Error::from_raw_os_error(errno)),
            Failed::Cgroup(errno) => cgroup_error(plan, &io::Error::from_raw_os_error(errno)),
        })?;
        // A step that has failed ends by itself, and is reaped as an orphan.
        handover.outcome()?;
        pid
    };
    // It is a child that is not reaped, unless the loop has just done so: then there is nothing to be read.
    let start_ticks = proc_files::stat(pid).map(|stat| stat.started);
    let (rss_floor_bytes, cgroup) = (proc_files::own_peak_rss_bytes(), plan.cgroup.clone());
    Ok(Spawned {
        process: Process { pid, began, start_ticks, cgroup, rss_floor_bytes },
        stdout: stdout.map(|pipe| pipe.read),
        stderr: stderr.map(|pipe| pipe.read),
    })
}

fn open_cgroup(plan: &SpawnPlan, cgroup: &Cgroup) -> Result<OwnedFd, SpawnError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, cgroup.path(), flags, Mode::empty());
    opened.map_err(io::Error::from).and_then(above_stdio).map_err(|error| cgroup_error(plan, &error))
}

fn cgroup_error(plan: &SpawnPlan, error: &io::Error) -> SpawnError {
    let place = plan.cgroup.as_ref().map_or_else(String::new, |cgroup| cgroup.path().display().to_string());
    SpawnError {
        step: SpawnStep::Cgroup,
        errno: error.raw_os_error().unwrap_or(0),
        message: format!("cannot start {} in the cgroup {place}: {error}", plan.program.display()),
    }
}

/// The program that this process runs. The name leads to that one also when another file has taken its place, or none.
const OWN_PROGRAM: &CStr = c"/proc/self/exe";

/// The words of a plan as C strings.
pub(super) struct Words {
    pub(super) program: CString,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
}

impl Words {
    pub(super) fn of(plan: &SpawnPlan) -> Result<Self, SpawnError> {
        let word = |word: &OsStr, what: &str| {
            CString::new(word.as_bytes()).map_err(|_| SpawnError {
                step: SpawnStep::Exec,
                errno: libc::EINVAL,
                message: format!("cannot run {}: {what} {word:?} holds a NUL byte", plan.program.display()),
            })
        };
        let variable = |(name, value): &(OsString, OsString)| {
            let mut pair = name.clone().into_vec();
            pair.push(b'=');
            pair.extend_from_slice(value.as_bytes());
            word(&OsString::from_vec(pair), "the environment variable")
        };
        Ok(Self {
            program: word(plan.program.as_os_str(), "the path")?,
            argv: plan
                .argv
                .iter()
                .map(|argument| word(argument, "the argument"))
                .collect::<Result<_, _>>()?,
            env: plan.env.iter().map(variable).collect::<Result<_, _>>()?,
        })
    }
}

/// What the exec functions take for arguments and environment.
pub(super) type Pointers = Vec<*mut libc::c_char>;

/// A null-terminated array of pointers to `words`, valid as long as they are.
pub(super) fn pointers(words: &[CString]) -> Pointers {
    words.iter().map(|word| word.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
}

/// A pipe for one output stream.
struct Pipe {
    read: LogPipe,
    write: OwnedFd,
}

fn output(output: Output) -> Result<Option<Pipe>, SpawnError> {
    match output {
        Output::Null => Ok(None),
        Output::Pipe => {
            open_pipe().map(Some).map_err(|error| pipes_error("cannot open a pipe for the output", &error))
        }
    }
}

/// Only the read end is non-blocking: the program expects to write to a descriptor that waits.
fn open_pipe() -> io::Result<Pipe> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok(Pipe { read: LogPipe::from(read), write: above_stdio(write)? })
}

/// Moves a descriptor out of the way of 0, 1 and 2, which the child overwrites one after the other. It only is there
/// when the daemon itself was started with one of them closed.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, libc::STDERR_FILENO + 1)?)
}

/// The null device, opened once for both directions.
fn null_device() -> io::Result<RawFd> {
    static NULL: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(null) = NULL.get() {
        return Ok(null.as_raw_fd());
    }
    let file = File::options().read(true).write(true).open("/dev/null")?;
    let fd = above_stdio(file.into())?;
    // Another thread may have been faster: then its descriptor is used and this one closed.
    Ok(NULL.get_or_init(|| fd).as_raw_fd())
}

/// A file that only memory has and that holds this, to be read from its beginning: a [`SpawnPlan::stdin`]. One program
/// reads it: the position is its own as the file is.
///
/// # Errors
/// When the system has no room for it.
pub fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(c"mcpd-input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(File::from(above_stdio(file.into())?))
}

/// Opening the directory before the start tells its errors apart from the program's.
fn open_directory(path: &Path) -> Result<OwnedFd, SpawnError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(above_stdio)
        .map_err(|error| explain::directory_failure(path, &error))
}

fn pipes_error(what: &str, error: &io::Error) -> SpawnError {
    SpawnError {
        step: SpawnStep::Pipes,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
        message: format!("{what}: {error}"),
    }
}

fn process_error(plan: &SpawnPlan, error: &io::Error) -> SpawnError {
    explain::no_room(plan, error.raw_os_error().unwrap_or(libc::ENOMEM))
}
