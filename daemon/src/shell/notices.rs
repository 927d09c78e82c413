//! Who is told when something is wrong with a service? The core says when a condition begins and is over; here that
//! gets its words and goes to the notifier.
//!
//! A crash opens its condition before its report is written. So what a crash has opened waits for the report, or for
//! whatever the service does next without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use mcpd_config::spec::NotifyOn;
use mcpd_core::action::{Note, NoteId, NoteKind};
use mcpd_core::event::FLAPPING_WITHIN;
use mcpd_core::verdict::ParkReason;
use mcpd_core::view::StateView;
use mcpd_core::{Condition, Mono, ServiceId};
use serde_json::json;

use super::message::Message;
use super::{LAST_WORDS, Shell};
use crate::notifier::{EXEC_TIMEOUT, News, Notice, Report, Run};
use crate::scribe::Level;
use crate::{sys, words};

/// What waits for a crash report, by service: at most the two that a crash opens.
#[derive(Debug, Default)]
pub(super) struct Untold(BTreeMap<ServiceId, Vec<Opened>>);

/// A condition that has begun.
#[derive(Debug, Clone, Copy)]
struct Opened {
    condition: Condition,
    note: NoteId,
    at: Mono,
}

impl Shell {
    /// A note may begin or end something that others are to be told of.
    pub(super) fn notify_of(&mut self, note: &Note) {
        let Some(service) = note.service else { return };
        match note.kind {
            NoteKind::Opened(condition) => {
                if !self.is_told_of(service, condition) {
                    return;
                }
                let opened = Opened { condition, note: note.id, at: note.at };
                match condition {
                    Condition::Failing | Condition::Flapping => {
                        self.untold.0.entry(service).or_default().push(opened);
                    }
                    Condition::Parked | Condition::Unhealthy => self.tell_opened(service, opened, true),
                }
            }
            NoteKind::Closed { condition, after } => {
                self.tell_untold(service, false);
                if self.is_told_of(service, condition) {
                    let reason = self.closed_reason(service, condition);
                    self.send(service, condition, note, Some(after), reason, None);
                }
            }
            // After these no report of the crash before them comes, or nobody waits for it.
            NoteKind::RecordSlow
            | NoteKind::Backoff { .. }
            | NoteKind::Parked(_)
            | NoteKind::Down(_)
            | NoteKind::Spawning
            | NoteKind::Removed => self.tell_untold(service, false),
            NoteKind::Asked(_)
            | NoteKind::Wanted { .. }
            | NoteKind::Waiting { .. }
            | NoteKind::Started { .. }
            | NoteKind::Up { .. }
            | NoteKind::SpawnFailed { .. }
            | NoteKind::Exited { .. }
            | NoteKind::Crashed { .. }
            | NoteKind::Stopping { .. }
            | NoteKind::Killing
            | NoteKind::StillAlive
            | NoteKind::Leftovers { .. }
            | NoteKind::Inherited { .. }
            | NoteKind::ProbeFailed
            | NoteKind::Unhealthy { .. }
            | NoteKind::Healthy
            | NoteKind::ProbeLost
            | NoteKind::ProbeUnknown
            | NoteKind::ProbeKnown
            | NoteKind::Reloading
            | NoteKind::Reloaded
            | NoteKind::ReloadFailed
            | NoteKind::Runs(_)
            | NoteKind::RunFailed(_)
            | NoteKind::ReloadSlow
            | NoteKind::CountersReset
            | NoteKind::SpawnSlow
            | NoteKind::DrainSlow
            | NoteKind::Redefined { .. }
            | NoteKind::FilesChanged { .. }
            | NoteKind::Stale { .. }
            | NoteKind::ConfigChanged
            | NoteKind::ProgramChanged
            | NoteKind::WatchSuspended { .. }
            | NoteKind::ShuttingDown => {}
        }
    }

    /// What the service's last crash opened is told; with its report if that has been made.
    pub(super) fn tell_untold(&mut self, service: ServiceId, recorded: bool) {
        // Nearly always there is none of any service.
        if self.untold.0.is_empty() {
            return;
        }
        for opened in self.untold.0.remove(&service).unwrap_or_default() {
            self.tell_opened(service, opened, recorded);
        }
    }

    /// Somebody is to be told of it.
    fn is_told_of(&self, service: ServiceId, condition: Condition) -> bool {
        let on = on(condition);
        let entry = self.entries.get(&service);
        entry.is_some_and(|entry| entry.spec.crash.notify.iter().any(|notify| notify.on.contains(&on)))
    }

