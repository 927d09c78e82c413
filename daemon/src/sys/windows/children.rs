//! Every process that the daemon has started, each with its job.
//!
//! The handle of a main process is kept until [`Children::forget`], so its pid means nobody else so long; the job is the
//! tree, so nothing has to be searched for.

use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::Arc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{FILETIME, WAIT_OBJECT_0};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, GetProcessTimes, OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION,
    QueryFullProcessImageNameW, TerminateProcess, WaitForSingleObject,
};

use super::Process;
use super::cgroup::Cgroup;
use super::console::{self, CtrlC};
use super::job::{Job, TERMINATED, succeeded};
use super::news::{Inbox, News, Port, Wait};
use crate::sys::{Collected, Dead, Ending, Exit, Handed, Key, Named, Waker, Whom};

/// The numbers of SIGINT, SIGKILL and SIGTERM, which are what the configuration speaks of on Windows too.
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// How long [`Children::end_all`] waits for terminated processes to be gone. Only one that hangs in a driver takes
/// longer, and no one can end that.
const END_ALL_LIMIT: Duration = Duration::from_secs(10);
/// How often it looks meanwhile.
const END_ALL_PAUSE: Duration = Duration::from_millis(5);

/// The processes of the daemon, owned by one thread.
#[derive(Debug)]
pub struct Children {
    runs: HashMap<Key, Run>,
    inbox: Arc<Inbox>,
    port: Port,
    ctrl_c: CtrlC,
}

#[derive(Debug)]
struct Run {
    // Before the handle that it waits on: fields are dropped in this order.
    wait: Option<Wait>,
    process: Process,
    /// The main process has ended and was collected.
    ended: bool,
    /// The daemon has terminated it.
    terminated: bool,
    /// What it and its descendants are, they are of that run.
    part_of: Option<Key>,
}

impl Children {
    /// Starts listening for ended processes: `wake` is called when [`collect`](Self::collect) has something to look at.
    ///
    /// # Errors
    ///
    /// When the system refuses the completion port or the threads that this takes.
    pub fn new(wake: Waker) -> io::Result<Self> {
        console::hear_ctrl_c();
        let inbox = Inbox::new(wake);
        let port = Port::open(Arc::clone(&inbox))?;
        Ok(Self { runs: HashMap::new(), inbox, port, ctrl_c: CtrlC::start()? })
    }

    /// Takes over a started process. Its job holds its tree together, so `run_id` is not needed here.
    pub fn adopt(&mut self, key: Key, process: Process, run_id: &str) {
        let _ = run_id;
        // Failing here takes exhausted memory, and the process is supervised all the same: every call of `collect` looks
        // at one without a wait, and `leftovers` asks the job itself.
        if let Err(error) = process.job.report_to(self.port.handle(), key) {
            tracing::warn!(pid = process.pid, %error, "its job will not tell when its last process ends");
        }
        let wait = Wait::start(&process.handle, key, &self.inbox)
            .inspect_err(|error| tracing::warn!(pid = process.pid, %error, "its end will be noticed late"))
            .ok();
        self.runs.insert(key, Run { wait, process, ended: false, terminated: false, part_of: None });
    }

    /// There is no keeper here.
    pub fn set_keeper(&mut self, keeper: Option<u32>) {
        let _ = keeper;
    }

    /// No daemon takes over from another one here: a job ends with whoever holds it.
    pub fn hand_over(&self, key: Key) -> Option<Handed> {
        let _ = key;
        None
    }

    /// Nothing is ever there.
    pub fn take_over(&mut self, key: Key, handed: Handed) -> bool {
        let _ = (key, handed);
        false
    }

    /// Nobody tells of one.
    pub fn bury(&mut self, dead: &Dead) {
        let _ = dead;
    }

    /// None is.
    pub fn is_fostered(&self, pid: u32) -> bool {
        let _ = pid;
        false
    }

    /// None is.
    pub fn is_missing(&mut self, key: Key) -> bool {
        let _ = key;
        false
    }

    /// None is.
    pub fn is_starting(&self) -> bool {
        false
    }

    /// There are none.
    pub fn end_strays(&mut self, life: &str, runs: &[String]) {
        let _ = (life, runs);
    }

    /// From now on the process of `part`, and whatever comes of it, belongs to `whole`.
    pub fn join(&mut self, part: Key, whole: Key) {
        if let Some(run) = self.runs.get_mut(&part) {
            run.part_of = Some(whole);
        }
    }

    /// A run and its parts.
    fn whole(&self, key: Key) -> impl Iterator<Item = &Run> {
        self.runs
            .iter()
            .filter(move |(other, run)| **other == key || run.part_of == Some(key))
            .map(|(_, run)| run)
    }

    /// Whether [`collect`](Self::collect) may have something to give.
    pub fn has_claimed(&self) -> bool {
        true
    }

