//! How does a person write a duration or a size?

use std::time::Duration;

/// `340 ms`, `3.4 s`, `12 s`, `2m 05s`, `1h 02m`, `3d 04h`.
pub(crate) fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::ZERO))
}

/// As [`seconds`].
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    // Rounded first, so that 999.6 ms does not become "1000 ms" nor 59.7 s "60 s".
    let tenths = (millis + 50) / 100;
    let whole = (millis + 500) / 1000;
    if millis < 1000 {
        format!("{millis} ms")
    } else if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else if whole < 60 {
        format!("{whole} s")
    } else if whole < 3600 {
        format!("{}m {:02}s", whole / 60, whole % 60)
    } else if whole < 86_400 {
        format!("{}h {:02}m", whole / 3600, whole / 60 % 60)
    } else {
        format!("{}d {:02}h", whole / 86_400, whole / 3600 % 24)
    }
}

/// One unit is enough for an age: `12s`, `3m`, `2h`, `5d`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `812 B`, `45.2 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale: u64 = 1024;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `1 line`, `2 lines`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            (0.0, "0 ms"),
            (-1.0, "0 ms"),
            (f64::NAN, "0 ms"),
            (0.34, "340 ms"),
            (0.9996, "999 ms"),
            (1.0, "1 s"),
            (3.4, "3.4 s"),
            (9.96, "10 s"),
            (12.0, "12 s"),
            (59.7, "1m 00s"),
            (125.0, "2m 05s"),
            (3599.9, "1h 00m"),
            (3720.0, "1h 02m"),
            (273_600.0, "3d 04h"),
        ];
        for (given, text) in table {
            assert_eq!(seconds(given), text, "{given}");
        }
    }

    #[test]
    fn ages_and_sizes() {
        assert_eq!([0, 59, 60, 3599, 3600, 172_799, 172_800].map(age).join(" "), "0s 59s 1m 59m 1h 47h 2d");
        assert_eq!(
            [0, 1023, 1024, 1536, 47_395_635, u64::MAX].map(bytes).join(" "),
            "0 B 1023 B 1.0 KiB 1.5 KiB 45.1 MiB 16383.9 PiB"
        );
    }
}
