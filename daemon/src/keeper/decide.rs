//! What the keeper does next: no clock, no process, no descriptor. What happened goes in, what is to be done comes out.

use std::time::Duration;

use mcpd_core::Mono;
use mcpd_proto::status::MADE_WAY;
use serde::{Deserialize, Serialize};

/// `kill(2)`: the number with which a shell tells of a program that a signal has ended, less that signal.
const BY_SIGNAL: i32 = 128;
/// `signal(7)`
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;

/// With this a Rust program ends that has panicked.
const PANICKED: i32 = 101;

/// Between two starts, whatever the first one died of.
const AT_LEAST: Duration = Duration::from_millis(100);
/// After the first failure in a row; doubled with each one more ...
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// ... up to this.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// The same for one that somebody kills before it is ready.
const LONGEST_IF_KILLED: Duration = Duration::from_secs(1);
/// Who has been ready for so long has not failed at its start.
const PROVEN: Duration = Duration::from_secs(10);
/// A daemon that was stopped (SIGSTOP) and is not continued is replaced after this.
const STOPPED_FOR: Duration = Duration::from_secs(2);
/// So long a successor may take until it is ready. The first daemon may take as long as whoever started it lets it.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The daemon runs.
    Started,
    /// It could not be started.
    NotStarted,
    /// It says that it does its work, and whether it knows that it is to end.
    Ready {
        /// It does.
        stopping: bool,
    },
    /// It has answered a question.
    Answered,
    /// It has been stopped (SIGSTOP).
    Stopped,
    /// It goes on.
    Continued,
    /// It is being looked at by a debugger, or what else may be why it was not to be killed.
    Traced,
    /// It has ended.
    Ended(Death),
    /// The keeper has got a signal.
    Signal(i32),
    /// Another program is to take the place of this one, of keeper and daemon.
    Upgrade,
    /// It, or the one before, could not be executed.
    NotExecuted,
    /// The daemon goes on without a keeper.
    Left,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a daemon.
    Start,
    /// Pass a signal on to it.
    Forward(i32),
    /// Tell systemd that all is well (`WATCHDOG=1`): the keeper is at its work, and the services at theirs.
    Ping,
    /// Ask it whether it is there.
    Ask,
    /// End it by SIGKILL; that it is being traced, or that the machine does not let it run, is a reason not to.
    Kill,
    /// The same for an upgrade, which somebody wants: whatever it is doing.
    End,
    /// End with this status.
    Exit(i32),
    /// Execute the program that is to take the place of this one. There is no daemon meanwhile.
    Execute,
    /// The same with the program that was here before: the daemon of this one fails.
    GoBack,
    /// Say why the last daemon is gone: one sentence without an end.
    Tell(String),
}

/// How often it is asked, and how long it may take to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vigilance {
    every: Duration,
    patience: Duration,
    /// systemd wants to hear so often, while there is no daemon to tell it.
    ping: Option<Duration>,
}

impl Vigilance {
    /// `watchdog`: WATCHDOG_USEC. A daemon that hangs has told systemd that it is well half of that ago, at most; it has to be
    /// found out before systemd ends everything.
    #[must_use]
    pub(super) fn new(watchdog: Option<Duration>) -> Self {
        let whole = watchdog.unwrap_or(Duration::from_secs(60));
        Self { every: whole / 6, patience: whole / 4, ping: watchdog.map(|whole| whole / 4) }
    }
}

/// The daemon that there is.
#[derive(Debug)]
struct Alive {
    since: Mono,
    ready: Option<Mono>,
    stopped: Option<Mono>,
    /// Asked, and not answered since then.
    asked: Option<Mono>,
    ask_at: Option<Mono>,
    /// Why it was killed, and whether that is its own fault.
    killed: Option<(String, bool)>,
}

/// The keeper's mind.
#[derive(Debug)]
pub(super) struct Mind {
    vigilance: Vigilance,
    alive: Option<Alive>,
    /// When the next one is to be started.
    start_at: Option<Mono>,
    /// When systemd is to hear something: a daemon that is ready says it itself.
    ping_at: Option<Mono>,
    last_start: Option<Mono>,
    /// Some daemon has been ready.
    proven: bool,
    /// Failures in a row.
    failures: u32,
    /// Those of them that were no orderly end: a panic, a signal, a hang.
    crashes: u32,
    /// How many in a row somebody has killed before they were ready.
    killed: u32,
    /// The end has been asked for, by this signal.
    ending: Option<i32>,
    /// Other signals that nobody was there to take.
    later: Vec<i32>,
    lives: u64,
    /// The daemon is ended for an upgrade.
    upgrading: bool,
    /// This program has taken the place of another one, and no daemon of it has yet proven itself.
    on_trial: bool,
    over: bool,
}

/// What of a mind goes on in the program that takes the place of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    lives: u64,
    ending: Option<i32>,
    later: Vec<i32>,
}

impl Mind {
    /// What there is to remember.
    #[must_use]
    pub(super) fn memory(&self) -> Memory {
        Memory { lives: self.lives, ending: self.ending, later: self.later.clone() }
    }

