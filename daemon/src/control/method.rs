//! The methods: from a request to its answer.

use std::path::PathBuf;

use mcpd_core::Verb;
use mcpd_proto::SCHEMA;
use mcpd_proto::crash::CrashList;
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::log::LogLine;
use mcpd_proto::message::{Id, Request, Response};
use mcpd_proto::method::{
    CancelParams, CrashListParams, Hello, HelloParams, IdParams, ListParams, LogReadParams, NameParams,
    ReloadParams, SubscribeParams, UpgradeParams, Upgrading,
};
use mcpd_proto::plan::PlanParams;
use mcpd_proto::status::Usage;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

use super::session::{Out, Streams};
use super::{Desk, events, numbers, order, stream};
use crate::crash::{GetError, redact};
use crate::keeper::papers::{HAND_OVER, Heir};
use crate::keeper::rehearsal;
use crate::pattern::Named;
use crate::shell::message::{About, Ask, Inventory, Message, Reply};
use crate::shell::upgrade::LAST_WORDS;
use crate::sys;

/// What `daemon.hello` says that this daemon has.
const METHODS: &[&str] = &[
    "cancel",
    "config.plan",
    "crash.get",
    "crash.groups",
    "crash.list",
    "crash.stats",
    HAND_OVER,
    "daemon.hello",
    "daemon.reload",
    "daemon.shutdown",
    "daemon.status",
    "daemon.upgrade",
    "event.list",
    "event.subscribe",
    "log.follow",
    "log.read",
    "service.list",
    "service.reload",
    "service.reset",
    "service.restart",
    "service.signal",
    "service.start",
    "service.status",
    "service.stop",
    "service.why",
];

/// Lines of output in the answer to `service.status`.
const STATUS_LINES: usize = 10;

/// Answers a request, unless it is a notification. `_place` is held until it is answered; a stream gives it back when it
/// is open.
pub(super) async fn answer(
    request: Request,
    desk: &Desk,
    out: &Out,
    streams: &Streams,
    over: &CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let Request { id, method, params, .. } = request;
    let params = if params.is_null() { Value::Object(Map::new()) } else { params };
    let result = match method.as_str() {
        "cancel" => parsed::<CancelParams>(params).and_then(|params| {
            streams.close(&params.request);
            nothing()
        }),
        "daemon.hello" => parsed::<HelloParams>(params).and_then(|_| value(&hello())),
        "daemon.status" => asked(desk, Ask::DaemonStatus).await.and_then(|status| value(&status)),
        "config.plan" => plan(desk, params).await,
        "daemon.reload" => reload(desk, out, params).await,
        HAND_OVER => match parsed::<Heir>(params) {
            Ok(Heir { pid }) => hand_over(desk, out, pid).await,
            Err(error) => Err(error),
        },
        "daemon.upgrade" => upgrade(desk, out, params).await,
        "daemon.shutdown" => {
            let by = out.asker(desk).await;
            asked(desk, |reply| Ask::Shutdown { by, reply }).await.and_then(|()| nothing())
        }
        "service.list" => list(desk, params).await,
        "service.status" => service_status(desk, params).await,
        "service.start" => order::command(desk, out, id.as_ref(), Verb::Start, params).await,
        "service.stop" => order::command(desk, out, id.as_ref(), Verb::Stop, params).await,
        "service.restart" => order::command(desk, out, id.as_ref(), Verb::Restart, params).await,
        "service.reset" => order::command(desk, out, id.as_ref(), Verb::Reset, params).await,
        "service.reload" => order::command(desk, out, id.as_ref(), Verb::Reload, params).await,
        "service.why" => numbers::why(desk, params).await,
        "service.signal" => order::signal(desk, out, params).await,
        "crash.list" => crash_list(desk, params).await,
        "crash.get" => crash_get(desk, params).await,
        "crash.groups" => numbers::groups(desk, params).await,
        "crash.stats" => numbers::stats(desk, params).await,
        "event.list" => events::list(desk, params).await,
        "log.read" | "log.follow" | "event.subscribe" => {
            let Some(id) = id.clone() else { return };
            let token = streams.open(&id, over);
            let result = match method.as_str() {
                "log.read" => match parsed::<LogReadParams>(params) {
                    Ok(params) => stream::log_read(desk, out, &id, &params, &token).await,
                    Err(error) => Err(error),
                },
                "log.follow" => match parsed::<LogReadParams>(params) {
                    // A stream may last for days: it does not keep the session's other requests waiting.
                    Ok(params) => {
                        drop(place);
                        stream::log_follow(desk, out, &id, &params, &token).await
                    }
                    Err(error) => Err(error),
                },
                _ => match parsed::<SubscribeParams>(params) {
                    Ok(params) => {
                        drop(place);
                        events::follow(desk, out, &id, &params, &token).await
                    }
                    Err(error) => Err(error),
                },
            };
            streams.close(&id);
            result
        }
        unknown => Err(no_such_method(unknown)),
    };
    if let Some(id) = id {
        out.send(&response(id, result)).await;
    }
}

