//! The table of every state x every event: `table/rows.txt`, written by thinking about what is right.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "of the notes only conditions are shown")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use mcpd_core::action::{Command, DownReason, Probing, StopCause, Whom};
use mcpd_core::event::{Change, Redefinition, RunEnd, Verb};
use mcpd_core::policy::{
    Commands, ExitSet, HealthPolicy, Oneshot, ReadyPolicy, Relations, RestartPolicy, WatchAction,
    WatchPolicy, When,
};
use mcpd_core::verdict::{Decision, Failure, ParkReason, ServiceResult, SoFar, What};
use mcpd_core::view::{Awaited, StateView};
use mcpd_core::{
    Action, Core, Event, Exit, Finding, Mono, Note, NoteId, NoteKind, Outcome, Policy, RequestId, Said,
    ServiceId, WaitingFor,
};

const ROWS: &str = include_str!("table/rows.txt");
const CAUSES: &str = include_str!("table/causes.txt");

/// Every event of the table, in its words.
const EVENTS: &str = "start stop restart reset signal spawned spawnfailed cannotstart exit0 exit1 segv oom lacks drained tree0 tree2 recorded ok \
                       fail unknown says reload ran ranbad notrun \
                       sready sreloading sstopping salive strigger sextend timeout live pend redefine files program remove shutdown stale";

const ID: ServiceId = ServiceId(1);
/// The note that the configuration comes with.
const CONFIGURATION: NoteId = NoteId(0);
/// The other service, `b.` in the table.
const OTHER: ServiceId = ServiceId(2);

fn policy(words: &[&str]) -> Policy {
    let has = |word: &str| words.contains(&word);
    let when = if has("never") {
        When::Never
    } else if has("always") {
        When::Always
    } else {
        When::OnFailure
    };
    Policy {
        commands: Commands {
            start_pre: if has("pre") { vec![false, true] } else { vec![] },
            oneshot: has("oneshot")
                .then(|| Oneshot { exec: vec![false, true, false], remain: has("remain") }),
            start_post: if has("startpost") { vec![true, false] } else { vec![] },
            reload: if has("reload") { vec![true, false] } else { vec![] },
            stop: if has("stopcmd") { vec![true, false] } else { vec![] },
            stop_post: if has("stoppost") { vec![true, false] } else { vec![] },
        },
        start_timeout: Duration::from_secs(if has("quick") { 10 } else { 90 }),
        stop_timeout: Duration::from_secs(20),
        stop_signal: if has("kill") { 9 } else { 15 },
        success: ExitSet { codes: vec![0], signals: vec![15] },
        restart: RestartPolicy {
            when,
            delay: Duration::from_secs(1),
            multiplier: 1.5,
            max_delay: Duration::from_secs(60),
            jitter: 0.0,
            reset_after: Duration::from_secs(60),
            max_restarts: if has("limit") { 1 } else { 3 },
            park_at_limit: !has("retry"),
            prevent: ExitSet { codes: vec![78], signals: vec![] },
        },
        ready: match words.iter().find(|word| ["ready", "told", "notify"].contains(word)) {
            Some(&"ready") => Some(ReadyPolicy::Asked { timeout: Duration::from_secs(5) }),
            Some(&"told") => Some(ReadyPolicy::Told),
            Some(_) => Some(ReadyPolicy::Notified),
            None => None,
        },
        watchdog: has("watchdog").then(|| Duration::from_secs(10)),
        health: has("health").then(|| HealthPolicy {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(40),
            restart: !has("report"),
        }),
        relations: Relations {
            requires: if has("needs") { vec![OTHER] } else { vec![] },
            binds_to: if has("bound") { vec![OTHER] } else { vec![] },
            wants: if has("wants") { vec![OTHER] } else { vec![] },
            after: if has("after") { vec![OTHER] } else { vec![] },
            conflicts: if has("rival") { vec![OTHER] } else { vec![] },
            ..Relations::default()
        },
        watch: (has("watch") || has("hup")).then(|| WatchPolicy {
            edition: 1,
            debounce: Duration::from_millis(300),
            action: match (has("hup"), has("reload")) {
                (true, _) => WatchAction::Signal(1),
                (false, true) => WatchAction::Reload,
                (false, false) => WatchAction::Restart,
            },
        }),
    }
}

