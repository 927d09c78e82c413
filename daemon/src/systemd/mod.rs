//! What systemd is told: READY=1, STATUS=, WATCHDOG=1, RELOADING=1, STOPPING=1 (`sd_notify(3)`). Without NOTIFY_SOCKET
//! all of it is nothing, and nothing wakes up for it.
//!
//! WATCHDOG=1 is sent from the loop itself: a loop that hangs stops sending, which is the point.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "none.rs"]
mod platform;

use std::time::Duration;

use mcpd_core::Mono;

use crate::keeper::Line;
use crate::sys;

/// STATUS= follows the truth at most this late, so that a crash storm is not a storm of datagrams.
const STATUS_DELAY: Duration = Duration::from_millis(250);
/// While starting or stopping takes long, systemd is asked for more time this often: a service's own `start_timeout` and
/// `stop_timeout` bound it, not the unit's ...
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// ... and for this much.
const EXTEND_BY: Duration = Duration::from_secs(20);

/// How far the daemon is, as systemd sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    Stopping,
}

/// The connection to the service manager, if there is one.
pub struct Systemd {
    /// It listens to the process that it has started: to the keeper, where there is one.
    line: Line,
    present: bool,
    watchdog: Option<(Duration, Mono)>,
    status_due: Option<Mono>,
    extend_due: Option<Mono>,
    last_status: String,
    phase: Phase,
}

impl Systemd {
    /// Looks for NOTIFY_SOCKET and WATCHDOG_USEC.
    #[must_use]
    pub fn from_environment(line: Line) -> Self {
        let present = platform::is_present();
        let now = Mono(sys::monotonic_ns());
        // Twice as often as is asked for, as sd_watchdog_enabled(3) recommends.
        let watchdog = platform::watchdog().filter(|_| present).map(|every| (every / 2, now));
        Self {
            line,
            present,
            watchdog,
            status_due: None,
            extend_due: present.then_some(now),
            last_status: String::new(),
            phase: Phase::Starting,
        }
    }

    /// When [`Self::tick`] is wanted.
    #[must_use]
    pub fn next_tick(&self) -> Option<Mono> {
        let watchdog = self.watchdog.map(|(_, due)| due);
        [watchdog, self.status_due, self.extend_due].into_iter().flatten().min()
    }

    /// Is a new STATUS= due?
    #[must_use]
    pub fn wants_status(&self) -> bool {
        self.status_due.is_some_and(|due| due <= Mono(sys::monotonic_ns()))
    }

    /// Sends what is due. `status`: given when [`Self::wants_status`].
    pub fn tick(&mut self, status: Option<&str>) {
        let now = Mono(sys::monotonic_ns());
        if let Some((every, due)) = &mut self.watchdog
            && *due <= now
        {
            *due = now + *every;
            self.send(&["WATCHDOG=1"]);
        }
        if let Some(status) = status {
            self.status_due = None;
            self.status(status);
        }
        if self.extend_due.is_some_and(|due| due <= now) {
            self.extend(now);
        }
    }

    /// Something may have changed: STATUS= soon.
    pub fn changed(&mut self) {
        if self.present && self.status_due.is_none() {
            self.status_due = Some(Mono(sys::monotonic_ns()) + STATUS_DELAY);
        }
    }

    fn status(&mut self, status: &str) {
        if self.present && self.last_status != status {
            status.clone_into(&mut self.last_status);
            self.send(&[&format!("STATUS={status}")]);
        }
    }

    /// Everything that starts with the daemon is up or has failed; or a reload is done. Nothing is ready any more once the
    /// end has begun.
    pub fn ready(&mut self, status: &str) {
        if self.present && self.phase != Phase::Stopping {
            self.phase = Phase::Ready;
            self.extend_due = None;
            status.clone_into(&mut self.last_status);
            self.send(&["READY=1", &format!("STATUS={status}")]);
        }
    }

    /// A reload begins. Before READY=1 there is nothing to reload from, as systemd sees it.
    pub fn reloading(&mut self) {
        if self.present && self.phase == Phase::Ready {
            self.send(&["RELOADING=1", &format!("MONOTONIC_USEC={}", sys::monotonic_ns() / 1000)]);
        }
    }

    /// The end begins.
    pub fn stopping(&mut self) {
        if self.present && self.phase != Phase::Stopping {
            self.phase = Phase::Stopping;
            self.send(&["STOPPING=1"]);
            self.extend(Mono(sys::monotonic_ns()));
        }
    }

    fn send(&self, lines: &[&str]) {
        if !self.line.notify(&lines.join("\n")) {
            platform::send(lines);
        }
    }

    fn extend(&mut self, now: Mono) {
        self.send(&[&format!("EXTEND_TIMEOUT_USEC={}", EXTEND_BY.as_micros())]);
        self.extend_due = Some(now + EXTEND_EVERY);
    }
}
