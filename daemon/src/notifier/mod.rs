//! Who is told when something is wrong with a service, and when it is right again?
//!
//! The core says when a condition begins and is over; the loop words it and hands it over. The minder here, a thread
//! that is there once somebody is to be told something, decides by a pure queue what goes when, and has each delivery
//! done by a thread of its own, at most 16 at a time. A program is run by the loop, as all processes are. Nothing waits
//! for a target but the thread that is at it.
//!
//! | module | answers |
//! |---|---|
//! | `queue` | which one goes next, and when? Rate, retries, limits: no clock, no socket |
//! | `document` | what is told, as a document and in words? |
//! | `template` | which shape do webhooks want? |
//! | `webhook` | how is it sent? |

mod document;
mod queue;
mod template;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use jiff::Timestamp;
use mcpd_config::spec::{NotifyOn, NotifyTarget};
use mcpd_core::Mono;
use ureq::Agent;

use self::document::Document;
use self::queue::{Item, Outcome, Queue, Told};
use crate::crash::CrashStore;
use crate::probe::Verdict;
use crate::sys;
use crate::workers::start_thread;

/// Notifications that the thread has not taken in yet. One more is lost, and counted.
const UNREAD: usize = 1024;
/// How long a program may take.
pub const EXEC_TIMEOUT: Duration = Duration::from_secs(30);

/// A condition of a service that begins or is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Which service.
    pub service: Arc<str>,
    /// What.
    pub condition: NotifyOn,
    /// It begins, or is over.
    pub opened: bool,
    /// When.
    pub time: Timestamp,
    /// One sentence, without secrets.
    pub reason: String,
    /// For so long it was so.
    pub after: Option<Duration>,
    /// The id of the crash that brought it about.
    pub crash: Option<String>,
    /// The event that says so.
    pub event: u64,
    /// The machine's name.
    pub host: Arc<str>,
}

/// What the thread has to say to the loop.
pub enum News {
    /// A program is to be run.
    Run(Run),
    /// Something is to be told.
    Told(Report),
    /// Nothing is under way any more, as was asked.
    Quiet,
}

/// A program that is to be run as mcpd itself.
pub struct Run {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Facts for its environment.
    pub variables: Vec<(String, String)>,
    /// For its standard input.
    pub input: Vec<u8>,
    /// To be settled with what came of it.
    pub owed: Owed,
}

/// What came of a notification, for an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// It is there.
    pub delivered: bool,
    /// The service, unless it is about more than one.
    pub service: Option<Arc<str>>,
    /// The event that the notification is about.
    pub cause: Option<u64>,
    /// One sentence, without secrets.
    pub message: String,
    /// Facts.
    pub data: serde_json::Value,
}

enum Input {
    Notice(Arc<Notice>, Vec<Arc<NotifyTarget>>),
    Done(Arc<NotifyTarget>, Outcome),
    /// Say when nothing is under way any more.
    Quiet,
}

/// The promise of an outcome. Dropped without one, it is a failure: so none stays owed.
pub struct Owed {
    inbox: mpsc::Sender<Input>,
    target: Arc<NotifyTarget>,
    settled: bool,
}

impl Owed {
    /// A program has ended so.
    pub fn settle(self, verdict: &Verdict) {
        let outcome = if verdict.is_good() {
            Outcome::Delivered
        } else {
            // It may have printed anything.
            let redactor = crate::crash::redact::Redactor::default();
            Outcome::Failed { why: redactor.text(&verdict.detail).into_owned(), pause: None }
        };
        self.done(outcome);
    }

    fn done(mut self, outcome: Outcome) {
        self.settled = true;
        let _ = self.inbox.send(Input::Done(self.target.clone(), outcome));
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.settled {
            let why = "the delivery itself failed".to_owned();
            let _ = self.inbox.send(Input::Done(self.target.clone(), Outcome::Failed { why, pause: None }));
        }
    }
}

type Tell = dyn Fn(News) + Send + Sync;

