//! What people ask of a service.

use super::*;

impl Service {
    pub(crate) fn command(&mut self, cx: &mut Cx<'_>, request: RequestId, verb: Verb) {
        match verb {
            Verb::Start => self.asked_to_start(cx, request),
            Verb::Restart => self.asked_to_restart(cx, request),
            Verb::Stop => self.asked_to_stop(cx, request),
            Verb::Reset => self.asked_to_reset(cx, request),
            Verb::Reload => self.asked_to_reload(cx, request),
            Verb::Signal(signal, whom) => self.asked_to_signal(cx, request, signal, whom),
        }
    }

    pub(super) fn refuses_start(&self, cx: &mut Cx<'_>, request: RequestId) -> bool {
        if cx.shutting_down {
            self.reply(cx, request, Outcome::ShuttingDown);
        } else if self.removing {
            self.reply(cx, request, Outcome::Removed);
        } else {
            return false;
        }
        true
    }

    pub(super) fn wait_for_up(&mut self, request: RequestId, generation: u64) {
        self.waiters.push(Waiter { request, goal: Goal::Up { generation } });
    }

    /// A person wants it up: what was before does not count, and its program may be there by now.
    pub(super) fn wanted_anew(&mut self) {
        self.want = Want::Up;
        self.attempt = 0;
        self.program_missing = false;
        self.watched.lift();
    }

    pub(super) fn asked_to_start(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        if self.refuses_start(cx, request) {
            return;
        }
        if self.want == Want::Down {
            // The stop that waited for others to go first has not begun.
            self.leave = None;
            if !matches!(self.actual, Actual::Down(_) | Actual::Parked(_)) {
                self.decide(None);
            }
        }
        let asked = self.note_word(cx, None, NoteKind::Asked(Verb::Start));
        if self.counts_as_up() {
            self.want = Want::Up;
            self.supersede_stops(cx, Verb::Start);
            self.reply(cx, request, Outcome::Already);
            return;
        }
        self.wanted_anew();
        // A start between two of its commands is one that is on its way.
        let goes_on = matches!(&self.actual, Actual::Ending(ending) if ending.goes_on());
        if goes_on || !self.started_anew(cx, request, asked) {
            self.supersede_stops(cx, Verb::Start);
            let next = u64::from(self.was_to_restart());
            self.wait_for_up(request, self.generation + next);
        }
    }

    /// Where nothing runs, or what runs is on its way down, a start and a restart are the same: a new process as soon as
    /// may be. False, and nothing done, where a process is there or on its way.
    fn started_anew(&mut self, cx: &mut Cx<'_>, request: RequestId, asked: NoteId) -> bool {
        match &self.actual {
            Actual::Down(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_)
            | Actual::Stopping(_)
            | Actual::Ending(_) => self.decide(Some(asked)),
            // It starts already, for what it starts for.
            Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited => {}
        }
        match &mut self.actual {
            Actual::Down(_) | Actual::Backoff { .. } | Actual::Parked(_) => {
                self.start(cx);
                self.wait_for_up(request, self.generation + 1);
            }
            Actual::Waiting(_) => self.wait_for_up(request, self.generation + 1),
            Actual::Stopping(stopping) => {
                stopping.start_now = true;
                self.wait_for_up(request, self.generation + 1);
            }
            Actual::Ending(ending) => {
                ending.start_now = true;
                if ending.break_off() {
                    self.postpone_starts();
                    self.abandon_start_post(cx);
                }
                self.wait_for_up(request, self.generation + 1);
            }
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Up(_) | Actual::Exited => return false,
        }
        true
    }

    pub(super) fn asked_to_restart(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        if self.refuses_start(cx, request) {
            return;
        }
        let asked = self.note_word(cx, None, NoteKind::Asked(Verb::Restart));
        self.wanted_anew();
        if self.started_anew(cx, request, asked) {
            return;
        }
        if self.running().is_some() || matches!(self.actual, Actual::Exited) {
            self.decide(Some(asked));
            self.leave(StopCause::Restart);
            self.postpone_starts();
            self.wait_for_up(request, self.generation + 1);
        } else {
            // The process that is on its way is as new as one that would be asked for now.
            self.decide(None);
            self.supersede_stops(cx, Verb::Restart);
            let next = u64::from(self.was_to_restart());
            self.wait_for_up(request, self.generation + next);
        }
    }

    /// Whoever waits for this process to be up waits for the next one instead.
    pub(super) fn postpone_starts(&mut self) {
        for waiter in &mut self.waiters {
            if let Goal::Up { generation } = &mut waiter.goal {
                *generation = (*generation).max(self.generation + 1);
            }
        }
    }

