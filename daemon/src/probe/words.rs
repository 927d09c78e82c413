//! How durations and I/O errors read in verdicts and reasons.

use std::io;
use std::time::Duration;

/// How long something took or may take: `4 ms`, `1.2 s`, `5 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`.
///
/// Up to a second in whole milliseconds, rounded up, so that nothing takes "0 ms".
#[must_use]
pub fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        let millis = time.as_nanos().div_ceil(1_000_000);
        return if millis < 1000 { format!("{millis} ms") } else { "1 s".to_owned() };
    }
    from_a_second(time)
}

/// How long a run lasted, where milliseconds mislead more than they tell: `12 ms`, `0.3 s`, `5 s`, `2 h`.
#[must_use]
pub fn uptime(time: Duration) -> String {
    if time >= Duration::from_millis(100) && time < Duration::from_secs(1) {
        return from_a_second(time);
    }
    duration(time)
}

/// From a tenth of a second on: at most two units, the second one left out when it is zero.
fn from_a_second(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 {
        return match (tenths / 10, tenths % 10) {
            (seconds, 0) => format!("{seconds} s"),
            (seconds, tenth) => format!("{seconds}.{tenth} s"),
        };
    }
    let seconds = (time.as_millis() + 500) / 1000;
    let two = |large: u128, large_unit: &str, small: u128, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// The error without "(os error 111)" and with small letters where it is a common one of sockets.
#[must_use]
pub fn io_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::ConnectionAborted => "connection aborted".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::AddrNotAvailable => "address not available".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection closed without an answer".to_owned(),
        _ => {
            let text = error.to_string();
            text.split_once(" (os error").map_or(text.as_str(), |(bare, _)| bare).to_owned()
        }
    }
}

/// At most `max` characters, the last one an ellipsis when something was left out.
#[must_use]
pub fn shortened(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => {
            let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
            short.truncate(short.trim_end().len());
            short.push('…');
            short
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (micros, took, up) in [
            (0, "0 ms", "0 ms"),
            (1, "1 ms", "1 ms"),
            (4_000, "4 ms", "4 ms"),
            (99_900, "100 ms", "100 ms"),
            (300_000, "300 ms", "0.3 s"),
            (940_000, "940 ms", "0.9 s"),
            (999_950, "1 s", "1 s"),
            (1_000_000, "1 s", "1 s"),
            (1_240_000, "1.2 s", "1.2 s"),
            (5_000_000, "5 s", "5 s"),
            (9_960_000, "10 s", "10 s"),
            (59_600_000, "1 min", "1 min"),
            (90_000_000, "1 min 30 s", "1 min 30 s"),
            (7_200_000_000, "2 h", "2 h"),
            (11_400_000_000, "3 h 10 min", "3 h 10 min"),
            (187_200_000_000, "2 d 4 h", "2 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), took, "{micros} us");
            assert_eq!(uptime(Duration::from_micros(micros)), up, "{micros} us");
        }
    }

    #[test]
    fn errors_lose_their_number() {
        assert_eq!(io_error(&io::ErrorKind::ConnectionRefused.into()), "connection refused");
        assert!(!io_error(&io::Error::from_raw_os_error(5)).contains("os error"));
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
        assert_eq!(shortened("a bc", 3), "a…");
    }
}
