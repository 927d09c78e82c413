//! Events: those of the journal, and those that come.
//!
//! A client gets what it asks for without gap or double: the files up to where memory begins, what memory has, then what
//! comes, and from the files again what it was too slow for. It never sees an event that is not written down yet, if the
//! disk does not hang: so what it has seen is in the journal, however the daemon ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mcpd_proto::SCHEMA;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::event::Event;
use mcpd_proto::message::{Id, Notification};
use mcpd_proto::method::{EventListParams, SubscribeParams};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Desk;
use super::method::{Written, asked, blocking, nothing, parsed, value};
use super::session::Out;
use crate::journal::{Filter, From};
use crate::pattern::Named;
use crate::scribe::Subscription;
use crate::shell::message::Ask;

/// Events in the answer to `event.list` when nothing is said, and at most: they are one document.
const LISTED: usize = 100;
const MOST_LISTED: usize = 10_000;
/// Events that are read from the files at a time, and batches of them ahead of a client.
const BATCH: usize = 64;
const AHEAD: usize = 2;
/// How long an event waits until it is written down before a client sees it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct List<'a> {
    schema: u32,
    events: Vec<&'a Event>,
}

pub(super) async fn list(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let EventListParams { name, events, since, last } = parsed(params)?;
    let (since, most) = (time(since.as_deref())?, last.unwrap_or(LISTED).min(MOST_LISTED));
    let mut filter = wanted(desk, name).await?;
    if !events.is_empty() {
        filter = filter.only(&events);
    }
    let (journal, mut written) = (desk.journal.clone(), OnDisk::new(desk));
    let events = blocking(desk, move || match since {
        Some(since) => journal.since(since, &filter, most),
        None => journal.newest(&filter, most),
    });
    let events = events.await?.map_err(|error| unreadable(&error))?;
    if let Some(last) = events.last() {
        written.up_to(last.id).await;
    }
    value(&List { schema: SCHEMA, events: events.iter().map(|event| &**event).collect() })
}

fn time(text: Option<&str>) -> Result<Option<Timestamp>, ErrorObject> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|error| {
        ErrorObject::new(Kind::InvalidParams, format!("since is no RFC 3339 time: \"{text}\": {error}"))
    })
}

fn unreadable(error: &std::io::Error) -> ErrorObject {
    ErrorObject::new(Kind::Internal, format!("the journal of events cannot be read: {error}"))
}

/// Whose events. A service that is gone may have left some; one that never was has none.
async fn wanted(desk: &Desk, name: Option<String>) -> Result<Filter, ErrorObject> {
    let filter = || name.as_deref().map(Named::parse).transpose().map(Filter::named);
    let wanted = filter()?;
    if let Some(name) = &name
        && let Err(error) = asked(desk, |reply| Ask::Known(name.clone(), reply)).await
    {
        let journal = desk.journal.clone();
        let was = blocking(desk, move || journal.newest(&wanted, 1)).await?;
        if was.map_err(|error| unreadable(&error))?.is_empty() {
            return Err(error);
        }
        return filter();
    }
    Ok(wanted)
}

/// What a client has seen is on disk.
struct OnDisk {
    done: watch::Receiver<u64>,
    /// The disk hangs: nobody waits for it again before it moves.
    hangs: bool,
}

impl OnDisk {
    fn new(desk: &Desk) -> Self {
        Self { done: desk.scribe.written(), hangs: false }
    }

    async fn up_to(&mut self, id: u64) {
        if *self.done.borrow() >= id {
            self.hangs = false;
        } else if !self.hangs {
            let there = tokio::time::timeout(WRITTEN_WITHIN, self.done.wait_for(|done| *done >= id)).await;
            self.hangs = there.is_err();
        }
    }
}

/// A client that follows.
struct Follower<'a> {
    desk: &'a Desk,
    out: &'a Out,
    id: &'a Id,
    token: &'a CancellationToken,
    filter: Arc<Filter>,
    /// The last event that has come, for it or not.
    last: u64,
}

