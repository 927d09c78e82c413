//! What the subcommands need of the system, on Unix: signals, forks, descriptors.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Command, Stdio, exit, id};
use std::ptr;
use std::thread::sleep;
use std::time::Duration;

use crate::args::Args;
use crate::{http, life, wrong};

/// The names that `signal-self` takes and that are printed on receipt.
const NAMES: &[(&str, i32)] = &[
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGILL", libc::SIGILL),
    ("SIGABRT", libc::SIGABRT),
    ("SIGBUS", libc::SIGBUS),
    ("SIGFPE", libc::SIGFPE),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGTERM", libc::SIGTERM),
];

/// How a run that was asked to end does so.
#[derive(Default)]
pub(crate) struct Stay {
    /// The exit code.
    pub(crate) code: i32,
    /// How long the end takes.
    pub(crate) delay: Duration,
    /// Abort instead.
    pub(crate) crash: bool,
}

/// The signals that [`Signals::stay`] waits for, blocked, so that none is lost before it does.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks TERM, INT, HUP, USR1, USR2 in this thread and in those that it starts.
    pub(crate) fn block() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initialises the set that the other calls use; all pointers live through the calls.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
            Self(set.assume_init())
        }
    }

    /// Runs until TERM or INT comes.
    pub(crate) fn stay(&self, stay: &Stay) -> ! {
        loop {
            let mut signal = 0;
            // SAFETY: both point to live values of the right type.
            if unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } != 0 {
                continue;
            }
            if signal == libc::SIGTERM || signal == libc::SIGINT {
                sleep(stay.delay);
                if stay.crash {
                    std::process::abort();
                }
                exit(stay.code);
            }
            let name = NAMES.iter().find(|&&(_, number)| number == signal).map_or("?", |&(name, _)| name);
            life::say(&format!("signal {name}\n"));
        }
    }
}

/// Descriptors and signal masks as they were inherited, as JSON; `null` where there is no `/proc`.
pub(crate) fn state() -> String {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return "null".into() };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
        crate::record::quote(line)
    };
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        // The descriptor that reads this directory leads to it and is nobody's inheritance.
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if !target.to_string_lossy().ends_with("/fd") {
            open.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    format!(
        "{{\"blocked\":{},\"ignored\":{},\"fds\":[{}]}}",
        field("SigBlk:"),
        field("SigIgn:"),
        open.join(",")
    )
}

