//! What one service's bytes become: records for its destination, lines for its tail, lines for who reads along.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use mcpd_config::spec::{LogFormat, LogSpec, LogTarget};
use mcpd_proto::log::{LogLine, Stream};
use memchr::{memchr_iter, memrchr_iter};

use super::frame::{Framer, Record};
use super::pump::Scratch;
use super::queue::{Batch, Shared};
use super::recall::Recall;
use super::ring::{Origin, RING_BYTES, Ring};
use super::spool::{Progress, Spooled};
use super::stamp::{self, Micros, WIDTH};
use super::watch::{self, Watch};
use super::{Dropped, Tails, format};

/// One stream of one run.
pub(super) struct Reader {
    pub(super) generation: u64,
    pub(super) stream: Stream,
    framer: Framer,
    /// Where its bytes are noted, for a daemon that may have to go on here.
    pub(super) spooled: Option<Spooled>,
}

impl Reader {
    pub(super) fn new(generation: u64, stream: Stream, spooled: Option<Spooled>) -> Self {
        Self { generation, stream, framer: Framer::default(), spooled }
    }

    /// These were read, and are not noted anywhere.
    pub(super) fn pass(&mut self, count: usize) {
        if let Some(spooled) = &mut self.spooled {
            spooled.offset += count as u64;
        }
    }

    /// A line has not ended yet.
    pub(super) fn is_within_line(&self) -> bool {
        self.framer.waiting() > 0
    }

    /// How far it is written once all records there are by now are.
    fn progress(&self, format: LogFormat) -> Option<Progress> {
        let Spooled { stream, offset } = self.spooled?;
        let waiting = if format == LogFormat::Raw { 0 } else { self.framer.waiting() };
        Some(Progress { stream, upto: offset.saturating_sub(waiting as u64) })
    }

    /// Nothing more to read for now.
    pub(super) fn settle(&mut self) {
        self.framer.settle();
    }
}

/// Where a record lies in the chunk that was read.
pub(super) struct Mark {
    start: usize,
    end: usize,
    continues: bool,
}

