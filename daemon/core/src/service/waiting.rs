//! Before a start and before a stop: what is in the way, and is it going to get out of it?
//!
//! A service does not know the others. Whoever does (`order`) looks at it when something may have changed, and either
//! lets it go or says what is in the way.

use super::*;

/// A service that is to start, and has not been let.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Waiting {
    /// `None`: nobody has looked yet.
    obstacle: Option<Obstacle>,
    /// What was said of it last.
    told: Option<Obstacle>,
    /// Its number in the queue for a place, once it has one.
    place: Option<u64>,
}

/// What is in the way of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Obstacle {
    pub(crate) on: WaitingFor,
    pub(crate) hope: Hope,
}

/// Will it get out of the way?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hope {
    /// It is doing so.
    Soon,
    /// It failed and will try again.
    Later,
    /// Not by itself.
    Never,
}

/// A process that is to be stopped as soon as those that stop before it are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leave {
    pub(crate) cause: StopCause,
    /// Who is in the way.
    pub(crate) first: Option<ServiceId>,
    /// The note of what was decided.
    pub(super) by: Option<NoteId>,
}

/// What a service is to those that have to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It counts as up.
    There,
    /// A oneshot that has done its work and is down: whoever needs that has it, until it is started again.
    Done,
    /// Its start is under way, or follows soon.
    Coming,
    /// It failed and tries again some time, or waits for one that does.
    Later,
    /// It does not come by itself.
    Never,
    /// Something of it lives that is on its way down, whether it comes back or not.
    Leaving,
    /// The same, and not even SIGKILL ends it: nobody waits for that.
    Stuck,
}

impl Standing {
    /// When something that has this to do with it waits for it to be up.
    pub(crate) fn hope(self, link: Link) -> Hope {
        match self {
            // Up it is not, and who is bound to it wants just that.
            Self::Done if link.is_bound() => Hope::Never,
            Self::There | Self::Done | Self::Coming | Self::Leaving => Hope::Soon,
            Self::Later => Hope::Later,
            Self::Never | Self::Stuck => Hope::Never,
        }
    }
}

impl Waiting {
    pub(crate) fn on(&self) -> Option<WaitingFor> {
        self.obstacle.map(|obstacle| obstacle.on)
    }

    pub(crate) fn place(&self) -> Option<u64> {
        self.place
    }

    fn hope(&self) -> Hope {
        self.obstacle.map_or(Hope::Soon, |obstacle| obstacle.hope)
    }
}

impl WaitingFor {
    /// The service that is in the way; `None`: it is only that others start as well.
    #[must_use]
    pub fn service(self) -> Option<ServiceId> {
        match self {
            Self::Up(service) | Self::Started(service) | Self::Gone(service) => Some(service),
            Self::Place => None,
        }
    }
}

