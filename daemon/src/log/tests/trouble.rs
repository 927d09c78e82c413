//! A disk that will not never reaches the service.

use std::io::Read as _;
use std::time::Duration;

use mcpd_config::spec::{LogFormat, LogTarget};

use super::{BOUND, Lab, pipe, spec, text, texts, until, write_all};
use crate::log::LogEvent;
use crate::log::console::Outputs;

/// Writes until the log works again; the log itself tries once a second.
fn write_until_recovered(lab: &Lab, out: &mut mio::unix::pipe::Sender) -> (u64, LogEvent) {
    let mut written = 0;
    loop {
        write_all(out, b"again\n");
        written += 1;
        if let Ok(event) = lab.events.recv_timeout(Duration::from_millis(50)) {
            return (written, event);
        }
        assert!(written < 1000, "never recovered");
    }
}

#[test]
fn a_directory_in_the_files_place_is_counted_and_overcome() {
    let lab = Lab::new();
    let path = lab.path().join("svc.log");
    std::fs::create_dir_all(&path).unwrap();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    for n in 0..100_000 {
        write_all(&mut out, format!("lost {n}\n").as_bytes());
    }
    lab.settle(1);
    let LogEvent::Failing { service: 1, name, path: said, error } = lab.event() else { panic!("no failure") };
    assert_eq!((name.as_str(), &said), ("svc", &path));
    assert!(error.contains("directory"), "{error}");
    assert_eq!(lab.logs.dropped(1), 100_000);
    assert_eq!(lab.tail(1, 1)[0].text, "lost 99999", "the tail goes on");

    std::fs::remove_dir(&path).unwrap();
    let (written, event) = write_until_recovered(&lab, &mut out);
    let LogEvent::Recovered { dropped_lines, dropped_bytes, .. } = event else { panic!("{event:?}") };
    lab.settle(1);
    let kept = lab.lines("svc", LogFormat::Text, None).len() as u64;
    assert_eq!(dropped_lines + kept, 100_000 + written);
    assert_eq!(dropped_lines, lab.logs.dropped(1));
    assert_eq!(dropped_bytes, 1_088_890 - 100_000 * 6 + 600_000 + (dropped_lines - 100_000) * 6);
    assert!(lab.events.try_recv().is_err(), "said once");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_counted_and_overcome() {
    let lab = Lab::new();
    let path = lab.path().join("svc.log");
    std::fs::create_dir_all(lab.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, &b"x".repeat(1_000_000));
    write_all(&mut out, b"\n");
    lab.settle(1);
    let LogEvent::Failing { error, .. } = lab.event() else { panic!("no failure") };
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(lab.logs.dropped(1), 16);
    std::fs::remove_file(&path).unwrap();
    lab.logs.reopen();
    let (written, event) = write_until_recovered(&lab, &mut out);
    let LogEvent::Recovered { dropped_lines, .. } = event else { panic!("{event:?}") };
    lab.settle(1);
    assert_eq!(dropped_lines + lab.lines("svc", LogFormat::Text, None).len() as u64, 16 + written);
}

/// A terminal that was stopped: the service is held back for a while, then goes on; a file's lines do not suffer.
#[test]
fn a_blocked_terminal_blocks_neither_service_nor_files() {
    let (screen, mut reader) = pipe();
    let lab = Lab::with(Outputs { out: Box::new(screen), err: Box::new(std::io::sink()) });
    let (mut out, _err) = lab.service(1, "loud", &spec(LogTarget::Inherit, LogFormat::Text, 0, 0));
    let (mut file_out, _file_err) = lab.service(2, "file", &text(0, 8));
    let lines = 100_000;
    let loud = std::thread::spawn(move || {
        let line = [&[b'x'; 99][..], b"\n"].concat();
        for _ in 0..lines {
            write_all(&mut out, &line);
        }
        out
    });
    let LogEvent::Failing { service: 1, path, .. } = lab.event() else { panic!("no failure") };
    assert_eq!(path.to_str(), Some("stdout"));
    let mut out = loud.join().expect("the service gets through");
    write_all(&mut file_out, b"in time\n");
    lab.drain(2, 1);
    // Not `flush`: that waits for the terminal.
    until(|| !lab.lines("file", LogFormat::Text, None).is_empty());

    // The terminal goes on.
    reader.set_nonblocking(false).unwrap();
    let shown = std::thread::spawn(move || {
        let (mut buffer, mut count) = (vec![0; 65536], 0);
        while let Ok(size @ 1..) = reader.read(&mut buffer) {
            count += memchr::memchr_iter(b'\n', &buffer[..size]).count() as u64;
        }
        count
    });
    let (written, event) = write_until_recovered(&lab, &mut out);
    let LogEvent::Recovered { dropped_lines, dropped_bytes, .. } = event else { panic!("{event:?}") };
    drop(out);
    lab.drain(1, 1);
    lab.flush();
    assert_eq!(dropped_lines, lab.logs.dropped(1));
    assert!(dropped_bytes >= dropped_lines * 6);
    let dropped = lab.logs.dropped(1);
    lab.logs.clone().stop(BOUND);
    drop(lab);
    assert_eq!(shown.join().unwrap() + dropped, lines + written);
}

/// What one service does to a slow disk leaves room for the others.
#[test]
fn a_flood_leaves_room_for_the_quiet() {
    use crate::log::queue::{Batch, LIMIT, Queue, SHARE, Shared, TURN};
    let queue = Queue::default();
    let push = |service: &std::sync::Arc<Shared>, size: usize| {
        let batch = Batch {
            service: std::sync::Arc::clone(service),
            stream: mcpd_proto::log::Stream::Out,
            format: LogFormat::Text,
            data: Vec::new(),
            youngest: 0,
            payload: 0,
            missed: 0,
            progress: None,
            live_only: false,
        };
        queue.push_batch(batch, &mut vec![0; size]);
    };
    let floods: Vec<_> = (0..20).map(|n| std::sync::Arc::new(Shared::new(n, "flood".into()))).collect();
    for flood in &floods {
        for _ in 0..100 {
            if queue.room(flood) == TURN {
                push(flood, TURN);
            }
        }
    }
    let waiting = |s: &Shared| s.waiting.load(std::sync::atomic::Ordering::SeqCst);
    assert!(floods.iter().all(|flood| waiting(flood) <= SHARE));
    assert_eq!(floods.iter().map(|flood| waiting(flood)).sum::<usize>(), LIMIT);
    assert_eq!(queue.room(&floods[0]), 0);
    let quiet = std::sync::Arc::new(Shared::new(99, "quiet".into()));
    assert!(queue.room(&quiet) > 0);
    push(&quiet, 16 * 1024);
    assert_eq!(queue.room(&quiet), 0, "no longer quiet");
}

#[test]
fn a_removed_file_gets_a_successor_on_reopen() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"one\n");
    lab.settle(1);
    std::fs::remove_dir_all(lab.path()).unwrap();
    lab.logs.reopen();
    write_all(&mut out, b"two\n");
    lab.settle(1);
    assert_eq!(texts(&lab.lines("svc", LogFormat::Text, None)), ["two"]);
}

/// Unmounts what a test has mounted.
#[cfg(target_os = "linux")]
struct Mounted(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A disk that fills up in the middle of a write: records are whole or not there.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_tears_no_record() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path()).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(lab.path())
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: may not mount");
        return;
    }
    let _mounted = Mounted(lab.path());
    let ballast = lab.path().join("ballast");
    std::fs::write(&ballast, vec![0; 20_000]).unwrap();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    for n in 0..5000 {
        write_all(&mut out, format!("line {n}\n").as_bytes());
    }
    lab.settle(1);
    assert!(matches!(lab.event(), LogEvent::Failing { .. }));
    std::fs::remove_file(ballast).unwrap();
    let (written, event) = write_until_recovered(&lab, &mut out);
    assert!(matches!(event, LogEvent::Recovered { .. }));
    lab.settle(1);
    let lines = lab.lines("svc", LogFormat::Text, None);
    assert!(lines.iter().all(|line| line.time.is_some()), "no record is torn");
    assert_eq!(lines.len() as u64 + lab.logs.dropped(1), 5000 + written);
    assert!(lines.len() > 500, "{}", lines.len());
}
