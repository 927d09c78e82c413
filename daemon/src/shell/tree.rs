//! What is left of the tree of a run whose main process is dead, and when is it looked at again? Whenever an orphan
//! ends, and after a while where a look could not tell.

use std::time::Duration;

use mcpd_core::{Event, Mono, ServiceId};
use serde_json::json;

use super::Shell;
use crate::scribe::Level;
use crate::{sys, words};

/// `signal(7)`
const SIGKILL: i32 = 9;

/// Where a look could not tell, because a process is in the middle of an exec: another follows after so long, for an
/// exec takes less than that where the disk is quick and a processor is free. Each further one after twice as long, ...
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// ... up to this.
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// When it has not been possible to tell for so long, it is said why: something hangs in the kernel.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// So many probe programs that have left something are waited for. What of more is left ends with mcpd.
const HELPERS: usize = 64;

/// What is known of what a dead run has left.
#[derive(Debug, Default)]
pub(super) enum Tree {
    /// Nobody has looked: the main process lives.
    #[default]
    Whole,
    /// Looks could not tell yet.
    Unknown(Doubt),
    /// Something is left. The last look, or those before it, may not have been able to tell more.
    Left(Option<Doubt>),
    /// Nothing is.
    Gone,
}

/// Since when looks cannot tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    since: Mono,
    pause: Duration,
    next: Mono,
    told: bool,
}

impl Tree {
    fn doubt(&mut self) -> Option<&mut Doubt> {
        match self {
            Self::Whole | Self::Gone => None,
            Self::Unknown(doubt) => Some(doubt),
            Self::Left(doubt) => doubt.as_mut(),
        }
    }

    /// Another look is to come.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Left(_) => true,
            Self::Whole | Self::Gone => false,
        }
    }
}

/// When trees are looked at that could not be told, and the probe programs that have left something.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) next: Option<Mono>,
    helpers: Vec<sys::Key>,
}

impl Looks {
    fn not_after(&mut self, at: Mono) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Shell {
    /// What is left of the tree of this service's run?
    pub(super) fn look_at_tree(&mut self, service: ServiceId) {
        let now = Mono(sys::monotonic_ns());
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let Some(run) = entry.run.as_mut() else { return };
        if let Some(left) = self.children.leftovers(run.key) {
            if left > 0 && matches!(run.tree, Tree::Whole | Tree::Unknown(_) | Tree::Gone) {
                run.left = self.children.living(run.key);
            }
            run.tree = if left > 0 { Tree::Left(None) } else { Tree::Gone };
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            self.events.push_back(Event::TreeLeft { service, generation: run.generation, left });
            return;
        }
        let doubt = match run.tree.doubt() {
            // What an orphan's end has brought about is not the look that was to come.
            Some(doubt) if now < doubt.next => *doubt,
            Some(doubt) => {
                let pause = LAST_PAUSE.min(doubt.pause * 2);
                Doubt { pause, next: now + pause, ..*doubt }
            }
            None => Doubt { since: now, pause: FIRST_PAUSE, next: now + FIRST_PAUSE, told: false },
        };
        let tell = !doubt.told && now.since(doubt.since) >= TOLD_AFTER;
        let doubt = Doubt { told: doubt.told || tell, ..doubt };
        self.looks.not_after(doubt.next);
        run.tree = match run.tree {
            Tree::Left(_) => Tree::Left(Some(doubt)),
            Tree::Whole | Tree::Unknown(_) | Tree::Gone => Tree::Unknown(doubt),
        };
        if tell {
            let (name, doubtful) = (entry.name.clone(), self.children.doubtful(run.key));
            let list = words::process_names(doubtful.iter().map(|one| (one.pid, one.name.as_str())));
            let message = format!("whether anything of it is left cannot be told while these hang: {list}");
            self.tell_of(Level::Warn, &name, "leftovers_unknown", message, json!({}));
        }
    }

    /// An orphan ended, or it is time: what is left of the trees that are being settled?
    pub(super) fn look_again(&mut self) {
        self.looks.next = None;
        let open = |entry: &super::Entry| entry.run.as_ref().is_some_and(|run| run.tree.is_open());
        let services: Vec<ServiceId> =
            self.entries.iter().filter(|(_, entry)| open(entry)).map(|(service, _)| *service).collect();
        for service in services {
            self.look_at_tree(service);
        }
        for key in std::mem::take(&mut self.looks.helpers) {
            self.end_helpers_tree(key);
        }
    }

    /// Whatever a probe's program or a late command left behind goes with it: they come again and again.
    pub(super) fn end_helpers_tree(&mut self, key: sys::Key) {
        match self.children.leftovers(key) {
            Some(0) => {
                self.children.forget(key);
                return;
            }
            Some(_) => {
                self.children.signal_leftovers(key, SIGKILL);
            }
            None => self.looks.not_after(Mono(sys::monotonic_ns()) + LAST_PAUSE),
        }
        self.looks.helpers.push(key);
        if self.looks.helpers.len() > HELPERS {
            self.children.forget(self.looks.helpers.remove(0));
        }
    }
}
