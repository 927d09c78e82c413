//! Makes the report of a crash from what the core decided and what the shell knows: the loop gathers the facts, the
//! recorder's thread words them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mcpd_config::ServiceSpec;
use mcpd_config::spec::CgroupLimit;
use mcpd_core::action::{Command, Crash};
use mcpd_core::verdict::{Failure, What};
use mcpd_core::{Exit, Mono};
use mcpd_proto::SCHEMA;
use mcpd_proto::crash::{
    Ancestor, CoreFile, CrashReport, HealthVerdict, Host, Pressure, ProcessName, Resources, RestartDecision,
};

use super::ready::awaited;
use crate::crash::changed::{self, Good};
use crate::crash::core_file::{self, Dump};
use crate::crash::fingerprint::{self, Death};
use crate::crash::lack::Lack;
use crate::crash::{CrashStore, reason, redact};
use crate::log::Tails;
use crate::probe::words::shortened;
use crate::recorder::Completion;
use crate::spawner::Secrets;
use crate::{sys, words};

/// The facts of a crash.
pub(super) struct Case {
    pub(super) crash: Crash,
    pub(super) name: Arc<str>,
    pub(super) spec: Arc<ServiceSpec>,
    pub(super) command: Vec<String>,
    pub(super) verdicts: Vec<HealthVerdict>,
    pub(super) ready_verdicts: Vec<HealthVerdict>,
    pub(super) status_text: Option<String>,
    pub(super) triggered: bool,
    pub(super) tails: Tails,
    pub(super) exit: Option<sys::Exit>,
    pub(super) spawn_error: Option<String>,
    pub(super) lack: Option<Lack>,
    pub(super) previous: Option<String>,
    /// The crashes since the last stable run, newest first.
    pub(super) lineage: Vec<Ancestor>,
    /// The last run that was good.
    pub(super) good: Option<Good>,
    /// What was executed.
    pub(super) program: Option<PathBuf>,
    /// What it held at the last look.
    pub(super) sample: Option<(sys::Sample, Mono)>,
    pub(super) secrets: Option<Secrets>,
    /// What outlived the main process, and what of the run had to be killed so far.
    pub(super) trees: (Vec<ProcessName>, Vec<ProcessName>),
    /// Where it ran; it stays until the report is written, if that takes no longer than it should.
    pub(super) cgroup: Option<sys::Cgroup>,
    pub(super) now: (Mono, Timestamp),
    pub(super) host: Arc<Host>,
}

/// What takes a service's secrets out of texts: those that its last run had in its environment, or, of a run that did
/// not come about, those that its configuration names.
pub(super) fn redactor(spec: &ServiceSpec, secrets: Option<&Secrets>) -> redact::Redactor {
    match secrets {
        // What a check sends may have changed since the start.
        Some(secrets) => redact::Redactor::clone(secrets).with_headers(spec),
        None => redact::Redactor::of(spec),
    }
}

