//! From the end of the process until nothing is left of the run: what was that, and what follows? `finish` is the one
//! place where a run that is over turns into what follows.

use super::*;

impl Service {
    pub(crate) fn spawn_failed(&mut self, cx: &mut Cx<'_>, permanent: bool) {
        let Actual::Spawning(spawning) = &self.actual else { return };
        let started = spawning.asked;
        // What failed was the old definition's start; the new one has not been tried.
        let start_now = ((spawning.outdated || spawning.replace.is_some()) && self.want == Want::Up)
            || self.was_to_restart();
        if start_now {
            self.postpone_starts();
        }
        self.forget_leave();
        let (command, ignored) = (self.command, self.passed(None, false, None));
        self.note(cx, NoteKind::SpawnFailed { command, ignored });
        self.end_run(
            cx,
            End {
                exit: None,
                oom: false,
                pid: None,
                started,
                cause: None,
                step: None,
                blame: None,
                start_now,
                permanent,
            },
        );
    }

    pub(crate) fn exited(&mut self, cx: &mut Cx<'_>, exit: Exit, oom: bool) {
        let end = match &self.actual {
            Actual::Starting(child) | Actual::Up(child) => End {
                exit: Some(exit),
                oom,
                pid: Some(child.pid),
                started: child.started,
                cause: None,
                step: None,
                blame: None,
                start_now: self.was_to_restart(),
                permanent: false,
            },
            Actual::Stopping(Stopping { child, cause, step, blame, start_now }) => End {
                exit: Some(exit),
                oom,
                pid: Some(child.pid),
                started: child.started,
                cause: Some(*cause),
                step: Some(*step),
                blame: *blame,
                start_now: *start_now,
                permanent: false,
            },
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => return,
        };
        self.forget_leave();
        let expected = end.cause.is_some_and(|cause| cause != StopCause::Announced);
        self.reset_if_stable(cx);
        let command = self.command;
        let ignored = self.passed(Some(exit), oom, end.cause) && (oom || !self.policy.success.holds(exit));
        let nudge = if expected { None } else { self.nudge(cx.now) };
        self.note_next(cx, nudge, NoteKind::Exited { command, ignored, exit, expected });
        self.end_run(cx, end);
    }

    /// The main process is gone, or never came: what was that, and what follows?
    pub(super) fn end_run(&mut self, cx: &mut Cx<'_>, end: End) {
        let End { exit, oom, pid, started, cause, step, blame, start_now, permanent } = end;
        let passed = self.passed(exit, oom, cause);
        let failure = if passed { None } else { self.failure_of(exit, oom, cause) };
        // The process's own failure says more than that of a command that was to end it.
        let begun = |blame: &Blame| matches!(blame.command, Command::StartPost(_));
        let blame = blame.filter(|blame| failure.is_none() || begun(blame));
        let failure = failure.or(blame.map(|blame| blame.failure));
        let permanent = permanent || blame.is_some_and(|blame| blame.permanent);
        let asked = cause.is_some_and(StopCause::is_asked) || self.want == Want::Down || start_now;
        let decision = if asked {
            Decision { what: What::AsAsked, attempt: 0, max: self.policy.restart.max_restarts }
        } else if passed {
            Decision { what: What::GoOn, attempt: 0, max: self.policy.restart.max_restarts }
        } else if permanent {
            // Whatever `restart.when` says: a reason to look at is of more use than the same failure again.
            let what = What::Park(ParkReason::CannotStart);
            Decision { what, attempt: 0, max: self.policy.restart.max_restarts }
        } else {
            let exit = blame.map_or(exit, |blame| blame.exit);
            self.policy.restart.decide(failure, exit, self.attempt, cx.chance)
        };
        // An end that is no failure is worth a report only where the policy means the service never to end.
        let always = self.policy.restart.when == crate::policy::When::Always;
        let by_itself = !passed && matches!(cause, None | Some(StopCause::Announced));
        let crash = failure.is_some() || (by_itself && always && !asked);
        let failure = failure.or(crash.then_some(Failure::Exit));
        if let Some(failure) = failure {
            self.note(cx, NoteKind::Crashed { failure });
            if !asked {
                self.has_failed(cx);
            }
        }
        let grace = self.policy.stop_timeout;
        let (rung, beside) = match step {
            Some(Step::Ladder(rung)) => (rung, None),
            Some(Step::Beside(beside)) => (Rung::Asked(cx.now + grace), Some(beside)),
            None => (Rung::Asked(cx.now + grace), None),
        };
        let report = if beside.is_some() {
            Report::Later { crash }
        } else {
            Report::Draining { crash, until: cx.now + DRAIN_LIMIT }
        };
        let ending = Ending {
            exit,
            failure,
            cause,
            pid,
            started,
            ended: cx.now,
            decision,
            start_now,
            report,
            lacks: false,
            left: None,
            rung,
            killed: matches!(rung, Rung::Killed(_)),
            stage: Stage::StartPost,
            beside,
            blame,
        };
        self.enter(cx, Actual::Ending(Box::new(ending)));
        if beside.is_some() {
            // It may well be what ends the process, and is a part of the tree that is looked at then.
        } else if exit.is_some() {
            cx.out.push(Action::Settle { service: self.id, generation: self.generation });
        } else {
            // There was no process: nothing to read, nothing left.
            self.tree_left(cx, 0);
            self.drained(cx);
        }
    }

