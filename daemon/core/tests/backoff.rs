//! Properties of the backoff and the table of what is restarted after what.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

use std::time::Duration;

use mcpd_core::event::{Change, Redefinition, Verb};
use mcpd_core::policy::{Commands, ExitSet, Relations, RestartPolicy, When};
use mcpd_core::time::Chance;
use mcpd_core::verdict::{Failure, ParkReason, What};
use mcpd_core::view::StateView;
use mcpd_core::{Action, Core, Event, Exit, Mono, NoteId, Policy, RequestId, ServiceId};
use proptest::prelude::*;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// The defaults of the configuration, without jitter.
fn defaults() -> RestartPolicy {
    RestartPolicy {
        when: When::OnFailure,
        delay: S(1),
        multiplier: 1.5,
        max_delay: S(60),
        jitter: 0.0,
        reset_after: S(60),
        max_restarts: 10,
        park_at_limit: true,
        prevent: ExitSet::default(),
    }
}

fn restart_delay(policy: &RestartPolicy, attempt: u32, seed: u64) -> Duration {
    let decision = policy.decide(Some(Failure::Exit), None, attempt, &mut Chance::new(seed));
    match decision.what {
        What::Restart(delay) => delay,
        other => panic!("{other:?} instead of a restart"),
    }
}

prop_compose! {
    fn any_policy()(
        when in prop::sample::select(vec![
            When::Always, When::OnSuccess, When::OnFailure, When::OnAbnormal, When::OnWatchdog, When::Never,
        ]),
        delay in 0_u64..100_000,
        multiplier in 1.0_f64..10.0,
        max_delay in 0_u64..1_000_000,
        jitter in 0.0_f64..=1.0,
        max_restarts in 0_u32..20,
        park_at_limit: bool,
        prevent in prop::collection::vec(0_i32..5, 0..3),
    ) -> RestartPolicy {
        RestartPolicy {
            when,
            delay: MS(delay),
            multiplier,
            max_delay: MS(max_delay),
            jitter,
            reset_after: S(60),
            max_restarts,
            park_at_limit,
            prevent: ExitSet { codes: prevent, signals: vec![] },
        }
    }
}

