//! Proof by simulation: the core against thousands of worlds, each made from a seed.
//!
//! `MCPD_SIM_SEEDS=N` runs N seeds instead of 10,000; `MCPD_SIM_SEED=K` replays one and prints everything.
//! `MCPD_SIM_RESTORE=1` kills and restores a core beside the one that is judged at every step of every seed, not only of
//! every eighth.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "an invariant looks at what concerns it")]

mod sim;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sim::run::{Keep, Report, run};
use sim::subject::Flaw;

/// As many worlds in the normal test run.
const SEEDS: u64 = 10_000;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Why a seed failed, with its last lines; nothing when it did not.
fn failure(seed: u64) -> Option<String> {
    let report = match catch_unwind(AssertUnwindSafe(|| run(seed, None, Keep::Nothing))) {
        Ok(report) => report,
        Err(_) => return Some(format!("seed {seed} panicked; replay: {}", replay(seed))),
    };
    report.broken.as_ref()?;
    let report = run(seed, None, Keep::Tail);
    Some(explain(seed, &report))
}

fn explain(seed: u64, report: &Report) -> String {
    let Some(broken) = &report.broken else { return format!("seed {seed} cannot be repeated") };
    format!(
        "seed {seed}, step {}, virtual time {:?}: {} is broken\n{}\n...\n{}\nreplay: {}",
        report.step,
        report.now,
        broken.invariant,
        broken.detail,
        report.tail.join("\n"),
        replay(seed)
    )
}

fn replay(seed: u64) -> String {
    format!("MCPD_SIM_SEED={seed} cargo test -p mcpd-core --test simulator seeds -- --nocapture")
}

/// Traps 9 and 25 of docs/traps.md among others: commands from all sides at any step, and a machine that sleeps, so
/// that time jumps.
#[test]
fn seeds() {
    if let Some(seed) = from_environment("MCPD_SIM_SEED") {
        let report = run(seed, None, Keep::Print);
        assert!(report.broken.is_none(), "{}", explain(seed, &report));
        return;
    }
    let seeds = from_environment("MCPD_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return None;
            }
            if let Some(why) = failure(seed) {
                next.store(seeds, Ordering::Relaxed);
                return Some(why);
            }
        }
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn same_seed_same_actions() {
    for seed in 0..300 {
        let (once, twice) = (run(seed, None, Keep::Hash), run(seed, None, Keep::Hash));
        assert_eq!(once, twice, "seed {seed}");
        assert!(once.actions > 0, "seed {seed} did nothing");
    }
}

/// What no world ever reaches is not proven.
#[test]
fn worlds_reach_everything() {
    const WORLDS: u64 = 1000;
    let mut seen = BTreeSet::new();
    let mut actions = 0;
    for seed in 0..WORLDS {
        let report = run(seed, None, Keep::Hash);
        actions += report.actions;
        seen.extend(report.seen);
    }
    let everything = "
        Note.Asked Note.Spawning Note.Started Note.Up Note.SpawnFailed Note.Exited Note.Crashed Note.Stopping
        Note.Killing Note.StillAlive Note.Leftovers Note.Inherited Note.ProbeFailed Note.Unhealthy Note.Healthy
        Note.ProbeLost Note.ProbeUnknown Note.ProbeKnown
        Note.Backoff Note.Parked Note.Down Note.CountersReset Note.SpawnSlow Note.DrainSlow Note.RecordSlow
        Note.Redefined Note.Removed Note.ShuttingDown UpBy.Ready UpBy.Health UpBy.StartPeriod
        Note.Reloading Note.Reloaded Note.ReloadSlow Note.Wanted Note.Waiting
        Note.FilesChanged Note.WatchSuspended Note.Stale Note.ProgramChanged Note.ConfigChanged
        Note.ReloadFailed Outcome.NoReload Outcome.ReloadFailed
        UpBy.Completion UpBy.StartPost State.Exited Note.Runs Note.RunFailed Failure.StopTimeout
        Opened.Failing Opened.Flapping Opened.Parked Opened.Unhealthy
        Closed.Failing Closed.Flapping Closed.Parked Closed.Unhealthy
        Effect.Live Effect.Pending Effect.Restart Effect.Start
        Outcome.Done Outcome.Already Outcome.StartFailed Outcome.NotUpInTime Outcome.Superseded Outcome.Blocked
        Outcome.Removed
        Outcome.NotRunning Outcome.ShuttingDown Outcome.Unknown
        Parked.Limit Parked.Prevented Parked.ProgramMissing Parked.CannotStart Parked.Lacking
        Failure.Exit Failure.Signal Failure.Oom Failure.Health Failure.Watchdog Failure.StartTimeout Failure.Spawn
        Decision.Restart Decision.Park Decision.StayDown Decision.AsAsked
        State.Down State.Spawning State.Starting State.Up State.Stopping State.Ending State.Backoff State.Parked
        State.Waiting State.Leaving";
    let missed: Vec<&str> = everything.split_whitespace().filter(|&name| !seen.contains(name)).collect();
    assert!(missed.is_empty(), "never seen: {missed:?}");
    assert!(actions > WORLDS * 50, "only {actions} actions in {WORLDS} worlds");
}

