//! How does a daemon go on where another one was killed?
//!
//! From the ledger the core is restored, and what the shell knew of each service; the services' processes, which are the
//! keeper's children now, are taken over, and their pipes read on. Then whatever was asked of somebody who died with the
//! old daemon is asked again (`Core::owed`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpd_config::Config;
use mcpd_core::action::{Crash, Probing};
use mcpd_core::view::StateView;
use mcpd_core::{Action, Core, Event, Mono, Note, NoteId, ServiceId, State};
use mcpd_proto::crash::CrashReport;

use super::entry::{Entry, Next, Run};
pub use super::estate::LEDGER;
use super::estate::{Common, Configuration, Facts, NextFacts, Page, RunFacts, VERSION};
use super::load::{Loaded, Source};
use super::owed::{log_of, printed};
use super::{Owner, Shell};
use crate::crash::CrashStore;
use crate::journal::{Filter, From};
use crate::keeper::Legacy;
use crate::spawner::{Founding, key_of, pipes_of};
use crate::{allowance, ledger, spawner, sys, words};

/// What a daemon that was killed has written down.
#[derive(Debug)]
pub struct Bequest {
    configuration: Configuration,
    common: Common,
    core: State,
    services: Vec<Facts>,
    /// Ends of processes that nobody had come to hear the start of.
    exits: BTreeMap<sys::Key, sys::Exit>,
    /// The same of those that nobody knew at all.
    unknown: Vec<sys::Dead>,
    /// What was decided to be told last, oldest first.
    notes: VecDeque<Note>,
}

/// More than a daemon numbers in one step, and not where that one's keys have their slots.
const UNKNOWN: u64 = (1 << 20) + 2048;
/// So long, all together, processes are looked for that were just made, and after which pause again: on a busy machine one may
/// have to wait for its first instruction.
const LOOKED_FOR: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);
/// So many notes may have been decided upon and not be on disk: those of some seconds of the worst storm.
const NOTES: usize = 64 * 1024;

impl Bequest {
    /// Reads a ledger.
    ///
    /// # Errors
    /// Why it cannot be gone on from.
    pub fn read(file: File) -> Result<Self, String> {
        let pages = ledger::pages(file).map_err(|error| error.to_string())?;
        let mut pages = pages.iter();
        let first = pages.next().ok_or("it is empty")?;
        Self::check_version(first)?;
        let page = |bytes: &[u8]| {
            serde_json::from_slice::<Page<'static, Facts>>(bytes).map_err(|error| error.to_string())
        };
        let Page::Begin { version: _, configuration, common, core, services, notes } = page(first)? else {
            return Err("it does not begin with its first page".into());
        };
        let mut facts: BTreeMap<ServiceId, Facts> =
            services.into_iter().map(|facts| (facts.id, facts)).collect();
        let mut bequest = Self {
            configuration,
            common,
            core,
            services: Vec::new(),
            exits: BTreeMap::new(),
            unknown: Vec::new(),
            notes: notes.into(),
        };
        let mut exits: BTreeMap<sys::Key, sys::Exit> = BTreeMap::new();
        for bytes in pages {
            match page(bytes)? {
                Page::Begin { .. } => return Err("it begins twice".into()),
                Page::Step { common, configuration, core, services, notes } => {
                    bequest.common = common;
                    bequest.notes.extend(notes.into_iter().map(Cow::into_owned));
                    let over = bequest.notes.len().saturating_sub(NOTES);
                    bequest.notes.drain(..over);
                    if let Some(configuration) = configuration {
                        bequest.configuration = configuration;
                    }
                    if let Some(delta) = core {
                        bequest.core.apply(delta);
                    }
                    for mut new in services {
                        let known = facts.remove(&new.id);
                        new.spec = new.spec.or(known.and_then(|known| known.spec));
                        facts.insert(new.id, new);
                    }
                }
                Page::Exit { key, exit } => drop(exits.insert(key, exit)),
                Page::Unknown { dead } => bequest.unknown.push(dead),
            }
        }
        let there: BTreeSet<ServiceId> = bequest.core.services().collect();
        facts.retain(|id, _| there.contains(id));
        if let Some(id) = there.iter().find(|id| facts.get(id).is_none_or(|facts| facts.spec.is_none())) {
            return Err(format!("it does not say what service {} is", id.0));
        }
        bequest.services = facts.into_values().collect();
        for run in bequest.services.iter_mut().filter_map(|facts| facts.run.as_mut()) {
            let noted = exits.remove(&run.key);
            run.exit = run.exit.take().or(noted);
        }
        bequest.exits = exits;
        Ok(bequest)
    }

