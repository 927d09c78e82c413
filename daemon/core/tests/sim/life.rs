//! What is known of one service, kept apart from the core: its last run, its promises, what it waits for.

use std::rc::Rc;
use std::time::Duration;

use mcpd_core::action::{Command, DownReason, Stale, StopCause, Then, UpBy};
use mcpd_core::event::{Change, SOON};
use mcpd_core::policy::{ReadyPolicy, WatchAction, When};
use mcpd_core::verdict::is_crash_signal;
use mcpd_core::view::Effect;
use mcpd_core::{Exit, Finding, Mono, NoteId, NoteKind, Policy, Said};

use super::around::Around;
use super::conditions::Conditions;

/// The run that ended last.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) at: Mono,
    /// The policy that the decision was taken by.
    pub(crate) policy: Rc<Policy>,
    /// What is left of it has this long to go.
    pub(crate) grace: Duration,
    /// A report has to be asked for.
    pub(crate) report_due: bool,
    /// It was said that there is one.
    pub(crate) noted: bool,
    pub(crate) report_asked: Option<Mono>,
    pub(crate) recorded: bool,
    pub(crate) forgotten: bool,
    /// Nobody asked for this end.
    pub(crate) unexpected: bool,
    /// There was no process, and another try would not mend that.
    pub(crate) permanent: bool,
    /// Its output is read, or not waited for any more.
    pub(crate) drained: bool,
    /// It was told in time that it lacks something; whether the policy then wants it parked.
    pub(crate) lacks: Option<bool>,
    /// The kernel killed something of it, and nothing else had failed before.
    pub(crate) oom: bool,
}

/// An announced restart.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    pub(crate) delay: Duration,
    pub(crate) until: Mono,
    pub(crate) attempt: u32,
    pub(crate) policy: Rc<Policy>,
}

/// The health of one run, counted independently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Health {
    pub(crate) started: Mono,
    pub(crate) seen_ok: bool,
    pub(crate) failures: u32,
    /// When the newest of them came: a run that was stable until then was a stable run.
    pub(crate) failed: Option<Mono>,
    pub(crate) out: Option<u64>,
    pub(crate) asked: u64,
    /// The newest probe could not be carried out.
    pub(crate) blind: bool,
    /// That was said.
    pub(crate) said_blind: bool,
}

/// What is known of changed files, counted independently.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Files {
    /// The first and the last change that nothing has followed from.
    pub(crate) changed: Option<(Mono, Mono)>,
    /// The first of them was the service's own work, for all one can tell.
    pub(crate) own: bool,
    /// When the newest process was asked for or signalled for a change.
    pub(crate) began: Option<Mono>,
    /// So many consequences in a row were of such changes.
    pub(crate) row: u32,
    /// So many consequences there were since somebody acted.
    pub(crate) all: u32,
    pub(crate) suspended: bool,
    /// What is newer than the process, and whether that was said.
    pub(crate) stale: Option<(Stale, bool)>,
    /// When the program last changed while a start was of no use or on its way.
    pub(crate) program: Option<Mono>,
}

/// The way to being ready.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start {
    /// Something has to be seen before it may be up.
    pub(crate) unready: bool,
    /// It has been seen.
    pub(crate) seen: bool,
    /// An answer to this probe is owed.
    pub(crate) out: Option<u64>,
}

