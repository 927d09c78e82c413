//! Where a scenario's daemon lives: a directory of its own, an address of its own, a mark on every process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use crate::{Daemon, binaries};

/// The environment variable that every process of a sandbox inherits; its value is the sandbox's own. It does not begin
/// with `MCPD_`: such variables are the daemon's, who does not hand them on.
pub const MARK: &str = "TEST_SANDBOX_OF_MCPD";

/// Variables of the machine that would change what a daemon does.
const FOREIGN: [&str; 14] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDS",
    "LISTEN_PID",
    "STATE_DIRECTORY",
    "LOGS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "MCPD_CONFIG",
    "MCPD_SOCKET",
    "RUST_LOG",
];

static COUNT: AtomicU32 = AtomicU32::new(0);
/// Ports for every address given out so far.
static EVERYWHERE: AtomicU32 = AtomicU32::new(0);

/// The next port: `ip(7)`, the system's own begin at 32768.
static PORT: AtomicU16 = AtomicU16::new(20_000);

/// A directory with a configuration, and everything that a daemon started by it writes.
pub struct Sandbox {
    directory: tempfile::TempDir,
    mark: String,
}

impl Sandbox {
    /// A sandbox whose `mcpd.toml` holds `[daemon]` and then `services`.
    ///
    /// In `services`, `@fixture` stands for the fixture program and `@dir` for the sandbox's directory, both in a form
    /// that fits between TOML's double quotes.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn new(services: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // A Unix socket's path ends at 107 bytes: a long TMPDIR would not leave room for it.
        let long = std::env::temp_dir().as_os_str().len() > 60;
        let base = if cfg!(unix) && long { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new()
            .prefix("mcpd-")
            .tempdir_in(base)
            .expect("a temporary directory can be made");
        let mark = format!("{}-{number}", id());
        let sandbox = Self { directory, mark };
        sandbox.configure(services);
        sandbox
    }

    /// The directory; it vanishes with the sandbox.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// `name` in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("mcpd.toml")
    }

    /// The control socket, or the named pipe.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        if cfg!(windows) {
            return PathBuf::from(format!(r"\\.\pipe\mcpd-test-{}", self.mark));
        }
        self.path("c.sock")
    }

    /// `[daemon] state_dir`
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// `[daemon] log_dir`
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.path("log")
    }

    /// The value of [`MARK`] here.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Replaces the configuration: `[daemon]` as always, then `services`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, services: &str) {
        let [socket, state, log] = [self.socket(), self.state_dir(), self.log_dir()]
            .map(|path| toml_quoted(&path.to_string_lossy()));
        self.write(
            "mcpd.toml",
            &format!("[daemon]\ncontrol_socket = \"{socket}\"\nstate_dir = \"{state}\"\nlog_dir = \"{log}\"\n{services}"),
        );
    }

    /// Writes a file into the directory, with `@fixture` and `@dir` replaced; the path.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a directory in the sandbox can be made");
        }
        std::fs::write(&path, self.fill(text)).expect("a file in the sandbox can be written");
        path
    }

    /// `text` with `@fixture` and `@dir` replaced.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        text.replace("@fixture", &toml_quoted(&binaries::fixture().to_string_lossy()))
            .replace("@dir", &toml_quoted(&self.dir().to_string_lossy()))
    }

    /// Makes an empty file, at which fixtures do what they were told; the path.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn touch(&self, name: &str) -> PathBuf {
        self.write(name, "")
    }

    /// Removes a file.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("the file is there");
    }

    /// A loopback address with a port that nobody else uses, now or later in this run.
    ///
    /// On Linux all of 127/8 is this machine: each test process has an IP address of its own there, made from its pid,
    /// and counts ports below those that the system gives out. Nothing is bound to find out: a listener that is closed
    /// again may live on for a moment in a child that another thread is just starting.
    ///
    /// # Panics
    /// When nothing can be listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        if cfg!(target_os = "linux") {
            // A pid has at most 22 bits.
            let [_, high, middle, low] = id().to_be_bytes();
            let ip = Ipv4Addr::new(127, 1 + high, middle, low);
            return SocketAddr::new(IpAddr::V4(ip), PORT.fetch_add(1, Ordering::Relaxed));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback can be listened on");
        listener.local_addr().expect("a listener has an address")
    }

    /// A port for a server that listens on every address of this machine and cannot be told another: below those that
    /// [`Sandbox::address`] gives out at some address, which would be in its way.
    ///
    /// # Panics
    /// When every such port is taken.
    #[must_use]
    pub fn port_everywhere(&self) -> u16 {
        const FIRST: u32 = 10_000;
        const COUNT: u32 = 10_000;
        let begin = id().wrapping_mul(64).wrapping_add(EVERYWHERE.fetch_add(1, Ordering::Relaxed));
        let ports = (0..COUNT).map(|number| FIRST + begin.wrapping_add(number) % COUNT);
        // Without IPv6 none of its ports is taken.
        let taken = |listener: std::io::Result<TcpListener>| {
            listener.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
        };
        let free = |port: &u16| {
            !taken(TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)))
                && !taken(TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)))
        };
        ports.filter_map(|port| u16::try_from(port).ok()).find(free).expect("a port is free")
    }

    /// A command that carries the mark, with nothing in its environment that would change what mcpd does, without
    /// streams.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.env(MARK, &self.mark).env("NO_COLOR", "1").current_dir(self.dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts `mcpd --config FILE` and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer in time.
    #[must_use]
    pub fn start(&self) -> Daemon<'_> {
        Daemon::start(self, |_| {})
    }

    /// As [`Sandbox::start`], with the command as `change` makes it.
    ///
    /// # Panics
    /// When it does not answer in time.
    #[must_use]
    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> Daemon<'_> {
        Daemon::start(self, change)
    }

    /// The lines `PID TIME` that the fixture's `record` wrote into `name`.
    #[must_use]
    pub fn starts(&self, name: &str) -> Vec<(u32, u64)> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        let parse = |line: &str| {
            let (pid, time) = line.split_once(' ')?;
            Some((pid.parse().ok()?, time.parse().ok()?))
        };
        text.lines().filter_map(parse).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A scenario that succeeds has nothing left, its daemon sees to it; one that fails may.
        #[cfg(unix)]
        if std::thread::panicking() {
            crate::processes::kill_marked(&self.mark);
        }
    }
}

/// In TOML's double quotes a backslash begins an escape.
fn toml_quoted(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}
