//! Was that end a failure, and what follows? Pure functions of policy, end and counters.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::event::Exit;
use crate::policy::{ExitSet, RestartPolicy, When};
use crate::time::Chance;

/// What kind of end a run had that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// It ended by itself, with a code.
    Exit,
    /// A signal killed it.
    Signal,
    /// The kernel killed it, or something of it, for want of memory.
    Oom,
    /// Its health check failed too often in a row.
    Health,
    /// It has not said in time that it is alive.
    Watchdog,
    /// It was not up in time.
    StartTimeout,
    /// It could not be started.
    Spawn,
    /// A command of `exec_stop` or `exec_stop_post` took longer than `stop_timeout`.
    StopTimeout,
}

/// How a run has fared, for the commands that run when it stops: systemd's `SERVICE_RESULT`, `EXIT_CODE`, `EXIT_STATUS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoFar {
    /// What systemd would call it.
    pub result: ServiceResult,
    /// How the main process ended; `None`: it lives, or there was none.
    pub exit: Option<Exit>,
}

/// `SERVICE_RESULT`, `systemd.exec(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceResult {
    /// `success`
    Success,
    /// `exit-code`
    ExitCode,
    /// `signal`
    Signal,
    /// `core-dump`
    CoreDump,
    /// `oom-kill`
    OomKill,
    /// `timeout`: a start, or its end, took too long.
    Timeout,
    /// `watchdog`; a health check that failed too often is one too.
    Watchdog,
    /// `resources`: it could not be started.
    Resources,
}

impl ServiceResult {
    /// Of a run that failed so, or did not. `killed`: it had to be killed because it did not end in time.
    pub(crate) fn of(failure: Option<Failure>, exit: Option<Exit>, killed: bool, success: &ExitSet) -> Self {
        match failure {
            Some(Failure::Exit) => Self::ExitCode,
            Some(Failure::Signal) => match exit {
                Some(Exit::Signal { core_dumped: true, .. }) => Self::CoreDump,
                Some(Exit::Signal { .. } | Exit::Code(_)) | None => Self::Signal,
            },
            Some(Failure::Oom) => Self::OomKill,
            Some(Failure::Health | Failure::Watchdog) => Self::Watchdog,
            Some(Failure::StartTimeout | Failure::StopTimeout) => Self::Timeout,
            Some(Failure::Spawn) => Self::Resources,
            None if killed => Self::Timeout,
            None => match exit {
                Some(exit) if success.holds(exit) || ends_well(exit) => Self::Success,
                Some(Exit::Code(_)) => Self::ExitCode,
                Some(Exit::Signal { core_dumped: true, .. }) => Self::CoreDump,
                Some(Exit::Signal { .. }) => Self::Signal,
                None => Self::Success,
            },
        }
    }
}

/// `systemd.service(5)`, `SuccessExitStatus=`: 0, and SIGHUP, SIGINT, SIGTERM, SIGPIPE.
fn ends_well(exit: Exit) -> bool {
    match exit {
        Exit::Code(code) => code == 0,
        Exit::Signal { signal, .. } => matches!(signal, 1 | 2 | 15 | 13),
    }
}

/// Why a service is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParkReason {
    /// As many restarts in a row as the policy allows.
    Limit {
        /// So many.
        restarts: u32,
    },
    /// It ended in a way that `prevent_exit_status` lists.
    Prevented(Exit),
    /// Its program cannot be found or executed.
    ProgramMissing,
    /// Starting it failed in a way that another try does not mend.
    CannotStart,
    /// It ended for want of something that no restart brings.
    Lacking,
}

/// What follows the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What.
    pub what: What,
    /// The number of this restart in a row; 0 when there is none.
    pub attempt: u32,
    /// The limit; 0: none.
    pub max: u32,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// A start after this delay, counted from the end.
    Restart(Duration),
    /// Nothing until somebody acts.
    Park(ParkReason),
    /// Nothing: the policy does not restart after such an end.
    StayDown,
    /// A stop or restart was on its way already.
    AsAsked,
    /// The start goes on: the command has ended well, and another one follows, or the start is over.
    GoOn,
}

