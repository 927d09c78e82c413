//! What an earlier life of the daemon left running: it ends before anything else is done for the service.
//!
//! It is a run whose main process nobody minds: of generation 0, ended before it was seen, with nothing to read and
//! nothing to report, of which only the tree is left. So it is an `Ending`, and the stop ladder, a second SIGKILL,
//! commands, reloads and the shutdown find what they know; `finish` starts the service or leaves it down.

use super::*;

impl Service {
    /// So many processes of an earlier life are there. `start`: it is wanted up once they are gone.
    pub(crate) fn inherit(&mut self, cx: &mut Cx<'_>, start: bool, program_missing: bool, left: u32) {
        self.want = if start { Want::Up } else { Want::Down };
        self.program_missing = program_missing;
        self.note_next(cx, cx.configured, NoteKind::Inherited { left });
        let patience = if cx.hurry { Duration::ZERO } else { self.policy.stop_timeout };
        let ending = Ending {
            exit: None,
            failure: None,
            cause: Some(StopCause::EarlierLife),
            pid: None,
            started: cx.now,
            ended: cx.now,
            decision: Decision { what: What::AsAsked, attempt: 0, max: self.policy.restart.max_restarts },
            start_now: false,
            report: Report::Settled,
            left: Some(left),
            rung: Rung::Asked(cx.now + patience),
            lacks: false,
            killed: false,
            // How it fared nobody knows, nor what was to run after it then.
            stage: Stage::Over,
            beside: None,
            blame: None,
        };
        self.enter(cx, Actual::Ending(Box::new(ending)));
        self.signal_tree(cx, self.policy.stop_signal);
    }
}

impl Ending {
    /// It is the end of what an earlier life left.
    pub(crate) fn is_inherited(&self) -> bool {
        self.cause == Some(StopCause::EarlierLife)
    }
}
