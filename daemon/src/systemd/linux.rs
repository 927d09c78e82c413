//! Through the crate `sd-notify`.

use std::time::Duration;

use sd_notify::NotifyState;

pub(super) fn is_present() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

pub(super) fn send(lines: &[&str]) {
    let states: Vec<NotifyState<'_>> = lines.iter().map(|line| NotifyState::Custom(line)).collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!("systemd could not be told {lines:?}: {error}");
    }
}
