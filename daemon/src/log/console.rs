//! The thread that writes services' lines to the daemon's own stdout and stderr. A terminal that is blocked (Ctrl-S, a
//! full pipe) blocks this thread and nothing else.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use mcpd_proto::log::Stream;

use super::control::Control;
use super::queue::{Job, Queue};
use super::trouble::Trouble;

/// Where the lines go.
pub(super) struct Outputs {
    pub(super) out: Box<dyn Write + Send>,
    pub(super) err: Box<dyn Write + Send>,
}

impl Outputs {
    /// The daemon's own.
    pub(super) fn own() -> Self {
        Self { out: Box::new(std::io::stdout()), err: Box::new(std::io::stderr()) }
    }
}

pub(super) fn name(stream: Stream) -> &'static Path {
    Path::new(match stream {
        Stream::Out => "stdout",
        Stream::Err => "stderr",
    })
}

/// Works until told to stop.
pub(super) fn run(queue: &Queue, control: &Arc<Control>, mut outputs: Outputs) {
    let mut troubles: HashMap<u32, Trouble> = HashMap::new();
    loop {
        match queue.next(|| ()) {
            Job::Batch(batch) => {
                let trouble = troubles.entry(batch.service.id).or_default();
                if trouble.waits() {
                    trouble.lose(&batch, batch.data.len());
                } else {
                    let output = match batch.stream {
                        Stream::Out => &mut outputs.out,
                        Stream::Err => &mut outputs.err,
                    };
                    match output.write_all(&batch.data).and_then(|()| output.flush()) {
                        Ok(()) => trouble.worked(control, &batch.service, name(batch.stream)),
                        Err(error) => {
                            trouble.failed(control, &batch.service, name(batch.stream), &error);
                            trouble.lose(&batch, batch.data.len());
                        }
                    }
                }
                queue.done(batch);
                control.made_room();
            }
            Job::Remove(id) => drop(troubles.remove(&id)),
            Job::Mark(done) => done(),
            Job::Stop => return,
            Job::Define(..)
            | Job::Recall { .. }
            | Job::Follow { .. }
            | Job::Reopen
            | Job::NewRun(_)
            | Job::End(_) => {}
        }
    }
}
