//! Waits that end.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at something that cannot tell of itself. Short against what a person would notice, long enough
/// that a hundred waiting scenarios cost nothing.
pub const STEP: Duration = Duration::from_millis(10);

static FACTOR: LazyLock<f64> = LazyLock::new(|| {
    let text = std::env::var("MCPD_TEST_PATIENCE").unwrap_or_default();
    text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 0.0).unwrap_or(1.0)
});

/// The bound of a wait: 60 s, times the environment variable `MCPD_TEST_PATIENCE`. Far over what anything here takes,
/// also on a machine whose processors are busy elsewhere; it only ends scenarios that fail.
#[must_use]
pub fn patience() -> Duration {
    stretched(Duration::from_secs(60))
}

/// `bound` times `MCPD_TEST_PATIENCE`.
#[must_use]
pub fn stretched(bound: Duration) -> Duration {
    bound.mul_f64(*FACTOR)
}

/// Looks until `look` gives `Ok`, at most for `bound`; panics with the last `Err` otherwise.
///
/// # Panics
/// When the bound is over: that is the scenario's failure.
#[track_caller]
pub fn wait_until<T, E: Debug>(bound: Duration, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => {
                panic!("waited {bound:?} for {what}; last seen: {last:#?}")
            }
            Err(_) => sleep(STEP),
        }
    }
}

/// As [`wait_until`] with the usual bound and a condition.
///
/// # Panics
/// When the bound is over.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    wait_until(patience(), what, || if condition() { Ok(()) } else { Err("not so") });
}

/// The text of `file` as soon as it is there and not empty.
///
/// # Panics
/// When the bound is over.
#[track_caller]
pub fn wait_for_file(file: &std::path::Path) -> String {
    wait_until(patience(), &format!("{} to be written", file.display()), || {
        match std::fs::read_to_string(file) {
            Ok(text) if !text.is_empty() => Ok(text),
            other => Err(other.map(|_| "empty")),
        }
    })
}