/// The broken core is noticed within the first seeds, and by the invariants that say so.
fn noticed(flaw: Flaw, by: &[&str]) {
    for seed in 0..400 {
        if let Some(broken) = run(seed, Some(flaw), Keep::Nothing).broken {
            assert!(
                by.contains(&broken.invariant),
                "{flaw:?}: {} instead of {by:?} (seed {seed})\n{}",
                broken.invariant,
                broken.detail
            );
            return;
        }
    }
    panic!("{flaw:?} was not noticed");
}

#[test]
fn broken_cores_are_noticed() {
    noticed(Flaw::DropsReply, &["every_request_is_answered"]);
    noticed(Flaw::RepliesTwice, &["one_reply_per_request"]);
    noticed(Flaw::SpawnsTwice, &["no_spawn_while_an_answer_is_owed"]);
    noticed(Flaw::SkipsGeneration, &["generations_grow_by_one"]);
    let stop = [
        "done_means_done",
        "down_means_no_spawn",
        "a_stop_takes_along_what_goes_with_it",
        "what_is_down_is_not_failing",
    ];
    noticed(Flaw::IgnoresStop, &stop);
    noticed(Flaw::ForgetsCrash, &["crash_is_reported_before_the_next_spawn"]);
    noticed(Flaw::ReportsTwice, &["a_crash_is_reported_once"]);
    noticed(Flaw::ShrinksDelay, &["backoff_is_what_the_policy_says", "backoff_never_shrinks"]);
    noticed(Flaw::StartsEarly, &["restart_waits_for_its_delay"]);
    noticed(Flaw::KillsAtOnce, &["sigkill_waits_for_stop_timeout"]);
    noticed(Flaw::Unparks, &["parked_stays_parked"]);
    noticed(Flaw::NeverSleeps, &["no_busy_loop"]);
    // Whoever is never told of a deadline takes every wake-up for an early one.
    noticed(Flaw::NeverWakes, &["deadlines_fit_the_states", "early_wakes_do_nothing"]);
    noticed(Flaw::ReadyTwice, &["ready_is_said_once"]);
    noticed(Flaw::FinishesEarly, &["finished_is_said_once_and_last"]);
    noticed(Flaw::DropsNote, &["notes_are_numbered", "the_last_note_is_that_of_the_state"]);
    noticed(Flaw::ProbesTwice, &["one_probe_at_a_time"]);
    noticed(Flaw::CopiesBadly, &["a_successor_does_the_same"]);
    noticed(Flaw::WritesBadly, &["a_successor_does_the_same"]);
    noticed(Flaw::AsksOnce, &["calm_means_as_wanted", "down_is_reached"]);
    noticed(Flaw::IgnoresTree, &["a_run_is_forgotten_when_nothing_is_left"]);
    noticed(Flaw::ReplacesAnyway, &["a_change_comes_to_what_was_foreseen"]);
    let too_early = [
        "no_spawn_while_the_tree_lives",
        "removed_means_gone",
        "finished_is_said_once_and_last",
        "stops_come_before_starts",
    ];
    noticed(Flaw::IgnoresEarlierLife, &too_early);
    noticed(Flaw::ActsEarly, &["changes_settle_first"]);
    noticed(Flaw::TriesAgain, &["what_time_does_not_mend_is_not_retried"]);
    noticed(Flaw::GivesUp, &["only_what_time_does_not_mend_is_parked_so"]);
    noticed(Flaw::HearsNothing, &["what_time_does_not_mend_is_not_retried"]);
    let oom = [
        "what_the_kernel_killed_is_reported_so",
        "crash_is_reported_before_the_next_spawn",
        "commands_come_in_order",
    ];
    noticed(Flaw::OverlooksOom, &oom);
    noticed(Flaw::CountsEarly, &["failures_count_after_the_start_period"]);
    // What could not be asked is taken for a good answer too.
    let answers = [
        "up_means_ready",
        "counters_start_again_after_a_stable_run",
        "blindness_is_said",
        "what_runs_around_comes_in_order",
    ];
    noticed(Flaw::TakesAnyAnswer, &answers);
    noticed(Flaw::DeafWatchdog, &["the_watchdog_waits_its_time", "the_watchdog_is_watched"]);
    let word = ["up_means_ready", "the_watchdog_waits_its_time", "a_start_may_time_out"];
    noticed(Flaw::TakesAnyWord, &word);
    noticed(Flaw::SkipsCommands, &["commands_come_in_order"]);
    let trust = ["done_means_done", "what_runs_around_comes_in_order", "up_means_that_start_post_ended_well"];
    noticed(Flaw::TrustsRuns, &trust);
    noticed(Flaw::EndsRuns, &["what_runs_around_has_its_time"]);
    let up_early =
        ["up_means_that_start_post_ended_well", "up_is_ready", "done_means_done", "starts_are_in_order"];
    noticed(Flaw::NoStartPost, &up_early);
    noticed(Flaw::NoStop, &["exec_stop_comes_first", "what_ends_is_cleaned_up_after"]);
    noticed(Flaw::NoStopPost, &["what_ends_is_cleaned_up_after"]);
    noticed(Flaw::ArmsEarly, &["health_waits_for_readiness", "probes_are_for_the_living"]);
    let unknown = ["unknowns_never_kill", "failures_count_after_the_start_period", "blindness_is_said"];
    noticed(Flaw::CountsUnknown, &unknown);
    noticed(Flaw::ConfusesConditions, &["a_condition_opens_for_its_reason"]);
    noticed(Flaw::ForgivesAll, &["a_condition_does_not_close_early"]);
    noticed(Flaw::NeverForgives, &["a_condition_ends_in_time"]);
    noticed(Flaw::ForgetsCauses, &["notes_have_causes"]);
    noticed(Flaw::MixesCauses, &["notes_have_causes"]);
    noticed(Flaw::HidesFlapping, &["flapping_is_seen"]);
}