fn any_failure() -> impl Strategy<Value = Option<Failure>> {
    prop::sample::select(vec![
        None,
        Some(Failure::Exit),
        Some(Failure::Signal),
        Some(Failure::Oom),
        Some(Failure::Health),
        Some(Failure::StartTimeout),
        Some(Failure::Spawn),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn base_delay_never_shrinks(policy in any_policy(), attempt in 0_u32..5_000) {
        prop_assert!(policy.base_delay(attempt) <= policy.base_delay(attempt + 1));
    }

    #[test]
    fn base_delay_is_capped(policy in any_policy(), attempt: u32) {
        prop_assert!(policy.base_delay(attempt) <= policy.max_delay);
    }

    #[test]
    fn base_delay_is_a_power(policy in any_policy(), attempt in 0_u32..6) {
        let mut exact = policy.delay.as_secs_f64();
        for _ in 0..attempt {
            exact *= policy.multiplier;
        }
        let exact = exact.min(policy.max_delay.as_secs_f64());
        let base = policy.base_delay(attempt).as_secs_f64();
        prop_assert!((base - exact).abs() <= exact * 1e-9 + 1e-8, "{base} is not {exact}");
    }

    #[test]
    fn nothing_overflows(
        delay: u64,
        multiplier in prop::num::f64::ANY,
        max_delay: u64,
        nanos in 0_u32..1_000_000_000,
        jitter in prop::num::f64::ANY,
        attempt: u32,
        seed: u64,
    ) {
        let policy = RestartPolicy {
            delay: S(delay),
            multiplier,
            max_delay: Duration::new(max_delay, nanos),
            jitter,
            max_restarts: 0,
            ..defaults()
        };
        prop_assert!(policy.base_delay(attempt) <= policy.max_delay);
        prop_assert!(restart_delay(&policy, attempt, seed) >= policy.base_delay(attempt));
    }

    #[test]
    fn jitter_comes_on_top(policy in any_policy(), attempt in 0_u32..100, seed: u64) {
        let policy = RestartPolicy { when: When::Always, max_restarts: 0, ..policy };
        let (base, delay) = (policy.base_delay(attempt), restart_delay(&policy, attempt, seed));
        prop_assert!(delay >= base);
        prop_assert!(delay <= base + base.mul_f64(policy.jitter) + Duration::from_nanos(1));
    }

    #[test]
    fn same_seed_same_decision(policy in any_policy(), failure in any_failure(), attempt in 0_u32..30, seed: u64) {
        let decide = || policy.decide(failure, Some(Exit::Code(1)), attempt, &mut Chance::new(seed));
        prop_assert_eq!(decide(), decide());
    }

    #[test]
    fn a_prevented_end_parks_whatever_else_holds(
        policy in any_policy(), failure in any_failure(), attempt in 0_u32..30, code in 0_i32..5,
    ) {
        let exit = Exit::Code(code);
        let decision = policy.decide(failure, Some(exit), attempt, &mut Chance::new(0));
        let prevented = decision.what == What::Park(ParkReason::Prevented(exit));
        prop_assert_eq!(prevented, policy.prevent.codes.contains(&code));
    }

    #[test]
    fn the_limit_is_the_limit(policy in any_policy(), attempt in 0_u32..30, seed: u64) {
        let policy = RestartPolicy { when: When::Always, ..policy };
        let decision = policy.decide(Some(Failure::Exit), None, attempt, &mut Chance::new(seed));
        prop_assert_eq!(decision.max, policy.max_restarts);
        let over = policy.max_restarts > 0 && attempt >= policy.max_restarts;
        match decision.what {
            What::Park(why) => {
                prop_assert!(over && policy.park_at_limit);
                prop_assert_eq!(why, ParkReason::Limit { restarts: attempt });
                prop_assert_eq!(decision.attempt, 0);
            }
            What::Restart(delay) => {
                prop_assert!(!over || !policy.park_at_limit);
                prop_assert_eq!(decision.attempt, attempt + 1);
                let base = if over { policy.max_delay } else { policy.base_delay(attempt) };
                prop_assert!(delay >= base);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn the_sequence_of_the_manual() {
    let policy = defaults();
    let delays: Vec<u128> = (0..12).map(|attempt| policy.base_delay(attempt).as_micros()).collect();
    let wanted = [
        1_000_000, 1_500_000, 2_250_000, 3_375_000, 5_062_500, 7_593_750, 11_390_625, 17_085_937, 25_628_906,
        38_443_359, 57_665_039, 60_000_000,
    ];
    assert_eq!(delays, wanted);
}

#[test]
fn no_delay_stays_no_delay() {
    // multiplier^attempt is infinite long before.
    let policy = RestartPolicy { delay: Duration::ZERO, multiplier: 3.0, max_restarts: 0, ..defaults() };
    for attempt in [0, 1, 100, 1_000, 1_000_000, u32::MAX] {
        assert_eq!(policy.base_delay(attempt), Duration::ZERO, "attempt {attempt}");
    }
}

#[test]
fn the_longest_delay_takes_jitter() {
    let policy = RestartPolicy {
        delay: Duration::MAX,
        max_delay: Duration::MAX,
        jitter: 1.0,
        max_restarts: 0,
        ..defaults()
    };
    for seed in 0..100 {
        assert_eq!(restart_delay(&policy, 3, seed), Duration::MAX);
    }
}

#[test]
fn jitter_spreads() {
    let policy = RestartPolicy { jitter: 0.1, ..defaults() };
    let delays: Vec<Duration> = (0..1_000).map(|seed| restart_delay(&policy, 0, seed)).collect();
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!(*least < MS(1_010) && *most > MS(1_090), "{least:?} to {most:?}");
}

/// systemd.service(5), "Exit causes and the effect of the Restart= settings".
#[test]
fn what_is_restarted_after_what() {
    use Failure::{Exit, Health, Oom, Signal, Spawn, StartTimeout};
    let ends = [None, Some(Exit), Some(Signal), Some(Oom), Some(StartTimeout), Some(Health), Some(Spawn)];
    let rows = [
        //                    clean  exit   signal oom timeout health spawn
        (When::Always, [true, true, true, true, true, true, true]),
        (When::OnSuccess, [true, false, false, false, false, false, false]),
        (When::OnFailure, [false, true, true, true, true, true, true]),
        // A program that cannot be executed ends with a code there.
        (When::OnAbnormal, [false, false, true, true, true, true, false]),
        (When::OnWatchdog, [false, false, false, false, false, true, false]),
        (When::Never, [false, false, false, false, false, false, false]),
    ];
    for (when, row) in rows {
        for (failure, restarted) in ends.into_iter().zip(row) {
            let policy = RestartPolicy { when, ..defaults() };
            let decision = policy.decide(failure, None, 0, &mut Chance::new(1));
            let wanted = if restarted { What::Restart(S(1)) } else { What::StayDown };
            assert_eq!(decision.what, wanted, "{when:?} after {failure:?}");
        }
    }
}

#[test]
fn prevented_signals_park() {
    let prevent = ExitSet { codes: vec![78], signals: vec![6] };
    let policy = RestartPolicy { prevent, ..defaults() };
    for core_dumped in [false, true] {
        let exit = Exit::Signal { signal: 6, core_dumped };
        let decision = policy.decide(Some(Failure::Signal), Some(exit), 0, &mut Chance::new(1));
        assert_eq!(decision.what, What::Park(ParkReason::Prevented(exit)));
    }
    // A code is not a signal of the same number.
    let decision = policy.decide(Some(Failure::Exit), Some(Exit::Code(6)), 0, &mut Chance::new(1));
    assert_eq!(decision.what, What::Restart(S(1)));
}

// ---- the whole way through the core

const ID: ServiceId = ServiceId(1);

/// One service whose process is made to end again and again.
struct Loop {
    core: Core,
    now: Mono,
    generation: u64,
}

impl Loop {
    fn new(restart: RestartPolicy) -> Self {
        let policy = Policy {
            commands: Commands::default(),
            start_timeout: S(90),
            stop_timeout: S(10),
            stop_signal: 15,
            success: ExitSet { codes: vec![0], signals: vec![15] },
            restart,
            ready: None,
            health: None,
            relations: Relations::default(),
            watch: None,
            watchdog: None,
        };
        let mut this = Self { core: Core::new(7, NoteId(1)), now: Mono(0), generation: 1 };
        this.tell(Event::Define {
            service: ID,
            policy: Box::new(policy),
            start: true,
            program_missing: false,
            left: 0,
        });
        this.tell(Event::Begun);
        this.tell(Event::Spawned { service: ID, generation: 1, pid: 100, at: this.now });
        this
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.core.handle(self.now, event, &mut out);
        out
    }

    fn sleep(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.core.next_deadline().filter(|&at| at <= until) {
            self.now = at;
            self.core.handle_timeout(at, &mut Vec::new());
        }
        self.now = until;
    }

    /// The process lives for `life` and fails; how long until the next one? `None`: there is none.
    fn fail_after(&mut self, life: Duration) -> Option<Duration> {
        self.sleep(life);
        let (service, generation) = (ID, self.generation);
        self.tell(Event::Exited { service, generation, exit: Exit::Code(1), oom: false });
        self.tell(Event::Drained { service, generation });
        self.tell(Event::CrashRecorded { service, generation });
        self.tell(Event::TreeLeft { service, generation, left: 0 });
        let ended = self.now;
        if let StateView::Backoff { .. } = self.state() {
            self.now = self.core.next_deadline().unwrap();
            self.core.handle_timeout(self.now, &mut Vec::new());
        }
        if self.state() != StateView::Spawning {
            return None;
        }
        self.generation += 1;
        self.tell(Event::Spawned { service, generation: self.generation, pid: 100, at: self.now });
        Some(self.now.since(ended))
    }

    fn state(&self) -> StateView {
        self.core.view(ID).unwrap().state
    }
}

#[test]
fn a_crash_loop_slows_down_and_parks() {
    let mut run = Loop::new(RestartPolicy { max_restarts: 4, ..defaults() });
    let delays: Vec<_> = (0..5).map(|_| run.fail_after(MS(10))).collect();
    assert_eq!(delays, [Some(MS(1_000)), Some(MS(1_500)), Some(MS(2_250)), Some(MS(3_375)), None]);
    assert_eq!(run.state(), StateView::Parked(ParkReason::Limit { restarts: 4 }));
    assert_eq!(run.core.next_deadline(), None);
}

#[test]
fn at_the_limit_it_can_go_on_slowly() {
    let mut run = Loop::new(RestartPolicy { max_restarts: 2, park_at_limit: false, ..defaults() });
    let delays: Vec<_> = (0..4).map(|_| run.fail_after(MS(10))).collect();
    assert_eq!(delays, [Some(MS(1_000)), Some(MS(1_500)), Some(S(60)), Some(S(60))]);
}

#[test]
fn without_a_limit_it_never_parks() {
    let mut run = Loop::new(RestartPolicy { max_restarts: 0, ..defaults() });
    for _ in 0..100 {
        assert!(run.fail_after(MS(10)).is_some());
    }
    assert_eq!(run.fail_after(MS(10)), Some(S(60)));
}

#[test]
fn a_stable_run_starts_the_counters_again() {
    let mut run = Loop::new(RestartPolicy { max_restarts: 2, ..defaults() });
    assert_eq!(run.fail_after(MS(10)), Some(MS(1_000)));
    assert_eq!(run.fail_after(S(59)), Some(MS(1_500)), "almost stable");
    run.sleep(S(60));
    assert_eq!(run.core.view(ID).unwrap().restarts, 0);
    assert_eq!(run.fail_after(S(0)), Some(MS(1_000)));
    // The timer is as good as the end: what comes first says it.
    assert_eq!(run.fail_after(MS(10)), Some(MS(1_500)));
    assert_eq!(run.fail_after(S(600)), Some(MS(1_000)));
    // Ten crashes over a lifetime do not end the supervision of a service that is stable in between.
    for _ in 0..50 {
        assert_eq!(run.fail_after(S(61)), Some(MS(1_000)));
    }
}

#[test]
fn a_late_timer_does_not_lose_a_stable_run() {
    let mut run = Loop::new(defaults());
    assert_eq!(run.fail_after(MS(10)), Some(MS(1_000)));
    run.now = run.now + S(61);
    assert_eq!(run.fail_after(S(0)), Some(MS(1_000)));
}

#[test]
fn people_start_the_counters_again() {
    for verb in [Verb::Restart, Verb::Reset] {
        let mut run = Loop::new(defaults());
        run.fail_after(MS(10));
        run.fail_after(MS(10));
        assert_eq!(run.core.view(ID).unwrap().restarts, 2);
        run.tell(Event::Command { request: RequestId(1), service: ID, verb });
        assert_eq!(run.core.view(ID).unwrap().restarts, 0, "{verb:?}");
    }
    let mut run = Loop::new(defaults());
    run.fail_after(MS(10));
    let policy = Policy {
        commands: Commands::default(),
        start_timeout: S(90),
        stop_timeout: S(10),
        stop_signal: 15,
        success: ExitSet::default(),
        restart: defaults(),
        ready: None,
        health: None,
        relations: Relations::default(),
        watch: None,
        watchdog: None,
    };
    run.tell(Event::Redefine {
        service: ID,
        to: Box::new(Redefinition { live: policy.clone(), policy, change: Change::Replace }),
    });
    assert_eq!(run.core.view(ID).unwrap().restarts, 0);
}
