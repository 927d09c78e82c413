//! What nobody is going to answer any more, because who was asked died with the daemon: its successor asks again.

use super::*;

impl Service {
    /// The actions whose answers are waited for without end, or for long. What has a short limit of its own is not among
    /// them (probes, commands beside the process), nor are signals: a second SIGTERM means "at once" to many a server.
    pub(crate) fn owed(&self, out: &mut Vec<Action>) {
        let (service, generation, command) = (self.id, self.generation, self.command);
        match &self.actual {
            Actual::Spawning(_) => {
                let first = command == self.policy.commands.first();
                out.push(Action::Spawn { service, generation, command, first });
            }
            Actual::Ending(ending) => match ending.report {
                // Its tree is looked at as well.
                Report::Draining { .. } => out.push(Action::Settle { service, generation }),
                Report::Later { .. } | Report::Writing(_) | Report::Settled => {
                    if let (Report::Writing(_), Some(crash)) = (ending.report, self.crash(ending)) {
                        out.push(Action::RecordCrash(Box::new(crash)));
                    }
                    if ending.left != Some(0) && ending.beside.is_none() {
                        out.push(Action::Look { service, generation });
                    }
                }
            },
            Actual::Down(_)
            | Actual::Waiting(_)
            | Actual::Starting(_)
            | Actual::Up(_)
            | Actual::Exited
            | Actual::Stopping(_)
            | Actual::Backoff { .. }
            | Actual::Parked(_) => {}
        }
    }
}
