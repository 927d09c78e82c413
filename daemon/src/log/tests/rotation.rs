//! Files that are full are renamed, and nothing is lost by it.

use mcpd_config::spec::LogFormat;

use super::{Lab, files, lines, text, texts, write_all};
use crate::log::LogEvent;

#[test]
fn numbered_lines_under_load_survive_rotation() {
    let lab = Lab::new();
    let (mut out, mut err) = lab.service(1, "svc", &text(100_000, 1_000_000));
    let other = std::thread::spawn(move || {
        for n in 0..20_000 {
            write_all(&mut err, format!("{n}\n").as_bytes());
        }
    });
    for block in 0..200 {
        let lines: String = (0..500).map(|n| format!("{}\n", block * 500 + n)).collect();
        write_all(&mut out, lines.as_bytes());
    }
    drop(out);
    other.join().unwrap();
    lab.settle(1);
    let all = lab.lines("svc", LogFormat::Text, None);
    for (stream, count) in [("out", 100_000), ("err", 20_000)] {
        let numbers =
            all.iter().filter(|line| line.stream.unwrap().name() == stream).map(|line| line.text.parse());
        assert!(numbers.eq((0..count).map(Ok)), "{stream}: every number once, in order");
    }
    let names = files(&lab.path());
    assert!(names.len() > 30, "{}", names.len());
    for name in &names {
        let size = std::fs::metadata(lab.path().join(name)).unwrap().len();
        assert!(size <= 100_000, "{name}: {size}");
        assert!(name == names.first().unwrap() || size > 99_000, "{name} is full: {size}");
    }
    assert_eq!(lab.logs.dropped(1), 0);
}

#[test]
fn only_so_many_files_are_kept_and_the_oldest_go() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(320, 3));
    for n in 0..100 {
        write_all(&mut out, format!("{n:0>31}\n").as_bytes());
        lab.settle(1);
    }
    assert_eq!(files(&lab.path()).len(), 4);
    let all = lab.lines("svc", LogFormat::Text, None);
    let numbers: Vec<u32> = all.iter().map(|line| line.text.parse().unwrap()).collect();
    assert_eq!(numbers, (100 - u32::try_from(all.len()).unwrap()..100).collect::<Vec<_>>());
    assert!((16..=20).contains(&all.len()), "three full files of five and the current one: {}", all.len());
}

#[test]
fn since_leaves_out_what_is_older() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(320, 100));
    for n in 0..30 {
        write_all(&mut out, format!("{n}\n").as_bytes());
        lab.settle(1);
    }
    let all = lab.lines("svc", LogFormat::Text, None);
    for at in [0, 7, 29] {
        let since = all[at].time.as_ref().unwrap().parse().unwrap();
        assert_eq!(lines(&lab.path(), "svc", LogFormat::Text, None, Some(since)), all[at..]);
        assert_eq!(lines(&lab.path(), "svc", LogFormat::Text, Some(2), Some(since)), all[at.max(28)..]);
    }
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    assert_eq!(lines(&lab.path(), "svc", LogFormat::Text, None, Some(later)), []);
}

#[test]
fn a_reader_who_stops_early_reads_no_further() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, "some line\n".repeat(50_000).as_bytes());
    lab.settle(1);
    let mut batches = 0;
    let given = crate::log::read::read(&lab.path(), "svc", LogFormat::Text, None, None, &mut |_| {
        batches += 1;
        batches < 2
    });
    assert_eq!(batches, 2);
    assert!(given.unwrap() < 10_000);
}

#[test]
fn no_log_is_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(lines(&dir.path().join("absent"), "svc", LogFormat::Text, Some(5), None), []);
}

#[test]
fn names_sort_even_when_the_clock_was_set_back() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path()).unwrap();
    let old = "2099-01-01T00:00:00.000000Z out old\n";
    std::fs::write(lab.path().join("svc.log.20990101T000000.000000Z"), old).unwrap();
    let (mut out, _err) = lab.service(1, "svc", &text(40, 100));
    for n in 0..3 {
        write_all(&mut out, format!("{n}\n").as_bytes());
        lab.settle(1);
    }
    assert_eq!(texts(&lab.lines("svc", LogFormat::Text, None)), ["old", "0", "1", "2"]);
}

#[test]
fn a_renamed_file_is_left_alone_after_reopen() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"before\n");
    lab.settle(1);
    let (here, there) = (lab.path().join("svc.log"), lab.path().join("elsewhere"));
    std::fs::rename(&here, &there).unwrap();
    lab.logs.reopen();
    lab.flush();
    assert!(here.exists(), "opened again at once");
    write_all(&mut out, b"after\n");
    lab.settle(1);
    assert!(std::fs::read_to_string(&here).unwrap().ends_with("after\n"));
    assert!(std::fs::read_to_string(&there).unwrap().ends_with("before\n"));
}

#[test]
fn a_file_that_cannot_be_rotated_grows_and_says_so_once() {
    let lab = Lab::new();
    // A rotation needs a name that fits the file system; this one leaves no room for the time.
    let name = "n".repeat(240);
    let (mut out, _err) = lab.service(1, &name, &text(100, 8));
    for n in 0..50 {
        write_all(&mut out, format!("line {n}\n").as_bytes());
        lab.settle(1);
    }
    assert!(matches!(lab.event(), LogEvent::RotationFailing { .. }));
    assert!(lab.events.try_recv().is_err(), "said once");
    assert_eq!(lab.lines(&name, LogFormat::Text, None).len(), 50);
    assert_eq!(lab.logs.dropped(1), 0);
}
