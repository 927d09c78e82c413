//! The documents of `status`, from the core's views and the shell's entries.

use std::time::Duration;

use jiff::Timestamp;
use mcpd_config::spec::LogTarget;
use mcpd_core::action::Command;
use mcpd_core::verdict::ParkReason;
use mcpd_core::view::{Awaited, HealthView, NextView, StateView, View, WatchView};
use mcpd_core::{Mono, ServiceId};
use mcpd_proto::SCHEMA;
use mcpd_proto::error::ErrorObject;
use mcpd_proto::status::{
    DaemonStatus, Flapping, Health, Keeper, LastDaemon, Next, ServiceStatus, Stale, State, StatusDocument,
    Tree, Watch,
};

use super::Shell;
use super::entry::Entry;
use super::ready::awaited;
use crate::{sys, words};

impl Shell {
    /// Of the services that these names and patterns mean; without any, of all.
    pub(super) fn status_document(&self, asked: &[String]) -> Result<StatusDocument, ErrorObject> {
        let now = self.now();
        let ids: Vec<ServiceId> = if asked.is_empty() {
            self.names.values().copied().collect()
        } else {
            self.select(asked)?.into_iter().map(|(_, id)| id).collect()
        };
        let services = ids
            .iter()
            .filter_map(|id| Some(self.service_status(now, &self.core.view(*id)?, self.entries.get(id)?)))
            .collect();
        Ok(StatusDocument { schema: SCHEMA, daemon: self.daemon_status(), services })
    }

    pub(super) fn status_of(&self, id: ServiceId) -> Option<ServiceStatus> {
        Some(self.service_status(self.now(), &self.core.view(id)?, self.entries.get(&id)?))
    }

    /// The cgroup of its run, where whoever asks may look at what that uses.
    pub(super) fn cgroup_of(&self, id: ServiceId) -> Option<sys::Cgroup> {
        self.children.cgroup(self.entries.get(&id)?.run.as_ref()?.key).cloned()
    }

    pub(super) fn daemon_status(&self) -> DaemonStatus {
        let dropped = self.entries.keys().map(|id| self.logs.dropped(id.0)).sum();
        DaemonStatus {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_at: super::report::stamp(self.started_at),
            uptime_seconds: Mono(sys::monotonic_ns()).since(self.started).as_secs_f64(),
            config: self.source.path().display().to_string(),
            state_dir: self.config.daemon.state_dir.display().to_string(),
            log_dir: self.config.daemon.log_dir.display().to_string(),
            state: if self.core.is_shutting_down() { "stopping" } else { "running" }.into(),
            summary: self.summary(),
            log_lines_dropped: dropped,
            tree: match &self.cgroups {
                Ok(_) => Tree::Cgroup,
                Err(_) => sys::TREE,
            },
            cgroup: self.cgroups.as_ref().ok().map(|cgroups| cgroups.path().display().to_string()),
            cgroup_missing: self.cgroups.as_ref().err().cloned(),
            last_reload: self.last_reload.clone(),
            keeper: self.line.about().map(|keeper| Keeper {
                pid: keeper.pid,
                version: keeper.version.clone(),
                daemons: keeper.lives,
                not_upgraded: keeper.not_upgraded.clone(),
                last: keeper.last.as_ref().map(|last| LastDaemon {
                    pid: last.pid,
                    how: last.how.clone(),
                    time: Timestamp::from_microsecond(last.at).map(super::report::stamp).unwrap_or_default(),
                }),
            }),
        }
    }

