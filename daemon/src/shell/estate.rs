//! What does the next daemon have to know of all this?
//!
//! Before an action is performed, what the core has decided is in the ledger, and what the shell knows of the services that
//! it touched. Whoever takes over does not decide it again; what it has to ask for again is `Core::owed`.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use mcpd_config::ServiceSpec;
use mcpd_config::spec::DaemonSpec;
use mcpd_core::state::Delta;
use mcpd_core::{Action, Mono, Note, NoteId, ServiceId, State};
use mcpd_proto::crash::{Ancestor, HealthVerdict};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::Shell;
use super::entry::Entry;
use crate::ledger::Ledger;
use crate::scribe::Level;
use crate::sys;

/// The format of a ledger.
pub(super) const VERSION: u32 = 1;
/// The ledger's name with the keeper.
pub const LEDGER: &str = "ledger";

/// One line of the ledger.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Page<'a, F> {
    /// Everything, as it is now, and what was to be told last: not all of that is on disk.
    Begin {
        version: u32,
        configuration: Configuration,
        common: Common,
        core: State,
        services: Vec<F>,
        notes: Vec<Note>,
    },
    /// What has changed.
    Step {
        common: Common,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        configuration: Option<Configuration>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        core: Option<Delta<'a>>,
        #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
        services: Vec<F>,
        /// What is to be told now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<Cow<'a, Note>>,
    },
    /// A process of a run has ended, and is about to be reaped.
    Exit { key: sys::Key, exit: sys::Exit },
    /// A process has ended of which nobody knew yet whose it is.
    Unknown { dead: sys::Dead },
}

/// As it is written: what is known of services is text already.
type Written<'a> = Page<'a, Box<RawValue>>;

/// The configuration that is in force, its services apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Configuration {
    pub(super) source: PathBuf,
    pub(super) daemon: DaemonSpec,
    pub(super) files: Vec<PathBuf>,
    pub(super) watched: Vec<(PathBuf, Option<String>)>,
}

/// What concerns all services together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Common {
    pub(super) life: String,
    pub(super) next_key: sys::Key,
    pub(super) next_service: u32,
    pub(super) next_request: u64,
    pub(super) began: NoteId,
    pub(super) ending: Option<NoteId>,
    pub(super) config_changed: Option<NoteId>,
    pub(super) last_reload: Option<String>,
}

/// What is known of a service besides what the core decides by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) id: ServiceId,
    pub(super) name: String,
    /// `None`: as it was said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spec: Option<Box<ServiceSpec>>,
    pub(super) next: Option<NextFacts>,
    pub(super) origin: Option<String>,
    pub(super) missing: Option<String>,
    pub(super) program: Option<PathBuf>,
    pub(super) run: Option<RunFacts>,
    pub(super) verdicts: Vec<HealthVerdict>,
    pub(super) ready_verdicts: Vec<HealthVerdict>,
    pub(super) status_text: Option<String>,
    pub(super) spawn_error: Option<String>,
    pub(super) redefined: Vec<String>,
    pub(super) failure: Option<NoteId>,
    pub(super) lineage: Vec<Ancestor>,
    pub(super) stale: Option<String>,
}

/// A definition that waits for the end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NextFacts {
    pub(super) spec: Box<ServiceSpec>,
    pub(super) keys: Vec<String>,
    pub(super) program: Option<PathBuf>,
}

/// A run, and its main process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RunFacts {
    pub(super) key: sys::Key,
    pub(super) generation: u64,
    pub(super) main: bool,
    pub(super) began: Mono,
    pub(super) failed: bool,
    pub(super) triggered: bool,
    pub(super) exit: Option<sys::Exit>,
    pub(super) process: sys::Handed,
}

/// What is written down, and what of it is known to be.
#[derive(Default)]
pub(super) struct Estate {
    ledger: Option<Ledger>,
    /// It could not be written, and that was said.
    failing: bool,
    configuration: Option<Configuration>,
    /// By service: the definition, and a digest of the rest.
    written: BTreeMap<ServiceId, (Arc<ServiceSpec>, u64)>,
    /// What may have changed since.
    touched: Vec<ServiceId>,
    /// The last notes.
    recent: VecDeque<Note>,
}

