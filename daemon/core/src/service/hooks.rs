//! What runs beside it, and after it? The commands of `exec_start_post`, `exec_reload`, `exec_stop` and `exec_stop_post`,
//! one at a time. They have numbers within their generation.
//!
//! | commands | while the service is | a failure |
//! |---|---|---|
//! | `exec_start_post` | `Starting`, ready; of a oneshot `Ending`, after its last command | fails the start |
//! | `exec_reload` | `Up` | is none of the service's |
//! | `exec_stop` | `Stopping`, before the stop signal; without a process `Ending` | is reported, the stop goes on |
//! | `exec_stop_post` | `Ending`, once nothing is left | is reported if nothing else has failed |

use super::*;
use crate::action::Stale;
use crate::event::{RUN_GRACE, RunEnd};
use crate::policy::WatchAction;
use crate::verdict::{ServiceResult, SoFar};

/// A command that runs beside the process, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) command: Command,
    nature: Nature,
    number: u64,
    began: Mono,
    /// Its time is over then.
    until: Mono,
    /// It was over: it has been ended, and news of that are waited for until then.
    late: bool,
}

/// A command beside the process that has failed, and with it the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blame {
    pub(super) command: Command,
    pub(super) number: u64,
    pub(super) failure: Failure,
    pub(super) exit: Option<Exit>,
    pub(super) took: Duration,
    /// Nothing that time or another try could mend.
    pub(super) permanent: bool,
}

impl Beside {
    pub(crate) fn deadline(&self) -> Mono {
        self.until
    }

    /// Whom its end blames, and for what.
    fn blame(&self, now: Mono, end: RunEnd) -> Option<Blame> {
        let failure = match (self.late, end) {
            (true, _) => match self.command {
                Command::Stop(_) | Command::StopPost(_) => Failure::StopTimeout,
                Command::StartPre(_) | Command::Exec(_) | Command::StartPost(_) | Command::Reload(_) => {
                    Failure::StartTimeout
                }
            },
            (false, RunEnd::Well) => return None,
            (false, RunEnd::Badly(None) | RunEnd::Cannot) => Failure::Spawn,
            (false, RunEnd::Badly(Some(Exit::Code(_)))) => Failure::Exit,
            (false, RunEnd::Badly(Some(Exit::Signal { .. }))) => Failure::Signal,
        };
        let exit = match end {
            RunEnd::Well => Some(Exit::Code(0)),
            RunEnd::Badly(exit) => exit,
            RunEnd::Cannot => None,
        };
        // Commands of a stop have no say in whether it is worth a start.
        let permanent = match self.command {
            Command::StartPost(_) => !self.late && end == RunEnd::Cannot,
            Command::StartPre(_) | Command::Exec(_) => false,
            Command::Reload(_) | Command::Stop(_) | Command::StopPost(_) => false,
        };
        let (command, number, took) = (self.command, self.number, now.since(self.began));
        Some(Blame { command, number, failure, exit, took, permanent }).filter(|_| !self.nature.forgiven)
    }
}

impl Child {
    pub(crate) fn is_reloading(&self) -> bool {
        let reloads = |beside: &Beside| matches!(beside.command, Command::Reload(_));
        self.reloading.is_some() || self.beside.as_ref().is_some_and(reloads)
    }
}

impl Service {
    /// What runs beside it, or after it.
    pub(crate) fn beside(&self) -> Option<Beside> {
        match &self.actual {
            Actual::Starting(child) | Actual::Up(child) => child.beside,
            Actual::Stopping(stopping) => match stopping.step {
                Step::Beside(beside) => Some(beside),
                Step::Ladder(_) => None,
            },
            Actual::Ending(ending) => ending.beside,
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Backoff { .. }
            | Actual::Parked(_) => None,
        }
    }

    /// One after another: this one runs now.
    pub(super) fn set_beside(&mut self, next: Beside) {
        match &mut self.actual {
            Actual::Starting(child) | Actual::Up(child) => child.beside = Some(next),
            Actual::Stopping(stopping) => stopping.step = Step::Beside(next),
            Actual::Ending(ending) => ending.beside = Some(next),
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Backoff { .. }
            | Actual::Parked(_) => {}
        }
    }

