//! Reads what happened: first what is remembered in memory, then, for what is older, the files.
//!
//! Every method may wait for a disk: call it from a worker. Answers come at once however much there is: files are chosen
//! by the ids in their names, a record within a file is searched by halving, and lines of other services are passed over
//! unread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mcpd_proto::event::Event;
use memchr::memmem;

use super::scan::Piece;
use super::{Journal, files};
use crate::pattern::Named;
use crate::scribe::Past;

/// How long a reader waits for what is on its way to the disk. It may hang.
const ARRIVES: Duration = Duration::from_secs(2);
/// Records are in the order of their ids, and their times all but so: the clock is read by several hands.
const SLACK: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Which records are wanted?
#[derive(Default)]
pub struct Filter {
    service: Option<Named>,
    events: Option<Vec<String>>,
    /// What every line of it contains.
    needle: Option<Vec<u8>>,
}

impl Filter {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Those of this service.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self::named(Some(Named::One(name.to_owned())))
    }

    pub(crate) fn named(service: Option<Named>) -> Self {
        let needle = match &service {
            Some(Named::One(name)) => {
                serde_json::to_string(name).ok().map(|name| format!("\"service\":{name},").into_bytes())
            }
            Some(Named::Fitting(_)) | None => None,
        };
        Self { service, events: None, needle }
    }

    /// Of these only those with one of these names.
    #[must_use]
    pub fn only(mut self, events: &[impl AsRef<str>]) -> Self {
        if let ([event], None) = (events, &self.needle) {
            let event = serde_json::to_string(event.as_ref()).ok();
            self.needle = event.map(|event| format!("\"event\":{event},").into_bytes());
        }
        self.events = Some(events.iter().map(|event| event.as_ref().to_owned()).collect());
        self
    }

    /// Whether it is wanted.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let service = match (&self.service, &event.service) {
            (None, _) => true,
            (Some(named), Some(name)) => named.means(name),
            (Some(_), None) => false,
        };
        service && self.events.as_ref().is_none_or(|events| events.contains(&event.event))
    }

    fn needle(&self) -> Option<&[u8]> {
        self.needle.as_deref()
    }
}

/// From where on?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Everything that is there.
    Beginning,
    /// What happened at this time or later.
    Time(Timestamp),
    /// What comes after the record with this id.
    After(u64),
}

impl From {
    /// Whether it is there or later.
    #[must_use]
    pub fn includes(self, event: &Event) -> bool {
        match self {
            Self::Beginning => true,
            Self::After(id) => event.id > id,
            Self::Time(time) => event.time.parse::<Timestamp>().is_ok_and(|at| at >= time),
        }
    }
}

/// Reads the journal while it is written. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    journal: Journal,
    past: Past,
}

impl Reader {
    pub(crate) fn new(journal: Journal, past: Past) -> Self {
        Self { journal, past }
    }