#[derive(Clone)]
struct Bench {
    core: Core,
    now: Mono,
    policy: Policy,
    /// Conditions are shown.
    conditions: bool,
    /// What has been said.
    notes: BTreeMap<NoteId, Note>,
    /// The other one's.
    other: Policy,
    probe: u64,
    run: u64,
    request: u64,
}

impl Bench {
    fn new(words: &[&str]) -> Self {
        let mut core = Core::new(1, NoteId(1));
        core.handle(Mono(0), Event::Reloading { by: Some(CONFIGURATION) }, &mut Vec::new());
        core.handle(Mono(0), Event::Begun, &mut Vec::new());
        let parallel_starts = u32::from(words.contains(&"single"));
        core.handle(Mono(0), Event::Limit { parallel_starts }, &mut Vec::new());
        let on = |word: &str| if words.contains(&word) { vec![ID] } else { vec![] };
        let relations = Relations { requires: on("needed"), part_of: on("whole"), ..Relations::default() };
        let other = Policy { relations, ..policy(&[]) };
        let conditions = words.contains(&"conditions");
        let (now, policy) = (Mono(1_000_000_000), policy(words));
        let notes = BTreeMap::new();
        Self { core, now, policy, conditions, notes, other, probe: 1, run: 1, request: 0 }
    }

    /// Lets one event of the table happen and says what was asked for.
    fn happen(&mut self, word: &str) -> String {
        let mut out = Vec::new();
        if word == "timeout" {
            self.now = self.core.next_deadline().unwrap_or(self.now).max(self.now);
            self.core.handle_timeout(self.now, &mut out);
        } else if let Some(millis) = word.strip_prefix("sleep").and_then(|rest| rest.strip_suffix("ms")) {
            self.now = self.now + Duration::from_millis(millis.parse().unwrap());
        } else if let Some(seconds) = word.strip_prefix("sleep") {
            self.now = self.now + Duration::from_secs(seconds.parse().unwrap());
        } else if word == "stale" {
            for event in self.stale() {
                self.core.handle(self.now, event, &mut out);
            }
        } else {
            let event = match word.strip_prefix("b.") {
                Some(word) => self.event(OTHER, word),
                None => self.event(ID, word),
            };
            self.core.handle(self.now, event, &mut out);
        }
        for action in &out {
            if let Action::Probe { probe, .. } = action {
                self.probe = *probe;
            }
            if let Action::Run { number, .. } = action {
                self.run = *number;
            }
            if let Action::Note(note) = action {
                self.notes.insert(note.id, note.clone());
            }
        }
        let shown = out.iter().filter_map(|action| told(action).or_else(|| self.condition(action)));
        shown.collect::<Vec<_>>().join(" ")
    }

    /// In blocks that ask for it, the notes of conditions.
    fn condition(&self, action: &Action) -> Option<String> {
        let Action::Note(note) = action else { return None };
        match &note.kind {
            NoteKind::Opened(condition) if self.conditions => Some(format!("+{condition:?}").to_lowercase()),
            NoteKind::Closed { condition, after } if self.conditions => {
                Some(format!("-{condition:?} {}", span(*after)).to_lowercase())
            }
            _ => None,
        }
    }

    /// From the last note of the state back to where it began.
    fn chain(&self) -> String {
        let mut links = Vec::new();
        let mut next = self.core.view(ID).and_then(|view| view.last_note);
        while let Some(id) = next {
            let Some(note) = self.notes.get(&id) else {
                links.push(if id == CONFIGURATION { "configuration".into() } else { format!("{id:?}") });
                break;
            };
            let name = match &note.kind {
                NoteKind::Asked(asked) => format!("asked({})", verb(*asked)),
                kind => {
                    let text = format!("{kind:?}").to_lowercase();
                    text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
                }
            };
            links.push(if note.service == Some(OTHER) { format!("b.{name}") } else { name });
            next = note.cause;
        }
        links.join(" < ")
    }

