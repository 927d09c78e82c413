//! Crash reports on disk: whole or not at all, bounded, found again whatever else lies there.

#![allow(clippy::unwrap_used)] // helpers of tests are no tests to clippy

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use jiff::{Timestamp, ToSpan};
use mcpd::crash::redact::{self, Redactor};
use mcpd::crash::{CrashStore, GetError};
use mcpd_proto::SCHEMA;
use mcpd_proto::crash::{CrashKind, CrashReport, HealthVerdict, Host, Resources, RestartDecision};
use mcpd_proto::log::{LogLine, Stream};

const PLENTY: u32 = 100_000;

fn minute(number: i64) -> Timestamp {
    let start: Timestamp = "2026-11-22T11:00:00.5Z".parse().unwrap();
    start + number.minutes()
}

fn report(service: &str, time: Timestamp) -> CrashReport {
    CrashReport {
        schema: SCHEMA,
        id: CrashStore::new_id(time),
        service: service.to_owned(),
        generation: 7,
        time: time.to_string(),
        kind: CrashKind::Exit,
        exit_code: Some(1),
        signal: None,
        core_dumped: false,
        core: None,
        reason: "exited with code 1 after 0.3 s: KeyError: 'x'".to_owned(),
        cause: Some("KeyError: 'x'".to_owned()),
        pid: Some(4242),
        started_at: None,
        uptime_seconds: 0.3,
        command: vec!["python3".to_owned(), "-m".to_owned(), "x".to_owned()],
        working_directory: None,
        restart: RestartDecision::default(),
        stderr_tail: Vec::new(),
        stdout_tail: Vec::new(),
        health: Vec::new(),
        ready: Vec::new(),
        status_text: None,
        phase: None,
        resources: Resources::default(),
        left_behind: Vec::new(),
        killed: Vec::new(),
        changed: Vec::new(),
        previous: None,
        lineage: Vec::new(),
        fingerprint: Some("00112233445566ff".to_owned()),
        coalesced: 0,
        host: Host::default(),
    }
}

/// Writes one report and gives its id.
fn put(store: &CrashStore, service: &str, number: i64) -> String {
    let report = report(service, minute(number));
    store.write(&report, PLENTY).unwrap();
    report.id
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn opened() -> (tempfile::TempDir, CrashStore, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = CrashStore::open(dir.path()).unwrap();
    let root = dir.path().join("crashes");
    (dir, store, root)
}

#[test]
fn a_report_comes_back_as_it_was() {
    let (dir, store, root) = opened();
    let written = report("web", minute(0));
    let path = store.write(&written, 100).unwrap();
    assert_eq!(path, root.join("web").join(format!("{}.json", written.id)));
    assert_eq!(files(&root.join("web")).len(), 1, "nothing temporary stays");
    assert_eq!(store.get(&written.id).unwrap(), written);
    assert_eq!(store.newest("web").unwrap(), written.summary());
    // A daemon started later finds it too.
    let again = CrashStore::open(dir.path()).unwrap();
    assert_eq!(again.list(None, None).unwrap(), [written.summary()]);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with("}\n") && text.contains("\n  \"reason\""), "readable without tools");
}

#[cfg(unix)]
#[test]
fn reports_are_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store, root) = opened();
    let path = store.write(&report("web", minute(0)), 100).unwrap();
    for (path, others) in
        [(root.as_path(), 0o027), (root.join("web").as_path(), 0o027), (path.as_path(), 0o137)]
    {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & others, 0, "{}", path.display());
    }
}

#[test]
fn the_oldest_go() {
    let (_dir, store, root) = opened();
    let ids: Vec<String> = (0..7)
        .map(|number| {
            let report = report("web", minute(number));
            store.write(&report, 3).unwrap();
            report.id
        })
        .collect();
    put(&store, "other", 0);
    assert_eq!(store.count("web"), 3);
    assert_eq!(store.count("other"), 1);
    assert_eq!(store.count("never"), 0);
    let kept: Vec<String> =
        store.list(Some("web"), None).unwrap().into_iter().map(|crash| crash.id).collect();
    assert_eq!(kept, [ids[6].clone(), ids[5].clone(), ids[4].clone()]);
    // A clock that went back makes the new report the oldest by name; it stays nevertheless.
    let late = report("web", minute(-1000));
    store.write(&late, 1).unwrap();
    assert_eq!(files(&root.join("web")), [format!("{}.json", late.id)]);
    // Keeping none means keeping one.
    store.write(&report("web", minute(8)), 0).unwrap();
    assert_eq!(store.count("web"), 1);
}