    /// What a later version has written is told by its number, whatever else is in it.
    fn check_version(first: &[u8]) -> Result<(), String> {
        let page: serde_json::Value = serde_json::from_slice(first).map_err(|error| error.to_string())?;
        let version = page["begin"]["version"].as_u64().ok_or("it has no version")?;
        if version != u64::from(VERSION) {
            return Err(format!("it has format {version}, and this version of mcpd reads format {VERSION}"));
        }
        Ok(())
    }

    /// The configuration that was in force, whatever the files say by now.
    #[must_use]
    pub fn loaded(&self) -> (Source, Loaded) {
        let Configuration { source, daemon, files, .. } = self.configuration.clone();
        let named = |facts: &Facts| {
            // What is to be in force next is what the configuration says.
            let spec = facts.next.as_ref().map(|next| next.spec.clone()).or_else(|| facts.spec.clone())?;
            Some((facts.name.clone(), *spec))
        };
        let services = self.services.iter().filter_map(named).collect();
        let loaded = Loaded {
            config: Config { daemon, services, files },
            include_places: self
                .configuration
                .watched
                .iter()
                .filter_map(|(place, glob)| Some((place.clone(), glob.clone()?)))
                .collect(),
            origins: BTreeMap::new(),
            places: mcpd_config::Origins::default(),
            warnings: Vec::new(),
            missing: BTreeMap::new(),
            programs: BTreeMap::new(),
        };
        (Source::File(source), loaded)
    }

    /// The life that goes on: part of every run's id.
    #[must_use]
    pub fn life(&self) -> &str {
        &self.common.life
    }

    /// The core as it was. Notes are numbered from `first_note` on at least: what the dead daemon has told of last is not in
    /// the ledger.
    pub(super) fn resume(&self, first_note: NoteId) -> Core {
        let mut core = Core::restore(self.core.clone());
        core.number_notes_from(first_note);
        core
    }
}

impl Shell {
    /// Goes on. `legacy`: what else the keeper has kept.
    /// `first_note`: what was told before that is on disk.
    pub(super) fn take_over(
        &mut self,
        bequest: Bequest,
        first_note: NoteId,
        loaded: &Loaded,
        legacy: &mut Legacy,
        store: &CrashStore,
    ) {
        let Bequest { configuration: _, common, core: _, services, exits: of_starts, unknown, notes } =
            bequest;
        let mut owed = self.core.owed();
        // What the dead daemon has numbered since its last page is not in the ledger.
        (self.next_key, self.next_request) = (common.next_key + UNKNOWN, common.next_request + UNKNOWN);
        self.next_service = common.next_service;
        (self.ending, self.config_changed) = (common.ending, common.config_changed);
        self.last_reload = common.last_reload;
        let (mut runs, mut exits) = (Vec::new(), Vec::new());
        for facts in services {
            runs.extend(facts.run.as_ref().map(|run| (facts.id, run.key)));
            if let Some(run) = &facts.run {
                self.start_again_heard(facts.id, run, &mut owed);
                exits.extend(self.unheard(facts.id, run));
            }
            self.take_over_service(facts, legacy);
        }
        self.estate.remember(&notes);
        // What it says has lower numbers than what is told from now on.
        self.tell_again(notes, first_note);
        self.tell_beginning();
        self.watch_config(loaded);
        self.take_over_starts(&mut runs, &mut owed, of_starts, legacy);
        self.logs.taken_over();
        for (key, exit) in exits {
            // The kernel forgot it after that.
            self.children.is_missing(key);
            self.main_ended(key, exit);
        }
        // Not one who has only got the number of such a one.
        for dead in &unknown {
            if !self.children.is_fostered(dead.pid) {
                self.children.bury(dead);
            }
        }
        for dead in legacy.take_dead() {
            self.bury(&dead);
        }
        self.end_strays(&runs.iter().map(|(_, key)| *key).collect());
        // One that is not there has ended just now: the keeper knows how, or nobody does.
        self.missing = runs;
        self.line.sync();
        self.collect();
        // Before anything is started: what was found is known to the next one as well, should this one die here.
        self.begin_ledger();
        self.repeat(owed, store);
        // Whoever was in the middle of telling the core of a configuration does not come back to it.
        if self.core.is_held() {
            self.events.push_back(Event::Begun);
            self.reload();
        }
        self.remember_all_available();
        if self.core.is_shutting_down() {
            self.systemd.stopping();
        } else if self.core.is_ready() {
            self.systemd.ready(&self.summary());
        }
    }