    fn command(&mut self, service: ServiceId, verb: Verb) -> Event {
        self.request += 1;
        Event::Command { request: RequestId(self.request), service, verb }
    }

    fn event(&mut self, service: ServiceId, word: &str) -> Event {
        let generation = self.core.view(service).map_or(0, |view| view.generation);
        let own = if service == ID { self.policy.clone() } else { self.other.clone() };
        let define_left = |start, program_missing, left| Event::Define {
            service,
            policy: Box::new(own.clone()),
            start,
            program_missing,
            left,
        };
        let define = |start, program_missing| define_left(start, program_missing, 0);
        let exit = |exit| Event::Exited { service, generation, exit, oom: false };
        let oom = |exit| Event::Exited { service, generation, exit, oom: true };
        let probed = |finding| Event::Probed { service, generation, probe: self.probe, finding };
        let ran = |end| Event::RunEnded { service, generation, number: self.run, end };
        let said = |said| Event::Notified { service, generation, said };
        let to = |change, policy: Policy| Event::Redefine {
            service,
            to: Box::new(Redefinition { live: policy.clone(), policy, change }),
        };
        let with_health = |health| Policy { health, ..own.clone() };
        let with_ready = |ready| Policy { ready, ..own.clone() };
        match word {
            "define" => define(true, false),
            "define0" => define(false, false),
            "define!" => define(true, true),
            "define~" => define_left(true, false, 2),
            "define0~" => define_left(false, false, 2),
            "define!~" => define_left(true, true, 2),
            "start" => self.command(service, Verb::Start),
            "stop" => self.command(service, Verb::Stop),
            "restart" => self.command(service, Verb::Restart),
            "reset" => self.command(service, Verb::Reset),
            "reload" => self.command(service, Verb::Reload),
            "ran" => ran(RunEnd::Well),
            "ranbad" => ran(RunEnd::Badly(Some(Exit::Code(1)))),
            "ransegv" => ran(RunEnd::Badly(Some(Exit::Signal { signal: 11, core_dumped: true }))),
            "notrun" => ran(RunEnd::Badly(None)),
            "cannotrun" => ran(RunEnd::Cannot),
            "signal" => self.command(service, Verb::Signal(10, Whom::Main)),
            "spawned" => Event::Spawned { service, generation, pid: 100, at: self.now },
            "spawnfailed" => Event::SpawnFailed { service, generation, permanent: false },
            "cannotstart" => Event::SpawnFailed { service, generation, permanent: true },
            "exit0" => exit(Exit::Code(0)),
            "exit1" => exit(Exit::Code(1)),
            "exit78" => exit(Exit::Code(78)),
            "term" => exit(Exit::Signal { signal: 15, core_dumped: false }),
            "segv" => exit(Exit::Signal { signal: 11, core_dumped: true }),
            "oom" => oom(Exit::Signal { signal: 9, core_dumped: false }),
            // A shell that has seen what happened to its child, and one that does not care.
            "oom137" => oom(Exit::Code(137)),
            "oom0" => oom(Exit::Code(0)),
            "lacks" => Event::Lacks { service, generation },
            "drained" => Event::Drained { service, generation },
            "tree0" => Event::TreeLeft { service, generation, left: 0 },
            "tree2" => Event::TreeLeft { service, generation, left: 2 },
            "recorded" => Event::CrashRecorded { service, generation },
            "ok" => probed(Finding::Good),
            "fail" => probed(Finding::Bad),
            "unknown" => probed(Finding::Unknown),
            "files" => Event::FilesChanged { service },
            "program" => Event::ProgramChanged { service },
            "otherfiles" => {
                let watch = self.policy.watch.map(|watch| WatchPolicy { edition: 2, ..watch });
                let policy = Policy { watch, ..self.policy.clone() };
                to(Change::Settings, policy)
            }
            "says" => Event::Ready { service, generation },
            "sready" => said(Said::Ready),
            "sreloading" => said(Said::Reloading),
            "sstopping" => said(Said::Stopping),
            "salive" => said(Said::Alive),
            "strigger" => said(Said::Trigger),
            "sextend" => said(Said::Extend(Duration::from_secs(5))),
            "sextend100" => said(Said::Extend(Duration::from_secs(100))),
            "nowatchdog" => to(Change::Settings, Policy { watchdog: None, ..own.clone() }),
            "watchdog" => {
                let watchdog = policy(&["watchdog"]).watchdog;
                to(Change::Settings, Policy { watchdog, ..own.clone() })
            }
            "live" => to(Change::Settings, own.clone()),
            "redefine" => to(Change::Replace, own.clone()),
            "pend" => to(Change::Definition, own.clone()),
            // What runs has no health check, what is to run has one.
            "pendhealth" => {
                let (live, change) = (own.clone(), Change::Definition);
                let policy = with_health(policy(&["health"]).health);
                Event::Redefine { service, to: Box::new(Redefinition { policy, live, change }) }
            }
            // What is to run is a single command.
            "pendone" => {
                let (live, change) = (self.policy.clone(), Change::Definition);
                let policy = Policy { commands: Commands::default(), ..self.policy.clone() };
                Event::Redefine { service, to: Box::new(Redefinition { policy, live, change }) }
            }
            "nohealth" => to(Change::Settings, with_health(None)),
            "health" => to(Change::Settings, with_health(policy(&["health"]).health)),
            "noready" => to(Change::Settings, with_ready(None)),
            "ready" => to(Change::Settings, with_ready(policy(&["ready"]).ready)),
            "told" => to(Change::Settings, with_ready(policy(&["told"]).ready)),
            "remove" => Event::Remove { service },
            "shutdown" => Event::Shutdown,
            other => panic!("no such event: {other}"),
        }
    }

