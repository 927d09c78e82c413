//! Starts processes, off the loop: `exec` may wait for a disk or a dead NFS server.
//!
//! A few threads take jobs from one queue, so that one `exec` that hangs does not keep the others from starting; when all
//! of them hang, more are added. What can change between two starts is read here, at each start: the environment files,
//! the place of the program.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcpd_config::spec::{LogTarget, ReadySpec};
use mcpd_config::{ServiceEnvironment, ServiceSpec};
use serde::{Deserialize, Serialize};

use crate::crash::redact::Redactor;
use crate::keeper::Line;
use crate::watch::Seen;
use crate::{allowance, setup, sys};

/// What to start.
pub struct Job {
    /// Given back with the answer.
    pub key: sys::Key,
    /// The service whose program, environment and directory are used.
    pub spec: Arc<ServiceSpec>,
    /// `MCPD_RUN_ID` in the process's environment.
    pub run_id: String,
    /// One of the service's other commands instead of `exec`.
    pub command: Option<Vec<String>>,
    /// A health probe's program instead of the service's own.
    pub probe: Option<Vec<String>>,
    /// Variables for it on top of the service's.
    pub variables: Vec<(String, String)>,
    /// It is a part of a run that is there.
    pub part: Option<Part>,
    /// It may say things about the service.
    pub speaks: bool,
    /// It founds a run: its process is to be found when the daemon is killed before it has heard of it.
    pub founds: Option<Founding>,
}

/// Which run a process founds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The number of the service.
    pub service: u32,
    /// Which start of it.
    pub generation: u64,
    /// Its run id.
    pub run_id: String,
    /// Which of its streams are pipes, in the order of their descriptors: `out`, `err`.
    pub streams: Vec<String>,
    /// When it was asked for, as [`sys::monotonic_ns`] says.
    pub began: u64,
    /// The directory of its cgroup.
    pub cgroup: Option<PathBuf>,
}

/// Name of a run's pipes with the keeper.
#[must_use]
pub fn pipes_of(key: sys::Key) -> String {
    format!("{PIPES}{key:x}")
}

/// The key of such a name.
#[must_use]
pub fn key_of(name: &str) -> Option<sys::Key> {
    sys::Key::from_str_radix(name.strip_prefix(PIPES)?, 16).ok()
}

/// With what those names begin.
const PIPES: &str = "pipes ";

/// How a process that was just started is found without the daemon.
#[derive(Clone, Default)]
pub struct Trail {
    /// To the keeper, who holds the pipes.
    pub line: Line,
    /// Where the process itself writes its number.
    pub slots: Option<Arc<sys::Slots>>,
}

impl Trail {
    fn spawn(&self, job: &Job, plan: &sys::SpawnPlan) -> Result<sys::Spawned, sys::SpawnError> {
        let (Some(founding), Some(slots)) = (&job.founds, &self.slots) else { return sys::spawn(plan) };
        let announce = |stdout: Option<&sys::LogPipe>, stderr: Option<&sys::LogPipe>| {
            let mut founding = Founding {
                began: sys::monotonic_ns(),
                cgroup: plan.cgroup.as_ref().map(|cgroup| cgroup.path().to_path_buf()),
                ..founding.clone()
            };
            let mut handles = Vec::new();
            for (name, pipe) in [("out", stdout), ("err", stderr)] {
                if let Some(handle) = pipe.and_then(sys::pipe_handle) {
                    founding.streams.push(name.to_owned());
                    handles.push(handle);
                }
            }
            self.line.keep_now(&pipes_of(job.key), serde_json::to_string(&founding).ok(), &handles);
        };
        let spawned = sys::spawn_announced(plan, Some((slots, job.key)), &announce);
        if spawned.is_err() {
            self.line.drop_kept(&pipes_of(job.key));
        }
        spawned
    }
}