/// So many notes at most are decided upon and not on disk yet, unless the disk hangs.
const RECENT: usize = 4096;

impl Shell {
    /// Writes down what the core has decided, before it is performed.
    pub(super) fn note_decisions(&mut self, actions: &[Action]) {
        if !self.line.has_successor() {
            return;
        }
        let notes = actions.iter().filter_map(|action| match action {
            Action::Note(note) => Some(note),
            _ => None,
        });
        self.estate.recent.extend(notes.clone().cloned());
        let over = self.estate.recent.len().saturating_sub(RECENT);
        self.estate.recent.drain(..over);
        // What the step before this one has performed is written down with this one; what this one performs, with the next.
        let mut touched = std::mem::take(&mut self.estate.touched);
        touched.extend(self.core.touched());
        touched.sort_unstable();
        touched.dedup();
        if !actions.is_empty() {
            self.estate.touched = self.core.touched().collect();
        }
        if self.estate.ledger.is_none() {
            // Nothing has been started before that. What an earlier life has left is known to this daemon alone: as long as
            // something of it is there, the next one has to find it, too, and begins anew.
            if self.core.has_begun() && self.inherited.is_settled() {
                self.begin_ledger();
            }
            return;
        }
        let services = match self.changed_facts(&touched) {
            Ok(services) => services,
            Err(error) => return self.ledger_fails(&error.into()),
        };
        let (common, configuration) = (self.common(), self.changed_configuration());
        let notes = notes.map(Cow::Borrowed).collect();
        let page = Written::Step { common, configuration, core: Some(self.core.delta()), services, notes };
        let page = serde_json::to_vec(&page);
        self.add_page(page);
    }

    /// Writes down what performing has changed in what the shell knows.
    pub(super) fn note_facts(&mut self) {
        if self.estate.ledger.is_some() {
            let touched = std::mem::take(&mut self.estate.touched);
            let services = match self.changed_facts(&touched) {
                Ok(services) => services,
                Err(error) => return self.ledger_fails(&error.into()),
            };
            if !services.is_empty() {
                let page = Written::Step {
                    common: self.common(),
                    configuration: None,
                    core: None,
                    services,
                    notes: Vec::new(),
                };
                self.add_page(serde_json::to_vec(&page));
            }
        }
        if self.estate.ledger.as_ref().is_some_and(Ledger::is_full) {
            self.begin_ledger();
        }
        for pid in self.buried.drain(..) {
            self.line.seen(pid);
        }
    }

    fn add_page(&mut self, page: serde_json::Result<Vec<u8>>) {
        let Some(ledger) = &mut self.estate.ledger else { return };
        if let Err(error) = page.map_err(std::io::Error::from).and_then(|page| ledger.add(page)) {
            self.ledger_fails(&error);
        }
    }

    /// What cannot be written down in whole is worse than nothing: the next daemon begins anew then.
    fn ledger_fails(&mut self, error: &std::io::Error) {
        self.estate = Estate { failing: true, ..Estate::default() };
        self.line.drop_kept(LEDGER);
        let message = format!(
            "what a next daemon has to know cannot be written down: {error}; should this one die, services are started anew"
        );
        self.tell_own(Level::Error, None, "ledger_failing", message, json!({}));
    }

    /// Everything, into a new ledger.
    pub(super) fn begin_ledger(&mut self) {
        if self.estate.failing {
            return;
        }
        let _ = self.core.delta();
        self.estate.written.clear();
        let ids: Vec<ServiceId> = self.entries.keys().copied().collect();
        let configuration = self.configuration();
        let page = self.changed_facts(&ids).and_then(|services| {
            serde_json::to_vec(&Written::Begin {
                version: VERSION,
                configuration: configuration.clone(),
                common: self.common(),
                core: self.core.state(),
                services,
                notes: self.estate.recent.iter().cloned().collect(),
            })
        });
        let begun = page.map_err(std::io::Error::from).and_then(Ledger::begin);
        match begun {
            Ok(ledger) => {
                self.line.keep(LEDGER, None, &[ledger.handle()]);
                self.estate.ledger = Some(ledger);
                self.estate.configuration = Some(configuration);
            }
            Err(error) => self.ledger_fails(&error),
        }
        // Of a thousand services it was some megabytes of text.
        sys::give_back_memory();
    }

