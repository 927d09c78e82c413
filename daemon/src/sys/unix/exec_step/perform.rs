//! The step itself: prepare, change the process piece by piece, become the program.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::super::explain;
use super::super::spawn::{Pointers, pointers};
use super::handover::Plan;
use super::identity::Identity;
use super::{ABOUT_TO_EXEC, words};
use crate::sys::{Output, Setup, SpawnError, SpawnPlan, SpawnStep};

/// The most open files that the kernel lets a process have; `setrlimit` refuses more, and so infinity.
const NR_OPEN: &str = "/proc/sys/fs/nr_open";

/// Does what the plan says. It returns only when something cannot be done: that.
pub(super) fn perform(mut plan: Plan, status: &mut File) -> SpawnError {
    let pieces = match prepare(&mut plan) {
        Ok(pieces) => pieces,
        Err(error) => return error,
    };
    let (argv, env) = (pointers(&plan.argv), pointers(&plan.env));
    match change(&plan, pieces) {
        Ok(()) => execute(&plan, &argv, &env, status),
        Err(error) => error,
    }
}

/// A [`Setup`] with everything at hand that it takes.
enum Piece {
    Limit { name: String, resource: Resource, to: Rlimit },
    Nice(i32),
    OomScoreAdjust(i32, File),
    CpuAffinity(CpuSet),
    Identity(Identity),
    Umask(u32),
}

fn error(step: SpawnStep, errno: i32, message: String) -> SpawnError {
    SpawnError { step, errno, message }
}

/// Everything that opens files, asks other services or takes time.
fn prepare(plan: &mut Plan) -> Result<Vec<Piece>, SpawnError> {
    let mut pieces = Vec::with_capacity(plan.setup.len());
    for setup in std::mem::take(&mut plan.setup) {
        pieces.push(match setup {
            Setup::Limit { name, soft, hard } => limit(name, soft, hard)?,
            Setup::Nice(value) => Piece::Nice(value),
            Setup::OomScoreAdjust(value) => {
                let file = File::options().write(true).open("/proc/self/oom_score_adj");
                Piece::OomScoreAdjust(value, file.map_err(|failed| oom_error(value, &failed))?)
            }
            Setup::CpuAffinity(processors) => Piece::CpuAffinity(set_of(&processors)),
            Setup::Identity { user, group, supplementary_groups } => {
                let identity = Identity::find(user.as_deref(), group.as_deref(), &supplementary_groups)?;
                identity.complete(&mut plan.env);
                Piece::Identity(identity)
            }
            Setup::Umask(mask) => Piece::Umask(mask),
        });
    }
    Ok(pieces)
}

/// From here on the process is the service's more and more, and its limits are in force: nothing is opened, and memory
/// taken only for the words of an error.
fn change(plan: &Plan, pieces: Vec<Piece>) -> Result<(), SpawnError> {
    let mut user = None;
    for piece in pieces {
        match piece {
            Piece::Limit { name, resource, to } => {
                setrlimit(resource, to).map_err(|errno| limit_error(&name, resource, to, errno))?;
            }
            Piece::Nice(value) => setpriority_process(None, value).map_err(|errno| {
                let errno = errno.raw_os_error();
                error(SpawnStep::Nice, errno, format!("nice: cannot set it to {value}: {}", words(errno)))
            })?,
            Piece::OomScoreAdjust(value, mut file) => {
                file.write_all(value.to_string().as_bytes()).map_err(|failed| oom_error(value, &failed))?;
            }
            Piece::CpuAffinity(wanted) => affinity(&wanted)?,
            Piece::Identity(identity) => {
                identity.assume()?;
                user = identity.user;
            }
            Piece::Umask(mask) => drop(rustix::process::umask(Mode::from_raw_mode(mask))),
        }
    }
    if let Some(directory) = &plan.directory {
        rustix::process::chdir(directory.as_c_str()).map_err(|errno| {
            let mut error = explain::directory_failure(path(directory), &errno.into());
            if let Some(user) = user {
                error.message.push_str(&format!(" (as the user {user:?})"));
            }
            error
        })?;
    }
    Ok(())
}

/// Becomes the program. `argv` and `env` point into the plan.
fn execute(plan: &Plan, argv: &Pointers, env: &Pointers, status: &mut File) -> SpawnError {
    // Nothing can be done about a daemon that is gone: the service goes on as after any other end of it.
    let _ = status.write_all(&[ABOUT_TO_EXEC]);
    // SAFETY: the first call takes a signal and a constant. Rust's runtime ignores SIGPIPE, and what is ignored stays so
    // over exec. The second gets NUL-terminated strings and arrays of such that are ended by a null pointer; all of them
    // live longer than the call.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execve(plan.program.as_ptr(), argv.as_ptr().cast(), env.as_ptr().cast());
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    explain::failure(&described(plan), None, errno)
}

