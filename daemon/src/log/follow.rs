//! Reading along: a backlog, then every new line, with no gap and none twice.
//!
//! The thread that writes the files opens the backlog and from then on hands over each batch it has written, so the two
//! meet exactly. The backlog itself is read by whoever follows, at his pace. A follower who is too slow loses lines and
//! is told how many; he never slows anyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mcpd_config::spec::LogFormat;
use mcpd_proto::log::{LogLine, LogLines};
use mcpd_proto::message::Id;
use memchr::memchr;
use tokio::sync::{mpsc, oneshot};

use super::format::{bare, cost, parse};
use super::frame::MAX_RECORD;
use super::queue::{Batch, Shared};
use super::read::Backlog;
use crate::workers::start_thread;

/// About how much memory may wait for one follower.
const BUDGET: usize = 1024 * 1024;

/// What a follower asks for.
#[derive(Debug, Clone, Default)]
pub struct Follow {
    /// So many of the last lines first.
    pub lines: usize,
    /// Of those, only lines since then. Where the format keeps no times, this does not narrow the current file.
    pub since: Option<jiff::Timestamp>,
}

/// Where the backlog is.
pub(super) enum Start {
    Lines(Vec<LogLine>),
    Files(Box<Backlog>),
}

#[derive(Default)]
struct Account {
    /// Cost of what was sent and not received.
    waiting: AtomicUsize,
    /// Lines left out that the receiver does not know of yet.
    skipped: AtomicU64,
}

/// The sending end.
pub(super) struct Sink {
    lines: mpsc::UnboundedSender<(usize, LogLines)>,
    account: Arc<Account>,
    service: Arc<Shared>,
    pub(super) request: Follow,
    /// Raw output only: a line that has not ended yet.
    pub(super) partial: Vec<u8>,
}

/// The receiving end. Dropping it ends the following.
pub struct Follower {
    stage: Stage,
    live: mpsc::UnboundedReceiver<(usize, LogLines)>,
    account: Arc<Account>,
}

enum Stage {
    Asked(oneshot::Receiver<Start>),
    Backlog(Box<Backlog>),
    Reading(oneshot::Receiver<Piece>),
    Live,
}

/// What was read of the backlog, and the rest of it.
type Piece = (Box<Backlog>, std::io::Result<Option<Vec<LogLine>>>);