#[test]
fn lists_are_newest_first_across_services() {
    let (_dir, store, _root) = opened();
    let services = ["a", "b", "c.d@e"];
    let mut ids: Vec<String> = [4, 0, 5, 2, 1, 3]
        .iter()
        .map(|&number| put(&store, services[usize::try_from(number).unwrap() % 3], number))
        .collect();
    ids.sort();
    ids.reverse();
    let listed =
        |last| -> Vec<String> { store.list(None, last).unwrap().into_iter().map(|crash| crash.id).collect() };
    assert_eq!(listed(None), ids);
    assert_eq!(listed(Some(2)), ids[..2]);
    assert_eq!(listed(Some(0)), Vec::<String>::new());
    assert_eq!(store.list(Some("b"), None).unwrap().len(), 2);
    assert_eq!(store.list(Some("unknown"), None).unwrap(), []);
}

#[test]
fn names_that_lead_outside_find_nothing() {
    let (dir, store, _root) = opened();
    put(&store, "web", 0);
    fs::create_dir(dir.path().join("secret")).unwrap();
    for name in ["..", "../secret", "web/../web", "", ".", "/"] {
        assert_eq!(store.list(Some(name), None).unwrap(), [], "{name}");
        assert_eq!(store.count(name), 0);
        assert!(store.write(&report(name, minute(0)), 1).is_err(), "{name}");
    }
    let mut bad = report("web", minute(0));
    bad.id = "../../x".to_owned();
    assert!(store.write(&bad, 1).unwrap_err().to_string().contains("is no id"));
    assert!(matches!(store.get("../web"), Err(GetError::NotFound(_))));
}

#[test]
fn a_beginning_of_an_id_is_enough_when_it_is_the_only_one() {
    let (_dir, store, _root) = opened();
    let early = put(&store, "a", 0);
    let late = put(&store, "b", 1);
    assert_eq!(store.get(&late[..16]).unwrap().service, "b");
    assert_eq!(store.get(&early).unwrap().service, "a");
    match store.get("20261122") {
        Err(GetError::Ambiguous(ids)) => assert_eq!(ids, [late, early]),
        other => panic!("{other:?}"),
    }
    for id in ["", "1999", "zzz"] {
        assert!(matches!(store.get(id), Err(GetError::NotFound(_))), "{id:?}");
    }
}

#[test]
fn what_is_no_report_is_left_out_and_counted() {
    let (dir, store, root) = opened();
    let good = put(&store, "web", 0);
    let whole = fs::read(root.join("web").join(format!("{good}.json"))).unwrap();
    let torn: Vec<String> = (1..4).map(|number| CrashStore::new_id(minute(number))).collect();
    let web = root.join("web");
    fs::write(web.join(format!("{}.json", torn[0])), b"").unwrap();
    fs::write(web.join(format!("{}.json", torn[1])), &whole[..whole.len() / 2]).unwrap();
    fs::write(web.join(format!("{}.json", torn[2])), b"[1, 2]").unwrap();
    fs::write(web.join("notes.txt"), b"mine").unwrap();
    fs::write(root.join("stray"), b"mine").unwrap();
    // A write that a power cut ended.
    let half = CrashStore::new_id(minute(9));
    fs::write(web.join(format!(".{half}.tmp")), &whole[..10]).unwrap();

    let listing = store.listing(None, Some(1)).unwrap();
    assert_eq!(listing.crashes[0].id, good);
    assert_eq!(listing.skipped, 3);
    assert_eq!(store.newest("web").unwrap().id, good);
    let newest_first: Vec<_> = torn.iter().rev().map(|id| web.join(format!("{id}.json"))).collect();
    assert_eq!(listing.damaged, newest_first);
    for (id, says) in torn.iter().zip(["it is empty", "EOF while parsing", "invalid type: integer"]) {
        let Err(GetError::Damaged { path, why }) = store.get(id) else { panic!("{id}") };
        assert!(path.ends_with(format!("{id}.json")) && why.contains(says), "{why}");
    }
    assert!(matches!(store.get(&half), Err(GetError::NotFound(_))));

    // The next daemon clears the unfinished write away, nothing else.
    let store = CrashStore::open(dir.path()).unwrap();
    let names = files(&web);
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    assert!(names.contains(&"notes.txt".to_owned()));
    // Torn files grow old like any other; a person's files never do.
    store.write(&report("web", minute(10)), 1).unwrap();
    assert_eq!(files(&web).len(), 2);
}