    /// A start that the shell knew of, and that the core has not come to hear of: it hears of it now.
    fn start_again_heard(&mut self, service: ServiceId, run: &RunFacts, owed: &mut Vec<Action>) {
        if run.main && self.is_spawning(service, run.generation) {
            owed.retain(|action| !is_start_of(action, service, run.generation));
            let (generation, pid, at) = (run.generation, run.process.pid, run.began);
            self.events.push_back(Event::Spawned { service, generation, pid, at });
        }
    }

    fn is_spawning(&self, service: ServiceId, generation: u64) -> bool {
        let view = self.core.view(service);
        view.is_some_and(|view| view.generation == generation && view.state == StateView::Spawning)
    }

    /// An end that was seen, and that the core has not come to hear of.
    fn unheard(&self, service: ServiceId, run: &RunFacts) -> Option<(sys::Key, sys::Exit)> {
        let view = self.core.view(service)?;
        let runs = view.generation == run.generation && view.pid.is_some();
        let runs = runs || self.is_spawning(service, run.generation);
        run.exit.clone().filter(|_| runs).map(|exit| (run.key, exit))
    }

    fn take_over_service(&mut self, facts: Facts, legacy: &mut Legacy) {
        let Facts { id, name, spec: Some(spec), next, origin, missing, program, run, .. } = facts else {
            return;
        };
        let spec = Arc::new(*spec);
        self.names.insert(name, id);
        self.logs.define(id.0, &spec.name, &spec.log, spec.crash.tail_lines);
        let mut entry = Entry::new(spec.clone(), origin);
        entry.check = self.check(&spec, Probing::Health);
        entry.ready_check = self.check(&spec, Probing::Ready);
        entry.next = next.map(|NextFacts { spec, keys, program }| Next {
            check: self.check(&spec, Probing::Health),
            ready_check: self.check(&spec, Probing::Ready),
            spec: Arc::new(*spec),
            keys,
            program,
        });
        entry.missing = missing;
        entry.program = program;
        entry.verdicts = facts.verdicts.into();
        entry.ready_verdicts = facts.ready_verdicts.into();
        entry.status_text = facts.status_text;
        entry.spawn_error = facts.spawn_error;
        entry.redefined = facts.redefined;
        entry.failure = facts.failure;
        entry.lineage = facts.lineage.into();
        entry.stale = facts.stale;
        self.entries.insert(id, Box::new(entry));
        self.watch_files(id, &spec);
        if let Some(run) = run {
            self.take_over_run(id, run, legacy);
        }
    }