impl Service {
    /// One of the starts that `max_parallel_starts` counts. One that hangs in the kernel is counted no more once that
    /// has been noticed, or it would hold its place for ever.
    pub(crate) fn is_starting(&self) -> bool {
        match &self.actual {
            Actual::Spawning(spawning) => !spawning.slow,
            Actual::Starting(_) => true,
            // Between two commands of a start.
            Actual::Ending(ending) if ending.goes_on() => true,
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Ending(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => false,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let stays = self.want == Want::Up && self.leave.is_none();
        let leaving = |rung: Rung| match rung {
            Rung::Asked(_) | Rung::Killed(_) => Standing::Leaving,
            Rung::Deaf(_) => Standing::Stuck,
        };
        match &self.actual {
            _ if self.counts_as_up() => Standing::There,
            Actual::Down(DownReason::Completed) => Standing::Done,
            Actual::Down(_) | Actual::Parked(_) => Standing::Never,
            Actual::Waiting(waiting) => match waiting.hope() {
                Hope::Soon => Standing::Coming,
                Hope::Later => Standing::Later,
                Hope::Never => Standing::Never,
            },
            Actual::Spawning(spawning) if stays && spawning.replace.is_none() => Standing::Coming,
            Actual::Spawning(spawning) if spawning.slow => Standing::Stuck,
            Actual::Starting(_) if stays => Standing::Coming,
            Actual::Ending(ending) if stays && ending.goes_on() => Standing::Coming,
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Up(_) | Actual::Exited => Standing::Leaving,
            Actual::Stopping(stopping) => match stopping.step {
                Step::Beside(_) => Standing::Leaving,
                Step::Ladder(rung) => leaving(rung),
            },
            Actual::Ending(ending) => leaving(ending.rung),
            Actual::Backoff { .. } => Standing::Later,
        }
    }

    /// It can do nothing before somebody has looked at the others.
    pub(crate) fn wants_a_look(&self) -> bool {
        matches!(self.actual, Actual::Waiting(_)) || self.is_about_to_leave()
    }

    pub(crate) fn is_about_to_leave(&self) -> bool {
        let there = matches!(self.actual, Actual::Starting(_) | Actual::Up(_) | Actual::Exited);
        self.leave.is_some() && there
    }

    /// It is up or on its way there, and is to be.
    pub(crate) fn stays(&self) -> bool {
        let runs = match &self.actual {
            Actual::Spawning(_) | Actual::Starting(_) | Actual::Up(_) | Actual::Exited => true,
            Actual::Ending(ending) => ending.goes_on(),
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Stopping(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => false,
        };
        runs && self.want == Want::Up && self.leave.is_none()
    }

    /// Whether it matters to this one that `other` is `standing` now.
    pub(crate) fn minds(&self, other: ServiceId, link: Link, standing: Standing) -> bool {
        if let Actual::Waiting(waiting) = &self.actual {
            let this_one = waiting.on().and_then(WaitingFor::service) == Some(other);
            return this_one
                || (link.needs() && waiting.hope() == Hope::Soon && standing.hope(link) != Hope::Soon);
        }
        match self.leave {
            Some(leave) => leave.first == Some(other),
            None => link.is_bound() && standing != Standing::There && self.stays(),
        }
    }

    // ---- before a start

    /// It is to start as soon as nothing is in the way.
    pub(super) fn start(&mut self, cx: &mut Cx<'_>) {
        self.leave = None;
        self.enter(cx, Actual::Waiting(Waiting::default()));
    }

    /// Nothing is in the way.
    pub(crate) fn go(&mut self, cx: &mut Cx<'_>) {
        if let Actual::Waiting(_) = self.actual {
            self.spawn(cx);
        }
    }

    /// Something is in the way.
    pub(crate) fn wait_for(&mut self, cx: &mut Cx<'_>, obstacle: Obstacle) {
        let Actual::Waiting(waiting) = &mut self.actual else { return };
        waiting.obstacle = Some(obstacle);
        // One by one they may get out of the way; what stays there is worth saying, and that it waits at all.
        let worth = waiting.told.is_none() || obstacle.hope != Hope::Soon;
        if worth && waiting.told != Some(obstacle) {
            waiting.told = Some(obstacle);
            self.note_effect(cx, NoteKind::Waiting { on: obstacle.on });
        }
        if let (Some(on), Hope::Later | Hope::Never) = (obstacle.on.service(), obstacle.hope) {
            self.answer(cx, |goal| matches!(goal, Goal::Up { .. }).then_some(Outcome::Blocked { on }));
        }
    }

    /// Only others that start as well are in the way; it has this number in the queue.
    pub(crate) fn wait_for_place(&mut self, cx: &mut Cx<'_>, number: u64) {
        if let Actual::Waiting(waiting) = &mut self.actual {
            waiting.place = Some(number);
        }
        self.wait_for(cx, Obstacle { on: WaitingFor::Place, hope: Hope::Soon });
    }

    // ---- before a stop

    /// Its process is to be stopped as soon as those that stop before it are gone: what was decided.
    pub(super) fn leave(&mut self, cause: StopCause) {
        let by = self.take_decided();
        self.leave = Some(Leave { cause, first: None, by });
    }

    /// Nobody is in the way any more.
    pub(crate) fn leave_now(&mut self, cx: &mut Cx<'_>) {
        let Some(leave) = self.leave else { return };
        if let Actual::Exited = self.actual {
            self.forget_leave();
            if self.want == Want::Up {
                self.postpone_starts();
            }
            if !self.leaves_exited(cx, leave.cause) {
                self.leave_nothing(cx);
            }
        } else if let Actual::Starting(child) | Actual::Up(child) = &self.actual {
            let child = child.clone();
            if self.want == Want::Up {
                // Only now is it certain that another start follows: until here it might have failed by itself.
                self.postpone_starts();
            }
            self.stop_child(cx, child, leave.cause);
        }
    }

    /// It goes, or has gone, otherwise. What was decided may still have its effect after that.
    pub(super) fn forget_leave(&mut self) {
        if let Some(Leave { by: by @ Some(_), .. }) = self.leave.take() {
            self.decide(by);
        }
    }

    /// It is up without a process: down it is, or it starts again.
    fn leave_nothing(&mut self, cx: &mut Cx<'_>) {
        if self.want == Want::Up {
            self.answer_down(cx);
            self.start(cx);
        } else {
            self.go_down_as_asked(cx);
        }
    }

    /// `other` is in the way.
    pub(crate) fn leave_after(&mut self, other: ServiceId) {
        if let Some(leave) = &mut self.leave {
            leave.first = Some(other);
        }
    }

    /// What was asked for wins over what the policy says of an end that comes before the stop did.
    pub(super) fn was_to_restart(&self) -> bool {
        let restart = match self.leave.map(|leave| leave.cause) {
            Some(
                StopCause::Restart | StopCause::Changed | StopCause::RestartedWith(_) | StopCause::Watch,
            ) => true,
            Some(
                StopCause::Asked
                | StopCause::Removed
                | StopCause::Shutdown
                | StopCause::StoppedWith(_)
                | StopCause::Conflict(_)
                | StopCause::Unbound(_)
                | StopCause::EarlierLife
                | StopCause::Announced
                | StopCause::Failure(_),
            )
            | None => false,
        };
        restart && self.want == Want::Up
    }
}
