//! Reads what `/proc` says about a process. Every answer may be out of date by the time it is read: the callers say why
//! theirs holds.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use nix::sys::resource::{UsageWho, getrusage};

use crate::sys::{RUN_ID_VARIABLE, SERVICE_VARIABLE};

/// As much of an environment as is searched: the kernel's limit for arguments and environment is 6 MiB by default, and
/// the daemon puts its variable among the first kilobytes.
const ENVIRONMENT_LIMIT_BYTES: u64 = 1024 * 1024;
/// As much of it as is asked for at once. Nearly every environment is shorter, and what one call reads no exec cuts short.
const ENVIRONMENT_PIECE_BYTES: usize = 8 * 1024;
/// In the kernel's flags of a process: it is on its way out (PF_EXITING).
const EXITING: u32 = 0x4;
/// In the kernel's flags of a process: a thread of the kernel's own (PF_KTHREAD).
const KERNEL: u32 = 0x0020_0000;

/// The parts of `/proc/PID/stat` that tell one process from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: libc::pid_t,
    pub(super) group: libc::pid_t,
    pub(super) session: libc::pid_t,
    /// Has ended and waits to be reaped: it runs nothing and has no children any more.
    pub(super) dead: bool,
    /// Its first thread is on its way out: its memory is gone or going, its children may still hang on it.
    pub(super) exiting: bool,
    /// A thread of the kernel's own: never anybody's service.
    pub(super) kernel: bool,
    /// How long its environment is; `None` while it has none (in exec, exiting), and when the daemon may not know. In
    /// exec the kernel fills it in step by step, and says where the program's code is when that is done.
    environment_bytes: Option<u64>,
    /// When it started, in clock ticks since boot: with the pid it names the process for good.
    pub(super) started: u64,
}

/// Reads `/proc/PID/stat`; `None` when there is no such process.
pub(super) fn stat(pid: libc::pid_t) -> Option<Stat> {
    parse_stat(&small(&format!("/proc/{pid}/stat"))?)
}

/// How a process has ended that nobody has reaped, as `waitpid(2)` gives it; `None` when it is none.
pub(super) fn zombie_status(pid: libc::pid_t) -> Option<i32> {
    let bytes = small(&format!("/proc/{pid}/stat"))?;
    let end = memchr::memrchr(b')', &bytes)?;
    let mut fields = str::from_utf8(bytes.get(end + 1..)?).ok()?.split_ascii_whitespace();
    // proc(5): the state is field 3, the status field 52. It is told to root, and to whoever the process belonged to.
    (fields.next()? == "Z").then_some(())?;
    fields.nth(48)?.parse().ok()
}

/// Reads a file of a line or two. Its length is told as 0: with room for all of it that is two calls, and not one for each
/// doubling of the room.
fn small(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    fs::File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The name, in parentheses, may hold blanks and parentheses itself; all after its end are numbers but the state.
    let end = memchr::memrchr(b')', bytes)?;
    let fields: Vec<&str> = str::from_utf8(bytes.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
    // proc(5) counts from 1 and the state, the first here, is its field 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let threads: i64 = field(20)?.parse().ok()?;
    let flags: u32 = field(9)?.parse().ok()?;
    // 0: no program yet, or none any more; 1: the daemon may not know.
    let code_start: u64 = field(26)?.parse().ok()?;
    let (environment_start, environment_end): (u64, u64) =
        (field(50)?.parse().ok()?, field(51)?.parse().ok()?);
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        // A process whose first thread has ended while others run shows as a zombie too, but with threads.
        dead: matches!(field(3)?, "Z" | "X" | "x") && threads <= 1,
        exiting: flags & EXITING != 0,
        kernel: flags & KERNEL != 0,
        environment_bytes: environment_end.checked_sub(environment_start).filter(|_| code_start > 1),
        started: field(22)?.parse().ok()?,
    })
}

/// What the environment says that a process was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Environment<T> {
    /// This.
    Says(T),
    /// Nothing of the kind, or the daemon may not ask.
    Silent,
    /// There is none in this moment: the process is in the middle of exec, or ending, or has ended.
    Away,
}

/// The run id in a process's environment.
pub(super) fn run_id(pid: libc::pid_t) -> Environment<Vec<u8>> {
    in_environment(pid, |bytes| variable(bytes, RUN_ID_VARIABLE).map(<[u8]>::to_vec))
}

/// What mcpd writes into the environment of all that it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) run_id: Vec<u8>,
    pub(super) service: Option<Vec<u8>>,
}

/// The marks in a process's environment.
pub(super) fn marks(pid: libc::pid_t) -> Environment<Marks> {
    in_environment(pid, |bytes| {
        let run_id = variable(bytes, RUN_ID_VARIABLE)?.to_vec();
        Some(Marks { run_id, service: variable(bytes, SERVICE_VARIABLE).map(<[u8]>::to_vec) })
    })
}

