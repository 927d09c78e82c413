//! One seed, from the first step to the last.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use mcpd_core::{Action, Core, Event, Mono, NoteId, NoteKind};

use super::causes;
use super::conditions;
use super::invariants::{self, DOWN_LIMIT, broken};
use super::ledger::{Broken, Check, Ledger};
use super::order;
use super::starting;
use super::subject::{Flaw, Subject};
use super::world::{Next, World};

/// More steps than any seed needs; a seed that takes more goes round in circles.
const MOST_STEPS: u64 = 200_000;

/// What a run is to leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: the quickest.
    Nothing,
    /// A hash of every action, and what kinds of things were seen.
    Hash,
    /// The last lines of the trace.
    Tail,
    /// The whole trace, printed.
    Print,
}

/// How a seed went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub(crate) broken: Option<Broken>,
    pub(crate) step: u64,
    pub(crate) now: Mono,
    pub(crate) actions: u64,
    pub(crate) hash: u64,
    /// Names of notes, outcomes and states, as `Note.Exited`.
    pub(crate) seen: BTreeSet<String>,
    pub(crate) tail: Vec<String>,
}

struct Run<'a> {
    world: World,
    subject: Subject,
    /// One that is told the same, and is killed again and again and restored from what it had written down.
    twin: Option<Subject>,
    ledger: Ledger,
    out: Vec<Action>,
    twin_out: Vec<Action>,
    /// The twin is restored before every step: of every eighth seed, for it takes three times as long, or of all.
    at_every_step: bool,
    keep: Keep,
    step: u64,
    actions: u64,
    hash: Fnv,
    seen: BTreeSet<String>,
    tail: VecDeque<String>,
    slept: Duration,
    /// A configuration is being told of.
    held: bool,
    /// Shown the core after every step.
    spectator: Option<&'a mut dyn FnMut(&Core)>,
}

/// Runs one seed.
pub(crate) fn run(seed: u64, flaw: Option<Flaw>, keep: Keep) -> Report {
    let mut run = Run::new(seed, flaw, keep);
    let result = run.whole();
    Report {
        broken: result.err(),
        step: run.step,
        now: run.world.now,
        actions: run.actions,
        hash: run.hash.0,
        seen: run.seen,
        tail: run.tail.into(),
    }
}

/// Runs one seed and shows its core after every step.
pub(crate) fn watch(seed: u64, see: &mut dyn FnMut(&Core)) {
    let mut run = Run::new(seed, None, Keep::Nothing);
    run.spectator = Some(see);
    let _ = run.whole();
}

impl<'a> Run<'a> {
    fn new(seed: u64, flaw: Option<Flaw>, keep: Keep) -> Self {
        Self {
            world: World::new(seed),
            subject: Subject::new(seed, flaw),
            twin: None,
            ledger: Ledger::default(),
            out: Vec::new(),
            twin_out: Vec::new(),
            at_every_step: seed.is_multiple_of(8) || std::env::var_os("MCPD_SIM_RESTORE").is_some(),
            keep,
            step: 0,
            actions: 0,
            hash: Fnv(0xCBF2_9CE4_8422_2325),
            seen: BTreeSet::new(),
            tail: VecDeque::new(),
            slept: Duration::ZERO,
            held: true,

            spectator: None,
        }
    }

    fn whole(&mut self) -> Check {
        for event in self.world.begin() {
            self.tell(event)?;
        }
        while !self.world.is_over() {
            if !self.advance()? {
                break;
            }
        }
        self.calm()?;
        self.end()
    }

    /// No more faults: after a while everything is as it is wanted, and nobody waits for an answer.
    fn calm(&mut self) -> Check {
        self.world.calm_down();
        self.say(|| "--- calm".to_owned());
        let until = self.world.now + DOWN_LIMIT;
        loop {
            let views: Vec<_> = self.subject.views().collect();
            let settled = invariants::calm_means_as_wanted(&views)
                .and_then(|()| invariants::every_request_is_answered(&self.ledger));
            if settled.is_ok() {
                return Ok(());
            }
            if self.world.now > until || !self.advance()? {
                return settled;
            }
        }
    }

    /// Shutdown: within bounded time nothing runs, and it is said once.
    fn end(&mut self) -> Check {
        if self.ledger.shutdowns == 0 {
            let next = self.world.shut_down();
            self.perform(next)?;
        }
        while self.ledger.finished == 0 {
            if !self.advance()? {
                return broken!("shutdown_ends", "{:?}", self.ledger.lives);
            }
        }
        while self.advance()? {}
        invariants::every_request_is_answered(&self.ledger)?;
        if self.ledger.ready != 1 {
            return broken!("ready_is_said_once", "{} times", self.ledger.ready);
        }
        Ok(())
    }