    fn take_over_run(&mut self, id: ServiceId, facts: RunFacts, legacy: &mut Legacy) {
        let RunFacts { key, generation, main, began, failed, triggered, exit, process } = facts;
        let (pid, start_ticks, cgroup) = (process.pid, process.start_ticks, process.cgroup.clone());
        let run_id = process.run_id.clone();
        // A command around the service is waited for by nobody any more, until its time is over.
        if main {
            self.owners.insert(key, Owner::Service { service: id, generation });
        }
        self.children.take_over(key, process);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let spec = entry.spec.clone();
        // As at its start, mcpd's own variables among them.
        let secrets = spawner::secrets(&spec);
        let mut run = Run::new(key, generation, pid, main, began, secrets);
        run.allowances = allowance::of(&spec);
        (run.failed, run.triggered, run.exit) = (failed, triggered, exit);
        entry.run = Some(run);
        let program = entry.program.clone();
        if let Some(start_ticks) = start_ticks {
            self.enter_register(id, &run_id, start_ticks, cgroup.as_deref());
        }
        if let Some(kept) = legacy.take(&pipes_of(key)) {
            let founding: Option<Founding> =
                kept.text.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let streams = founding.map(|founding| founding.streams).unwrap_or_default();
            let mut pipes = streams.iter().zip(kept.handles);
            let (mut stdout, mut stderr) = (None, None);
            for (stream, pipe) in &mut pipes {
                let pipe = sys::log_pipe(pipe).ok();
                if stream == "out" { stdout = pipe } else { stderr = pipe }
            }
            self.watch(id);
            self.logs.attach_again(id.0, generation, self.wall(began), stdout, stderr);
        }
        if let Some(program) = program.filter(|_| main) {
            self.watch_program(id, &program, None);
        }
    }

    /// Processes that were started, and nobody has come to hear of it: they are heard of now, and not started again.
    fn take_over_starts(
        &mut self,
        runs: &mut Vec<(ServiceId, sys::Key)>,
        owed: &mut Vec<Action>,
        mut exits: BTreeMap<sys::Key, sys::Exit>,
        legacy: &mut Legacy,
    ) {
        let until = Instant::now() + LOOKED_FOR;
        let known: BTreeSet<sys::Key> = runs.iter().map(|(_, key)| *key).collect();
        let is_start = |name: &str| key_of(name).is_some_and(|key| !known.contains(&key));
        for (name, kept) in legacy.take_all(is_start) {
            let founding = kept.text.as_deref().and_then(|text| serde_json::from_str::<Founding>(text).ok());
            let (Some(key), Some(founding)) = (key_of(&name), founding) else { continue };
            self.next_key = self.next_key.max(key + 1);
            let id = ServiceId(founding.service);
            let owed_at = owed.iter().position(|action| is_start_of(action, id, founding.generation));
            let (Some(owed_at), Some(pid)) = (owed_at, self.pid_of_start(key, until)) else {
                // Nothing came of it, or nobody wants it any more.
                self.line.drop_kept(&name);
                continue;
            };
            owed.remove(owed_at);
            legacy.put(name, kept);
            let exit = exits.remove(&key);
            let process = sys::Handed {
                pid,
                start_ticks: sys::start_ticks(pid),
                run_id: founding.run_id,
                cgroup: founding.cgroup,
                rss_floor_bytes: 0,
                ended: exit.is_some(),
            };
            let began = Mono(founding.began);
            let facts = RunFacts {
                key,
                generation: founding.generation,
                main: true,
                began,
                failed: false,
                triggered: false,
                exit: exit.clone(),
                process,
            };
            // What was to be in force with this start is.
            self.take_next(id);
            self.take_over_run(id, facts, legacy);
            runs.push((id, key));
            self.events.push_back(Event::Spawned {
                service: id,
                generation: founding.generation,
                pid,
                at: began,
            });
            if let Some(exit) = exit {
                self.main_ended(key, exit);
            }
        }
    }

