//! What earlier lives of the daemon left: told to the core as part of each service's definition, its signals passed on, its
//! words given to people. Who is one of them is recognised elsewhere (`sys::Remains`), what becomes of them is decided by
//! the core.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mcpd_core::{Event, Policy, ServiceId};
use mcpd_proto::run::RunRecord;
use serde_json::{Map, Value, json};

use super::Shell;
use crate::leftovers::{Leftovers, Told};
use crate::scribe::Level;
use crate::sys::Leftover;
use crate::words;

/// For a service that is not configured any more and of whose runs nothing is written down: the defaults of the
/// configuration.
const STOP_SIGNAL: i32 = 15;
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of earlier lives when the loop begins.
#[derive(Default)]
pub struct Earlier {
    /// What they have written down.
    pub records: Vec<RunRecord>,
    /// What is left of them.
    pub found: Vec<Leftover>,
    /// Who minds it; `None`: nothing is left.
    pub minder: Option<Leftovers>,
    /// The last one did not come to an orderly end, since the machine was started.
    pub killed: bool,
    /// Why it may be that not all is known.
    pub trouble: Option<String>,
}

/// The same, once the services are defined.
#[derive(Default)]
pub(super) struct Inheritance {
    minder: Option<Leftovers>,
    lives: Vec<Value>,
    /// See [`Earlier::killed`].
    pub(super) killed: bool,
    /// Per service; gone once it has been ended.
    found: HashMap<ServiceId, Found>,
    /// Services that are not configured and exist until what is left of them has ended.
    ghosts: HashMap<ServiceId, Arc<str>>,
}

impl Inheritance {
    /// Nothing of an earlier life is there any more.
    pub(super) fn is_settled(&self) -> bool {
        self.found.is_empty()
    }
}

struct Found {
    name: Arc<str>,
    processes: Vec<Leftover>,
    killed: BTreeMap<u32, String>,
}

impl Shell {
    /// How many processes of which service are left.
    pub(super) fn inherit(
        &mut self,
        records: &[RunRecord],
        earlier: Earlier,
    ) -> BTreeMap<Arc<str>, Vec<Leftover>> {
        let Earlier { records: _, found, minder, killed, trouble } = earlier;
        self.inherited.killed = killed;
        if let Some(why) = trouble {
            self.tell_own(Level::Error, None, "leftovers_unknown", why, json!({}));
        }
        let mut lives: Vec<&RunRecord> = Vec::new();
        for record in records {
            // The line with which a life begins comes first, unless it is lost.
            if lives.iter().all(|known| known.life != record.life) {
                lives.push(record);
            }
        }
        let life = |record: &&RunRecord| json!({ "mcpd_pid": record.mcpd_pid, "began": record.time });
        self.inherited.lives = lives.iter().map(life).collect();
        self.inherited.minder = minder;
        let mut by_service: BTreeMap<Arc<str>, Vec<Leftover>> = BTreeMap::new();
        for leftover in found {
            by_service.entry(leftover.service.clone()).or_default().push(leftover);
        }
        by_service
    }

    /// These processes are a service's.
    pub(super) fn inherits(&mut self, service: ServiceId, name: Arc<str>, processes: Vec<Leftover>) -> u32 {
        let count = u32::try_from(processes.len()).unwrap_or(u32::MAX);
        if count > 0 {
            self.inherited.found.insert(service, Found { name, processes, killed: BTreeMap::new() });
        }
        count
    }

    /// A service that is not configured: it is defined to be removed, as what is left of it was told to be stopped.
    pub(super) fn define_ghost(&mut self, name: Arc<str>, processes: Vec<Leftover>, records: &[RunRecord]) {
        let run =
            records.iter().rev().filter_map(|record| record.run.as_ref()).find(|run| *run.service == *name);
        let (signal, timeout) = run.map_or((STOP_SIGNAL, STOP_TIMEOUT), |run| {
            let timeout = Duration::try_from_secs_f64(run.stop_timeout_seconds).unwrap_or(STOP_TIMEOUT);
            (run.stop_signal, timeout)
        });
        let service = self.new_service(&name);
        self.inherited.ghosts.insert(service, name.clone());
        let left = self.inherits(service, name, processes);
        self.events.push_back(Event::Define {
            service,
            policy: Box::new(Policy::only_to_stop(signal, timeout)),
            start: false,
            program_missing: false,
            left,
        });
        self.events.push_back(Event::Remove { service });
    }

