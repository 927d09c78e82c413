//! The thread that owns the log files: whatever may wait for a disk happens here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpd_config::spec::{LogSpec, LogTarget};
use mcpd_proto::log::LogLine;

use super::LogEvent;
use super::control::Control;
use super::file::{LogFile, Written};
use super::follow::{Sink, Start, spread};
use super::queue::{Batch, Job, Queue, Shared};
use super::read::{self, Backlog};
use super::spool::{Spool, Ticket};
use super::trouble::Trouble;

pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) control: Arc<Control>,
    pub(super) dir: PathBuf,
    pub(super) spool: Option<Arc<Spool>>,
}

/// One service as its writer sees it.
struct Service {
    shared: Arc<Shared>,
    spec: LogSpec,
    file: Option<Box<LogFile>>,
    sinks: Vec<Sink>,
    trouble: Trouble,
    /// That rotation fails has been said.
    rotation_failing: bool,
}

impl Writer {
    /// Works until told to stop.
    pub(super) fn run(self) {
        let mut services: HashMap<u32, Service> = HashMap::new();
        let spool = self.spool.as_deref();
        let rest = || spool.into_iter().for_each(Spool::rest);
        loop {
            match self.queue.next(rest) {
                Job::Batch(batch) => {
                    if let Some(service) = services.get_mut(&batch.service.id) {
                        if !batch.live_only {
                            service.write(&batch, &self.dir, &self.control, spool);
                        }
                        if !service.sinks.is_empty() {
                            spread(&mut service.sinks, &batch);
                        }
                    }
                    if let Some((spool, progress)) = spool.zip(batch.progress) {
                        spool.batch_done(progress);
                    }
                    self.queue.done(batch);
                    self.control.made_room();
                }
                Job::End(progress) => spool.into_iter().for_each(|spool| spool.end(progress)),
                Job::Define(shared, spec) => match services.get_mut(&shared.id) {
                    Some(service) => service.change(shared, spec),
                    None => {
                        services.insert(shared.id, Service::new(shared, spec));
                    }
                },
                Job::Remove(id) => drop(services.remove(&id)),
                Job::Follow { service, ring, start, mut sink } => {
                    if let Some(service) = services.get_mut(&service) {
                        service.sinks.retain(|sink| !sink.is_closed());
                        // Fails only when the follower has gone.
                        let _ = start.send(service.backlog(ring, &mut sink, &self.dir));
                        service.sinks.push(sink);
                    }
                }
                Job::Recall { service, lines, done } => {
                    let found = services.get(&service).map(|service| service.last(lines, &self.dir));
                    done(found.unwrap_or_default());
                }
                Job::NewRun(id) => {
                    if let Some(service) = services.get_mut(&id) {
                        service.trouble.try_again();
                    }
                }
                Job::Reopen => {
                    for service in services.values_mut() {
                        service.reopen(&self.control);
                    }
                }
                Job::Mark(done) => done(),
                Job::Stop => return,
            }
        }
    }
}

impl Service {
    fn new(shared: Arc<Shared>, spec: LogSpec) -> Self {
        Self {
            shared,
            spec,
            file: None,
            sinks: Vec::new(),
            trouble: Trouble::default(),
            rotation_failing: false,
        }
    }

    fn change(&mut self, shared: Arc<Shared>, spec: LogSpec) {
        if spec.target != LogTarget::File || shared.name != self.shared.name {
            self.file = None;
        }
        if let Some(file) = &mut self.file {
            file.format = spec.format;
            file.max_size = spec.max_size;
            file.max_files = spec.max_files;
        }
        self.shared = shared;
        self.spec = spec;
    }

    fn file(&mut self, dir: &Path) -> &mut LogFile {
        self.file.get_or_insert_with(|| {
            let LogSpec { target: _, format, max_size, max_files } = self.spec;
            Box::new(LogFile::new(dir, &self.shared.name, format, max_size, max_files))
        })
    }

    fn write(&mut self, batch: &Batch, dir: &Path, control: &Control, spool: Option<&Spool>) {
        if self.trouble.waits() {
            self.trouble.lose(batch, batch.data.len());
            return;
        }
        let after_gap = batch.missed > 0 || self.trouble.is_on();
        let ticket = spool.zip(batch.progress);
        let ticket = ticket.map(|(spool, progress)| Ticket { spool, progress, name: &batch.service.name });
        let file = self.file(dir);
        let result = file.append(&batch.data, batch.youngest, after_gap, ticket);
        let rotation_error = file.rotation_error.take();
        let rotates = file.rotates();
        let path = file.path().to_owned();
        if let Some(error) = rotation_error
            && !std::mem::replace(&mut self.rotation_failing, true)
        {
            control.say(LogEvent::RotationFailing {
                service: self.shared.id,
                name: self.shared.name.clone(),
                path: path.clone(),
                error: error.to_string(),
            });
        }
        if rotates {
            self.rotation_failing = false;
        }
        match result {
            Ok(()) => self.trouble.worked(control, &self.shared, &path),
            Err(failure) => {
                self.trouble.failed(control, &self.shared, &path, &failure.error);
                self.trouble.lose(batch, failure.unwritten);
            }
        }
    }

    fn last(&self, lines: usize, dir: &Path) -> Vec<LogLine> {
        let mut found = Vec::new();
        let each = &mut |more| {
            found.extend(more);
            true
        };
        // Without its log less is known of it.
        let _ = read::read(dir, &self.shared.name, self.spec.format, Some(lines), None, each);
        found
    }

    fn reopen(&mut self, control: &Control) {
        self.trouble.try_again();
        if let Some(file) = &mut self.file
            && let Err(error) = file.reopen()
        {
            self.trouble.failed(control, &self.shared, file.path(), &error);
        }
    }

    /// Everything up to now, for a follower who gets everything from now on.
    fn backlog(&mut self, ring: Option<Vec<LogLine>>, sink: &mut Sink, dir: &Path) -> Start {
        if let Some(lines) = ring {
            return Start::Lines(lines);
        }
        let name = self.shared.name.clone();
        let file = self.file(dir);
        match file.written() {
            Ok(Written { rotated, current, partial }) => {
                sink.partial = partial;
                // "All" needs no looking for the place where it begins.
                let lines = Some(sink.request.lines).filter(|&lines| lines != usize::MAX);
                let since = sink.request.since;
                Start::Files(Box::new(Backlog::new(dir, &name, file.format, &rotated, current, lines, since)))
            }
            Err(error) => {
                tracing::warn!(service = name, %error, "cannot open the log for a follower; only new lines are shown");
                Start::Lines(Vec::new())
            }
        }
    }
}
