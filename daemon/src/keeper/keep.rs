//! The keeper's process: carries out what its mind decides, holds what the daemon gives it, passes signals and messages on.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use mcpd_core::Mono;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::decide::{Action, Death, Event, Mind, Vigilance, starved};
use super::packet::{self, ToDaemon, ToKeeper};
use super::papers::Item;
use super::succession::{self, State};
use super::{About, KEPT, Kept, Last};
use crate::sys::{self, Changed, Dead};

/// The program that this process runs, also when another file has taken its place: an upgrade is asked for, it does not
/// happen by a crash.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Ends that are remembered for a daemon that does not come: what falls to the keeper meanwhile may be anything.
const MOST_DEAD: usize = 64 * 1024;

/// Where nothing can be waited for.
const PAUSE: Duration = Duration::from_millis(100);

type Signals = SignalDelivery<UnixStream, SignalOnly>;

struct Keeper {
    mind: Mind,
    actions: Vec<Action>,
    signals: Signals,
    daemon: Option<Daemon>,
    kept: BTreeMap<String, Kept>,
    /// Processes that have ended, and no daemon has seen to it yet.
    dead: VecDeque<Dead>,
    last: Option<Last>,
    questions: u64,
    /// The file that this program was started from, and that an upgrade is made to.
    program: PathBuf,
    /// The program that was here before, until a daemon of this one has proven itself.
    before: Option<OwnedFd>,
    /// Why the last upgrade was not made.
    not_upgraded: Option<String>,
    exit: Option<i32>,
    /// Why there could not even be a first daemon.
    no_start: Option<io::Error>,
}

struct Daemon {
    pid: Pid,
    /// None once it has closed its end.
    line: Option<OwnedFd>,
    /// What there was no room for yet.
    waiting: VecDeque<Outgoing>,
    /// It has been given what is kept.
    informed: bool,
    /// When it was looked at last, and how long it had waited for a processor by then.
    seen: Option<(Mono, Duration)>,
}

enum Outgoing {
    /// What is kept by this name.
    Kept(String),
    Other(ToDaemon),
}

/// Starts the daemon and minds it until it ends by itself; the exit status for this process. `state`: where what another program
/// has left is, whose place this one takes.
///
/// # Errors
/// When the system has no room for the little that this needs, or that is none.
pub(super) fn keep(state: Option<i32>) -> io::Result<i32> {
    let state = state.map(succession::take_up).transpose()?;
    let kept = state.as_ref().map(|state| succession::own_all(&state.kept)).transpose()?;
    let before = state.as_ref().and_then(|state| state.before).map(succession::own).transpose()?;
    sys::close_on_exec();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    match state.as_ref().and_then(|state| state.open_files) {
        Some((soft, hard)) => sys::open_files_limit_was(soft, hard),
        None => sys::raise_open_files_limit(),
    }
    let (read, write) = UnixStream::pair()?;
    let wanted = [SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1];
    let signals = SignalDelivery::with_pipe(read, write, SignalOnly, wanted)?;
    let vigilance = Vigilance::new(sd_notify::watchdog_enabled());
    let mut keeper = Keeper {
        mind: match &state {
            Some(state) => Mind::resume(now(), vigilance, state.memory.clone(), before.is_some()),
            None => Mind::new(now(), vigilance),
        },
        actions: Vec::new(),
        signals,
        daemon: None,
        kept: kept.unwrap_or_default().into_iter().collect(),
        dead: VecDeque::new(),
        last: None,
        questions: 0,
        // Without it nobody can say where to look for another version.
        program: std::env::current_exe().unwrap_or_default(),
        before,
        not_upgraded: None,
        exit: None,
        no_start: None,
    };
    if let Some(state) = state {
        keeper.dead = state.dead;
        keeper.last = state.last;
        keeper.program = state.program;
        keeper.not_upgraded = state.not_upgraded;
        // What came while there was nobody to take it has waited.
        succession::let_signals_through();
        keeper.reap();
    }
    keeper.run()
}

fn now() -> Mono {
    Mono(sys::monotonic_ns())
}

impl Keeper {
    fn run(&mut self) -> io::Result<i32> {
        loop {
            self.mind.due(now(), &mut self.actions);
            self.perform();
            if let Some(error) = self.no_start.take() {
                return Err(error);
            }
            if let Some(code) = self.exit {
                return Ok(code);
            }
            self.wait();
        }
    }

