//! What runs beside it? Commands that somebody asks for while the process is up. Their failure is no failure of the service.

use super::*;
use crate::event::RUN_GRACE;

/// A command that runs beside the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beside {
    command: Command,
    nature: Nature,
    number: u64,
    /// Not waited for any longer.
    until: Mono,
}

impl Beside {
    pub(crate) fn deadline(&self) -> Mono {
        self.until
    }
}

impl Child {
    pub(crate) fn is_reloading(&self) -> bool {
        self.reloading.is_some() || self.beside.is_some()
    }
}

impl Service {
    pub(super) fn asked_to_reload(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        if self.policy.commands.reload.is_empty() {
            return self.reply(cx, request, Outcome::NoReload);
        }
        let Actual::Up(child) = &self.actual else {
            return self.reply(cx, request, Outcome::NotRunning);
        };
        // What has changed since the one that runs began is for the next one.
        let next = child.beside.is_some();
        self.note_asked(cx, NoteKind::Asked(Verb::Reload));
        self.waiters.push(Waiter { request, goal: Goal::Reloaded { next } });
        if !next {
            self.reload(cx);
        }
    }

    fn reload(&mut self, cx: &mut Cx<'_>) {
        for waiter in &mut self.waiters {
            if let Goal::Reloaded { next } = &mut waiter.goal {
                *next = false;
            }
        }
        self.note(cx, NoteKind::Reloading);
        self.run_beside(cx, Command::Reload(0));
    }

    fn run_beside(&mut self, cx: &mut Cx<'_>, command: Command) {
        let (service, generation) = (self.id, self.generation);
        let (nature, timeout) = (self.policy.commands.nature(command), self.policy.start_timeout);
        let Actual::Up(child) = &mut self.actual else { return };
        child.runs += 1;
        let number = child.runs;
        child.beside = Some(Beside { command, nature, number, until: cx.now + timeout + RUN_GRACE });
        cx.out.push(Action::Run { service, generation, number, command, timeout });
    }

    pub(crate) fn run_ended(&mut self, cx: &mut Cx<'_>, number: u64, ok: bool) {
        let Actual::Up(child) = &mut self.actual else { return };
        let Some(beside) = child.beside.take_if(|beside| beside.number == number) else { return };
        let well = ok || beside.nature.forgiven;
        if let Some(next) = self.policy.commands.after(beside.command).filter(|_| well) {
            return self.run_beside(cx, next);
        }
        self.note(cx, if well { NoteKind::Reloaded } else { NoteKind::ReloadFailed });
        let outcome = if well { Outcome::Done } else { Outcome::ReloadFailed };
        self.answer(cx, |goal| (goal == Goal::Reloaded { next: false }).then(|| outcome.clone()));
        let again = self.waiters.iter().any(|waiter| waiter.goal == Goal::Reloaded { next: true });
        if again && !self.policy.commands.reload.is_empty() {
            self.reload(cx);
        } else if again {
            self.answer_reloads(cx, &Outcome::NoReload);
        }
    }

    /// Not even the time-out was told.
    pub(super) fn beside_due(&mut self, cx: &mut Cx<'_>) {
        let (service, generation) = (self.id, self.generation);
        let Actual::Up(child) = &self.actual else { return };
        let Some(Beside { number, until, .. }) = child.beside.clone() else { return };
        if until <= cx.now {
            cx.out.push(Action::EndRun { service, generation, number });
            self.run_ended(cx, number, false);
        }
    }

    /// The process goes from up to something else: what runs beside it has lost its sense.
    pub(super) fn leave_beside(&mut self, cx: &mut Cx<'_>, to: &mut Actual) {
        let (service, generation) = (self.id, self.generation);
        if let Actual::Stopping(Stopping { child, .. }) = to {
            (child.beside, child.reloading) = (None, None);
        }
        if let (Actual::Up(child), false) = (&mut self.actual, matches!(to, Actual::Up(_)))
            && let Some(beside) = child.beside.take()
        {
            cx.out.push(Action::EndRun { service, generation, number: beside.number });
            self.answer_reloads(cx, &Outcome::NotRunning);
        }
    }

    fn answer_reloads(&mut self, cx: &mut Cx<'_>, outcome: &Outcome) {
        self.answer(cx, |goal| matches!(goal, Goal::Reloaded { .. }).then(|| outcome.clone()));
    }
}
