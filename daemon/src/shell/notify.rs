//! Who speaks for which service? What arrived on the notification socket becomes events, if its sender belongs to a
//! service that may send.

use mcpd_core::{Event, Mono, Said, ServiceId};
use serde_json::json;

use super::{Owner, Shell};
use crate::notify::{Word, parse};
use crate::scribe::Level;
use crate::sys::{self, Datagram};

/// Messages that are kept while some process has been started whose pid is not known yet.
const UNCLAIMED: usize = 64;
/// Messages of strangers are told of this often at most: anybody on the machine can send some.
const TELL_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// What the loop remembers of messages.
#[derive(Default)]
pub(super) struct Notices {
    /// Perhaps of a process that has just been started.
    unclaimed: Vec<Datagram>,
    /// Messages of strangers since the last time that was told.
    refused: u64,
    told: Option<Mono>,
}

impl Shell {
    /// Somebody has said something.
    pub(super) fn notified(&mut self, datagram: Datagram) {
        let Some((service, generation)) = self.speaker(&datagram) else {
            if self.spawning > 0 && self.notices.unclaimed.len() < UNCLAIMED {
                self.notices.unclaimed.push(datagram);
            } else {
                self.refuse(&datagram);
            }
            return;
        };
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let name = entry.name.clone();
        if datagram.truncated {
            let message = "what it said on its notification socket is too long: dropped".to_owned();
            self.tell_own(Level::Warn, Some(&name), "notify_too_long", message, json!({}));
            return;
        }
        for word in parse(&datagram.bytes) {
            let Some(entry) = self.entries.get_mut(&service) else { return };
            match word {
                Word::Said(said) => {
                    if said == Said::Trigger
                        && let Some(run) = entry.run(generation)
                    {
                        run.triggered = true;
                    }
                    self.events.push_back(Event::Notified { service, generation, said });
                }
                Word::Status(text) => {
                    entry.status_text = Some(entry.clean(&text)).filter(|text| !text.is_empty());
                }
                Word::MainPid(pid) => {
                    let told = entry.run(generation).is_none_or(|run| {
                        pid == run.pid.to_string() || std::mem::replace(&mut run.told_main_pid, true)
                    });
                    if !told {
                        let message = format!(
                            "said MAINPID={pid}, which is not followed: mcpd watches the process that it started"
                        );
                        let data = json!({ "main_pid": pid });
                        self.tell_of(Level::Warn, &name, "main_pid_refused", message, data);
                    }
                }
            }
        }
        // Only now: who waits for its barrier may go, and is not needed to prove who it is any more.
        drop(datagram.barrier);
    }

    /// A process that was started is known now: it may be the one that has spoken.
    pub(super) fn hear_unclaimed(&mut self) {
        for datagram in std::mem::take(&mut self.notices.unclaimed) {
            self.notified(datagram);
        }
    }

    /// The run that the sender belongs to, if that service may send.
    fn speaker(&self, datagram: &Datagram) -> Option<(ServiceId, u64)> {
        let key = self.children.run_of(datagram.pid?)?;
        match self.owners.get(&key)? {
            Owner::Service { service, generation } => {
                let may = self.entries.get(service)?.spec.notifies();
                may.then_some((*service, *generation))
            }
            Owner::Helper(_) | Owner::Around(_) => None,
        }
    }

    fn refuse(&mut self, datagram: &Datagram) {
        let now = Mono(sys::monotonic_ns());
        self.notices.refused += 1;
        if self.notices.told.is_some_and(|told| now.since(told) < TELL_EVERY) {
            return;
        }
        self.notices.told = Some(now);
        let count = std::mem::take(&mut self.notices.refused);
        let who = datagram.pid.map_or_else(|| "an unknown process".into(), |pid| format!("pid {pid}"));
        let more = if count > 1 { format!(" ({count} such messages)") } else { String::new() };
        let message = format!(
            "{who} wrote to the notification socket and belongs to no service that may, or has ended: dropped{more}"
        );
        let data = json!({ "pid": datagram.pid, "count": count });
        self.tell_own(Level::Warn, None, "notify_refused", message, data);
    }
}