/// The report, and what is still to be looked for should it be written.
pub(super) fn report(case: Case) -> (CrashReport, Completion) {
    let Case {
        crash,
        name,
        spec,
        command,
        verdicts,
        ready_verdicts,
        status_text,
        triggered,
        mut tails,
        exit,
        spawn_error,
        lack,
        previous,
        lineage,
        good,
        program,
        sample,
        secrets,
        trees: (left_behind, killed),
        cgroup,
        now,
        host,
    } = case;
    let at = |at: Mono| wall(now, at);
    let wall = |when: Mono| stamp(at(when));
    let uptime = crash.ended.since(crash.started);
    // Of what failed.
    let took = crash.beside.map_or(uptime, |beside| beside.took);
    let redactor = redactor(&spec, secrets.as_ref());
    // Before a reason is taken from them: a reason is cut, and half a secret is not recognised.
    redact::lines(&redactor, &mut tails.stderr);
    redact::lines(&redactor, &mut tails.stdout);
    let (exit_code, signal, core_dumped) = match crash.exit {
        Some(Exit::Code(code)) => (Some(code), None, false),
        Some(Exit::Signal { signal, core_dumped }) => (None, Some(words::signal(signal)), core_dumped),
        None => (None, None, false),
    };
    let kind = words::kind(crash.failure);
    let usage = cgroup.as_ref().map(sys::Cgroup::usage).unwrap_or_default();
    let reason = match crash.failure {
        Failure::Exit | Failure::Signal => {
            let number = match crash.exit {
                Some(Exit::Signal { signal, .. }) => Some(signal),
                Some(Exit::Code(_)) | None => None,
            };
            let end =
                reason::End { kind, command: &command, exit_code, signal: number, core_dumped, uptime: took };
            reason::exit(&end, &tails.stderr, &tails.stdout)
        }
        Failure::Oom => {
            let limit = spec.resources.cgroup.get(&CgroupLimit::MemoryMax);
            let limit = limit.map(|value| value.text(CgroupLimit::MemoryMax));
            let shortage = cgroup.as_ref().map_or(sys::Shortage::Unknown, sys::Cgroup::shortage);
            reason::oom(limit.as_deref(), &shortage, usage.memory_peak, uptime)
        }
        Failure::Health => {
            let retries = spec.health.as_ref().map_or(0, |health| health.retries);
            reason::health(retries, &verdicts)
        }
        Failure::Watchdog => reason::watchdog(spec.watchdog.filter(|_| !triggered), status_text.as_deref()),
        Failure::StartTimeout => {
            let awaited = match crash.command {
                Command::Exec(_) if spec.oneshot.is_none() => spec.ready.as_ref().map(awaited),
                Command::Exec(_)
                | Command::StartPre(_)
                | Command::StartPost(_)
                | Command::Reload(_)
                | Command::Stop(_)
                | Command::StopPost(_) => Some("the end of this command".to_owned()),
            };
            let seen = if awaited.is_some() { &ready_verdicts } else { &verdicts };
            reason::start_timeout(spec.start_timeout, awaited.as_deref(), seen)
        }
        Failure::Spawn if crash.beside.is_some() => {
            reason::not_run(spawn_error.as_deref().unwrap_or("could not be started"))
        }
        Failure::Spawn => reason::spawn(spawn_error.as_deref().unwrap_or("the system did not say why")),
        Failure::StopTimeout => reason::stop_timeout(spec.stop_timeout, &tails.stderr, &tails.stdout),
    };
    let reason = match &lack {
        Some(lack @ Lack::Port(..)) => reason::with(reason, &lack.text()),
        // It is the reason already.
        Some(Lack::Thing(_)) | None => reason,
    };
    let phase = match crash.command {
        Command::Exec(_) => None,
        Command::StartPre(_)
        | Command::StartPost(_)
        | Command::Reload(_)
        | Command::Stop(_)
        | Command::StopPost(_) => Some(words::key_of(crash.command).to_owned()),
    };
    let reason = match &phase {
        Some(phase) => reason::of_phase(phase, reason),
        None => reason,
    };
    let fingerprint = fingerprint::of(&Death {
        service: &name,
        kind,
        phase: phase.as_deref(),
        exit_code,
        signal: signal.as_deref(),
        cause: reason.cause.as_deref(),
        frames: &reason.frames,
    });
    let (decision, why) = words::decision(&crash.decision);
    let delay = match crash.decision.what {
        What::Restart(delay) => Some(delay),
        What::Park(_) | What::StayDown | What::AsAsked | What::GoOn => None,
    };
    let effort = exit.as_ref().and_then(|exit| exit.effort);
    let mut report = CrashReport {
        schema: SCHEMA,
        id: CrashStore::new_id(at(crash.ended)),
        service: name.to_string(),
        generation: crash.generation,
        time: wall(crash.ended),
        kind,
        exit_code,
        signal,
        core_dumped,
        core: None,
        reason: reason.text,
        cause: reason.cause.map(|cause| shortened(&cause, reason::MAX_REASON)),
        pid: crash.pid,
        started_at: crash.pid.is_some().then(|| wall(crash.started)),
        uptime_seconds: uptime.as_secs_f64(),
        command,
        working_directory: spec.working_directory.as_ref().map(|dir| dir.display().to_string()),
        restart: RestartDecision {
            attempt: crash.decision.attempt,
            max: crash.decision.max,
            delay_seconds: delay.map(|delay| delay.as_secs_f64()),
            next_at: delay.map(|delay| wall(crash.ended + delay)),
            decision: decision.into(),
            why,
        },
        stderr_tail: tails.stderr,
        stdout_tail: tails.stdout,
        health: verdicts,
        ready: ready_verdicts,
        status_text,
        phase,
        resources: Resources {
            max_rss_bytes: exit.as_ref().and_then(|exit| exit.max_rss_bytes),
            // The cgroup counts every process, the main one only itself and those that it waited for.
            cpu_seconds: usage.cpu.or(exit.as_ref().and_then(|exit| exit.cpu)).map(|cpu| cpu.as_secs_f64()),
            memory_peak: usage.memory_peak,
            oom_kills: usage.oom_kills,
            minor_faults: effort.map(|effort| effort.minor_faults),
            major_faults: effort.map(|effort| effort.major_faults),
            voluntary_switches: effort.map(|effort| effort.voluntary_switches),
            involuntary_switches: effort.map(|effort| effort.involuntary_switches),
            fds: sample.and_then(|(sample, _)| sample.fds).map(u64::from),
            threads: sample.and_then(|(sample, _)| sample.threads).map(u64::from),
            sampled_at: sample.map(|(_, at)| wall(at)),
        },
        left_behind,
        killed,
        changed: Vec::new(),
        previous,
        lineage,
        fingerprint: Some(fingerprint),
        coalesced: 0,
        host: Host::default(),
    };
    redact::report(&redactor, &mut report);
    let complete = move |report: &mut CrashReport| {
        let program = program.as_deref();
        report.core = crash.pid.filter(|_| core_dumped).and_then(|pid| core(pid, &spec, program));
        report.changed = good.map(|good| changed::since(&good, &spec, program)).unwrap_or_default();
        report.host = as_it_is(&host);
        for text in &mut report.changed {
            *text = redactor.text(text).into_owned();
        }
    };
    (report, Box::new(complete))
}