/// Both ends, and the one through which the backlog is handed over.
pub(super) fn pair(service: &Arc<Shared>, request: Follow) -> (Sink, oneshot::Sender<Start>, Follower) {
    let (sender, live) = mpsc::unbounded_channel();
    let (start, asked) = oneshot::channel();
    let account = Arc::new(Account::default());
    service.followers.fetch_add(1, Ordering::SeqCst);
    let sink = Sink {
        lines: sender,
        account: Arc::clone(&account),
        service: Arc::clone(service),
        request,
        partial: Vec::new(),
    };
    (sink, start, Follower { stage: Stage::Asked(asked), live, account })
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.service.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Sink {
    /// Nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }

    /// Lines that were read but not handed over: this follower misses them, too.
    pub(super) fn miss(&self, lines: u64) {
        self.account.skipped.fetch_add(lines, Ordering::SeqCst);
    }

    /// Hands over lines, or counts them where the follower is too far behind.
    pub(super) fn send(&self, lines: Vec<LogLine>) {
        let size = lines.iter().map(cost).sum::<usize>();
        let waiting = self.account.waiting.load(Ordering::SeqCst);
        if waiting > 0 && waiting + size > BUDGET {
            self.miss(lines.len() as u64);
            return;
        }
        let skipped = self.account.skipped.swap(0, Ordering::SeqCst);
        self.account.waiting.fetch_add(size, Ordering::SeqCst);
        // A receiver that has gone is noticed by `is_closed`.
        let _ = self.lines.send((size, LogLines { request: Id::Null, lines, skipped }));
    }

    /// The lines of a raw chunk, with the one that was waiting for its end.
    fn raw(&mut self, mut data: &[u8]) -> Vec<LogLine> {
        let mut lines = Vec::new();
        while !data.is_empty() {
            let room = MAX_RECORD - self.partial.len();
            let window = &data[..data.len().min(room + 1)];
            match memchr(b'\n', window) {
                Some(end) => {
                    self.partial.extend_from_slice(&data[..end]);
                    lines.push(bare(None, None, &self.partial, false));
                    data = &data[end + 1..];
                    self.partial.clear();
                }
                None if data.len() <= room => {
                    self.partial.extend_from_slice(data);
                    break;
                }
                None => {
                    self.partial.extend_from_slice(&data[..room]);
                    lines.push(bare(None, None, &self.partial, true));
                    data = &data[room..];
                    self.partial.clear();
                }
            }
        }
        lines
    }
}

/// Hands a written batch to everyone who follows.
pub(super) fn spread(sinks: &mut Vec<Sink>, batch: &Batch) {
    sinks.retain(|sink| !sink.is_closed());
    if sinks.is_empty() {
        return;
    }
    if batch.missed > 0 {
        for sink in &mut *sinks {
            sink.miss(batch.missed);
        }
    }
    if batch.format == LogFormat::Raw {
        for sink in sinks {
            let lines = sink.raw(&batch.data);
            if !lines.is_empty() {
                sink.send(lines);
            }
        }
        return;
    }
    let records = batch.data.split_inclusive(|&byte| byte == b'\n');
    let lines: Vec<_> =
        records.map(|record| parse(batch.format, record.strip_suffix(b"\n").unwrap_or(record))).collect();
    let Some((last, others)) = sinks.split_last() else { return };
    for sink in others {
        sink.send(lines.clone());
    }
    last.send(lines);
}

impl Follower {
    /// The next lines: first the backlog in several pieces, then what is written from then on. `None`: the service was
    /// removed or the daemon stops. Must be called within a tokio runtime; dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<LogLines> {
        loop {
            match &mut self.stage {
                Stage::Asked(start) => match start.await {
                    Ok(Start::Lines(lines)) => {
                        self.stage = Stage::Live;
                        if !lines.is_empty() {
                            return Some(LogLines { request: Id::Null, lines, skipped: 0 });
                        }
                    }
                    Ok(Start::Files(backlog)) => self.stage = Stage::Backlog(backlog),
                    Err(_) => self.stage = Stage::Live,
                },
                Stage::Backlog(_) => {
                    if let Stage::Backlog(mut backlog) = std::mem::replace(&mut self.stage, Stage::Live) {
                        let (done, reading) = oneshot::channel();
                        self.stage = Stage::Reading(reading);
                        let started = start_thread("backlog", move || {
                            let lines = backlog.next_batch();
                            let _ = done.send((backlog, lines));
                        });
                        if let Err(error) = started {
                            tracing::warn!(%error, "no thread to read a log's backlog; going on with new lines");
                        }
                    }
                }
                Stage::Reading(reading) => match reading.await {
                    Ok((backlog, Ok(Some(lines)))) => {
                        self.stage = Stage::Backlog(backlog);
                        return Some(LogLines { request: Id::Null, lines, skipped: 0 });
                    }
                    Ok((_, Ok(None))) => self.stage = Stage::Live,
                    Ok((_, Err(error))) => {
                        tracing::warn!(%error, "cannot read the rest of a log's backlog; going on with new lines");
                        self.stage = Stage::Live;
                    }
                    Err(_) => self.stage = Stage::Live,
                },
                Stage::Live => break,
            }
        }
        match self.live.try_recv() {
            Ok(found) => return Some(self.received(found)),
            Err(mpsc::error::TryRecvError::Disconnected) => {}
            // Lines are skipped only while others wait, so this is the place where they are missing.
            Err(mpsc::error::TryRecvError::Empty) => {
                let skipped = self.account.skipped.swap(0, Ordering::SeqCst);
                if skipped > 0 {
                    return Some(LogLines { request: Id::Null, lines: Vec::new(), skipped });
                }
            }
        }
        let found = self.live.recv().await?;
        Some(self.received(found))
    }

    fn received(&self, (size, lines): (usize, LogLines)) -> LogLines {
        self.account.waiting.fetch_sub(size, Ordering::SeqCst);
        lines
    }
}