fn in_environment<T>(pid: libc::pid_t, find: impl Fn(&[u8]) -> Option<T>) -> Environment<T> {
    let process = format!("/proc/{pid}");
    let said = in_environment_at(&process, &find);
    if let Environment::Away = said
        && stat(pid).is_some_and(|stat| stat.exiting && !stat.dead)
    {
        // Its first thread may have ended long ago while others run: those have what it has not any more.
        let threads = numbers_in(&format!("{process}/task")).filter(|&thread| thread != pid);
        let mut said = threads.map(|thread| in_environment_at(&format!("{process}/task/{thread}"), &find));
        return said.find(|said| !matches!(said, Environment::Away)).unwrap_or(Environment::Away);
    }
    said
}

fn in_environment_at<T>(directory: &str, find: &impl Fn(&[u8]) -> Option<T>) -> Environment<T> {
    /// Not every system that looks like Linux says where an environment is.
    static SAYS_WHERE: OnceLock<bool> = OnceLock::new();
    let whole = |directory: &str| {
        let stat = small(&format!("{directory}/stat")).and_then(|bytes| parse_stat(&bytes))?;
        stat.environment_bytes.filter(|_| !stat.exiting)
    };
    let mut bytes = Vec::with_capacity(ENVIRONMENT_PIECE_BYTES);
    let read = fs::File::open(format!("{directory}/environ"))
        .and_then(|file| file.take(ENVIRONMENT_LIMIT_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Environment::Silent,
        Err(_) => return Environment::Away,
    }
    if let Some(found) = find(&bytes) {
        return Environment::Says(found);
    }
    // An exec after the file was opened cuts it short: only one that was read whole says that there is nothing in it.
    let length = whole(directory).map(|bytes| bytes.min(ENVIRONMENT_LIMIT_BYTES));
    if length == u64::try_from(bytes.len()).ok() || !SAYS_WHERE.get_or_init(|| whole("/proc/self").is_some())
    {
        Environment::Silent
    } else {
        Environment::Away
    }
}

/// The run id in the environment of a process that is not in the middle of exec, if it may be asked.
pub(super) fn run_id_now(pid: libc::pid_t) -> Option<Vec<u8>> {
    match run_id(pid) {
        Environment::Says(run_id) => Some(run_id),
        Environment::Silent | Environment::Away => None,
    }
}

/// The value of a variable. The kernel ends each with a NUL: one without has been cut short by an exec, and would pass for
/// another value.
fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let end = memchr::memrchr(0, environment)?;
    environment[..end]
        .split(|&byte| byte == 0)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The name that the kernel has for a process, at most 15 bytes of its program's; empty when it is gone.
pub(super) fn command_name(pid: libc::pid_t) -> String {
    let bytes = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned()
}

/// Every process's number.
pub(super) fn all() -> impl Iterator<Item = libc::pid_t> {
    numbers_in("/proc")
}

/// The number that was given out last.
pub(super) fn newest_number() -> Option<libc::pid_t> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// A variable of the environment that a process was started with, if it may be asked.
pub(super) fn environment(pid: u32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ENVIRONMENT_PIECE_BYTES);
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    variable(&bytes, name).map(<[u8]>::to_vec)
}

