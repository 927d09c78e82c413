//! What must hold after every step, one named function per promise.

use std::time::Duration;

use mcpd_core::action::{Probing, StopCause, Then};
use mcpd_core::event::{CONFIG_SETTLES, MOST_DEBOUNCES, OWN_WRITES, PROGRAM_SETTLES, RECORD_LIMIT};
use mcpd_core::policy::{ReadyPolicy, WatchAction};
use mcpd_core::verdict::{Failure, ParkReason};
use mcpd_core::view::{Effect, NextView, StateView, View, WatchView};
use mcpd_core::{Action, Mono, Note, NoteKind, Outcome, RequestId, ServiceId, Verb};

use super::around::{
    exec_stop_comes_first, nothing_runs_around, only_what_failed_is_said_to,
    up_means_that_start_post_ended_well, what_ends_is_cleaned_up_after, what_runs_around_comes_in_order,
    what_runs_around_has_its_time,
};
use super::causes;
use super::conditions;
use super::ledger::{Check, Ledger};
use super::life::Life;
use super::starting::{
    commands_come_in_order, health_waits_for_readiness, the_watchdog_waits_its_time, unready_is_no_failure,
    up_means_ready,
};

/// What is really there, whatever the core has been told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Truth {
    /// A main process lives.
    pub(crate) alive: bool,
    /// So many processes are left of a dead one's tree.
    pub(crate) tree: u32,
}

/// An end that was wanted is reached within this, whatever goes wrong in the worlds of `world`: a slow spawn, the
/// longest stop timeout, a process that survives SIGKILL for a while, its tree, a slow drain and a lost report.
pub(crate) const DOWN_LIMIT: Duration = Duration::from_secs(900);

const MICRO: Duration = Duration::from_micros(1);

macro_rules! broken {
    ($name:expr, $($detail:tt)*) => {
        Err($crate::sim::ledger::Broken { invariant: $name, detail: format!($($detail)*) })
    };
}
pub(crate) use broken;

