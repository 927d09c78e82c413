//! What is said of it, and what brought that about?
//!
//! Three kinds of notes. What becomes of a service is a chain: each note is the cause of the next one, from the
//! command, the configuration or the failure where it began. What is *decided* about it (a stop is asked for, files
//! have changed) may have to wait for its effect, while the chain goes on: the decision is the cause of that effect,
//! when it comes. And what is only worth knowing has a cause and is none.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Words {
    /// The last note of what became of it.
    last: Option<NoteId>,
    /// The note of what was decided about it, until that has its effect.
    decided: Option<NoteId>,
    /// The last word from outside about whether it is to be up, whether or not anything follows for itself.
    heard: Option<NoteId>,
}

impl Service {
    /// The next link of the chain.
    pub(super) fn note(&mut self, cx: &mut Cx<'_>, kind: NoteKind) {
        self.note_next(cx, self.words.last, kind);
    }

    /// The same, for another cause than the last one. `None`: for that.
    pub(super) fn note_next(&mut self, cx: &mut Cx<'_>, cause: Option<NoteId>, kind: NoteKind) {
        self.words.last = Some(self.note_by(cx, cause.or(self.words.last), kind));
    }

    /// What was decided, if something was, comes into effect.
    pub(super) fn note_effect(&mut self, cx: &mut Cx<'_>, kind: NoteKind) {
        let decided = self.words.decided.take();
        self.note_next(cx, decided, kind);
    }

    pub(super) fn note_stopping(&mut self, cx: &mut Cx<'_>, why: StopCause) {
        if why.is_asked() {
            // What it was to leave for is done with.
            self.forget_leave();
            self.note_effect(cx, NoteKind::Stopping { why });
        } else {
            self.note(cx, NoteKind::Stopping { why });
        }
    }

    /// What follows from the last note, and has no say in what comes next.
    pub(super) fn note_aside(&self, cx: &mut Cx<'_>, kind: NoteKind) {
        self.note_by(cx, self.words.last, kind);
    }

    /// A note that has this cause and is none.
    pub(super) fn note_by(&self, cx: &mut Cx<'_>, cause: Option<NoteId>, kind: NoteKind) -> NoteId {
        let id = NoteId(*cx.notes);
        *cx.notes += 1;
        let (service, generation) = (Some(self.id), self.generation);
        cx.out.push(Action::Note(Note { id, cause, at: cx.now, service, generation, kind }));
        id
    }

    /// The chain goes on from this note, which was said aside.
    pub(super) fn go_on_from(&mut self, note: NoteId) {
        self.words.last = Some(note);
    }

    /// A word from outside about whether it is to be up.
    pub(super) fn note_word(&mut self, cx: &mut Cx<'_>, cause: Option<NoteId>, kind: NoteKind) -> NoteId {
        let id = self.note_by(cx, cause, kind);
        self.words.heard = Some(id);
        id
    }

    /// The same, where something follows.
    pub(super) fn note_decision(&mut self, cx: &mut Cx<'_>, kind: NoteKind) {
        let id = self.note_word(cx, None, kind);
        self.decide(Some(id));
    }

    /// From here on this is what the next effect comes from. `None`: nothing was decided, or nothing comes of it.
    pub(super) fn decide(&mut self, by: Option<NoteId>) {
        self.words.decided = by;
    }

    /// What was decided is somebody else's to remember.
    pub(super) fn take_decided(&mut self) -> Option<NoteId> {
        self.words.decided.take()
    }

    /// What was decided and has had no effect yet.
    pub(super) fn decided(&self) -> Option<NoteId> {
        self.words.decided
    }

    /// The last note of what became of it.
    pub(super) fn last_link(&self) -> Option<NoteId> {
        self.words.last
    }

    /// The last word from outside about whether it is to be up.
    pub(super) fn heard(&self) -> Option<NoteId> {
        self.words.heard
    }

    /// The newest of what was said of it, for those who do what they do because of it.
    pub(crate) fn last_word(&self) -> Option<NoteId> {
        let Words { last, decided, heard } = self.words;
        let leaves = self.leave.and_then(|leave| leave.by);
        last.max(decided).max(heard).max(leaves)
    }

    /// The note that brought the present state about.
    pub(crate) fn last_note(&self) -> Option<NoteId> {
        let leave = self.leave.filter(|_| self.is_about_to_leave());
        leave.and_then(|leave| leave.by).or(self.words.last)
    }

    /// It was signalled, or told to reload.
    pub(super) fn nudged_by(&mut self, now: Mono, note: NoteId) {
        if let Actual::Starting(child) | Actual::Up(child) | Actual::Stopping(Stopping { child, .. }) =
            &mut self.actual
        {
            child.nudged = Some((now, note));
        }
    }

    /// It reloads, because it was told to or by itself.
    pub(super) fn note_reloading(&mut self, cx: &mut Cx<'_>) {
        let id = self.note_by(cx, self.nudge(cx.now).or(self.words.last), NoteKind::Reloading);
        self.nudged_by(cx.now, id);
    }

    /// What came of that.
    pub(super) fn note_reloaded(&mut self, cx: &mut Cx<'_>, kind: NoteKind) {
        let last = self.child().and_then(|child| child.nudged).map(|(_, note)| note);
        let id = self.note_by(cx, last.or(self.words.last), kind);
        self.nudged_by(cx.now, id);
    }

    /// What ends, or reloads, so soon after somebody signalled it or told it to reload does so because of that, as
    /// far as anybody can tell.
    pub(super) fn nudge(&self, now: Mono) -> Option<NoteId> {
        let (at, note) = self.child()?.nudged?;
        (now.since(at) <= self.policy.stop_timeout).then_some(note)
    }
}
