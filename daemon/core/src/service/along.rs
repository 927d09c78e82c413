//! What befalls a service because of another one.

use super::*;

impl Service {
    /// Another service is started that wants this one up. `asked`: a person starts that one, and then it counts as asked
    /// for here too; otherwise what is parked stays so, and a backoff takes its time.
    pub(crate) fn pull_in(&mut self, cx: &mut Cx<'_>, by: ServiceId, note: Option<NoteId>, asked: bool) {
        if self.removing || cx.shutting_down {
            return;
        }
        match &self.actual {
            Actual::Parked(_) | Actual::Backoff { .. } if !asked => return,
            Actual::Waiting(_) => return,
            Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
                if self.want == Want::Up =>
            {
                return;
            }
            Actual::Down(_)
            | Actual::Parked(_)
            | Actual::Backoff { .. }
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_) => {}
        }
        let wanted = self.note_by(cx, note, NoteKind::Wanted { by });
        // Where it is only not to go after all, nothing follows.
        self.decide(None);
        match &mut self.actual {
            Actual::Down(_) | Actual::Parked(_) if asked => {
                self.decide(Some(wanted));
                self.wanted_anew();
                self.start(cx);
            }
            Actual::Down(_) if self.program_missing => {
                self.decide(Some(wanted));
                self.park(cx, ParkReason::ProgramMissing);
            }
            // Its failures still count: it is started, not forgiven.
            Actual::Down(_) | Actual::Parked(_) | Actual::Backoff { .. } => {
                self.decide(Some(wanted));
                self.want = Want::Up;
                self.start(cx);
            }
            // It was to go.
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Up(_) | Actual::Exited => {
                self.want = Want::Up;
                self.leave = None;
                self.supersede_stops(cx, Verb::Start);
            }
            Actual::Stopping(stopping) => {
                stopping.start_now = true;
                self.want = Want::Up;
                self.decide(Some(wanted));
            }
            Actual::Ending(ending) => {
                // Between two of its commands the start just goes on.
                let goes_on = ending.goes_on();
                ending.start_now = !goes_on;
                self.want = Want::Up;
                if goes_on {
                    self.supersede_stops(cx, Verb::Start);
                } else {
                    self.decide(Some(wanted));
                }
            }
            Actual::Waiting(_) => {}
        }
    }

    /// Another service was stopped by somebody, or is started instead. Says whether those that go with this one have to
    /// be told too.
    pub(crate) fn stop_along(&mut self, cx: &mut Cx<'_>, cause: StopCause, note: Option<NoteId>) -> bool {
        match &self.actual {
            // It was stopped then, and they with it.
            Actual::Down(why) => match why {
                DownReason::NeverStarted
                | DownReason::Stopped
                | DownReason::StoppedWith(_)
                | DownReason::Conflict(_)
                | DownReason::Reset => return false,
                DownReason::Finished(_) | DownReason::Failed(_) | DownReason::Completed => return true,
            },
            Actual::Parked(_) => return true,
            Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. } => {}
        }
        if self.want == Want::Down {
            return false;
        }
        self.want_down(cx, cause, note);
        true
    }

    /// Another service is restarted by somebody: if this one runs, it is restarted too. Says whether those that go with
    /// this one have to be told too.
    pub(crate) fn restart_along(&mut self, cx: &mut Cx<'_>, by: ServiceId, note: Option<NoteId>) -> bool {
        if !self.stays() {
            return false;
        }
        self.decide(note);
        self.postpone_starts();
        self.leave_and_return(cx, StopCause::RestartedWith(by));
        true
    }

    /// It is to go, and to come back. Between two of its commands that is the end of this start.
    fn leave_and_return(&mut self, cx: &mut Cx<'_>, cause: StopCause) {
        if let Actual::Ending(ending) = &mut self.actual {
            ending.start_now = true;
            if ending.break_off() {
                self.abandon_start_post(cx);
            }
        } else {
            self.leave(cause);
        }
    }

    /// One that it is bound to is up no more: it goes, and comes back with it.
    pub(crate) fn lose(&mut self, cx: &mut Cx<'_>, other: ServiceId, note: Option<NoteId>) {
        // It may be only now that it is bound to that one.
        self.decide(note.or(self.heard()));
        self.leave_and_return(cx, StopCause::Unbound(other));
    }
}
