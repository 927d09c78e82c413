//! What do those hear who wait for it?

use super::*;

impl Service {
    pub(super) fn reply(&self, cx: &mut Cx<'_>, request: RequestId, outcome: Outcome) {
        cx.out.push(Action::Reply { request, service: self.id, outcome });
    }

    pub(super) fn answer(&mut self, cx: &mut Cx<'_>, of: impl Fn(Goal) -> Option<Outcome>) {
        let mut kept = Vec::new();
        for waiter in std::mem::take(&mut self.waiters) {
            match of(waiter.goal) {
                Some(outcome) => self.reply(cx, waiter.request, outcome),
                None => kept.push(waiter),
            }
        }
        self.waiters = kept;
    }

    pub(super) fn supersede_starts(&mut self, cx: &mut Cx<'_>, by: Verb) {
        let outcome = if self.removing {
            Outcome::Removed
        } else if cx.shutting_down {
            Outcome::ShuttingDown
        } else {
            Outcome::Superseded { by }
        };
        self.answer(cx, |goal| matches!(goal, Goal::Up { .. }).then(|| outcome.clone()));
    }

    /// The process that was to be stopped as soon as it is there is wanted after all.
    pub(super) fn supersede_stops(&mut self, cx: &mut Cx<'_>, by: Verb) {
        self.answer(cx, |goal| (goal == Goal::Down).then_some(Outcome::Superseded { by }));
    }

    pub(super) fn answer_up(&mut self, cx: &mut Cx<'_>) {
        self.answer_starts(cx, &Outcome::Done);
    }

    /// It runs, but nobody can say that it is up.
    pub(super) fn answer_late(&mut self, cx: &mut Cx<'_>) {
        self.answer_starts(cx, &Outcome::NotUpInTime);
    }

    /// Those who wait for this start or an earlier one.
    fn answer_starts(&mut self, cx: &mut Cx<'_>, outcome: &Outcome) {
        let generation = self.generation;
        self.answer(cx, |goal| match goal {
            Goal::Up { generation: wanted } => (generation >= wanted).then(|| outcome.clone()),
            Goal::Down | Goal::Reloaded { .. } => None,
        });
    }

    pub(super) fn answer_down(&mut self, cx: &mut Cx<'_>) {
        self.answer(cx, |goal| (goal == Goal::Down).then_some(Outcome::Done));
    }
}
