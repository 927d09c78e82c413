//! Spans of time as text: `"1.5s"`, `"1m30s"`, or a number of seconds.

use std::fmt;
use std::time::Duration;

/// The longest span that is accepted, a hundred years: sums of a few of them still fit every clock.
pub(crate) const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 3600);

/// Nanoseconds per unit. `m` is a minute, as in design and in systemd.
const UNITS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Why a text or number is no span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DurationError {
    Empty,
    Negative,
    NotANumber,
    TooLong,
    /// A number that no unit follows.
    NoUnit(String),
    UnknownUnit(String),
    Malformed(String),
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a duration is missing"),
            Self::Negative => f.write_str("a duration cannot be negative"),
            Self::NotANumber => f.write_str("a duration must be a finite number"),
            Self::TooLong => f.write_str("a duration can be 100 years at most"),
            Self::NoUnit(number) => write!(f, "the duration {number:?} lacks a unit"),
            Self::UnknownUnit(unit) => write!(f, "unknown unit of time {unit:?}"),
            Self::Malformed(text) => write!(f, "{text:?} is not a duration"),
        }
    }
}

impl DurationError {
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Empty | Self::Malformed(_) => {
                Some("write \"1.5s\", \"500ms\", \"2m\", \"1m30s\" or a number of seconds".to_owned())
            }
            Self::NoUnit(number) => Some(format!("write \"{number}s\", or {number} without quotes")),
            Self::UnknownUnit(_) => Some("units are ns, us, ms, s, m, h, d".to_owned()),
            Self::Negative | Self::NotANumber | Self::TooLong => None,
        }
    }
}

/// From text in which every number has a unit.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    if rest.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after.trim_start(), |c| c.is_alphabetic());
        if number.is_empty() {
            return Err(malformed());
        }
        if unit.is_empty() {
            let lone = after.trim().is_empty() && number.parse::<f64>().is_ok();
            return Err(if lone { DurationError::NoUnit(number.to_owned()) } else { malformed() });
        }
        let Some(&(_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit(unit.to_owned()));
        };
        let part = scaled(number, nanoseconds).ok_or_else(malformed)?;
        total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        rest = after.trim_start();
    }
    from_nanoseconds(total)
}

/// From a number of seconds.
pub(crate) fn from_seconds(seconds: f64) -> Result<Duration, DurationError> {
    if !seconds.is_finite() {
        return Err(DurationError::NotANumber);
    }
    if seconds < 0.0 {
        return Err(DurationError::Negative);
    }
    let span = Duration::try_from_secs_f64(seconds).map_err(|_| DurationError::TooLong)?;
    if span > LONGEST { Err(DurationError::TooLong) } else { Ok(span) }
}

fn from_nanoseconds(total: u128) -> Result<Duration, DurationError> {
    if total > LONGEST.as_nanos() {
        return Err(DurationError::TooLong);
    }
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| DurationError::TooLong)?;
    let nanoseconds = u32::try_from(total % 1_000_000_000).map_err(|_| DurationError::TooLong)?;
    Ok(Duration::new(seconds, nanoseconds))
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// `digits[.digits]` times `unit`, exactly; what is smaller than 1 is dropped. `None` when it is no such number; a number
/// too large to compute with comes out as the largest one.
pub(crate) fn scaled(number: &str, unit: u128) -> Option<u128> {
    /// More digits than this add less than one to any unit there is.
    const FRACTION_DIGITS: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // All digits, so that only an overflow is left as a reason to fail.
    let Some(whole) = whole.parse::<u128>().ok().and_then(|whole| whole.checked_mul(unit)) else {
        return Some(u128::MAX);
    };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
    let fraction = fraction.parse::<u128>().ok()? * unit / scale;
    Some(whole.saturating_add(fraction))
}

/// The shortest text that [`parse`] reads as exactly this span.
pub(crate) fn format(span: Duration) -> String {
    let seconds = span.as_secs();
    let fraction = span.subsec_nanos();
    if span.is_zero() {
        return "0s".to_owned();
    }
    if seconds == 0 {
        return format!("{}ms", decimal(u64::from(fraction / 1_000_000), fraction % 1_000_000, 6));
    }
    let mut text = String::new();
    for (unit, length) in [("h", 3600), ("m", 60)] {
        let count = seconds / length % if length == 60 { 60 } else { u64::MAX };
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if !seconds.is_multiple_of(60) || fraction > 0 {
        text.push_str(&decimal(seconds % 60, fraction, 9));
        text.push('s');
    }
    text
}

fn decimal(whole: u64, fraction: u32, digits: usize) -> String {
    let text = format!("{whole}.{fraction:0digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_and_their_spans() {
        for (text, milliseconds, canonical) in [
            ("1.5s", 1_500, "1.5s"),
            ("500ms", 500, "500ms"),
            ("2m", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
            ("1m30s", 90_000, "1m30s"),
            (" 1m 30 s ", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("0s", 0, "0s"),
            ("14d", 1_209_600_000, "336h"),
            ("2500us", 2, "2.5ms"),
            ("1.000000000000000000000000001s", 1_000, "1s"),
        ] {
            let span = parse(text).unwrap();
            assert_eq!(span.as_millis(), milliseconds, "{text}");
            assert_eq!(format(span), canonical, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_spans() {
        for (text, error) in [
            ("", DurationError::Empty),
            ("  ", DurationError::Empty),
            ("-1s", DurationError::Negative),
            ("10", DurationError::NoUnit("10".into())),
            ("1.5", DurationError::NoUnit("1.5".into())),
            ("1s 30", DurationError::NoUnit("30".into())),
            ("10 sec", DurationError::UnknownUnit("sec".into())),
            ("1..5s", DurationError::Malformed("1..5s".into())),
            (".s", DurationError::Malformed(".s".into())),
            ("s", DurationError::Malformed("s".into())),
            ("1s!", DurationError::Malformed("1s!".into())),
            ("inf", DurationError::Malformed("inf".into())),
            ("101000d", DurationError::TooLong),
            ("99999999999999999999999999999999999999999999h", DurationError::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn numbers_are_seconds() {
        assert_eq!(from_seconds(0.1), Ok(Duration::from_millis(100)));
        assert_eq!(from_seconds(-0.1), Err(DurationError::Negative));
        assert_eq!(from_seconds(f64::NAN), Err(DurationError::NotANumber));
        assert_eq!(from_seconds(f64::INFINITY), Err(DurationError::NotANumber));
        assert_eq!(from_seconds(1e300), Err(DurationError::TooLong));
    }

    proptest! {
        #[test]
        fn every_span_survives_being_written(seconds in 0..LONGEST.as_secs(), nanoseconds in 0..1_000_000_000_u32) {
            let span = Duration::new(seconds, nanoseconds);
            prop_assert_eq!(parse(&format(span)), Ok(span));
            let small = Duration::from_nanos(u64::from(nanoseconds));
            prop_assert_eq!(parse(&format(small)), Ok(small));
        }

        #[test]
        fn any_text_gets_an_answer(text in "[0-9. smhdu-]{0,12}|\\PC{0,12}") {
            let _ = parse(&text);
        }
    }
}
