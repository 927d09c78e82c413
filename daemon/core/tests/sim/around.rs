//! The commands around a process: what is known of them, apart from the core, and what must hold.

use std::time::Duration;

use mcpd_core::Mono;
use mcpd_core::action::{Command, StopCause};
use mcpd_core::event::{RUN_GRACE, RunEnd};
use mcpd_core::policy::Commands;
use mcpd_core::verdict::Failure;

use super::invariants::broken;
use super::ledger::{Check, Ledger};
use super::life::Life;

/// One that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    pub(crate) command: Command,
    number: u64,
    since: Mono,
    timeout: Duration,
    forgiven: bool,
    /// It was ended then, for its time was over.
    late: Option<Mono>,
}

/// Those of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Around {
    pub(crate) runs: Option<Running>,
    /// So many there were.
    count: u64,
    last: Option<Command>,
    /// The last one ended well, or that is ignored.
    pub(crate) passed: bool,
    /// It failed, and that is told.
    failed: bool,
    pub(crate) begun: Begun,
    /// `exec_stop` has to run before it is asked to end.
    owes_stop: bool,
    /// A command of it failed.
    pub(crate) stop_failed: bool,
    /// A command of `exec_start_post` had no more time.
    pub(crate) start_late: bool,
    /// A command of `exec_start_post` could not be started, and never will be.
    pub(crate) cannot: bool,
    /// It was up without a process and comes down.
    leaves: bool,
    /// What these commands left has time until then.
    pub(crate) grace: Option<Mono>,
    /// Forgotten without `exec_stop_post`: right if it goes on.
    unclean: bool,
}

/// Which lists have begun.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Begun {
    pub(crate) start_post: bool,
    stop: bool,
    stop_post: bool,
}

impl Around {
    /// None runs, as far as anybody can know.
    pub(crate) fn is_free(&self, now: Mono) -> bool {
        self.runs.is_none_or(|runs| runs.late.is_some_and(|at| now >= at + RUN_GRACE))
    }

    /// The next one of the list may follow, or what follows the list.
    fn goes_on(&self) -> bool {
        self.runs.map_or(self.passed, |runs| runs.forgiven)
    }

    pub(crate) fn stops(&self) -> bool {
        self.runs.is_some_and(|runs| matches!(runs.command, Command::Stop(_)))
    }

    pub(crate) fn starts(&self) -> bool {
        self.runs.is_some_and(|runs| matches!(runs.command, Command::StartPost(_)))
    }

    /// It is ready and not up yet.
    pub(crate) fn posts(&self, life: &Life) -> bool {
        self.begun.start_post && life.up.is_none()
    }

    pub(crate) fn ran(&mut self, number: u64, end: RunEnd) {
        if let Some(runs) = self.runs.take_if(|runs| runs.number == number) {
            self.last = Some(runs.command);
            let well = end == RunEnd::Well && runs.late.is_none();
            (self.passed, self.failed) = (well || runs.forgiven, !well && !runs.forgiven);
            let starts = matches!(runs.command, Command::StartPost(_));
            self.cannot = starts && end == RunEnd::Cannot && runs.late.is_none() && !runs.forgiven;
            self.start_late |= runs.late.is_some() && matches!(runs.command, Command::StartPost(_));
        }
    }

    pub(crate) fn run(
        &mut self,
        now: Mono,
        commands: &Commands,
        command: Command,
        number: u64,
        timeout: Duration,
    ) {
        let list = match command {
            Command::StartPost(at) => (&commands.start_post, at),
            Command::Reload(at) => (&commands.reload, at),
            Command::Stop(at) => (&commands.stop, at),
            Command::StopPost(at) => (&commands.stop_post, at),
            Command::StartPre(at) | Command::Exec(at) => (&commands.start_pre, at),
        };
        let forgiven = list.0.get(list.1) == Some(&true);
        self.runs = Some(Running { command, number, since: now, timeout, forgiven, late: None });
        self.count = number;
        self.failed = false;
        match command {
            Command::StartPost(_) => self.begun.start_post = true,
            Command::Stop(_) => {
                self.begun.stop = true;
                self.owes_stop = false;
            }
            Command::StopPost(_) => self.begun.stop_post = true,
            Command::StartPre(_) | Command::Exec(_) | Command::Reload(_) => {}
        }
    }

