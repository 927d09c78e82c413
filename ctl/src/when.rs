//! When was it, in the reader's own time? And which instant does a person mean?

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use crate::human;

/// Now, and where the reader lives.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Ages count from here.
    pub(crate) now: Timestamp,
    /// Local times are in this zone.
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// The system's.
    pub(crate) fn system() -> Self {
        Self { now: Timestamp::now(), zone: TimeZone::system() }
    }

    /// `2026-11-22 11:30:00`; what is no RFC 3339 time comes back as it is.
    pub(crate) fn full(&self, time: &str) -> String {
        self.format(time, "%Y-%m-%d %H:%M:%S")
    }

    /// `2026-11-22 11:30:00.123`
    pub(crate) fn precise(&self, time: &str) -> String {
        self.format(time, "%Y-%m-%d %H:%M:%S%.3f")
    }

    /// `11:30:00`, with the date before it when that is not today's.
    pub(crate) fn short(&self, time: &str) -> String {
        let pattern = if self.is_today(time) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        self.format(time, pattern)
    }

    /// As wide for every day of a year: `11:30:00` today, `11-21 11:30` on another day.
    pub(crate) fn brief(&self, time: &str) -> String {
        self.format(time, if self.is_today(time) { "%H:%M:%S" } else { "%m-%d %H:%M" })
    }

    /// `11:30:00.123`
    pub(crate) fn clock_precise(&self, time: &str) -> String {
        self.format(time, "%H:%M:%S%.3f")
    }

    /// `3m ago`; `just now` for less than a second and for clocks that disagree; nothing for what is no time.
    pub(crate) fn ago(&self, time: &str) -> String {
        let Ok(then) = time.parse::<Timestamp>() else { return String::new() };
        match u64::try_from(self.now.duration_since(then).as_secs()) {
            Ok(seconds) if seconds > 0 => format!("{} ago", human::age(seconds)),
            _ => "just now".to_owned(),
        }
    }

    fn is_today(&self, time: &str) -> bool {
        time.parse::<Timestamp>().is_ok_and(|then| {
            then.to_zoned(self.zone.clone()).date() == self.now.to_zoned(self.zone.clone()).date()
        })
    }

    fn format(&self, time: &str, pattern: &str) -> String {
        match time.parse::<Timestamp>() {
            Ok(then) => then.to_zoned(self.zone.clone()).strftime(pattern).to_string(),
            Err(_) => crate::text::safe(time),
        }
    }

    /// The instant that a person means: RFC 3339, `2026-11-22 11:30`, `11:30` (the last one that was), `today`,
    /// `yesterday`, `now`, or a span back from now: `10m`, `2h`, `3 days`, `1h 30m ago`.
    ///
    /// # Errors
    /// A sentence that says what is understood.
    pub(crate) fn since(&self, text: &str) -> Result<Timestamp, String> {
        self.parse_since(text.trim()).ok_or_else(|| {
            format!(
                "\"{text}\" is no time. Understood are: 2026-11-22T11:30:00Z, \"2026-11-22 11:30\", 11:30, today, \
                 yesterday, and spans back from now like 10m, 2h or \"3 days\""
            )
        })
    }

    fn parse_since(&self, text: &str) -> Option<Timestamp> {
        let now = self.now.to_zoned(self.zone.clone());
        let midnight = |days: i64| now.date().checked_sub(Span::new().days(days)).ok()?.to_zoned_start(self);
        match text {
            "now" => return Some(self.now),
            "today" => return midnight(0),
            "yesterday" => return midnight(1),
            _ => {}
        }
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(instant);
        }
        if let Some(time) = time_of_day(text) {
            let at = |days: i64| {
                let date = now.date().checked_sub(Span::new().days(days)).ok()?;
                Some(date.to_datetime(time).to_zoned(self.zone.clone()).ok()?.timestamp())
            };
            // At 00:10, "23:50" means the one of the evening before.
            return at(0).filter(|then| *then <= self.now).or_else(|| at(1));
        }
        if text.starts_with(|c: char| c.is_ascii_digit())
            && let Ok(local) = text.parse::<DateTime>()
        {
            return Some(local.to_zoned(self.zone.clone()).ok()?.timestamp());
        }
        let span: Span = text.strip_suffix("ago").unwrap_or(text).trim().parse().ok()?;
        Some(now.checked_sub(span.abs()).ok()?.timestamp())
    }
}

/// The first instant of a local day.
trait StartOfDay {
    fn to_zoned_start(self, clock: &Clock) -> Option<Timestamp>;
}

