//! Logs: every byte, from the first to the last, whatever the program prints and whatever the disk does.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{Sandbox, wait};

/// `log_dir/NAME.log` and what was rotated away from it, newest last.
fn log_files(sandbox: &Sandbox, name: &str) -> Vec<PathBuf> {
    let current = sandbox.log_dir().join(format!("{name}.log"));
    let prefix = format!("{name}.log.");
    let entries = sandbox.log_dir().read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix)).collect();
    files.sort();
    files.extend(current.exists().then_some(current));
    files
}

/// The numbers of the lines that `flood --numbered` printed, in the order in which they stand in `text`.
fn numbers(text: &str) -> Vec<u64> {
    let number = |line: &str| line.split("line ").nth(1)?.split(' ').next()?.parse().ok();
    text.lines().filter_map(number).collect()
}

/// "stdout and stderr always drained from the first byte": 1 MB with nobody reading does not block the program. Trap 1
/// of docs/traps.md: a pipe without a reader.
#[test]
fn a_megabyte_without_a_reader_does_not_block() {
    let sandbox = Sandbox::new(
        r#"
        [service.out]
        exec = ["@fixture", "flood", "1000000", "--done-file", "@dir/out"]
        [service.err]
        exec = ["@fixture", "flood", "1000000", "--stderr", "--done-file", "@dir/err"]
        [service.none]
        exec = ["@fixture", "flood", "1000000", "--done-file", "@dir/none"]
        log = { target = "none" }
        "#,
    );
    let daemon = sandbox.start();
    for name in ["out", "err", "none"] {
        assert_eq!(wait_for_file(&sandbox.path(name)), "done");
        assert_eq!(daemon.status(name).state, State::Up);
    }
    daemon.wait("all of it in the log", || {
        let size = log_files(&sandbox, "out").iter().map(|file| file.metadata().unwrap().len()).sum::<u64>();
        if size >= 1_000_000 { Ok(()) } else { Err(size.to_string()) }
    });
    assert!(log_files(&sandbox, "none").is_empty());
}

/// "bytes not strings (invalid UTF-8, NULs, 10 MB lines, no newline at the end all survive)"
#[test]
fn garbage_survives_byte_by_byte() {
    let sandbox = Sandbox::new(
        r#"
        [service.text]
        exec = ["@fixture", "garbage", "--copy", "@dir/copy", "--exit", "0"]
        log = { format = "text", max_size = "1G" }
        [service.json]
        exec = ["@fixture", "garbage", "--exit", "0"]
        log = { format = "json", max_size = "1G" }
        [service.raw]
        exec = ["@fixture", "garbage", "--exit", "0"]
        log = { format = "raw", max_size = "1G" }
        "#,
    );
    let daemon = sandbox.start();
    for name in ["text", "json", "raw"] {
        daemon.wait_state(name, State::Down);
    }
    let wanted = std::fs::read(sandbox.path("copy")).unwrap();
    let same = |got: &[u8], where_: &str| {
        // A line that was not ended may be ended where it is shown.
        let got = if got.len() == wanted.len() + 1 { got.strip_suffix(b"\n").unwrap_or(got) } else { got };
        let at = got.iter().zip(&wanted).position(|(one, other)| one != other);
        assert!(
            at.is_none() && got.len() == wanted.len(),
            "{where_}: {} of {} bytes, first difference at {at:?}",
            got.len(),
            wanted.len()
        );
    };
    for name in ["text", "json", "raw"] {
        let shown = daemon.ctl(&["logs", name, "-n", "all", "--raw"]).expect(0);
        same(&shown.raw, name);
    }
    // `raw`: bytes as they came, in the file itself.
    same(&std::fs::read(sandbox.log_dir().join("raw.log")).unwrap(), "raw.log");
}

