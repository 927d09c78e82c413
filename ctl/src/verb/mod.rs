//! What does each verb ask the daemon, and how is its answer shown?

mod act;
pub(crate) mod config;
mod crashes;
mod daemon;
mod events;
mod logs;
mod many;
mod plan;
mod signal;
mod status;
mod why;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{Common, Verb};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::link::{Link, Patience};
use crate::look::Look;
use crate::out::{Out, complain};
use crate::socket::Socket;

/// A question that the daemon answers from memory or disk: after this it is stuck, and the reader should know.
const QUESTION: Duration = Duration::from_secs(10);

/// What every verb works with.
pub(crate) struct Context {
    /// The options that every verb takes.
    pub(crate) common: Common,
    /// Standard output.
    pub(crate) out: Out,
    /// How standard error looks.
    pub(crate) errors: Look,
}

impl Context {
    /// For these options.
    pub(crate) fn new(common: Common) -> Self {
        let out = Out::new(Look::stdout(common.color));
        let errors = Look::stderr(common.color);
        Self { common, out, errors }
    }

    /// A conversation with the daemon; `patience` is what counts without `--timeout`.
    fn link(&self, patience: Patience) -> Result<Link, Failure> {
        let patience = match self.common.timeout {
            Some(limit) => limit.0.map_or(Patience::Endless, Patience::Whole),
            None => patience,
        };
        Link::open(Socket::find(self.common.socket.as_deref()), patience)
    }

    /// Asks something that changes nothing: of the next daemon, when the one that was asked dies before it has answered.
    fn ask(&self, method: &'static str, params: &Value) -> Result<Value, Failure> {
        let mut lost = Lost::default();
        let began = Instant::now();
        let in_time = || {
            let limit = self.common.timeout.as_ref().and_then(|limit| limit.0);
            limit.is_none_or(|limit| began.elapsed() < limit)
        };
        loop {
            match self.question()?.call(method, params.clone()) {
                Err(failure) if in_time() && lost.may_come_back(&failure) => {}
                Err(failure) => return Err(lost.last_word(failure)),
                answer => return answer,
            }
        }
    }

    /// A conversation for a question.
    fn question(&self) -> Result<Link, Failure> {
        self.link(Patience::Whole(QUESTION))
    }
}

/// Does what the verb says.
pub(crate) fn run(verb: Verb, context: &mut Context) -> Result<Exit, Failure> {
    match verb {
        Verb::Status { names } if names.is_empty() => status::all(context),
        Verb::Status { names } => status::some(&names, context),
        Verb::Start(names) => act::run(act::START, names, context),
        Verb::Stop(names) => act::run(act::STOP, names, context),
        Verb::Restart(names) => act::run(act::RESTART, names, context),
        Verb::Reload(names) => act::run(act::RELOAD, names, context),
        Verb::Reset(names) => act::run(act::RESET, names, context),
        Verb::Signal { words, signal, all } => signal::run(words, signal, all, context),
        Verb::Crashes(crashes) => crashes::run(crashes, context),
        Verb::Why { name } => why::run(name, context),
        Verb::Logs(logs) => logs::run(&logs, context),
        Verb::Events(events) => events::run(&events, context),
        Verb::Config { what } => config::run(what, context),
        Verb::Daemon { what } => daemon::run(what, context),
    }
}

/// Whether it names several services; none of these characters can stand in a service's name.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '[', '{'])
}

/// The document as this version knows it. Says so when a later version changed what its fields mean.
fn decode<T: DeserializeOwned>(document: &Value) -> Result<T, Failure> {
    if document.get("schema").and_then(Value::as_u64) > Some(u64::from(mcpd_proto::SCHEMA)) {
        complain("mcpctl: mcpd is newer than this mcpctl; what follows may be misread. Update mcpctl.\n");
    }
    serde::Deserialize::deserialize(document).map_err(|error| {
        Failure::Broken(format!(
            "mcpd sent a document that mcpctl {} does not understand ({error}); --json shows it as it is",
            env!("CARGO_PKG_VERSION")
        ))
    })
}

/// A daemon that is gone while it was being followed. Its keeper starts another one at once, and a service manager within
/// seconds.
#[derive(Debug, Default)]
struct Lost {
    since: Option<Instant>,
}

/// So long the next one is waited for.
const COMES_BACK: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Lost {
    /// It says something.
    fn found(&mut self) {
        self.since = None;
    }

    /// What to say in the end: that nobody came back, if that is it.
    fn last_word(&self, failure: Failure) -> Failure {
        match failure {
            Failure::NotRunning { .. } | Failure::Unreachable { .. } if self.since.is_some() => {
                Failure::Gone("mcpd closed the connection, and is not there any more.".to_owned())
            }
            other => other,
        }
    }

    /// Whether to try again; waits a moment first.
    fn may_come_back(&mut self, failure: &Failure) -> bool {
        let since = match failure {
            Failure::Gone(_) => *self.since.get_or_insert_with(Instant::now),
            // Not when nobody was there from the start.
            Failure::NotRunning { .. } | Failure::Unreachable { .. } => match self.since {
                Some(since) => since,
                None => return false,
            },
            _ => return false,
        };
        let again = since.elapsed() < COMES_BACK;
        if again {
            std::thread::sleep(LOOK_AGAIN);
        }
        again
    }
}

/// From here on Ctrl-C is how the command is meant to end: quietly, with exit code 0. What has been read is written at
/// once, so that nothing is lost.
fn until_interrupted() -> Result<(), Failure> {
    let always = Arc::new(AtomicBool::new(true));
    let code = i32::from(Exit::Done.code());
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, code, always)
        .map(|_| ())
        .map_err(|error| Failure::Broken(format!("Ctrl-C cannot be watched for: {error}")))
}