    pub(super) fn asked_to_stop(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        let asked = self.note_word(cx, None, NoteKind::Asked(Verb::Stop));
        if let Actual::Down(why) = self.actual {
            self.want = Want::Down;
            self.forget_failures(cx, Some(asked));
            if why == DownReason::Completed {
                self.decide(Some(asked));
                // It is not to do its work again by itself.
                self.go_down(cx, DownReason::Stopped);
            }
            self.reply(cx, request, Outcome::Already);
            return;
        }
        self.waiters.push(Waiter { request, goal: Goal::Down });
        self.want_down(cx, StopCause::Asked, Some(asked));
    }

    /// Down is wanted from now on, whatever was. `by`: the note of that.
    pub(crate) fn want_down(&mut self, cx: &mut Cx<'_>, cause: StopCause, by: Option<NoteId>) {
        self.forget_failures(cx, by);
        match &self.actual {
            Actual::Down(_) => {}
            // It is on its way down for another reason.
            Actual::Stopping(_) | Actual::Ending(_) if self.want == Want::Down => {}
            Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => self.decide(by),
        }
        self.want = Want::Down;
        self.why_down = cause;
        self.supersede_starts(cx, Verb::Stop);
        match &mut self.actual {
            Actual::Down(_) => {
                self.watched.forget_changes();
                self.answer_down(cx);
            }
            Actual::Waiting(_) | Actual::Backoff { .. } | Actual::Parked(_) => self.go_down_as_asked(cx),
            Actual::Starting(_) | Actual::Up(_) | Actual::Exited => self.leave(cause),
            // The answer is owed; it is stopped when it is there.
            Actual::Spawning(_) => {}
            // It is on its way already. A restart that became a stop is a stop; a failure stays one, for the report.
            Actual::Stopping(stopping) => {
                stopping.start_now = false;
                match stopping.cause {
                    StopCause::Restart
                    | StopCause::Changed
                    | StopCause::RestartedWith(_)
                    | StopCause::Unbound(_)
                    | StopCause::Watch
                    | StopCause::Announced => stopping.cause = cause,
                    StopCause::Asked
                    | StopCause::Removed
                    | StopCause::Shutdown
                    | StopCause::EarlierLife
                    | StopCause::StoppedWith(_)
                    | StopCause::Conflict(_)
                    | StopCause::Failure(_) => {}
                }
            }
            Actual::Ending(ending) => {
                ending.start_now = false;
                self.abandon_start_post(cx);
            }
        }
    }

    pub(super) fn asked_to_reset(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        let asked = self.note_by(cx, None, NoteKind::Asked(Verb::Reset));
        self.forget_failures(cx, Some(asked));
        self.attempt = 0;
        self.watched.lift();
        match &mut self.actual {
            Actual::Parked(_) => {
                self.decide(Some(asked));
                self.go_down(cx, DownReason::Reset);
            }
            // It was decided with the failures that are now forgotten; what time does not mend is none of them.
            Actual::Ending(ending)
                if !matches!(
                    ending.decision.what,
                    What::AsAsked | What::GoOn | What::Park(ParkReason::CannotStart)
                ) =>
            {
                let exit = ending.blame.map_or(ending.exit, |blame| blame.exit);
                ending.decision = self.policy.restart.decide(ending.failure, exit, 0, cx.chance);
                ending.mind_what_lacks();
            }
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. } => {}
        }
        self.reply(cx, request, Outcome::Done);
    }

    pub(super) fn asked_to_signal(&mut self, cx: &mut Cx<'_>, request: RequestId, signal: i32, whom: Whom) {
        if self.child().is_none() {
            self.reply(cx, request, Outcome::NotRunning);
            return;
        }
        let asked = self.note_by(cx, None, NoteKind::Asked(Verb::Signal(signal, whom)));
        self.nudged_by(cx.now, asked);
        cx.out.push(Action::Signal { service: self.id, generation: self.generation, signal, whom });
        self.reply(cx, request, Outcome::Done);
    }

    /// Everything at once: SIGKILL to whatever lives.
    pub(crate) fn hurry(&mut self, cx: &mut Cx<'_>) {
        match &mut self.actual {
            Actual::Stopping(stopping) => match stopping.step {
                Step::Ladder(Rung::Asked(_)) => stopping.step = Step::Ladder(Rung::Asked(cx.now)),
                Step::Ladder(Rung::Killed(_) | Rung::Deaf(_)) => {}
                Step::Beside(_) => self.abandon_beside(cx),
            },
            Actual::Ending(ending) => {
                if let Rung::Asked(_) = ending.rung {
                    ending.rung = Rung::Asked(cx.now);
                }
                self.abandon_beside(cx);
            }
            // Whoever was to stop before it gets no time either.
            Actual::Starting(_) | Actual::Up(_) | Actual::Exited => self.leave_now(cx),
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => {}
        }
    }
}