/// "rotated by rename without losing or tearing a line"; trap 14 of docs/traps.md, records that are torn.
#[test]
fn rotation_loses_no_line_and_tears_none() {
    const LINES: u64 = 20_000;
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "flood", "lines", "20000", "--numbered", "--line-len", "60", "--exit", "0"]
        log = { max_size = "100K", max_files = 1000 }
        [service.few]
        exec = ["@fixture", "flood", "lines", "20000", "--numbered", "--line-len", "60", "--exit", "0"]
        log = { max_size = "100K", max_files = 3 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Down);
    daemon.wait_state("few", State::Down);
    let wanted: Vec<u64> = (1..=LINES).collect();
    // Reading through the daemon waits for what is on its way to the files.
    for name in ["a", "few"] {
        let _ = daemon.ctl(&["logs", name, "-n", "1"]).expect(0);
    }

    let files = log_files(&sandbox, "a");
    assert!(files.len() > 10, "{files:?}");
    let mut all = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(
            text.len() <= 100 * 1024 && text.ends_with('\n'),
            "{} has {} bytes",
            file.display(),
            text.len()
        );
        all += &text;
    }
    assert!(numbers(&all) == wanted, "the files hold {} numbers", numbers(&all).len());
    assert!(all.lines().all(|line| line.ends_with('x') && line.contains(" out line ")), "a line is torn");

    // "reads across rotated files"
    let shown = daemon.ctl(&["logs", "a", "-n", "all"]).expect(0).stdout;
    assert!(numbers(&shown) == wanted, "mcpctl shows {} numbers", numbers(&shown).len());
    let last = daemon.ctl(&["logs", "a", "-n", "5000", "--raw"]).expect(0).stdout;
    assert!(numbers(&last) == wanted[15_000..], "mcpctl shows {} numbers", numbers(&last).len());

    // `max_files`: rotated files kept, the current one not counted.
    assert_eq!(log_files(&sandbox, "few").len(), 4);
    let kept = numbers(&daemon.ctl(&["logs", "few", "-n", "all"]).expect(0).stdout);
    assert!(kept == wanted[wanted.len() - kept.len()..], "the newest lines are the ones that stay");
}

/// Trap 14 of docs/traps.md, two writers of one file: stdout and stderr write at the same time, in whatever pieces,
/// through many rotations.
#[test]
fn two_streams_share_a_file_and_tear_no_line() {
    const LINES: u64 = 10_000;
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["/bin/sh", "-c", "@fixture flood lines 10000 --numbered --line-len 70 --exit 0 & @fixture flood lines 10000 --numbered --line-len 90 --stderr --exit 0 & wait"]
        log = { max_size = "50K", max_files = 1000 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Down);
    // Reading through the daemon waits for what is on its way to the files.
    let _ = daemon.ctl(&["logs", "a", "-n", "1"]).expect(0);
    let files = log_files(&sandbox, "a");
    assert!(files.len() > 10, "{files:?}");
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let wanted: Vec<u64> = (1..=LINES).collect();
    for (stream, length) in [(" out line ", 70), (" err line ", 90)] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(stream)).collect();
        assert!(numbers(&lines.join("\n")) == wanted, "{stream}: {} lines", lines.len());
        // A time, a blank, the stream, a blank, then the line itself.
        let stamped = "2026-11-22T11:30:00.123456Z out ".len() + length;
        let torn = lines.iter().find(|line| line.len() != stamped);
        assert_eq!(torn, None, "{stream}: {stamped} bytes are a line");
    }
    assert_eq!(text.lines().count(), 2 * wanted.len());
}

/// "last lines before death always there": for each of many deaths, on both streams, in the report and in the log. Trap
/// 13 of docs/traps.md.
#[test]
fn the_last_words_are_never_lost() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "1", "--stdout", "last out", "--stderr", "last err"]
        restart = { delay = "1ms", multiplier = 1, max_restarts = 18 }
        [service.b]
        exec = ["@fixture", "flood", "lines", "3000", "--numbered", "--stderr", "--exit", "1"]
        restart = { delay = "1ms", multiplier = 1, max_restarts = 5 }
        crash = { tail_lines = 7 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    daemon.wait_state("b", State::Parked);
    // Of more crashes alike not every one would have a report.
    let reports = daemon.reports("a");
    assert_eq!(reports.len(), 19);
    for report in reports {
        assert_eq!(report.stderr_tail.last().unwrap().text, "last err");
        assert_eq!(report.stdout_tail.last().unwrap().text, "last out");
    }
    for report in daemon.reports("b") {
        assert_eq!(report.stderr_tail.len(), 7);
        assert!(report.stderr_tail[6].text.starts_with("line 00003000 "), "{:#?}", report.stderr_tail);
        assert!(report.stderr_tail[0].text.starts_with("line 00002994 "));
    }
    let log = daemon.ctl(&["logs", "a", "-n", "all", "--raw"]).expect(0).stdout;
    assert_eq!(log.matches("last err\n").count(), 19);
    assert_eq!(log.matches("last out\n").count(), 19);
}

