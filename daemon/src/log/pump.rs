//! The thread that reads every pipe of every service, so that none of them ever waits for a reader.
//!
//! It sleeps until a pipe has something or someone asks for something; it never touches a file. Each readable pipe gets
//! its turn of at most [`TURN`] bytes. When a service's share of the queue is full it is not read for a while, at most
//! [`PATIENCE`]; from then on its lines go into the tail alone, are counted, and the service runs on.

mod inherited;
#[cfg(all(test, unix))]
mod killed;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::console::{self, Outputs};
use super::control::{Command, Control};
use super::pipe::{LogPipe, SHORT_READ_EMPTIES};
use super::queue::{Job, Queue, TURN, lock};
use super::service::{Reader, Service};
use super::spool::{Got, Inherited, Progress, Spool, Whose};
use super::stamp;
use super::{LogEvent, names};
use mcpd_proto::log::Stream;

/// So long a service may stand still because its lines cannot be written.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of a dead process's pipes at most this much is read before its tails are given: a grandchild may write for ever.
const DRAIN: usize = 2 * 1024 * 1024;
/// Read at once: what a pipe holds by default.
const READ: usize = 64 * 1024;
/// Turns between two looks at the poll and the commands.
const TURNS: usize = 16;

/// The token of the waker; pipes have their place in `Pump::sources`.
pub(super) const WAKER: Token = Token(usize::MAX);

/// One pipe.
struct Source {
    pipe: LogPipe,
    reader: Reader,
    service: u32,
    /// It waits in `ready` or `paused` for its turn.
    queued: bool,
    /// The other end is closed: read up to the end, for no event will tell of it again.
    hung_up: bool,
}

/// How reading one pipe for a while ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing more for now; an event will tell.
    Empty,
    /// There may be more.
    More,
    /// It is over.
    Ended,
}

/// What becomes of what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Dropped,
}

pub(super) struct Pump {
    poll: Poll,
    control: Arc<Control>,
    files: Arc<Queue>,
    console: Arc<Queue>,
    /// Until the thread that writes to the console is started.
    outputs: Option<Outputs>,
    dir: std::path::PathBuf,
    services: HashMap<u32, Service>,
    sources: Vec<Option<Source>>,
    free: Vec<usize>,
    ready: VecDeque<usize>,
    paused: Vec<usize>,
    buffer: Box<[u8]>,
    scratch: Scratch,
    spool: Option<Arc<Spool>>,
    /// Streams that a dead daemon has read, until their pipes are attached here.
    inherited: Vec<Inherited>,
    /// What is to be done once it is known what was written of a service before this daemon.
    after_recall: HashMap<u32, Vec<Command>>,
}

/// Memory that every service uses in turn.
pub(super) struct Scratch {
    pub(super) stamper: stamp::Stamper,
    /// Records for the first destination.
    pub(super) records: Vec<u8>,
    /// Records for followers of a service that is not written to a file.
    pub(super) live: Vec<u8>,
    pub(super) marks: Vec<super::service::Mark>,
}

impl Pump {
    pub(super) fn new(
        poll: Poll,
        control: Arc<Control>,
        files: Arc<Queue>,
        outputs: Outputs,
        dir: std::path::PathBuf,
        spool: Option<(Arc<Spool>, Vec<Inherited>)>,
    ) -> Self {
        let (spool, inherited) = spool.unzip();
        Self {
            spool,
            inherited: inherited.unwrap_or_default(),
            after_recall: HashMap::new(),
            poll,
            control,
            files,
            console: Arc::default(),
            outputs: Some(outputs),
            dir,
            services: HashMap::new(),
            sources: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            paused: Vec::new(),
            buffer: vec![0; READ].into_boxed_slice(),
            scratch: Scratch {
                stamper: stamp::Stamper::new(),
                records: Vec::new(),
                live: Vec::new(),
                marks: Vec::new(),
            },
        }
    }

