//! The real daemon: started, asked, waited for, stopped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mcpd_proto::client::{CallError, Client};
use mcpd_proto::crash::{CrashList, CrashReport, CrashSummary};
use mcpd_proto::event::Event;
use mcpd_proto::status::{ServiceStatus, State, StatusDocument};
use serde_json::{Value, json};

use crate::wait::{STEP, patience};
use crate::watch::Watch;
use crate::{CtlOutput, Sandbox, binaries};

/// How long a daemon may take to end: its services' `stop_timeout` are far below.
const END: Duration = Duration::from_secs(15);

/// A running `mcpd`. Dropping it stops it, and fails the scenario when a process of the sandbox is left.
pub struct Daemon<'s> {
    sandbox: &'s Sandbox,
    /// What a service manager would know as mcpd: the daemon's keeper, where there is one.
    child: Child,
    /// The daemon itself, as it was at the start.
    pid: u32,
    ended: Option<ExitStatus>,
    watch: Watch,
    /// What it started may live on.
    abandoned: bool,
    /// Its part of the cgroup tree, which it removes itself unless it is killed.
    cgroup: Option<PathBuf>,
}

impl<'s> Daemon<'s> {
    /// Starts `mcpd --config FILE`, as `change` makes the command, and waits until it answers.
    ///
    /// # Panics
    /// When it ends or does not answer in time.
    #[must_use]
    pub fn start(sandbox: &'s Sandbox, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Self::command(sandbox);
        change(&mut command);
        let child = command.spawn().expect("mcpd can be started");
        let pid = child.id();
        let mut daemon = Self {
            sandbox,
            child,
            pid,
            ended: None,
            watch: Watch::default(),
            abandoned: false,
            cgroup: None,
        };
        let (watch, status) = daemon.await_answers();
        daemon.watch = watch;
        daemon.cgroup = status["cgroup"].as_str().map(PathBuf::from);
        daemon.pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        daemon
    }

    /// The command that [`Daemon::start`] runs, with stdout and stderr going to files of the sandbox.
    ///
    /// # Panics
    /// When those files cannot be opened.
    #[must_use]
    pub fn command(sandbox: &Sandbox) -> Command {
        let mut command = sandbox.command(&binaries::mcpd());
        command.arg("--config").arg(sandbox.config());
        let (out, err) = Self::streams(sandbox);
        command.stdout(out).stderr(err);
        command
    }

    fn streams(sandbox: &Sandbox) -> (File, File) {
        let append = |name| -> File {
            File::options().append(true).create(true).open(sandbox.path(name)).expect("writable")
        };
        (append("mcpd.out"), append("mcpd.err"))
    }