    fn take(&mut self, event: Event) {
        self.mind.take(now(), event, &mut self.actions);
        self.perform();
    }

    fn perform(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Start => self.start(),
                    Action::Forward(signal) => self.signal(Signal::from_named_raw(signal)),
                    Action::Ping => notify("WATCHDOG=1"),
                    Action::Ask => {
                        self.watch_it_run();
                        self.questions += 1;
                        self.say(Outgoing::Other(ToDaemon::Ask { number: self.questions }));
                    }
                    Action::Kill if self.starves() => {
                        // Nor is it systemd's to end everything for that.
                        notify("WATCHDOG=1");
                        self.watch_it_run();
                        self.mind.take(now(), Event::Traced, &mut self.actions);
                    }
                    Action::Kill if self.is_traced() => {
                        self.mind.take(now(), Event::Traced, &mut self.actions)
                    }
                    Action::Kill => {
                        // systemd would lose its patience with the next one, which has done nothing.
                        notify("WATCHDOG=1");
                        self.signal(Some(Signal::KILL));
                    }
                    Action::End => {
                        notify("WATCHDOG=1");
                        self.signal(Some(Signal::KILL));
                    }
                    Action::Exit(code) => self.exit = Some(code),
                    Action::Execute => {
                        let before = succession::this_program().ok();
                        let program = self.program.clone();
                        let error = self.make_way(&program, before);
                        self.not_upgraded =
                            Some(format!("{} cannot be executed: {error}", program.display()));
                        self.mind.take(now(), Event::NotExecuted, &mut self.actions);
                    }
                    Action::GoBack => {
                        let why = self.last.as_ref().map_or("its daemon fails", |last| last.how.as_str());
                        let why =
                            format!("mcpd {} was taken back: its daemon {why}", env!("CARGO_PKG_VERSION"));
                        let _ = writeln!(io::stderr(), "mcpd: {why}");
                        self.not_upgraded = Some(why);
                        if let Some(before) = self.before.take() {
                            let program = succession::path_of(&before);
                            let error = self.make_way(&program, None);
                            let _ =
                                writeln!(io::stderr(), "mcpd: the one before cannot be executed: {error}");
                        }
                        self.mind.take(now(), Event::NotExecuted, &mut self.actions);
                    }
                    Action::Tell(how) => self.tell(how),
                }
            }
        }
    }

    fn tell(&mut self, how: String) {
        let Some(daemon) = self.daemon.take() else { return };
        let pid = daemon.pid.as_raw_nonzero().get().unsigned_abs();
        // Whoever does not read it does not hinder anybody.
        let _ = writeln!(io::stderr(), "mcpd: the daemon (pid {pid}) {how}: the next one takes over");
        self.last = Some(Last { pid, how, at: Timestamp::now().as_microsecond() });
    }

    /// Has another program take the place of this one, which can go back to `before`. Comes back when that cannot be.
    fn make_way(&mut self, program: &Path, before: Option<OwnedFd>) -> io::Error {
        succession::block_signals();
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals.into_iter().filter(|&signal| signal != SIGCHLD) {
            // There is no daemon: it is remembered.
            self.mind.take(now(), Event::Signal(signal), &mut self.actions);
        }
        let raw = |open: &OwnedFd| open.as_raw_fd();
        let item = |(name, Kept { text, handles }): (&String, &Kept)| Item {
            name: name.clone(),
            text: text.clone(),
            handles: handles.iter().map(raw).collect(),
        };
        let state = State {
            format: succession::FORMAT,
            memory: self.mind.memory(),
            kept: self.kept.iter().map(item).collect(),
            dead: self.dead.clone(),
            last: self.last.clone(),
            program: self.program.clone(),
            before: before.as_ref().map(raw),
            not_upgraded: self.not_upgraded.clone(),
            open_files: sys::inherited_open_files_limit(),
        };
        let open: Vec<&OwnedFd> = self.kept.values().flat_map(|kept| &kept.handles).chain(&before).collect();
        let error = succession::execute(program, &state, &open);
        succession::let_signals_through();
        error
    }

    fn start(&mut self) {
        let event = match self.try_start() {
            Ok(()) => Event::Started,
            // No /proc, or no room: this process can still be the daemon.
            Err(error) if self.mind.lives() == 0 => {
                self.no_start = Some(error);
                return;
            }
            Err(error) => {
                let _ = writeln!(io::stderr(), "mcpd: the daemon cannot be started: {error}");
                Event::NotStarted
            }
        };
        self.mind.take(now(), event, &mut self.actions);
    }

    fn try_start(&mut self) -> io::Result<()> {
        let (own, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&own, true)?;
        // Without it the first start is another one's: see `start`.
        std::fs::metadata(OWN_PROGRAM)?;
        let name = std::env::args_os().next().unwrap_or_else(|| OsString::from("mcpd"));
        let words = [name, KEPT.into()].into_iter().chain(succession::words()).collect();
        // That variable says for whom WATCHDOG_USEC is; the keeper sends on what the daemon says.
        let environment = std::env::vars_os().filter(|(name, _)| name != "WATCHDOG_PID");
        let program = CString::new(OWN_PROGRAM)?;
        // Its own group: what a terminal sends to everybody in front of it reaches the daemon once, through the keeper.
        let pid = sys::fork_and_execute(&program, words, environment, theirs.as_fd())?;
        self.daemon =
            Some(Daemon { pid, line: Some(own), waiting: VecDeque::new(), informed: false, seen: None });
        self.watch_it_run();
        Ok(())
    }

    fn signal(&self, signal: Option<Signal>) {
        if let (Some(daemon), Some(signal)) = (&self.daemon, signal) {
            // It may be dead, and is not reaped: the signal reaches nobody else.
            let _ = rustix::process::kill_process(daemon.pid, signal);
        }
    }

    /// A debugger has it, and means to have it stopped.
    fn is_traced(&self) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid)).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|pid| pid.trim() != "0")
    }

    /// From now on it is known whether it could run.
    fn watch_it_run(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.seen = waited(daemon.pid).map(|waited| (now(), waited));
        }
    }

    /// It would run, and most of the time since it was looked at there was no processor for it: the next one would fare no
    /// better, and has more to do.
    fn starves(&self) -> bool {
        let Some(Daemon { pid, seen: Some((since, before)), .. }) = &self.daemon else { return false };
        waited(*pid).is_some_and(|waited| starved(waited.saturating_sub(*before), now().since(*since)))
    }

    /// Until something happens or is due.
    fn wait(&mut self) {
        let timeout = self.mind.deadline().map(|at| timespec(at.since(now())));
        let line = self.daemon.as_ref().and_then(|daemon| daemon.line.as_ref());
        let writes = self.daemon.as_ref().is_some_and(|daemon| !daemon.waiting.is_empty());
        let interest = if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut polled = vec![PollFd::new(self.signals.get_read(), PollFlags::IN)];
        polled.extend(line.map(|line| PollFd::new(line, interest)));
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No memory at this moment. Whatever it is, the daemon and its services are not to end for it.
            Err(_) => std::thread::sleep(PAUSE),
        }
        let stirred = polled.get(1).is_some_and(|line| !line.revents().is_empty());
        drop(polled);
        if stirred {
            self.flush();
            self.hear();
        }
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals {
            if signal == SIGCHLD {
                self.reap();
            } else {
                self.take(Event::Signal(signal));
            }
        }
    }

    /// Takes in all that the daemon has said.
    fn hear(&mut self) {
        loop {
            let Some(line) = self.daemon.as_ref().and_then(|daemon| daemon.line.as_ref()) else { return };
            match packet::receive::<ToKeeper>(line) {
                Ok(Some((said, with))) => self.heard(said, with),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Its end is closed: it is dead, or about to be.
                Err(_) => {
                    if let Some(daemon) = &mut self.daemon {
                        daemon.line = None;
                    }
                }
            }
        }
    }

    fn heard(&mut self, said: ToKeeper, with: Vec<OwnedFd>) {
        match said {
            ToKeeper::Keep { name, text } => {
                self.kept.insert(name, Kept { text, handles: with });
            }
            ToKeeper::Drop { name } => drop(self.kept.remove(&name)),
            ToKeeper::Take => {
                let names: Vec<String> = self.kept.keys().cloned().collect();
                for name in names {
                    self.say(Outgoing::Kept(name));
                }
                if let Some(daemon) = &mut self.daemon {
                    daemon.informed = true;
                }
                for dead in self.dead.clone() {
                    self.say(Outgoing::Other(ToDaemon::Dead(dead)));
                }
                let about = About {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    pid: std::process::id(),
                    lives: self.mind.lives(),
                    failures: self.mind.failures(),
                    crashes: self.mind.crashes(),
                    last: self.last.clone(),
                    program: self.program.to_string_lossy().into_owned(),
                    not_upgraded: self.not_upgraded.clone(),
                    open_files: sys::inherited_open_files_limit(),
                };
                self.say(Outgoing::Other(ToDaemon::All(about)));
            }
            ToKeeper::Ready { stopping } => self.take(Event::Ready { stopping }),
            ToKeeper::Leave => {
                notify("STOPPING=1");
                self.take(Event::Left);
            }
            ToKeeper::Upgrade { program } => {
                (self.program, self.not_upgraded) = (program, None);
                self.take(Event::Upgrade);
            }
            ToKeeper::Sync => {
                // Whoever is dead and not reaped by now is known.
                self.reap();
                self.say(Outgoing::Other(ToDaemon::Synced));
            }
            ToKeeper::Seen { pid } => {
                if let Some(place) = self.dead.iter().position(|dead| dead.pid == pid) {
                    self.dead.remove(place);
                }
            }
            ToKeeper::Answer { number } if number == self.questions => self.take(Event::Answered),
            ToKeeper::Answer { .. } => {}
            ToKeeper::Notify { text } => notify(&text),
        }
    }

    fn say(&mut self, what: Outgoing) {
        if let Some(daemon) = &mut self.daemon {
            daemon.waiting.push_back(what);
        }
        self.flush();
    }

    /// As much of what waits as there is room for.
    fn flush(&mut self) {
        let Some(Daemon { line: Some(line), waiting, .. }) = &mut self.daemon else { return };
        while let Some(next) = waiting.front() {
            let sent = match next {
                Outgoing::Other(packet) => packet::send(&*line, packet, &[]),
                Outgoing::Kept(name) => match self.kept.get(name) {
                    Some(Kept { text, handles }) => {
                        let packet = ToDaemon::Kept { name: name.clone(), text: text.clone() };
                        let with: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
                        packet::send(&*line, &packet, &with)
                    }
                    None => Ok(()),
                },
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What cannot be sent to one that is dying needs not be.
                Ok(()) | Err(_) => drop(waiting.pop_front()),
            }
        }
    }

    /// Takes away every dead child: the daemon, and whatever fell to the keeper.
    fn reap(&mut self) {
        while let Some((pid, changed)) = sys::any_news() {
            let own = self.daemon.as_ref().map(|daemon| daemon.pid.as_raw_nonzero().get().unsigned_abs());
            match changed {
                Changed::Ended(dead) if own == Some(pid) => {
                    // Its last words come before its end.
                    self.hear();
                    let death = dead.signal.map(Death::Signal).or(dead.code.map(Death::Code));
                    self.take(Event::Ended(death.unwrap_or(Death::Code(1))));
                }
                Changed::Ended(dead) => self.keep_dead(dead),
                Changed::Stopped if own == Some(pid) => self.take(Event::Stopped),
                Changed::Continued if own == Some(pid) => self.take(Event::Continued),
                Changed::Stopped | Changed::Continued => {}
            }
        }
    }

    fn keep_dead(&mut self, dead: Dead) {
        if self.daemon.as_ref().is_some_and(|daemon| daemon.informed) {
            self.say(Outgoing::Other(ToDaemon::Dead(dead.clone())));
        }
        if self.dead.len() == MOST_DEAD {
            self.dead.pop_front();
        }
        self.dead.push_back(dead);
    }
}

/// How long a process's first thread has waited for a processor: the second number of `/proc/PID/schedstat`, in nanoseconds.
/// That thread is the daemon's loop.
fn waited(pid: Pid) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", pid.as_raw_nonzero())).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// Says something to the service manager, if there is one.
fn notify(text: &str) {
    let lines: Vec<sd_notify::NotifyState<'_>> = text.lines().map(sd_notify::NotifyState::Custom).collect();
    // Without one, or one that does not listen, there is nobody to tell.
    let _ = sd_notify::notify(&lines);
}

/// Rounded up to what the clock of `poll(2)` counts in: one that comes back too early does so again and again.
fn timespec(time: Duration) -> Timespec {
    let time = time + Duration::from_micros(100);
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_one_waited_is_known() {
        let own = rustix::process::getpid();
        let before = waited(own).expect("the kernel counts that");
        std::thread::yield_now();
        assert!(waited(own).unwrap() >= before);
    }
}