    fn configuration(&self) -> Configuration {
        Configuration {
            source: self.source.path().to_path_buf(),
            daemon: self.config.daemon.clone(),
            files: self.config.files.clone(),
            watched: self.config_files.clone(),
        }
    }

    fn changed_configuration(&mut self) -> Option<Configuration> {
        let known = self.estate.configuration.as_ref();
        let same = known.is_some_and(|known| {
            known.daemon == self.config.daemon
                && known.files == self.config.files
                && known.watched == self.config_files
        });
        if same {
            return None;
        }
        self.estate.configuration = Some(self.configuration());
        self.estate.configuration.clone()
    }

    fn common(&self) -> Common {
        Common {
            life: self.boot.clone(),
            next_key: self.next_key,
            next_service: self.next_service,
            next_request: self.next_request,
            began: self.began,
            ending: self.ending,
            config_changed: self.config_changed,
            last_reload: self.last_reload.clone(),
        }
    }

    /// What is new of these.
    fn changed_facts(&mut self, services: &[ServiceId]) -> serde_json::Result<Vec<Box<RawValue>>> {
        let mut changed = Vec::new();
        for &id in services {
            let Some(entry) = self.entries.get(&id) else {
                self.estate.written.remove(&id);
                continue;
            };
            let mut facts = self.facts(id, entry);
            let mut text = serde_json::to_string(&facts)?;
            let mut digest = DefaultHasher::new();
            text.hash(&mut digest);
            let digest = digest.finish();
            let known = self.estate.written.get(&id);
            let same_spec = known.is_some_and(|(spec, _)| Arc::ptr_eq(spec, &entry.spec));
            if same_spec && known.is_some_and(|(_, known)| *known == digest) {
                continue;
            }
            if !same_spec {
                facts.spec = Some(Box::new(ServiceSpec::clone(&entry.spec)));
                text = serde_json::to_string(&facts)?;
            }
            self.estate.written.insert(id, (entry.spec.clone(), digest));
            changed.push(RawValue::from_string(text)?);
        }
        Ok(changed)
    }

    fn facts(&self, id: ServiceId, entry: &Entry) -> Facts {
        let run = entry.run.as_ref().and_then(|run| {
            Some(RunFacts {
                key: run.key,
                generation: run.generation,
                main: run.main,
                began: run.began,
                failed: run.failed,
                triggered: run.triggered,
                exit: run.exit.clone(),
                process: self.children.hand_over(run.key)?,
            })
        });
        Facts {
            id,
            name: entry.name.to_string(),
            spec: None,
            next: entry.next.as_ref().map(|next| NextFacts {
                spec: Box::new(ServiceSpec::clone(&next.spec)),
                keys: next.keys.clone(),
                program: next.program.clone(),
            }),
            origin: entry.origin.clone(),
            missing: entry.missing.clone(),
            program: entry.program.clone(),
            run,
            verdicts: entry.verdicts.iter().cloned().collect(),
            ready_verdicts: entry.ready_verdicts.iter().cloned().collect(),
            status_text: entry.status_text.clone(),
            spawn_error: entry.spawn_error.clone(),
            redefined: entry.redefined.clone(),
            failure: entry.failure,
            lineage: entry.lineage.iter().cloned().collect(),
            stale: entry.stale.clone(),
        }
    }
}

/// The end of a process, before the kernel forgets it.
pub(super) fn note_end(ledger: Option<&mut Ledger>, end: sys::Ending<'_>) {
    let Some(ledger) = ledger else { return };
    let page = match end {
        sys::Ending::Main(key, exit) => Written::Exit { key, exit: exit.clone() },
        sys::Ending::Unknown(dead) => Written::Unknown { dead: dead.clone() },
    };
    if let Ok(page) = serde_json::to_vec(&page) {
        // If this cannot be written, the next page cannot be either, and that is said.
        let _ = ledger.add(page);
    }
}

impl Estate {
    /// These were to be told by the daemon before this one.
    pub(super) fn remember(&mut self, notes: &VecDeque<Note>) {
        self.recent.extend(notes.iter().skip(notes.len().saturating_sub(RECENT)).cloned());
    }

    pub(super) fn ledger(&mut self) -> Option<&mut Ledger> {
        self.ledger.as_mut()
    }
}