/// One service.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) policy: Rc<Policy>,
    /// In force from the next start on.
    pub(crate) next_policy: Option<Rc<Policy>>,
    pub(crate) removing: bool,
    pub(crate) removed: bool,
    pub(crate) generation: u64,
    /// An answer to the newest spawn is owed.
    pub(crate) owed: bool,
    /// The core has been told that it runs, and not that it ended.
    pub(crate) alive: bool,
    /// When it was asked to end, why, and how long it has.
    pub(crate) stop: Option<(Mono, StopCause, Duration)>,
    /// It is to be asked to end when others are gone.
    pub(crate) leaving: Option<StopCause>,
    /// It was down or parked before this event.
    pub(crate) was_down: bool,
    /// It is to start, and something is in the way.
    pub(crate) held_back: bool,
    /// A oneshot that is down because it has done its work.
    pub(crate) done: bool,
    pub(crate) end: Option<End>,
    pub(crate) settled: bool,
    /// A start was asked for that goes before any decision.
    pub(crate) asked: bool,
    /// What is being spawned is to be replaced at once.
    pub(crate) outdated: bool,
    /// Only because another one is restarted.
    pub(crate) along: bool,
    /// And whatever runs.
    pub(crate) replaced: bool,
    /// What the newest change of its configuration should come to.
    pub(crate) foreseen: Option<Effect>,
    pub(crate) parked: bool,
    /// Since when down is wanted by somebody.
    pub(crate) down_since: Option<Mono>,
    /// The restart that is announced.
    pub(crate) wait: Option<Wait>,
    /// The one before it in the same row.
    pub(crate) previous: Option<Wait>,
    pub(crate) attempts: u32,
    /// Something started the counters again since the last announced restart.
    pub(crate) reset: bool,
    pub(crate) last_note: Option<NoteId>,
    pub(crate) health: Option<Health>,
    /// Which command runs, or was the last to.
    pub(crate) command: Command,
    /// It is meant to end.
    pub(crate) passes: bool,
    /// Its failure is ignored.
    pub(crate) forgiven: bool,
    /// The last of a oneshot's commands has ended well.
    pub(crate) completed: bool,
    /// Between two commands of a start that goes on.
    pub(crate) between: bool,
    /// It was, until this event.
    pub(crate) broken_off: bool,
    /// Up without a process.
    pub(crate) remains: bool,
    pub(crate) start: Start,
    /// The commands around it.
    pub(crate) around: Around,
    /// Its start ends no earlier.
    pub(crate) extended: Option<Mono>,
    /// Its time to end was over.
    pub(crate) time_is_up: bool,
    /// By when it has to say that it is alive.
    pub(crate) watchdog: Option<Mono>,
    /// It wants to be treated as if it had not.
    pub(crate) triggered: bool,
    /// When it was told that it runs.
    pub(crate) spawned: Option<Mono>,
    /// Since when it is up.
    pub(crate) up: Option<Mono>,
    /// The answer to the spawn takes long.
    pub(crate) slow: bool,
    /// Not even SIGKILL ended this run.
    pub(crate) deaf: bool,
    /// SIGKILL was sent to this run.
    pub(crate) killed: bool,
    /// A person sent SIGKILL with a command that is being carried out.
    pub(crate) person_signals: bool,
    /// It is down: no process, and none wanted.
    pub(crate) down: bool,
    pub(crate) files: Files,
    pub(crate) conditions: Conditions,
}