/// A program of mcpd's own: no service's user, directory, environment or limits.
pub struct Own {
    /// Given back with the answer.
    pub key: sys::Key,
    /// Program and arguments. It is looked for in mcpd's own PATH.
    pub argv: Vec<String>,
    /// `MCPD_RUN_ID` in its environment, by which what it leaves is recognised.
    pub run_id: String,
    /// Variables for it on top of mcpd's.
    pub variables: Vec<(String, String)>,
    /// What it reads on its standard input.
    pub input: Vec<u8>,
}

/// Something to start.
pub enum Work {
    /// For a service.
    Service(Job),
    /// For mcpd.
    Own(Own),
}

impl Work {
    fn key(&self) -> sys::Key {
        match self {
            Self::Service(job) => job.key,
            Self::Own(own) => own.key,
        }
    }
}

/// Of a run that is there.
pub struct Part {
    /// The run's, if it has one.
    pub cgroup: Option<sys::Cgroup>,
}

/// What takes the secrets of a process out of texts. Made at its start, by the thread that knows its environment.
pub type Secrets = Arc<Redactor>;

/// What came of a job.
pub struct Answer {
    /// The job's.
    pub key: sys::Key,
    /// The process, or why there is none.
    pub result: Result<Started, NotStarted>,
}

/// Why a job brought no process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    /// One sentence.
    pub why: String,
    /// Another try would fail as well until somebody changes something.
    pub permanent: bool,
}

/// A process that runs.
pub struct Started {
    /// The process and its output.
    pub spawned: sys::Spawned,
    /// Where the program was found.
    pub program: PathBuf,
    /// What that was just before the start.
    pub seen: Option<Seen>,
    /// When it was asked for, as [`sys::monotonic_ns`] says.
    pub began: u64,
    /// What of its environment must not be told.
    pub secrets: Secrets,
    /// The directory of its cgroup.
    pub cgroup: Option<PathBuf>,
    /// Why it has none although there are some.
    pub cgroup_trouble: Option<String>,
    /// What its processes may use together.
    pub allowances: Vec<sys::Allowance>,
}

/// The queue to the threads. Cheap to clone.
#[derive(Clone)]
pub struct Spawner {
    pool: Arc<Pool>,
}

/// At first two: a second `exec` goes on while one waits for a disk. More do not start processes faster on small
/// machines.
const THREADS: usize = 2;
/// When all threads have been at their job for longer than [`STUCK`], one more is added, up to this many.
const MOST_THREADS: usize = 64;
/// Starting a process takes about a millisecond. One that takes this long waits for something.
const STUCK: Duration = Duration::from_millis(500);

type Start = dyn Fn(&Work) -> Result<Started, NotStarted> + Send + Sync;

struct Pool {
    start: Box<Start>,
    answer: Box<dyn Fn(Answer) + Send + Sync>,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Work>,
    /// Since when each thread has been at its job; `None`: it waits for one.
    threads: Vec<Option<Instant>>,
}