impl StartOfDay for jiff::civil::Date {
    fn to_zoned_start(self, clock: &Clock) -> Option<Timestamp> {
        Some(self.to_zoned(clock.zone.clone()).ok()?.timestamp())
    }
}

/// `9:05`, `11:30`, `11:30:15`
fn time_of_day(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let mut number = |limit: usize| {
        let part = parts.next()?;
        (part.len() <= limit && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<i8>().ok())?
    };
    let (hour, minute) = (number(2)?, number(2)?);
    let second = if text.matches(':').count() == 2 { number(2)? } else { 0 };
    if text.matches(':').count() > 2 {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

/// A duration as configurations have it: `"1.5s" "500ms" "2m" "1h 30m"`, or a number of seconds. Nothing for 0: no limit.
///
/// # Errors
/// A sentence that says what is understood.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    let understood =
        || format!("\"{text}\" is no duration. Understood are: 10s, 500ms, 2m, 1h, 1.5 (seconds)");
    let duration = if let Ok(seconds) = text.parse::<f64>() {
        Duration::try_from_secs_f64(seconds).map_err(|_| understood())?
    } else {
        let signed: SignedDuration = text.parse().map_err(|_| understood())?;
        Duration::try_from(signed).map_err(|_| understood())?
    };
    Ok(Limit(Some(duration).filter(|duration| !duration.is_zero())))
}

/// `--timeout`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        Clock { now: "2026-11-22T11:30:00Z".parse().unwrap(), zone }
    }

    #[test]
    fn since_is_understood() {
        let table = [
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
            ("2026-11-22T10:00:00+01:00", "2026-11-22T09:00:00Z"),
            ("2026-11-22 10:00", "2026-11-22T09:00:00Z"),
            ("2026-11-22 10:00:30", "2026-11-22T09:00:30Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("10m", "2026-11-22T11:20:00Z"),
            ("10m ago", "2026-11-22T11:20:00Z"),
            ("2h", "2026-11-22T09:30:00Z"),
            ("1h 30m", "2026-11-22T10:00:00Z"),
            ("3 days", "2026-11-19T11:30:00Z"),
            ("3 days ago", "2026-11-19T11:30:00Z"),
            ("1w", "2026-11-15T11:30:00Z"),
            ("90s", "2026-11-22T11:28:30Z"),
            ("now", "2026-11-22T11:30:00Z"),
            ("today", "2026-11-21T23:00:00Z"),
            ("yesterday", "2026-11-20T23:00:00Z"),
            ("9:05", "2026-11-22T08:05:00Z"),
            ("12:30", "2026-11-22T11:30:00Z"),
            ("12:30:01", "2026-11-21T11:30:01Z"),
            ("23:50", "2026-11-21T22:50:00Z"),
        ];
        for (text, instant) in table {
            assert_eq!(clock().since(text).unwrap().to_string(), instant, "{text}");
        }
        for text in ["", "10", "soon", "25:00", "11:30:00:00", "12:", "2026-13-01", "10 parsecs", "ago"] {
            let sentence = clock().since(text).unwrap_err();
            assert!(sentence.contains("is no time"), "{text}: {sentence}");
        }
    }

    #[test]
    fn limits_are_understood() {
        let table = [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("1.5s", Some(1500)),
            ("1.5", Some(1500)),
            ("1h 30m", Some(5_400_000)),
            ("0", None),
            ("0s", None),
        ];
        for (text, millis) in table {
            assert_eq!(limit(text).unwrap(), Limit(millis.map(Duration::from_millis)), "{text}");
        }
        for text in ["", "-1", "-5s", "ten", "nan", "inf", "1e300", "10x"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_local() {
        let clock = clock();
        assert_eq!(clock.full("2026-11-22T11:29:30.5Z"), "2026-11-22 12:29:30");
        assert_eq!(clock.precise("2026-11-22T11:29:30.123456Z"), "2026-11-22 12:29:30.123");
        assert_eq!(clock.short("2026-11-22T11:29:30Z"), "12:29:30");
        assert_eq!(clock.short("2026-11-20T11:29:30Z"), "2026-11-20 12:29:30");
        assert_eq!(clock.brief("2026-11-20T11:29:30Z"), "11-20 12:29");
        assert_eq!(clock.ago("2026-11-22T11:27:00Z"), "3m ago");
        assert_eq!(clock.ago("2026-11-22T11:31:00Z"), "just now");
        assert_eq!(clock.full("not a time\x1b[2J"), "not a time");
    }
}