    /// What was ended already because its time was over is not waited for any more.
    pub(crate) fn void(&mut self) {
        self.runs.take_if(|runs| runs.late.is_some());
        self.passed = false;
    }

    pub(crate) fn ended(&mut self, now: Mono) {
        let Some(runs) = &mut self.runs else { return };
        let reloads = matches!(runs.command, Command::Reload(_));
        if now >= runs.since + runs.timeout && !reloads {
            runs.late = Some(now);
        } else {
            // A reload that takes too long has failed at once.
            (self.last, self.passed) = (Some(runs.command), reloads && runs.forgiven);
            self.runs = None;
        }
    }

    /// What was ended because its time was over, and was not heard of since, is not waited for any longer.
    pub(crate) fn given_up(&mut self, now: Mono) {
        if let Some(runs) = self.runs.take_if(|runs| runs.late.is_some_and(|at| now >= at + RUN_GRACE)) {
            self.last = Some(runs.command);
            (self.passed, self.failed) = (runs.forgiven, !runs.forgiven);
            self.start_late |= matches!(runs.command, Command::StartPost(_));
        }
    }

    /// It is said to have failed: with news of it, or without any.
    pub(crate) fn said_failed(&mut self, command: Command) {
        if let Some(runs) = self.runs.take() {
            self.last = Some(runs.command);
            self.start_late |= matches!(runs.command, Command::StartPost(_));
        }
        (self.passed, self.failed) = (false, false);
        self.stop_failed |= matches!(command, Command::Stop(_));
    }

    pub(crate) fn stopping(&mut self, was_up: bool, remained: bool, why: StopCause, commands: &Commands) {
        let apt = match why {
            StopCause::Failure(Failure::Health) => true,
            StopCause::Failure(_) | StopCause::EarlierLife | StopCause::Announced => false,
            // Whoever asked for it.
            StopCause::Asked
            | StopCause::Restart
            | StopCause::Changed
            | StopCause::Removed
            | StopCause::Shutdown
            | StopCause::StoppedWith(_)
            | StopCause::RestartedWith(_)
            | StopCause::Unbound(_)
            | StopCause::Conflict(_)
            | StopCause::Watch => true,
        };
        self.owes_stop = apt && (was_up || remained) && !commands.stop.is_empty();
        self.leaves = remained;
        if self.starts() {
            self.void();
        }
    }

    /// It is up without a process: that it comes down is still to come.
    pub(crate) fn stays(&mut self) {
        self.unclean = false;
    }

    pub(crate) fn forgotten(&mut self, commands: &Commands) {
        self.unclean = !self.begun.stop_post && !commands.stop_post.is_empty();
    }
}

/// One at a time, in order, each list where it belongs.
pub(super) fn what_runs_around_comes_in_order(
    life: &Life,
    now: Mono,
    generation: u64,
    number: u64,
    command: Command,
) -> Check {
    let around = &life.around;
    let lives = life.alive && life.stop.is_none();
    let over = !life.alive && !life.owed && !life.settled;
    let fits = match command {
        Command::Reload(_) => lives && life.up.is_some(),
        Command::StartPost(_) => {
            let ready = lives && life.up.is_none() && life.start.unready == life.start.seen && !life.passes;
            ready || (over && life.completed)
        }
        Command::Stop(_) => {
            let asked = life.stop.is_some_and(|(_, cause, _)| cause != StopCause::Announced);
            let was_up = life.up.is_some() || around.leaves;
            was_up && (asked || around.leaves) && (life.alive || over)
        }
        Command::StopPost(_) => over,
        Command::StartPre(_) | Command::Exec(_) => false,
    };
    let (first, before) = match command {
        Command::StartPost(0) => (!around.begun.start_post, None),
        Command::Stop(0) => (!around.begun.stop, None),
        Command::StopPost(0) => (!around.begun.stop_post, None),
        Command::StartPre(0) | Command::Exec(0) | Command::Reload(0) => (true, None),
        Command::StartPost(at) => (false, Some(Command::StartPost(at - 1))),
        Command::Stop(at) => (false, Some(Command::Stop(at - 1))),
        Command::StopPost(at) => (false, Some(Command::StopPost(at - 1))),
        Command::StartPre(at) | Command::Exec(at) | Command::Reload(at) => {
            (false, Some(Command::Reload(at - 1)))
        }
    };
    let last = around.runs.map_or(around.last, |runs| Some(runs.command));
    let follows = first || (before.is_some() && last == before && around.goes_on());
    let counted = number == around.count + 1 && generation == life.generation;
    if fits && follows && counted && around.is_free(now) {
        Ok(())
    } else {
        broken!("what_runs_around_comes_in_order", "{command:?} {number} of {generation}: {life:?}")
    }
}