impl Follower<'_> {
    /// False: the client is gone.
    async fn send(&self, event: &Event) -> bool {
        self.out.send(&Notification::new("event", self.id, json!(event))).await
    }

    /// Sends what is in the files, of more than `most` the newest. How many records there were, with `all` also those that
    /// are not wanted; `None`: the client has enough.
    async fn read(
        &self,
        from: From,
        below: Option<u64>,
        most: Option<usize>,
        all: bool,
    ) -> Result<Option<u64>, ErrorObject> {
        let (journal, filter) = (self.desk.journal.clone(), self.filter.clone());
        let (batches, mut coming) = mpsc::channel::<Vec<Arc<Event>>>(AHEAD);
        let reading = blocking(self.desk, move || {
            let from = match most {
                Some(most) => journal.nth_newest(from, below, &filter, most)?.map_or(from, before),
                None => from,
            };
            let (mut batch, mut count) = (Vec::new(), 0);
            let every = Filter::all();
            journal.walk_below(from, below, if all { &every } else { &filter }, &mut |event| {
                count += 1;
                if filter.wants(&event) {
                    batch.push(event);
                }
                batch.len() < BATCH || batches.blocking_send(std::mem::take(&mut batch)).is_ok()
            })?;
            let _ = batches.blocking_send(batch);
            Ok::<u64, std::io::Error>(count)
        });
        let sending = async {
            while let Some(batch) = coming.recv().await {
                for event in batch {
                    if self.token.is_cancelled() || !self.send(&event).await {
                        coming.close();
                        return false;
                    }
                }
            }
            true
        };
        let (count, goes_on) = tokio::join!(reading, sending);
        let count = count?.map_err(|error| unreadable(&error))?;
        Ok(goes_on.then_some(count))
    }

    /// It was too slow for so many: they are in the journal, but for those that were lost or only counted.
    async fn catch_up(&mut self, missed: u64) -> Result<bool, ErrorObject> {
        let from = From::After(self.last);
        self.last += missed;
        let Some(found) = self.read(from, Some(self.last + 1), None, true).await? else { return Ok(false) };
        let missed = missed.saturating_sub(found);
        let tell = || Notification::new("events_missed", self.id, json!({ "missed": missed }));
        Ok(missed == 0 || self.out.send(&tell()).await)
    }
}

fn before(id: u64) -> From {
    From::After(id.saturating_sub(1))
}

pub(super) async fn follow(
    desk: &Desk,
    out: &Out,
    id: &Id,
    params: &SubscribeParams,
    token: &CancellationToken,
) -> Result<Written, ErrorObject> {
    let from = match (time(params.since.as_deref())?, params.after) {
        (Some(_), Some(_)) => {
            return Err(ErrorObject::new(Kind::InvalidParams, "either `since` or `after`, not both"));
        }
        (Some(since), None) => From::Time(since),
        (None, Some(after)) => From::After(after),
        (None, None) => From::Beginning,
    };
    let most = match (from, params.backlog) {
        (From::Beginning, backlog) => Some(backlog.unwrap_or(0)),
        (From::Time(_) | From::After(_), backlog) => backlog,
    };
    let filter = Arc::new(wanted(desk, params.name.clone()).await?);
    let mut written = OnDisk::new(desk);
    let Subscription { mut past, oldest, newest, mut live } =
        desk.scribe.subscribe(|event| from.includes(event) && filter.wants(event));
    let on_disk = most.map(|most| most.saturating_sub(past.len()));
    if let Some(most) = most {
        past.drain(..past.len().saturating_sub(most));
    }
    let mut this = Follower { desk, out, id, token, filter, last: newest.unwrap_or(0) };
    if on_disk != Some(0) && this.read(from, oldest, on_disk, false).await?.is_none() {
        return nothing();
    }
    if let Some(newest) = past.last() {
        written.up_to(newest.id).await;
    }
    for event in past {
        if !this.send(&event).await {
            return nothing();
        }
    }
    if !params.follow {
        return nothing();
    }
    loop {
        let event = tokio::select! {
            event = live.recv() => event,
            () = token.cancelled() => match live.try_recv() {
                // mcpd ends, and nothing more comes: what has been told is told to the end, the last word of all too.
                Ok(event) if desk.sessions.closing.is_cancelled() => Ok(event),
                Err(TryRecvError::Lagged(missed)) if desk.sessions.closing.is_cancelled() => {
                    Err(RecvError::Lagged(missed))
                }
                Ok(_) | Err(_) => break,
            },
        };
        let goes_on = match event {
            Ok(event) => {
                this.last = event.id;
                if this.filter.wants(&event) {
                    written.up_to(event.id).await;
                    this.send(&event).await
                } else {
                    true
                }
            }
            Err(RecvError::Lagged(missed)) => this.catch_up(missed).await?,
            Err(RecvError::Closed) => false,
        };
        if !goes_on {
            break;
        }
    }
    nothing()
}
