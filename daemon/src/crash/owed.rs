//! Which crashes of an earlier life have no report? Between a failure and its report lie some milliseconds, for the
//! output is read first, and in these mcpd may be killed. The failure is in the journal by then.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mcpd_config::spec::Signal;
use mcpd_core::Exit;
use mcpd_proto::crash::CrashKind;
use mcpd_proto::event::Event;
use serde::Deserialize;
use serde_json::Value;

/// By so much the loop may come later to telling of a start than the log's thread to reading: that of a busy machine.
const READ_EARLY: SignedDuration = SignedDuration::from_secs(10);

/// What the journal says of a crash.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// The id of the event that tells of the failure.
    pub failed: u64,
    /// Whose.
    pub service: String,
    /// Which start of it in that life.
    pub generation: u64,
    /// What kind of end.
    pub kind: CrashKind,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended; `None`: there was no process, or it is not known.
    pub exit: Option<Exit>,
    /// The main process and when it began, if there was one.
    pub process: Option<(u32, Timestamp)>,
    /// Before that nothing in the log is its own; the beginning of time where that is not known.
    pub lines_from: Timestamp,
    /// What was said of its end.
    pub words: String,
}

/// The crashes that nothing was said of any more. `events`: the end of the journal, oldest first.
#[must_use]
pub fn owed(events: &[Arc<Event>]) -> Vec<Owed> {
    // In a later life, should that have been killed as well before it was done with it.
    let told: BTreeSet<u64> =
        events.iter().filter(|event| event.event == "crash").filter_map(|event| event.cause).collect();
    let lives = events.chunk_by(|_, next| next.event != "began");
    lives.flat_map(|life| untold(life, &told)).collect()
}

/// The reports that somebody was told of.
#[must_use]
pub fn told(events: &[Arc<Event>]) -> BTreeSet<String> {
    let crashes = events.iter().filter(|event| event.event == "crash");
    crashes.filter_map(|event| Some(event.data.get("crash_id")?.as_str()?.to_owned())).collect()
}

fn untold(life: &[Arc<Event>], told: &BTreeSet<u64>) -> Vec<Owed> {
    let mut owed = Vec::new();
    // Whose news was only counted later on: what was said of its crashes is not known.
    let mut counted = BTreeSet::new();
    for (at, event) in life.iter().enumerate().rev() {
        match event.event.as_str() {
            "coalesced" => drop(counted.insert(&event.service)),
            "failed" if !told.contains(&event.id) && !counted.contains(&event.service) => {
                owed.extend(of(event, &life[..at]));
            }
            _ => {}
        }
    }
    owed.reverse();
    owed
}

fn of(failed: &Event, events: &[Arc<Event>]) -> Option<Owed> {
    let service = failed.service.as_ref()?;
    let generation = failed.data.get("generation")?.as_u64()?;
    // Not without it: then the journal does not reach far enough back, and an earlier life has seen to it.
    let end = events.iter().find(|event| Some(event.id) == failed.cause)?;
    let is_its = |event: &&Arc<Event>| {
        event.event == "started"
            && event.service.as_ref() == Some(service)
            && event.data.get("generation").and_then(Value::as_u64) == Some(generation)
    };
    let start = events.iter().rposition(|event| is_its(&event));
    let process = start.and_then(|at| {
        let started = &events[at];
        let pid = started.data.get("pid")?.as_u64().and_then(|pid| u32::try_from(pid).ok())?;
        Some((pid, started.time.parse().ok()?))
    });
    Some(Owed {
        lines_from: lines_from(&events[..start.unwrap_or(0)], service, process.map(|(_, started)| started)),
        failed: failed.id,
        service: service.clone(),
        generation,
        kind: CrashKind::deserialize(failed.data.get("kind")?).ok()?,
        ended: failed.time.parse().ok()?,
        exit: exit(end),
        process,
        words: end.message.clone(),
    })
}

