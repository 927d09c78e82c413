//! What of a service's settings the core decides by.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use mcpd_config::ServiceSpec;
use mcpd_config::spec::{
    ExitMatch, HealthAction, OnLimit, ReadySpec, RestartWhen, WatchAction as Configured, WatchSpec,
};
use mcpd_core::Policy;
use mcpd_core::policy::{
    Commands, ExitSet, HealthPolicy, Oneshot, ReadyPolicy, Relations, RestartPolicy, WatchAction,
    WatchPolicy, When,
};

pub(super) fn policy(spec: &ServiceSpec, relations: Relations) -> Policy {
    let restart = &spec.restart;
    Policy {
        commands: Commands {
            start_pre: spec.exec_start_pre.iter().map(|command| command.ignore_failure).collect(),
            start_post: spec.exec_start_post.iter().map(|command| command.ignore_failure).collect(),
            reload: spec.exec_reload.iter().map(|command| command.ignore_failure).collect(),
            stop: spec.exec_stop.iter().map(|command| command.ignore_failure).collect(),
            stop_post: spec.exec_stop_post.iter().map(|command| command.ignore_failure).collect(),
            oneshot: spec.oneshot.as_ref().map(|oneshot| Oneshot {
                exec: oneshot.exec.iter().map(|command| command.ignore_failure).collect(),
                remain: oneshot.remain_after_exit,
            }),
        },
        start_timeout: spec.start_timeout,
        stop_timeout: spec.stop_timeout,
        stop_signal: spec.stop_signal.number(),
        success: exits(&spec.success_exit_status),
        restart: RestartPolicy {
            when: match restart.when {
                RestartWhen::Always => When::Always,
                RestartWhen::OnSuccess => When::OnSuccess,
                RestartWhen::OnFailure => When::OnFailure,
                RestartWhen::OnAbnormal => When::OnAbnormal,
                RestartWhen::OnWatchdog => When::OnWatchdog,
                RestartWhen::Never => When::Never,
            },
            delay: restart.delay,
            multiplier: restart.multiplier,
            max_delay: restart.max_delay,
            jitter: restart.jitter,
            reset_after: restart.reset_after,
            max_restarts: restart.max_restarts,
            park_at_limit: match restart.on_limit {
                OnLimit::Park => true,
                OnLimit::Retry => false,
            },
            prevent: exits(&restart.prevent_exit_status),
        },
        ready: spec.ready.as_ref().map(|ready| match ready {
            ReadySpec::Probe { timeout, .. } => ReadyPolicy::Asked { timeout: *timeout },
            ReadySpec::Log { .. } => ReadyPolicy::Told,
            ReadySpec::Notify => ReadyPolicy::Notified,
        }),
        watchdog: spec.watchdog,
        health: spec.health.as_ref().map(|health| HealthPolicy {
            interval: health.interval,
            timeout: health.timeout,
            retries: health.retries,
            start_period: health.start_period,
            restart: match health.action {
                HealthAction::Restart => true,
                HealthAction::Report => false,
            },
        }),
        relations,
        watch: spec.watch.as_ref().map(watch),
    }
}

fn watch(spec: &WatchSpec) -> WatchPolicy {
    let mut edition = DefaultHasher::new();
    spec.hash(&mut edition);
    WatchPolicy {
        edition: edition.finish(),
        debounce: spec.debounce,
        action: match spec.action {
            Configured::Restart => WatchAction::Restart,
            Configured::Reload => WatchAction::Reload,
            Configured::Signal(signal) => WatchAction::Signal(signal.number()),
        },
    }
}

fn exits(list: &[ExitMatch]) -> ExitSet {
    let mut set = ExitSet::default();
    for entry in list {
        match entry {
            ExitMatch::Code(code) => set.codes.push(*code),
            ExitMatch::Signal(signal) => set.signals.push(signal.number()),
        }
    }
    set
}