/// The design: the shape of a line as text and as JSON.
#[test]
fn lines_are_stamped_and_named() {
    let sandbox = Sandbox::new(
        r#"
        [service.text]
        exec = ["@fixture", "exit", "0", "--stdout", "hello out", "--stderr", "hello err"]
        [service.json]
        exec = ["@fixture", "exit", "0", "--stdout", "hello \"out\""]
        log = { format = "json" }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("text", State::Down);
    daemon.wait_state("json", State::Down);
    let text = std::fs::read_to_string(sandbox.log_dir().join("text.log")).unwrap();
    for wanted in [" out hello out", " err hello err"] {
        let line = text.lines().find(|line| line.ends_with(wanted)).unwrap_or_else(|| panic!("{text}"));
        // 2026-11-22T11:30:00.123456Z
        let stamp = line.strip_suffix(wanted).unwrap();
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }
    let json = std::fs::read_to_string(sandbox.log_dir().join("json.log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["text"], "hello \"out\"", "{json}");
    assert_eq!(line["stream"], "out", "{json}");
}

/// "`mcpctl logs NAME [-n N] [-f] [--since]`"
#[test]
fn logs_takes_a_number_a_time_and_json() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "flood", "lines", "500", "--numbered", "--pause-us", "200", "--exit", "0"]
        enabled = false
        "#,
    );
    let daemon = sandbox.start();
    let run = |generation| {
        daemon.call("service.start", serde_json::json!({ "names": ["a"], "wait": false }));
        daemon.wait_status("a", "down again", |now| now.state == State::Down && now.generation == generation)
    };
    run(1);
    let before = daemon.wait_event("its first one", |event| event.service.as_deref() == Some("a")).time;
    let three = daemon.ctl(&["logs", "a", "-n", "3", "--raw"]).expect(0).stdout;
    assert_eq!(numbers(&three), [498, 499, 500]);
    let lines = daemon.ctl(&["logs", "a", "-n", "2", "--json"]).expect(0).json_lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1]["text"].as_str().unwrap().starts_with("line 00000500"), "{lines:?}");
    assert_eq!(lines[1]["stream"], "out");

    // Everything is newer than the first event, and nothing is newer than the last line plus a second run.
    let all = daemon.ctl(&["logs", "a", "--since", &before, "--raw"]).expect(0).stdout;
    assert_eq!(numbers(&all).len(), 500);
    let last = lines[1]["time"].as_str().unwrap().to_owned();
    run(2);
    let since = numbers(&daemon.ctl(&["logs", "a", "--since", &last, "--raw"]).expect(0).stdout);
    // "At or after": lines that were read in one go have one time.
    assert!((501..=1000).contains(&since.len()), "{} lines since {last}", since.len());
    assert!(since.ends_with(&[499, 500]) && since.contains(&1));
    let _ = daemon.ctl(&["logs", "a", "--since", "2099-01-01T00:00:00Z", "--raw"]).expect(0);
}

/// "follows through a rotation"
#[test]
fn following_survives_rotations() {
    const LINES: u64 = 4000;
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["sh", "-c", "echo hello; until [ -e @dir/go ]; do sleep 0.01; done; exec @fixture flood lines 4000 --numbered --line-len 60 --pause-us 100"]
        log = { max_size = "40K", max_files = 1000 }
        "#,
    );
    let daemon = sandbox.start();
    let mut command = daemon.ctl_command(&["logs", "a", "-f", "--raw"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(follower.stdout.take().unwrap()).lines();
    // The first line shows that it listens; then come the ones that count.
    assert_eq!(out.next().unwrap().unwrap(), "hello");
    sandbox.touch("go");
    let (give, take) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some(Ok(line)) = out.next() {
            seen.extend(numbers(&line));
            if seen.last() == Some(&LINES) {
                break;
            }
        }
        let _ = give.send(());
        seen
    });
    let in_time = take.recv_timeout(wait::patience()).is_ok();
    follower.kill().unwrap();
    follower.wait().unwrap();
    let seen = reader.join().unwrap();
    assert!(in_time, "the follower saw only {} lines", seen.len());
    assert!(seen == (1..=LINES).collect::<Vec<_>>(), "{} lines, from {}", seen.len(), seen[0]);
    assert!(log_files(&sandbox, "a").len() > 3);
}