impl Life {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy: Rc::new(policy),
            next_policy: None,
            removing: false,
            removed: false,
            generation: 0,
            owed: false,
            alive: false,
            stop: None,
            leaving: None,
            was_down: true,
            held_back: false,
            done: false,
            end: None,
            settled: true,
            asked: false,
            outdated: false,
            along: false,
            replaced: false,
            foreseen: None,
            parked: false,
            down_since: None,
            wait: None,
            previous: None,
            attempts: 0,
            reset: true,
            last_note: None,
            health: None,
            command: Command::Exec(0),
            passes: false,
            forgiven: false,
            completed: false,
            between: false,
            broken_off: false,
            remains: false,
            start: Start::default(),
            around: Around::default(),
            extended: None,
            time_is_up: false,
            watchdog: None,
            triggered: false,
            spawned: None,
            up: None,
            slow: false,
            deaf: false,
            killed: false,
            person_signals: false,
            down: true,
            files: Files::default(),
            conditions: Conditions::default(),
        }
    }

    /// What it is run by is another policy from now on.
    pub(super) fn redefined(&mut self, now: Mono, policy: &Policy) {
        let health_changed = self.policy.health != policy.health;
        let ready_changed = self.policy.ready != policy.ready;
        let watchdog_changed = self.policy.watchdog != policy.watchdog;
        if self.policy.watch != policy.watch {
            self.files = Files { stale: self.files.stale, program: self.files.program, ..Files::default() };
        }
        self.policy = Rc::new(policy.clone());
        let posts = self.around.posts(self);
        let starts = self.alive && self.stop.is_none() && self.up.is_none() && !self.passes && !posts;
        if ready_changed && starts {
            let unready = self.policy.ready.is_some();
            self.start = Start { unready, ..Start::default() };
            self.rearm(if unready { self.spawned.unwrap_or(now) } else { now });
            self.up = (!unready && up_by_living(&self.policy)).then_some(now);
            self.arm_watchdog(now);
        }
        if health_changed && !self.start.unready && !self.passes && !posts {
            self.rearm(now);
            let at_once = self.policy.health.is_none() && self.policy.commands.start_post.is_empty();
            if self.alive && at_once && self.up.is_none() {
                self.up = Some(now);
                self.arm_watchdog(now);
            }
        }
        if watchdog_changed {
            self.arm_watchdog(now);
        }
    }

    pub(crate) fn asked_down(&mut self, now: Mono) {
        self.down_since.get_or_insert(now);
        if let Some((_, cause @ StopCause::Announced, _)) = &mut self.stop {
            *cause = StopCause::Asked;
        }
        // A start whose last commands run is abandoned.
        self.abandon_start();
    }

    pub(crate) fn abandon_start(&mut self) {
        if self.around.starts() && !self.alive {
            self.between = false;
            self.around.void();
        }
    }

    pub(crate) fn want_up(&mut self) {
        self.down_since = None;
        self.parked = false;
    }

    pub(super) fn effect(&self, change: Change) -> Effect {
        let waits = self.wait.is_some() || self.parked;
        let between = self.between && !self.settled;
        let goes_on = self.owed || (self.alive && self.stop.is_none()) || between || self.remains;
        match change {
            Change::Settings => Effect::Live,
            // It takes the new one when it is let, or when somebody wants it.
            _ if self.held_back || self.down => Effect::Live,
            _ if self.remains && self.down_since.is_some() => Effect::Live,
            Change::Definition if self.remains => Effect::Pending,
            Change::Replace if self.remains => Effect::Restart,
            _ if self.at_rest() && (self.parked || (waits && self.down_since.is_none())) => Effect::Start,
            _ if self.at_rest() || self.down_since.is_some() => Effect::Live,
            Change::Definition if goes_on => Effect::Pending,
            Change::Replace if goes_on => Effect::Restart,
            Change::Definition | Change::Replace => Effect::Start,
        }
    }

    pub(crate) fn counters_reset(&mut self) {
        self.attempts = 0;
        self.reset = true;
        self.previous = None;
        if let Some(end) = &mut self.end {
            end.policy = Rc::clone(&self.policy);
        }
    }

    /// Nothing of it runs as far as the core has been told.
    pub(crate) fn at_rest(&self) -> bool {
        !self.owed && !self.alive && self.settled
    }
}

/// Nothing says when it is up.
pub(super) fn up_by_living(policy: &Policy) -> bool {
    policy.commands.start_post.is_empty()
        && policy.health.as_ref().is_none_or(|health| health.start_period.is_zero())
}

impl Life {
    /// It is wanted again. If its stop has not begun, neither does the restart that was wanted before the stop was.
    pub(crate) fn stop_is_taken_back(&mut self) {
        if self.down_since.is_none() || self.stop.is_some() || !(self.alive || self.owed) {
            return;
        }
        if self.along {
            (self.along, self.outdated, self.replaced) = (false, false, false);
        }
        self.asked = self.outdated;
    }

    /// Somebody acted.
    pub(crate) fn lift(&mut self) {
        self.files.row = 0;
        self.files.all = 0;
        self.files.suspended = false;
    }