    /// `recorded`: the last crash that is known is the one that brought it about, if one did.
    fn tell_opened(&mut self, service: ServiceId, opened: Opened, recorded: bool) {
        let Opened { condition, note, at } = opened;
        let Some(entry) = self.entries.get(&service) else { return };
        let view = self.core.view(service);
        let last = entry.last_crash.as_ref().filter(|_| recorded);
        let (reason, crash) = match condition {
            Condition::Failing => (last.map(|crash| crash.reason.clone()), last),
            Condition::Flapping => {
                let failures =
                    view.as_ref().and_then(|view| view.flapping).map_or(0, |flapping| flapping.failures);
                let within = words::span(FLAPPING_WITHIN);
                let why = last.map_or_else(String::new, |crash| format!("; the last time: {}", crash.reason));
                (Some(format!("it failed {failures} times within {within}{why}")), last)
            }
            Condition::Parked => {
                let why = view.and_then(|view| match view.state {
                    StateView::Parked(why) => Some(why),
                    StateView::Down(_)
                    | StateView::Waiting(_)
                    | StateView::Spawning
                    | StateView::Starting(_)
                    | StateView::Up
                    | StateView::Exited
                    | StateView::Leaving { .. }
                    | StateView::Stopping(_)
                    | StateView::Ending { .. }
                    | StateView::Backoff { .. } => None,
                });
                let reason = why.map(|why| words::park_reason(why, entry.park_detail(why).as_deref()));
                let crash =
                    last.filter(|crash| crash.decision == "park" && why != Some(ParkReason::ProgramMissing));
                let why =
                    crash.map_or_else(String::new, |crash| format!("; the last time: {}", crash.reason));
                // What it lacks and what could not be started is the reason of the crash already.
                let adds = crash
                    .is_some_and(|crash| reason.as_ref().is_some_and(|reason| !says(reason, &crash.reason)));
                (reason.map(|reason| if adds { reason + &why } else { reason }), crash)
            }
            Condition::Unhealthy => {
                let verdict = entry.verdicts.back().map(|verdict| verdict.detail.as_str());
                (Some(format!("its health check fails: {}", verdict.unwrap_or("no verdict"))), None)
            }
        };
        let reason = reason.unwrap_or_else(|| words::opened(condition));
        let crash = crash.map(|crash| crash.id.clone());
        let note = Note {
            id: note,
            at,
            service: Some(service),
            generation: 0,
            cause: None,
            kind: NoteKind::Opened(condition),
        };
        self.send(service, condition, &note, None, reason, crash);
    }

    /// Why it is over, as the service is by now.
    fn closed_reason(&self, service: ServiceId, condition: Condition) -> String {
        let (Some(entry), Some(view)) = (self.entries.get(&service), self.core.view(service)) else {
            return "it is no longer configured".into();
        };
        match (condition, view.state) {
            (_, StateView::Down(why)) => entry.down_reason(why, |id| self.name_of(id)),
            (_, StateView::Stopping(_) | StateView::Leaving { .. } | StateView::Ending { .. }) => {
                "it is being stopped".into()
            }
            (Condition::Unhealthy, StateView::Up | StateView::Starting(_)) => {
                let verdict = entry.verdicts.back().map(|verdict| verdict.detail.as_str());
                format!("its health check succeeds again: {}", verdict.unwrap_or("no verdict"))
            }
            (Condition::Failing | Condition::Flapping, StateView::Up | StateView::Exited) => {
                "it is up, and has been well for long enough".into()
            }
            (Condition::Parked, _) => "it is tried again".into(),
            (Condition::Failing | Condition::Flapping, _) => "somebody has seen to it".into(),
            (Condition::Unhealthy, _) => "that run is over".into(),
        }
    }

    fn send(
        &mut self,
        service: ServiceId,
        condition: Condition,
        note: &Note,
        after: Option<std::time::Duration>,
        reason: String,
        crash: Option<String>,
    ) {
        let time = self.wall(note.at);
        let Some(entry) = self.entries.get(&service) else { return };
        let on = on(condition);
        let wanted = entry.spec.crash.notify.iter().filter(|notify| notify.on.contains(&on));
        let targets = wanted.map(|notify| Arc::new(notify.target.clone())).collect();
        let notice = Notice {
            service: entry.name.clone(),
            condition: on,
            opened: after.is_none(),
            time,
            reason: entry.clean(&reason),
            after,
            crash,
            event: note.id.0,
            host: self.host.name.as_str().into(),
        };
        let name = entry.name.clone();
        if let Err(error) = self.notifier.submit(notice, targets) {
            let message = format!("nobody can be told: no thread for it: {error}");
            self.tell_caused(Level::Error, Some(&name), "notify_failed", Some(note.id), message, json!({}));
        }
    }

    pub(super) fn notifier_says(&mut self, news: News) {
        match news {
            News::Run(Run { argv, variables, input, owed }) => {
                let report = move |verdict| Message::NotifierRan(owed, verdict);
                self.help_own(argv, variables, input, EXEC_TIMEOUT, report);
            }
            News::Told(Report { delivered, service, cause, message, data }) => {
                let (level, event) =
                    if delivered { (Level::Debug, "notified") } else { (Level::Warn, "notify_failed") };
                let cause = cause.map(NoteId);
                self.tell_caused(level, service.as_deref(), event, cause, message, data);
            }
            News::Quiet => self.finished |= self.all_down,
        }
    }

    /// Everything is down. Who is being told that is given a moment to hear it.
    pub(super) fn all_down(&mut self) {
        self.all_down = true;
        if self.notifier.ask_for_quiet() {
            let by = Mono(sys::monotonic_ns()) + LAST_WORDS;
            self.ends_by = Some(self.ends_by.map_or(by, |at| at.min(by)));
        } else {
            self.finished = true;
        }
    }
}

fn on(condition: Condition) -> NotifyOn {
    match condition {
        Condition::Failing => NotifyOn::Failing,
        Condition::Flapping => NotifyOn::Flapping,
        Condition::Parked => NotifyOn::Parked,
        Condition::Unhealthy => NotifyOn::Unhealthy,
    }
}

/// The one sentence says what the other does.
fn says(one: &str, other: &str) -> bool {
    one.contains(other) || one.split(';').next().is_some_and(|first| other.contains(first))
}