/// "A full or unwritable disk never blocks or kills a service: what is dropped is counted and said once."
#[test]
fn an_unwritable_log_does_not_hurt_the_service() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "flood", "lines", "20000", "--numbered", "--done-file", "@dir/done"]
        [service.b]
        exec = ["@fixture", "exit", "1", "--stderr", "last words"]
        restart = { when = "never" }
        "#,
    );
    // Even root cannot write lines into a directory.
    for name in ["a", "b"] {
        std::fs::create_dir_all(sandbox.log_dir().join(format!("{name}.log"))).unwrap();
    }
    let daemon = sandbox.start();
    assert_eq!(wait_for_file(&sandbox.path("done")), "done");
    let now = daemon.wait_status("a", "all lines counted", |now| now.log_lines_dropped >= 20_000);
    assert_eq!((now.state, now.log_lines_dropped), (State::Up, 20_000));
    assert!(daemon.list().daemon.log_lines_dropped >= 20_000);
    // The tail does not need the disk.
    daemon.wait_state("b", State::Down);
    assert_eq!(daemon.reports("b")[0].stderr_tail.last().unwrap().text, "last words");
    wait_for("the trouble to be said", || daemon.stderr().contains("a.log"));
    let said = daemon.stderr().lines().filter(|line| line.contains("a.log")).count();
    assert!((1..=2).contains(&said), "said {said} times:\n{}", daemon.stderr());
    // And it heals.
    std::fs::remove_dir(sandbox.log_dir().join("a.log")).unwrap();
    daemon.wait("a new line in the log", || {
        // The file is tried again now and then: each signal makes the fixture print a line.
        daemon.call("service.signal", serde_json::json!({ "names": ["a"], "signal": "SIGHUP" }));
        let shown = daemon.ctl(&["logs", "a", "-n", "1", "--raw"]).stdout;
        if shown.contains("signal SIGHUP") { Ok(()) } else { Err(shown) }
    });
}

/// The design, `[log] target`: "file | journal | both | inherit | none"
#[test]
fn targets_inherit_and_none() {
    let sandbox = Sandbox::new(
        r#"
        [service.inherit]
        exec = ["@fixture", "exit", "1", "--stdout", "through the daemon", "--stderr", "an error"]
        log = { target = "inherit" }
        restart = { when = "never" }
        [service.none]
        exec = ["@fixture", "exit", "1", "--stdout", "to nobody", "--stderr", "kept for the report"]
        log = { target = "none" }
        restart = { when = "never" }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("inherit", State::Down);
    daemon.wait_state("none", State::Down);
    daemon.wait("the daemon's own stdout and stderr", || {
        let (out, err) = (String::from_utf8_lossy(&daemon.stdout()).into_owned(), daemon.stderr());
        if out.contains("through the daemon") && err.contains("an error") { Ok(()) } else { Err(out + &err) }
    });
    assert!(log_files(&sandbox, "inherit").is_empty() && log_files(&sandbox, "none").is_empty());
    let report = &daemon.reports("none")[0];
    assert_eq!(report.stderr_tail.last().unwrap().text, "kept for the report");
    assert!(daemon.status("none").log_file.is_none());
}

/// "A full or unwritable disk": a log file that is removed under the daemon's feet is made again at SIGUSR1.
#[test]
fn reopening_after_somebody_moved_the_file() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        "#,
    );
    let daemon = sandbox.start();
    let current = sandbox.log_dir().join("a.log");
    daemon.wait("the first line", || {
        let text = std::fs::read_to_string(&current).unwrap_or_default();
        if text.contains("ready") { Ok(()) } else { Err(text) }
    });
    std::fs::rename(&current, sandbox.log_dir().join("moved")).unwrap();
    daemon.signal(rustix::process::Signal::USR1);
    daemon.wait("the file to be made again", || if current.exists() { Ok(()) } else { Err("absent".into()) });
    daemon.call("service.signal", serde_json::json!({ "names": ["a"], "signal": "SIGHUP" }));
    daemon.wait("the next line in the new file", || {
        let text = std::fs::read_to_string(&current).unwrap_or_default();
        if text.contains("signal SIGHUP") { Ok(()) } else { Err(text) }
    });
    assert!(!std::fs::read_to_string(sandbox.log_dir().join("moved")).unwrap().contains("SIGHUP"));
}

/// "A full ... disk never blocks or kills a service": each write to `/dev/full` fails with ENOSPC. Trap 1 of
/// docs/traps.md: the pipe has its reader all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_does_not_hurt_the_service() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "flood", "lines", "20000", "--numbered", "--done-file", "@dir/done"]
        "#,
    );
    std::fs::create_dir_all(sandbox.log_dir()).unwrap();
    std::os::unix::fs::symlink("/dev/full", sandbox.log_dir().join("a.log")).unwrap();
    let daemon = sandbox.start();
    assert_eq!(wait_for_file(&sandbox.path("done")), "done");
    let now = daemon.wait_status("a", "all lines counted", |now| now.log_lines_dropped >= 20_000);
    assert_eq!(now.state, State::Up);
    assert!(daemon.stderr().to_lowercase().contains("no space left"), "{}", daemon.stderr());
    // The tail does not need the disk.
    assert!(
        now.log_tail.last().is_some_and(|line| line.text.starts_with("line 00020000")),
        "{:?}",
        now.log_tail
    );
}
