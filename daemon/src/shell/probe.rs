//! How is a health check carried out? HTTP and TCP by a task on this runtime; a program as a process of its own, minded
//! by a task. Whatever becomes of it, its verdict comes within the probe's timeout and [`PROBE_GRACE`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mcpd_config::ServiceSpec;
use mcpd_config::spec::Probe;
use mcpd_core::action::Probing;
use mcpd_core::event::PROBE_GRACE;
use mcpd_core::view::{Awaited, StateView};
use mcpd_core::{Finding, ServiceId};
use mcpd_proto::crash::HealthVerdict;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout as within;

use super::message::Message;
use super::ready::asks;
use super::report::stamp;
use super::take::run_id_of;
use super::{Owner, Shell};
use crate::probe::{self, HttpCheck, Verdict};
use crate::spawner::{Job, NotStarted, Own, Started};
use crate::sys;

/// The end of a probe program's output that is kept for its verdict.
const OUTPUT: usize = 4096;
/// `signal(7)`
const SIGKILL: i32 = 9;

/// How long a probe's program may take to start. It takes a millisecond, unless its disk hangs or the machine is busy
/// starting others.
const TO_START: Duration = Duration::from_secs(1);
/// How long a probe's program may take to end by SIGKILL. One that waits in the kernel takes longer, and has timed out
/// all the same.
const TO_DIE: Duration = Duration::from_millis(500);
/// How long the output of a program that has ended is read, when somebody else holds its pipe.
const TO_READ: Duration = Duration::from_millis(200);

const _: () = assert!(
    TO_START.as_millis() + TO_DIE.as_millis() + TO_READ.as_millis() < PROBE_GRACE.as_millis(),
    "the core stops waiting before the verdict comes"
);

/// A health probe's program, or another that runs beside a service or for mcpd itself, to the loop.
pub(super) struct Helper {
    /// Of which run it is, unless it is mcpd's own.
    of: Option<(ServiceId, u64)>,
    started: Option<oneshot::Sender<Result<Option<sys::LogPipe>, String>>>,
    ended: Option<oneshot::Sender<(Option<i32>, Option<i32>)>>,
}

impl Shell {
    pub(super) fn probe(&mut self, service: ServiceId, generation: u64, number: u64, of: Probing) {
        let Some(entry) = self.entries.get(&service) else { return };
        let Some((asked, timeout)) = asks(&entry.spec, of) else { return };
        let check = match of {
            Probing::Health => entry.check.clone(),
            Probing::Ready => entry.ready_check.clone(),
        };
        let (spec, asked) = (entry.spec.clone(), asked.clone());
        let report = move |verdict| Message::Probed { service, generation, probe: number, of, verdict };
        self.carry_out((service, generation), &spec, &asked, timeout, check, report);
    }

    /// Begins a probe of any kind; `report` makes the message that brings its verdict into the loop. `check` is that of
    /// an HTTP probe.
    fn carry_out(
        &mut self,
        (service, generation): (ServiceId, u64),
        spec: &Arc<ServiceSpec>,
        probe: &Probe,
        timeout: Duration,
        check: Option<Arc<HttpCheck>>,
        report: impl FnOnce(Verdict) -> Message + Send + 'static,
    ) {
        let outbox = self.outbox.clone();
        // Only while the daemon ends there is nobody to tell.
        match probe {
            Probe::Http(_) => {
                let Some(check) = check else { return };
                tokio::spawn(async move { drop(outbox.send(report(check.run().await)).await) });
            }
            Probe::Tcp { address } => {
                let address = address.clone();
                tokio::spawn(async move {
                    drop(outbox.send(report(probe::tcp(&address, timeout).await)).await);
                });
            }
            Probe::Exec { argv } => {
                self.help((service, generation), spec, argv.clone(), Vec::new(), timeout, report);
            }
        }
    }

    /// Runs a program beside a service, with its environment and `variables`, and tells how it ended.
    pub(super) fn help(
        &mut self,
        (service, generation): (ServiceId, u64),
        spec: &Arc<ServiceSpec>,
        argv: Vec<String>,
        variables: Vec<(String, String)>,
        timeout: Duration,
        report: impl FnOnce(Verdict) -> Message + Send + 'static,
    ) -> sys::Key {
        let key = self.helper(Some((service, generation)), timeout, report);
        let run_id = run_id_of(&self.boot, key);
        let spec = spec.clone();
        self.spawner.submit(Job {
            key,
            spec,
            run_id,
            command: None,
            probe: Some(argv),
            variables,
            part: None,
            speaks: false,
            founds: None,
        });
        key
    }

    /// Runs a program of mcpd's own, with `input` on its standard input, and tells how it ended.
    pub(super) fn help_own(
        &mut self,
        argv: Vec<String>,
        variables: Vec<(String, String)>,
        input: Vec<u8>,
        timeout: Duration,
        report: impl FnOnce(Verdict) -> Message + Send + 'static,
    ) {
        let key = self.helper(None, timeout, report);
        let run_id = run_id_of(&self.boot, key);
        self.spawner.submit_own(Own { key, argv, run_id, variables, input });
    }

    /// A program that is about to be started, and whoever minds it.
    fn helper(
        &mut self,
        of: Option<(ServiceId, u64)>,
        timeout: Duration,
        report: impl FnOnce(Verdict) -> Message + Send + 'static,
    ) -> sys::Key {
        let outbox = self.outbox.clone();
        let key = self.next_key;
        self.next_key += 1;
        let (started_tx, started) = oneshot::channel();
        let (ended_tx, ended) = oneshot::channel();
        let (started_tx, ended_tx) = (Some(started_tx), Some(ended_tx));
        self.owners.insert(key, Owner::Helper(Helper { of, started: started_tx, ended: ended_tx }));
        self.spawning += 1;
        tokio::spawn(async move {
            let verdict = mind(key, timeout, started, ended, &outbox).await;
            let _ = outbox.send(report(verdict)).await;
        });
        key
    }

