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
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Up(_) | Actual::Stopping(_)
                if self.want == Want::Up =>
            {
                return;
            }
            Actual::Ending(_) if self.want == Want::Up => return,
            Actual::Down(_)
            | Actual::Parked(_)
            | Actual::Backoff { .. }
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Stopping(_)
            | Actual::Ending(_) => {}
        }
        self.cause = note.or(self.cause);
        self.note(cx, NoteKind::Wanted { by });
        match &mut self.actual {
            Actual::Down(_) | Actual::Parked(_) if asked => {
                self.wanted_anew();
                self.start(cx);
            }
            Actual::Down(_) if self.program_missing => self.park(cx, ParkReason::ProgramMissing),
            // Its failures still count: it is started, not forgiven.
            Actual::Down(_) | Actual::Parked(_) | Actual::Backoff { .. } => {
                self.want = Want::Up;
                self.start(cx);
            }
            // It was to go.
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Up(_) => {
                self.want = Want::Up;
                self.leave = None;
                self.supersede_stops(cx, Verb::Start);
            }
            Actual::Stopping(stopping) => {
                stopping.start_now = true;
                self.want = Want::Up;
            }
            Actual::Ending(ending) => {
                ending.start_now = true;
                self.want = Want::Up;
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
                DownReason::Finished(_) | DownReason::Failed(_) => return true,
            },
            Actual::Parked(_) => return true,
            Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. } => {}
        }
        if self.want == Want::Down {
            return false;
        }
        self.cause = note.or(self.cause);
        self.want_down(cx, cause);
        true
    }

    /// Another service is restarted by somebody: if this one runs, it is restarted too. Says whether those that go with
    /// this one have to be told too.
    pub(crate) fn restart_along(&mut self, by: ServiceId, note: Option<NoteId>) -> bool {
        if !self.stays() {
            return false;
        }
        self.cause = note.or(self.cause);
        self.postpone_starts();
        self.leave(StopCause::RestartedWith(by));
        true
    }

    /// One that it is bound to is up no more: it goes, and comes back with it.
    pub(crate) fn lose(&mut self, other: ServiceId, note: Option<NoteId>) {
        self.cause = note.or(self.cause);
        self.leave(StopCause::Unbound(other));
    }
}