    /// News of runs that are long over, or never were.
    fn stale(&self) -> Vec<Event> {
        let service = ID;
        let newest = self.core.view(ID).map_or(0, |view| view.generation);
        let exit = Exit::Code(1);
        let of = |generation| {
            [
                Event::Spawned { service, generation, pid: 7, at: self.now },
                Event::SpawnFailed { service, generation, permanent: false },
                Event::SpawnFailed { service, generation, permanent: true },
                Event::Exited { service, generation, exit, oom: false },
                Event::Exited { service, generation, exit, oom: true },
                Event::Lacks { service, generation },
                Event::Drained { service, generation },
                Event::TreeLeft { service, generation, left: 3 },
                Event::TreeLeft { service, generation, left: 0 },
                Event::CrashRecorded { service, generation },
                Event::Ready { service, generation },
                Event::RunEnded { service, generation, number: self.run, end: RunEnd::Well },
                Event::Notified { service, generation, said: Said::Ready },
                Event::Notified { service, generation, said: Said::Stopping },
                Event::Notified { service, generation, said: Said::Trigger },
                Event::Probed { service, generation, probe: self.probe, finding: Finding::Bad },
                Event::Probed { service, generation, probe: self.probe, finding: Finding::Good },
                Event::Probed { service, generation, probe: self.probe, finding: Finding::Unknown },
            ]
        };
        let mut events: Vec<Event> = of(newest + 1).into();
        if newest > 0 {
            events.extend(of(newest - 1));
        }
        let other = ServiceId(77);
        events.push(Event::Exited { service: other, generation: newest, exit, oom: false });
        events.push(Event::Redefine {
            service: other,
            to: Box::new(Redefinition {
                policy: self.policy.clone(),
                live: self.policy.clone(),
                change: Change::Replace,
            }),
        });
        events.push(Event::Remove { service: other });
        events
    }