/// As much of the plan as an explanation needs. What it looks at, it looks at as the service's user.
fn described(plan: &Plan) -> SpawnPlan {
    SpawnPlan {
        program: path(&plan.program).to_owned(),
        argv: Vec::new(),
        env: Vec::new(),
        working_directory: plan.directory.as_deref().map(|directory| path(directory).to_owned()),
        stdin: None,
        stdout: Output::Null,
        stderr: Output::Null,
        merge_stderr: false,
        cgroup: None,
        setup: Vec::new(),
    }
}

fn path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

// ---- limits

fn limit(name: String, soft: Option<u64>, hard: Option<u64>) -> Result<Piece, SpawnError> {
    let Some(resource) = resource(&name) else {
        return Err(error(SpawnStep::Limits, libc::EINVAL, format!("limits: there is no limit {name:?}")));
    };
    let most = if resource == Resource::Nofile { nr_open() } else { None };
    let to = Rlimit { current: soft.or(most), maximum: hard.or(most) };
    Ok(Piece::Limit { name, resource, to })
}

fn nr_open() -> Option<u64> {
    std::fs::read_to_string(NR_OPEN).ok()?.trim().parse().ok()
}

/// By its name in `setrlimit(2)`, in lower case.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

fn limit_error(name: &str, resource: Resource, to: Rlimit, errno: rustix::io::Errno) -> SpawnError {
    let shown = |value: Option<u64>| value.map_or_else(|| "infinity".to_owned(), |value| value.to_string());
    let value = if to.current == to.maximum {
        shown(to.maximum)
    } else {
        format!("{}:{}", shown(to.current), shown(to.maximum))
    };
    let most = if resource == Resource::Nofile { nr_open() } else { None };
    let over = |limit: Option<u64>| match (to.maximum, limit) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(wanted), Some(limit)) => wanted > limit,
    };
    let hard = getrlimit(resource).maximum;
    let why = if over(most) {
        format!(" (the kernel allows {} at most: fs.nr_open)", shown(most))
    } else if over(hard) {
        format!(" (mcpd's own hard limit is {}, and raising it needs CAP_SYS_RESOURCE)", shown(hard))
    } else {
        String::new()
    };
    let errno = errno.raw_os_error();
    let limit = name.to_ascii_uppercase();
    let message = format!("limits: cannot set RLIMIT_{limit} to {value}: {}{why}", words(errno));
    error(SpawnStep::Limits, errno, message)
}

// ---- oom_score_adjust, cpu_affinity

fn oom_error(value: i32, failed: &std::io::Error) -> SpawnError {
    let errno = failed.raw_os_error().unwrap_or(libc::EIO);
    let why = match errno {
        libc::EACCES => " (lowering it below mcpd's own needs CAP_SYS_RESOURCE)",
        _ => "",
    };
    let message = format!("oom_score_adjust: cannot set it to {value}: {}{why}", words(errno));
    error(SpawnStep::OomScoreAdjust, errno, message)
}

fn set_of(processors: &[u32]) -> CpuSet {
    let mut set = CpuSet::new();
    for place in processors.iter().filter_map(|&number| usize::try_from(number).ok()) {
        set.set(place);
    }
    set
}

/// The kernel leaves out what is not there without a word, as long as something remains.
fn affinity(wanted: &CpuSet) -> Result<(), SpawnError> {
    let refused = |errno: i32, why: &str| {
        let message = format!("cpu_affinity: cannot run on the processors {}: {why}", numbers(wanted));
        error(SpawnStep::CpuAffinity, errno, message)
    };
    let there = sched_getaffinity(None).unwrap_or_default();
    match sched_setaffinity(None, wanted) {
        Ok(()) if sched_getaffinity(None).is_ok_and(|now| now == *wanted) => Ok(()),
        Ok(()) | Err(rustix::io::Errno::INVAL) => {
            Err(refused(libc::EINVAL, &format!("mcpd may use {}", numbers(&there))))
        }
        Err(errno) => Err(refused(errno.raw_os_error(), &words(errno.raw_os_error()))),
    }
}

fn numbers(set: &CpuSet) -> String {
    let all = (0..CpuSet::MAX_CPU).filter(|&place| set.is_set(place));
    all.map(|place| place.to_string()).collect::<Vec<_>>().join(",")
}
