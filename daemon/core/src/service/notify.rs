//! What does it say of itself? `sd_notify(3)`, with systemd's meanings.
//!
//! Who may speak for a service is the shell's business; what arrives here comes from a process of its tree.

use super::*;

impl Service {
    pub(crate) fn notified(&mut self, cx: &mut Cx<'_>, said: Said) {
        match said {
            Said::Ready => {
                self.notified_ready(cx);
                self.reloaded(cx, NoteKind::Reloaded);
            }
            Said::Reloading => self.reloading(cx),
            Said::Stopping => self.announced(cx),
            Said::Alive => self.alive(cx),
            Said::Trigger => self.hangs(cx),
            Said::Extend(by) => self.extend(cx, by),
        }
    }

    pub(super) fn arm_watchdog(&self, cx: &Cx<'_>, child: &mut Child) {
        child.watchdog = self.policy.watchdog.map(|every| cx.now + every);
    }

    /// A reload changed how often it has to say that it is alive.
    pub(super) fn rearm_watchdog(&mut self, cx: &Cx<'_>) {
        let due = self.policy.watchdog.map(|every| cx.now + every);
        if let Actual::Up(child) = &mut self.actual {
            child.watchdog = due;
        }
    }

    fn alive(&mut self, cx: &Cx<'_>) {
        let every = self.policy.watchdog;
        if let Actual::Up(child) = &mut self.actual {
            child.watchdog = every.map(|every| cx.now + every);
        }
    }

    /// It has been silent for too long, or wants to be treated so.
    pub(super) fn hangs(&mut self, cx: &mut Cx<'_>) {
        let Actual::Up(child) = &self.actual else { return };
        if child.watchdog.is_some() {
            let child = child.clone();
            self.stop_child(cx, child, StopCause::Failure(Failure::Watchdog));
        }
    }

    fn reloading(&mut self, cx: &mut Cx<'_>) {
        let until = cx.now + self.policy.start_timeout;
        let Actual::Up(child) = &mut self.actual else { return };
        if child.reloading.replace(until).is_none() {
            self.note_reloading(cx);
        }
    }

    pub(super) fn reloaded(&mut self, cx: &mut Cx<'_>, note: NoteKind) {
        let Actual::Up(child) = &mut self.actual else { return };
        if child.reloading.take().is_some() {
            self.note_reloaded(cx, note);
        }
    }

    /// It goes down by its own decision: nobody sends it anything, but it has only so much time for it.
    fn announced(&mut self, cx: &mut Cx<'_>) {
        let Actual::Up(child) = &self.actual else { return };
        let child = child.clone();
        self.reset_if_stable(cx);
        self.note(cx, NoteKind::Stopping { why: StopCause::Announced });
        // If it was to be stopped, and only waited for its turn, that is what happens now.
        let cause = self.leave.map_or(StopCause::Announced, |leave| leave.cause);
        if self.leave.is_some() && self.want == Want::Up {
            self.postpone_starts();
        }
        let step = Step::Ladder(Rung::Asked(cx.now + self.policy.stop_timeout));
        self.forget_leave();
        self.enter(cx, Actual::Stopping(Stopping { child, cause, step, blame: None, start_now: false }));
    }

    /// Each limit that runs ends that late at the earliest; none is shortened, and after SIGKILL there is none.
    fn extend(&mut self, cx: &Cx<'_>, by: Duration) {
        let at = cx.now + by;
        match &mut self.actual {
            Actual::Starting(child) => child.extended = child.extended.max(Some(at)),
            Actual::Up(child) => {
                for limit in [&mut child.watchdog, &mut child.reloading].into_iter().flatten() {
                    *limit = at.max(*limit);
                }
            }
            Actual::Stopping(stopping) if !cx.hurry => {
                if let Step::Ladder(Rung::Asked(limit)) = &mut stopping.step {
                    *limit = at.max(*limit);
                }
            }
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Spawning(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => {}
        }
    }

    /// What of this is due.
    pub(super) fn notify_due(&mut self, cx: &mut Cx<'_>) {
        let Actual::Up(child) = &self.actual else { return };
        let (watchdog, reloading) = (child.watchdog, child.reloading);
        if reloading.is_some_and(|until| until <= cx.now) {
            self.reloaded(cx, NoteKind::ReloadSlow);
        }
        if watchdog.is_some_and(|until| until <= cx.now) {
            self.hangs(cx);
        }
    }
}