/// Judges one action before it is performed.
pub(crate) fn judge(
    ledger: &Ledger,
    now: Mono,
    action: &Action,
    truth: impl Fn(ServiceId) -> Truth,
) -> Check {
    if let Action::Note(note) = action {
        notes_are_numbered(ledger, note)?;
        causes::judge(ledger, note)?;
    }
    super::order::judge(ledger, action, &truth)?;
    match action {
        Action::Ready => return ready_is_said_once(ledger),
        Action::Reload => return a_configuration_settles_first(ledger, now),
        Action::Finished => return finished_is_said_once_and_last(ledger, truth),
        Action::Reply { request, service, outcome } => {
            one_reply_per_request(ledger, *request)?;
            return done_means_done(ledger, *request, *service, outcome, truth(*service));
        }
        _ => {}
    }
    let Some(service) = service_of(action) else { return Ok(()) };
    let Some(life) = ledger.lives.get(&service) else {
        return broken!("only_known_services", "{action:?}");
    };
    removed_services_are_silent(life, action)?;
    match action {
        Action::Spawn { generation, command, first, .. } => {
            commands_come_in_order(life, *command, *first)?;
            if *first {
                what_ends_is_cleaned_up_after(ledger, life)?;
            }
            no_spawn_while_an_answer_is_owed(life)?;
            one_live_process(life, truth(service))?;
            no_spawn_while_the_tree_lives(life, truth(service))?;
            generations_grow_by_one(life, *generation)?;
            down_means_no_spawn(life)?;
            parked_stays_parked(life)?;
            crash_is_reported_before_the_next_spawn(life, now)?;
            restart_waits_for_its_delay(life, now)
        }
        Action::Signal { generation, signal, .. } => {
            signals_are_for_the_living(life, *generation)?;
            exec_stop_comes_first(ledger, life, now)?;
            sigkill_waits_for_stop_timeout(ledger, life, now, *signal)
        }
        Action::SignalTree { generation, signal, .. } => {
            trees_are_signalled_after_the_end(life, *generation)?;
            sigkill_waits_for_stop_timeout(ledger, life, now, *signal)
        }
        Action::Run { generation, number, command, .. } => {
            what_runs_around_comes_in_order(life, now, *generation, *number, *command)
        }
        Action::EndRun { generation, number, .. } => {
            what_runs_around_has_its_time(ledger, life, now, *generation, *number)
        }
        Action::Settle { generation, .. } | Action::Look { generation, .. } => {
            nothing_runs_around(life, now)?;
            let ends = life.generation == *generation && !life.alive && !life.owed && !life.settled;
            if ends { Ok(()) } else { broken!("settle_follows_an_end", "{life:?}") }
        }
        Action::RecordCrash(crash) => {
            a_crash_is_reported_once(life, crash.generation)?;
            conditions::what_was_asked_for_is_no_failure(life, crash.decision)?;
            what_the_kernel_killed_is_reported_so(life, crash.failure)
        }
        Action::Forget { generation, .. } => {
            nothing_runs_around(life, now)?;
            a_run_is_forgotten_when_nothing_is_left(life, *generation, truth(service))
        }
        Action::Probe { generation, probe, of, .. } => {
            probes_are_for_the_living(life, *generation, *of)?;
            health_waits_for_readiness(life, *of)?;
            one_probe_at_a_time(life, *probe)?;
            blindness_is_said(life)
        }
        Action::Note(note) => match &note.kind {
            NoteKind::Opened(_) | NoteKind::Closed { .. } => conditions::judge_note(life, now, note),
            NoteKind::Backoff { delay, attempt } => {
                what_ends_is_cleaned_up_after(ledger, life)?;
                what_time_does_not_mend_is_not_retried(life)?;
                attempts_are_counted(life, *attempt)?;
                restarts_in_a_row_are_limited(life, *attempt)?;
                backoff_is_what_the_policy_says(life, *delay, *attempt)?;
                backoff_never_shrinks(life, *delay)
            }
            NoteKind::Parked(ParkReason::CannotStart) => {
                what_ends_is_cleaned_up_after(ledger, life)?;
                only_what_time_does_not_mend_is_parked_so(life)
            }
            NoteKind::Parked(ParkReason::Lacking) => {
                what_ends_is_cleaned_up_after(ledger, life)?;
                only_what_lacks_something_is_parked_so(life)
            }
            NoteKind::CountersReset => counters_start_again_after_a_stable_run(life, now),
            NoteKind::Stopping { why: StopCause::Failure(Failure::StartTimeout) } => {
                a_start_may_time_out(life, now)
            }
            NoteKind::Stopping { why: StopCause::Changed } => a_process_is_replaced_when_that_was_asked(life),
            NoteKind::Redefined { effect } => a_change_comes_to_what_was_foreseen(life, *effect),
            NoteKind::FilesChanged { then } => {
                changes_settle_first(life, now)?;
                consequences_fit(life, now, *then)?;
                a_self_writer_is_suspended(life)
            }
            NoteKind::Stale { what } => {
                let fits = life.files.stale == Some((*what, false));
                if fits { Ok(()) } else { broken!("stale_is_said_once", "{what:?}: {life:?}") }
            }
            NoteKind::ProgramChanged => a_change_of_the_program_unparks(life, now),
            NoteKind::WatchSuspended { .. } => a_watch_is_suspended_for_a_reason(life),
            NoteKind::Stopping { why: StopCause::Failure(Failure::Health) } => {
                unready_is_no_failure(life)?;
                unknowns_never_kill(life)
            }
            NoteKind::Stopping { why: StopCause::Failure(Failure::Watchdog) } => {
                the_watchdog_waits_its_time(life, now)
            }
            NoteKind::Up { by, .. } => {
                up_means_that_start_post_ended_well(life, now)?;
                up_means_ready(life, *by)
            }
            NoteKind::Down(_) | NoteKind::Parked(_) => what_ends_is_cleaned_up_after(ledger, life),
            NoteKind::RunFailed(command) => only_what_failed_is_said_to(life, now, *command),
            NoteKind::ProbeUnknown => blindness_is_said_once(life, true),
            NoteKind::ProbeKnown => blindness_is_said_once(life, false),
            NoteKind::Unhealthy { failures } => failures_count_after_the_start_period(life, *failures),
            _ => Ok(()),
        },
        Action::Removed { .. } => {
            let gone = life.removing && life.at_rest() && life.conditions.are_over();
            if gone { Ok(()) } else { broken!("removed_means_gone", "{life:?}") }
        }
        Action::Reply { .. } | Action::Ready | Action::Reload | Action::Finished => Ok(()),
    }
}

