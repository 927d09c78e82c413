use mcpd_proto::SCHEMA;
use mcpd_proto::event::Event;

use super::*;

pub(super) fn event(id: u64, service: Option<&str>, name: &str) -> Event {
    let time = jiff::Timestamp::from_microsecond(1_764_000_000_000_000 + i64::try_from(id).unwrap() * 1000);
    Event {
        schema: SCHEMA,
        id,
        cause: None,
        time: format!("{:.6}", time.unwrap()),
        service: service.map(str::to_owned),
        event: name.to_owned(),
        message: "something".into(),
        data: Value::Null,
    }
}

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::writer::LIMITS;
use crate::scribe::Past;

const SOON: Duration = Duration::from_secs(20);
const SMALL: Limits = Limits { full: 4096, files: 5, batch: 700 };

fn write(journal: &Journal, events: &[Event]) {
    journal.write(events.iter().cloned().map(Arc::new));
}

fn ids(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

fn open(dir: &Path, limits: Limits) -> (Journal, Reader, u64) {
    let (journal, next) = Journal::start_within(limits, dir, |news| panic!("{news:?}")).unwrap();
    // Nothing is remembered: everything comes from the disk.
    (journal.clone(), Reader::new(journal, Past::default()), next)
}

fn all(reader: &Reader) -> Vec<u64> {
    let mut found = Vec::new();
    reader
        .walk(From::Beginning, &Filter::all(), &mut |event| {
            found.push(event.id);
            true
        })
        .unwrap();
    found
}

#[test]
fn numbers_go_on_and_what_is_torn_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, next) = open(dir.path(), LIMITS);
    assert_eq!((next, all(&reader)), (1, vec![]));
    write(&journal, &(1..=3).map(|id| event(id, Some("web"), "started")).collect::<Vec<_>>());
    journal.close(SOON);
    let path = files::active(&super::dir(dir.path()));
    let whole = fs::read(&path).unwrap();
    let lines: Vec<usize> = memchr::memchr_iter(b'\n', &whole).map(|end| end + 1).collect();
    for cut in lines[1]..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (journal, reader, next) = open(dir.path(), LIMITS);
        // The last record counts even if only the end of its line is missing.
        let kept = if cut + 1 >= whole.len() { 3 } else { 2 };
        assert_eq!(next, kept + 1, "cut at {cut}");
        write(&journal, &[event(next, Some("web"), "stopped")]);
        assert_eq!(all(&reader), (1..=next).collect::<Vec<_>>());
        let newest = reader.newest(&Filter::all(), 1).unwrap();
        assert_eq!((newest[0].id, newest[0].event.as_str()), (next, "stopped"));
        journal.close(SOON);
    }
    for garbage in
        [b"".as_slice(), b"\0\0\0", b"\xff\n{}\n", b"{\"id\":18446744073709551615,\"time\":\"\"}\n"]
    {
        fs::write(&path, garbage).unwrap();
        let (journal, reader, next) = open(dir.path(), LIMITS);
        write(&journal, &[event(7, None, "began")]);
        assert_eq!((next, all(&reader)), (1, vec![7]));
        journal.close(SOON);
    }
}

#[test]
fn only_so_many_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = open(dir.path(), SMALL);
    for id in 1..=400 {
        write(&journal, &[event(id, Some("web"), "started")]);
        journal.flush(SOON);
    }
    let folder = super::dir(dir.path());
    let full_ones = files::full_ones(&folder).unwrap();
    assert_eq!(full_ones.len(), SMALL.files - 1);
    let kept = all(&reader);
    assert_eq!(kept, (full_ones[0].0..=400).collect::<Vec<_>>());
    assert!(kept.len() < 200);
    journal.close(SOON);
    assert_eq!(open(dir.path(), SMALL).2, 401);
}

#[test]
fn a_disk_that_takes_nothing_is_said_once_and_what_is_kept_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let folder = super::dir(dir.path());
    fs::write(&folder, "in the way").unwrap();
    let (said, news) = mpsc::channel();
    let (journal, next) = Journal::start(dir.path(), move |news| said.send(news).unwrap()).unwrap();
    let reader = Reader::new(journal.clone(), Past::default());
    assert_eq!(next, 1);
    let services: Vec<String> = (0..5).map(|number| format!("s{number}")).collect();
    let mut id = 0;
    let mut more = |journal: &Journal| {
        id += 1;
        let service = &services[usize::try_from(id).unwrap() % services.len()];
        write(journal, &[event(id, Some(service), "started")]);
        journal.flush(SOON);
        id
    };
    while more(&journal) < 1200 {}
    assert!(matches!(news.recv_timeout(SOON).unwrap(), News::Failing { .. }));
    assert!(reader.newest(&Filter::all(), 1).is_ok_and(|found| found.is_empty()) || cfg!(unix));
    fs::remove_file(&folder).unwrap();
    let bound = Instant::now() + SOON;
    let recovered = loop {
        assert!(Instant::now() < bound, "it does not recover");
        more(&journal);
        match news.recv_timeout(Duration::from_millis(20)) {
            Ok(news) => break news,
            Err(_) => continue,
        }
    };
    let News::Recovered { lost } = recovered else { panic!("{recovered:?}") };
    assert!(lost >= 200, "{lost}");
    let last = more(&journal);
    assert_eq!(all(&reader), (lost + 1..=last).collect::<Vec<_>>());
    assert!(news.try_recv().is_err());
    journal.close(SOON);
}

