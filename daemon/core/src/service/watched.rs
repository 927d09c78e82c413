//! Files that the service watches changed: what follows, and when?
//!
//! Changes settle first: `debounce` after the last one. What follows then is decided by where the service is. A start
//! takes in all that changed before it, so changes are forgotten there.

use super::*;
use crate::action::{Stale, Then};
use crate::event::{MOST_DEBOUNCES, OWN_WRITES, SOON};
use crate::policy::{WatchAction, WatchPolicy};
use crate::view::WatchView;

/// What is known of changed files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watched {
    changes: Option<Changes>,
    /// When the newest process was asked for, or the newest signal was sent for a change.
    began: Option<Mono>,
    /// So often in a row a change came soon after that.
    own: u32,
    /// That was too often: changes have no consequences until somebody acts.
    suspended: bool,
}

/// Changes that nothing has followed from yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Changes {
    first: Mono,
    last: Mono,
    /// The first of them came so early that the service itself may have made it.
    own: bool,
}

impl Watched {
    /// A process is asked for: it will see what is there now.
    pub(super) fn begun(&mut self, now: Mono) {
        self.changes = None;
        self.began = Some(now);
    }

    pub(super) fn forget_changes(&mut self) {
        self.changes = None;
    }

    /// Somebody acted: what was before does not count.
    pub(super) fn lift(&mut self) {
        self.own = 0;
        self.suspended = false;
    }
}

impl Changes {
    fn settled(&self, policy: &WatchPolicy) -> Mono {
        let longest = policy.debounce.saturating_mul(MOST_DEBOUNCES);
        (self.last + policy.debounce).min(self.first + longest)
    }
}

impl Service {
    /// News of the files. The first of them counts for whose work they are, the last for when they are settled.
    pub(crate) fn files_changed(&mut self, cx: &mut Cx<'_>) {
        // A oneshot that has done its work does it again.
        let down = matches!(self.actual, Actual::Down(why) if why != DownReason::Completed);
        if self.policy.watch.is_none() || self.removing || cx.shutting_down || down {
            return;
        }
        if self.watched.suspended {
            self.grow_stale(cx, Stale::Files, None);
            return;
        }
        let (now, own) = (cx.now, self.may_be_its_own(cx.now));
        let changes = self.watched.changes.get_or_insert(Changes { first: now, last: now, own });
        changes.last = now;
    }

    /// A service writes while it starts and with its last breath; a person needs time to see what that came to.
    fn may_be_its_own(&self, now: Mono) -> bool {
        let began = self.watched.began.is_some_and(|began| now.since(began) < SOON);
        match self.actual {
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Ending(_) => true,
            Actual::Down(_) | Actual::Exited | Actual::Backoff { .. } | Actual::Parked(_) => {
                began || now.since(self.since) < SOON
            }
            Actual::Waiting(_) | Actual::Up(_) | Actual::Stopping(_) => began,
        }
    }

    /// When what follows from changed files is due. On the way to a new start or to an end that is wanted nothing is; what
    /// is a process to be signalled has to be up first, for until it has its handler the signal ends it.
    pub(super) fn watch_deadline(&self) -> Option<Mono> {
        let (policy, changes) = (self.policy.watch.as_ref()?, self.watched.changes?);
        if self.leave.is_some() {
            return None;
        }
        let settled = changes.settled(policy);
        match (&self.actual, policy.action) {
            (Actual::Down(DownReason::Completed), WatchAction::Restart) => Some(settled),
            (Actual::Down(_) | Actual::Waiting(_) | Actual::Stopping(_) | Actual::Ending(_), _) => None,
            (
                Actual::Spawning(_) | Actual::Starting(_) | Actual::Exited,
                WatchAction::Signal(_) | WatchAction::Reload,
            ) => None,
            (Actual::Spawning(spawning), WatchAction::Restart) => {
                (self.want == Want::Up && spawning.replace.is_none()).then_some(settled)
            }
            (Actual::Starting(_) | Actual::Up(_) | Actual::Exited, WatchAction::Restart) => Some(settled),
            (Actual::Up(child), WatchAction::Signal(_)) => Some(settled.max(child.started + SETTLE)),
            // What changes while it reloads is for the next time.
            (Actual::Up(child), WatchAction::Reload) => {
                let can = child.beside.is_none() && self.policy.commands.has(Command::Reload(0));
                can.then_some(settled.max(child.started + SETTLE))
            }
            (Actual::Backoff { .. } | Actual::Parked(_), _) => Some(settled),
        }
    }