    /// Goes on in the place of another program, with a start that is due at once. `on_trial`: that one can be gone back to.
    #[must_use]
    pub(super) fn resume(now: Mono, vigilance: Vigilance, memory: Memory, on_trial: bool) -> Self {
        let Memory { lives, ending, later } = memory;
        let ping_at = vigilance.ping.map(|_| now);
        Self { proven: true, lives, ending, later, on_trial, ping_at, ..Self::new(now, vigilance) }
    }

    /// Before the first start, which is due at once.
    #[must_use]
    pub(super) fn new(now: Mono, vigilance: Vigilance) -> Self {
        Self {
            vigilance,
            alive: None,
            start_at: Some(now),
            ping_at: None,
            last_start: None,
            proven: false,
            failures: 0,
            crashes: 0,
            killed: 0,
            ending: None,
            later: Vec::new(),
            lives: 0,
            upgrading: false,
            on_trial: false,
            over: false,
        }
    }

    /// How many daemons there have been.
    #[must_use]
    pub(super) fn lives(&self) -> u64 {
        self.lives
    }

    /// How many in a row have failed at their start.
    #[must_use]
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// How many of these have panicked, or the like: whoever says what is wrong and ends is none of them.
    #[must_use]
    pub(super) fn crashes(&self) -> u32 {
        self.crashes
    }

    /// When [`Self::due`] is wanted next.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Mono> {
        if self.over {
            return None;
        }
        let Some(alive) = &self.alive else {
            return [self.start_at, self.ping_at].into_iter().flatten().min();
        };
        if alive.killed.is_some() {
            return self.ping_at;
        }
        let stopped = alive.stopped.map(|at| at + STOPPED_FOR);
        let hangs = alive.asked.filter(|_| alive.stopped.is_none()).map(|at| at + self.vigilance.patience);
        let late = (self.proven && alive.ready.is_none()).then(|| alive.since + READY_WITHIN);
        [stopped, hangs, late, alive.ask_at, self.ping_at].into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub(super) fn due(&mut self, now: Mono, out: &mut Vec<Action>) {
        if self.over || self.deadline().is_none_or(|at| at > now) {
            return;
        }
        let Vigilance { every, patience, ping } = self.vigilance;
        if self.ping_at.is_some_and(|at| at <= now) {
            self.ping_at = ping.map(|ping| now + ping);
            out.push(Action::Ping);
        }
        let Some(alive) = &mut self.alive else {
            if self.start_at.is_none_or(|at| at > now) {
                return;
            }
            self.start_at = None;
            self.last_start = Some(now);
            out.push(Action::Start);
            return;
        };
        if alive.killed.is_some() {
            return;
        }
        let why = if alive.stopped.is_some_and(|at| at + STOPPED_FOR <= now) {
            // Somebody else did that.
            Some((format!("was stopped (SIGSTOP) for {} s and killed", STOPPED_FOR.as_secs()), false))
        } else if alive.stopped.is_none() && alive.asked.is_some_and(|at| at + patience <= now) {
            Some((format!("did not answer for {:.1} s and was killed", patience.as_secs_f64()), true))
        } else if self.proven && alive.ready.is_none() && alive.since + READY_WITHIN <= now {
            Some((format!("was not ready after {} s and was killed", READY_WITHIN.as_secs()), true))
        } else {
            None
        };
        if let Some(why) = why {
            alive.killed = Some(why);
            out.push(Action::Kill);
        } else if alive.ask_at.is_some_and(|at| at <= now) {
            alive.ask_at = Some(now + every);
            // One question at a time: the first that is not answered is the one that counts.
            if alive.asked.is_none() && alive.stopped.is_none() {
                alive.asked = Some(now);
                out.push(Action::Ask);
            }
        }
    }

