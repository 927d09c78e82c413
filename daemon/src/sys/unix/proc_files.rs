//! Reads what `/proc` says about a process. Every answer may be out of date by the time it is read: the callers say why
//! theirs holds.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::sys::RUN_ID_VARIABLE;

/// As much of an environment as is searched: the kernel's limit for arguments and environment is 6 MiB by default, and
/// the daemon puts its variable among the first kilobytes.
const ENVIRONMENT_LIMIT_BYTES: u64 = 1024 * 1024;
/// A process in the middle of exec has no environment: for some ten microseconds, longer on a busy machine or when its
/// file comes from a slow disk. It is looked at again after this, then after twice as long, ...
const EXEC_FIRST_PAUSE: Duration = Duration::from_micros(50);
/// ... up to this: 100 ms in all, for the loop waits that long. A process that still has none then is not recognised.
const EXEC_LAST_PAUSE: Duration = Duration::from_millis(51);
/// In the kernel's flags of a process: it is on its way out (PF_EXITING).
const EXITING: u32 = 0x4;

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
    /// How long its environment is; `None` while it has none (in exec, exiting), and when the daemon may not know.
    environment_bytes: Option<u64>,
    /// When it started, in clock ticks since boot: with the pid it names the process for good.
    pub(super) started: u64,
}

/// Reads `/proc/PID/stat`; `None` when there is no such process.
pub(super) fn stat(pid: libc::pid_t) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The name, in parentheses, may hold blanks and parentheses itself; all after its end are numbers but the state.
    let end = memchr::memrchr(b')', bytes)?;
    let fields: Vec<&str> = str::from_utf8(bytes.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
    // proc(5) counts from 1 and the state, the first here, is its field 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let threads: i64 = field(20)?.parse().ok()?;
    let flags: u32 = field(9)?.parse().ok()?;
    let (environment_start, environment_end): (u64, u64) =
        (field(50)?.parse().ok()?, field(51)?.parse().ok()?);
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        // A process whose first thread has ended while others run shows as a zombie too, but with threads.
        dead: matches!(field(3)?, "Z" | "X" | "x") && threads <= 1,
        exiting: flags & EXITING != 0,
        environment_bytes: environment_end.checked_sub(environment_start).filter(|_| environment_end != 0),
        started: field(22)?.parse().ok()?,
    })
}

/// The run id in the environment that a process was started with. `None`: it has none, or may not be asked, or the
/// process has ended.
pub(super) fn run_id(pid: libc::pid_t) -> Option<Vec<u8>> {
    let mut pause = EXEC_FIRST_PAUSE;
    loop {
        let mut bytes = Vec::new();
        fs::File::open(format!("/proc/{pid}/environ"))
            .ok()?
            .take(ENVIRONMENT_LIMIT_BYTES)
            .read_to_end(&mut bytes)
            .ok()?;
        if let Some(run_id) = variable(&bytes) {
            return Some(run_id.to_vec());
        }
        // An exec after the file was opened cuts it short: only one that was read whole says that there is none.
        let stat = stat(pid)?;
        let whole = stat.environment_bytes.map(|bytes| bytes.min(ENVIRONMENT_LIMIT_BYTES));
        if stat.dead || stat.exiting || whole == u64::try_from(bytes.len()).ok() || pause > EXEC_LAST_PAUSE {
            return None;
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// The same, without a second look at a process that is in the middle of exec.
pub(super) fn run_id_now(pid: libc::pid_t) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    variable(&bytes).map(<[u8]>::to_vec)
}

fn variable(environment: &[u8]) -> Option<&[u8]> {
    environment
        .split(|&byte| byte == 0)
        .find_map(|pair| pair.strip_prefix(RUN_ID_VARIABLE.as_bytes())?.strip_prefix(b"="))
}

/// A variable of the environment that a process was started with, if it may be asked.
pub(super) fn environment(pid: u32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    let value = |pair: &[u8]| Some(pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.to_vec());
    bytes.split(|&byte| byte == 0).find_map(value)
}

/// The peak of the daemon's resident memory, in bytes; 0 when unknown.
pub(super) fn own_peak_rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
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
    /// daemon's own children, which only the asking thread reaps. Among a descendant's children, one that is missed has
    /// a sibling that died just now: the caller notices deaths and looks again.
    pub(super) fn children_of(&self, pid: libc::pid_t) -> Vec<libc::pid_t> {
        match self {
            Self::Scanned(children) => children.get(&pid).cloned().unwrap_or_default(),
            Self::Live => {
                let mut children = Vec::new();
                for thread in numbers_in(&format!("/proc/{pid}/task")) {
                    let list =
                        fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
                    children.extend(
                        list.split_ascii_whitespace().filter_map(|pid| pid.parse::<libc::pid_t>().ok()),
                    );
                }
                children
            }
        }
    }
}

/// The entries of a directory that are numbers.
fn numbers_in(directory: &str) -> impl Iterator<Item = libc::pid_t> {
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
        let rest = "1 ".repeat(52 - 22);
        format!("9 ({name}) {state} 1 8 7 0 -1 {flags} 1 0 0 0 3 4 0 0 20 0 {threads} 0 987654 {rest}")
            .into_bytes()
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
            environment_bytes: Some(0),
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
        assert_eq!(variable(b"XMCPD_RUN_ID=1\0MCPD_RUN_IDS=2\0MCPD_RUN_ID=3=4\0"), Some(&b"3=4"[..]));
        assert_eq!(variable(b"PATH=/bin\0"), None);
    }

    #[test]
    fn this_process_is_found_and_no_process_is_not() {
        let own = stat(libc::pid_t::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!own.dead && own.started > 0);
        assert_eq!(stat(-1), None);
        assert!(own_peak_rss_bytes() > 0);
    }
}