/// Among the worlds that notice it are some that notice it by this.
fn noticed_by(flaw: Flaw, invariants: &[&str]) {
    let mut broken = BTreeSet::new();
    let enough = (0..4000).any(|seed| {
        broken.extend(run(seed, Some(flaw), Keep::Nothing).broken.map(|broken| broken.invariant));
        invariants.iter().all(|invariant| broken.contains(invariant))
    });
    assert!(enough, "{flaw:?}: {broken:?}");
}

#[test]
fn cores_that_never_suspend_are_noticed() {
    // Resetting it is how they do that, which something else notices as well.
    noticed_by(Flaw::NeverSuspends, &["a_self_writer_is_suspended"]);
}

#[test]
fn cores_that_know_nothing_of_others_are_noticed() {
    noticed_by(Flaw::ForgetsNeeds, &["what_it_needs_is_up_first", "a_start_brings_up_what_it_needs"]);
    noticed_by(Flaw::WaitsForStartsOnly, &["what_it_needs_is_up_first", "nobody_waits_for_nothing"]);
    noticed_by(Flaw::ForgetsOrder, &["starts_are_in_order", "stops_come_before_starts"]);
    noticed_by(Flaw::StopsInOrder, &["stops_are_in_reverse_order", "nobody_stays_for_nothing"]);
    noticed_by(Flaw::Loosens, &["bound_services_go_together"]);
    noticed_by(Flaw::ForgetsParts, &["a_stop_takes_along_what_goes_with_it"]);
    noticed_by(Flaw::ForgetsConflicts, &["what_conflicts_never_runs_together"]);
    noticed_by(Flaw::IgnoresLimit, &["starts_are_limited"]);
    noticed_by(Flaw::CountsWaiting, &["attempts_are_counted"]);
}