    /// Adds all that has ended to `out`. To be called when the waker says so. `spawns_in_flight` makes no difference
    /// here: a process is known by its handle.
    pub fn collect(
        &mut self,
        spawns_in_flight: bool,
        note: &mut dyn FnMut(Ending<'_>),
        out: &mut Vec<Collected>,
    ) {
        let _ = (spawns_in_flight, note);
        let news = self.inbox.take();
        let waited_for = news.iter().filter_map(|news| match news {
            News::MainEnded(key) => Some(*key),
            News::ProcessEnded(..) | News::JobEmpty(_) => None,
        });
        let not_waited_for =
            self.runs.iter().filter(|(_, run)| run.wait.is_none() && !run.ended).map(|(&key, _)| key);
        for key in waited_for.chain(not_waited_for).collect::<Vec<_>>() {
            if let Some(exit) = self.runs.get_mut(&key).and_then(Run::take_exit) {
                out.push(Collected::Main { key, exit });
            }
        }
        for news in news {
            match news {
                News::MainEnded(_) => (),
                News::ProcessEnded(key, pid) => {
                    if self.runs.get(&key).is_none_or(|run| run.process.pid != pid) {
                        out.push(Collected::Orphan { pid });
                    }
                }
                // The count of the job may lag behind the last word of a process; this one comes after it.
                News::JobEmpty(key) => {
                    if self.runs.get(&key).is_some_and(|run| run.ended) {
                        out.push(Collected::Orphan { pid: 0 });
                    }
                }
            }
        }
    }

    /// Ends (9) a process that was started, or its whole tree; or sends it a CTRL+C (2 and 15), which reaches all
    /// processes of its console, whomever it is meant for. That it was sent does not say that it arrives: a program
    /// without a console hears nothing.
    ///
    /// # Errors
    ///
    /// `NotFound` when it has ended (and was collected), `Unsupported` for any other signal, otherwise what the system
    /// says.
    pub fn signal(&mut self, key: Key, signal: i32, whom: Whom) -> io::Result<()> {
        let Some(run) = self.runs.get_mut(&key).filter(|run| !run.ended) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        };
        match (signal, whom) {
            (SIGKILL, Whom::Main) => {
                // SAFETY: the handle is open.
                succeeded(unsafe { TerminateProcess(run.process.handle.as_raw_handle(), TERMINATED) })?;
                run.terminated = true;
                Ok(())
            }
            (SIGKILL, Whom::Group) => {
                run.process.job.terminate()?;
                run.terminated = true;
                Ok(())
            }
            (SIGINT | SIGTERM, Whom::Main | Whom::Group) => {
                self.ctrl_c.ask(run.process.pid, run.process.handle.try_clone()?)
            }
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "Windows has no signal {signal}: use SIGTERM or SIGINT for CTRL+C, SIGKILL to terminate"
                ),
            )),
        }
    }

    /// The run that a process belongs to. Nobody asks here: it is for `sd_notify(3)`, which Windows does not have.
    pub fn run_of(&self, _pid: u32) -> Option<Key> {
        None
    }

    /// How many processes of an ended run still live. The host of its hidden console may be one: that ends by itself
    /// when the last process of the console has.
    /// Never `None` here: the job knows.
    pub fn leftovers(&mut self, key: Key) -> Option<usize> {
        Some(self.whole(key).map(|run| run.process.job.living()).sum())
    }

    /// Nobody: the job knows.
    pub fn doubtful(&mut self, _key: Key) -> Vec<Named> {
        Vec::new()
    }

    /// Everything that lives of a run, its main process included, in the order of pids.
    pub fn living(&mut self, key: Key) -> Vec<Named> {
        let mut pids: Vec<u32> = self.whole(key).flat_map(|run| run.process.job.processes()).collect();
        pids.sort_unstable();
        pids.into_iter().map(|pid| Named { pid, name: program_of(pid).unwrap_or_default() }).collect()
    }

    /// Ends the [`leftovers`](Self::leftovers) (9) or sends a CTRL+C to the console of one of them (2 and 15); returns
    /// how many there were, 0 for any other signal.
    pub fn signal_leftovers(&mut self, key: Key, signal: i32) -> usize {
        let reached = self.whole(key).map(|run| {
            let living = run.process.job.living();
            let done = match signal {
                SIGKILL => run.process.job.terminate().is_ok(),
                SIGINT | SIGTERM => self.ctrl_c_to_any(&run.process.job),
                _ => false,
            };
            if done { living } else { 0 }
        });
        reached.sum()
    }

    /// The console of the run lives as long as one of its processes.
    fn ctrl_c_to_any(&self, job: &Job) -> bool {
        let Some(pid) = job.any_process() else { return false };
        open(pid).is_ok_and(|hold| {
            // Only if the job still lists it is the process that was opened the one that was meant.
            job.any_process() == Some(pid) && self.ctrl_c.ask(pid, hold).is_ok()
        })
    }

    /// Ends the watch over a run, and whatever still lives of it.
    pub fn forget(&mut self, key: Key) -> Option<Cgroup> {
        self.runs.remove(&key);
        // A part that still lives is on its own now.
        self.runs.retain(|_, part| part.part_of != Some(key) || !part.ended);
        self.runs.values_mut().filter(|part| part.part_of == Some(key)).for_each(|part| part.part_of = None);
        None
    }

    /// None: a job holds its processes together.
    pub fn cgroup(&self, key: Key) -> Option<&Cgroup> {
        let _ = key;
        None
    }

    /// The last resort at the daemon's end: terminates every process of every job until none is left. Returns how many
    /// there were. It waits, but at most 10 seconds.
    pub fn end_all(&mut self) -> usize {
        let deadline = Instant::now() + END_ALL_LIMIT;
        let ended = self.runs.values().map(|run| run.process.job.living()).sum();
        loop {
            let mut living = self.runs.values().filter(|run| run.process.job.living() > 0).peekable();
            if living.peek().is_none() || Instant::now() >= deadline {
                break;
            }
            for run in living {
                // A failure shows in the next look, and the job's end below is another try.
                let _ = run.process.job.terminate();
            }
            std::thread::sleep(END_ALL_PAUSE);
        }
        self.runs.clear();
        ended
    }
}