/// RFC 3339 UTC to the microsecond, as every document has it.
pub(super) fn stamp(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The wall clock's time of a monotonic instant near `now`.
pub(super) fn wall(now: (Mono, Timestamp), at: Mono) -> Timestamp {
    let (mono, time) = now;
    let moved = if at >= mono {
        jiff::SignedDuration::try_from(at.since(mono)).map(|ahead| time.checked_add(ahead))
    } else {
        jiff::SignedDuration::try_from(mono.since(at)).map(|back| time.checked_sub(back))
    };
    // Past the end of jiff's calendar nobody asks.
    moved.ok().and_then(Result::ok).unwrap_or(time)
}

fn core(pid: u32, spec: &ServiceSpec, program: Option<&Path>) -> Option<CoreFile> {
    let pattern = sys::core_pattern()?;
    let program = program.and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
    let own = std::env::current_dir().unwrap_or_default();
    let directory = spec.working_directory.as_deref().unwrap_or(&own);
    core_file::find(&Dump { pattern: &pattern, pid, program, directory })
}

/// The machine in this moment.
fn as_it_is(host: &Host) -> Host {
    let machine = sys::machine();
    let (cpu, memory, io) = (machine.cpu_pressure, machine.memory_pressure, machine.io_pressure);
    let pressure = Pressure { cpu, memory, io };
    Host {
        pressure: Some(pressure).filter(|pressure| *pressure != Pressure::default()),
        memory_available_bytes: machine.memory_available,
        memory_total_bytes: machine.memory_total,
        load: machine.load,
        ..host.clone()
    }
}

/// The machine, found out once.
pub(super) fn host() -> Host {
    Host {
        name: sys::host_name(),
        os: sys::os_release(),
        mcpd: env!("CARGO_PKG_VERSION").into(),
        ..Host::default()
    }
}