    /// As [`Daemon::start`], where mcpd sees no cgroups: its own mount of them is covered. `None`, said aloud: this user
    /// may not do that.
    ///
    /// # Panics
    /// When it ends or does not answer in time.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn without_cgroups(sandbox: &'s Sandbox) -> Option<Self> {
        let may =
            Command::new("unshare").args(["--mount", "true"]).stderr(std::process::Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            // Past the capture of a test's output: a skipped test passes, and that has to be seen.
            let line =
                b"SKIPPED: no mount namespace for this user: sessions instead of cgroups are not tested\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
            return None;
        }
        let cover = "mount -t tmpfs none /sys/fs/cgroup && exec \"$0\" \"$@\"";
        Some(Self::start(sandbox, |command| {
            *command = Self::behind(sandbox, "unshare", &["--mount", "/bin/sh", "-c", cover]);
        }))
    }

    /// As [`Daemon::start`], in the cgroup with this directory.
    ///
    /// # Panics
    /// When it ends or does not answer in time.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn in_cgroup(sandbox: &'s Sandbox, directory: &Path) -> Self {
        let directory = directory.to_str().expect("a cgroup's path is text");
        let enter = format!("echo $$ > '{directory}/cgroup.procs' && exec \"$0\" \"$@\"");
        Self::start(sandbox, |command| *command = Self::behind(sandbox, "/bin/sh", &["-c", &enter]))
    }

    /// The daemon's command with another one before it.
    #[cfg(target_os = "linux")]
    fn behind(sandbox: &Sandbox, program: &str, words: &[&str]) -> Command {
        let plain = Self::command(sandbox);
        let mut command = sandbox.command(Path::new(program));
        command.args(words).arg(plain.get_program()).args(plain.get_args());
        let (out, err) = Self::streams(sandbox);
        command.stdout(out).stderr(err);
        command
    }

    /// Until it has answered all that is wanted to be known at first: a daemon that makes way for it may answer some of it.
    fn await_answers(&mut self) -> (Watch, Value) {
        let deadline = Instant::now() + patience();
        let mut pause = Duration::from_millis(1);
        loop {
            let answers = Client::connect(&self.sandbox.socket()).and_then(|mut client| {
                client.set_timeout(Some(patience()));
                client.call("daemon.hello", json!({ "client": "mcpd-tests" }))?;
                let watch = Watch::open(&self.sandbox.socket())?;
                Ok((watch, client.call("daemon.status", json!({}))?))
            });
            let error = match answers {
                Ok(answers) => return answers,
                Err(error) => error,
            };
            if let Ok(Some(status)) = self.child.try_wait() {
                self.ended = Some(status);
                panic!("mcpd ended with {status} before it answered:\n{}", self.stderr());
            }
            assert!(Instant::now() < deadline, "mcpd does not answer: {error}\n{}", self.stderr());
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// The daemon's process: the one that was there when it first answered.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process that a service manager, a shell or a container knows as mcpd: its keeper.
    #[must_use]
    pub fn main_pid(&self) -> u32 {
        self.child.id()
    }

    /// Both of them.
    #[must_use]
    pub fn own_pids(&self) -> [u32; 2] {
        [self.main_pid(), self.pid()]
    }

    /// The sandbox it lives in.
    #[must_use]
    pub fn sandbox(&self) -> &'s Sandbox {
        self.sandbox
    }

    /// What it has written to stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.sandbox.path("mcpd.err")).unwrap_or_default()).into_owned()
    }

    /// What it has written to stdout.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        fs::read(self.sandbox.path("mcpd.out")).unwrap_or_default()
    }

    /// `mcpctl ARGS` against this daemon, not yet run.
    #[must_use]
    pub fn ctl_command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = self.sandbox.command(&binaries::mcpctl());
        command.env("MCPD_SOCKET", self.sandbox.socket()).env("COLUMNS", "80").args(args);
        command
    }

    /// Runs `mcpctl ARGS` against this daemon.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn ctl<A: AsRef<OsStr>>(&self, args: &[A]) -> CtlOutput {
        CtlOutput::of(self.ctl_command(args))
    }

    /// A connection.
    ///
    /// # Panics
    /// When the daemon cannot be reached.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> Client {
        let client = Client::connect(&self.sandbox.socket()).expect("the daemon can be reached");
        client.set_timeout(Some(patience()));
        client
    }

    /// One call over a connection of its own.
    ///
    /// # Errors
    /// What the daemon answered.
    #[track_caller]
    pub fn try_call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        self.client().call(method, params)
    }

    /// One call that must succeed.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error:?}\n{}", self.stderr()))
    }

    /// `service.status`
    ///
    /// # Panics
    /// When there is no such service.
    #[track_caller]
    #[must_use]
    pub fn status(&self, name: &str) -> ServiceStatus {
        serde_json::from_value(self.call("service.status", json!({ "name": name })))
            .expect("a service's status")
    }

    /// `service.list`
    ///
    /// # Panics
    /// When the daemon gives none.
    #[track_caller]
    #[must_use]
    pub fn list(&self) -> StatusDocument {
        serde_json::from_value(self.call("service.list", json!({}))).expect("a status document")
    }

    /// The main process of a service that runs.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    #[must_use]
    pub fn pid_of(&self, name: &str) -> u32 {
        self.status(name).pid.unwrap_or_else(|| panic!("{name} has no process: {:#?}", self.status(name)))
    }

    /// `crash.list`, newest first.
    ///
    /// # Panics
    /// When the daemon gives none.
    #[track_caller]
    #[must_use]
    pub fn crashes(&self, name: &str) -> Vec<CrashSummary> {
        let list: CrashList = serde_json::from_value(self.call("crash.list", json!({ "name": name })))
            .expect("a list of crashes");
        list.crashes
    }

    /// `crash.get` for each crash of a service, oldest first.
    ///
    /// # Panics
    /// When the daemon does not give one.
    #[track_caller]
    #[must_use]
    pub fn reports(&self, name: &str) -> Vec<CrashReport> {
        let mut crashes = self.crashes(name);
        crashes.reverse();
        crashes.iter().map(|crash| self.report(&crash.id)).collect()
    }

    /// `crash.get`
    ///
    /// # Panics
    /// When there is no such report.
    #[track_caller]
    #[must_use]
    pub fn report(&self, id: &str) -> CrashReport {
        serde_json::from_value(self.call("crash.get", json!({ "id": id }))).expect("a crash report")
    }

    /// Looks at the world until `look` gives `Ok`: at each event, and now and then for what no event tells.
    ///
    /// # Panics
    /// When the bound is over, with the last `Err`, the events and the daemon's stderr.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Instant::now() + patience();
        loop {
            let seen = self.watch.count();
            let last = match look() {
                Ok(value) => return value,
                Err(last) => last,
            };
            if Instant::now() >= deadline {
                panic!(
                    "waited {:?} for {what}; last seen: {last}\nevents:\n{}\nmcpd says:\n{}",
                    patience(),
                    self.told(),
                    self.stderr()
                );
            }
            self.watch.wait_beyond(seen, STEP * 2);
        }
    }

    /// Waits until the service's status is as `is` wants it; that status.
    ///
    /// # Panics
    /// When the bound is over.
    #[track_caller]
    pub fn wait_status(&self, name: &str, what: &str, is: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        self.wait(&format!("{name}: {what}"), || {
            let status = self.status(name);
            if is(&status) { Ok(status) } else { Err(format!("{status:#?}")) }
        })
    }

    /// Waits until the service is in `state`. States that pass quickly may pass unseen: wait for what they leave.
    ///
    /// # Panics
    /// When the bound is over.
    #[track_caller]
    pub fn wait_state(&self, name: &str, state: State) -> ServiceStatus {
        self.wait_status(name, state.name(), |status| status.state == state)
    }

    /// Waits until the service has at least `count` crash reports; all of them, oldest first.
    ///
    /// # Panics
    /// When the bound is over.
    #[track_caller]
    pub fn wait_crashes(&self, name: &str, count: usize) -> Vec<CrashReport> {
        self.wait(&format!("{count} crashes of {name}"), || {
            let crashes = self.crashes(name);
            if crashes.len() >= count { Ok(()) } else { Err(format!("{crashes:#?}")) }
        });
        self.reports(name)
    }

    /// Waits for an event, those since the daemon's start included.
    ///
    /// # Panics
    /// When the bound is over.
    #[track_caller]
    pub fn wait_event(&self, what: &str, is: impl Fn(&Event) -> bool) -> Event {
        self.wait(&format!("the event: {what}"), || {
            self.watch.events().into_iter().find(|event| is(event)).ok_or_else(|| "none".into())
        })
    }

    /// All events so far: also those that the daemon has told just now, and the subscription is still to hear.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut last = None;
        let asked = Client::connect(&self.sandbox.socket()).and_then(|mut client| {
            client.set_timeout(Some(patience()));
            client.call_streaming("event.subscribe", json!({ "backlog": 1, "follow": false }), |item| {
                last = item.params["id"].as_u64();
            })
        });
        // One that has ended tells nothing more; one that has not told anything has nothing to be heard.
        if asked.is_err() || last.is_some() {
            self.watch.catch_up(last, patience());
        }
        self.watch.events()
    }

    fn told(&self) -> String {
        let line = |event: &Event| {
            let service = event.service.as_deref().unwrap_or("-");
            format!("{} {service} {}: {}", event.time, event.event, event.message)
        };
        self.watch.events().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Waits until the daemon's process ends by itself.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        match self.end_within(patience()) {
            Some(status) => status,
            None => panic!("mcpd does not end:\n{}\n{}", self.told(), self.stderr()),
        }
    }

    fn end_within(&mut self, bound: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + bound;
        while self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
            if self.ended.is_none() {
                if Instant::now() > deadline {
                    return None;
                }
                sleep(STEP / 2);
            }
        }
        self.ended
    }

    /// Sends a signal to mcpd.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        crate::processes::signal(self.main_pid(), signal);
    }

    /// Asks it to end, as a service manager would.
    fn ask_to_end(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::TERM);
        #[cfg(not(unix))]
        if let Ok(mut client) = Client::connect(&self.sandbox.socket()) {
            let _ = client.call("daemon.shutdown", json!({}));
        }
    }

    /// Stops it as a service manager would and returns how it ended.
    ///
    /// # Panics
    /// When it does not end in time, or leaves a process behind.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.ask_to_end();
        self.wait_end()
    }

    /// Ends it as a crash of its own would. Its services are orphans then, which this kills.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(self) {
        let (mark, cgroup) = (self.sandbox.mark(), self.cgroup.clone());
        self.kill_alone();
        #[cfg(unix)]
        crate::processes::kill_marked(mark);
        #[cfg(not(unix))]
        let _ = mark;
        remove_cgroups(cgroup.as_deref());
    }

    /// Ends it as a crash of its own would, and leaves its services alone.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill_alone(mut self) {
        self.kill_both();
        self.wait_end();
        self.abandoned = true;
    }

    /// It has ended by itself after its main process was killed, and nothing is asked of it any more.
    ///
    /// # Panics
    /// When the main process is still there.
    pub fn forget(mut self) {
        self.wait_end();
        self.abandoned = true;
    }

    /// At one stroke: neither sees the end of the other.
    fn kill_both(&mut self) {
        #[cfg(unix)]
        crate::processes::kill_with_daemon(self.main_pid());
        #[cfg(not(unix))]
        self.child.kill().expect("a child can be killed");
    }
}

/// Removes the cgroup directories of a daemon that could not do it itself, as soon as its last process is gone.
fn remove_cgroups(base: Option<&Path>) {
    let Some(base) = base else { return };
    for _ in 0..100 {
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(base);
        if !base.exists() {
            return;
        }
        sleep(STEP);
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        if self.ended.is_none() {
            self.ask_to_end();
        }
        let orderly = self.end_within(crate::wait::stretched(END)).is_some();
        if !orderly {
            self.kill_both();
            let _ = self.child.wait();
        }
        #[cfg(unix)]
        let left = crate::processes::kill_marked(self.sandbox.mark());
        #[cfg(not(unix))]
        let left: Vec<u32> = Vec::new();
        if !orderly {
            remove_cgroups(self.cgroup.as_deref());
        }
        if std::thread::panicking() {
            // The scenario fails already; this says what the daemon saw of it.
            eprintln!("events:\n{}\nmcpd says:\n{}", self.told(), self.stderr());
            return;
        }
        assert!(orderly, "mcpd did not end within {END:?}:\n{}\n{}", self.told(), self.stderr());
        assert!(left.is_empty(), "mcpd left processes behind: {left:#?}\n{}", self.stderr());
    }
}