fn response(id: Id, result: Result<Written, ErrorObject>) -> Response<Written> {
    match result {
        Ok(result) => Response::ok(id, result),
        Err(error) => Response::err(id, error),
    }
}

fn no_such_method(name: &str) -> ErrorObject {
    let nearest = METHODS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map_or_else(String::new, |(_, known)| format!(": did you mean \"{known}\"?"));
    ErrorObject::new(Kind::MethodNotFound, format!("there is no method \"{name}\"{nearest}"))
}

fn hello() -> Hello {
    Hello {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        methods: METHODS.iter().map(|&name| name.to_owned()).collect(),
    }
}

pub(super) fn parsed<T: DeserializeOwned>(params: Value) -> Result<T, ErrorObject> {
    serde_json::from_value(params)
        .map_err(|error| ErrorObject::new(Kind::InvalidParams, format!("wrong parameters: {error}")))
}

/// A result as it goes out. The values in between would cost more than all the rest of a long list.
pub(super) type Written = Box<RawValue>;

pub(super) fn value(document: &impl Serialize) -> Result<Written, ErrorObject> {
    to_raw_value(document).map_err(|error| ErrorObject::new(Kind::Internal, error.to_string()))
}

/// The result where there is nothing to be said.
pub(super) fn nothing() -> Result<Written, ErrorObject> {
    value(&json!({}))
}

