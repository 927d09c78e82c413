//! Which commands run when it stops, and after it? Those of `exec_stop`, and whatever runs without a process beside it:
//! `exec_stop_post`, and for a oneshot `exec_start_post` and `exec_stop` too.

use super::*;

/// Which commands are next once nothing of a run is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// `exec_stop`: it was up without a process.
    Stop,
    /// `exec_start_post`, if the last command of a oneshot has ended well.
    StartPost,
    /// `exec_stop_post`, unless it goes on.
    StopPost,
    Over,
}

/// How far the stop of a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// `exec_stop` runs.
    Beside(Beside),
    Ladder(Rung),
}

impl Step {
    pub(super) fn due(self) -> Mono {
        match self {
            Self::Beside(beside) => beside.deadline(),
            Self::Ladder(rung) => rung.at(),
        }
    }
}

impl Ending {
    /// The commands of `exec_start_post` run after the last one of a oneshot.
    pub(crate) fn starts(&self) -> bool {
        self.beside.is_some_and(|beside| matches!(beside.command, Command::StartPost(_)))
    }
}

impl Service {
    /// A service that is up is asked to end by `exec_stop` first. Not one that has to leave a trace of where it hangs.
    pub(super) fn stops_by_commands(&self, cx: &Cx<'_>, cause: StopCause) -> bool {
        let up = match &self.actual {
            Actual::Up(_) => true,
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => false,
        };
        let apt = match cause {
            StopCause::Asked | StopCause::Restart | StopCause::Changed | StopCause::Removed => true,
            StopCause::StoppedWith(_) | StopCause::RestartedWith(_) | StopCause::Unbound(_) => true,
            StopCause::Conflict(_) | StopCause::Watch => true,
            StopCause::Shutdown | StopCause::Failure(Failure::Health) => true,
            StopCause::Failure(
                Failure::Exit
                | Failure::Signal
                | Failure::Oom
                | Failure::Watchdog
                | Failure::StartTimeout
                | Failure::Spawn
                | Failure::StopTimeout,
            ) => false,
            StopCause::EarlierLife | StopCause::Announced => false,
        };
        up && apt && !cx.hurry && self.policy.commands.has(Command::Stop(0))
    }

    pub(super) fn begin_exec_stop(
        &mut self,
        cx: &mut Cx<'_>,
        child: Child,
        cause: StopCause,
        start_now: bool,
    ) {
        // First the state, by which the command is told why it runs.
        let step = Step::Ladder(Rung::Asked(cx.now));
        self.enter(cx, Actual::Stopping(Stopping { child, cause, step, blame: None, start_now }));
        let beside = self.run_beside(cx, Command::Stop(0));
        self.set_beside(beside);
    }

    /// It is up without a process and is to come down. False: no command is in the way.
    pub(super) fn leaves_exited(&mut self, cx: &mut Cx<'_>, cause: StopCause) -> bool {
        let commands = &self.policy.commands;
        let any = commands.has(Command::Stop(0)) || commands.has(Command::StopPost(0));
        if !any || cx.hurry {
            return false;
        }
        self.note_stopping(cx, cause);
        let ending = Ending {
            exit: None,
            failure: None,
            cause: Some(cause),
            pid: None,
            started: cx.now,
            ended: cx.now,
            decision: Decision { what: What::AsAsked, attempt: 0, max: self.policy.restart.max_restarts },
            start_now: false,
            report: Report::Settled,
            lacks: false,
            left: Some(0),
            rung: Rung::Asked(cx.now + self.policy.stop_timeout),
            killed: false,
            stage: Stage::Stop,
            beside: None,
            blame: None,
        };
        self.enter(cx, Actual::Ending(Box::new(ending)));
        self.finish(cx);
        true
    }

    // ---- after the process

