//! From the daemon to the exec step and back: the plan in a file in memory, the answer through a pipe.
//!
//! The plan is a line of JSON, then words, each ended by a NUL byte, which no word holds: the program, its directory
//! (empty: none), its arguments, its environment.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use super::super::limits;
use super::super::spawn::Words;
use super::{ABOUT_TO_EXEC, ARGUMENT, own_error};
use crate::sys::{RUN_ID_VARIABLE, SERVICE_VARIABLE, Setup, SpawnError, SpawnPlan, SpawnStep};

/// What stands before the words.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    setup: Vec<Setup>,
    /// The descriptor of the pipe for the answer.
    status: RawFd,
    /// How many of the words are arguments.
    arguments: usize,
}

/// What the step has to do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) setup: Vec<Setup>,
    pub(super) program: CString,
    pub(super) directory: Option<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
}

/// The daemon's side.
pub(in super::super) struct Handover {
    plan: OwnedFd,
    status: OwnedFd,
    answer: File,
    pub(in super::super) argv: Vec<CString>,
    /// The step's own: by the run's id what it may have to leave behind is recognised.
    pub(in super::super) env: Vec<CString>,
}

impl Handover {
    /// Writes the plan down for a step that is to be started.
    ///
    /// # Errors
    ///
    /// When the system has no room for it.
    pub(in super::super) fn prepare(plan: &SpawnPlan, words: &Words) -> Result<Self, SpawnError> {
        let (answer, status) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| own_error("cannot open a pipe", &error.into()))?;
        let header = Header { setup: setup(plan), status: status.as_raw_fd(), arguments: words.argv.len() };
        let file = write(&header, plan, words).map_err(|error| own_error("cannot write the plan", &error))?;
        let number = CString::new(file.as_raw_fd().to_string()).unwrap_or_default();
        let marks = [RUN_ID_VARIABLE, SERVICE_VARIABLE].map(str::as_bytes);
        let marked = |variable: &&CString| marks.iter().any(|mark| variable.as_bytes().starts_with(mark));
        Ok(Self {
            plan: file,
            status,
            answer: File::from(answer),
            argv: vec![c"mcpd".to_owned(), CString::new(ARGUMENT).unwrap_or_default(), number],
            env: words.env.iter().filter(marked).cloned().collect(),
        })
    }

    /// What the step has to inherit, under the same numbers.
    pub(in super::super) fn descriptors(&self) -> [RawFd; 2] {
        [self.plan.as_raw_fd(), self.status.as_raw_fd()]
    }

    /// Waits until the program runs, or does not.
    ///
    /// # Errors
    ///
    /// What the step says, or that it has ended without a word.
    pub(in super::super) fn outcome(self) -> Result<(), SpawnError> {
        let Self { plan, status, mut answer, argv: _, env: _ } = self;
        // The pipe ends when nobody is left to write to it: the step's own end goes with its exec or its exit.
        drop((plan, status));
        let mut told = Vec::new();
        answer.read_to_end(&mut told).map_err(|error| own_error("cannot read its answer", &error))?;
        let error = match told.strip_prefix(&[ABOUT_TO_EXEC]) {
            Some([]) => return Ok(()),
            Some(error) => error,
            None => &told,
        };
        Err(serde_json::from_slice(error).unwrap_or_else(|_| SpawnError {
            step: SpawnStep::Setup,
            errno: libc::EAGAIN,
            message: "exec step: it ended before it had run the program (killed, or short of memory?)".into(),
        }))
    }
}

/// What is to be set, and what of the daemon's own must not show.
fn setup(plan: &SpawnPlan) -> Vec<Setup> {
    let own = limits::inherited_open_files_limit().map(|(soft, hard)| Setup::Limit {
        name: "nofile".into(),
        soft,
        hard,
    });
    own.into_iter().chain(plan.setup.iter().cloned()).collect()
}