fn service_of(action: &Action) -> Option<ServiceId> {
    match action {
        Action::Spawn { service, .. }
        | Action::Signal { service, .. }
        | Action::Settle { service, .. }
        | Action::Look { service, .. }
        | Action::SignalTree { service, .. }
        | Action::Forget { service, .. }
        | Action::Probe { service, .. }
        | Action::Run { service, .. }
        | Action::EndRun { service, .. }
        | Action::Reply { service, .. }
        | Action::Removed { service } => Some(*service),
        Action::RecordCrash(crash) => Some(crash.service),
        Action::Note(note) => note.service,
        Action::Ready | Action::Reload | Action::Finished => None,
    }
}

// ---- changes

/// A reload that was not told to leaves processes alone.
fn a_process_is_replaced_when_that_was_asked(life: &Life) -> Check {
    if life.replaced { Ok(()) } else { broken!("a_process_is_replaced_when_that_was_asked", "{life:?}") }
}

fn a_change_comes_to_what_was_foreseen(life: &Life, effect: Effect) -> Check {
    let again = life.foreseen.is_none();
    if again || life.foreseen == Some(effect) {
        Ok(())
    } else {
        broken!("a_change_comes_to_what_was_foreseen", "{effect:?}: {life:?}")
    }
}

// ---- processes

fn one_live_process(life: &Life, truth: Truth) -> Check {
    if truth.alive || life.alive { broken!("one_live_process", "a second one of {life:?}") } else { Ok(()) }
}

fn no_spawn_while_an_answer_is_owed(life: &Life) -> Check {
    if life.owed { broken!("no_spawn_while_an_answer_is_owed", "{life:?}") } else { Ok(()) }
}

fn no_spawn_while_the_tree_lives(life: &Life, truth: Truth) -> Check {
    if truth.tree > 0 || !life.settled {
        broken!("no_spawn_while_the_tree_lives", "{truth:?} {life:?}")
    } else {
        Ok(())
    }
}

fn generations_grow_by_one(life: &Life, generation: u64) -> Check {
    if generation == life.generation + 1 {
        Ok(())
    } else {
        broken!("generations_grow_by_one", "{generation} after {}", life.generation)
    }
}

fn down_means_no_spawn(life: &Life) -> Check {
    match life.down_since {
        Some(since) => broken!("down_means_no_spawn", "down is wanted since {since:?}"),
        None => Ok(()),
    }
}

fn parked_stays_parked(life: &Life) -> Check {
    if life.parked { broken!("parked_stays_parked", "{life:?}") } else { Ok(()) }
}

fn restart_waits_for_its_delay(life: &Life, now: Mono) -> Check {
    // After an end that was asked for there is nothing to wait for; whether a start is wanted is judged elsewhere.
    if life.asked || life.end.as_ref().is_none_or(|end| !end.unexpected) {
        return Ok(());
    }
    match &life.wait {
        Some(wait) if now >= wait.until => Ok(()),
        Some(wait) => broken!("restart_waits_for_its_delay", "now {now:?}, not before {:?}", wait.until),
        None => broken!("restart_waits_for_its_delay", "nobody asked and nothing was decided: {life:?}"),
    }
}

fn signals_are_for_the_living(life: &Life, generation: u64) -> Check {
    if life.alive && life.generation == generation {
        Ok(())
    } else {
        broken!("signals_are_for_the_living", "{generation}: {life:?}")
    }
}

fn trees_are_signalled_after_the_end(life: &Life, generation: u64) -> Check {
    if !life.alive && !life.owed && !life.settled && life.generation == generation {
        Ok(())
    } else {
        broken!("trees_are_signalled_after_the_end", "{generation}: {life:?}")
    }
}

fn sigkill_waits_for_stop_timeout(ledger: &Ledger, life: &Life, now: Mono, signal: i32) -> Check {
    // Whether the first one came in time has been judged when it came.
    let killed = life.time_is_up;
    let asked_for = life.policy.stop_signal == 9 || life.person_signals || ledger.shutdowns > 1 || killed;
    if signal != 9 || asked_for {
        return Ok(());
    }
    let since = life.stop.map(|(at, _, patience)| at + patience);
    let since = since.or(life.end.as_ref().map(|end| end.at + end.grace));
    let since = life.around.grace.or(since);
    match since {
        Some(due) if now >= due => Ok(()),
        due => broken!("sigkill_waits_for_stop_timeout", "now {now:?}, due {due:?}"),
    }
}

fn a_run_is_forgotten_when_nothing_is_left(life: &Life, generation: u64, truth: Truth) -> Check {
    let over = !life.alive && !life.owed && !life.settled && life.generation == generation;
    if over && !truth.alive && truth.tree == 0 {
        Ok(())
    } else {
        broken!("a_run_is_forgotten_when_nothing_is_left", "{generation} {truth:?} {life:?}")
    }
}