    /// Takes in what happened.
    pub(super) fn take(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        if self.over {
            return;
        }
        match event {
            Event::Started => {
                self.lives += 1;
                self.alive = Some(Alive {
                    since: now,
                    ready: None,
                    stopped: None,
                    asked: None,
                    ask_at: None,
                    killed: None,
                });
            }
            Event::NotStarted => {
                if self.proven {
                    self.failures = self.failures.saturating_add(1);
                    self.again(now, backoff(self.failures, LONGEST_DELAY));
                } else {
                    self.exit(1, out);
                }
            }
            Event::Ready { stopping } => {
                let every = self.vigilance.every;
                let Some(alive) = &mut self.alive else { return };
                alive.ready = Some(now);
                self.ping_at = None;
                self.killed = 0;
                alive.ask_at = Some(now + every);
                self.proven = true;
                // The one before may have been killed before it heard of this. Told twice it would mean: at once.
                if let Some(signal) = self.ending.filter(|_| self.lives > 1 && !stopping) {
                    out.push(Action::Forward(signal));
                }
                out.extend(self.later.drain(..).map(Action::Forward));
            }
            Event::Answered => {
                if let Some(alive) = &mut self.alive {
                    alive.asked = None;
                }
            }
            Event::Stopped => {
                if let Some(alive) = &mut self.alive {
                    alive.stopped.get_or_insert(now);
                }
            }
            Event::Continued => {
                if let Some(alive) = &mut self.alive {
                    alive.stopped = None;
                    // Its time begins anew.
                    alive.asked = alive.asked.map(|_| now);
                }
            }
            Event::Traced => {
                // One that is ended for an upgrade needs no excuse.
                if let Some(alive) = self.alive.as_mut().filter(|_| !self.upgrading) {
                    alive.killed = None;
                    // Its time begins anew, whatever it was late with.
                    alive.since = now;
                    alive.stopped = alive.stopped.map(|_| now);
                    alive.asked = alive.asked.map(|_| now);
                }
            }
            Event::Ended(death) => self.ended(now, death, out),
            Event::Upgrade => {
                if let Some(alive) = self.alive.as_mut().filter(|alive| alive.killed.is_none()) {
                    alive.killed = Some((MADE_WAY.into(), false));
                    self.upgrading = true;
                    out.push(Action::End);
                }
            }
            Event::NotExecuted => self.start_at = Some(now),
            Event::Left => self.exit(0, out),
            Event::Signal(signal) => {
                let ends = matches!(signal, SIGTERM | SIGINT);
                if ends {
                    self.ending = Some(signal);
                }
                let ready = self.alive.as_ref().map(|alive| alive.ready.is_some());
                match ready {
                    Some(true) => out.push(Action::Forward(signal)),
                    // The first one has nothing yet that would have to be stopped in order.
                    Some(false) if ends && !self.proven => out.push(Action::Forward(signal)),
                    // Before it is ready a signal would end it; what ends it is passed on once it is.
                    Some(false) | None if !ends => {
                        if !self.later.contains(&signal) {
                            self.later.push(signal);
                        }
                    }
                    Some(false) => {}
                    // Whoever is there to stop the services is wanted now.
                    None => self.start_at = Some(now),
                }
            }
        }
    }

    fn ended(&mut self, now: Mono, death: Death, out: &mut Vec<Action>) {
        let Some(alive) = self.alive.take() else { return };
        match death {
            // It has done all that there was to do.
            Death::Code(0) => return self.exit(0, out),
            // Nobody asked to end waits for another one to fail.
            Death::Code(code) if !self.proven || self.ending.is_some() => return self.exit(code, out),
            Death::Signal(signal) if !self.proven => return self.exit(BY_SIGNAL + signal, out),
            Death::Code(_) | Death::Signal(_) => {}
        }
        // Somebody kills it, or the kernel for want of memory: no word against what it was doing.
        let own_fault = alive.killed.as_ref().is_some_and(|(_, own_fault)| *own_fault);
        let from_outside = death == Death::Signal(SIGKILL) && !own_fault;
        let how = alive.killed.map_or_else(
            || match death {
                Death::Code(code) => format!("ended with exit code {code}"),
                Death::Signal(signal) => format!("was ended by signal {signal}"),
            },
            |(how, _)| how,
        );
        out.push(Action::Tell(how));
        self.ping_at = self.vigilance.ping.map(|_| now);
        if std::mem::take(&mut self.upgrading) {
            out.push(Action::Execute);
            return;
        }
        let lasted = alive.ready.is_some_and(|at| at + PROVEN <= now);
        if lasted {
            (self.failures, self.crashes) = (0, 0);
        }
        self.on_trial &= !lasted;
        if self.on_trial && !from_outside {
            self.on_trial = false;
            out.push(Action::GoBack);
            return;
        }
        let delay = match (from_outside, alive.ready) {
            // Services wait for somebody.
            (true, Some(_)) => Duration::ZERO,
            (true, None) => {
                self.killed = self.killed.saturating_add(1);
                backoff(self.killed, LONGEST_IF_KILLED)
            }
            (false, _) if lasted => Duration::ZERO,
            (false, _) => {
                self.failures = self.failures.saturating_add(1);
                let orderly = matches!(death, Death::Code(code) if code != PANICKED);
                self.crashes = self.crashes.saturating_add(u32::from(!orderly));
                backoff(self.failures, LONGEST_DELAY)
            }
        };
        self.again(now, delay);
    }

    fn again(&mut self, now: Mono, delay: Duration) {
        let earliest = self.last_start.map_or(now, |at| at + AT_LEAST);
        self.start_at = Some((now + delay).max(earliest));
    }

    fn exit(&mut self, code: i32, out: &mut Vec<Action>) {
        self.over = true;
        out.push(Action::Exit(code));
    }
}

/// Whether one that did not answer had no chance to: most of the time there was no processor for it.
#[must_use]
pub(super) fn starved(waited: Duration, of: Duration) -> bool {
    waited * 2 > of
}

/// After so many in a row.
fn backoff(count: u32, longest: Duration) -> Duration {
    FIRST_DELAY.saturating_mul(1 << count.saturating_sub(1).min(16)).min(longest)
}

#[cfg(test)]
mod tests;
