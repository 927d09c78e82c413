//! Amounts of bytes as text: `"512K"`, `"64M"`, `"1G"`, in powers of 1024, or a number of bytes.

use std::fmt;

use crate::duration::scaled;

const UNITS: &[(&str, u64)] = &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SizeError {
    Negative,
    TooLarge,
    UnknownUnit { number: String, unit: String },
    Malformed(String),
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative => f.write_str("a size cannot be negative"),
            Self::TooLarge => f.write_str("a size must fit into 63 bits"),
            Self::UnknownUnit { unit, .. } => write!(f, "unknown unit of size {unit:?}"),
            Self::Malformed(text) => write!(f, "{text:?} is not a size"),
        }
    }
}

impl SizeError {
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Negative | Self::TooLarge => None,
            Self::UnknownUnit { number, unit } => {
                let known = UNITS
                    .iter()
                    .find(|(name, _)| unit.get(..1).is_some_and(|c| c.eq_ignore_ascii_case(name)));
                Some(match known {
                    Some((name, _)) => format!("did you mean \"{number}{name}\"? (units are powers of 1024)"),
                    None => "units are K, M, G, T, in powers of 1024".to_owned(),
                })
            }
            Self::Malformed(_) => Some("write \"512K\", \"64M\", \"1G\" or a number of bytes".to_owned()),
        }
    }
}

/// From a number, optionally followed by `K`, `M`, `G` or `T` (or `KiB` and so on). No unit: bytes.
pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    let malformed = || SizeError::Malformed(text.to_owned());
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(SizeError::Negative);
    }
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..end], trimmed[end..].trim_start());
    let factor = if unit.is_empty() {
        1
    } else {
        let bare = unit.strip_suffix("iB").unwrap_or(unit);
        match UNITS.iter().find(|(name, _)| *name == bare) {
            Some(&(_, factor)) => factor,
            None if number.is_empty() || !unit.chars().all(char::is_alphabetic) => return Err(malformed()),
            None => {
                return Err(SizeError::UnknownUnit { number: number.to_owned(), unit: unit.to_owned() });
            }
        }
    };
    if factor == 1 && number.contains('.') {
        return Err(malformed());
    }
    let bytes = scaled(number, u128::from(factor)).ok_or_else(malformed)?;
    // TOML's integers have 63 bits and a sign; a size must be writable as one.
    i64::try_from(bytes).map_or(Err(SizeError::TooLarge), |bytes| Ok(bytes.unsigned_abs()))
}

/// The shortest text that [`parse`] reads as exactly this size.
pub(crate) fn format(bytes: u64) -> String {
    match UNITS.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_and_their_sizes() {
        for (text, bytes, canonical) in [
            ("512K", 524_288, "512K"),
            ("64M", 67_108_864, "64M"),
            ("1G", 1_073_741_824, "1G"),
            ("1.5K", 1_536, "1536"),
            ("16 MiB", 16_777_216, "16M"),
            ("1024", 1_024, "1K"),
            ("0", 0, "0"),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(format(bytes), canonical, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_sizes() {
        for (text, error) in [
            ("", SizeError::Malformed(String::new())),
            ("M", SizeError::Malformed("M".into())),
            ("-1K", SizeError::Negative),
            ("1.5", SizeError::Malformed("1.5".into())),
            ("1..5K", SizeError::Malformed("1..5K".into())),
            ("64MB", SizeError::UnknownUnit { number: "64".into(), unit: "MB".into() }),
            ("9999999T", SizeError::TooLarge),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(
            parse("64mb").unwrap_err().help().as_deref(),
            Some("did you mean \"64M\"? (units are powers of 1024)")
        );
    }

    proptest! {
        #[test]
        fn every_size_survives_being_written(bytes in 0..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(parse(&format(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_gets_an_answer(text in "\\PC{0,12}") {
            let _ = parse(&text).map_err(|error| error.help());
        }
    }
}