fn removed_services_are_silent(life: &Life, action: &Action) -> Check {
    if life.removed { broken!("removed_services_are_silent", "{action:?}") } else { Ok(()) }
}

// ---- reports

fn a_crash_is_reported_once(life: &Life, generation: u64) -> Check {
    match &life.end {
        Some(end)
            if end.report_due && end.noted && end.report_asked.is_none() && generation == life.generation =>
        {
            Ok(())
        }
        _ => broken!("a_crash_is_reported_once", "{life:?}"),
    }
}

fn what_the_kernel_killed_is_reported_so(life: &Life, failure: Failure) -> Check {
    let oom = life.end.as_ref().is_some_and(|end| end.oom);
    if oom == (failure == Failure::Oom) {
        Ok(())
    } else {
        broken!("what_the_kernel_killed_is_reported_so", "{failure:?}: {life:?}")
    }
}

fn crash_is_reported_before_the_next_spawn(life: &Life, now: Mono) -> Check {
    let Some(end) = &life.end else { return Ok(()) };
    match end.report_asked {
        None if end.report_due => {
            broken!("crash_is_reported_before_the_next_spawn", "no report was asked for: {life:?}")
        }
        Some(asked) if !end.recorded && now < asked + RECORD_LIMIT => {
            broken!("crash_is_reported_before_the_next_spawn", "not waited for: {life:?}")
        }
        None | Some(_) => Ok(()),
    }
}

// ---- backoff

fn what_time_does_not_mend_is_not_retried(life: &Life) -> Check {
    match &life.end {
        Some(end) if end.permanent || end.lacks == Some(true) => {
            broken!("what_time_does_not_mend_is_not_retried", "{life:?}")
        }
        Some(_) | None => Ok(()),
    }
}

fn only_what_time_does_not_mend_is_parked_so(life: &Life) -> Check {
    match &life.end {
        Some(end) if end.permanent => Ok(()),
        end => broken!("only_what_time_does_not_mend_is_parked_so", "{end:?}"),
    }
}

fn only_what_lacks_something_is_parked_so(life: &Life) -> Check {
    match &life.end {
        Some(end) if end.lacks == Some(true) => Ok(()),
        end => broken!("only_what_lacks_something_is_parked_so", "{end:?}"),
    }
}

fn attempts_are_counted(life: &Life, attempt: u32) -> Check {
    if attempt == life.attempts + 1 {
        Ok(())
    } else {
        broken!("attempts_are_counted", "{attempt} after {}", life.attempts)
    }
}

fn restarts_in_a_row_are_limited(life: &Life, attempt: u32) -> Check {
    let Some(end) = &life.end else { return Ok(()) };
    let restart = &end.policy.restart;
    if restart.park_at_limit && restart.max_restarts > 0 && attempt > restart.max_restarts {
        return broken!("restarts_in_a_row_are_limited", "{attempt} of {}", restart.max_restarts);
    }
    Ok(())
}

fn backoff_is_what_the_policy_says(life: &Life, delay: Duration, attempt: u32) -> Check {
    let Some(end) = life.end.as_ref().filter(|end| end.unexpected) else {
        return broken!("backoff_is_what_the_policy_says", "after an end that was asked for: {life:?}");
    };
    let restart = &end.policy.restart;
    let mut base = restart.delay;
    for _ in 1..attempt.min(64) {
        base = base.mul_f64(restart.multiplier).min(restart.max_delay);
    }
    base = base.min(restart.max_delay);
    if restart.max_restarts > 0 && attempt > restart.max_restarts {
        base = restart.max_delay;
    }
    if delay + MICRO >= base && delay <= base.mul_f64(1.0 + restart.jitter) + MICRO {
        Ok(())
    } else {
        broken!("backoff_is_what_the_policy_says", "{delay:?} for restart {attempt}, base {base:?}")
    }
}

fn backoff_never_shrinks(life: &Life, delay: Duration) -> Check {
    let (Some(previous), Some(end)) = (&life.previous, &life.end) else { return Ok(()) };
    if previous.policy != end.policy {
        return Ok(());
    }
    let least = previous.delay.div_f64(1.0 + end.policy.restart.jitter);
    if delay + MICRO >= least {
        Ok(())
    } else {
        broken!(
            "backoff_never_shrinks",
            "{delay:?} after {:?} (restart {})",
            previous.delay,
            previous.attempt
        )
    }
}

