use std::fs;

use mcpd_proto::crash::CrashKind;
use mcpd_proto::stats::{ServiceStats, Trend};
use proptest::prelude::*;

use super::book::Book;
use super::compact::compact;
use super::groups::Groups;
use super::storm::{BURST, Storms, WINDOW};
use super::*;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
const NOW: i64 = 2_000_000_000 * SECOND;

/// Seconds before now.
fn turned(ago: i64, of: &str, is: Is) -> Record {
    Record::new(NOW - ago * SECOND, of, is)
}

fn crash(ago: i64, of: &str, group: &str) -> Record {
    Record {
        id: Some(format!("id-{ago}")),
        kind: Some(CrashKind::Exit),
        group: Some(group.into()),
        cause: Some(format!("cause of {group}")),
        restarts: 1,
        ..turned(ago, of, Is::Crash)
    }
}

fn life(ago: i64, seen: i64) -> Record {
    Record { since: Some(NOW - seen * SECOND), ..turned(ago, "", Is::Life) }
}

fn stats(records: &[Record]) -> Vec<ServiceStats> {
    let each = |take: &mut dyn FnMut(Record)| {
        records.iter().cloned().for_each(take);
        Ok(())
    };
    tally::all(NOW, each, |_| true).unwrap()
}

fn one(records: &[Record]) -> ServiceStats {
    let mut all = stats(records);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn groups(records: &[Record]) -> Vec<mcpd_proto::stats::CrashGroup> {
    let mut groups = Groups::new(NOW);
    records.iter().cloned().for_each(|record| groups.add(record));
    groups.finish()
}

#[test]
fn availability_is_the_time_up_of_the_time_wanted() {
    let found = one(&[
        turned(7200, "a", Is::Down),
        turned(7000, "a", Is::Up),
        crash(1000, "a", "g"),
        turned(1000, "a", Is::Down),
        turned(900, "a", Is::Up),
        turned(300, "a", Is::Off),
    ]);
    assert_eq!(found.up_seconds, 6000.0 + 600.0);
    assert_eq!(found.down_seconds, 200.0 + 100.0);
    // The last hour: 2600 s up, 100 down, 600 up, 300 not wanted.
    assert_eq!(found.availability.last_hour, Some(3200.0 / 3300.0));
    assert_eq!(found.availability.last_day, Some(6600.0 / 6900.0));
    assert_eq!((found.crashes, found.restarts), (1, 1));
    assert_eq!(found.mtbf_seconds, Some(6600.0));
    assert_eq!((found.mttr_seconds, found.longest_outage_seconds), (Some(100.0), Some(100.0)));
    assert_eq!(found.now, "off");
    assert_eq!(found.windows[0].observed_seconds, 3300.0);
    assert_eq!(found.causes[0].mttr_seconds, Some(100.0));
}

#[test]
fn what_nobody_saw_counts_neither_way() {
    // Up until mcpd was last seen 500 s ago; the next life began 100 s ago.
    let found =
        one(&[turned(1000, "a", Is::Up), life(100, 500), turned(99, "a", Is::Down), turned(89, "a", Is::Up)]);
    assert_eq!((found.up_seconds, found.down_seconds), (500.0 + 89.0, 10.0));
    // A crash of the life before has no time to recover.
    let found =
        one(&[turned(1000, "a", Is::Up), crash(600, "a", "g"), life(100, 500), turned(89, "a", Is::Up)]);
    assert_eq!(found.mttr_seconds, None);
    let found = one(&[turned(1000, "a", Is::Off)]);
    assert_eq!((found.availability.last_hour, found.mtbf_seconds), (None, None));
}

#[test]
fn several_crashes_before_it_is_up_again_are_one_outage() {
    let found = one(&[
        turned(1000, "a", Is::Up),
        crash(500, "a", "first"),
        turned(500, "a", Is::Down),
        crash(450, "a", "second"),
        crash(420, "a", "second"),
        turned(400, "a", Is::Up),
    ]);
    assert_eq!((found.crashes, found.mttr_seconds), (3, Some(100.0)));
    let by_cause: Vec<_> = found.causes.iter().map(|cause| (cause.crashes, cause.mttr_seconds)).collect();
    // What brought it down is what it had to recover from.
    assert_eq!(by_cause, [(2, None), (1, Some(100.0))]);
}

#[test]
fn groups_have_a_count_a_trend_and_a_newest() {
    let days = |days: i64| days * 24 * 3600;
    let found = groups(&[
        crash(days(9), "a", "quiet"),
        crash(days(3), "a", "rising"),
        crash(days(1) + 60, "a", "falling"),
        crash(days(1) + 50, "a", "falling"),
        crash(days(1) + 40, "a", "falling"),
        crash(days(1) + 30, "a", "falling"),
        crash(3600, "a", "rising"),
        crash(3500, "a", "rising"),
        crash(60, "a", "falling"),
        turned(50, "a", Is::Up),
        crash(7, "b", "new"),
        Record { group: None, ..crash(3, "b", "x") },
    ]);
    let brief: Vec<_> = found
        .iter()
        .map(|group| (&*group.fingerprint, group.count, group.trend, group.newest.as_deref()))
        .collect();
    assert_eq!(
        brief,
        [
            ("new", 1, Trend::New, Some("id-7")),
            ("falling", 5, Trend::Falling, Some("id-60")),
            ("rising", 3, Trend::Rising, Some("id-3500")),
            ("quiet", 1, Trend::Quiet, Some("id-777600")),
        ]
    );
    assert_eq!(found[0].cause, "cause of new");
}

#[test]
fn a_storm_is_added_up_and_says_how_many() {
    let mut storms = Storms::default();
    let mut out = Vec::new();
    // A thousand a second for 25 s.
    for number in 0..25_000 {
        let at = NOW + number * 1000;
        storms.turned(Record::new(at, "a", Is::Up), &mut out);
        storms.crashed(Record { at, ..crash(0, "a", if number % 2 == 0 { "x" } else { "y" }) }, &mut out);
        storms.turned(Record::new(at, "a", Is::Down), &mut out);
        storms.ended(at, &mut out);
    }
    assert!(storms.next_end().is_some_and(|end| end <= NOW + 25_000_000 + WINDOW));
    storms.ended(i64::MAX, &mut out);
    assert_eq!(storms.next_end(), None);
    assert!(out.len() < 4 * BURST as usize, "{} records", out.len());
    let crashes: u64 = out.iter().filter(|record| record.is == Is::Crash).map(|record| record.n).sum();
    assert_eq!(crashes, 25_000);
    // What it is in the end is written down; in between it counts as down.
    assert_eq!(
        out.iter().rev().find(|record| record.is != Is::Crash).map(|record| record.is),
        Some(Is::Down)
    );
    let mut tally = tally::Tally::new(NOW + 25_000_000);
    out.iter().for_each(|record| tally.add(record));
    let found = tally.finish("a".into()).unwrap();
    assert_eq!(found.crashes, 25_000);
    assert!(found.up_seconds < 1.0, "{found:?}");
}

#[test]
fn one_storm_does_not_hold_up_another_service() {
    let mut storms = Storms::default();
    let mut out = Vec::new();
    for number in 0..200 {
        storms.crashed(Record { at: NOW + number, ..crash(0, "a", "x") }, &mut out);
    }
    let before = out.len();
    storms.turned(Record::new(NOW + 300, "b", Is::Up), &mut out);
    assert_eq!(out[before..], [Record::new(NOW + 300, "b", Is::Up)]);
}

fn some_records() -> impl Strategy<Value = Vec<Record>> {
    let of = prop_oneof![5 => Just("a"), 2 => Just("b"), 1 => Just("")];
    let is = prop_oneof![Just(Is::Up), Just(Is::Down), Just(Is::Off), Just(Is::Crash)];
    let group = prop_oneof![Just("g"), Just("h")];
    proptest::collection::vec((of, is, group, 0..100_i64), 0..200).prop_map(|rows| {
        let mut at = NOW - 30 * DAY;
        rows.into_iter()
            .map(|(of, is, group, minutes)| {
                at += minutes * 60 * SECOND;
                match (of, is) {
                    ("", _) => Record { since: Some(at - SECOND), ..Record::new(at, "", Is::Life) },
                    (of, Is::Crash) => Record { at, ..crash(0, of, group) },
                    (of, is) => Record::new(at, of, is),
                }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Making the history smaller, again and again, forgets no crash and no hour.
    #[test]
    fn a_smaller_history_says_the_same(records in some_records(), budget in 0..20_000_usize) {
        let mut smaller = records.clone();
        for _ in 0..3 {
            smaller = compact(smaller, budget);
        }
        let before = stats(&records);
        let after = stats(&smaller);
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            prop_assert_eq!(before.crashes, after.crashes);
            prop_assert_eq!(before.restarts, after.restarts);
            prop_assert!((before.up_seconds - after.up_seconds).abs() < 1e-3, "{:?} {:?}", before, after);
            prop_assert!((before.down_seconds - after.down_seconds).abs() < 1e-3, "{:?} {:?}", before, after);
            prop_assert_eq!(&before.now, &after.now);
            prop_assert_eq!(&before.since, &after.since);
        }
        let brief = |records: &[Record]| -> Vec<_> {
            let all = groups(records).into_iter();
            all.map(|group| (group.fingerprint, group.count, group.first_seen, group.last_seen)).collect()
        };
        prop_assert_eq!(brief(&records), brief(&smaller));
    }

    /// However the clock jumps: shares are shares.
    #[test]
    fn nonsense_in_the_file_makes_no_nonsense_of_shares(rows in proptest::collection::vec((0..253_402_214_400_000_000_i64, 0..6_u8), 0..40)) {
        let records: Vec<Record> = rows
            .into_iter()
            .map(|(at, is)| match is {
                0 => Record::new(at, "a", Is::Up),
                1 => Record::new(at, "a", Is::Down),
                2 => Record::new(at, "a", Is::Off),
                3 => Record { at, ..crash(0, "a", "g") },
                4 => Record { since: Some(at), ..Record::new(NOW, "", Is::Life) },
                _ => Record::new(at, "", Is::Gap),
            })
            .collect();
        for stats in stats(&records) {
            let shares = [stats.availability.last_hour, stats.availability.last_day, stats.availability.last_week];
            prop_assert!(shares.iter().flatten().all(|share| (0.0..=1.0).contains(share)), "{:?}", shares);
        }
        groups(&records);
        compact(records, 500);
    }
}

fn read_all(path: &Path, wanted: Wanted<'_>) -> Vec<Record> {
    let mut records = Vec::new();
    book::read(path, wanted, &mut |record| records.push(record)).unwrap();
    records
}

#[test]
fn the_file_holds_what_was_appended_and_a_torn_line_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let records = [life(9, 10), turned(8, "web", Is::Up), crash(7, "web-2", "g"), turned(6, "web", Is::Off)];
    Book::new(path.clone()).append(&records).unwrap();
    assert_eq!(read_all(&path, Wanted::All), records);
    assert_eq!(
        read_all(&path, Wanted::Service("web")),
        [records[0].clone(), records[1].clone(), records[3].clone()]
    );
    assert_eq!(read_all(&path, Wanted::Grouped), records[2..3]);
    assert_eq!(read_all(&path, Wanted::Groups(&["g"].into())), records[2..3]);
    assert_eq!(read_all(&path, Wanted::Groups(&["h"].into())), []);
    let bytes = fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        Book::new(path.clone()).append(&[turned(1, "later", Is::Up)]).unwrap();
        let found = read_all(&path, Wanted::All);
        let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
        // The one that only lacks its newline is whole after all.
        assert!(found.len() == whole + 1 || found.len() == whole + 2, "{cut}: {found:?}");
        assert_eq!(found.last().map(|record| &*record.of), Some("later"));
    }
}

#[test]
fn the_file_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let mut book = Book::with_limits(path.clone(), 64 * 1024, 32 * 1024);
    book.append(&[turned(900_000, "quiet", Is::Up), crash(800_000, "quiet", "q")]).unwrap();
    for number in 0..5_000 {
        book.append(&[crash(500_000 - number, "loud", "l")]).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= 64 * 1024);
    }
    let records = read_all(&path, Wanted::All);
    let found = stats(&records);
    assert_eq!(found.iter().map(|stats| stats.crashes).collect::<Vec<_>>(), [5_000, 1]);
    // The one that says little has kept all of it.
    assert!(records.contains(&crash(800_000, "quiet", "q")));
}