    fn state(&self) -> String {
        let Some(view) = self.core.view(ID) else { return "gone".to_owned() };
        let mut text = match view.state {
            StateView::Down(why) => format!("down({})", down(why)),
            StateView::Waiting(on) => format!("waiting({})", on.map_or_else(String::new, obstacle)),
            StateView::Leaving { cause, first } => {
                let first = first.map_or_else(String::new, |first| format!(" after {}", first.0));
                format!("leaving({}{first})", stop(cause))
            }
            StateView::Spawning => "spawning".to_owned(),
            StateView::Starting(Awaited::Health) => "starting".to_owned(),
            StateView::Starting(Awaited::Ready) => "unready".to_owned(),
            StateView::Starting(Awaited::End) => "running".to_owned(),
            StateView::Up => "up".to_owned(),
            StateView::Exited => "exited".to_owned(),
            StateView::Stopping(cause) => format!("stopping({})", stop(cause)),
            StateView::Ending { .. } => "ending".to_owned(),
            StateView::Backoff { failure } => format!("backoff({})", failure.map_or("clean", failed)),
            StateView::Parked(ParkReason::Limit { .. }) => "parked(limit)".to_owned(),
            StateView::Parked(ParkReason::Prevented(_)) => "parked(prevented)".to_owned(),
            StateView::Parked(ParkReason::ProgramMissing) => "parked(missing)".to_owned(),
            StateView::Parked(ParkReason::CannotStart) => "parked(cannotstart)".to_owned(),
            StateView::Parked(ParkReason::Lacking) => "parked(lacking)".to_owned(),
        };
        text.push(if view.wanted { '+' } else { '-' });
        if let Some(at) = self.core.next_deadline() {
            let _ = write!(text, " @{}", span(at.since(self.now)));
        }
        text
    }
}

fn span(span: Duration) -> String {
    if span.subsec_millis() == 0 { format!("{}s", span.as_secs()) } else { format!("{}ms", span.as_millis()) }
}

fn down(why: DownReason) -> String {
    match why {
        DownReason::NeverStarted => "never".to_owned(),
        DownReason::Stopped => "stopped".to_owned(),
        DownReason::StoppedWith(other) => format!("stopped with {}", other.0),
        DownReason::Conflict(other) => format!("conflict {}", other.0),
        DownReason::Finished(_) => "finished".to_owned(),
        DownReason::Failed(failure) => format!("failed {}", failed(failure)),
        DownReason::Reset => "reset".to_owned(),
        DownReason::Completed => "completed".to_owned(),
    }
}

fn obstacle(on: WaitingFor) -> String {
    match on {
        WaitingFor::Up(other) => format!("up {}", other.0),
        WaitingFor::Started(other) => format!("started {}", other.0),
        WaitingFor::Gone(other) => format!("gone {}", other.0),
        WaitingFor::Place => "place".to_owned(),
    }
}

fn stop(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Asked => "asked",
        StopCause::Restart => "restart",
        StopCause::Changed => "changed",
        StopCause::Removed => "removed",
        StopCause::Shutdown => "shutdown",
        StopCause::EarlierLife => "earlier life",
        StopCause::StoppedWith(_) => "stopped with",
        StopCause::RestartedWith(_) => "restarted with",
        StopCause::Unbound(_) => "unbound",
        StopCause::Conflict(_) => "conflict",
        StopCause::Watch => "watch",
        StopCause::Announced => "announced",
        StopCause::Failure(Failure::StartTimeout) => "start timeout",
        StopCause::Failure(failure) => failed(failure),
    }
}

fn failed(failure: Failure) -> &'static str {
    match failure {
        Failure::Exit => "exit",
        Failure::Signal => "signal",
        Failure::Oom => "oom",
        Failure::Health => "health",
        Failure::Watchdog => "watchdog",
        Failure::StartTimeout => "starttimeout",
        Failure::Spawn => "spawn",
        Failure::StopTimeout => "stoptimeout",
    }
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Restart => "restart",
        Verb::Reset => "reset",
        Verb::Reload => "reload",
        Verb::Signal(..) => "signal",
    }
}

fn follows(decision: Decision) -> String {
    match decision.what {
        What::Restart(delay) => format!("restart{} {}", decision.attempt, span(delay)),
        What::Park(_) => "park".to_owned(),
        What::StayDown => "staydown".to_owned(),
        What::AsAsked => "asked".to_owned(),
        What::GoOn => "goon".to_owned(),
    }
}

/// An action with whose it is.
fn told(action: &Action) -> Option<String> {
    let shown = show(action)?;
    let service = match action {
        Action::Spawn { service, .. }
        | Action::Signal { service, .. }
        | Action::Settle { service, .. }
        | Action::Look { service, .. }
        | Action::SignalTree { service, .. }
        | Action::Forget { service, .. }
        | Action::Probe { service, .. }
        | Action::Run { service, .. }
        | Action::EndRun { service, .. }
        | Action::Reply { service, .. }
        | Action::Removed { service } => Some(*service),
        Action::RecordCrash(crash) => Some(crash.service),
        Action::Note(_) | Action::Reload | Action::Ready | Action::Finished => None,
    };
    Some(if service == Some(OTHER) { format!("b.{shown}") } else { shown })
}