fn counters_start_again_after_a_stable_run(life: &Life, now: Mono) -> Check {
    if ran_well_for(life, now, life.policy.restart.reset_after) {
        Ok(())
    } else {
        broken!("counters_start_again_after_a_stable_run", "now {now:?}: {life:?}")
    }
}

/// It is up for so long, or was until just now, and well.
pub(crate) fn ran_well_for(life: &Life, now: Mono, long: Duration) -> bool {
    let healthy = match (&life.policy.health, life.health) {
        (Some(_), Some(health)) => {
            let only_now = health.failures == 1 && health.failed == Some(now);
            health.seen_ok && (health.failures == 0 || only_now)
        }
        (Some(_), None) => false,
        (None, _) => true,
    };
    healthy && life.up.is_some_and(|up| now >= up + long)
}

// ---- health

/// Only a start can time out that is not over before; a clock that leaps does not change that.
fn a_start_may_time_out(life: &Life, now: Mono) -> Check {
    let period = life.policy.health.as_ref().map(|health| health.start_period);
    if life.around.start_late {
        return Ok(());
    }
    let may = life.passes || life.start.unready || period >= Some(life.policy.start_timeout);
    let since = life.spawned.map(|at| now.since(at));
    let asked_for_more = life.extended.is_some_and(|until| now < until);
    if may && since >= Some(life.policy.start_timeout) && life.up.is_none() && !asked_for_more {
        Ok(())
    } else {
        broken!("a_start_may_time_out", "{life:?}")
    }
}

fn probes_are_for_the_living(life: &Life, generation: u64, of: Probing) -> Check {
    let asked = match of {
        Probing::Health => life.policy.health.is_some(),
        Probing::Ready => matches!(life.policy.ready, Some(ReadyPolicy::Asked { .. })),
    };
    if life.alive && life.stop.is_none() && life.generation == generation && asked && !life.passes {
        Ok(())
    } else {
        broken!("probes_are_for_the_living", "{life:?}")
    }
}

fn one_probe_at_a_time(life: &Life, probe: u64) -> Check {
    match life.health {
        Some(health) if health.out.is_none() && life.start.out.is_none() && probe > health.asked => Ok(()),
        health => broken!("one_probe_at_a_time", "{probe}: {health:?}"),
    }
}

fn failures_count_after_the_start_period(life: &Life, failures: u32) -> Check {
    let counted = life.health.map(|health| health.failures);
    if counted == Some(failures) && life.policy.health.as_ref().map(|health| health.retries) == counted {
        Ok(())
    } else {
        broken!("failures_count_after_the_start_period", "{failures}, counted {counted:?}")
    }
}

// ---- changed files

fn files_due(life: &Life) -> Option<Mono> {
    life.policy.watch.zip(life.files.changed).map(|(watch, (first, last))| {
        (last + watch.debounce).min(first + watch.debounce.saturating_mul(MOST_DEBOUNCES))
    })
}

/// One burst has one consequence, when it is over or has gone on for long.
fn changes_settle_first(life: &Life, now: Mono) -> Check {
    let due = files_due(life);
    match due {
        Some(due) if now >= due && !life.files.suspended => Ok(()),
        due => broken!("changes_settle_first", "now {now:?}, due {due:?}: {life:?}"),
    }
}

fn consequences_fit(life: &Life, now: Mono, then: Then) -> Check {
    let fits = match then {
        Then::Restart => life.owed || (life.alive && life.stop.is_none()) || life.remains,
        Then::Signal(_) => life.alive && life.stop.is_none() && life.up.is_some(),
        Then::Reload => {
            let up = life.alive && life.stop.is_none() && life.up.is_some();
            up && life.around.is_free(now) && !life.policy.commands.reload.is_empty()
        }
        Then::Start => life.at_rest() && (life.parked || life.wait.is_some() || life.done),
    };
    if fits && life.down_since.is_none() && !life.removing {
        Ok(())
    } else {
        broken!("consequences_fit", "{then:?}: {life:?}")
    }
}

/// A service that writes into what it watches is not restarted for ever.
fn a_self_writer_is_suspended(life: &Life) -> Check {
    if life.files.own && life.files.row >= OWN_WRITES {
        broken!("a_self_writer_is_suspended", "{} in a row: {life:?}", life.files.row + 1)
    } else {
        Ok(())
    }
}