/// One service as the pump sees it.
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    target: LogTarget,
    format: LogFormat,
    pub(super) tail_lines: usize,
    pub(super) rings: [Ring; 2],
    pub(super) sequence: u64,
    /// Pipes that are open.
    pub(super) pipes: usize,
    /// To be forgotten once no pipe is open.
    pub(super) removed: bool,
    /// Not read since then, for lack of room.
    pub(super) held_since: Option<Instant>,
    /// What was dropped since there was no room for too long.
    dropping: Option<Box<Dropped>>,
    /// For the next batch: the time of its youngest record, the service's own bytes in it, lines left out before it.
    youngest: Micros,
    payload: u64,
    missed: u64,
    missed_live: u64,
    /// The line that somebody waits for.
    pub(super) watch: Option<Watch>,
    /// Some of its lines were said to a daemon before this one.
    pub(super) recall: Option<Recall>,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, spec: &LogSpec, tail_lines: u32) -> Self {
        Self {
            shared,
            target: spec.target,
            format: spec.format,
            tail_lines: usize::try_from(tail_lines).unwrap_or(usize::MAX),
            rings: Default::default(),
            sequence: 0,
            pipes: 0,
            removed: false,
            held_since: None,
            dropping: None,
            youngest: Micros::MIN,
            payload: 0,
            missed: 0,
            missed_live: 0,
            watch: None,
            recall: None,
        }
    }

    /// A service that nobody defined: its pipes are read, so that it does not hang, and its lines kept as a tail.
    pub(super) fn unknown(id: u32) -> Self {
        let shared = Shared::new(id, String::new());
        let spec = LogSpec { target: LogTarget::None, format: LogFormat::Text, max_size: 0, max_files: 0 };
        let mut new = Self::new(Arc::new(shared), &spec, 100);
        new.removed = true;
        new
    }

    /// Its definition has changed; what it said stays.
    pub(super) fn change(&mut self, shared: Arc<Shared>, spec: &LogSpec, tail_lines: u32) {
        self.shared = shared;
        self.target = spec.target;
        self.format = spec.format;
        self.tail_lines = usize::try_from(tail_lines).unwrap_or(usize::MAX);
        self.removed = false;
        for ring in &mut self.rings {
            ring.limit(self.tail_lines);
        }
    }

    pub(super) fn format(&self) -> LogFormat {
        self.format
    }

    pub(super) fn to_console(&self) -> bool {
        self.target == LogTarget::Inherit
    }

    pub(super) fn to_file(&self) -> bool {
        self.target == LogTarget::File
    }

    pub(super) fn writes_somewhere(&self) -> bool {
        self.target != LogTarget::None
    }

    pub(super) fn is_dropping(&self) -> bool {
        self.dropping.is_some()
    }

    /// From now on lines are dropped. False: they were already.
    pub(super) fn start_dropping(&mut self) -> bool {
        let starts = self.dropping.is_none();
        self.dropping.get_or_insert_default();
        starts
    }

    pub(super) fn stop_dropping(&mut self) -> Option<Dropped> {
        self.dropping.take().map(|dropped| *dropped)
    }

    /// Takes what was read at once from one stream.
    pub(super) fn take(
        &mut self,
        reader: &mut Reader,
        chunk: &[u8],
        at: Micros,
        drop: bool,
        scratch: &mut Scratch,
    ) {
        let stamp = *scratch.stamper.at(at);
        let raw = self.writes_somewhere() && self.format == LogFormat::Raw;
        let live = !self.to_file() && self.shared.followers.load(Ordering::SeqCst) > 0;
        if raw {
            if drop {
                self.lose(memchr_iter(b'\n', chunk).count() as u64, chunk.len() as u64);
            } else {
                scratch.records.extend_from_slice(chunk);
                self.youngest = at;
                self.payload += chunk.len() as u64;
            }
        }
        let Scratch { marks, records, live: live_records, .. } = scratch;
        let to = Output {
            records: (self.writes_somewhere() && !raw && !drop).then_some(records),
            live: live.then_some(live_records),
            stamp: &stamp,
            stream: reader.stream,
        };
        self.frame(reader, chunk, at, to, drop && !raw, marks);
    }

    /// Cuts the chunk into lines, as far as anyone wants to see lines.
    fn frame(
        &mut self,
        reader: &mut Reader,
        chunk: &[u8],
        at: Micros,
        mut to: Output<'_>,
        drop: bool,
        marks: &mut Vec<Mark>,
    ) {
        let unread = to.records.is_none() && to.live.is_none() && !drop && self.watch.is_none();
        let chunk = if unread {
            let start = tail_start(chunk, self.tail_lines);
            if start > 0 {
                reader.framer.forget();
            }
            &chunk[start..]
        } else {
            chunk
        };
        let Reader { generation, stream, framer, .. } = reader;
        let base = chunk.as_ptr() as usize;
        let mut lost = Dropped::default();
        marks.clear();
        framer.feed(chunk, |record| {
            watch::look(&mut self.watch, *generation, record);
            to.put(self.target, self.format, &self.shared.name, record);
            if drop {
                lost += Dropped { lines: 1, bytes: record.len() as u64 + u64::from(!record.continues) };
            } else if to.records.is_some() {
                self.payload += record.len() as u64 + u64::from(!record.continues);
            }
            if record.kept.is_empty() {
                // Only the last of them go into the ring.
                let start = record.fresh.as_ptr() as usize - base;
                marks.push(Mark { start, end: start + record.fresh.len(), continues: record.continues });
            } else {
                let origin = Origin { sequence: self.sequence, at, generation: *generation };
                self.rings[index(*stream)].push(self.tail_lines, origin, record);
                self.sequence += 1;
            }
        });
        if to.records.is_some() {
            self.youngest = at;
        }
        self.lose(lost.lines, lost.bytes);
        let mut bytes = 0;
        let last = marks.iter().rev().take(self.tail_lines).take_while(|mark| {
            bytes += mark.end - mark.start;
            bytes <= RING_BYTES
        });
        let last = last.count().max(1).min(marks.len());
        for mark in &marks[marks.len() - last..] {
            let origin = Origin { sequence: self.sequence, at, generation: *generation };
            let record = Record { kept: &[], fresh: &chunk[mark.start..mark.end], continues: mark.continues };
            self.rings[index(*stream)].push(self.tail_lines, origin, record);
            self.sequence += 1;
        }
    }

    /// Ends the line that has no newline.
    pub(super) fn finish(&mut self, reader: &mut Reader, at: Micros, scratch: &mut Scratch) {
        let stamp = *scratch.stamper.at(at);
        let raw = self.format == LogFormat::Raw;
        let drop = self.is_dropping();
        let mut to = Output {
            records: (self.writes_somewhere() && !raw && !drop).then_some(&mut scratch.records),
            live: (!self.to_file() && self.shared.followers.load(Ordering::SeqCst) > 0)
                .then_some(&mut scratch.live),
            stamp: &stamp,
            stream: reader.stream,
        };
        let Reader { generation, stream, framer, .. } = reader;
        let mut lost = Dropped::default();
        framer.finish(|record| {
            watch::look(&mut self.watch, *generation, record);
            to.put(self.target, self.format, &self.shared.name, record);
            if drop && !raw && self.target != LogTarget::None {
                lost = Dropped { lines: 1, bytes: record.len() as u64 };
            } else if to.records.is_some() {
                self.payload += record.len() as u64;
                self.youngest = at;
            }
            let origin = Origin { sequence: self.sequence, at, generation: *generation };
            self.rings[index(*stream)].push(self.tail_lines, origin, record);
            self.sequence += 1;
        });
        self.lose(lost.lines, lost.bytes);
    }

    /// The next batch's head; its data is added by the queue.
    pub(super) fn batch(&mut self, reader: &Reader, live_only: bool) -> Batch {
        let progress = reader.progress(self.format).filter(|_| self.to_file() && !live_only);
        let missed = if live_only { &mut self.missed_live } else { &mut self.missed };
        Batch {
            service: Arc::clone(&self.shared),
            stream: reader.stream,
            progress,
            format: if live_only { LogFormat::Text } else { self.format },
            data: Vec::new(),
            youngest: self.youngest,
            payload: if live_only { 0 } else { std::mem::take(&mut self.payload) },
            missed: std::mem::take(missed),
            live_only,
        }
    }

    /// These lines came too fast for those who read along.
    pub(super) fn miss_live(&mut self, records: &[u8]) {
        self.missed_live += memchr_iter(b'\n', records).count() as u64;
    }

    fn lose(&mut self, lines: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let lost = Dropped { lines, bytes };
        self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
        // At least one, so that what comes next knows of the gap.
        self.missed += lines.max(1);
        **self.dropping.get_or_insert_default() += lost;
    }

    /// This run is over: it will not say any more what somebody waits for.
    pub(super) fn unwatch(&mut self, generation: u64) {
        self.watch.take_if(|watch| watch.generation == generation);
    }

    /// Nothing more to read for now: gives back memory.
    pub(super) fn settle(&mut self, stream: Stream) {
        self.rings[index(stream)].settle();
    }

    /// The last lines of one run.
    pub(super) fn tails(&mut self, generation: u64) -> Tails {
        let [out, err] = &mut self.rings;
        let lines = |ring: &mut Ring, stream| {
            ring.lines(stream, usize::MAX, Some(generation)).into_iter().map(|(_, line)| line).collect()
        };
        Tails { stdout: lines(out, Stream::Out), stderr: lines(err, Stream::Err) }
    }

    /// The last lines of both streams in the order in which they came.
    pub(super) fn tail(&mut self, most: usize) -> Vec<LogLine> {
        let [out, err] = &mut self.rings;
        let mut lines = out.lines(Stream::Out, most, None);
        lines.extend(err.lines(Stream::Err, most, None));
        lines.sort_unstable_by_key(|&(sequence, _)| sequence);
        lines.drain(..lines.len().saturating_sub(most));
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// The same, without those from before `since`.
    pub(super) fn since(&mut self, most: usize, since: Option<jiff::Timestamp>) -> Vec<LogLine> {
        let mut lines = self.tail(most);
        if let Some(since) = since {
            let since = stamp::text(since.as_microsecond());
            lines.retain(|line| line.time.as_ref().is_none_or(|time| *time >= since));
        }
        lines
    }
}