/// An action in the table's words; notes are left to the simulator, but for conditions.
fn show(action: &Action) -> Option<String> {
    Some(match action {
        Action::Spawn { generation, command: Command::Exec(0), .. } => format!("spawn{generation}"),
        Action::Spawn { generation, command: Command::Exec(at), .. } => format!("exec{at}:{generation}"),
        Action::Spawn { generation, command: Command::StartPre(at), .. } => format!("pre{at}:{generation}"),
        Action::Spawn { command, .. } => format!("never {command:?}"),
        Action::Run { number, command, so_far: None, .. } => format!("{}:{number}", named(*command)),
        Action::Run { number, command, so_far: Some(so_far), .. } => {
            format!("{}:{number}({})", named(*command), fared(*so_far))
        }
        Action::EndRun { number, .. } => format!("endrun{number}"),
        Action::Signal { signal, whom: Whom::Group, .. } => format!("sig{signal}"),
        Action::Signal { signal, whom: Whom::Main, .. } => format!("main{signal}"),
        Action::Settle { .. } => "settle".to_owned(),
        Action::Look { .. } => "look".to_owned(),
        Action::SignalTree { signal, .. } => format!("tree{signal}"),
        Action::RecordCrash(crash) if crash.beside.is_some() => {
            let command = named(crash.command);
            format!("report({command} {} {})", failed(crash.failure), follows(crash.decision))
        }
        Action::RecordCrash(crash) => {
            format!("report({} {})", failed(crash.failure), follows(crash.decision))
        }
        Action::Forget { .. } => "forget".to_owned(),
        Action::Probe { probe, of: Probing::Health, .. } => format!("probe{probe}"),
        Action::Probe { probe, of: Probing::Ready, .. } => format!("ready{probe}"),
        Action::Reply { request, outcome, .. } => format!("reply{}({})", request.0, answer(outcome)),
        Action::Note(_) => return None,
        Action::Reload => "reload".to_owned(),
        Action::Removed { .. } => "removed".to_owned(),
        Action::Ready => "ready".to_owned(),
        Action::Finished => "finished".to_owned(),
    })
}

fn named(command: Command) -> String {
    match command {
        Command::StartPre(at) => format!("pre{at}"),
        Command::Exec(at) => format!("exec{at}"),
        Command::StartPost(at) => format!("startpost{at}"),
        Command::Reload(at) => format!("reload{at}"),
        Command::Stop(at) => format!("stop{at}"),
        Command::StopPost(at) => format!("stoppost{at}"),
    }
}

fn fared(so_far: SoFar) -> String {
    let result = match so_far.result {
        ServiceResult::Success => "success",
        ServiceResult::ExitCode => "exit-code",
        ServiceResult::Signal => "signal",
        ServiceResult::CoreDump => "core-dump",
        ServiceResult::OomKill => "oom",
        ServiceResult::Timeout => "timeout",
        ServiceResult::Watchdog => "watchdog",
        ServiceResult::Resources => "resources",
    };
    match so_far.exit {
        Some(Exit::Code(code)) => format!("{result} {code}"),
        Some(Exit::Signal { signal, .. }) => format!("{result} sig{signal}"),
        None => result.to_owned(),
    }
}