fn write(header: &Header, plan: &SpawnPlan, words: &Words) -> io::Result<OwnedFd> {
    let mut bytes = serde_json::to_vec(header)?;
    let directory = match &plan.working_directory {
        Some(directory) => CString::new(directory.as_os_str().as_bytes())?,
        None => CString::default(),
    };
    bytes.push(0);
    for word in [&words.program, &directory].into_iter().chain(&words.argv).chain(&words.env) {
        bytes.extend_from_slice(word.as_bytes_with_nul());
    }
    let mut file = File::from(rustix::fs::memfd_create(c"mcpd-exec-step", MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    Ok(file.into())
}

/// Reads the plan, and takes over the pipe for the answer.
///
/// # Errors
///
/// The plan cannot be read; the pipe, as far as that is known by then.
pub(super) fn receive(plan: OwnedFd) -> Result<(Plan, File), (SpawnError, Option<File>)> {
    let mut bytes = Vec::new();
    let mut file = File::from(plan);
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|error| (own_error("cannot read the plan", &error), None))?;
    let no_plan = || own_error("the plan is none", &io::ErrorKind::InvalidData.into());
    let mut parts = bytes.split_inclusive(|&byte| byte == 0);
    let header: Header = parts
        .next()
        .and_then(|line| serde_json::from_slice(line.strip_suffix(&[0])?).ok())
        .ok_or_else(|| (no_plan(), None))?;
    // SAFETY: the daemon has passed the descriptor to be owned here, and says so only once.
    let status = unsafe { File::from_raw_fd(header.status) };
    // The program must not inherit it, and its end tells the daemon that the program runs.
    if let Err(error) = rustix::io::fcntl_setfd(&status, FdFlags::CLOEXEC) {
        return Err((own_error("cannot close its pipe on exec", &error.into()), Some(status)));
    }
    let mut words = parts.map_while(|word| CStr::from_bytes_with_nul(word).ok()).map(CStr::to_owned);
    let (Some(program), Some(directory)) = (words.next(), words.next()) else {
        return Err((no_plan(), Some(status)));
    };
    let argv = words.by_ref().take(header.arguments).collect();
    let env = words.collect();
    let directory = Some(directory).filter(|directory| !directory.is_empty());
    Ok((Plan { setup: header.setup, program, directory, argv, env }, status))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::sys::Output;

    fn plan() -> SpawnPlan {
        let odd = OsString::from_vec(b"\xff\n \"".to_vec());
        SpawnPlan {
            program: "/bin/x".into(),
            argv: vec!["x".into(), OsString::new(), odd.clone()],
            env: vec![("A".into(), odd), (RUN_ID_VARIABLE.into(), "7".into())],
            working_directory: Some("/a dir".into()),
            stdin: None,
            stdout: Output::Null,
            stderr: Output::Null,
            merge_stderr: false,
            cgroup: None,
            setup: vec![Setup::Nice(3), Setup::Umask(0o22)],
        }
    }

    fn told(answer: &[u8]) -> Result<(), SpawnError> {
        let plan = plan();
        let handover = Handover::prepare(&plan, &Words::of(&plan).unwrap()).unwrap();
        // The step's end of the pipe, as the step has it.
        let mut step = File::from(handover.status.try_clone().unwrap());
        step.write_all(answer).unwrap();
        drop(step);
        handover.outcome()
    }

    #[test]
    fn the_plan_arrives_as_it_was() {
        let plan = plan();
        let words = Words::of(&plan).unwrap();
        let handover = Handover::prepare(&plan, &words).unwrap();
        assert_eq!(handover.env, [c"MCPD_RUN_ID=7".to_owned()]);
        let file = handover.plan.try_clone().unwrap();
        // Owned by the step in another process; here it would be closed twice.
        let (received, status) = receive(file).unwrap();
        std::mem::forget(status);
        assert_eq!(received.setup, plan.setup);
        assert_eq!((received.program, received.directory), (words.program, Some(c"/a dir".to_owned())));
        assert_eq!((received.argv, received.env), (words.argv, words.env));
    }

    #[test]
    fn a_plan_without_a_directory_has_none() {
        let plan = SpawnPlan { working_directory: None, ..plan() };
        let handover = Handover::prepare(&plan, &Words::of(&plan).unwrap()).unwrap();
        let (received, status) = receive(handover.plan.try_clone().unwrap()).unwrap();
        std::mem::forget(status);
        assert_eq!(received.directory, None);
        assert_eq!(received.argv.len(), 3);
    }

    #[test]
    fn only_an_exec_that_was_announced_is_a_start() {
        assert_eq!(told(b"x"), Ok(()));
        let error = SpawnError { step: SpawnStep::Limits, errno: libc::EPERM, message: "limits: no".into() };
        let text = serde_json::to_vec(&error).unwrap();
        assert_eq!(told(&text), Err(error.clone()));
        assert_eq!(told(&[b"x", &text[..]].concat()), Err(error));
        // It was killed: another try may well succeed.
        for cut in [&b""[..], b"{\"step\":", b"x{\"st"] {
            let error = told(cut).unwrap_err();
            assert_eq!((error.step, error.is_permanent()), (SpawnStep::Setup, false), "{error}");
        }
    }
}
