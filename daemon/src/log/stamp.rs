//! When a line came: microseconds since 1970, and their RFC 3339 text.
//!
//! Formatting a date is dear, and lines of one read share their time; so the text is kept and only its changed part is
//! written again.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Microseconds since 1970-01-01T00:00:00Z.
pub(super) type Micros = i64;

/// Bytes of `2026-11-22T11:30:00.123456Z`.
pub(super) const WIDTH: usize = 27;

const SECOND: i64 = 1_000_000;

/// The wall clock now.
pub(super) fn now() -> Micros {
    Timestamp::now().as_microsecond()
}

/// Turns times into text, cheaply when they are close to one another.
pub(super) struct Stamper {
    second: i64,
    text: [u8; WIDTH],
}

impl Stamper {
    pub(super) fn new() -> Self {
        let mut new = Self { second: i64::MIN, text: *b"0000-00-00T00:00:00.000000Z" };
        new.at(0);
        new
    }

    /// The text of `at`, always 27 bytes.
    pub(super) fn at(&mut self, at: Micros) -> &[u8; WIDTH] {
        let second = at.div_euclid(SECOND);
        if second != self.second {
            self.second = second;
            // Out of range only beyond the year 9999; such a clock gets the epoch.
            let date = TimeZone::UTC.to_datetime(Timestamp::from_second(second).unwrap_or_default());
            let year = i64::from(date.year().max(0));
            put(&mut self.text[0..4], year);
            put(&mut self.text[5..7], i64::from(date.month()));
            put(&mut self.text[8..10], i64::from(date.day()));
            put(&mut self.text[11..13], i64::from(date.hour()));
            put(&mut self.text[14..16], i64::from(date.minute()));
            put(&mut self.text[17..19], i64::from(date.second()));
        }
        put(&mut self.text[20..26], at.rem_euclid(SECOND));
        &self.text
    }
}

/// Writes `value` in decimal, filling `place` with leading zeros.
fn put(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// The text of `at`.
pub(super) fn text(at: Micros) -> String {
    String::from_utf8_lossy(Stamper::new().at(at)).into_owned()
}

/// Whether these bytes have the form that [`Stamper`] writes.
pub(super) fn is_stamp(bytes: &[u8]) -> bool {
    bytes.len() == WIDTH
        && bytes.iter().zip(b"0000-00-00T00:00:00.000000Z").all(|(&byte, &form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// The time as it stands in a rotated file's name: `20261122T113000.123456Z`, which sorts as text.
pub(super) fn compact(at: Micros) -> String {
    text(at).chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// The time that [`compact`] wrote, nothing when it is anything else.
pub(super) fn parse_compact(name: &str) -> Option<Micros> {
    if name.len() != 23 || !name.is_ascii() {
        return None;
    }
    let (y, m, d) = (&name[0..4], &name[4..6], &name[6..8]);
    let (hour, minute, rest) = (&name[9..11], &name[11..13], &name[13..]);
    let full = format!("{y}-{m}-{d}{}{hour}:{minute}:{rest}", &name[8..9]);
    if !is_stamp(full.as_bytes()) {
        return None;
    }
    full.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_jiff_reads_back() {
        let mut stamper = Stamper::new();
        for at in
            [0, 1, 999_999, 1_000_000, 1_795_347_000_123_456, 1_795_347_000_123_457, 951_782_400_000_000]
        {
            let text = String::from_utf8(stamper.at(at).to_vec()).unwrap();
            assert_eq!(text.parse::<Timestamp>().unwrap().as_microsecond(), at, "{text}");
            assert!(is_stamp(text.as_bytes()));
            assert_eq!(parse_compact(&compact(at)), Some(at));
        }
        assert_eq!(text(1_795_347_000_123_456), "2026-11-22T11:30:00.123456Z");
        assert_eq!(compact(1_795_347_000_123_456), "20261122T113000.123456Z");
    }

    #[test]
    fn foreign_names_are_no_times() {
        for name in
            ["", "20261122T113000.123456", "20261122T113000.123456Z.gz", "20261322T113000.123456Z", "1"]
        {
            assert_eq!(parse_compact(name), None, "{name}");
        }
    }
}