    /// No verdict came of a probe at all.
    pub(super) fn probe_lost(&mut self, service: Option<ServiceId>) {
        let starts =
            service.and_then(|service| self.core.view(service)).is_some_and(|view| match view.state {
                StateView::Starting(Awaited::Ready) => true,
                StateView::Starting(Awaited::Health | Awaited::End)
                | StateView::Exited
                | StateView::Down(_)
                | StateView::Waiting(_)
                | StateView::Spawning
                | StateView::Up
                | StateView::Leaving { .. }
                | StateView::Stopping(_)
                | StateView::Ending { .. }
                | StateView::Backoff { .. }
                | StateView::Parked(_) => false,
            });
        let of = if starts { Probing::Ready } else { Probing::Health };
        if let Some(entry) = service.and_then(|service| self.entries.get_mut(&service)) {
            let Verdict { finding, detail } = Verdict::unknown("no verdict came");
            let time = stamp(Timestamp::now());
            let unknown = finding == Finding::Unknown;
            entry.remember(of, HealthVerdict { time, ok: false, unknown, detail });
        }
    }

    pub(super) fn helper_spawned(&mut self, key: sys::Key, result: Result<Started, NotStarted>) {
        let Some(Owner::Helper(helper)) = self.owners.get_mut(&key) else { return };
        let started = helper.started.take();
        match result {
            Ok(Started { spawned, .. }) => {
                self.children.adopt(key, spawned.process, &run_id_of(&self.boot, key));
                let waited_for = started.is_some_and(|started| started.send(Ok(spawned.stdout)).is_ok());
                if !waited_for {
                    // It took so long to start that nobody wants to know any more.
                    self.kill_helper(key);
                }
            }
            Err(NotStarted { why, permanent: _ }) => {
                self.owners.remove(&key);
                if let Some(started) = started {
                    let _ = started.send(Err(why));
                }
            }
        }
    }

    pub(super) fn helper_exited(&mut self, key: sys::Key, exit: &sys::Exit) {
        self.end_helpers_tree(key);
        if let Some(Owner::Helper(mut helper)) = self.owners.remove(&key)
            && let Some(ended) = helper.ended.take()
        {
            let _ = ended.send((exit.code, exit.signal));
        }
    }

    pub(super) fn kill_helper(&mut self, key: sys::Key) {
        if let Some(Owner::Helper(_)) = self.owners.get(&key) {
            // NotFound: it ended just now.
            let _ = self.children.signal(key, SIGKILL, sys::Whom::Group);
        }
    }

    /// The run is over or about to end: nobody wants to know any more what its probes find. One that is still being
    /// started is killed as soon as it has been.
    pub(super) fn kill_helpers_of(&mut self, service: ServiceId, generation: u64) {
        let mut running = Vec::new();
        for (&key, owner) in &mut self.owners {
            match owner {
                Owner::Helper(helper) if helper.of == Some((service, generation)) => {
                    if helper.started.take().is_none() {
                        running.push(key);
                    }
                }
                Owner::Helper(_) | Owner::Around(_) | Owner::Service { .. } => {}
            }
        }
        running.into_iter().for_each(|key| self.kill_helper(key));
    }
}

/// Waits for a probe's program, reads what it prints, ends it when its time is over.
async fn mind(
    key: sys::Key,
    timeout: Duration,
    started: oneshot::Receiver<Result<Option<sys::LogPipe>, String>>,
    mut ended: oneshot::Receiver<(Option<i32>, Option<i32>)>,
    outbox: &mpsc::Sender<Message>,
) -> Verdict {
    let begun = Instant::now();
    let output = match within(TO_START, started).await {
        Ok(Ok(Ok(output))) => output,
        Ok(Ok(Err(why))) => return Verdict::unknown(&why),
        Ok(Err(_)) => return Verdict::unknown("mcpd is shutting down"),
        Err(_) => return Verdict::unknown("the system has not started its program within 1 s"),
    };
    let (tail_tx, tail) = oneshot::channel();
    tokio::spawn(async move {
        let kept = match output.map(sys::async_pipe) {
            Some(Ok(pipe)) => last_bytes(pipe).await,
            Some(Err(_)) | None => Vec::new(),
        };
        let _ = tail_tx.send(kept);
    });
    let mut timed_out = None;
    let (code, signal) = match within(timeout, &mut ended).await {
        Ok(Ok(end)) => end,
        Ok(Err(_)) => return Verdict::unknown("mcpd is shutting down"),
        Err(_) => {
            timed_out = Some(timeout);
            let _ = outbox.send(Message::KillHelper(key)).await;
            within(TO_DIE, ended).await.ok().and_then(Result::ok).unwrap_or((None, None))
        }
    };
    let took = begun.elapsed();
    // Its output ends with it, unless somebody else holds the pipe: then what came so far has to do.
    let tail = within(TO_READ, tail).await;
    let tail = tail.ok().and_then(Result::ok).unwrap_or_default();
    probe::exec_verdict(code, signal, timed_out, took, &String::from_utf8_lossy(&tail))
}

async fn last_bytes(mut pipe: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..count]);
        let over = kept.len().saturating_sub(OUTPUT);
        kept.drain(..over);
    }
    kept
}
