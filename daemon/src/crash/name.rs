//! How reports' files and services' folders are called.
//!
//! A report's id is its file's stem, `20261122T113000.123456Z-0a1b2c`: text order is time order, and every file system
//! takes it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `20261122T113000.123456Z-0a1b2c`, each `0` a decimal digit, each `x` a hexadecimal one.
const SHAPE: &[u8] = b"00000000T000000.000000Z-xxxxxx";

/// What a report's file name ends with.
pub(crate) const EXTENSION: &str = ".json";

/// The numbers of one process count up from a random one, so that ids of the same microsecond differ for 16 million
/// of them, and those of two processes almost surely.
static NEXT: LazyLock<AtomicU64> =
    LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish()));

/// A new id for a report of this time.
pub(crate) fn new_id(time: Timestamp) -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0x00ff_ffff;
    format!("{}-{number:06x}", time_of(time))
}

/// What ids of this time begin with.
pub(crate) fn time_of(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S.%6fZ").to_string()
}

/// Whether a report could have this id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            exact => byte == *exact,
        })
}

/// The id in a report's file name; `None` for a foreign file.
pub(crate) fn id_of_file(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(EXTENSION).filter(|stem| is_id(stem))
}

/// A report's file until it is whole.
pub(crate) fn temporary(id: &str) -> String {
    format!(".{id}.tmp")
}

/// Whether a file is what a write left that did not come to its end.
pub(crate) fn is_temporary(file_name: &str) -> bool {
    file_name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".tmp")).is_some_and(is_id)
}

/// A service's folder: its name. Windows takes neither colons, nor dots at the end, nor the names of devices, so there
/// such a character is written `%3A`; a `%` is in no service's name. `None` for what is no service's name.
pub(crate) fn folder(service: &str, windows: bool) -> Option<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.@:-".contains(c);
    if service.is_empty() || service.len() > 128 || service.starts_with('.') || !service.chars().all(fine) {
        return None;
    }
    if !windows {
        return Some(service.to_owned());
    }
    let mut name = service.replace(':', "%3A");
    if name.ends_with('.') {
        name.truncate(name.len() - 1);
        name.push_str("%2E");
    }
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    if ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || numbered("COM") || numbered("LPT") {
        name = format!("%{:02X}{}", name.as_bytes()[0], &name[1..]);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let early: Timestamp = "2026-11-22T11:30:00.123456Z".parse().unwrap();
        let id = new_id(early);
        assert!(id.starts_with("20261122T113000.123456Z-"), "{id}");
        assert!(is_id(&id));
        assert!(id < new_id("2026-11-22T11:30:00.123457Z".parse().unwrap()));
        assert!(id < new_id("2026-11-22T11:30:01Z".parse().unwrap()));
        assert!(new_id("2026-11-22T11:30:01Z".parse().unwrap()).starts_with("20261122T113001.000000Z-"));
        let many: BTreeSet<String> = (0..10_000).map(|_| new_id(early)).collect();
        assert_eq!(many.len(), 10_000);
    }

    #[test]
    fn foreign_names_are_told_apart() {
        let id = "20261122T113000.123456Z-0a1b2c";
        assert_eq!(id_of_file(&format!("{id}.json")), Some(id));
        assert!(is_temporary(&temporary(id)));
        for foreign in ["", ".json", "notes.json", &format!("{id}.json.bak"), &format!(".{id}.tmp"), id] {
            assert_eq!(id_of_file(foreign), None, "{foreign}");
        }
        for other in [".tmp", ".x.tmp", "x.tmp"] {
            assert!(!is_temporary(other), "{other}");
        }
    }

    #[test]
    fn folders_stay_inside() {
        for (service, unix, windows) in [
            ("web", Some("web"), Some("web")),
            ("a:b@1", Some("a:b@1"), Some("a%3Ab@1")),
            ("a.", Some("a."), Some("a%2E")),
            ("nul", Some("nul"), Some("%6Eul")),
            ("com1.x", Some("com1.x"), Some("%63om1.x")),
            ("common", Some("common"), Some("common")),
            ("..", None, None),
            (".hidden", None, None),
            ("", None, None),
            ("a/b", None, None),
            ("a\\b", None, None),
            ("ä", None, None),
        ] {
            assert_eq!(folder(service, false).as_deref(), unix, "{service}");
            assert_eq!(folder(service, true).as_deref(), windows, "{service}");
        }
    }
}