    /// A process that nobody has asked to end.
    pub(super) fn runs(&self) -> bool {
        self.alive && self.stop.is_none()
    }

    pub(super) fn files_are_newer(&mut self) {
        if self.runs() {
            self.files.stale.get_or_insert((Stale::Files, false));
        }
    }

    pub(super) fn files_changed(&mut self, now: Mono) {
        let down = self.down && !self.done;
        if self.policy.watch.is_none() || self.removing || self.removed || down {
            return;
        }
        if self.files.suspended {
            return self.files_are_newer();
        }
        let starting = self.owed || (self.alive && self.up.is_none() && self.stop.is_none());
        let soon = self.files.began.is_some_and(|began| now.since(began) < SOON);
        match &mut self.files.changed {
            Some((_, last)) => *last = now,
            None => {
                self.files.changed = Some((now, now));
                self.files.own = starting || soon;
            }
        }
    }

    pub(super) fn arm_watchdog(&mut self, now: Mono) {
        let runs = self.alive && self.stop.is_none() && self.up.is_some();
        self.watchdog = self.policy.watchdog.filter(|_| runs).map(|every| now + every);
    }

    pub(super) fn said(&mut self, now: Mono, said: Said) {
        match said {
            Said::Ready => {
                let waited_for = self.policy.ready == Some(ReadyPolicy::Notified);
                self.start.seen |= waited_for && self.start.unready && self.stop.is_none();
            }
            Said::Reloading | Said::Stopping => {}
            Said::Alive => {
                if self.watchdog.is_some() {
                    self.arm_watchdog(now);
                }
            }
            Said::Trigger => self.triggered = self.watchdog.is_some(),
            Said::Extend(by) => {
                let at = now + by;
                if self.time_is_up || self.around.stops() {
                    return;
                }
                if let Some((since, _, patience)) = &mut self.stop {
                    *patience = at.since(*since).max(*patience);
                } else if self.up.is_none() {
                    self.extended = self.extended.max(Some(at));
                } else if let Some(watchdog) = &mut self.watchdog {
                    *watchdog = at.max(*watchdog);
                }
            }
        }
    }

    pub(super) fn rearm(&mut self, now: Mono) {
        let asked = self.health.map_or(0, |health| health.asked);
        self.health = Some(Health {
            started: now,
            seen_ok: false,
            failures: 0,
            failed: None,
            out: None,
            asked,
            blind: false,
            said_blind: false,
        });
    }

    pub(super) fn judged(&mut self, now: Mono, probe: u64, finding: Finding) {
        let (Some(health), Some(policy)) = (&mut self.health, &self.policy.health) else { return };
        if health.out != Some(probe) {
            return;
        }
        health.out = None;
        health.blind = finding == Finding::Unknown;
        match finding {
            Finding::Good => {
                health.seen_ok = true;
                health.failures = 0;
            }
            Finding::Bad if health.seen_ok || now >= health.started + policy.start_period => {
                health.failures += 1;
                health.failed = Some(now);
            }
            Finding::Bad | Finding::Unknown => {}
        }
    }

    /// A command that is meant to end has ended well: what comes next?
    pub(super) fn passed(&self, exit: Option<Exit>, oom: bool) -> bool {
        let well = !oom && exit.is_some_and(|exit| self.policy.success.holds(exit));
        self.passes && self.stop.is_none() && (well || self.forgiven)
    }

    pub(super) fn forgives(&self) -> bool {
        let commands = &self.policy.commands;
        match self.command {
            Command::StartPre(at) => commands.start_pre.get(at) == Some(&true),
            Command::StartPost(_) | Command::Reload(_) | Command::Stop(_) | Command::StopPost(_) => false,
            Command::Exec(at) => {
                commands.oneshot.as_ref().is_some_and(|oneshot| oneshot.exec.get(at) == Some(&true))
            }
        }
    }