    /// The process that was started by this key. One that has been made this moment may still have to say so.
    fn pid_of_start(&self, key: sys::Key, until: Instant) -> Option<u32> {
        let slots = self.slots.as_ref()?;
        while slots.find(key).is_none() && self.children.is_starting() && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
        slots.find(key)
    }

    /// What was decided to be told, and is not on disk.
    fn tell_again(&mut self, notes: VecDeque<Note>, first_note: NoteId) {
        self.performing = true;
        self.clock = self.now();
        for note in notes.into_iter().filter(|note| note.id >= first_note) {
            self.mark(&note);
            self.tell(&note);
        }
        self.performing = false;
        self.write_down();
    }

    /// What the dead daemon was about to start, or had run beside services, and would have waited for.
    fn end_strays(&mut self, runs: &BTreeSet<sys::Key>) {
        let ids: Vec<String> = runs.iter().map(|key| super::take::run_id_of(&self.boot, *key)).collect();
        self.children.end_strays(&self.boot, &ids);
    }

    /// Everything that the keeper knows is told.
    pub(super) fn end_missing(&mut self) {
        for (_, key) in std::mem::take(&mut self.missing) {
            if self.children.is_missing(key) {
                self.end_unseen(key);
            }
        }
    }

    /// Nobody can tell how it ended.
    fn end_unseen(&mut self, key: sys::Key) {
        let exit = sys::Exit {
            code: None,
            signal: None,
            core_dumped: false,
            oom: false,
            max_rss_bytes: None,
            cpu: None,
            effort: None,
        };
        self.main_ended(key, exit);
    }

    /// Asks again for what was waited for.
    fn repeat(&mut self, mut owed: Vec<Action>, store: &CrashStore) {
        owed.retain(|action| match action {
            Action::RecordCrash(crash) => !self.has_report(crash, store),
            _ => true,
        });
        for action in &owed {
            if let Action::RecordCrash(crash) = action {
                self.give_lines_back(crash);
            }
        }
        self.perform_all(&mut owed);
    }

    /// The dead daemon has written its report, and may have told of it, too.
    fn has_report(&mut self, crash: &Crash, store: &CrashStore) -> bool {
        let Some(entry) = self.entries.get_mut(&crash.service) else { return false };
        let (name, failure) = (entry.name.clone(), entry.failure);
        let ended = self.wall(crash.ended);
        let kind = words::kind(crash.failure);
        let near = store.around(&name, ended, NEAR);
        let is_it = |report: &CrashReport| {
            (report.generation, report.kind, report.pid) == (crash.generation, kind, crash.pid)
        };
        let Some(report) = near.into_iter().find(is_it) else { return false };
        let from = From::Time(ended.checked_sub(jiff::SignedDuration::from_secs(10)).unwrap_or(ended));
        let reader = self.scribe.reader();
        let told = reader.newest_in(from, None, &Filter::all().only(&["crash"]), TOLD).unwrap_or_default();
        let (service, generation, summary) = (crash.service, crash.generation, report.summary());
        if told.iter().all(|event| event.data["crash_id"] != report.id) {
            self.history.crashed(&summary);
            self.tell_crash(&summary, generation, failure, false);
        }
        // It is counted, and found to be the last one, with all that are on disk.
        if let Some(entry) = self.entries.get_mut(&service) {
            entry.descend(&summary);
            entry.last_lines = super::take::last_lines(&report.stderr_tail, &report.stdout_tail);
            entry.failure = None;
        }
        self.events.push_back(Event::CrashRecorded { service, generation });
        true
    }

    /// What it has printed was in the memory of the dead daemon, and is in its log.
    fn give_lines_back(&mut self, crash: &Crash) {
        let (from, until) = (self.wall(crash.started), self.now().1);
        let log_dir = self.config.daemon.log_dir.clone();
        let Some(entry) = self.entries.get_mut(&crash.service) else { return };
        let (name, log) = (entry.name.clone(), log_of(&entry.spec));
        let Some(run) = entry.run(crash.generation) else { return };
        let lines = log.map(|log| printed(&log_dir, &name, log, from, until));
        run.tails = lines.map(Arc::new);
    }
}