    /// The next thing that happens: a plan of the world or a deadline of the core. False: nothing ever will.
    fn advance(&mut self) -> Result<bool, Broken> {
        if self.step > MOST_STEPS {
            return Err(Broken { invariant: "no_busy_loop", detail: format!("{MOST_STEPS} steps") });
        }
        let now = self.world.now;
        let plan = self.world.next_at().map(|at| at.max(now));
        let deadline = self.subject.next_deadline(now).map(|at| at.max(now));
        let wake = match (plan, deadline) {
            (None, None) => return Ok(false),
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some(plan), Some(deadline)) => match plan.cmp(&deadline) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Equal => self.world.dice.percent(50),
            },
        };
        if !wake {
            let next = self.world.happens();
            return self.perform(next).map(|()| true);
        }
        // A timer may be late, never early.
        let late = if self.world.dice.percent(80) { Duration::ZERO } else { self.world.dice.ms(15) };
        let latest = plan.unwrap_or(Mono(u64::MAX));
        self.world.now = deadline.map_or(now, |at| (at + late).min(latest.max(at)));
        self.timeout()?;
        Ok(true)
    }

    fn perform(&mut self, next: Next) -> Check {
        match next {
            Next::Tell(event) => {
                if self.may_tell(&event) {
                    self.tell(event)?;
                }
                Ok(())
            }
            Next::Reload(events) => {
                for event in events.into_iter().filter(|event| self.may_tell(event)).collect::<Vec<_>>() {
                    self.tell(event)?;
                }
                Ok(())
            }
            Next::Poke => {
                let due = self.subject.next_deadline(self.world.now).is_some_and(|at| at <= self.world.now);
                if due {
                    return Ok(());
                }
                self.out.clear();
                self.twin_out.clear();
                self.subject.handle_timeout(self.world.now, &mut self.out);
                if let Some(twin) = &mut self.twin {
                    twin.handle_timeout(self.world.now, &mut self.twin_out);
                }
                invariants::early_wakes_do_nothing(&self.out)
            }
            Next::Leap(span) => {
                self.say(|| format!("the clock leaps by {span:?}"));
                self.slept += span;
                self.world.now = self.world.now + span;
                Ok(())
            }
            Next::Reborn => self.reborn(),
            Next::TakenOver => {
                self.taken_over();
                Ok(())
            }
            Next::Nothing => Ok(()),
        }
    }

    /// The daemon is killed with SIGKILL and started again: everything that it knew is gone, what it started is not.
    fn reborn(&mut self) -> Check {
        self.say(|| "--- the daemon is killed and started again".to_owned());
        let notes = self.ledger.notes;
        self.subject = self.subject.successor(NoteId(notes + 1));
        self.twin = None;
        self.ledger = Ledger { notes, ..Ledger::default() };
        self.held = true;
        for event in self.world.reborn() {
            self.tell(event)?;
        }
        Ok(())
    }

    /// The daemon is killed with SIGKILL, and a successor takes over from what it had written down.
    fn taken_over(&mut self) {
        self.say(|| "--- the daemon is killed, and a successor takes over".to_owned());
        self.subject.take_over();
        self.twin = None;
        self.world.taken_over();
        for owed in self.subject.owed() {
            self.say(|| format!("    again: {owed:?}"));
            self.world.settle(&owed);
        }
    }

    /// The shell keeps its contract: a number is used again only while its service is being removed.
    fn may_tell(&self, event: &Event) -> bool {
        let Event::Define { service, .. } = event else { return true };
        self.ledger.lives.get(service).is_none_or(|life| !life.removed)
    }

    fn tell(&mut self, event: Event) -> Check {
        self.step += 1;
        let now = self.world.now;
        self.say(|| format!("> {event:?}"));
        match event {
            Event::Begun => self.held = false,
            Event::Reloading { .. } => self.held = true,
            _ => {}
        }
        self.ledger.told(now, &event);
        self.restore();
        self.out.clear();
        self.twin_out.clear();
        if let Some(twin) = &mut self.twin {
            twin.handle(now, event.clone(), &mut self.twin_out);
        }
        self.subject.handle(now, event.clone(), &mut self.out);
        self.judge()?;
        let views: Vec<_> = self.subject.views().collect();
        order::judge_after(&self.ledger, &event, &views)
    }

    fn timeout(&mut self) -> Check {
        self.step += 1;
        let now = self.world.now;
        self.say(|| "> timeout".to_owned());
        self.ledger.person = false;
        for life in self.ledger.lives.values_mut() {
            life.person_signals = false;
            life.broken_off = false;
        }
        self.restore();
        self.out.clear();
        self.twin_out.clear();
        if let Some(twin) = &mut self.twin {
            twin.handle_timeout(now, &mut self.twin_out);
        }
        self.subject.handle_timeout(now, &mut self.out);
        let idle = self.out.is_empty() && self.ledger.ready > 0;
        self.judge()?;
        invariants::no_busy_loop(now, self.subject.next_deadline(now))?;
        if idle {
            return broken!("wake_ups_do_something", "nothing was due at {now:?}");
        }
        Ok(())
    }

    /// What comes after must be the same for a core that is restored at every step, or at any.
    fn restore(&mut self) {
        if self.world.dice.percent(1) || self.twin.is_none() {
            self.twin = Some(self.subject.copy());
        }
        let now = self.at_every_step || self.step.is_multiple_of(20);
        if let Some(twin) = self.twin.as_mut().filter(|_| now) {
            twin.take_over();
        }
    }

    fn judge(&mut self) -> Check {
        let now = self.world.now;
        let actions = std::mem::take(&mut self.out);
        if let Some(twin) = &self.twin
            && (self.twin_out != actions || twin.next_deadline(now) != self.subject.next_deadline(now))
        {
            return broken!("a_successor_does_the_same", "{actions:?} and {:?}", self.twin_out);
        }
        if let Some(spectator) = &mut self.spectator {
            spectator(self.subject.core());
        }
        let views: Vec<_> = self.subject.views().collect();
        for action in &actions {
            let shows = matches!(action, Action::Spawn { .. } | Action::EndRun { .. } | Action::Look { .. });
            if shows && !self.held {
                order::take_down_losses(&mut self.ledger, &views);
            }
            if let Action::EndRun { service, .. } | Action::Look { service, .. } = action {
                order::take_down_its_end(&mut self.ledger, now, *service, &views);
            }
            self.actions += 1;
            self.say(|| format!("    {action:?}"));
            if self.keep == Keep::Hash {
                let _ = write!(self.hash, "{now:?}{action:?}");
                self.see(action);
            }
            let world = &self.world;
            invariants::judge(&self.ledger, now, action, |service| world.truth(service))?;
            self.ledger.done(now, action);
            self.world.perform(action);
        }
        self.out = actions;
        order::take_down_wishes(&mut self.ledger, now, &views);
        if !self.held {
            order::take_down_losses(&mut self.ledger, &views);
            order::judge_views(&self.ledger, &views)?;
            causes::the_last_note_is_that_of_the_state(&self.ledger, &views)?;
        }
        let deadline = self.subject.next_deadline(now);
        conditions::judge_after(&mut self.ledger, now, deadline, &views)?;
        invariants::deadlines_fit_the_states(&self.ledger, deadline, self.subject.views())?;
        invariants::stale_is_seen(&self.ledger, self.subject.views())?;
        invariants::changes_are_not_lost(&self.ledger, self.subject.views())?;
        starting::the_watchdog_is_watched(&self.ledger, deadline)?;
        starting::up_is_ready(&self.ledger, self.subject.views())?;
        invariants::a_hurry_kills_at_once(&self.ledger, now, deadline)?;
        invariants::down_is_reached(&self.ledger, now, self.slept)
    }

    fn see(&mut self, action: &Action) {
        match action {
            Action::Note(note) => {
                self.seen.insert(format!("Note.{}", name(&note.kind)));
                if let NoteKind::Redefined { effect } = note.kind {
                    self.seen.insert(format!("Effect.{effect:?}"));
                }
                if let NoteKind::Parked(why) = &note.kind {
                    self.seen.insert(format!("Parked.{}", name(why)));
                }
                if let NoteKind::Opened(condition) = note.kind {
                    self.seen.insert(format!("Opened.{condition:?}"));
                }
                if let NoteKind::Closed { condition, .. } = note.kind {
                    self.seen.insert(format!("Closed.{condition:?}"));
                }
                if let NoteKind::Up { by, .. } = note.kind {
                    self.seen.insert(format!("UpBy.{by:?}"));
                }
            }
            Action::Reply { outcome, .. } => {
                self.seen.insert(format!("Outcome.{}", name(outcome)));
            }
            Action::RecordCrash(crash) => {
                self.seen.insert(format!("Failure.{:?}", crash.failure));
                self.seen.insert(format!("Decision.{}", name(&crash.decision.what)));
            }
            _ => {}
        }
        for view in self.subject.views() {
            self.seen.insert(format!("State.{}", name(&view.state)));
        }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        match self.keep {
            Keep::Nothing | Keep::Hash => {}
            Keep::Tail => {
                if self.tail.len() == 40 {
                    self.tail.pop_front();
                }
                self.tail.push_back(self.line(line()));
            }
            Keep::Print => println!("{}", self.line(line())),
        }
    }

    fn line(&self, text: String) -> String {
        let ms = self.world.now.0 / 1_000_000;
        format!("{:5} {:7}.{:03} s {text}", self.step, ms / 1000, ms % 1000)
    }
}

/// The name of a variant.
fn name(of: &impl std::fmt::Debug) -> String {
    let text = format!("{of:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// FNV-1a.
struct Fnv(u64);

impl std::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        Ok(())
    }
}
