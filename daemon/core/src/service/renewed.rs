//! Its program changed on disk: the process is older than that, or what kept it down may be gone.

use super::*;
use crate::action::Stale;
use crate::event::PROGRAM_SETTLES;

/// What is known of the program on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Renewed {
    /// What is newer than the process, and since when.
    stale: Option<(Stale, Mono)>,
    /// When the program last changed while there was no process; a start takes that in.
    changed: Option<Mono>,
}

impl Renewed {
    /// A process is asked for.
    pub(super) fn begun(&mut self) {
        *self = Self::default();
    }

    /// It is there, or none is wanted.
    pub(super) fn forget_change(&mut self) {
        self.changed = None;
    }
}

impl Service {
    /// The program, or what else has to be there for a start, changed. A process that is still being made may be the old or
    /// the new one; whoever watches compares then.
    pub(crate) fn program_changed(&mut self, cx: &mut Cx<'_>) {
        match &self.actual {
            Actual::Starting(_) | Actual::Up(_) => self.grow_stale(cx, Stale::Program, None),
            Actual::Spawning(_) | Actual::Ending(_) | Actual::Parked(_) => {
                if !cx.shutting_down && !self.removing {
                    self.renewed.changed = Some(cx.now);
                }
            }
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Backoff { .. } => {}
        }
    }

    /// Something on disk is newer than the process: said once. `by`: the note of that.
    pub(super) fn grow_stale(&mut self, cx: &mut Cx<'_>, what: Stale, by: Option<NoteId>) {
        if self.renewed.stale.is_none() && self.running().is_some() {
            self.renewed.stale = Some((what, cx.now));
            self.note_by(cx, by, NoteKind::Stale { what });
        }
    }

    /// What is newer than the process, and since when; while there is one.
    pub(crate) fn stale(&self) -> Option<(Stale, Mono)> {
        self.renewed.stale.filter(|_| self.child().is_some())
    }

    /// When a service that is parked for want of a working program is tried again.
    pub(super) fn renewal_deadline(&self) -> Option<Mono> {
        let Actual::Parked(why) = &self.actual else { return None };
        match why {
            ParkReason::ProgramMissing
            | ParkReason::CannotStart
            | ParkReason::Lacking
            | ParkReason::Limit { .. } => self.renewed.changed.map(|at| at + PROGRAM_SETTLES),
            // It said itself that another try is of no use.
            ParkReason::Prevented(_) => None,
        }
    }

    /// The program has been quiet for long enough.
    pub(super) fn renewal_due(&mut self, cx: &mut Cx<'_>) {
        self.note_decision(cx, NoteKind::ProgramChanged);
        self.want = Want::Up;
        self.attempt = 0;
        self.program_missing = false;
        self.start(cx);
    }
}