/// The loop's end of it.
pub struct Notifier {
    tell: Arc<Tell>,
    store: CrashStore,
    inbox: Option<mpsc::Sender<Input>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    unread: AtomicUsize,
    lost: AtomicU64,
}

impl Notifier {
    /// Without a thread yet. `tell` is called on threads that may wait.
    #[must_use]
    pub fn new(store: CrashStore, tell: impl Fn(News) + Send + Sync + 'static) -> Self {
        Self { tell: Arc::new(tell), store, inbox: None, shared: Arc::default() }
    }

    /// Tells these targets, in time.
    ///
    /// # Errors
    /// When the system has no room for the thread: nobody is told.
    pub fn submit(&mut self, notice: Notice, targets: Vec<Arc<NotifyTarget>>) -> std::io::Result<()> {
        let inbox = match &self.inbox {
            Some(inbox) => inbox.clone(),
            None => self.start()?,
        };
        if self.shared.unread.fetch_add(1, Ordering::Relaxed) >= UNREAD {
            self.shared.unread.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        // The thread ends with this sender only.
        let _ = inbox.send(Input::Notice(Arc::new(notice), targets));
        Ok(())
    }

    /// Asks for [`News::Quiet`] once nothing is under way; false: nothing is.
    pub fn ask_for_quiet(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.send(Input::Quiet).is_ok())
    }

    fn start(&mut self) -> std::io::Result<mpsc::Sender<Input>> {
        let (inbox, queue) = mpsc::channel();
        let minder = Minder {
            queue: Queue::default(),
            inbox: inbox.clone(),
            sender: Sender { tell: self.tell.clone(), store: self.store.clone(), agent: webhook::agent() },
            shared: self.shared.clone(),
            asked: false,
        };
        std::thread::Builder::new()
            .name("notifier".into())
            .stack_size(256 * 1024)
            .spawn(move || minder.mind(&queue))?;
        self.inbox = Some(inbox.clone());
        Ok(inbox)
    }
}

struct Minder {
    queue: Queue,
    inbox: mpsc::Sender<Input>,
    sender: Sender,
    shared: Arc<Shared>,
    asked: bool,
}

