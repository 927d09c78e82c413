//! What varies from seed to seed: policies and times.

use std::time::Duration;

use mcpd_core::policy::{
    Commands, ExitSet, HealthPolicy, Oneshot, ReadyPolicy, Relations, RestartPolicy, WatchAction,
    WatchPolicy, When,
};
use mcpd_core::time::Chance;
use mcpd_core::{Exit, Policy, Said, ServiceId};

/// The one source of chance of a world.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Chance);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Not the stream that the core draws its jitter from.
        Self(Chance::new(seed ^ 0x5EED_0FA1_1057_A7E5))
    }

    /// Less than `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.bits() % n
    }

    /// True in `percent` of all cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap()]
    }

    /// Up to `most` milliseconds; short ones are as likely as long ones.
    pub(crate) fn ms(&mut self, most: u64) -> Duration {
        let magnitude = self.below(u64::from(64 - most.max(1).leading_zeros()) + 1);
        let top = (1_u64 << magnitude).min(most.max(1));
        Duration::from_micros(self.below(top * 1000 + 1))
    }

    pub(crate) fn exit(&mut self) -> Exit {
        match self.below(8) {
            0..=2 => Exit::Code(0),
            3 | 4 => Exit::Code(1),
            5 => Exit::Code(78),
            6 => Exit::Signal { signal: 11, core_dumped: true },
            _ => Exit::Signal { signal: 9, core_dumped: false },
        }
    }

    pub(crate) fn policy(&mut self) -> Policy {
        let ms = Duration::from_millis;
        let mut commands = self.commands();
        let stop_timeout = ms(self.pick(&[0, 200, 2_000, 10_000]));
        if stop_timeout.is_zero() {
            // The configuration refuses commands that have no time.
            (commands.stop, commands.stop_post) = (vec![], vec![]);
        }
        Policy {
            commands,
            start_timeout: ms(self.pick(&[200, 500, 2_000, 10_000, 90_000])),
            stop_timeout,
            stop_signal: self.pick(&[15, 15, 15, 2, 9]),
            success: ExitSet {
                codes: if self.percent(90) { vec![0] } else { vec![0, 1] },
                signals: if self.percent(70) { vec![15] } else { vec![] },
            },
            restart: RestartPolicy {
                when: self.pick(&[
                    When::Always,
                    When::Always,
                    When::OnFailure,
                    When::OnFailure,
                    When::OnSuccess,
                    When::OnAbnormal,
                    When::OnWatchdog,
                    When::Never,
                ]),
                delay: ms(self.pick(&[0, 100, 1_000, 1_000])),
                multiplier: self.pick(&[1.0, 1.5, 1.5, 2.0, 3.0]),
                max_delay: ms(self.pick(&[50, 5_000, 60_000])),
                jitter: self.pick(&[0.0, 0.1, 1.0]),
                reset_after: ms(self.pick(&[1_000, 10_000, 60_000])),
                max_restarts: self.pick(&[0, 1, 2, 3, 4, 5]),
                park_at_limit: self.percent(70),
                prevent: ExitSet { codes: if self.percent(40) { vec![78] } else { vec![] }, signals: vec![] },
            },
            ready: if self.percent(40) { Some(self.ready()) } else { None },
            health: if self.percent(60) { Some(self.health()) } else { None },
            relations: Relations::default(),
            watchdog: if self.percent(30) { Some(self.watchdog()) } else { None },
            watch: if self.percent(50) { Some(self.watch()) } else { None },
        }
    }

    pub(crate) fn watch(&mut self) -> WatchPolicy {
        WatchPolicy {
            edition: self.below(2),
            debounce: Duration::from_millis(self.pick(&[1, 50, 300, 2_000])),
            action: self.pick(&[
                WatchAction::Restart,
                WatchAction::Restart,
                WatchAction::Reload,
                WatchAction::Signal(1),
            ]),
        }
    }

    pub(crate) fn commands(&mut self) -> Commands {
        let mut some = |most: u64| {
            let count = 1 + self.below(most);
            (0..count).map(|_| self.percent(30)).collect::<Vec<_>>()
        };
        let (start_pre, exec, reload) = (some(2), some(3), some(2));
        let (start_post, stop, stop_post) = (some(2), some(2), some(2));
        Commands {
            start_pre: if self.percent(20) { start_pre } else { vec![] },
            start_post: if self.percent(25) { start_post } else { vec![] },
            reload: if self.percent(50) { reload } else { vec![] },
            stop: if self.percent(30) { stop } else { vec![] },
            stop_post: if self.percent(30) { stop_post } else { vec![] },
            oneshot: self.percent(15).then(|| Oneshot { exec, remain: self.percent(50) }),
        }
    }

    pub(crate) fn ready(&mut self) -> ReadyPolicy {
        match self.below(10) {
            0..=4 => ReadyPolicy::Asked { timeout: Duration::from_millis(self.pick(&[100, 1_000, 5_000])) },
            5..=6 => ReadyPolicy::Told,
            _ => ReadyPolicy::Notified,
        }
    }

    pub(crate) fn watchdog(&mut self) -> Duration {
        Duration::from_millis(self.pick(&[200, 1_000, 10_000]))
    }

    /// What a service says out of the blue.
    pub(crate) fn said(&mut self) -> Said {
        match self.below(12) {
            0..=2 => Said::Ready,
            3 | 4 => Said::Reloading,
            5 => Said::Stopping,
            6 | 7 => Said::Alive,
            8 => Said::Trigger,
            _ => Said::Extend(self.ms(100_000)),
        }
    }

    /// What a service says of others, of those that are not there (yet) too. Orders go from low to high `rank`, so that
    /// there are no circles.
    pub(crate) fn relations(
        &mut self,
        id: ServiceId,
        most: u32,
        rank: impl Fn(ServiceId) -> u64,
    ) -> Relations {
        let mut says = Relations::default();
        let density = self.pick(&[0, 25, 60]);
        for other in (1..=most).map(ServiceId).filter(|other| *other != id) {
            if !self.percent(density) {
                continue;
            }
            let earlier = rank(other) < rank(id);
            match self.below(12) {
                0..=2 if earlier => says.requires.push(other),
                3 | 4 if earlier => says.binds_to.push(other),
                5 if earlier => says.after.push(other),
                6 if earlier => {
                    says.wants.push(other);
                    says.after.push(other);
                }
                0 if !earlier => {
                    says.requires.push(other);
                    says.before.push(other);
                }
                1..=4 => says.before.push(other),
                7 | 8 => says.wants.push(other),
                9 | 10 => says.part_of.push(other),
                11 => says.conflicts.push(other),
                _ => {}
            }
        }
        says
    }

    pub(crate) fn health(&mut self) -> HealthPolicy {
        let ms = Duration::from_millis;
        HealthPolicy {
            interval: ms(self.pick(&[100, 1_000, 5_000, 30_000])),
            timeout: ms(self.pick(&[100, 1_000, 5_000])),
            retries: self.pick(&[1, 2, 3]),
            start_period: ms(self.pick(&[0, 300, 3_000, 40_000])),
            restart: self.percent(80),
        }
    }
}