impl Spawner {
    /// Starts the threads. `inherited` is the daemon's own environment, `notify` the socket on which services say
    /// things about themselves, or why there is none, `cgroups` where runs have theirs, or why there are none; `answer`
    /// is called on one of the threads.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(
        inherited: Vec<(OsString, OsString)>,
        notify: Result<PathBuf, String>,
        cgroups: Result<sys::Cgroups, String>,
        trail: Trail,
        answer: impl Fn(Answer) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let start = move |work: &Work| match work {
            Work::Service(job) => run(job, &inherited, &notify, cgroups.as_ref(), &trail),
            Work::Own(own) => run_own(own, &inherited),
        };
        Self::with(start, answer)
    }

    fn with(
        start: impl Fn(&Work) -> Result<Started, NotStarted> + Send + Sync + 'static,
        answer: impl Fn(Answer) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (start, answer) = (Box::new(start), Box::new(answer));
        let pool = Arc::new(Pool { start, answer, state: Mutex::default(), filled: Condvar::new() });
        for _ in 0..THREADS {
            Pool::add_thread(&pool, &mut pool.lock())?;
        }
        Ok(Self { pool })
    }

    /// Queues a job.
    pub fn submit(&self, job: Job) {
        self.queue(Work::Service(job));
    }

    /// Queues a program of mcpd's own.
    pub fn submit_own(&self, own: Own) {
        self.queue(Work::Own(own));
    }

    fn queue(&self, work: Work) {
        self.pool.lock().jobs.push_back(work);
        self.pool.filled.notify_one();
        self.relieve();
    }

    /// Adds a thread when jobs wait and all threads seem to hang.
    pub fn relieve(&self) {
        let mut state = self.pool.lock();
        let hangs = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() > STUCK);
        let wanted = !state.jobs.is_empty() && state.threads.iter().all(hangs);
        if wanted && state.threads.len() < MOST_THREADS {
            // Without room for it the jobs wait for the others, as they would have.
            let _ = Pool::add_thread(&self.pool, &mut state);
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_thread(pool: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let number = state.threads.len();
        let work = {
            let pool = pool.clone();
            move || pool.work(number)
        };
        std::thread::Builder::new().name(format!("spawner-{number}")).stack_size(256 * 1024).spawn(work)?;
        state.threads.push(None);
        Ok(())
    }

    /// For as long as the process lives.
    fn work(&self, number: usize) {
        let mut state = self.lock();
        loop {
            let Some(job) = state.jobs.pop_front() else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.threads[number] = Some(Instant::now());
            drop(state);
            let result = (self.start)(&job);
            (self.answer)(Answer { key: job.key(), result });
            state = self.lock();
            state.threads[number] = None;
        }
    }
}

/// What takes the secrets of its next run out of texts. Reads its environment files: not for the loop.
#[must_use]
pub fn secrets(spec: &ServiceSpec) -> Secrets {
    match mcpd_config::service_environment(spec, std::env::vars_os()) {
        Ok(ServiceEnvironment { variables, secrets }) => secrets_in(&variables, secrets, spec),
        Err(_) => Arc::new(Redactor::of(spec)),
    }
}

fn secrets_in(
    env: &[(OsString, OsString)],
    marked: impl IntoIterator<Item = impl AsRef<str>>,
    spec: &ServiceSpec,
) -> Secrets {
    let texts = env.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    Arc::new(Redactor::new(texts).with_headers(spec).hide(marked))
}