fn is_start_of(action: &Action, id: ServiceId, of: u64) -> bool {
    matches!(action, Action::Spawn { service, generation, .. } if (*service, *generation) == (id, of))
}

/// The time of a report and that of its end are taken one after the other.
const NEAR: Duration = Duration::from_secs(2);
/// So many events that tell of crashes are looked at.
const TOLD: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &str) -> Result<Bequest, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Bequest::read(file)
    }

    fn first(version: u32) -> String {
        let core = Core::new(1, NoteId(1)).state().to_text();
        format!(
            r#"{{"begin":{{"version":{version},"configuration":{{"source":"/a.toml","daemon":{{"control_socket":"/s","state_dir":"/d","log_dir":"/l","max_parallel_starts":0,"auto_reload":false}},"files":[],"watched":[]}},"common":{{"life":"l","next_key":7,"next_service":3,"next_request":0,"began":1,"ending":null,"config_changed":null,"last_reload":null}},"core":{core},"services":[],"notes":[]}}}}
"#
        )
    }

    /// What a daemon of the first format has written, byte by byte: whatever changes, it has to be read for ever.
    const FIRST: &str = include_str!("takeover/ledger-1.jsonl");

    #[test]
    fn a_ledger_of_the_first_format_is_gone_on_from() {
        let bequest = read(FIRST).unwrap();
        let (_, loaded) = bequest.loaded();
        let web = &loaded.config.services["web"];
        assert_eq!((web.restart.max_restarts, web.environment["PORT"].as_str()), (7, "8000"));
        let pid =
            bequest.services.iter().find(|facts| facts.name == "web").and_then(|facts| facts.run.as_ref());
        let core = bequest.resume(NoteId(1));
        let view = |name: &str| {
            let facts = bequest.services.iter().find(|facts| facts.name == name).unwrap();
            core.view(facts.id).unwrap()
        };
        assert_eq!(view("web").state, StateView::Up);
        assert_eq!(view("web").pid, pid.map(|run| run.process.pid));
        assert!(matches!(view("fails").state, StateView::Backoff { .. }));
        assert!(matches!(view("off").state, StateView::Down(_)));
        // Cut off anywhere it is read up to there, or not at all: the first page is needed.
        let first = FIRST.find('\n').unwrap() + 1;
        for cut in (first..FIRST.len()).step_by(997) {
            assert!(read(&FIRST[..cut]).is_ok(), "{cut}");
        }
        assert!(read(&FIRST[..first - 1]).is_err());
    }

    #[test]
    fn what_a_later_version_has_written_is_refused_by_its_number() {
        let refused = read(&first(VERSION + 1)).unwrap_err();
        assert!(refused.contains(&format!("format {}", VERSION + 1)), "{refused}");
        // Whatever else is in it.
        let refused = read("{\"begin\":{\"version\":9,\"all\":\"is different\"}}\n").unwrap_err();
        assert!(refused.contains("format 9"), "{refused}");
    }

    #[test]
    fn damage_is_no_panic() {
        assert!(read("").is_err());
        let good = first(VERSION);
        assert_eq!(read(&good).unwrap().life(), "l");
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        // A torn page at the end was not acted upon.
        assert!(read(&(good.clone() + "{\"step\":{\"com")).is_ok());
        for page in ["x\n", "{}\n", "{\"step\":{}}\n", &good] {
            assert!(read(&(good.clone() + page)).is_err(), "{page}");
        }
        let exit = r#"{"exit":{"key":5,"exit":{"code":3,"signal":null,"core_dumped":false,"oom":false,"max_rss_bytes":null,"cpu":null,"effort":null}}}"#;
        assert_eq!(read(&(good + exit + "\n")).unwrap().exits[&5].code, Some(3));
    }
}