    /// "3 running, 1 in backoff, 1 parked (db)": one line, for `systemctl status` too.
    pub(super) fn summary(&self) -> String {
        let (mut running, mut starting, mut waiting) = (0, 0, 0);
        let (mut stopping, mut backoff, mut down) = (0, 0, 0);
        let mut parked = Vec::new();
        let mut unhealthy = Vec::new();
        let mut flapping = Vec::new();
        for view in self.core.views() {
            let name = || self.entries.get(&view.service).map_or("?", |entry| &entry.name);
            match view.state {
                StateView::Up | StateView::Exited => running += 1,
                StateView::Spawning | StateView::Starting(_) => starting += 1,
                StateView::Waiting(_) => waiting += 1,
                StateView::Leaving { .. } | StateView::Stopping(_) | StateView::Ending { .. } => {
                    stopping += 1
                }
                StateView::Backoff { .. } => backoff += 1,
                StateView::Down(_) => down += 1,
                StateView::Parked(_) => parked.push(name()),
            }
            if let HealthView::Failing(_) | HealthView::Unhealthy(_) = view.health {
                unhealthy.push(name());
            }
            if view.flapping.is_some() && view.wanted {
                flapping.push(name());
            }
        }
        let mut parts = vec![format!("{running} running")];
        for (count, what) in [
            (starting, "starting"),
            (waiting, "waiting"),
            (stopping, "stopping"),
            (backoff, "in backoff"),
            (down, "down"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        for (names, what) in
            [(unhealthy, "failing health checks"), (flapping, "flapping"), (parked, "parked")]
        {
            match names.as_slice() {
                [] => {}
                few @ ([_] | [_, _] | [_, _, _]) => {
                    parts.push(format!("{} {what} ({})", few.len(), few.join(", ")))
                }
                many => parts.push(format!("{} {what}", many.len())),
            }
        }
        parts.join(", ")
    }

    fn service_status(&self, now: (Mono, Timestamp), view: &View, entry: &Entry) -> ServiceStatus {
        let wall = |at| super::report::stamp(super::report::wall(now, at));
        let spec = &entry.spec;
        let (state, reason) = self.state(view, entry);
        let waiting_on = view.state.waits_for().map(|other| self.name_of(other));
        let log_file = (spec.log.target == LogTarget::File)
            .then(|| self.config.daemon.log_dir.join(format!("{}.log", entry.name)).display().to_string());
        let cgroup = entry.run.as_ref().and_then(|run| self.children.cgroup(run.key));
        // What is so far away is no limit that anybody has set.
        let next = view.next.filter(|(_, at)| at.since(now.0) < FAR);
        let next = next.map(|(what, at)| Next {
            what: match what {
                NextView::Start => "start",
                NextView::Probe => "probe",
                NextView::Kill => "kill",
                NextView::StartTimeout => "start_timeout",
                NextView::ResetCounters => "reset_counters",
                NextView::RunTimeout => "run_timeout",
            }
            .into(),
            in_seconds: at.since(now.0).as_secs_f64(),
            at: wall(at),
        });
        ServiceStatus {
            schema: SCHEMA,
            name: entry.name.to_string(),
            description: spec.description.clone(),
            state,
            wanted: view.wanted,
            health: match view.health {
                HealthView::None => Health::None,
                HealthView::Starting => Health::Starting,
                HealthView::Healthy => Health::Healthy,
                HealthView::Failing(_) => Health::Failing,
                HealthView::Unhealthy(_) => Health::Unhealthy,
            },
            status_text: entry.status_text.clone().filter(|_| view.pid.is_some()),
            ready_detail: entry.ready_verdicts.back().map(|verdict| verdict.detail.clone()),
            health_detail: entry.verdicts.back().map(|verdict| verdict.detail.clone()),
            process_running: view.pid.is_some(),
            pid: view.pid,
            generation: view.generation,
            uptime_seconds: view.started.map(|started| now.0.since(started).as_secs_f64()),
            restarts: view.restarts,
            max_restarts: view.max_restarts,
            restarts_total: view.restarts_total,
            total_uptime_seconds: None,
            availability: None,
            enabled: spec.enabled,
            reason_code: words::reason_code(view.state).map(str::to_owned),
            crash_count: entry.crash_count,
            started_at: view.started.map(wall),
            since: wall(view.since),
            tree: entry.run.as_ref().map(|_| if cgroup.is_some() { Tree::Cgroup } else { sys::TREE }),
            cgroup: cgroup.map(|cgroup| cgroup.path().display().to_string()),
            watch: watch(view, entry),
            stale: view.stale.map(|(what, since)| Stale {
                what: words::stale(what).into(),
                reason: words::stale_reason(what, entry.stale.as_deref()),
                since: wall(since),
            }),
            flapping: view.flapping.map(|flapping| {
                let last = entry.last_crash.as_ref().map(|crash| crash.reason.as_str());
                Flapping {
                    since: wall(flapping.since),
                    failures: flapping.failures,
                    reason: words::flapping(flapping.failures, last),
                }
            }),
            usage: None,
            command: entry.shown_command(),
            commands: entry.commands().into_iter().map(|command| entry.clean_command(command)).collect(),
            pending: entry.next.as_ref().map_or_else(Vec::new, |next| next.keys.clone()),
            reason,
            waiting_on,
            relations: self.shown_relations(spec),
            next,
            last_crash: entry.last_crash.clone(),
            config: entry.origin.clone(),
            working_directory: spec.working_directory.as_ref().map(|dir| dir.display().to_string()),
            log_file,
            log_lines_dropped: self.logs.dropped(view.service.0),
            log_tail: Vec::new(),
        }
    }
}

/// A year. A oneshot's `start_timeout` is a hundred, unless it is set.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn watch(view: &View, entry: &Entry) -> Option<Watch> {
    let spec = entry.spec.watch.as_ref()?;
    let (state, reason) = match view.watch {
        WatchView::None => return None,
        WatchView::Watching => ("watching", None),
        WatchView::Settling(_) => ("settling", None),
        WatchView::Suspended { times } => ("suspended", Some(words::watch_suspended(times, ""))),
    };
    let paths = spec.paths.iter().map(|path| path.display().to_string()).collect();
    Some(Watch { state: state.into(), paths, reason })
}

fn runs(entry: &Entry, command: Command) -> String {
    format!("runs {}: {}", entry.place_of(command), entry.clean_command(entry.command_of(command)).join(" "))
}

/// The state's name, and why it is so when that needs saying.
pub(super) fn state(
    view: &View,
    entry: &Entry,
    name: &dyn Fn(ServiceId) -> String,
) -> (State, Option<String>) {
    let crash = |otherwise: &str| {
        entry.last_crash.as_ref().map_or_else(|| otherwise.to_owned(), |crash| crash.reason.clone())
    };
    let runs_now = view.beside.map_or_else(String::new, |command| format!("; {}", runs(entry, command)));
    match view.state {
        StateView::Down(why) => (State::Down, Some(entry.down_reason(why, name))),
        // What it waits for is another service's business: `order` words it.
        StateView::Waiting(_) => (State::Waiting, None),
        StateView::Leaving { cause, first } => {
            let first = first.map_or_else(String::new, |first| format!("; {} stops first", name(first)));
            (State::Stopping, Some(words::stop_cause(cause, name) + &first))
        }
        StateView::Spawning => (State::Spawning, None),
        StateView::Starting(Awaited::Health) => {
            (State::Starting, Some("its health check has not succeeded yet".into()))
        }
        StateView::Starting(Awaited::End) => {
            (State::Starting, Some(runs(entry, view.beside.unwrap_or(view.command))))
        }
        StateView::Exited => {
            let why = "its commands have ended well; it stays up until it is stopped";
            (State::Up, Some(why.into()))
        }
        StateView::Starting(Awaited::Ready) => {
            let what = entry.spec.ready.as_ref().map_or_else(|| "being ready".into(), awaited);
            let last = entry.ready_verdicts.back().map(|verdict| format!("; so far: {}", verdict.detail));
            (State::Starting, Some(format!("waits for {what}{}", last.unwrap_or_default())))
        }
        StateView::Up => {
            let known = entry.verdicts.iter().rev().find(|verdict| !verdict.unknown);
            let detail = known.map_or("no verdict yet", |verdict| verdict.detail.as_str());
            let of = entry.spec.health.as_ref().map_or(0, |health| health.retries);
            let reason = match view.health {
                HealthView::None | HealthView::Starting | HealthView::Healthy => {
                    view.reloading.then(|| "it reloads its configuration".into())
                }
                HealthView::Failing(times) => {
                    Some(format!("health check failed {times} of {of} times: {detail}"))
                }
                HealthView::Unhealthy(times) => Some(format!("health check failed {times} times: {detail}")),
            };
            (State::Up, reason)
        }
        StateView::Stopping(cause) => (State::Stopping, Some(words::stop_cause(cause, name) + &runs_now)),
        StateView::Ending { exit, left } => {
            let what = exit.map_or_else(|| "it could not be started".into(), words::exit);
            let rest = match left {
                0 => String::new(),
                1 => "; 1 process of it is still there".into(),
                many => format!("; {many} processes of it are still there"),
            };
            (State::Stopping, Some(format!("{what}{rest}{runs_now}")))
        }
        StateView::Backoff { failure } => {
            (State::Backoff, Some(crash(failure.map_or("it ended", words::failure))))
        }
        StateView::Parked(why) => {
            let reason = words::park_reason(why, entry.park_detail(why).as_deref());
            let last = entry.last_crash.as_ref().filter(|_| matches!(why, ParkReason::Limit { .. }));
            let last = last.map_or_else(String::new, |crash| format!("; the last time: {}", crash.reason));
            (State::Parked, Some(reason + &last))
        }
    }
}