    pub(super) fn failure_of(
        &self,
        exit: Option<Exit>,
        oom: bool,
        cause: Option<StopCause>,
    ) -> Option<Failure> {
        let Some(exit) = exit else { return Some(Failure::Spawn) };
        if oom && !matches!(cause, Some(StopCause::Failure(_))) {
            // However the main process took it, and whether or not somebody asked it to end just then.
            return Some(Failure::Oom);
        }
        match cause {
            Some(StopCause::Failure(failure)) => Some(failure),
            None | Some(StopCause::Announced) if self.policy.success.holds(exit) => None,
            None | Some(StopCause::Announced) => Some(match exit {
                Exit::Code(_) => Failure::Exit,
                Exit::Signal { .. } => Failure::Signal,
            }),
            // Every other one was asked for.
            Some(_) => match exit {
                Exit::Signal { signal, .. }
                    if is_crash_signal(signal) && signal != self.policy.stop_signal =>
                {
                    Some(Failure::Signal)
                }
                Exit::Signal { .. } | Exit::Code(_) => None,
            },
        }
    }

    /// What was decided without knowing that is decided anew, while the report can still say so. That is a guess from
    /// words, if a good one: who wants to go on at the limit wants to go on here.
    pub(crate) fn lacks(&mut self) {
        let Actual::Ending(ending) = &mut self.actual else { return };
        if let (Report::Draining { .. }, true) = (ending.report, self.policy.restart.park_at_limit) {
            ending.lacks = true;
            ending.mind_what_lacks();
        }
    }

    pub(crate) fn drained(&mut self, cx: &mut Cx<'_>) {
        let Actual::Ending(ending) = &mut self.actual else { return };
        let Report::Draining { crash, .. } = ending.report else { return };
        if crash {
            self.record(cx);
        } else {
            ending.report = Report::Settled;
            self.finish(cx);
        }
    }

    /// Asks for the report of this failure.
    pub(super) fn record(&mut self, cx: &mut Cx<'_>) {
        let Actual::Ending(ending) = &self.actual else { return };
        let Some(crash) = self.crash(ending) else { return };
        cx.out.push(Action::RecordCrash(Box::new(crash)));
        if let Actual::Ending(ending) = &mut self.actual {
            ending.report = Report::Writing(cx.now + RECORD_LIMIT);
        }
    }

    /// What a report says of it; `None`: it was no failure.
    pub(super) fn crash(&self, ending: &Ending) -> Option<Crash> {
        let blame = ending.blame;
        Some(Crash {
            service: self.id,
            generation: self.generation,
            failure: ending.failure?,
            exit: blame.map_or(ending.exit, |blame| blame.exit),
            pid: ending.pid,
            started: ending.started,
            ended: ending.ended,
            decision: ending.decision,
            command: blame.map_or(self.command, |blame| blame.command),
            beside: blame.map(|blame| Blamed { number: blame.number, took: blame.took }),
        })
    }

    pub(crate) fn crash_recorded(&mut self, cx: &mut Cx<'_>) {
        let Actual::Ending(ending) = &mut self.actual else { return };
        if let Report::Writing(_) = ending.report {
            ending.report = Report::Settled;
            self.finish(cx);
        }
    }