impl Run {
    /// How it ended, the first time that is asked after it has.
    fn take_exit(&mut self) -> Option<Exit> {
        if self.ended {
            return None;
        }
        // SAFETY: the handle is open; 0: only look.
        if unsafe { WaitForSingleObject(self.process.handle.as_raw_handle(), 0) } != WAIT_OBJECT_0 {
            return None;
        }
        let mut code = 0;
        // SAFETY: the handle is open and the pointer is to writable memory of the right type.
        let known = unsafe { GetExitCodeProcess(self.process.handle.as_raw_handle(), &raw mut code) } != 0;
        self.ended = true;
        self.wait = None;
        let terminated = known && self.terminated && code == TERMINATED;
        Some(Exit {
            oom: false,
            code: (known && !terminated).then(|| code.cast_signed()),
            signal: terminated.then_some(SIGKILL),
            core_dumped: false,
            max_rss_bytes: peak_memory(&self.process.handle),
            cpu: self.process.job.cpu().max(own_cpu(&self.process.handle)),
            effort: None,
        })
    }
}

/// The processor time, user and system, that a process itself has used. Not every system keeps accounts for jobs.
fn own_cpu(process: &OwnedHandle) -> Option<Duration> {
    let mut times = [FILETIME::default(); 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: the handle is open and the pointers are to writable memory of the right type.
    succeeded(unsafe { GetProcessTimes(process.as_raw_handle(), created, exited, kernel, user) }).ok()?;
    let hundreds = |time: &FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Some(Duration::from_nanos(hundreds(kernel).checked_add(hundreds(user))?.checked_mul(100)?))
}

/// The most memory that a process ever had in its working set; the system keeps it as long as the handle is open.
fn peak_memory(process: &OwnedHandle) -> Option<u64> {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).ok()?;
    let mut counters = PROCESS_MEMORY_COUNTERS { cb: size, ..Default::default() };
    // SAFETY: the handle is open and the pointer is to writable memory of the size given.
    let done = unsafe { K32GetProcessMemoryInfo(process.as_raw_handle(), &raw mut counters, size) } != 0;
    u64::try_from(counters.PeakWorkingSetSize).ok().filter(|&peak| done && peak > 0)
}

/// The file name of the program that a process runs.
fn program_of(pid: u32) -> Option<String> {
    let process = open(pid).ok()?;
    // MAX_PATH, which few programs' paths exceed; of those the name stays unknown.
    let mut buffer = [0_u16; 260];
    let mut length: u32 = 260;
    // SAFETY: the handle is open; `length` says how many characters `buffer` has room for, and receives how many were
    // written.
    let done = unsafe {
        QueryFullProcessImageNameW(
            process.as_raw_handle(),
            PROCESS_NAME_WIN32,
            buffer.as_mut_ptr(),
            &raw mut length,
        )
    } != 0;
    let path = String::from_utf16_lossy(buffer.get(..usize::try_from(length).ok()?).filter(|_| done)?);
    Some(path.rsplit('\\').next().unwrap_or_default().to_owned())
}

fn open(pid: u32) -> io::Result<OwnedHandle> {
    use std::os::windows::io::FromRawHandle;
    // SAFETY: the call takes numbers only.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened and belongs to no one else.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