#[test]
fn a_storm_is_told_of_at_the_end_at_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, reader, _) = open(dir.path(), LIMITS);
    write(&journal, &(1..=2_000).map(|id| event(id, Some("web"), "started")).collect::<Vec<_>>());
    journal.close(SOON);
    let newest = reader.newest(&Filter::service("web"), 2).unwrap();
    assert_eq!(ids(&newest), [u64::from(storm::MOST), 2_001]);
    assert_eq!(newest[1].event, "coalesced");
    assert_eq!(newest[1].data["counts"], json!({ "started": 2_000 - storm::MOST }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What is found is what a list in memory would give, over many files, with what is torn between them.
    #[test]
    fn a_reader_finds_what_there_is(
        script in prop::collection::vec((0_u64..4, 0_u64..6, 1_u64..4, any::<bool>()), 1..250),
        torn in 0_usize..4,
        (most, probe) in (0_usize..30, 0_u64..800),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { files: 1_000, ..SMALL };
        let mut there = BTreeMap::new();
        let mut id = 0;
        let parts: Vec<_> = script.chunks(script.len().div_ceil(torn + 1)).collect();
        for part in parts {
            let (journal, _, next) = open(dir.path(), limits);
            prop_assert_eq!(next, id + 1);
            for (service, back, step, alone) in part {
                id += step;
                let service = format!("s{service}");
                let mut event = event(id, (*service != *"s3").then_some(&service), "started");
                event.cause = id.checked_sub(back * 3).filter(|_| *back > 0);
                write(&journal, std::slice::from_ref(&event));
                if *alone {
                    journal.flush(SOON);
                }
                there.insert(id, event);
            }
            journal.close(SOON);
            let mut file = fs::OpenOptions::new().append(true).open(files::active(&super::dir(dir.path()))).unwrap();
            io::Write::write_all(&mut file, b"{\"schema\":1,\"id\":3,\"ti").unwrap();
        }
        let (journal, reader, _) = open(dir.path(), limits);
        let list: Vec<&Event> = there.values().collect();
        let wanted = |filter: &Filter| list.iter().filter(|event| filter.wants(event)).map(|event| event.id).collect::<Vec<_>>();
        let time = event(probe, None, "").time.parse().unwrap();
        let named = Filter::named(Some(crate::pattern::Named::parse("s[01]").unwrap()));
        for filter in [Filter::all(), Filter::service("s1"), Filter::service("s9"), named, Filter::all().only(&["started"])] {
            let expected = wanted(&filter);
            let newest = reader.newest(&filter, most).unwrap();
            prop_assert_eq!(ids(&newest), &expected[expected.len().saturating_sub(most)..]);
            let below: Vec<u64> = expected.iter().copied().filter(|id| *id < probe).collect();
            let newest = reader.newest_below(Some(probe), &filter, most).unwrap();
            prop_assert_eq!(ids(&newest), &below[below.len().saturating_sub(most)..]);
            if most > 0 {
                let nth = reader.nth_newest(From::Beginning, Some(probe), &filter, most).unwrap();
                prop_assert_eq!(nth, below[below.len().saturating_sub(most)..].first().copied());
            }
            let since: Vec<u64> = expected.iter().copied().filter(|id| *id >= probe).collect();
            let found = reader.since(time, &filter, most).unwrap();
            prop_assert_eq!(ids(&found), &since[since.len().saturating_sub(most)..]);
            let mut after = Vec::new();
            reader.walk(From::After(probe), &filter, &mut |event| { after.push(event.id); true }).unwrap();
            prop_assert_eq!(after, expected.into_iter().filter(|id| *id > probe).collect::<Vec<_>>());
        }
        let one = reader.get(probe).unwrap();
        prop_assert_eq!(one.as_deref(), there.get(&probe));
        let mut chain = Vec::new();
        let mut next = Some(id);
        while let Some(event) = next.and_then(|id| there.get(&id)).filter(|_| chain.len() < 10) {
            chain.push(event.id);
            next = event.cause;
        }
        prop_assert_eq!(ids(&reader.chain(id, 10).unwrap()), chain);
        journal.close(SOON);
    }
}