#[test]
fn a_report_with_unknown_fields_is_read() {
    let (_dir, store, root) = opened();
    let id = put(&store, "web", 0);
    let path = root.join("web").join(format!("{id}.json"));
    let text = fs::read_to_string(&path).unwrap().replacen('{', "{\"from_a_later_version\": [1],", 1);
    fs::write(&path, text).unwrap();
    assert_eq!(store.list(None, None).unwrap().len(), 1);
}

#[test]
fn a_disk_that_does_not_take_it_is_an_error() {
    // A file where the service's folder should be: no user, not even root, can write below it.
    let (_dir, store, root) = opened();
    fs::write(root.join("web"), b"in the way").unwrap();
    let error = store.write(&report("web", minute(0)), 1).unwrap_err();
    assert!(error.to_string().contains("web"), "{error}");
    assert!(store.list(None, None).unwrap().is_empty());
    assert_eq!(store.count("web"), 0);
    assert_eq!(store.newest("web"), None);

    let file = tempfile::NamedTempFile::new().unwrap();
    let error = CrashStore::open(file.path()).unwrap_err();
    assert!(error.to_string().contains("crashes"), "{error}");

    // The state directory was removed under a running daemon: the next report makes it anew.
    fs::remove_dir_all(&root).ok();
    let (dir, store, root) = opened();
    fs::remove_dir_all(&root).unwrap();
    store.write(&report("web", minute(0)), 1).unwrap();
    assert_eq!(store.count("web"), 1);
    drop(dir);
}

#[test]
fn an_unwritable_report_leaves_nothing_behind() {
    let (_dir, store, root) = opened();
    let report = report("web", minute(0));
    // A folder where the report should be: the rename fails after the temporary file was written.
    fs::create_dir_all(root.join("web").join(format!("{}.json", report.id)).join("x")).unwrap();
    assert!(store.write(&report, 1).is_err());
    assert_eq!(files(&root.join("web")), [format!("{}.json", report.id)]);
}

#[test]
fn the_last_five_of_a_thousand_open_five_files() {
    let (_dir, store, root) = opened();
    let mut ids: Vec<String> = Vec::new();
    for number in 0..1000 {
        // Written by hand: a thousand syncs would test the disk.
        let report = report(&format!("s{}", number % 10), minute(number));
        let folder = root.join(&report.service);
        fs::create_dir_all(&folder).unwrap();
        let old = number < 995;
        let contents = if old { b"torn".to_vec() } else { serde_json::to_vec(&report).unwrap() };
        fs::write(folder.join(format!("{}.json", report.id)), contents).unwrap();
        ids.push(report.id);
    }
    let listing = store.listing(None, Some(5)).unwrap();
    let found: Vec<&String> = listing.crashes.iter().map(|crash| &crash.id).collect();
    assert_eq!(found, ids[995..].iter().rev().collect::<Vec<_>>());
    assert_eq!(listing.skipped, 0, "an older file, all of them torn, was opened");
    assert_eq!(store.listing(None, Some(6)).unwrap().skipped, 995);
    assert_eq!(store.count("s3"), 100);
}

#[test]
fn many_threads_write_at_once() {
    let (_dir, store, _root) = opened();
    thread::scope(|scope| {
        for thread in 0..8 {
            let store = store.clone();
            scope.spawn(move || {
                for number in 0..10 {
                    store.write(&report("web", minute(thread * 10 + number)), 20).unwrap();
                    store.list(None, Some(3)).unwrap();
                }
            });
        }
    });
    assert_eq!(store.count("web"), 20);
    assert_eq!(store.listing(None, None).unwrap().skipped, 0);
}