fn a_watch_is_suspended_for_a_reason(life: &Life) -> Check {
    if life.files.all >= OWN_WRITES && life.files.changed.is_some() && !life.files.suspended {
        Ok(())
    } else {
        broken!("a_watch_is_suspended_for_a_reason", "{life:?}")
    }
}

/// A parked service starts by itself when what it lacked has changed and is quiet.
fn a_change_of_the_program_unparks(life: &Life, now: Mono) -> Check {
    let settled = life.files.program.is_some_and(|at| now >= at + PROGRAM_SETTLES);
    if settled && life.parked && life.at_rest() && life.down_since.is_none() && !life.removing {
        Ok(())
    } else {
        broken!("a_change_of_the_program_unparks", "now {now:?}: {life:?}")
    }
}

/// What is seen of a process that is older than its files is what was told.
pub(crate) fn stale_is_seen(ledger: &Ledger, views: impl Iterator<Item = View>) -> Check {
    for view in views {
        let Some(life) = ledger.lives.get(&view.service) else { continue };
        let known = life.files.stale.filter(|_| life.alive);
        if view.stale.map(|(what, _)| (what, true)) != known {
            return broken!("stale_is_seen", "{view:?}: {life:?}");
        }
    }
    Ok(())
}

/// Where a change has a consequence, it will have it.
pub(crate) fn changes_are_not_lost(ledger: &Ledger, views: impl Iterator<Item = View>) -> Check {
    for view in views {
        let Some(life) = ledger.lives.get(&view.service) else { continue };
        let rests = matches!(view.state, StateView::Up | StateView::Backoff { .. } | StateView::Parked(_));
        let settling = matches!(view.watch, WatchView::Settling(_));
        // What runs already is waited for, and what is not there cannot run.
        let reloads = life.policy.watch.is_some_and(|watch| watch.action == WatchAction::Reload);
        let busy = life.around.runs.is_some() || life.policy.commands.reload.is_empty();
        let waits = reloads && busy && view.state == StateView::Up && !settling;
        if rests && !waits && life.files.changed.is_some() != settling {
            return broken!("changes_are_not_lost", "{view:?}: {life:?}");
        }
        // A signal may have to wait for a process that is ready for it.
        let restarts = life.policy.watch.is_some_and(|watch| watch.action == WatchAction::Restart);
        if let WatchView::Settling(at) = view.watch
            && restarts
            && files_due(life) != Some(at)
        {
            return broken!("changes_settle_in_time", "{view:?}: {life:?}");
        }
    }
    Ok(())
}

/// What could not be asked does not end a service: that takes enough failures, and the last word was one.
fn unknowns_never_kill(life: &Life) -> Check {
    let retries = life.policy.health.as_ref().map_or(u32::MAX, |health| health.retries);
    match life.health {
        Some(health) if health.failures >= retries && !health.blind => Ok(()),
        health => broken!("unknowns_never_kill", "{health:?}"),
    }
}

/// When the next probe goes out, it is known whether the last one could be carried out.
fn blindness_is_said(life: &Life) -> Check {
    match life.health {
        Some(health) if health.blind == health.said_blind => Ok(()),
        health => broken!("blindness_is_said", "{health:?}"),
    }
}

/// Once when it begins, once when it is over.
fn blindness_is_said_once(life: &Life, begins: bool) -> Check {
    match life.health {
        Some(health) if health.blind == begins && health.said_blind != begins => Ok(()),
        health => broken!("blindness_is_said_once", "{begins}: {health:?}"),
    }
}

// ---- clients

fn one_reply_per_request(ledger: &Ledger, request: RequestId) -> Check {
    if ledger.pending.contains_key(&request) {
        Ok(())
    } else {
        broken!("one_reply_per_request", "{request:?} is not waiting")
    }
}

pub(crate) fn every_request_is_answered(ledger: &Ledger) -> Check {
    if ledger.pending.is_empty() {
        Ok(())
    } else {
        broken!("every_request_is_answered", "{:?} with {:?}", ledger.pending, ledger.lives)
    }
}