fn run(
    job: &Job,
    inherited: &[(OsString, OsString)],
    notify: &Result<PathBuf, String>,
    cgroups: Result<&sys::Cgroups, &String>,
    trail: &Trail,
) -> Result<Started, NotStarted> {
    let spec = &job.spec;
    let ServiceEnvironment { variables: mut env, secrets: marked } =
        mcpd_config::service_environment(spec, inherited.iter().cloned())
            .map_err(|error| NotStarted { why: error.to_string(), permanent: error.is_permanent() })?;
    env.push(("MCPD_SERVICE".into(), spec.name.clone().into()));
    env.push(("MCPD_RUN_ID".into(), job.run_id.clone().into()));
    if spec.notifies() && job.speaks {
        let socket = notify.as_deref();
        let socket = socket.map_err(|why| NotStarted { why: why.clone(), permanent: false })?;
        notifying(&mut env, spec, socket);
    }
    for (name, value) in &job.variables {
        env.retain(|(known, _)| *known != **name);
        env.push((name.into(), value.into()));
    }
    let argv = job.probe.as_ref().or(job.command.as_ref()).unwrap_or(&spec.exec);
    let Some(first) = argv.first() else {
        return Err(NotStarted { why: "exec is empty".into(), permanent: true });
    };
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let program = mcpd_config::program::find(first, spec.working_directory.as_deref(), path)
        .map_err(|error| NotStarted { why: error.to_string(), permanent: error.is_permanent() })?;
    let waited_for = matches!(spec.ready, Some(ReadySpec::Log { .. }));
    let kept = spec.log.target != LogTarget::None || spec.crash.tail_lines > 0 || waited_for;
    let output = || if kept || job.probe.is_some() { sys::Output::Pipe } else { sys::Output::Null };
    let secrets = secrets_in(&env, marked, spec);
    let mut plan = sys::SpawnPlan {
        program: program.clone(),
        argv: argv.iter().map(OsString::from).collect(),
        env,
        working_directory: spec.working_directory.clone(),
        stdin: None,
        stdout: output(),
        stderr: output(),
        merge_stderr: job.probe.is_some(),
        cgroup: None,
        setup: setup::of(spec),
    };
    let seen = Seen::of(&program);
    // A probe's program is no part of the run that it asks; a command beside a run is, and that has its limits.
    let founds = job.probe.is_none() && job.part.is_none();
    let allowances = if founds { allowance::of(spec) } else { Vec::new() };
    let mut cgroup_trouble = None;
    if let Some(part) = &job.part {
        plan.cgroup.clone_from(&part.cgroup);
    } else if founds {
        match cgroup(job, cgroups, &allowances) {
            Ok(cgroup) => plan.cgroup = cgroup,
            // A run without a cgroup is better than none, but not one without its limits.
            Err(NotStarted { why, .. }) if allowances.is_empty() => cgroup_trouble = Some(why),
            Err(refused) => return Err(refused),
        }
    }
    let began = sys::monotonic_ns();
    let mut spawned = trail.spawn(job, &plan);
    let mut short = false;
    if spawned.is_err()
        && let Some(cgroup) = plan.cgroup.take()
    {
        if let Err(error) = &spawned {
            short = too_little_memory(error, &cgroup, &allowances);
        }
        if job.part.is_none() {
            // Nothing of the program has ever been in it.
            let _ = cgroup.remove();
        }
        if let Err(error) = &spawned
            && error.step == sys::SpawnStep::Cgroup
            && allowances.is_empty()
        {
            cgroup_trouble = Some(error.message.clone());
            spawned = trail.spawn(job, &plan);
        }
    }
    let spawned = spawned.map_err(|error| {
        let permanent = short || error.is_permanent();
        let own = if short { "; its memory_max is too small to start it" } else { "" };
        NotStarted { why: error.message + own, permanent }
    })?;
    let cgroup = plan.cgroup.map(|cgroup| cgroup.path().to_path_buf());
    Ok(Started { spawned, program, seen, began, secrets, cgroup, cgroup_trouble, allowances })
}

fn run_own(own: &Own, inherited: &[(OsString, OsString)]) -> Result<Started, NotStarted> {
    let mut env = mcpd_config::own_environment(inherited.iter().cloned());
    for (name, value) in &own.variables {
        env.retain(|(known, _)| *known != **name);
        env.push((name.into(), value.into()));
    }
    env.push(("MCPD_RUN_ID".into(), own.run_id.clone().into()));
    let Some(first) = own.argv.first() else {
        return Err(NotStarted { why: "exec is empty".into(), permanent: true });
    };
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let program = mcpd_config::program::find(first, None, path)
        .map_err(|error| NotStarted { why: error.to_string(), permanent: error.is_permanent() })?;
    let input = sys::in_memory(&own.input)
        .map_err(|error| NotStarted { why: format!("no room for its input: {error}"), permanent: false })?;
    let plan = sys::SpawnPlan {
        program: program.clone(),
        argv: own.argv.iter().map(OsString::from).collect(),
        env,
        working_directory: None,
        stdin: Some(Arc::new(input)),
        stdout: sys::Output::Pipe,
        stderr: sys::Output::Null,
        merge_stderr: true,
        cgroup: None,
        setup: Vec::new(),
    };
    let began = sys::monotonic_ns();
    let spawned = sys::spawn(&plan)
        .map_err(|error| NotStarted { permanent: error.is_permanent(), why: error.message })?;
    Ok(Started {
        spawned,
        program,
        seen: None,
        began,
        secrets: Arc::default(),
        cgroup: None,
        cgroup_trouble: None,
        allowances: Vec::new(),
    })
}

