//! Which command is next? A start is a row of commands: those of `exec_start_pre`, then `exec`, which is several for a
//! oneshot. Each is a run of its own, with its own generation, output, tree and report; the start goes on when one that is
//! meant to end has ended well.

use super::*;
use crate::policy::Commands;

impl Commands {
    pub(crate) fn first(&self) -> Command {
        if self.start_pre.is_empty() { Command::Exec(0) } else { Command::StartPre(0) }
    }

    /// What follows a command that has ended well; `None`: it was the last.
    pub(super) fn after(&self, command: Command) -> Option<Command> {
        match command {
            Command::StartPre(at) if at + 1 < self.start_pre.len() => Some(Command::StartPre(at + 1)),
            Command::StartPre(_) => Some(Command::Exec(0)),
            Command::Exec(at) => {
                let more = self.oneshot.as_ref().is_some_and(|oneshot| at + 1 < oneshot.exec.len());
                more.then_some(Command::Exec(at + 1))
            }
            Command::StartPost(at) => (at + 1 < self.start_post.len()).then_some(Command::StartPost(at + 1)),
            Command::Reload(at) => (at + 1 < self.reload.len()).then_some(Command::Reload(at + 1)),
            Command::Stop(at) => (at + 1 < self.stop.len()).then_some(Command::Stop(at + 1)),
            Command::StopPost(at) => (at + 1 < self.stop_post.len()).then_some(Command::StopPost(at + 1)),
        }
    }

    pub(super) fn has(&self, command: Command) -> bool {
        match command {
            Command::StartPre(at) => at < self.start_pre.len(),
            Command::Exec(at) => at < self.oneshot.as_ref().map_or(1, |oneshot| oneshot.exec.len()),
            Command::StartPost(at) => at < self.start_post.len(),
            Command::Reload(at) => at < self.reload.len(),
            Command::Stop(at) => at < self.stop.len(),
            Command::StopPost(at) => at < self.stop_post.len(),
        }
    }

    pub(super) fn nature(&self, command: Command) -> Nature {
        let (list, passes) = match (command, &self.oneshot) {
            (Command::StartPre(at), _) => (self.start_pre.get(at), true),
            (Command::Exec(at), Some(oneshot)) => (oneshot.exec.get(at), true),
            (Command::Exec(_), None) => (None, false),
            (Command::StartPost(at), _) => (self.start_post.get(at), true),
            (Command::Reload(at), _) => (self.reload.get(at), true),
            (Command::Stop(at), _) => (self.stop.get(at), true),
            (Command::StopPost(at), _) => (self.stop_post.get(at), true),
        };
        Nature { passes, forgiven: list.copied().unwrap_or(false) }
    }
}

/// What a command that was started is, whatever a reload makes of it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nature {
    /// It is meant to end, and the start goes on then.
    pub(crate) passes: bool,
    /// Its failure is ignored.
    pub(super) forgiven: bool,
}

impl Child {
    /// The health check waits.
    pub(crate) fn is_unarmed(&self) -> bool {
        self.nature.passes || self.readiness.is_some() || self.up_by.is_some()
    }
}

impl Ending {
    /// A command has ended well, and the start goes on.
    pub(crate) fn goes_on(&self) -> bool {
        self.decision.what == What::GoOn
    }

    /// The row of commands that it was part of is no more. Whether there was one.
    pub(crate) fn break_off(&mut self) -> bool {
        let broken = self.goes_on();
        if broken {
            self.decision.what = What::AsAsked;
        }
        broken
    }
}

impl Service {
    /// Was that a good end of a command that is meant to end?
    pub(super) fn passed(&self, exit: Option<Exit>, oom: bool, cause: Option<StopCause>) -> bool {
        let nature = match &self.actual {
            Actual::Spawning(spawning) => Some(spawning.nature),
            Actual::Starting(child) | Actual::Up(child) | Actual::Stopping(Stopping { child, .. }) => {
                Some(child.nature)
            }
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Exited
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => None,
        };
        let well = !oom && exit.is_some_and(|exit| self.policy.success.holds(exit));
        cause.is_none() && nature.is_some_and(|nature| nature.passes && (well || nature.forgiven))
    }

    /// A command has ended well and nothing is left of it.
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>) {
        if let Some(next) = self.policy.commands.after(self.command) {
            return self.spawn_command(cx, next, false);
        }
        self.attempt = 0;
        if self.policy.commands.oneshot.as_ref().is_some_and(|oneshot| oneshot.remain) {
            self.note(cx, NoteKind::Up { after: cx.now.since(self.begun), by: UpBy::Completion });
            self.forget_failures(cx, None);
            self.enter(cx, Actual::Exited);
            self.answer_up(cx);
        } else {
            self.answer_up(cx);
            self.want = Want::Down;
            self.go_down(cx, DownReason::Completed);
        }
    }
}