/// Past the standard library's line buffer.
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice; descriptor 1 is only written to.
    let written = unsafe { libc::write(1, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

fn ignore(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: ignoring a signal has no memory effects.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Waits for ever.
fn forever() -> ! {
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

fn raise(signal: i32) {
    // SAFETY: no preconditions.
    unsafe { libc::raise(signal) };
}

/// `signal-self`
pub(crate) fn signal_self(mut args: Args) -> ! {
    let after = args.millis("--after").unwrap_or_default();
    let text = args.word("SIGNAL");
    args.done();
    let long = format!("SIG{}", text.trim_start_matches("SIG"));
    let signal = text
        .parse()
        .ok()
        .or_else(|| NAMES.iter().find(|(name, _)| *name == long).map(|&(_, number)| number))
        .unwrap_or_else(|| wrong(&format!("no signal `{text}`")));
    life::ready();
    sleep(after);
    end_by(signal)
}

/// Ends by this signal.
pub(crate) fn end_by(signal: i32) -> ! {
    // The default action: Rust installs a handler of its own for SIGSEGV and SIGBUS.
    // SAFETY: restoring the default has no memory effects.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    raise(signal);
    wrong(&format!("signal {signal} did not end this process"))
}

/// `stop-self`
pub(crate) fn stop_self(mut args: Args) -> ! {
    let after = args.millis("--after").unwrap_or_default();
    args.done();
    let signals = Signals::block();
    life::ready();
    sleep(after);
    raise(libc::SIGSTOP);
    signals.stay(&Stay::default())
}

/// `ignore-term`
pub(crate) fn ignore_term(mut args: Args) -> ! {
    let (children, child) = (args.option("--children").unwrap_or(0_usize), args.flag("--child"));
    args.done();
    ignore(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
    for _ in 0..children {
        start(&["ignore-term", "--child"]);
    }
    if !child {
        life::ready();
    }
    forever()
}

/// `tree`
pub(crate) fn tree(mut args: Args) -> ! {
    let (pid_file, deaf) = (args.file("--pid-file"), args.flag("--deaf"));
    // Only the leader says that it is ready: the others share its stdout.
    let child = args.flag("--child");
    let depth: u32 = args.option("--depth").unwrap_or(2);
    let children: usize = args.value("N");
    args.done();
    if deaf {
        ignore(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
    }
    if let Some(file) = &pid_file {
        use std::io::Write as _;
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .and_then(|mut open| open.write_all(format!("{}\n", id()).as_bytes()))
            .unwrap_or_else(|error| wrong(&format!("cannot append to {}: {error}", file.display())));
    }
    let signals = (!deaf).then(Signals::block);
    if depth > 0 {
        for _ in 0..children {
            let below = (depth - 1).to_string();
            let mut words = vec!["tree", "1", "--child", "--depth", &below];
            if deaf {
                words.push("--deaf");
            }
            let file = pid_file.as_ref().map(|file| file.to_string_lossy().into_owned());
            if let Some(file) = &file {
                words.extend(["--pid-file", file]);
            }
            start(&words);
        }
    }
    if !child {
        life::ready();
    }
    match signals {
        Some(signals) => signals.stay(&Stay::default()),
        None => forever(),
    }
}

/// `crowd`
pub(crate) fn crowd(mut args: Args) -> ! {
    let (most, file): (usize, _) = (args.value("N"), args.path("FILE"));
    args.done();
    let signals = Signals::block();
    let mut started = 0;
    while started < most && child(&["tree", "0", "--child"]).is_ok() {
        started += 1;
    }
    // Whole or not at all, for whoever waits for it.
    let draft = file.with_extension("draft");
    std::fs::write(&draft, started.to_string())
        .and_then(|()| std::fs::rename(&draft, &file))
        .unwrap_or_else(|error| wrong(&format!("cannot write {}: {error}", file.display())));
    life::ready();
    signals.stay(&Stay::default())
}

/// This program again, as a child in the same group, with stdin and the streams of this one.
fn start(words: &[&str]) {
    child(words).unwrap_or_else(|error| wrong(&format!("cannot start a child: {error}")));
}

fn child(words: &[&str]) -> io::Result<()> {
    let program = std::env::current_exe().unwrap_or_else(|error| wrong(&format!("who am I: {error}")));
    // Nobody waits for it: that is what makes it an orphan when this process dies.
    Command::new(program).args(words).stdin(Stdio::null()).spawn().map(drop)
}

/// `fork-away`
pub(crate) fn fork_away(mut args: Args) -> ! {
    let Some(pid_file) = args.file("--pid-file") else { wrong("--pid-file is missing") };
    let leader_exit: Option<i32> = args.option("--leader-exit");
    let after = args.millis("--after").unwrap_or_default();
    let (deaf, quiet) = (args.flag("--deaf"), args.flag("--quiet"));
    args.done();
    // A file of an earlier run would say that the grandchild is there before it is.
    let _ = std::fs::remove_file(&pid_file);
    // SAFETY: this process has one thread; each side goes on in its own copy.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above, in the child.
        unsafe {
            libc::setsid();
            if libc::fork() != 0 {
                libc::_exit(0);
            }
        }
        grandchild(&pid_file, deaf, quiet)
    }
    let signals = Signals::block();
    let mut status = 0;
    // SAFETY: waits for the child just made; the pointer lives through the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    life::wait_for(&pid_file);
    life::ready();
    match leader_exit {
        Some(code) => {
            sleep(after);
            exit(code)
        }
        None => signals.stay(&Stay::default()),
    }
}

fn grandchild(pid_file: &Path, deaf: bool, quiet: bool) -> ! {
    ignore(&[libc::SIGHUP]);
    if deaf {
        ignore(&[libc::SIGTERM, libc::SIGINT]);
    }
    if quiet {
        // SAFETY: closing this process's own descriptors, which nothing uses from here on.
        unsafe {
            libc::close(1);
            libc::close(2);
        }
    }
    http::publish(pid_file, &id().to_string());
    forever()
}