    /// The newest `most` of those that are wanted, oldest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn newest(&self, filter: &Filter, most: usize) -> io::Result<Vec<Arc<Event>>> {
        self.newest_below(None, filter, most)
    }

    /// The same of those whose id is less than `below`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn newest_below(
        &self,
        below: Option<u64>,
        filter: &Filter,
        most: usize,
    ) -> io::Result<Vec<Arc<Event>>> {
        self.newest_in(From::Beginning, below, filter, most)
    }

    /// Those that are wanted from a time on, oldest first; of more than `most` the newest.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn since(&self, time: Timestamp, filter: &Filter, most: usize) -> io::Result<Vec<Arc<Event>>> {
        self.newest_in(From::Time(time), None, filter, most)
    }

    pub(crate) fn newest_in(
        &self,
        from: From,
        below: Option<u64>,
        filter: &Filter,
        most: usize,
    ) -> io::Result<Vec<Arc<Event>>> {
        let wanted = |event: &Event| {
            below.is_none_or(|below| event.id < below) && from.includes(event) && filter.wants(event)
        };
        let (mut found, oldest) = self.past.newest(wanted, most);
        if found.len() < most {
            let below = [oldest, below].into_iter().flatten().min();
            self.walk_back(from, below, filter.needle(), &mut |event| {
                if wanted(&event) {
                    found.push(Arc::new(event));
                }
                found.len() < most
            })?;
        }
        found.reverse();
        Ok(found)
    }

    /// One record.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn get(&self, id: u64) -> io::Result<Option<Arc<Event>>> {
        Ok(self.chain(id, 1)?.pop())
    }

    /// A record, the one that brought it about, and so on, at most `most`. It ends early where a cause is not in the
    /// journal any more.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn chain(&self, id: u64, most: usize) -> io::Result<Vec<Arc<Event>>> {
        let mut chain = Vec::new();
        let mut pieces = None;
        let mut next = Some(id);
        while let Some(id) = next.filter(|_| chain.len() < most) {
            let found = match self.past.get(id) {
                Some(found) => Some(found),
                None => {
                    let pieces = match &pieces {
                        Some(pieces) => pieces,
                        None => pieces.insert(self.pieces()?),
                    };
                    on_disk(pieces, id)?.map(Arc::new)
                }
            };
            let Some(found) = found else { break };
            // A cause is older: what says otherwise is not ours, and must not lead in a circle.
            next = found.cause.filter(|cause| *cause < id);
            chain.push(found);
        }
        Ok(chain)
    }

    /// Gives what is wanted from a place on, oldest first, to `each` until that says false.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn walk(
        &self,
        from: From,
        filter: &Filter,
        each: &mut dyn FnMut(Arc<Event>) -> bool,
    ) -> io::Result<()> {
        // First what memory has: it moves on, and what leaves it meanwhile is on disk too, but is not read twice.
        let (remembered, oldest) = self.past.all(|event| from.includes(event) && filter.wants(event));
        let mut more = true;
        self.walk_below(from, oldest, filter, &mut |event| {
            more = each(event);
            more
        })?;
        let _ = more && remembered.into_iter().all(each);
        Ok(())
    }

    /// The same of those whose id is less than `below`, from the files alone.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn walk_below(
        &self,
        from: From,
        below: Option<u64>,
        filter: &Filter,
        each: &mut dyn FnMut(Arc<Event>) -> bool,
    ) -> io::Result<()> {
        if let (From::After(id), Some(below)) = (from, below)
            && id + 1 >= below
        {
            return Ok(());
        }
        let finder = filter.needle().map(memmem::Finder::new);
        let pieces = self.pieces()?;
        let begin = beginning(&pieces, from)?;
        for (number, piece) in pieces.iter().enumerate().skip(begin) {
            let start = if number > begin { 0 } else { place(piece, from)? };
            let mut lines = piece.forward(start);
            while let Some(line) = lines.next_line()? {
                if finder.as_ref().is_some_and(|finder| finder.find(line).is_none()) {
                    continue;
                }
                let Some(event) = parsed(line) else { continue };
                if below.is_some_and(|below| event.id >= below) {
                    return Ok(());
                }
                if from.includes(&event) && filter.wants(&event) && !each(Arc::new(event)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The id of the `nth` newest of those that are wanted, in the files; the oldest one's where there are less.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn nth_newest(
        &self,
        from: From,
        below: Option<u64>,
        filter: &Filter,
        nth: usize,
    ) -> io::Result<Option<u64>> {
        let (mut found, mut count) = (None, 0);
        self.walk_back(from, below, filter.needle(), &mut |event| {
            if from.includes(&event) && filter.wants(&event) {
                found = Some(event.id);
                count += 1;
            }
            count < nth
        })?;
        Ok(found)
    }

    /// Gives what is in the files, newest first, to `each` until that says false.
    fn walk_back(
        &self,
        from: From,
        below: Option<u64>,
        needle: Option<&[u8]>,
        each: &mut dyn FnMut(Event) -> bool,
    ) -> io::Result<()> {
        let is_below = |id: u64| below.is_none_or(|below| id < below);
        let pieces = self.pieces()?;
        let first = beginning(&pieces, from)?;
        for (number, piece) in pieces.iter().enumerate().skip(first).rev() {
            if !piece.first.is_some_and(is_below) {
                continue;
            }
            let end = match below {
                Some(below) => piece.find(|head| head.id >= below)?,
                None => piece.len,
            };
            let begin = if number > first { 0 } else { place(piece, from)? };
            let mut lines = piece.backward(begin, end, needle);
            while let Some(line) = lines.next_line()? {
                let event = parsed(line).filter(|event| is_below(event.id));
                if event.is_some_and(|event| !each(event)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The files, with everything in them that has happened by now, if the disk does not hang.
    fn pieces(&self) -> io::Result<Vec<Piece>> {
        self.journal.flush(ARRIVES);
        files::open_all(self.journal.dir())
    }
}

fn parsed(line: &[u8]) -> Option<Event> {
    serde_json::from_slice::<Event>(line).ok().filter(|event| event.id < files::MAX_ID)
}

/// The text of a time as records have it, a little before: [`SLACK`].
fn text(time: Timestamp) -> String {
    format!("{:.6}", time.checked_sub(SLACK).unwrap_or(time))
}

/// The first of the files in which something may be.
fn beginning(pieces: &[Piece], from: From) -> io::Result<usize> {
    let mut last = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let before = match from {
            From::Beginning => false,
            From::After(id) => piece.first.is_some_and(|first| first <= id),
            From::Time(time) => piece.first_time()?.is_some_and(|first| first < text(time)),
        };
        if before {
            last = number;
        }
    }
    Ok(last)
}

/// Where in it.
fn place(piece: &Piece, from: From) -> io::Result<u64> {
    match from {
        From::Beginning => Ok(0),
        From::After(id) => piece.find(|head| head.id > id),
        From::Time(time) => {
            let text = text(time);
            piece.find(|head| head.time >= text.as_str())
        }
    }
}

fn on_disk(pieces: &[Piece], id: u64) -> io::Result<Option<Event>> {
    let Some(piece) = pieces.iter().rfind(|piece| piece.first.is_some_and(|first| first <= id)) else {
        return Ok(None);
    };
    let mut lines = piece.forward(piece.find(|head| head.id >= id)?);
    while let Some(line) = lines.next_line()? {
        if let Some(event) = parsed(line) {
            return Ok((event.id == id).then_some(event));
        }
    }
    Ok(None)
}