fn done_means_done(
    ledger: &Ledger,
    request: RequestId,
    service: ServiceId,
    outcome: &Outcome,
    truth: Truth,
) -> Check {
    let (Some(asked), Some(life)) = (ledger.pending.get(&request), ledger.lives.get(&service)) else {
        return Ok(());
    };
    if asked.service != service {
        return broken!("done_means_done", "asked of {:?}, answered for {service:?}", asked.service);
    }
    let kept = match (asked.verb, outcome) {
        (Verb::Start, Outcome::Done | Outcome::Already) | (Verb::Restart, Outcome::Done) => {
            let runs = life.alive && life.stop.is_none() && !life.start.unready && !life.passes;
            let runs = runs && life.up.is_some();
            (runs || life.completed) && (asked.verb == Verb::Start || asked.had != Some(life.generation))
        }
        (Verb::Stop, Outcome::Done | Outcome::Already) if life.down_since.is_some() => {
            life.at_rest() && !truth.alive && truth.tree == 0
        }
        (Verb::Stop, Outcome::Done) => life.at_rest(),
        (Verb::Stop, Outcome::Superseded { by }) => matches!(by, Verb::Start | Verb::Restart),
        (Verb::Start | Verb::Restart, Outcome::Superseded { by }) => *by == Verb::Stop,
        (_, Outcome::NotUpInTime) => life.owed || life.alive,
        (_, Outcome::StartFailed { generation, .. }) => *generation == life.generation && life.at_rest(),
        (Verb::Start | Verb::Restart, Outcome::Blocked { on }) => {
            life.at_rest() && ledger.linked(service, *on) && !life.removing
        }
        (_, Outcome::ShuttingDown) => ledger.shutdowns > 0,
        (_, Outcome::Removed) => life.removing,
        (Verb::Reload, Outcome::Done) => {
            life.alive && life.stop.is_none() && life.around.runs.is_none() && life.around.passed
        }
        (Verb::Reload, Outcome::ReloadFailed) => life.alive && !life.around.passed,
        (Verb::Reload, Outcome::NoReload) => life.policy.commands.reload.is_empty(),
        (Verb::Reload, Outcome::NotRunning) => life.up.is_none() || life.stop.is_some() || !life.alive,
        (Verb::Signal(..), Outcome::Done) => life.alive,
        (Verb::Signal(..), Outcome::NotRunning) => !life.alive,
        (Verb::Reset, Outcome::Done) => true,
        (_, Outcome::Unknown) => life.removed,
        _ => false,
    };
    if kept { Ok(()) } else { broken!("done_means_done", "{asked:?} got {outcome:?}: {life:?}") }
}

// ---- the daemon

/// One reload for changes that come together.
fn a_configuration_settles_first(ledger: &Ledger, now: Mono) -> Check {
    match ledger.config.map(config_due) {
        Some(due) if now >= due && ledger.shutdowns == 0 => Ok(()),
        due => broken!("a_configuration_settles_first", "now {now:?}, due {due:?}"),
    }
}

fn config_due((first, last): (Mono, Mono)) -> Mono {
    (last + CONFIG_SETTLES).min(first + CONFIG_SETTLES.saturating_mul(MOST_DEBOUNCES))
}

fn ready_is_said_once(ledger: &Ledger) -> Check {
    if ledger.ready == 0 { Ok(()) } else { broken!("ready_is_said_once", "again") }
}

fn finished_is_said_once_and_last(ledger: &Ledger, truth: impl Fn(ServiceId) -> Truth) -> Check {
    if ledger.finished > 0 || ledger.shutdowns == 0 {
        return broken!("finished_is_said_once_and_last", "again, or nobody asked");
    }
    for (id, life) in &ledger.lives {
        let truth = truth(*id);
        if !life.at_rest() || truth.alive || truth.tree > 0 {
            return broken!("finished_is_said_once_and_last", "{id:?} lives: {truth:?} {life:?}");
        }
    }
    Ok(())
}

fn notes_are_numbered(ledger: &Ledger, note: &Note) -> Check {
    if note.id.0 == ledger.notes + 1 {
        Ok(())
    } else {
        broken!("notes_are_numbered", "{:?} after {}", note.id, ledger.notes)
    }
}

// ---- time

/// After everything that is due was done, the core has time.
pub(crate) fn no_busy_loop(now: Mono, deadline: Option<Mono>) -> Check {
    match deadline {
        Some(at) if at <= now => broken!("no_busy_loop", "now {now:?}, still due {at:?}"),
        Some(_) | None => Ok(()),
    }
}

/// A second shutdown does not wait for anybody.
pub(crate) fn a_hurry_kills_at_once(ledger: &Ledger, now: Mono, deadline: Option<Mono>) -> Check {
    if ledger.shutdowns < 2 || deadline.is_some_and(|at| at <= now) {
        return Ok(());
    }
    match ledger.lives.values().find(|life| life.alive && !life.killed) {
        Some(life) => broken!("a_hurry_kills_at_once", "{life:?}"),
        None => Ok(()),
    }
}