    pub(crate) fn tree_left(&mut self, cx: &mut Cx<'_>, left: u32) {
        let stop_signal = self.policy.stop_signal;
        let Actual::Ending(ending) = &mut self.actual else { return };
        if ending.left == Some(0) {
            // That look was the last one; this is an older one's news.
            return;
        }
        let first_look = ending.left.is_none();
        ending.left = Some(left);
        if left == 0 {
            self.finish(cx);
            return;
        }
        let signal = match ending.rung {
            // Asked once: a second SIGTERM means "at once" to many a server.
            Rung::Asked(_) if !first_look => return,
            Rung::Asked(_) => stop_signal,
            // Whatever comes to light after SIGKILL gets it too: children of what was killed.
            Rung::Killed(_) | Rung::Deaf(_) => SIGKILL,
        };
        if first_look {
            self.note_aside(cx, NoteKind::Leftovers { left });
        }
        self.signal_tree(cx, signal);
    }

    /// When everything about the dead run is settled, what follows?
    pub(super) fn finish(&mut self, cx: &mut Cx<'_>) {
        let Actual::Ending(ending) = &self.actual else { return };
        if ending.report != Report::Settled || ending.left != Some(0) || ending.beside.is_some() {
            return;
        }
        if self.runs_after(cx) {
            return;
        }
        let Actual::Ending(ending) = &self.actual else { return };
        let ending = (**ending).clone();
        cx.out.push(Action::Forget { service: self.id, generation: self.generation });
        let ended_by_itself = !ending.cause.is_some_and(StopCause::is_asked);
        if ended_by_itself && !ending.goes_on() {
            // Who waited for this run to be up learns that it is not going to be.
            let generation = self.generation;
            let outcome = Outcome::StartFailed {
                generation,
                failure: ending.failure,
                exit: ending.blame.map_or(ending.exit, |blame| blame.exit),
                decision: ending.decision,
            };
            self.answer(cx, |goal| match goal {
                Goal::Up { generation: wanted } => (wanted <= generation).then(|| outcome.clone()),
                Goal::Down | Goal::Reloaded { .. } => None,
            });
        }
        if self.want == Want::Down {
            if ending.is_inherited() {
                self.go_down(cx, DownReason::NeverStarted);
            } else {
                self.go_down_as_asked(cx);
            }
        } else if self.program_missing {
            self.park(cx, ParkReason::ProgramMissing);
        } else if ending.start_now || !ended_by_itself {
            self.answer_down(cx);
            self.start(cx);
        } else {
            self.follow(cx, &ending);
        }
    }

    /// Carries out what was decided when the run ended.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_>, ending: &Ending) {
        // Whatever somebody else wanted of this run, it ended by itself before that.
        self.decide(None);
        match ending.decision.what {
            What::Restart(delay) => {
                self.attempt = ending.decision.attempt;
                self.restarts_total += 1;
                let until = ending.ended + delay;
                self.note(cx, NoteKind::Backoff { delay, attempt: self.attempt });
                if until <= cx.now {
                    self.start(cx);
                } else {
                    self.enter(cx, Actual::Backoff { until, failure: ending.failure });
                }
            }
            What::Park(why) => self.park(cx, why),
            What::GoOn => self.go_on(cx),
            What::StayDown | What::AsAsked => {
                self.want = Want::Down;
                let why = match (ending.failure, ending.exit) {
                    (Some(failure), _) => DownReason::Failed(failure),
                    (None, Some(exit)) => DownReason::Finished(exit),
                    (None, None) => DownReason::Stopped,
                };
                self.go_down(cx, why);
            }
        }
    }
}

impl Ending {
    /// No restart brings what it lacks, and that says more than that a limit is reached.
    pub(super) fn mind_what_lacks(&mut self) {
        if let (true, What::Restart(_) | What::Park(ParkReason::Limit { .. })) =
            (self.lacks, self.decision.what)
        {
            self.decision.what = What::Park(ParkReason::Lacking);
            self.decision.attempt = 0;
        }
    }
}

/// The end of a run, as `end_run` wants to know it.
pub(super) struct End {
    exit: Option<Exit>,
    oom: bool,
    pid: Option<u32>,
    started: Mono,
    cause: Option<StopCause>,
    step: Option<Step>,
    blame: Option<Blame>,
    start_now: bool,
    /// Nothing that time or another try could mend.
    permanent: bool,
}