    /// Nothing is left of the run: is there a command to run? False: there is none, or none any more.
    pub(super) fn runs_after(&mut self, cx: &mut Cx<'_>) -> bool {
        loop {
            let Actual::Ending(ending) = &self.actual else { return false };
            let (goes_on, up) = (ending.goes_on(), self.want == Want::Up && !ending.start_now);
            let last = self.policy.commands.after(self.command).is_none();
            let remains = self.policy.commands.oneshot.as_ref().is_some_and(|oneshot| oneshot.remain);
            let (command, wanted, then) = match ending.stage {
                Stage::Stop => (Command::Stop(0), true, Stage::StopPost),
                Stage::StartPost => (Command::StartPost(0), goes_on && last && up, Stage::StopPost),
                Stage::StopPost => {
                    let stays = goes_on && up && !self.program_missing && (!last || remains);
                    (Command::StopPost(0), !stays, Stage::Over)
                }
                Stage::Over => return false,
            };
            let runs = wanted && !cx.hurry && self.policy.commands.has(command);
            let beside = runs.then(|| self.run_beside(cx, command));
            let Actual::Ending(ending) = &mut self.actual else { return false };
            ending.stage = then;
            ending.beside = beside;
            if runs {
                if then == Stage::Over && (!last || remains) {
                    // What is cleaned up after does not go on, and is not up.
                    ending.break_off();
                }
                return true;
            }
        }
    }

    /// The last of these commands has ended: what have they left? `failed`: the note that it has failed.
    pub(super) fn ran_after(&mut self, cx: &mut Cx<'_>, blame: Option<Blame>, failed: Option<NoteId>) {
        self.look_after(cx);
        let Some(blame) = blame else { return };
        let (down, attempt) = (self.want == Want::Down, self.attempt);
        let Actual::Ending(ending) = &mut self.actual else { return };
        if ending.failure.is_some() {
            // What failed first has the report.
            return;
        }
        ending.failure = Some(blame.failure);
        ending.blame = Some(blame);
        if ending.decision.what != What::AsAsked {
            let restart = &self.policy.restart;
            ending.decision = if down || ending.start_now {
                Decision { what: What::AsAsked, attempt: 0, max: restart.max_restarts }
            } else if blame.permanent {
                let what = What::Park(ParkReason::CannotStart);
                Decision { what, attempt: 0, max: restart.max_restarts }
            } else {
                restart.decide(Some(blame.failure), blame.exit, attempt, cx.chance)
            };
            ending.mind_what_lacks();
        }
        let asked = ending.decision.what == What::AsAsked;
        let settled = match &mut ending.report {
            Report::Draining { crash, .. } => {
                *crash = true;
                false
            }
            Report::Later { .. } | Report::Writing(_) => false,
            Report::Settled => true,
        };
        self.note_next(cx, failed, NoteKind::Crashed { failure: blame.failure });
        if !asked {
            self.has_failed(cx);
        }
        if settled {
            self.record(cx);
        }
    }

    /// No command runs any more: what is left of the tree, and, if a command of `exec_stop` was waited for, what has the
    /// process said?
    fn look_after(&mut self, cx: &mut Cx<'_>) {
        let (service, generation) = (self.id, self.generation);
        let patience = if cx.hurry { Duration::ZERO } else { self.policy.stop_timeout };
        let Actual::Ending(ending) = &mut self.actual else { return };
        ending.beside = None;
        ending.left = None;
        ending.rung = Rung::Asked(cx.now + patience);
        if let Report::Later { crash } = ending.report {
            ending.report = Report::Draining { crash, until: cx.now + DRAIN_LIMIT };
            cx.out.push(Action::Settle { service, generation });
        } else {
            cx.out.push(Action::Look { service, generation });
        }
    }

    /// The start that these commands were part of is not wanted any more.
    pub(super) fn abandon_start_post(&mut self, cx: &mut Cx<'_>) {
        if let Actual::Ending(ending) = &mut self.actual
            && ending.starts()
        {
            ending.break_off();
            self.abandon_beside(cx);
        }
    }

    /// Nobody gets any more time.
    pub(super) fn abandon_beside(&mut self, cx: &mut Cx<'_>) {
        let Some(beside) = self.beside() else { return };
        match &mut self.actual {
            Actual::Stopping(stopping) => {
                stopping.step = Step::Ladder(Rung::Asked(cx.now));
                self.end_beside(cx, beside);
            }
            Actual::Ending(_) => {
                self.end_beside(cx, beside);
                self.look_after(cx);
            }
            // What ends the process ends these.
            Actual::Starting(_) | Actual::Up(_) => {}
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Backoff { .. }
            | Actual::Parked(_) => {}
        }
    }
}