impl ExitSet {
    /// Does this end belong to the set?
    #[must_use]
    pub fn holds(&self, exit: Exit) -> bool {
        match exit {
            Exit::Code(code) => self.codes.contains(&code),
            Exit::Signal { signal, .. } => self.signals.contains(&signal),
        }
    }
}

/// Signals by which a program says that it is broken (their default action is a core dump, `signal(7)`). An end by one
/// of them is worth a report even while a stop was on its way.
#[must_use]
pub fn is_crash_signal(signal: i32) -> bool {
    // SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS
    matches!(signal, 4 | 5 | 6 | 7 | 8 | 11 | 31)
}

impl RestartPolicy {
    /// The delay before restart number `attempt + 1` in a row, without jitter: `delay * multiplier^attempt`, at most
    /// `max_delay`. Never shrinks as `attempt` grows.
    #[must_use]
    pub fn base_delay(&self, attempt: u32) -> Duration {
        if self.delay.is_zero() {
            // Times infinity it would be no number.
            return Duration::ZERO;
        }
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let seconds = self.delay.as_secs_f64() * self.multiplier.max(1.0).powi(exponent);
        // `try_from` refuses infinity and what is longer than a Duration can be: both are over any maximum.
        Duration::try_from_secs_f64(seconds).map_or(self.max_delay, |delay| delay.min(self.max_delay))
    }

    fn jittered(&self, base: Duration, chance: &mut Chance) -> Duration {
        let share = self.jitter.clamp(0.0, 1.0) * chance.unit();
        // What is no number is no jitter.
        let extra = Duration::try_from_secs_f64(base.as_secs_f64() * share).unwrap_or_default();
        base.saturating_add(extra)
    }

    fn restarts_after(&self, failure: Option<Failure>) -> bool {
        match self.when {
            When::Always => true,
            When::OnSuccess => failure.is_none(),
            When::OnFailure => failure.is_some(),
            When::OnAbnormal => match failure {
                Some(
                    Failure::Signal
                    | Failure::Oom
                    | Failure::Health
                    | Failure::Watchdog
                    | Failure::StartTimeout
                    | Failure::StopTimeout,
                ) => true,
                Some(Failure::Exit | Failure::Spawn) | None => false,
            },
            When::OnWatchdog => match failure {
                Some(Failure::Health | Failure::Watchdog) => true,
                Some(
                    Failure::Exit
                    | Failure::Signal
                    | Failure::Oom
                    | Failure::StartTimeout
                    | Failure::StopTimeout
                    | Failure::Spawn,
                )
                | None => false,
            },
            When::Never => false,
        }
    }

    /// What follows an end that nobody asked for. `attempt`: restarts in a row so far, already set to 0 when the run
    /// was a stable one.
    #[must_use]
    pub fn decide(
        &self,
        failure: Option<Failure>,
        exit: Option<Exit>,
        attempt: u32,
        chance: &mut Chance,
    ) -> Decision {
        let max = self.max_restarts;
        if let Some(exit) = exit.filter(|&exit| self.prevent.holds(exit)) {
            return Decision { what: What::Park(ParkReason::Prevented(exit)), attempt: 0, max };
        }
        if !self.restarts_after(failure) {
            return Decision { what: What::StayDown, attempt: 0, max };
        }
        if max > 0 && attempt >= max {
            if self.park_at_limit {
                let what = What::Park(ParkReason::Limit { restarts: attempt });
                return Decision { what, attempt: 0, max };
            }
            let delay = self.jittered(self.max_delay, chance);
            return Decision { what: What::Restart(delay), attempt: attempt.saturating_add(1), max };
        }
        let delay = self.jittered(self.base_delay(attempt), chance);
        Decision { what: What::Restart(delay), attempt: attempt.saturating_add(1), max }
    }
}