/// Whether a start failed because its own limit leaves no memory for it: then it looks as if the system had none, or
/// the step before the program was killed. Another try would end the same way.
fn too_little_memory(error: &sys::SpawnError, cgroup: &sys::Cgroup, allowances: &[sys::Allowance]) -> bool {
    let limited = allowances.iter().any(|allowance| allowance.resource == sys::Resource::MemoryMax);
    let before = matches!(error.step, sys::SpawnStep::Process | sys::SpawnStep::Setup);
    limited && before && cgroup.met_its_limit()
}

/// The cgroup of a run, given what its processes may use before there are any. None where there are no cgroups.
fn cgroup(
    job: &Job,
    cgroups: Result<&sys::Cgroups, &String>,
    allowances: &[sys::Allowance],
) -> Result<Option<sys::Cgroup>, NotStarted> {
    let cgroups = match (cgroups, allowances.first()) {
        (Ok(cgroups), _) => cgroups,
        (Err(_), None) => return Ok(None),
        (Err(why), Some(first)) => {
            let (key, controller) = (first.key, first.resource.controller().name());
            let why = format!(
                "{key} needs the cgroup controller {controller}, and mcpd has no cgroups: {why}; {}",
                sys::CGROUP_ADVICE
            );
            return Err(NotStarted { why, permanent: true });
        }
    };
    let cgroup = cgroups.make(&job.spec.name, &job.run_id).map_err(|error| NotStarted {
        why: format!("no cgroup below {}: {error}", cgroups.path().display()),
        permanent: false,
    })?;
    cgroups.allow(&cgroup, allowances).map_err(|disallowed| {
        let _ = cgroup.remove();
        NotStarted { why: disallowed.message, permanent: disallowed.permanent }
    })?;
    Ok(Some(cgroup))
}

/// What a service needs to say things about itself. There is no WATCHDOG_PID: the pid is not known before the process is
/// there, and without that variable WATCHDOG_USEC is for whoever reads it (`sd_watchdog_enabled(3)`).
fn notifying(env: &mut Vec<(OsString, OsString)>, spec: &ServiceSpec, socket: &Path) {
    env.retain(|(name, _)| name != "NOTIFY_SOCKET" && name != "WATCHDOG_USEC" && name != "WATCHDOG_PID");
    env.push(("NOTIFY_SOCKET".into(), socket.into()));
    if let Some(every) = spec.watchdog {
        env.push(("WATCHDOG_USEC".into(), every.as_micros().to_string().into()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn job(key: sys::Key) -> Job {
        let text = "[daemon]\nstate_dir = \"/s\"\n[service.a]\nexec = [\"a\"]\n";
        let loaded = mcpd_config::load_text(Path::new("/a.toml"), text, &mcpd_config::Environment::default());
        let spec = Arc::new(loaded.unwrap().config.services["a"].clone());
        Job {
            key,
            spec,
            run_id: String::new(),
            command: None,
            probe: None,
            variables: Vec::new(),
            part: None,
            speaks: true,
            founds: None,
        }
    }

    #[test]
    fn jobs_go_on_while_every_thread_hangs() {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (answers, answered) = mpsc::channel();
        let hang = THREADS as u64;
        let start = move |job: &Work| {
            if job.key() < hang {
                let _ = held.lock().unwrap().recv();
            }
            Err(NotStarted { why: String::new(), permanent: false })
        };
        let spawner = Spawner::with(start, move |answer| {
            let _ = answers.send(answer.key);
        })
        .unwrap();
        for key in 0..=hang {
            spawner.submit(job(key));
        }
        // Once the others have hung for long enough, somebody's question is all it takes.
        let bound = Instant::now() + Duration::from_secs(20);
        let first = loop {
            spawner.relieve();
            match answered.recv_timeout(Duration::from_millis(20)) {
                Ok(key) => break key,
                Err(_) => assert!(Instant::now() < bound, "the last job waits for those that hang"),
            }
        };
        assert_eq!(first, hang);
        drop(release);
        let rest: Vec<_> = answered.iter().take(THREADS).collect();
        assert_eq!(rest.len(), THREADS);
    }
}