    pub(super) fn run_beside(&mut self, cx: &mut Cx<'_>, command: Command) -> Beside {
        let (service, generation) = (self.id, self.generation);
        let nature = self.policy.commands.nature(command);
        let (start, stop) = (self.policy.start_timeout, self.policy.stop_timeout);
        let (timeout, grace, so_far) = match command {
            Command::Reload(_) => (start, RUN_GRACE, None),
            Command::StartPre(_) | Command::Exec(_) | Command::StartPost(_) => (start, Duration::ZERO, None),
            Command::Stop(_) | Command::StopPost(_) => (stop, Duration::ZERO, Some(self.so_far())),
        };
        self.runs += 1;
        let number = self.runs;
        match command {
            Command::Reload(_) => {}
            // What follows from the end before it does not follow from this.
            Command::StopPost(_) => self.note_aside(cx, NoteKind::Runs(command)),
            Command::StartPre(_) | Command::Exec(_) | Command::StartPost(_) | Command::Stop(_) => {
                self.note(cx, NoteKind::Runs(command));
            }
        }
        cx.out.push(Action::Run { service, generation, number, command, timeout, so_far });
        let until = cx.now + timeout + grace;
        Beside { command, nature, number, began: cx.now, until, late: false }
    }

    fn so_far(&self) -> SoFar {
        let success = &self.policy.success;
        match &self.actual {
            Actual::Ending(ending) => {
                let exit = ending.blame.map_or(ending.exit, |blame| blame.exit);
                let killed = ending.killed;
                let result = ServiceResult::of(ending.failure, exit, killed, success);
                SoFar { result, exit: ending.exit }
            }
            Actual::Stopping(Stopping { cause: StopCause::Failure(failure), .. }) => {
                SoFar { result: ServiceResult::of(Some(*failure), None, false, success), exit: None }
            }
            Actual::Stopping(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => SoFar { result: ServiceResult::Success, exit: None },
        }
    }

    pub(crate) fn run_ended(&mut self, cx: &mut Cx<'_>, number: u64, end: RunEnd) {
        let Some(beside) = self.beside().filter(|beside| beside.number == number) else { return };
        let blame = beside.blame(cx.now, end);
        let next = self.policy.commands.after(beside.command).filter(|_| blame.is_none());
        let reloads = matches!(beside.command, Command::Reload(_));
        let failed = blame
            .filter(|_| !reloads)
            .map(|blame| self.note_by(cx, self.last_link(), NoteKind::RunFailed(blame.command)));
        if let (Some(failed), false) = (failed, matches!(beside.command, Command::StopPost(_))) {
            self.go_on_from(failed);
        }
        if let Some(next) = next {
            let next = self.run_beside(cx, next);
            return self.set_beside(next);
        }
        match &mut self.actual {
            Actual::Starting(child) => {
                child.beside = None;
                let (child, by) = (child.clone(), child.up_by);
                match (blame, by) {
                    (Some(blame), _) => self.stop_blamed(cx, child, blame),
                    (None, Some(by)) => {
                        self.be_up(cx, by);
                        self.answer_up(cx);
                    }
                    (None, None) => {}
                }
            }
            Actual::Up(child) => {
                child.beside = None;
                self.has_reloaded(cx, blame.is_none());
            }
            Actual::Stopping(stopping) => {
                stopping.blame = stopping.blame.or(blame);
                self.ask_to_end(cx);
            }
            Actual::Ending(_) => self.ran_after(cx, blame, failed),
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Backoff { .. }
            | Actual::Parked(_) => {}
        }
    }

    /// Nobody waits for its end.
    pub(super) fn end_beside(&self, cx: &mut Cx<'_>, beside: Beside) {
        let (service, generation, number) = (self.id, self.generation, beside.number);
        if !beside.late {
            cx.out.push(Action::EndRun { service, generation, number });
        }
    }

    /// Its time is over. It is ended, and has failed as soon as that is known, or not heard of.
    pub(super) fn beside_due(&mut self, cx: &mut Cx<'_>) {
        let Some(beside) = self.beside().filter(|beside| beside.until <= cx.now) else { return };
        let reloads = matches!(beside.command, Command::Reload(_));
        self.end_beside(cx, beside);
        if beside.late || reloads {
            self.run_ended(cx, beside.number, RunEnd::Badly(None));
        } else {
            self.set_beside(Beside { late: true, until: cx.now + RUN_GRACE, ..beside });
        }
    }

    /// The process goes from one state to another: what runs beside it has lost its sense.
    pub(super) fn leave_beside(&mut self, cx: &mut Cx<'_>, to: &mut Actual) {
        if let Actual::Stopping(Stopping { child, .. }) = to {
            (child.beside, child.reloading, child.up_by) = (None, None, None);
        }
        let stays = match (&self.actual, &to) {
            (Actual::Starting(_), Actual::Starting(_)) | (Actual::Up(_), Actual::Up(_)) => true,
            (_, _) => false,
        };
        if let (Actual::Starting(child) | Actual::Up(child), false) = (&mut self.actual, stays)
            && let Some(beside) = child.beside.take()
        {
            self.end_beside(cx, beside);
            self.answer_reloads(cx, &Outcome::NotRunning);
        }
    }

    // ---- exec_start_post

    /// It is as ready as it gets: what is to run then runs. False: there is nothing.
    pub(super) fn runs_start_post(&mut self, cx: &mut Cx<'_>, by: UpBy) -> bool {
        if !self.policy.commands.has(Command::StartPost(0)) {
            return false;
        }
        let beside = self.run_beside(cx, Command::StartPost(0));
        if let Actual::Starting(child) = &mut self.actual {
            (child.readiness, child.health) = (None, None);
            (child.beside, child.up_by) = (Some(beside), Some(by));
        }
        self.mind_conditions(cx);
        true
    }

    // ---- exec_reload

    pub(super) fn asked_to_reload(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        if self.policy.commands.reload.is_empty() {
            return self.reply(cx, request, Outcome::NoReload);
        }
        let Actual::Up(child) = &self.actual else {
            return self.reply(cx, request, Outcome::NotRunning);
        };
        // What has changed since the one that runs began is for the next one.
        let next = child.beside.is_some();
        let asked = self.note_by(cx, None, NoteKind::Asked(Verb::Reload));
        self.nudged_by(cx.now, asked);
        self.waiters.push(Waiter { request, goal: Goal::Reloaded { next } });
        if !next {
            self.reload(cx);
        }
    }

    pub(super) fn reload(&mut self, cx: &mut Cx<'_>) {
        for waiter in &mut self.waiters {
            if let Goal::Reloaded { next } = &mut waiter.goal {
                *next = false;
            }
        }
        self.note_reloading(cx);
        let beside = self.run_beside(cx, Command::Reload(0));
        self.set_beside(beside);
    }

    fn has_reloaded(&mut self, cx: &mut Cx<'_>, well: bool) {
        self.note_reloaded(cx, if well { NoteKind::Reloaded } else { NoteKind::ReloadFailed });
        let by_files = self.policy.watch.is_some_and(|watch| watch.action == WatchAction::Reload);
        if !well && by_files {
            let failed = self.nudge(cx.now);
            self.grow_stale(cx, Stale::Files, failed);
        }
        let outcome = if well { Outcome::Done } else { Outcome::ReloadFailed };
        self.answer(cx, |goal| (goal == Goal::Reloaded { next: false }).then(|| outcome.clone()));
        let again = self.waiters.iter().any(|waiter| waiter.goal == Goal::Reloaded { next: true });
        if again && !self.policy.commands.reload.is_empty() {
            self.reload(cx);
        } else if again {
            self.answer_reloads(cx, &Outcome::NoReload);
        }
    }

    fn answer_reloads(&mut self, cx: &mut Cx<'_>, outcome: &Outcome) {
        self.answer(cx, |goal| matches!(goal, Goal::Reloaded { .. }).then(|| outcome.clone()));
    }
}
