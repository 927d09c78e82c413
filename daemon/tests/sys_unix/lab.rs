//! One test at a time with the children of this process, and what the tests start.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mcpd::sys::{
    self, Cgroups, Children, Collected, Exit, Key, LogPipe, Output, RUN_ID_VARIABLE, SpawnPlan, Spawned,
};
use rustix::event::{PollFd, PollFlags, Timespec};

pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGTERM: i32 = 15;

/// No wait of a test is longer; none comes near it unless something is broken.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The children of this process, and word of each SIGCHLD.
pub(crate) struct Lab {
    pub(crate) children: Children,
    deaths: UnixStream,
    pub(crate) found: Vec<Collected>,
    hook: signal_hook::SigId,
    _alone: MutexGuard<'static, ()>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (deaths, sender) = UnixStream::pair().unwrap();
        deaths.set_nonblocking(true).unwrap();
        let hook = signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, sender).unwrap();
        let children = Children::new(Arc::new(|| ())).unwrap();
        Self { children, deaths, found: Vec::new(), hook, _alone: alone }
    }

    pub(crate) fn start(&mut self, key: Key, plan: &SpawnPlan) -> Started {
        let Spawned { process, stdout, stderr } = sys::spawn(plan).unwrap();
        let pid = process.id();
        self.children.adopt(key, process, &run_id(key));
        Started { pid, stdout, stderr }
    }

    /// Collects until `done` says so of all that was found so far.
    pub(crate) fn collect_until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Children, &[Collected]) -> bool,
    ) {
        let start = Instant::now();
        loop {
            // What dies after the signals were drained brings a new one.
            while self.deaths.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
            self.children.collect(false, &mut |_| (), &mut self.found);
            if done(&mut self.children, &self.found) {
                return;
            }
            wait_readable(&self.deaths, what, start);
        }
    }

    pub(crate) fn exit_of(&mut self, key: Key) -> Exit {
        self.collect_until("the end of the main process", |_, found| main_exit(found, key).is_some());
        main_exit(&self.found, key).unwrap()
    }

    /// So many are left of a run. Whose a process is that is in the middle of exec cannot be told: the exec passes.
    pub(crate) fn left(&mut self, key: Key, count: usize) {
        let start = Instant::now();
        while self.children.leftovers(key).is_none() || !self.children.doubtful(key).is_empty() {
            assert!(start.elapsed() < BOUND, "it cannot be told what is left of {key}");
            std::thread::yield_now();
        }
        assert_eq!(self.children.leftovers(key), Some(count), "of {key}");
    }

    /// Kills what a run has left until nothing is.
    pub(crate) fn kill_leftovers(&mut self, key: Key) {
        self.collect_until("the end of the leftovers", |children, _| {
            children.signal_leftovers(key, SIGKILL);
            children.leftovers(key) == Some(0)
        });
        self.children.forget(key);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.hook);
        self.children.end_all();
        let left = own_children();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "processes are left: {left:?}");
        }
    }
}

pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) stdout: Option<LogPipe>,
    pub(crate) stderr: Option<LogPipe>,
}

impl Started {
    pub(crate) fn line(&mut self) -> String {
        read_until(self.stdout.as_mut().unwrap(), |bytes| bytes.ends_with(b"\n")).trim().to_owned()
    }

    pub(crate) fn all(&mut self) -> String {
        read_until(self.stdout.as_mut().unwrap(), |_| false)
    }
}

pub(crate) fn main_exit(found: &[Collected], key: Key) -> Option<Exit> {
    let mut exits = found.iter().filter_map(|event| match event {
        Collected::Main { key: whose, exit } if *whose == key => Some(exit.clone()),
        Collected::Main { .. } | Collected::Orphan { .. } => None,
    });
    let exit = exits.next();
    assert!(exits.next().is_none(), "the end of {key} was reported twice");
    exit
}

pub(crate) fn wait_readable(fd: &impl AsFd, what: &str, start: Instant) {
    let left = BOUND.checked_sub(start.elapsed()).unwrap_or_else(|| panic!("waited too long for {what}"));
    let timeout =
        Timespec { tv_sec: left.as_secs().try_into().unwrap(), tv_nsec: left.subsec_nanos().into() };
    match rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => (),
        Err(error) => panic!("poll: {error}"),
    }
}

/// Reads a pipe until it ends or `enough`.
pub(crate) fn read_until(pipe: &mut LogPipe, enough: impl Fn(&[u8]) -> bool) -> String {
    let start = Instant::now();
    let mut bytes = Vec::new();
    while !enough(&bytes) {
        let mut buffer = [0; 4096];
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                wait_readable(pipe, "output", start)
            }
            Err(error) => panic!("reading the pipe: {error}"),
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn run_id(key: Key) -> String {
    format!("sys-unix-{}-{key}", std::process::id())
}

pub(crate) fn plan<const N: usize>(key: Key, program: &str, arguments: [&str; N]) -> SpawnPlan {
    SpawnPlan {
        program: PathBuf::from(program),
        argv: [program].into_iter().chain(arguments).map(OsString::from).collect(),
        env: vec![
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            (RUN_ID_VARIABLE.into(), run_id(key).into()),
        ],
        working_directory: None,
        stdin: None,
        stdout: Output::Pipe,
        stderr: Output::Null,
        merge_stderr: false,
        cgroup: cgroups().map(|cgroups| {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            cgroups.make("test", &format!("{}-{count}", run_id(key))).unwrap()
        }),
        setup: Vec::new(),
    }
}

/// Names a state directory when every program is to be started in a cgroup of its own.
pub(crate) const IN_CGROUPS: &str = "SYS_UNIX_TEST_IN_CGROUPS_OF";

pub(crate) static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn cgroups() -> Option<&'static Cgroups> {
    static CGROUPS: OnceLock<Option<Cgroups>> = OnceLock::new();
    let claim =
        || std::env::var_os(IN_CGROUPS).map(|dir| Cgroups::claim(Path::new(&dir), None, None).unwrap());
    CGROUPS.get_or_init(claim).as_ref()
}

/// Seen although the test harness keeps what a test that passes prints.
pub(crate) fn skipped(why: &str) {
    let line = format!("SKIPPED: {why}\n");
    let _ = rustix::io::write(std::io::stderr(), line.as_bytes());
}

pub(crate) fn shell(key: Key, script: &str) -> SpawnPlan {
    plan(key, "/bin/sh", ["-c", script])
}

pub(crate) fn script(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

pub(crate) fn own_children() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flat_map(|task| {
            let list = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// One field of a line of `/proc/PID/stat`, counted as in proc(5).
pub(crate) fn stat_field(line: &str, number: usize) -> &str {
    line[line.rfind(')').unwrap() + 2..].split(' ').nth(number - 3).unwrap()
}