/// Asks the loop.
pub(super) async fn asked<T>(desk: &Desk, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, ErrorObject> {
    let (reply, answer) = oneshot::channel();
    let gone = || ErrorObject::new(Kind::ShuttingDown, "mcpd is shutting down");
    desk.outbox.send(Message::Ask(ask(reply))).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// Runs something that waits for a disk.
pub(super) async fn blocking<T: Send + 'static>(
    desk: &Desk,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorObject> {
    desk.workers
        .answer(work)
        .await
        .map_err(|error| ErrorObject::new(Kind::DaemonBusy, format!("there is no thread for it: {error}")))
}

async fn plan(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let params = parsed::<PlanParams>(params)?;
    value(&asked(desk, |reply| Ask::Plan(params, reply)).await?)
}

async fn reload(desk: &Desk, out: &Out, params: Value) -> Result<Written, ErrorObject> {
    let params = parsed::<ReloadParams>(params)?;
    let by = out.asker(desk).await;
    value(&asked(desk, |reply| Ask::Reload { params, by, reply }).await?)
}

/// Who may use the control socket may order what the configuration names, and nothing else: what it takes to run another program
/// is the daemon's own user, or root.
async fn for_masters(desk: &Desk, out: &Out, what: &str) -> Result<(), ErrorObject> {
    let by = out.asker(desk).await;
    if by.is_some_and(|by| sys::is_master(by.uid)) {
        return Ok(());
    }
    Err(ErrorObject::new(Kind::Denied, format!("only root and mcpd's own user may {what}")))
}

async fn hand_over(desk: &Desk, out: &Out, heir: u32) -> Result<Written, ErrorObject> {
    for_masters(desk, out, "take over from it").await?;
    let inheritance = asked(desk, |reply| Ask::HandOver { heir, reply }).await?;
    // Whoever has the answer ends this process.
    let scribe = desk.scribe.clone();
    blocking(desk, move || scribe.settle(LAST_WORDS)).await?;
    value(&inheritance)
}

/// Nothing is touched before the other program has said that it would take over.
async fn upgrade(desk: &Desk, out: &Out, params: Value) -> Result<Written, ErrorObject> {
    let UpgradeParams { program, dry_run } = parsed(params)?;
    if program.is_some() {
        for_masters(desk, out, "name a program that takes over").await?;
    }
    let Inventory { ledger, program: own } = asked(desk, Ask::Inventory).await?;
    let program = program.map_or(own, PathBuf::from);
    if !program.is_absolute() {
        let why =
            format!("\"{}\" is no absolute path: it would mean another file to mcpd", program.display());
        return Err(ErrorObject::new(Kind::InvalidParams, why));
    }
    let asked_for = program.clone();
    let candidate = blocking(desk, move || rehearsal::rehearse(&asked_for, ledger)).await?;
    let candidate = candidate
        .map_err(|why| ErrorObject::new(Kind::NotUpgraded, format!("{why}; nothing was changed")))?;
    let upgrading = Upgrading {
        schema: SCHEMA,
        from: env!("CARGO_PKG_VERSION").into(),
        to: candidate.version.clone(),
        program: program.display().to_string(),
        services: candidate.services,
    };
    if !dry_run {
        let by = out.asker(desk).await;
        asked(desk, |reply| Ask::Upgrade { program, version: candidate.version, by, reply }).await?;
    }
    value(&upgrading)
}

async fn list(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let ListParams { names } = parsed(params)?;
    value(&asked(desk, |reply| Ask::Status(names, reply)).await?)
}

async fn service_status(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let NameParams { name } = parsed(params)?;
    let About { service, mut status, cgroup, secrets } =
        asked(desk, |reply| Ask::ServiceStatus(name, reply)).await?;
    // The kernel has to add it up, and the disk may take its time. Without a thread for that it is left out.
    let (history, name) = (desk.history.clone(), status.name.clone());
    let facts = blocking(desk, move || {
        (cgroup.map(|cgroup| usage(&cgroup.usage())), numbers::of_service(&history, &name))
    });
    let (usage, stats) = facts.await.unwrap_or_default();
    status.usage = usage;
    if let Some(stats) = stats {
        status.total_uptime_seconds = Some(stats.up_seconds);
        status.availability = Some(stats.availability);
    }
    let (done, tail) = oneshot::channel::<Vec<LogLine>>();
    desk.logs.tail(service.0, STATUS_LINES, Box::new(move |lines| drop(done.send(lines))));
    let mut tail = tail.await.unwrap_or_default();
    if let Some(secrets) = secrets {
        redact::lines(&secrets, &mut tail);
    }
    status.log_tail = tail;
    value(&status)
}

fn usage(used: &sys::Usage) -> Usage {
    let sys::Usage { memory, memory_max, memory_peak, tasks, tasks_max, cpu, oom_kills: _ } = *used;
    Usage {
        memory_bytes: memory,
        memory_max_bytes: memory_max,
        memory_peak_bytes: memory_peak,
        tasks,
        tasks_max,
        cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
    }
}

async fn crash_list(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let CrashListParams { name, last } = parsed(params)?;
    let store = desk.store.clone();
    let named = name.as_deref().map(Named::parse).transpose()?;
    let listing = blocking(desk, move || match named {
        None => store.listing(None, last),
        Some(Named::One(name)) => store.listing(Some(&name), last),
        Some(pattern @ Named::Fitting(_)) => store.listing(None, None).map(|mut listing| {
            listing.crashes.retain(|crash| pattern.means(&crash.service));
            listing.crashes.truncate(last.unwrap_or(usize::MAX));
            listing
        }),
    });
    let mut listing = listing.await?.map_err(|error| {
        ErrorObject::new(Kind::Internal, format!("the crash reports cannot be read: {error}"))
    })?;
    let history = desk.history.clone();
    let mut crashes = std::mem::take(&mut listing.crashes);
    listing.crashes = blocking(desk, move || {
        numbers::count_alike(&history, &mut crashes);
        crashes
    })
    .await?;
    // A service that is gone may have left reports; one that never was has none.
    if let (Some(name), true) = (name, listing.crashes.is_empty() && listing.skipped == 0) {
        asked(desk, |reply| Ask::Known(name, reply)).await?;
    }
    let damaged_files = listing.damaged.iter().map(|path| path.display().to_string()).collect();
    value(&CrashList { schema: SCHEMA, crashes: listing.crashes, damaged: listing.skipped, damaged_files })
}

async fn crash_get(desk: &Desk, params: Value) -> Result<Written, ErrorObject> {
    let IdParams { id } = parsed(params)?;
    let (store, wanted) = (desk.store.clone(), id.clone());
    match blocking(desk, move || store.get(&wanted)).await? {
        Ok(report) => value(&report),
        Err(error @ (GetError::NotFound(_) | GetError::Ambiguous(_))) => {
            Err(ErrorObject::new(Kind::NoSuchCrash, format!("crash \"{id}\": {error}")))
        }
        Err(ref error @ GetError::Damaged { ref path, .. }) => {
            let data = Map::from_iter([("path".to_owned(), json!(path))]);
            Err(ErrorObject::with(Kind::DamagedCrash, format!("crash \"{id}\": {error}"), data))
        }
        Err(error @ GetError::Io(_)) => {
            Err(ErrorObject::new(Kind::Internal, format!("crash \"{id}\": {error}")))
        }
    }
}