/// The peak of the daemon's resident memory, in bytes; 0 when unknown.
pub(super) fn own_peak_rss_bytes() -> u64 {
    let kib = getrusage(UsageWho::RUSAGE_SELF).ok().and_then(|usage| u64::try_from(usage.max_rss()).ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Who is whose child.
///
/// Normally each question reads `/proc/PID/task/*/children`, which costs what the answer is long. Kernels built without
/// these files get one pass over all of `/proc` instead.
#[derive(Debug)]
pub(super) enum Family {
    /// Ask the kernel each time.
    Live,
    /// The children of each process, read in one go.
    Scanned(HashMap<libc::pid_t, Vec<libc::pid_t>>),
}

impl Family {
    /// The family as this kernel lets it be read.
    pub(super) fn now() -> Self {
        static HAS_CHILDREN_FILES: OnceLock<bool> = OnceLock::new();
        if *HAS_CHILDREN_FILES.get_or_init(|| Path::new("/proc/thread-self/children").exists()) {
            Self::Live
        } else {
            Self::scan()
        }
    }

    fn scan() -> Self {
        let mut children: HashMap<_, Vec<_>> = HashMap::new();
        for pid in numbers_in("/proc") {
            if let Some(stat) = stat(pid) {
                children.entry(stat.parent).or_default().push(pid);
            }
        }
        Self::Scanned(children)
    }

    /// The children of `pid`, dead ones that are not reaped among them.
    ///
    /// The kernel warns that the list may lack some while others of them are being reaped. That does not concern the
    /// daemon's own children, which only the asking thread reaps; nor do those that fall to the daemon move about, for
    /// the kernel gives them to its first thread. Among a descendant's children some may be missed.
    pub(super) fn children_of(&self, pid: libc::pid_t) -> Vec<libc::pid_t> {
        match self {
            Self::Scanned(children) => children.get(&pid).cloned().unwrap_or_default(),
            Self::Live => {
                let threads = numbers_in(&format!("/proc/{pid}/task"));
                threads.flat_map(|thread| children_of_thread(pid, thread)).collect()
            }
        }
    }

    /// Those of its first thread, or more.
    pub(super) fn children_of_first_thread(&self, pid: libc::pid_t) -> Vec<libc::pid_t> {
        match self {
            Self::Scanned(_) => self.children_of(pid),
            Self::Live => children_of_thread(pid, pid),
        }
    }
}

fn children_of_thread(pid: libc::pid_t, thread: libc::pid_t) -> Vec<libc::pid_t> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The entries of a directory that are numbers.
fn numbers_in(directory: &str) -> impl Iterator<Item = libc::pid_t> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<libc::pid_t>().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as the kernel writes it, of 52 fields.
    fn line(name: &str, state: &str, flags: u32, threads: u32) -> Vec<u8> {
        line_in_exec(name, state, flags, threads, (4096, 7000, 7080))
    }

    /// Where the code is, where the environment begins and ends.
    fn line_in_exec(
        name: &str,
        state: &str,
        flags: u32,
        threads: u32,
        (code, from, to): (u64, u64, u64),
    ) -> Vec<u8> {
        let between = "1 ".repeat(50 - 27);
        let start = format!("9 ({name}) {state} 1 8 7 0 -1 {flags} 1 0 0 0 3 4 0 0 20 0 {threads} 0 987654");
        format!("{start} 1 1 1 {code} {between}{from} {to} 0").into_bytes()
    }

    /// What the kernel has of an environment while it makes one: nothing, nothing but its place, a part, all of it.
    #[test]
    fn an_environment_counts_when_the_exec_is_over() {
        let bytes = |place| parse_stat(&line_in_exec("x", "R", 0, 1, place)).unwrap().environment_bytes;
        assert_eq!([(0, 0, 0), (0, 7000, 7000), (0, 0, 7000), (0, 7000, 7080)].map(bytes), [None; 4]);
        assert_eq!(bytes((4096, 7000, 7080)), Some(80));
        assert_eq!(bytes((4096, 7000, 7000)), Some(0));
        // Another user's.
        assert_eq!(bytes((1, 0, 0)), None);
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat = parse_stat(&line("a) Z (b 7", "S", 4_194_560, 5)).unwrap();
        let expected = Stat {
            parent: 1,
            group: 8,
            session: 7,
            dead: false,
            exiting: false,
            kernel: false,
            environment_bytes: Some(80),
            started: 987_654,
        };
        assert_eq!(stat, expected);
    }

    #[test]
    fn a_zombie_with_running_threads_is_not_dead() {
        let dead = |threads| parse_stat(&line("x", "Z", EXITING, threads)).unwrap().dead;
        assert_eq!([0, 1, 3].map(dead), [true, true, false]);
        assert!(parse_stat(&line("x", "R", EXITING, 1)).unwrap().exiting);
    }

    #[test]
    fn a_scan_and_the_kernels_lists_agree() {
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let own = libc::pid_t::try_from(std::process::id()).unwrap();
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        for family in [Family::Live, Family::scan()] {
            assert!(family.children_of(own).contains(&pid), "{family:?}");
            assert!(family.children_of(pid).is_empty());
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_run_id_is_the_whole_value_of_the_whole_name() {
        let run_id = |environment: &'static [u8]| variable(environment, RUN_ID_VARIABLE);
        assert_eq!(run_id(b"XMCPD_RUN_ID=1\0MCPD_RUN_IDS=2\0MCPD_RUN_ID=3=4\0"), Some(&b"3=4"[..]));
        assert_eq!(run_id(b"PATH=/bin\0"), None);
    }

    /// What an exec leaves of an environment that is being read.
    #[test]
    fn a_value_that_is_cut_short_is_none() {
        let run_id = |environment: &'static [u8]| variable(environment, RUN_ID_VARIABLE);
        assert_eq!(run_id(b"A=1\0MCPD_RUN_ID=12"), None);
        assert_eq!(run_id(b"A=1\0MCPD_RUN_ID="), None);
        assert_eq!(run_id(b"A=1\0MCPD_RUN_ID=123\0B="), Some(&b"123"[..]));
    }

    #[test]
    fn a_process_in_one_exec_after_another_never_says_a_wrong_run_id() {
        let id = "0123456789abcdef".repeat(250);
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "exec /bin/sh -c \"$0\" \"$0\"", "exec /bin/sh -c \"$0\" \"$0\""])
            .env_clear()
            .env(RUN_ID_VARIABLE, &id)
            .spawn()
            .unwrap();
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        let said: Vec<_> = (0..20_000).map(|_| run_id(pid)).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(said.contains(&Environment::Says(id.as_bytes().to_vec())), "it was never asked in time");
        let wrong = said.iter().filter(|said| match said {
            Environment::Says(said) => *said != id.as_bytes(),
            Environment::Silent => true,
            Environment::Away => false,
        });
        assert_eq!(wrong.count(), 0);
    }

    #[test]
    fn this_process_is_found_and_no_process_is_not() {
        let own = stat(libc::pid_t::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!own.dead && own.started > 0);
        assert_eq!(stat(-1), None);
        assert!(own_peak_rss_bytes() > 0);
        let newest = newest_number().unwrap();
        assert!(newest > 0);
    }
}
