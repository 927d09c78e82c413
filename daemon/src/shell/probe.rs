//! How is a health check carried out? HTTP and TCP on the blocking pool, which grows with what is in flight and never
//! with what is configured; a program as a process of its own, minded by a task.

use std::time::{Duration, Instant};

use mcpd_config::spec::Probe;
use mcpd_core::ServiceId;
use mcpd_core::action::Probing;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, oneshot};

use super::message::Message;
use super::ready::asks;
use super::take::run_id_of;
use super::{Owner, Shell};
use crate::probe::{self, Verdict};
use crate::spawner::{Job, Started};
use crate::sys;

/// The end of a probe program's output that is kept for its verdict.
const OUTPUT: usize = 4096;
/// `signal(7)`
const SIGKILL: i32 = 9;

/// A health probe's program, to the loop.
pub(super) struct Helper {
    started: Option<oneshot::Sender<Result<Option<sys::LogPipe>, String>>>,
    ended: Option<oneshot::Sender<(Option<i32>, Option<i32>)>>,
}

impl Shell {
    pub(super) fn probe(&mut self, service: ServiceId, generation: u64, number: u64, of: Probing) {
        let Some(entry) = self.entries.get(&service) else { return };
        let Some((asked, timeout)) = asks(&entry.spec, of) else { return };
        let spec = entry.spec.clone();
        let outbox = self.outbox.clone();
        let report = move |verdict| Message::Probed { service, generation, probe: number, of, verdict };
        // Only while the daemon ends there is nobody to tell.
        let tell = move |outbox: mpsc::Sender<Message>, verdict| drop(outbox.blocking_send(report(verdict)));
        match asked {
            Probe::Http(_) => {
                let check = match of {
                    Probing::Health => &entry.check,
                    Probing::Ready => &entry.ready_check,
                };
                let Some(check) = check.clone() else { return };
                tokio::task::spawn_blocking(move || tell(outbox, check.run()));
            }
            Probe::Tcp { address } => {
                let address = address.clone();
                tokio::task::spawn_blocking(move || tell(outbox, probe::tcp(&address, timeout)));
            }
            Probe::Exec { argv } => {
                let key = self.next_key;
                self.next_key += 1;
                let (started_tx, started) = oneshot::channel();
                let (ended_tx, ended) = oneshot::channel();
                let helper = Helper { started: Some(started_tx), ended: Some(ended_tx) };
                self.owners.insert(key, Owner::Helper(helper));
                self.spawning += 1;
                let run_id = run_id_of(&self.boot, key);
                self.spawner.submit(Job { key, spec, run_id, probe: Some(argv.clone()) });
                tokio::spawn(async move {
                    let verdict = mind(key, timeout, started, ended, &outbox).await;
                    let _ = outbox.send(report(verdict)).await;
                });
            }
        }
    }

    pub(super) fn helper_spawned(&mut self, key: sys::Key, result: Result<Started, String>) {
        let Some(Owner::Helper(helper)) = self.owners.get_mut(&key) else { return };
        let answer = match result {
            Ok(started) => {
                let spawned = started.spawned;
                self.children.adopt(key, spawned.process, &run_id_of(&self.boot, key));
                Ok(spawned.stdout)
            }
            Err(why) => Err(why),
        };
        let failed = answer.is_err();
        if let Some(started) = helper.started.take() {
            let _ = started.send(answer);
        }
        if failed {
            self.owners.remove(&key);
        }
    }

    pub(super) fn helper_exited(&mut self, key: sys::Key, exit: &sys::Exit) {
        // Whatever it left behind goes with it: probes come again and again.
        if self.children.leftovers(key) > 0 {
            self.children.signal_leftovers(key, SIGKILL);
        }
        self.children.forget(key);
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
    let output = match started.await {
        Ok(Ok(output)) => output,
        Ok(Err(why)) => return Verdict { ok: false, detail: format!("could not be started: {why}") },
        Err(_) => return Verdict { ok: false, detail: "mcpd is shutting down".into() },
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
    let (code, signal) = match tokio::time::timeout(timeout, &mut ended).await {
        Ok(end) => end.unwrap_or((None, None)),
        Err(_) => {
            timed_out = Some(timeout);
            let _ = outbox.send(Message::KillHelper(key)).await;
            ended.await.unwrap_or((None, None))
        }
    };
    let took = begun.elapsed();
    // Its output ends with it, unless somebody else holds the pipe: then what came so far has to do.
    let tail = tokio::time::timeout(Duration::from_millis(200), tail).await;
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

/// The blocking pool's size: so many probes can be in flight before one waits for another.
pub const IN_FLIGHT: usize = 4096;