impl Minder {
    /// For as long as the process lives.
    fn mind(mut self, inbox: &mpsc::Receiver<Input>) {
        loop {
            let now = Mono(sys::monotonic_ns());
            let (due, told) = self.queue.due(now);
            told.into_iter().for_each(|(target, told)| self.tell(&target, told));
            for (target, item) in due {
                self.send(target, item);
            }
            if self.asked && self.queue.is_quiet(now) {
                self.asked = false;
                (self.sender.tell)(News::Quiet);
            }
            let input = match self.queue.next() {
                Some(at) => inbox.recv_timeout(at.since(Mono(sys::monotonic_ns()))),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match input {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                // It holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, input: Input) {
        let now = Mono(sys::monotonic_ns());
        match input {
            Input::Notice(notice, targets) => {
                self.shared.unread.fetch_sub(1, Ordering::Relaxed);
                for target in targets {
                    if let Some(told) = self.queue.submit(now, &target, &notice) {
                        self.tell(&target, told);
                    }
                }
                let lost = self.shared.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let message = format!("{lost} notifications were dropped: there were too many at once");
                    let data = serde_json::json!({ "dropped": lost });
                    let report = Report { delivered: false, service: None, cause: None, message, data };
                    (self.sender.tell)(News::Told(report));
                }
            }
            Input::Done(target, outcome) => {
                if let Some(told) = self.queue.done(now, &target, outcome) {
                    self.tell(&target, told);
                }
            }
            Input::Quiet => self.asked = true,
        }
    }

    fn send(&self, target: Arc<NotifyTarget>, item: Item) {
        let owed = Owed { inbox: self.inbox.clone(), target, settled: false };
        let sender = self.sender.clone();
        // Without room for a thread the promise is dropped: it has failed, and is tried again.
        let _ = start_thread("notify", move || sender.send(owed, &item));
    }

    fn tell(&self, target: &NotifyTarget, told: Told) {
        (self.sender.tell)(News::Told(report(target, told)));
    }
}

/// What a thread needs to deliver something.
#[derive(Clone)]
struct Sender {
    tell: Arc<Tell>,
    store: CrashStore,
    agent: Agent,
}

impl Sender {
    fn send(&self, owed: Owed, item: &Item) {
        let document = document::document(item, &self.store);
        match &*owed.target {
            NotifyTarget::Webhook(spec) => {
                let message = template::message(spec.template, item, &document);
                let outcome = webhook::send(&self.agent, spec, message);
                owed.done(outcome);
            }
            NotifyTarget::Exec { argv } => {
                let (argv, variables) = (argv.clone(), variables(&document));
                let input = serde_json::to_vec(&document.notification).unwrap_or_default();
                (self.tell)(News::Run(Run { argv, variables, input, owed }));
            }
            NotifyTarget::Journal => {
                journal(item, &document);
                owed.done(Outcome::Delivered);
            }
        }
    }
}

/// The facts for a program's environment. Those that there are none of are empty, so that a script may use all of them.
fn variables(document: &Document) -> Vec<(String, String)> {
    let Document { notification, report } = document;
    let report = report.as_ref().map(|path| path.display().to_string());
    [
        ("MCPD_SERVICE", notification.service.clone()),
        ("MCPD_CONDITION", notification.condition.clone()),
        ("MCPD_STATE", notification.state.clone()),
        ("MCPD_REASON", notification.reason.replace('\0', "")),
        ("MCPD_CRASH_ID", notification.crash_id.clone().unwrap_or_default()),
        ("MCPD_REPORT", report.unwrap_or_default()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// One record, with the fields that mcpd's other records have, and some more.
fn journal(item: &Item, document: &Document) {
    let notification = &document.notification;
    let text = format!("{}: {}", document::title(item), notification.reason);
    let crash = notification.crash_id.as_deref().unwrap_or_default();
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(
                target: "mcpd",
                $level,
                mcpd_service = notification.service.as_str(),
                mcpd_event = "notification",
                mcpd_condition = notification.condition.as_str(),
                mcpd_state = notification.state.as_str(),
                mcpd_reason = notification.reason.as_str(),
                mcpd_crash_id = crash,
                "{text}"
            )
        };
    }
    if item.notice.opened { say!(tracing::Level::ERROR) } else { say!(tracing::Level::INFO) }
}

/// The target as far as it may be named.
fn named(target: &NotifyTarget) -> String {
    match target {
        NotifyTarget::Exec { argv } => argv.first().cloned().unwrap_or_default(),
        NotifyTarget::Webhook(spec) => spec.shown_url(),
        NotifyTarget::Journal => "journal".to_owned(),
    }
}

fn report(target: &NotifyTarget, told: Told) -> Report {
    let name = named(target);
    let of = |item: &Item| {
        let state = if item.notice.opened { "opened" } else { "closed" };
        (item.notice.condition.name(), state)
    };
    match told {
        Told::Delivered(item) => {
            let (condition, state) = of(&item);
            Report {
                delivered: true,
                service: Some(item.notice.service.clone()),
                cause: Some(item.notice.event),
                message: format!("{name} was told: {condition} {state}"),
                data: serde_json::json!({ "target": name, "condition": condition, "state": state }),
            }
        }
        Told::Failed { item, tries, why } => {
            let (condition, state) = of(&item);
            let times = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
            Report {
                delivered: false,
                service: Some(item.notice.service.clone()),
                cause: Some(item.notice.event),
                message: format!("{name} could not be told after {times}: {why} ({condition} {state})"),
                data: serde_json::json!({
                    "target": name, "condition": condition, "state": state, "tries": tries, "why": why,
                }),
            }
        }
        Told::Full => Report {
            delivered: false,
            service: None,
            cause: None,
            message: format!("{} notifications wait for {name}: the oldest ones are dropped", queue::WAITING),
            data: serde_json::json!({ "target": name }),
        },
    }
}