#[test]
fn the_thread_writes_and_goes_on_after_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("gone");
    let (said, trouble) = mpsc::channel();
    let history = History::start(&state_dir, move |path, _| drop(said.send(path.to_path_buf()))).unwrap();
    let web: Arc<str> = "web".into();
    let read = || {
        let mut records = Vec::new();
        history.read(Wanted::All, &mut |record| records.push(record)).unwrap();
        records.iter().map(|record| (record.of.clone(), record.is)).collect::<Vec<_>>()
    };
    history.turned(&web, Is::Down, Timestamp::now());
    assert_eq!(read(), []);
    history.turned(&web, Is::Off, Timestamp::now());
    assert_eq!(read(), []);
    assert_eq!(trouble.try_iter().collect::<Vec<_>>(), [state_dir.join("history.jsonl")]);
    fs::create_dir(&state_dir).unwrap();
    history.turned(&web, Is::Up, Timestamp::now());
    assert_eq!(read(), [(String::new(), Is::Gap), ("web".into(), Is::Up)]);
    history.close(Duration::from_secs(20));
    assert_eq!(trouble.try_iter().count(), 0);
    let again = History::start(&state_dir, |path, error| panic!("{path:?}: {error}")).unwrap();
    again.close(Duration::from_secs(20));
    assert_eq!(
        read_all(&state_dir.join("history.jsonl"), Wanted::All).last().map(|record| record.is),
        Some(Is::Life)
    );
}