/// What runs around it has its time, unless what it is for is no more.
pub(super) fn what_runs_around_has_its_time(
    ledger: &Ledger,
    life: &Life,
    now: Mono,
    generation: u64,
    number: u64,
) -> Check {
    let runs = life.around.runs.filter(|runs| runs.number == number && runs.late.is_none());
    let Some(runs) = runs.filter(|_| life.generation == generation) else {
        return broken!("what_runs_around_is_ended_once", "{number}: {life:?}");
    };
    let void = match runs.command {
        Command::StartPost(_) => {
            life.stop.is_some() || life.down_since.is_some() || life.asked || (!life.alive && !life.completed)
        }
        Command::Reload(_) => true,
        Command::Stop(_) | Command::StopPost(_) | Command::StartPre(_) | Command::Exec(_) => false,
    };
    if void || ledger.shutdowns > 1 || now >= runs.since + runs.timeout {
        Ok(())
    } else {
        broken!("what_runs_around_has_its_time", "now {now:?}: {life:?}")
    }
}

/// A failure that is told is one: it ended badly, or too late.
pub(super) fn only_what_failed_is_said_to(life: &Life, now: Mono, command: Command) -> Check {
    let around = &life.around;
    let silent =
        around.runs.is_some_and(|runs| !runs.forgiven && runs.command == command) && around.is_free(now);
    if (around.failed && around.last == Some(command)) || silent {
        Ok(())
    } else {
        broken!("only_what_failed_is_said_to", "{command:?}: {life:?}")
    }
}

/// Who was up is asked to end by `exec_stop`, and gets a signal only once that is over.
pub(super) fn exec_stop_comes_first(ledger: &Ledger, life: &Life, now: Mono) -> Check {
    let around = &life.around;
    let waits = around.owes_stop || (around.stops() && !around.is_free(now));
    if waits && !life.person_signals && ledger.shutdowns < 2 {
        broken!("exec_stop_comes_first", "{life:?}")
    } else {
        Ok(())
    }
}

/// Nothing runs around it any more when somebody looks at what is left.
pub(super) fn nothing_runs_around(life: &Life, now: Mono) -> Check {
    if life.around.is_free(now) { Ok(()) } else { broken!("nothing_runs_around", "{life:?}") }
}

/// Up is what has been through `exec_start_post`.
pub(super) fn up_means_that_start_post_ended_well(life: &Life, now: Mono) -> Check {
    let around = &life.around;
    let due = !life.policy.commands.start_post.is_empty();
    if around.is_free(now) && (if around.begun.start_post { around.goes_on() } else { !due }) {
        Ok(())
    } else {
        broken!("up_means_that_start_post_ended_well", "{life:?}")
    }
}

/// After every end comes `exec_stop_post`, before whatever follows.
pub(super) fn what_ends_is_cleaned_up_after(ledger: &Ledger, life: &Life) -> Check {
    let commands = &life.policy.commands;
    let left = life.remains && !(commands.stop_post.is_empty() && commands.stop.is_empty());
    let owes = life.around.unclean || life.around.owes_stop || left;
    if owes && ledger.shutdowns < 2 { broken!("what_ends_is_cleaned_up_after", "{life:?}") } else { Ok(()) }
}
