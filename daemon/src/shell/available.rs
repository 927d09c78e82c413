//! Is a service there for those who use it?

use mcpd_core::action::{DownReason, Note};
use mcpd_core::view::{HealthView, StateView, View};
use mcpd_proto::history::Is;

use super::Shell;

impl Shell {
    /// Remembers it when that has turned.
    pub(super) fn remember_available(&mut self, note: &Note) {
        let Some(id) = note.service else { return };
        let (Some(view), Some(entry)) = (self.core.view(id), self.entries.get_mut(&id)) else { return };
        let is = available(&view, entry.spec.oneshot.is_some());
        // What never ran has nothing to be remembered.
        if entry.available == Some(is) || (entry.available.is_none() && is == Is::Off) {
            return;
        }
        entry.available = Some(is);
        let name = entry.name.clone();
        self.history.turned(&name, is, self.wall(note.at));
    }
}

impl Shell {
    /// Of every service, as it is now: the daemon before this one has not said when it was last so.
    pub(super) fn remember_all_available(&mut self) {
        let now = self.now().1;
        for (id, entry) in &mut self.entries {
            let Some(view) = self.core.view(*id) else { continue };
            let is = available(&view, entry.spec.oneshot.is_some());
            if is != Is::Off {
                entry.available = Some(is);
                self.history.turned(&entry.name, is, now);
            }
        }
    }
}

/// Up, down though it is wanted, or not wanted. A oneshot that does its work is neither: nobody uses it meanwhile.
fn available(view: &View, oneshot: bool) -> Is {
    match view.state {
        StateView::Up | StateView::Leaving { .. } => match view.health {
            HealthView::Unhealthy(_) => Is::Down,
            HealthView::None | HealthView::Starting | HealthView::Healthy | HealthView::Failing(_) => Is::Up,
        },
        StateView::Exited => Is::Up,
        // It is down because it failed, and nobody meant it to be.
        StateView::Down(DownReason::Failed(_)) | StateView::Parked(_) => Is::Down,
        StateView::Down(
            DownReason::NeverStarted
            | DownReason::Stopped
            | DownReason::StoppedWith(_)
            | DownReason::Conflict(_)
            | DownReason::Finished(_)
            | DownReason::Reset
            | DownReason::Completed,
        ) => Is::Off,
        StateView::Waiting(_) | StateView::Spawning | StateView::Starting(_) if oneshot => Is::Off,
        StateView::Waiting(_)
        | StateView::Spawning
        | StateView::Starting(_)
        | StateView::Stopping(_)
        | StateView::Ending { .. }
        | StateView::Backoff { .. } => {
            if view.wanted {
                Is::Down
            } else {
                Is::Off
            }
        }
    }
}