    pub(super) fn was_last(&self) -> bool {
        let oneshot = self.policy.commands.oneshot.as_ref();
        match (self.command, oneshot) {
            (Command::Exec(at), Some(oneshot)) => at + 1 >= oneshot.exec.len(),
            (Command::StartPre(_) | Command::StartPost(_) | Command::Reload(_), _) => false,
            (Command::Stop(_) | Command::StopPost(_), _) | (Command::Exec(_), None) => false,
        }
    }

    pub(super) fn ended(&mut self, now: Mono, exit: Option<Exit>, oom: bool) {
        if self.around.starts() {
            self.around.void();
        }
        if self.passed(exit, oom) {
            self.end = Some(End {
                at: now,
                policy: Rc::clone(&self.policy),
                grace: self.policy.stop_timeout,
                report_due: false,
                noted: false,
                report_asked: None,
                recorded: false,
                forgotten: false,
                permanent: false,
                unexpected: false,
                // It is ignored, like any other failure of such a command.
                oom: false,
                drained: false,
                lacks: None,
            });
            self.completed = self.was_last();
            self.between = self.down_since.is_none() && !self.asked;
            return;
        }
        let cause = self.stop.map(|(_, cause, _)| cause);
        let unexpected = matches!(cause, None | Some(StopCause::Failure(_) | StopCause::Announced));
        let report_due = match (exit, cause) {
            (None, _) | (_, Some(StopCause::Failure(_))) => true,
            _ if oom => true,
            (Some(exit), None | Some(StopCause::Announced)) => {
                let restart = matches!(
                    self.leaving,
                    Some(
                        StopCause::Restart
                            | StopCause::Changed
                            | StopCause::RestartedWith(_)
                            | StopCause::Watch
                    )
                );
                // Who says that it stops and is asked to start again meanwhile may end well.
                let meant = self.down_since.is_some() || restart || (cause.is_some() && self.asked);
                !self.policy.success.holds(exit) || (self.policy.restart.when == When::Always && !meant)
            }
            (Some(_), Some(_)) if self.around.stop_failed => true,
            (Some(Exit::Signal { signal, .. }), Some(_)) => {
                is_crash_signal(signal) && signal != self.policy.stop_signal
            }
            (Some(Exit::Code(_)), Some(_)) => false,
        };
        self.end = Some(End {
            at: now,
            policy: Rc::clone(&self.policy),
            grace: self.policy.stop_timeout,
            report_due,
            noted: false,
            report_asked: None,
            recorded: false,
            forgotten: false,
            unexpected,
            permanent: self.around.cannot
                && cause == Some(StopCause::Failure(mcpd_core::verdict::Failure::Spawn)),
            drained: false,
            lacks: None,
            oom: oom && !matches!(cause, Some(StopCause::Failure(_))),
        });
    }

    /// It was up without a process, and comes down: a run that has ended already.
    pub(super) fn leaves(&mut self, now: Mono) {
        self.inherited(now);
        (self.completed, self.between) = (false, false);
    }

    /// A command after the process has failed. What failed first has the report.
    pub(super) fn failed_after(&mut self) {
        let Some(end) = self.end.as_mut().filter(|end| !end.report_due) else { return };
        end.report_due = true;
        end.policy = Rc::clone(&self.policy);
        end.unexpected |= self.between && self.down_since.is_none();
        (self.completed, self.between) = (false, false);
    }

    /// Something of an earlier life of the daemon is there: a run that has ended already.
    pub(super) fn inherited(&mut self, now: Mono) {
        self.settled = false;
        self.down = false;
        self.end = Some(End {
            at: now,
            policy: Rc::clone(&self.policy),
            grace: self.policy.stop_timeout,
            report_due: false,
            noted: false,
            report_asked: None,
            recorded: false,
            forgotten: false,
            unexpected: false,
            permanent: false,
            drained: false,
            lacks: None,
            oom: false,
        });
    }

