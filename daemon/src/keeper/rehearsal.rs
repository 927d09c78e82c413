//! Would another program go on where this one is? It is asked before anything is touched: it reads a copy of the ledger, and says
//! what it is.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::papers::{Candidate, REHEARSE};
use super::succession;
use crate::shell::takeover::Bequest;

/// So long it may take: a ledger of a thousand services is read in some milliseconds.
const WITHIN: Duration = Duration::from_secs(20);
/// So much it may say.
const MOST: u64 = 64 * 1024;

/// The other side: reads the ledger that is its stdin.
///
/// # Errors
/// Why it would not go on from that.
pub fn candidate(ledger: File) -> Result<Candidate, String> {
    let bequest = Bequest::read(ledger)?;
    let services = bequest.loaded().1.config.services.len();
    Ok(Candidate { version: env!("CARGO_PKG_VERSION").into(), keeper: succession::FORMAT, services })
}

/// Asks a program, and waits for what it says.
///
/// # Errors
/// Why it is not to take over.
pub fn rehearse(program: &Path, ledger: File) -> Result<Candidate, String> {
    let failed = |error: io::Error| format!("{} cannot be asked: {error}", program.display());
    let mut child = Command::new(program)
        .arg(REHEARSE)
        .stdin(ledger)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} cannot be executed: {error}", program.display()))?;
    // Somebody else may reap it, and its number be another's then.
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let until = Instant::now() + WITHIN;
    // It says little: neither fills its pipe while the other one is read.
    let said = child.stdout.take().map(|out| all_of(out, until)).transpose().map_err(failed)?.flatten();
    let errors = child.stderr.take().map(|err| all_of(err, until)).transpose().map_err(failed)?.flatten();
    if said.is_none() || errors.is_none() {
        let _ = process.map(|process| pidfd_send_signal(&process, Signal::KILL));
    }
    let _ = child.wait();
    let (Some(said), Some(errors)) = (said, errors) else {
        return Err(format!("{} does not answer within {} s", program.display(), WITHIN.as_secs()));
    };
    let candidate: Candidate = serde_json::from_str(said.trim()).map_err(|_| {
        let why = errors.trim().lines().last().unwrap_or("it is no mcpd that can take over");
        format!("{} would not take over: {}", program.display(), why.trim_start_matches("mcpd: "))
    })?;
    if candidate.keeper != succession::FORMAT {
        return Err(format!(
            "{} would not take over: what a keeper hands over has format {} there, and {} here",
            program.display(),
            candidate.keeper,
            succession::FORMAT
        ));
    }
    Ok(candidate)
}

/// All that comes out of a pipe until its end; `None`: that does not come in time.
fn all_of(mut pipe: impl Read + AsFd, until: Instant) -> io::Result<Option<String>> {
    let mut said = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut polled = [PollFd::new(&pipe, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 4096];
        let count = pipe.read(&mut buffer)?;
        said.extend_from_slice(&buffer[..count]);
        if count == 0 || said.len() as u64 > MOST {
            return Ok(Some(String::from_utf8_lossy(&said).into_owned()));
        }
    }
}
