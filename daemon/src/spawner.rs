//! Starts processes, off the loop: `exec` may wait for a disk or a dead NFS server.
//!
//! A few threads take jobs from one queue, so that one `exec` that hangs does not keep the others from starting. What
//! can change between two starts is read here, at each start: the environment files, the place of the program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use mcpd_config::ServiceSpec;
use mcpd_config::spec::LogTarget;

use crate::crash::redact::is_secret_name;
use crate::sys;

/// What to start.
pub struct Job {
    /// Given back with the answer.
    pub key: sys::Key,
    /// The service whose program, environment and directory are used.
    pub spec: Arc<ServiceSpec>,
    /// `MCPD_RUN_ID` in the process's environment.
    pub run_id: String,
    /// A health probe's program instead of the service's own.
    pub probe: Option<Vec<String>>,
}

/// The variables of a process whose names look secret, with their values: what must not reach a report.
pub type Secrets = Arc<[(String, String)]>;

/// What came of a job.
pub struct Answer {
    /// The job's.
    pub key: sys::Key,
    /// The process, or why there is none.
    pub result: Result<Started, String>,
}

/// A process that runs.
pub struct Started {
    /// The process and its output.
    pub spawned: sys::Spawned,
    /// Where the program was found.
    pub program: PathBuf,
    /// When it was asked for, as [`sys::monotonic_ns`] says.
    pub began: u64,
    /// What of its environment must not be told.
    pub secrets: Secrets,
}

/// The queue to the threads.
#[derive(Clone)]
pub struct Spawner {
    jobs: mpsc::Sender<Job>,
}

/// Two: a second `exec` goes on while one waits for a disk. More do not start processes faster on small machines.
const THREADS: usize = 2;

impl Spawner {
    /// Starts the threads. `inherited` is the daemon's own environment; `answer` is called on one of the threads.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(
        inherited: Vec<(OsString, OsString)>,
        answer: impl Fn(Answer) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let inherited = Arc::new(inherited);
        let answer = Arc::new(answer);
        for number in 0..THREADS {
            let (queue, inherited, answer) = (queue.clone(), inherited.clone(), answer.clone());
            std::thread::Builder::new().name(format!("spawner-{number}")).stack_size(256 * 1024).spawn(
                move || {
                    loop {
                        let job = match queue.lock() {
                            Ok(queue) => queue.recv(),
                            Err(_) => break,
                        };
                        let Ok(job) = job else { break };
                        let result = run(&job, &inherited);
                        answer(Answer { key: job.key, result });
                    }
                },
            )?;
        }
        Ok(Self { jobs })
    }

    /// Queues a job.
    pub fn submit(&self, job: Job) {
        // The threads live as long as a sender does.
        let _ = self.jobs.send(job);
    }
}

fn run(job: &Job, inherited: &[(OsString, OsString)]) -> Result<Started, String> {
    let spec = &job.spec;
    let mut env = mcpd_config::service_environment(spec, inherited.iter().cloned())
        .map_err(|error| error.to_string())?;
    env.push(("MCPD_SERVICE".into(), spec.name.clone().into()));
    env.push(("MCPD_RUN_ID".into(), job.run_id.clone().into()));
    let argv = job.probe.as_ref().unwrap_or(&spec.exec);
    let Some(first) = argv.first() else { return Err("exec is empty".into()) };
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let program = mcpd_config::program::find(first, spec.working_directory.as_deref(), path)
        .map_err(|error| error.to_string())?;
    let kept = spec.log.target != LogTarget::None || spec.crash.tail_lines > 0;
    let output = || if kept || job.probe.is_some() { sys::Output::Pipe } else { sys::Output::Null };
    let secrets = env
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
        .filter(|(name, _)| is_secret_name(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let plan = sys::SpawnPlan {
        program: program.clone(),
        argv: argv.iter().map(OsString::from).collect(),
        env,
        working_directory: spec.working_directory.clone(),
        stdout: output(),
        stderr: output(),
        merge_stderr: job.probe.is_some(),
    };
    let began = sys::monotonic_ns();
    let spawned = sys::spawn(&plan).map_err(|error| error.message)?;
    Ok(Started { spawned, program, began, secrets })
}