fn answer(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Already => "already".to_owned(),
        Outcome::StartFailed { failure, decision, .. } => {
            format!("failed {} {}", failure.map_or("clean", failed), follows(*decision))
        }
        Outcome::NotUpInTime => "late".to_owned(),
        Outcome::Superseded { by } => format!("superseded {}", verb(*by)),
        Outcome::Blocked { on } => format!("blocked {}", on.0),
        Outcome::Removed => "removed".to_owned(),
        Outcome::NotRunning => "notrunning".to_owned(),
        Outcome::NoReload => "noreload".to_owned(),
        Outcome::ReloadFailed => "reloadfailed".to_owned(),
        Outcome::ShuttingDown => "shuttingdown".to_owned(),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

struct Row {
    line: usize,
    events: Vec<&'static str>,
    wanted: String,
}

struct Block {
    line: usize,
    name: &'static str,
    policy: Vec<&'static str>,
    setup: Vec<&'static str>,
    is: &'static str,
    rows: Vec<Row>,
}

const POLICIES: &[&str] = &[
    "never",
    "always",
    "limit",
    "health",
    "quick",
    "report",
    "kill",
    "retry",
    "ready",
    "told",
    "notify",
    "watchdog",
    "needs",
    "bound",
    "wants",
    "after",
    "rival",
    "needed",
    "whole",
    "single",
    "watch",
    "hup",
    "pre",
    "oneshot",
    "remain",
    "reload",
    "startpost",
    "stopcmd",
    "stoppost",
    "conditions",
];

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (at, line) in ROWS.lines().enumerate() {
        let (at, line) = (at + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix("== ") {
            let (name, setup) = header.split_once(" : ").unwrap_or_else(|| panic!("line {at}: {line}"));
            let words: Vec<&str> = name.split_whitespace().collect();
            // The name's first word may be one as well: `never`.
            let policy = words.iter().skip(1).copied().filter(|word| POLICIES.contains(word)).collect();
            let setup = setup.split_whitespace().collect();
            blocks.push(Block { line: at, name, policy, setup, is: "", rows: Vec::new() });
            continue;
        }
        let block = blocks.last_mut().unwrap();
        if let Some(is) = line.strip_prefix("is ") {
            block.is = is;
            continue;
        }
        let (events, wanted) = line.split_once("->").unwrap_or_else(|| panic!("line {at}: {line}"));
        let (state, actions) = wanted.split_once('|').unwrap_or_else(|| panic!("line {at}: {line}"));
        let wanted = format!("{} | {}", state.trim(), actions.trim());
        block.rows.push(Row { line: at, events: events.split_whitespace().collect(), wanted });
    }
    blocks
}

#[test]
fn every_state_and_every_event() {
    let mut wrong = String::new();
    let mut rows = 0;
    for block in blocks() {
        let mut bench = Bench::new(&block.policy);
        for event in &block.setup {
            bench.happen(event);
        }
        let is = bench.state();
        if is != block.is {
            let _ = writeln!(wrong, "line {}: {} is {is}, wanted {}", block.line, block.name, block.is);
            continue;
        }
        bench.request = 8;
        let try_row = |events: &[&str], wanted: &str, line: usize, wrong: &mut String| {
            let mut bench = bench.clone();
            let mut actions = String::new();
            for event in events {
                actions = bench.happen(event);
            }
            let found = format!("{} | {actions}", bench.state());
            if found != wanted {
                let _ = writeln!(
                    wrong,
                    "line {line}: {}, {}\n     wanted {wanted}\n      found {found}",
                    block.name,
                    events.join(" ")
                );
            }
        };
        for row in &block.rows {
            rows += 1;
            try_row(&row.events, &row.wanted, row.line, &mut wrong);
        }
        for event in EVENTS.split_whitespace() {
            if !block.rows.iter().any(|row| row.events == [event]) {
                rows += 1;
                try_row(&[event], &format!("{} | ", block.is), block.line, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(rows > 600, "{rows} rows");
}

/// What a person reads who asks why.
#[test]
fn every_state_leads_back_to_where_it_began() {
    let mut wrong = String::new();
    for (at, line) in CAUSES.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (setup, wanted) = line.split_once(" -> ").unwrap_or_else(|| panic!("line {}", at + 1));
        let (policy, events) = setup.split_once(':').unwrap_or_else(|| panic!("line {}", at + 1));
        let mut bench = Bench::new(&policy.split_whitespace().collect::<Vec<_>>());
        for event in events.split_whitespace() {
            bench.happen(event);
        }
        let found = format!("{} | {}", bench.state(), bench.chain());
        if found != wanted {
            let _ = writeln!(wrong, "line {}: {setup}\n     wanted {wanted}\n      found {found}", at + 1);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