    pub(super) fn noted(&mut self, now: Mono, kind: &NoteKind) {
        match kind {
            NoteKind::Stopping { why } => {
                let was_up = self.alive && self.up.is_some();
                self.around.stopping(was_up, self.remains, *why, &self.policy.commands);
                // What was to be stopped anyway ends as it was asked to.
                let why =
                    if *why == StopCause::Announced { self.leaving.as_ref().unwrap_or(why) } else { why };
                if std::mem::take(&mut self.remains) {
                    self.leaves(now);
                    return;
                }
                self.stop = Some((now, *why, self.policy.stop_timeout));
                self.watchdog = None;
            }
            NoteKind::RunFailed(command) => {
                self.around.said_failed(*command);
                if !self.alive {
                    self.failed_after();
                }
            }
            NoteKind::CountersReset => self.counters_reset(),
            NoteKind::Backoff { delay, attempt } => {
                let Some(end) = &self.end else { return };
                self.attempts = *attempt;
                self.reset = false;
                let wait = Wait {
                    delay: *delay,
                    until: end.at + *delay,
                    attempt: *attempt,
                    policy: Rc::clone(&end.policy),
                };
                self.previous = Some(wait.clone());
                self.wait = Some(wait);
            }
            NoteKind::DrainSlow => {
                if let Some(end) = &mut self.end {
                    end.drained = true;
                }
            }
            NoteKind::Parked(_) => {
                self.parked = true;
                self.down = false;
            }
            NoteKind::Down(why) => {
                self.down = true;
                self.remains = false;
                self.done = *why == DownReason::Completed;
                if self.done {
                    self.counters_reset();
                }
                self.files.changed = None;
                self.files.program = None;
            }
            NoteKind::WatchSuspended { .. } => {
                self.files.suspended = true;
                self.files.changed = None;
                self.files_are_newer();
            }
            NoteKind::Stale { .. } => {
                if let Some((_, said)) = &mut self.files.stale {
                    *said = true;
                }
            }
            NoteKind::ProgramChanged => {
                self.asked = true;
                self.want_up();
                self.counters_reset();
            }
            NoteKind::FilesChanged { then } => {
                self.files.changed = None;
                self.files.all += 1;
                self.files.row = if self.files.own { self.files.row + 1 } else { 0 };
                match then {
                    Then::Restart => {
                        self.asked = true;
                        self.along &= !self.owed;
                        self.outdated |= self.owed;
                        self.replaced |= self.owed;
                    }
                    Then::Start => {
                        self.asked = true;
                        self.want_up();
                        self.counters_reset();
                    }
                    Then::Reload => self.files.began = Some(now),
                    Then::Signal(_) => {
                        self.files.began = Some(now);
                        self.files_are_newer();
                    }
                }
            }
            NoteKind::ReloadFailed => {
                let by_files = self.policy.watch.is_some_and(|watch| watch.action == WatchAction::Reload);
                if by_files {
                    self.files_are_newer();
                }
            }
            NoteKind::Killing => self.time_is_up = true,
            NoteKind::SpawnSlow => self.slow = true,
            NoteKind::StillAlive => self.deaf = true,
            NoteKind::Up { by: UpBy::Completion, .. } => {
                self.remains = true;
                self.around.stays();
                self.counters_reset();
            }
            NoteKind::Up { .. } => {
                if self.around.begun.start_post {
                    // It is asked anew.
                    self.rearm(self.spawned.unwrap_or(now));
                }
                self.up = Some(now);
                self.start = Start::default();
                self.arm_watchdog(now);
            }
            NoteKind::ProbeUnknown | NoteKind::ProbeKnown => {
                if let Some(health) = &mut self.health {
                    health.said_blind = *kind == NoteKind::ProbeUnknown;
                }
            }
            NoteKind::Crashed { .. } => {
                if let Some(end) = &mut self.end {
                    end.noted = true;
                }
            }
            NoteKind::ProbeLost if self.start.unready => self.start.out = None,
            NoteKind::ProbeLost => {
                if let Some(probe) = self.health.and_then(|health| health.out) {
                    self.judged(now, probe, Finding::Unknown);
                }
            }
            _ => {}
        }
    }
}