    /// The name of a service that is not configured.
    pub(super) fn ghost_name(&self, service: ServiceId) -> Option<&Arc<str>> {
        self.inherited.ghosts.get(&service)
    }

    pub(super) fn forget_ghost(&mut self, service: ServiceId) -> Option<Arc<str>> {
        self.inherited.ghosts.remove(&service)
    }

    pub(super) fn signal_inherited(&mut self, service: ServiceId, signal: i32) {
        if let (Some(minder), Some(found)) = (&self.inherited.minder, self.inherited.found.get(&service)) {
            minder.signal(found.name.clone(), signal);
        }
    }

    pub(super) fn leftovers_told(&mut self, told: Told) {
        match told {
            Told::Left { service, left } => {
                let Some(service) = self.inherited_id(&service) else { return };
                self.events.push_back(Event::TreeLeft { service, generation: 0, left });
            }
            Told::Signalled { service, signal, whom } => {
                let Some(service) = self.inherited_id(&service) else { return };
                if let Some(found) = self.inherited.found.get_mut(&service).filter(|_| signal == SIGKILL) {
                    found.killed.extend(whom.into_iter().map(|process| (process.pid, process.name)));
                }
            }
            Told::Blind(why) => {
                let message = format!(
                    "not every process of an earlier life tells when it ends ({why}): they are looked at every 100 ms"
                );
                self.tell_own(Level::Warn, None, "leftovers_blind", message, json!({}));
            }
        }
    }

    fn inherited_id(&self, name: &str) -> Option<ServiceId> {
        self.inherited.found.iter().find(|(_, found)| &*found.name == name).map(|(id, _)| *id)
    }

    /// Nothing is left of it.
    pub(super) fn inherited_gone(&mut self, service: ServiceId) {
        if let Some(Found { name, processes, killed }) = self.inherited.found.remove(&service) {
            let count = words::processes(processes.len());
            let (level, message) = if killed.is_empty() {
                (Level::Info, format!("nothing is left of the earlier life of mcpd; {count} ended as asked"))
            } else {
                let names = words::process_names(killed.iter().map(|(pid, name)| (*pid, name.as_str())));
                (Level::Warn, format!("nothing is left of the earlier life of mcpd; SIGKILL ended {names}"))
            };
            let data = json!({ "killed": process_list(&mut killed.iter().map(|(pid, name)| (*pid, name.as_str()))) });
            self.tell_of(level, &name, "leftovers_gone", message, data);
            if self.inherited.found.is_empty() {
                self.inherited.minder = None;
                self.register.settled();
            }
        }
    }

    /// What the note about them says besides their number.
    pub(super) fn inherited_words(&self, service: ServiceId, data: &mut Map<String, Value>) -> String {
        let processes = self.inherited.found.get(&service).map_or(&[][..], |found| &found.processes);
        let named = || processes.iter().map(|process| (process.pid, process.name.as_str()));
        data.insert("processes".into(), process_list(&mut named()));
        data.insert("earlier".into(), json!(self.inherited.lives));
        let lives: Vec<String> = self
            .inherited
            .lives
            .iter()
            .filter_map(|life| Some(format!("pid {}, begun {}", life["mcpd_pid"], life["began"].as_str()?)))
            .collect();
        let (lives, names) = (lives.join("; "), words::process_names(named()));
        let which = if lives.is_empty() { String::new() } else { format!(" ({lives})") };
        format!("left by an earlier life of mcpd{which} and ended before anything else: {names}")
    }
}

/// `signal(7)`
const SIGKILL: i32 = 9;

/// Facts beside a sentence that names processes.
pub(super) fn process_list(processes: &mut dyn Iterator<Item = (u32, &str)>) -> Value {
    processes.map(|(pid, name)| json!({ "pid": pid, "name": name })).collect()
}