/// The first line of a process may be read before it is told that the process was started.
fn lines_from(before: &[Arc<Event>], service: &str, started: Option<Timestamp>) -> Timestamp {
    let of_a_run = |event: &&Arc<Event>| {
        event.service.as_deref() == Some(service) && matches!(&*event.event, "exited" | "failed")
    };
    let last_run = before.iter().rfind(of_a_run).and_then(|event| event.time.parse().ok());
    let early = started.and_then(|started| started.checked_sub(READ_EARLY).ok());
    last_run.max(early).unwrap_or(Timestamp::MIN)
}

fn exit(end: &Event) -> Option<Exit> {
    let code = end.data.get("exit_code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    let signal = end.data.get("signal").and_then(Value::as_str).and_then(Signal::parse);
    let core_dumped = end.message.contains(", core dumped");
    code.map(Exit::Code).or_else(|| Some(Exit::Signal { signal: signal?.number(), core_dumped }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: u64, cause: u64, event: &str, data: Value) -> Arc<Event> {
        Arc::new(Event {
            schema: 1,
            id,
            cause: Some(cause).filter(|cause| *cause > 0),
            time: format!("2026-11-26T10:00:{id:02}.000000Z"),
            service: (event != "began").then(|| "a".to_owned()),
            event: event.to_owned(),
            message: format!("{event}, core dumped"),
            data,
        })
    }

    #[test]
    fn what_was_told_is_not_owed() {
        let failed = |id, cause, kind: &str, generation: u64| {
            event(id, cause, "failed", json!({ "generation": generation, "kind": kind }))
        };
        let events = [
            failed(1, 0, "exit", 7),
            event(2, 0, "began", json!({})),
            event(3, 2, "started", json!({ "generation": 1, "pid": 41 })),
            event(4, 3, "exited", json!({ "generation": 1, "exit_code": 3 })),
            failed(5, 4, "exit", 1),
            event(6, 5, "crash", json!({ "generation": 1 })),
            event(7, 5, "started", json!({ "generation": 2, "pid": 42 })),
            event(8, 7, "exited", json!({ "generation": 2, "signal": "SIGSEGV" })),
            failed(9, 8, "signal", 2),
            event(10, 1, "spawn_failed", json!({ "generation": 3 })),
            failed(11, 10, "spawn", 3),
            failed(12, 10, "health", 4),
            failed(12, 99, "health", 5),
            failed(13, 99, "from a later version", 4),
            event(14, 0, "began", json!({})),
            failed(15, 14, "exit", 1),
            event(16, 0, "coalesced", json!({})),
            failed(17, 14, "exit", 2),
            event(18, 1, "crash", json!({ "generation": 7 })),
        ];
        let owed = owed(&events);
        let short: Vec<_> = owed
            .iter()
            .map(|owed| (owed.failed, owed.kind, owed.exit, owed.process.map(|(pid, _)| pid)))
            .collect();
        let segv = Exit::Signal { signal: 11, core_dumped: true };
        assert_eq!(
            short,
            [
                (9, CrashKind::Signal, Some(segv), Some(42)),
                (11, CrashKind::Spawn, None, None),
                (12, CrashKind::Health, None, None),
                (17, CrashKind::Exit, None, None),
            ]
        );
        assert_eq!(owed[0].ended, "2026-11-26T10:00:09Z".parse().unwrap());
        assert_eq!(owed[1].words, "spawn_failed, core dumped");
        assert_eq!(super::owed(&[]), []);
    }
    #[test]
    fn its_lines_may_have_been_read_before_its_start_was_told() {
        let run = |from: u64, generation: u64| {
            let pid = json!({ "generation": generation, "pid": 40 + generation });
            let failed = json!({ "generation": generation, "kind": "exit" });
            [
                event(from, 0, "started", pid),
                event(from + 1, from, "exited", json!({ "exit_code": 1 })),
                event(from + 2, from + 1, "failed", failed),
            ]
        };
        let events =
            [&[event(20, 0, "began", json!({}))][..], &run(21, 1), &run(26, 2), &run(45, 3)].concat();
        let from: Vec<i64> = owed(&events).iter().map(|owed| owed.lines_from.as_second() % 60).collect();
        // Not before the last run was over, and not much before its own start.
        assert_eq!(from, [11, 23, 35]);
    }
}
