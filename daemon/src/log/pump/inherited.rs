//! What a dead daemon has left: bytes that it had read and not written, and lines that it had in memory.

use std::sync::Arc;

use mcpd_proto::log::LogLine;

use super::{Command, Pump, Reader, pass_on};
use crate::log::queue::Job;
use crate::log::recall::Recall;
use crate::log::spool::{Inherited, Piece, Spooled, Whose};
use crate::log::stamp::Micros;

impl Pump {
    /// The reader of a stream that a dead daemon was reading; what that one had read of it is written first.
    pub(super) fn inherited_reader(&mut self, whose: Whose) -> Option<Reader> {
        let place = self.inherited.iter().position(|inherited| inherited.whose == whose)?;
        let spooled = self.inherited.swap_remove(place).spooled;
        let mut reader = Reader::new(whose.generation, whose.stream, Some(spooled));
        self.write_rest(whose.service, &mut reader);
        Some(reader)
    }

    /// Of what is left nobody has the pipe: nothing more comes of it.
    pub(super) fn taken_over(&mut self) {
        while let Some(Inherited { whose, .. }) = self.inherited.first().copied() {
            if let Some(reader) = self.inherited_reader(whose) {
                self.end_stream(whose.service, reader);
            }
        }
    }

    /// What a dead daemon has read of this stream and not written.
    fn write_rest(&mut self, id: u32, reader: &mut Reader) {
        let Self { services, spool, scratch, files, console, .. } = self;
        let Some((spool, spooled)) = spool.as_deref().zip(reader.spooled) else { return };
        let Some(service) = services.get_mut(&id) else { return };
        let (pieces, mut skip) = spool.unwritten(spooled);
        for Piece { bytes, end, at, ends } in pieces {
            // So that each batch says how far it comes.
            reader.spooled = Some(Spooled { offset: end, ..spooled });
            service.take(reader, &bytes, at, false, scratch);
            if ends {
                service.finish(reader, at, scratch);
            }
            let over = usize::try_from(skip).unwrap_or(usize::MAX).min(scratch.records.len());
            scratch.records.drain(..over);
            skip -= over as u64;
            pass_on(service, reader, scratch, files, console);
        }
    }

    /// A run of this service was begun by a dead daemon: what it said to that one is in the file.
    pub(super) fn began_before(&mut self, id: u32, generation: u64, began: Micros) {
        let Some(service) = self.services.get_mut(&id).filter(|service| service.to_file()) else { return };
        service.recall = Some(Recall::new(generation, began));
        // It may have said by then what it is waited for.
        if service.watch.is_some() {
            self.recalls(id);
        }
    }

    /// Whether something of what this service has said is still to be read from its file; it is asked for.
    pub(super) fn recalls(&mut self, id: u32) -> bool {
        let Some(service) = self.services.get_mut(&id).filter(|service| service.recall.is_some()) else {
            return false;
        };
        if let Some(lines) = service.ask_for_earlier() {
            let control = Arc::clone(&self.control);
            let done = Box::new(move |lines| control.ask(Command::Recalled { service: id, lines }));
            self.files.push(Job::Recall { service: id, lines, done });
        }
        true
    }

    /// Here it is; now what had to wait for it.
    pub(super) fn recalled(&mut self, id: u32, lines: &[LogLine]) {
        if let Some(service) = self.services.get_mut(&id) {
            service.recall(lines);
        }
        for command in self.after_recall.remove(&id).unwrap_or_default() {
            self.obey(command);
        }
    }
}