/// Nothing happens for a wake-up that nobody wanted.
pub(crate) fn early_wakes_do_nothing(actions: &[Action]) -> Check {
    if actions.is_empty() { Ok(()) } else { broken!("early_wakes_do_nothing", "{actions:?}") }
}

/// A deadline is there when a state needs one, and none when no state does.
pub(crate) fn deadlines_fit_the_states(
    ledger: &Ledger,
    deadline: Option<Mono>,
    views: impl Iterator<Item = View>,
) -> Check {
    let mut wanted: Option<Mono> = ledger.config.map(config_due);
    let mut allowed = ledger.ready == 0 || wanted.is_some();
    for view in views {
        let needs = match view.state {
            // Without a process nothing but a look at what is left may be waited for.
            StateView::Stopping(_) => {
                allowed = true;
                view.pid.is_some()
            }
            StateView::Backoff { .. } => true,
            StateView::Starting(_) => {
                allowed = true;
                false
            }
            StateView::Up | StateView::Ending { .. } | StateView::Spawning => {
                allowed = true;
                false
            }
            StateView::Leaving { .. } => {
                allowed = true;
                false
            }
            StateView::Down(_) | StateView::Waiting(_) | StateView::Exited | StateView::Parked(_) => false,
        };
        if matches!(view.state, StateView::Starting(_)) && deadline.is_none() {
            return broken!("deadlines_fit_the_states", "none while {view:?}");
        }
        allowed |= needs;
        if let WatchView::Settling(at) = view.watch {
            allowed = true;
            wanted = Some(wanted.map_or(at, |wanted| wanted.min(at)));
        }
        let lacks = matches!(
            view.state,
            StateView::Parked(
                ParkReason::ProgramMissing
                    | ParkReason::CannotStart
                    | ParkReason::Lacking
                    | ParkReason::Limit { .. }
            )
        );
        let renewed = ledger.lives.get(&view.service).and_then(|life| life.files.program);
        if let Some(at) = renewed.filter(|_| lacks).map(|at| at + PROGRAM_SETTLES) {
            allowed = true;
            wanted = Some(wanted.map_or(at, |wanted| wanted.min(at)));
        }
        if let Some((next, at)) = view.next {
            let at_rest_wait = matches!(next, NextView::Start | NextView::Kill | NextView::Probe);
            if at_rest_wait {
                wanted = Some(wanted.map_or(at, |wanted| wanted.min(at)));
            }
        } else if needs {
            return broken!("deadlines_fit_the_states", "nothing comes next: {view:?}");
        }
    }
    match (wanted, deadline) {
        (Some(wanted), None) => broken!("deadlines_fit_the_states", "none, wanted at {wanted:?}"),
        (Some(wanted), Some(at)) if at > wanted => {
            broken!("deadlines_fit_the_states", "at {at:?}, wanted at {wanted:?}")
        }
        (None, Some(at)) if !allowed => broken!("deadlines_fit_the_states", "at {at:?} for nothing"),
        _ => Ok(()),
    }
}

/// What is wanted down is down within bounded time. `slept`: jumps of the clock.
pub(crate) fn down_is_reached(ledger: &Ledger, now: Mono, slept: Duration) -> Check {
    for (id, life) in &ledger.lives {
        if let Some(since) = life.down_since
            && !life.at_rest()
            && now.since(since) > DOWN_LIMIT * 3 + slept
        {
            return broken!("down_is_reached", "{id:?} since {since:?}, now {now:?}: {life:?}");
        }
    }
    Ok(())
}

/// When no fault is left and time has passed, everything is as wanted.
pub(crate) fn calm_means_as_wanted(views: &[View]) -> Check {
    for view in views {
        let fits = match view.state {
            StateView::Up | StateView::Exited => view.wanted,
            StateView::Down(_) | StateView::Parked(_) => !view.wanted,
            StateView::Waiting(on) => view.wanted && super::order::may_wait_for_ever(on, views),
            StateView::Spawning
            | StateView::Starting(_)
            | StateView::Leaving { .. }
            | StateView::Stopping(_)
            | StateView::Ending { .. }
            | StateView::Backoff { .. } => false,
        };
        if !fits {
            return broken!("calm_means_as_wanted", "{view:?}");
        }
    }
    Ok(())
}