    /// Works until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = self.timeout();
            if timeout != Some(Duration::ZERO) {
                self.scratch.settle();
            }
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Only a broken descriptor leads here. Without the poll nothing can be read any more.
                    tracing::error!(%error, "the log pump cannot wait for its pipes and ends");
                    break;
                }
            }
            self.control.wakeups.fetch_add(1, Ordering::Relaxed);
            for event in &events {
                if let Some(Some(source)) = self.sources.get_mut(event.token().0) {
                    source.hung_up |= event.is_read_closed() || event.is_error();
                    if !std::mem::replace(&mut source.queued, true) {
                        self.ready.push_back(event.token().0);
                    }
                }
            }
            for command in self.control.take() {
                if self.obey(command) {
                    self.end();
                    return;
                }
            }
            self.resume_paused();
            for _ in 0..TURNS {
                let Some(place) = self.ready.pop_front() else { break };
                self.turn(place);
            }
        }
        self.end();
    }

    fn end(&mut self) {
        self.control.close();
        self.files.push(Job::Stop);
        self.console.push(Job::Stop);
    }

    /// How long to wait: not at all while a pipe has its turn to come, until a held-back service loses patience, or
    /// for ever.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.paused.is_empty() {
            return None;
        }
        self.control.wants_room.store(true, Ordering::SeqCst);
        // Room may have come just before the wish for it was written down.
        self.resume_paused();
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let waits = self.paused.iter().filter_map(|&place| {
            let service = self.services.get(&self.sources.get(place)?.as_ref()?.service)?;
            Some((service.held_since? + PATIENCE).saturating_duration_since(now))
        });
        // Rounded up: the poll counts in milliseconds and would come back too early.
        waits.min().map(|wait| wait + Duration::from_millis(1))
    }

    /// Gives those a turn for whom there is room again, or who have waited for too long.
    fn resume_paused(&mut self) {
        if self.paused.is_empty() {
            return;
        }
        let Self { paused, ready, sources, services, files, console, .. } = self;
        let now = Instant::now();
        paused.retain(|&place| {
            let Some(Some(source)) = sources.get(place) else { return false };
            let Some(service) = services.get(&source.service) else { return false };
            let queue = if service.to_console() { &*console } else { &*files };
            let resumes = queue.room(&service.shared) > 0
                || service.held_since.is_none_or(|since| now >= since + PATIENCE);
            if resumes {
                ready.push_back(place);
            }
            !resumes
        });
    }

    fn obey(&mut self, command: Command) -> bool {
        if let Command::Drain { service, .. } | Command::Tail { service, .. } = command
            && self.recalls(service)
        {
            self.after_recall.entry(service).or_default().push(command);
            return false;
        }
        match command {
            Command::Define { shared, spec, tail_lines } => {
                self.files.push(Job::Define(Arc::clone(&shared), spec.clone()));
                match self.services.get_mut(&shared.id) {
                    Some(service) => service.change(shared, &spec, tail_lines),
                    None => {
                        self.services.insert(shared.id, Service::new(shared, &spec, tail_lines));
                    }
                }
                self.start_console();
            }
            Command::Remove(id) => {
                if let Some(service) = self.services.get_mut(&id) {
                    service.removed = true;
                    self.forget_if_over(id);
                }
            }
            Command::Attach { service, generation, stdout, stderr } => {
                self.files.push(Job::NewRun(service));
                for (stream, pipe) in [(Stream::Out, stdout), (Stream::Err, stderr)] {
                    if let Some(pipe) = pipe {
                        self.attach(Whose { service, generation, stream }, pipe);
                    }
                }
            }
            Command::AttachAgain { service, generation, began, stdout, stderr } => {
                self.obey(Command::Attach { service, generation, stdout, stderr });
                self.began_before(service, generation, began);
            }
            Command::Recalled { service, lines } => self.recalled(service, &lines),
            Command::TakenOver => self.taken_over(),
            Command::Drain { service, generation, done } => {
                self.drain(|source| source.service == service && source.reader.generation == generation);
                let tails = self.services.get_mut(&service).map(|service| {
                    service.unwatch(generation);
                    service.tails(generation)
                });
                done(tails.unwrap_or_default());
            }
            Command::Watch { service, watch } => {
                if let Some(service) = self.services.get_mut(&service) {
                    service.watch = watch;
                }
            }
            Command::Tail { service, lines, done } => {
                let found = self.services.get_mut(&service).map(|service| service.tail(lines));
                done(found.unwrap_or_default());
            }
            Command::Follow { service: id, start, sink } => {
                if let Some(service) = self.services.get_mut(&id) {
                    let ring =
                        (!service.to_file()).then(|| service.since(sink.request.lines, sink.request.since));
                    self.files.push(Job::Follow { service: id, ring, start, sink });
                }
            }
            Command::Reopen => self.files.push(Job::Reopen),
            Command::Flush(done) => {
                let console = Arc::clone(&self.console);
                let started = self.outputs.is_none();
                self.files.push(Job::Mark(Box::new(move || {
                    if started {
                        console.push(Job::Mark(done));
                    } else {
                        done();
                    }
                })));
            }
            Command::Stop { until, done } => {
                self.stop(until);
                for queue in [&self.files, &self.console] {
                    if Arc::ptr_eq(queue, &self.console) && self.outputs.is_some() {
                        continue;
                    }
                    let done = done.clone();
                    queue.push(Job::Mark(Box::new(move || drop(done))));
                }
                return true;
            }
        }
        false
    }

    fn start_console(&mut self) {
        if self.services.values().all(|service| !service.to_console()) {
            return;
        }
        if let Some(outputs) = self.outputs.take() {
            let (queue, control) = (Arc::clone(&self.console), Arc::clone(&self.control));
            let thread = std::thread::Builder::new().name("log-console".into());
            if let Err(error) = thread.spawn(move || console::run(&queue, &control, outputs)) {
                // The queue fills up; then lines are dropped and said to be.
                tracing::error!(%error, "cannot start the thread that shows services' lines");
            }
        }
    }

    fn attach(&mut self, whose: Whose, mut pipe: LogPipe) {
        let Whose { service, generation, stream } = whose;
        let place = self.free.pop().unwrap_or_else(|| {
            self.sources.push(None);
            self.sources.len() - 1
        });
        if let Err(error) = self.poll.registry().register(&mut pipe, Token(place), Interest::READABLE) {
            tracing::error!(service, %error, "cannot watch a service's output; it is closed");
            self.free.push(place);
            return;
        }
        let known = self.services.entry(service).or_insert_with(|| Service::unknown(service));
        known.pipes += 1;
        let to_file = known.to_file();
        let reader = self.inherited_reader(whose).unwrap_or_else(|| {
            let spool = self.spool.as_ref().filter(|_| to_file);
            Reader::new(generation, stream, spool.and_then(|spool| spool.open(whose)))
        });
        // There may be bytes already, and on Windows the first read is what starts the reading.
        self.sources[place] = Some(Source { pipe, reader, service, queued: true, hung_up: false });
        self.ready.push_back(place);
    }

    /// Reads one pipe for a while, as far as there is room for what it says.
    fn turn(&mut self, place: usize) {
        let Some(Some(source)) = self.sources.get_mut(place) else { return };
        let id = source.service;
        source.queued = false;
        let Some(service) = self.services.get_mut(&id) else { return };
        let queue = if service.to_console() { &self.console } else { &self.files };
        let mut most = TURN;
        let mut fate = Fate::Written;
        if service.is_dropping() {
            if queue.relaxed(&service.shared) {
                self.recover(id);
            } else {
                fate = Fate::Dropped;
            }
        } else if service.writes_somewhere() {
            most = queue.room(&service.shared);
            if most > 0 {
                service.held_since = None;
            } else if service.held_since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
                source.queued = true;
                self.paused.push(place);
                return;
            } else {
                self.lose_patience(id);
                (most, fate) = (TURN, Fate::Dropped);
            }
        }
        match self.read(place, most, fate, SHORT_READ_EMPTIES) {
            Outcome::More => {
                if let Some(Some(source)) = self.sources.get_mut(place) {
                    source.queued = true;
                    self.ready.push_back(place);
                }
            }
            Outcome::Empty => {}
            Outcome::Ended => self.close(place),
        }
    }

    /// Reads up to about `most` bytes and passes them on.
    fn read(&mut self, place: usize, most: usize, fate: Fate, short_is_empty: bool) -> Outcome {
        let Self { sources, services, buffer, scratch, spool, files, console, .. } = self;
        let Some(Some(source)) = sources.get_mut(place) else { return Outcome::Ended };
        let id = source.service;
        let Some(service) = services.get_mut(&id) else { return Outcome::Ended };
        // What is not written to a file has no second chance.
        let spool = spool.as_deref().filter(|_| fate == Fate::Written && service.to_file());
        let mut left = most;
        let outcome = loop {
            if left == 0 || scratch.records.len() + scratch.live.len() >= TURN {
                break Outcome::More;
            }
            let size = left.min(buffer.len());
            let at = stamp::now();
            let spooled = spool
                .zip(source.reader.spooled.as_mut())
                .and_then(|(spool, spooled)| spool.read(spooled, &source.pipe, &mut buffer[..size], at));
            let got = spooled.unwrap_or_else(|| {
                let count = source.pipe.read(&mut buffer[..size])?;
                source.reader.pass(count);
                Ok(Got { count, emptied: count < size })
            });
            match got {
                Ok(Got { count: 0, .. }) => break Outcome::Ended,
                Ok(Got { count, emptied }) => {
                    service.take(&mut source.reader, &buffer[..count], at, fate == Fate::Dropped, scratch);
                    left -= count;
                    if emptied && short_is_empty && !source.hung_up {
                        break Outcome::Empty;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Outcome::Empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Windows says so when the other end is closed; anything else will not get better, either.
                Err(_) => break Outcome::Ended,
            }
        };
        if outcome != Outcome::More {
            source.reader.settle();
            service.settle(source.reader.stream);
        }
        pass_on(service, &source.reader, scratch, files, console);
        outcome
    }

    /// Nothing more comes of this stream: a last line without a newline is a line.
    fn end_stream(&mut self, id: u32, mut reader: Reader) {
        let Self { services, spool, scratch, files, console, .. } = self;
        if let Some(service) = services.get_mut(&id) {
            service.finish(&mut reader, stamp::now(), scratch);
            pass_on(service, &reader, scratch, files, console);
        }
        if let Some(spooled) = reader.spooled.filter(|_| spool.is_some()) {
            // After every batch of it.
            files.push(Job::End(Progress { stream: spooled.stream, upto: spooled.offset }));
        }
    }

    /// The pipe is at its end: a last line without a newline is a line.
    fn close(&mut self, place: usize) {
        let Some(mut source) = self.sources.get_mut(place).and_then(Option::take) else { return };
        self.free.push(place);
        let _ = self.poll.registry().deregister(&mut source.pipe);
        self.end_stream(source.service, source.reader);
        if let Some(service) = self.services.get_mut(&source.service) {
            service.pipes -= 1;
            self.forget_if_over(source.service);
        }
    }

    fn forget_if_over(&mut self, id: u32) {
        if self.services.get(&id).is_some_and(|service| service.removed && service.pipes == 0) {
            self.services.remove(&id);
            lock(&self.control.services)
                .retain(|&other, shared| other != id || !shared.removed.load(Ordering::SeqCst));
            self.files.push(Job::Remove(id));
            if self.outputs.is_none() {
                self.console.push(Job::Remove(id));
            }
        }
    }

    /// Reads what these pipes hold now, ends their last lines, and leaves those open that another process holds.
    fn drain(&mut self, which: impl Fn(&Source) -> bool) {
        let places: Vec<usize> = (0..self.sources.len())
            .filter(|&place| self.sources[place].as_ref().is_some_and(&which))
            .collect();
        for place in places {
            self.drain_one(place, None);
        }
    }

    fn drain_one(&mut self, place: usize, wait_until: Option<Instant>) {
        let mut left = DRAIN;
        loop {
            let Some(Some(source)) = self.sources.get(place) else { return };
            let Some(service) = self.services.get(&source.service) else { return };
            let queue = if service.to_console() { &self.console } else { &self.files };
            if let Some(until) = wait_until {
                queue.wait_for_room(until);
            }
            let fits = !service.is_dropping() && queue.takes_last_words();
            let fate = if fits || !service.writes_somewhere() { Fate::Written } else { Fate::Dropped };
            let most = left.min(TURN);
            let id = source.service;
            if fate == Fate::Dropped {
                self.lose_patience(id);
            }
            match self.read(place, most, fate, false) {
                Outcome::Ended => return self.close(place),
                Outcome::Empty => break,
                Outcome::More => left = left.saturating_sub(most),
            }
            if left == 0 {
                // What is left has no event to come.
                if let Some(Some(source)) = self.sources.get_mut(place)
                    && !std::mem::replace(&mut source.queued, true)
                {
                    self.ready.push_back(place);
                }
                break;
            }
        }
        let Self { sources, services, scratch, spool, files, console, .. } = self;
        let Some(Some(Source { reader, service, .. })) = sources.get_mut(place) else { return };
        let Some(service) = services.get_mut(service) else { return };
        if let Some((spool, spooled)) = spool.as_deref().zip(reader.spooled)
            && reader.is_within_line()
        {
            spool.end_line(spooled);
        }
        service.finish(reader, stamp::now(), scratch);
        pass_on(service, reader, scratch, files, console);
    }

    /// Reads everything there is; waits for a slow disk, but not past `until`.
    fn stop(&mut self, until: Instant) {
        for place in 0..self.sources.len() {
            self.drain_one(place, Some(until));
        }
    }

    /// The service has stood still for long enough: from now on its lines are dropped.
    fn lose_patience(&mut self, id: u32) {
        let Some(service) = self.services.get_mut(&id) else { return };
        service.held_since = None;
        if !service.start_dropping() {
            return;
        }
        let event = LogEvent::Failing {
            service: id,
            name: service.shared.name.clone(),
            path: destination(service, &self.dir),
            error: "it hangs or is too slow: what waits to be written is at its limit".to_owned(),
        };
        self.control.say(event);
    }

    /// There is room again.
    fn recover(&mut self, id: u32) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if let Some(dropped) = service.stop_dropping() {
            let event = LogEvent::Recovered {
                service: id,
                name: service.shared.name.clone(),
                path: destination(service, &self.dir),
                dropped_lines: dropped.lines,
                dropped_bytes: dropped.bytes,
            };
            self.control.say(event);
        }
    }
}