#[test]
fn secrets_do_not_reach_the_disk() {
    let (_dir, store, _root) = opened();
    let secret = "s3cr3t-value";
    let line = |text: String| LogLine {
        time: None,
        stream: Some(Stream::Err),
        text,
        base64: None,
        continues: false,
    };
    let mut report = report("web", minute(0));
    report.command =
        vec!["srv".to_owned(), format!("--header=X {secret}"), "--token".to_owned(), "abc".to_owned()];
    report.reason = format!("exited with code 1 after 3 s: bad key {secret}");
    report.stderr_tail = vec![line(format!("using {secret}"))];
    report.stdout_tail = vec![line(format!("https://me:{secret}@host/"))];
    report.health = vec![HealthVerdict {
        time: String::new(),
        ok: false,
        unknown: false,
        detail: format!("/a is \"{secret}\""),
    }];
    report.restart.why = secret.to_owned();
    report.changed = vec![format!("env {secret}")];
    report.working_directory = Some(format!("/srv/{secret}"));
    redact::report(&Redactor::new([("API_TOKEN", secret)]), &mut report);
    let path = store.write(&report, 1).unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert!(!text.contains(secret) && !text.contains("abc"), "{text}");
    assert_eq!(report.command[2..], ["--token", "[redacted]"]);
    assert_eq!(report.reason, "exited with code 1 after 3 s: bad key [redacted]");
}

/// Of the newest few of many services only the folders are read that can hold one of them.
#[test]
fn the_newest_of_all_are_in_the_folders_that_changed_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = CrashStore::open(dir.path()).unwrap();
    let now = Timestamp::now();
    let old = now - 100.hours();
    for service in ["a", "b", "c"] {
        for hours in 0..3_i64 {
            store.write(&report(service, old - hours.hours()), PLENTY).unwrap();
        }
        // As if the last of them had come then.
        let folder = fs::File::open(dir.path().join("crashes").join(service)).unwrap();
        folder.set_modified(old.into()).unwrap();
    }
    store.write(&report("e", now - 1.hour()), PLENTY).unwrap();
    store.write(&report("e", now), PLENTY).unwrap();
    let services = |last: usize| -> Vec<String> {
        store.list(None, Some(last)).unwrap().into_iter().map(|crash| crash.service).collect()
    };
    assert_eq!(services(2), ["e", "e"]);
    let all = services(100);
    assert_eq!((all.len(), &all[..2]), (11, &["e".to_owned(), "e".to_owned()][..]));
    assert_eq!(services(5), all[..5]);
    let times = store.list(None, Some(100)).unwrap();
    assert!(times.is_sorted_by(|newer, older| newer.id > older.id), "{times:?}");
}

/// Killed between the write and the rename: the report was decided upon, and is whole.
#[test]
fn a_whole_report_that_was_not_named_yet_is_found_by_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let store = CrashStore::open(dir.path()).unwrap();
    let web = report("web", minute(1));
    let path = store.write(&web, PLENTY).unwrap();
    let folder = path.parent().unwrap();
    let whole = fs::read(&path).unwrap();
    let temporary = folder.join(format!(".{}.tmp", web.id));
    for cut in [0, 1, whole.len() / 2, whole.len() - 3] {
        fs::write(&temporary, &whole[..cut]).unwrap();
        fs::remove_file(&path).unwrap();
        let store = CrashStore::open(dir.path()).unwrap();
        assert!(files(folder).is_empty() && store.list(None, None).unwrap().is_empty(), "{cut}");
        fs::write(&path, &whole).unwrap();
    }
    fs::rename(&path, &temporary).unwrap();
    let store = CrashStore::open(dir.path()).unwrap();
    assert_eq!(store.list(None, None).unwrap(), [web.summary()]);
    assert_eq!(fs::read(&path).unwrap(), whole);
    // Under another's name it is nobody's.
    let other = CrashStore::new_id(minute(2));
    fs::write(folder.join(format!(".{other}.tmp")), &whole).unwrap();
    let store = CrashStore::open(dir.path()).unwrap();
    assert_eq!(files(folder).len(), 1);
    assert_eq!(store.list(None, None).unwrap().len(), 1);
}
