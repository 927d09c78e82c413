//! What brought it about? Every note but a word from outside names a note that a person would accept as its cause, so
//! that whatever became of a service leads back to a command, a change, the configuration or a failure.

use mcpd_core::action::{Command, DownReason, StopCause, Then, UpBy};
use mcpd_core::verdict::{Failure, ParkReason};
use mcpd_core::view::{StateView, View};
use mcpd_core::{Note, NoteId, NoteKind, ServiceId, Verb};

use super::invariants::broken;
use super::ledger::{Check, Ledger};

/// The note that every configuration of these worlds comes with; the cores' own begin with 1.
pub(crate) const CONFIGURED: NoteId = NoteId(0);

/// What a note was and whose.
#[derive(Debug, Clone, Copy)]
enum Cause<'a> {
    /// None at all.
    Nothing,
    /// The configuration that is being told of.
    Configured,
    /// Its own service's.
    Own(&'a NoteKind),
    /// Another service's, or the daemon's.
    Other(&'a NoteKind),
}

pub(crate) fn judge(ledger: &Ledger, note: &Note) -> Check {
    let Some(service) = note.service else {
        return if note.cause.is_none() { Ok(()) } else { broken!("notes_have_causes", "{note:?}") };
    };
    let cause = match note.cause {
        None => Cause::Nothing,
        Some(CONFIGURED) => Cause::Configured,
        Some(id) => match ledger.told.get(&id) {
            Some((whose, kind)) if *whose == Some(service) => Cause::Own(kind),
            Some((_, kind)) => Cause::Other(kind),
            None => return broken!("notes_have_causes", "{note:?} of nothing"),
        },
    };
    if fits(&note.kind, cause, service) {
        Ok(())
    } else {
        broken!("notes_have_causes", "{note:?} because of {cause:?}")
    }
}

/// Somebody asked for it, of this service or of one that it goes with.
fn is_word(cause: Cause<'_>) -> bool {
    match cause {
        Cause::Configured | Cause::Other(_) => true,
        Cause::Nothing => false,
        Cause::Own(kind) => matches!(
            kind,
            NoteKind::Asked(Verb::Start | Verb::Stop | Verb::Restart | Verb::Reset)
                | NoteKind::Wanted { .. }
                | NoteKind::Redefined { .. }
                | NoteKind::Removed
                | NoteKind::ProgramChanged
                | NoteKind::FilesChanged { then: Then::Start | Then::Restart }
        ),
    }
}

/// The end of a run, and what comes right after it.
fn is_end(cause: Cause<'_>) -> bool {
    let Cause::Own(kind) = cause else { return false };
    matches!(
        kind,
        NoteKind::Exited { .. }
            | NoteKind::SpawnFailed { .. }
            | NoteKind::Crashed { .. }
            | NoteKind::Runs(Command::Stop(_) | Command::StartPost(_))
            | NoteKind::RunFailed(Command::Stop(_) | Command::StartPost(_))
            | NoteKind::Stopping { .. }
            | NoteKind::Inherited { .. }
    )
}

/// It runs.
fn is_life(cause: Cause<'_>) -> bool {
    let Cause::Own(kind) = cause else { return false };
    matches!(kind, NoteKind::Started { .. } | NoteKind::Up { .. } | NoteKind::Runs(Command::StartPost(_)))
}

/// It is on its way down.
fn is_stop(cause: Cause<'_>) -> bool {
    let Cause::Own(kind) = cause else { return false };
    matches!(
        kind,
        NoteKind::Stopping { .. }
            | NoteKind::Killing
            | NoteKind::Runs(Command::Stop(_))
            | NoteKind::RunFailed(Command::Stop(_) | Command::StartPost(_))
    )
}

/// Somebody did something to the process.
fn is_nudge(cause: Cause<'_>) -> bool {
    let Cause::Own(kind) = cause else { return false };
    matches!(
        kind,
        NoteKind::Asked(Verb::Signal(..) | Verb::Reload)
            | NoteKind::FilesChanged { then: Then::Signal(_) | Then::Reload }
            | NoteKind::Reloading
            | NoteKind::Reloaded
            | NoteKind::ReloadFailed
            | NoteKind::ReloadSlow
    )
}

fn is_verdict(cause: Cause<'_>) -> bool {
    let Cause::Own(kind) = cause else { return false };
    matches!(kind, NoteKind::ProbeFailed | NoteKind::Unhealthy { .. })
}

fn own(cause: Cause<'_>, is: impl Fn(&NoteKind) -> bool) -> bool {
    matches!(cause, Cause::Own(kind) if is(kind))
}

/// The table.
fn fits(kind: &NoteKind, cause: Cause<'_>, service: ServiceId) -> bool {
    let nothing = matches!(cause, Cause::Nothing);
    match kind {
        // Words from outside.
        NoteKind::Asked(_)
        | NoteKind::FilesChanged { .. }
        | NoteKind::ProgramChanged
        | NoteKind::WatchSuspended { .. }
        | NoteKind::ConfigChanged
        | NoteKind::ShuttingDown => nothing,
        NoteKind::Redefined { .. } | NoteKind::Removed | NoteKind::Inherited { .. } => {
            matches!(cause, Cause::Configured)
        }
        // Whoever is bound to it ends with it, and wants it up again when it starts anew: its own end has brought that about.
        NoteKind::Wanted { by } => *by != service && (is_word(cause) || is_end(cause)),
        // The start.
        NoteKind::Waiting { .. } => {
            let waits =
                own(cause, |kind| matches!(kind, NoteKind::Backoff { .. } | NoteKind::Waiting { .. }));
            is_word(cause) || is_end(cause) || waits
        }
        NoteKind::Spawning => {
            let waits =
                own(cause, |kind| matches!(kind, NoteKind::Backoff { .. } | NoteKind::Waiting { .. }));
            is_word(cause) || is_end(cause) || waits
        }
        NoteKind::Started { .. } | NoteKind::SpawnFailed { .. } | NoteKind::SpawnSlow => {
            own(cause, |kind| *kind == NoteKind::Spawning)
        }
        NoteKind::Runs(Command::StartPost(_)) => is_life(cause) || is_end(cause),
        NoteKind::Up { by: UpBy::Completion, .. } => is_end(cause),
        NoteKind::Up { .. } => is_life(cause),
        // The life.
        NoteKind::ProbeLost | NoteKind::ProbeUnknown | NoteKind::ProbeKnown | NoteKind::CountersReset => {
            is_life(cause)
        }
        NoteKind::ProbeFailed => is_life(cause),
        NoteKind::Unhealthy { .. } => is_life(cause) || is_verdict(cause),
        NoteKind::Healthy => is_life(cause) || is_verdict(cause),
        NoteKind::Reloading => is_life(cause) || is_nudge(cause),
        NoteKind::Reloaded | NoteKind::ReloadSlow | NoteKind::ReloadFailed => is_nudge(cause),
        NoteKind::Stale { .. } => {
            nothing || is_nudge(cause) || own(cause, |kind| matches!(kind, NoteKind::WatchSuspended { .. }))
        }
        // The end.
        NoteKind::Stopping { why } => stops(*why, cause),
        NoteKind::Killing | NoteKind::StillAlive => is_stop(cause) || is_end(cause),
        NoteKind::Runs(Command::Stop(_)) => is_stop(cause) || is_end(cause),
        NoteKind::Exited { .. } => is_life(cause) || is_stop(cause) || is_nudge(cause),
        NoteKind::Runs(_) => is_end(cause) || is_stop(cause),
        NoteKind::RunFailed(_) => is_life(cause) || is_end(cause) || is_stop(cause),
        NoteKind::Crashed { .. } => {
            let failed = |kind: &NoteKind| {
                matches!(
                    kind,
                    NoteKind::Exited { .. } | NoteKind::SpawnFailed { .. } | NoteKind::RunFailed(_)
                )
            };
            own(cause, failed)
        }
        NoteKind::Leftovers { .. } | NoteKind::DrainSlow | NoteKind::RecordSlow => is_end(cause),
        // What follows.
        NoteKind::Backoff { .. } => is_end(cause),
        NoteKind::Parked(ParkReason::ProgramMissing) => is_word(cause) || is_end(cause),
        NoteKind::Parked(_) => is_end(cause),
        NoteKind::Down(_) => is_word(cause) || is_end(cause),
        // Judged by themselves.
        NoteKind::Opened(_) | NoteKind::Closed { .. } => true,
    }
}

fn stops(why: StopCause, cause: Cause<'_>) -> bool {
    match why {
        StopCause::Asked => own(cause, |kind| *kind == NoteKind::Asked(Verb::Stop)),
        StopCause::Restart => own(cause, |kind| *kind == NoteKind::Asked(Verb::Restart)),
        StopCause::Changed => own(cause, |kind| matches!(kind, NoteKind::Redefined { .. })),
        StopCause::Removed => own(cause, |kind| *kind == NoteKind::Removed),
        StopCause::Watch => own(cause, |kind| matches!(kind, NoteKind::FilesChanged { then: Then::Restart })),
        StopCause::Shutdown => matches!(cause, Cause::Other(NoteKind::ShuttingDown)),
        // A word to this one may come back to it by way of another.
        StopCause::Unbound(_)
        | StopCause::StoppedWith(_)
        | StopCause::RestartedWith(_)
        | StopCause::Conflict(_) => is_word(cause),
        StopCause::Announced | StopCause::Failure(Failure::Watchdog) => is_life(cause),
        StopCause::Failure(Failure::Health) => own(cause, |kind| matches!(kind, NoteKind::Unhealthy { .. })),
        StopCause::Failure(Failure::StartTimeout) => {
            is_life(cause) || own(cause, |kind| matches!(kind, NoteKind::RunFailed(_)))
        }
        StopCause::Failure(_) => own(cause, |kind| matches!(kind, NoteKind::RunFailed(_))),
        StopCause::EarlierLife => false,
    }
}

/// The note that a service is seen to be as it is because of says so.
pub(crate) fn the_last_note_is_that_of_the_state(ledger: &Ledger, views: &[View]) -> Check {
    for view in views {
        let told = view.last_note.and_then(|id| ledger.told.get(&id));
        let cause = match told {
            Some((whose, kind)) if *whose == Some(view.service) => Cause::Own(kind),
            Some((_, kind)) => Cause::Other(kind),
            None if view.last_note == Some(CONFIGURED) => Cause::Configured,
            None => Cause::Nothing,
        };
        let is = match view.state {
            StateView::Down(DownReason::NeverStarted) => {
                matches!(cause, Cause::Nothing) || own(cause, |kind| matches!(kind, NoteKind::Down(_)))
            }
            StateView::Down(why) => own(cause, |kind| *kind == NoteKind::Down(why)),
            StateView::Waiting(_) => own(cause, |kind| matches!(kind, NoteKind::Waiting { .. })),
            StateView::Spawning => own(cause, |kind| *kind == NoteKind::Spawning),
            StateView::Starting(_) => is_life(cause) || is_end(cause),
            StateView::Up => is_life(cause),
            StateView::Exited => own(cause, |kind| matches!(kind, NoteKind::Up { .. })),
            StateView::Leaving { .. } => is_word(cause),
            StateView::Stopping(_) => is_stop(cause) || is_end(cause),
            StateView::Ending { .. } => is_end(cause),
            StateView::Backoff { .. } => own(cause, |kind| matches!(kind, NoteKind::Backoff { .. })),
            StateView::Parked(why) => own(cause, |kind| *kind == NoteKind::Parked(why)),
        };
        if !is {
            return broken!("the_last_note_is_that_of_the_state", "{view:?}: {cause:?}");
        }
    }
    Ok(())
}