/// Hands what was formatted to those who write it.
fn pass_on(
    service: &mut Service,
    reader: &Reader,
    scratch: &mut Scratch,
    files: &Arc<Queue>,
    console: &Arc<Queue>,
) {
    if !scratch.records.is_empty() {
        let batch = service.batch(reader, false);
        let queue = if service.to_console() { console } else { files };
        queue.push_batch(batch, &mut scratch.records);
    }
    if !scratch.live.is_empty() {
        if files.room(&service.shared) > 0 {
            let batch = service.batch(reader, true);
            files.push_batch(batch, &mut scratch.live);
        } else {
            service.miss_live(&scratch.live);
            scratch.live.clear();
        }
    }
}

fn destination(service: &Service, dir: &std::path::Path) -> std::path::PathBuf {
    if service.to_console() {
        console::name(Stream::Out).to_owned()
    } else {
        names::current(dir, &service.shared.name)
    }
}

impl Scratch {
    /// Nothing to do for now: gives back what a busy time has used.
    fn settle(&mut self) {
        for buffer in [&mut self.records, &mut self.live] {
            if buffer.capacity() > TURN / 4 {
                *buffer = Vec::new();
            }
        }
        if self.marks.capacity() > 1024 {
            self.marks = Vec::new();
        }
    }
}
