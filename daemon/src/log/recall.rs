//! What did a run say before this daemon took over? It is in the file, and in the memory of a daemon that is dead.
//!
//! Read when somebody asks for the last lines of such a run, or waits for one of them, and by the thread that may wait for
//! a disk. It comes to that after everything that was there to be written.

use mcpd_config::spec::LogFormat;
use mcpd_proto::log::{LogLine, Stream};

use super::format;
use super::frame::Record;
use super::ring::{Origin, Ring};
use super::service::Service;
use super::stamp::Micros;
use super::watch;

/// Of a run that was taken over.
pub(super) struct Recall {
    pub(super) generation: u64,
    /// When it began.
    pub(super) began: Micros,
    /// Lines are being read; those with lower numbers are among them.
    asked: Option<u64>,
}

impl Recall {
    pub(super) fn new(generation: u64, began: Micros) -> Self {
        Self { generation, began, asked: None }
    }
}

impl Service {
    /// How many lines are to be read, unless they are already being.
    pub(super) fn ask_for_earlier(&mut self) -> Option<usize> {
        let sequence = self.sequence;
        let recall = self.recall.as_mut()?;
        // One stream may have said more than the other.
        recall.asked.replace(sequence).is_none().then(|| self.tail_lines.saturating_mul(4).max(1000))
    }

    /// Here they are.
    pub(super) fn recall(&mut self, lines: &[LogLine]) {
        let Some(Recall { generation, began, asked }) = self.recall.take() else { return };
        // None were written, or they say neither when nor where: what there is in memory is all.
        if lines.is_empty() || self.format() == LogFormat::Raw {
            return;
        }
        let later = asked.unwrap_or(self.sequence);
        let mut rings: [Ring; 2] = Default::default();
        for (number, line) in lines.iter().enumerate() {
            let (Some(stream), Some(at)) = (line.stream, format::at(line)) else { continue };
            let generation = if at >= began { generation } else { 0 };
            let bytes = format::bytes(line);
            let record = Record { kept: &[], fresh: &bytes, continues: line.continues };
            watch::look(&mut self.watch, generation, record);
            let sequence = later.saturating_sub((lines.len() - number) as u64);
            rings[super::service::index(stream)].push(
                self.tail_lines,
                Origin { sequence, at, generation },
                record,
            );
        }
        for (mut earlier, stream) in rings.into_iter().zip([Stream::Out, Stream::Err]) {
            let ring = &mut self.rings[super::service::index(stream)];
            earlier.append(self.tail_lines, ring, later);
            *ring = earlier;
        }
    }
}