    /// The files have been quiet for long enough. Says what followed, for those that go with this service.
    pub(super) fn files_settled(&mut self, cx: &mut Cx<'_>) -> Option<Then> {
        let (policy, changes) = (self.policy.watch?, self.watched.changes.take()?);
        if !changes.own {
            self.watched.own = 0;
        } else if self.watched.own == OWN_WRITES {
            self.watched.suspended = true;
            let id = self.note_by(cx, None, NoteKind::WatchSuspended { times: OWN_WRITES });
            self.grow_stale(cx, Stale::Files, Some(id));
            return None;
        } else {
            self.watched.own += 1;
        }
        match (&mut self.actual, policy.action) {
            (Actual::Waiting(_) | Actual::Stopping(_) | Actual::Ending(_), _) => None,
            (
                Actual::Down(_) | Actual::Spawning(_) | Actual::Starting(_) | Actual::Exited,
                WatchAction::Signal(_) | WatchAction::Reload,
            ) => None,
            (Actual::Spawning(spawning), WatchAction::Restart) => {
                spawning.replace.get_or_insert(StopCause::Watch);
                self.note_decision(cx, NoteKind::FilesChanged { then: Then::Restart });
                let decided = self.decided();
                if let Actual::Spawning(spawning) = &mut self.actual {
                    spawning.replaced_by = decided;
                }
                Some(Then::Restart)
            }
            (Actual::Starting(_) | Actual::Up(_) | Actual::Exited, WatchAction::Restart) => {
                self.note_decision(cx, NoteKind::FilesChanged { then: Then::Restart });
                self.leave(StopCause::Watch);
                Some(Then::Restart)
            }
            (Actual::Up(_), WatchAction::Signal(signal)) => {
                self.watched.began = Some(cx.now);
                let id = self.note_by(cx, None, NoteKind::FilesChanged { then: Then::Signal(signal) });
                self.nudged_by(cx.now, id);
                let (service, generation) = (self.id, self.generation);
                cx.out.push(Action::Signal { service, generation, signal, whom: Whom::Main });
                // What it makes of the signal is its own business.
                self.grow_stale(cx, Stale::Files, Some(id));
                Some(Then::Signal(signal))
            }
            (Actual::Up(_), WatchAction::Reload) => {
                self.watched.began = Some(cx.now);
                let id = self.note_by(cx, None, NoteKind::FilesChanged { then: Then::Reload });
                self.nudged_by(cx.now, id);
                self.reload(cx);
                Some(Then::Reload)
            }
            // Whoever changed the files wants to see what that did, whatever was before.
            (Actual::Down(_), WatchAction::Restart) | (Actual::Backoff { .. } | Actual::Parked(_), _) => {
                self.note_decision(cx, NoteKind::FilesChanged { then: Then::Start });
                self.want = Want::Up;
                self.attempt = 0;
                self.program_missing = false;
                self.start(cx);
                Some(Then::Start)
            }
        }
    }

    pub(crate) fn watch_view(&self) -> WatchView {
        match (self.policy.watch, self.watch_deadline()) {
            (None, _) => WatchView::None,
            (Some(_), _) if self.watched.suspended => WatchView::Suspended { times: OWN_WRITES },
            (Some(_), Some(at)) => WatchView::Settling(at),
            (Some(_), None) => WatchView::Watching,
        }
    }
}