impl Shared {
    pub(super) fn new(id: u32, name: String) -> Self {
        Self {
            id,
            name,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            followers: AtomicUsize::new(0),
            removed: AtomicBool::new(false),
        }
    }
}

pub(super) fn index(stream: Stream) -> usize {
    match stream {
        Stream::Out => 0,
        Stream::Err => 1,
    }
}

/// Where the lines begin that a tail can hold; 0 unless something before them is left out.
fn tail_start(chunk: &[u8], lines: usize) -> usize {
    let from = chunk.len().saturating_sub(RING_BYTES);
    // One newline more: it ends the line before the first that is kept.
    match memrchr_iter(b'\n', &chunk[from..]).nth(lines) {
        Some(newline) => from + newline + 1,
        None => from,
    }
}

/// Where the records of a chunk go.
struct Output<'a> {
    records: Option<&'a mut Vec<u8>>,
    live: Option<&'a mut Vec<u8>>,
    stamp: &'a [u8; WIDTH],
    stream: Stream,
}

impl Output<'_> {
    fn put(&mut self, target: LogTarget, form: LogFormat, name: &str, record: Record<'_>) {
        if let Some(to) = &mut self.records {
            match (target, form) {
                (LogTarget::File, LogFormat::Text) => format::text(to, self.stamp, self.stream, record),
                (LogTarget::File, LogFormat::Json) => format::json(to, self.stamp, None, self.stream, record),
                (LogTarget::Inherit, LogFormat::Text) => format::prefixed(to, name, record),
                (LogTarget::Inherit, LogFormat::Json) => {
                    format::json(to, self.stamp, Some(name), self.stream, record);
                }
                (LogTarget::None, _) | (_, LogFormat::Raw) => {}
            }
        }
        if let Some(to) = &mut self.live {
            format::text(to, self.stamp, self.stream, record);
        }
    }
}
