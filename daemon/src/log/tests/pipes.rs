//! What happens around a process: its last words, its descendants, its successors.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use mcpd_config::spec::{LogFormat, LogTarget};

use super::{BOUND, Lab, Tails, bytes, pipe, spec, text, texts, until, write_all};

#[test]
fn a_drain_answers_while_a_grandchild_holds_the_pipe() {
    let lab = Lab::new();
    let (mut out, mut err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"last words\nwithout newline");
    write_all(&mut err, b"Traceback\n");
    let tails = lab.drain(1, 1);
    assert_eq!(texts(&tails.stdout), ["last words", "without newline"]);
    assert_eq!(texts(&tails.stderr), ["Traceback"]);
    assert!(tails.stderr[0].time.is_some());

    // The successor's lines and those of the grandchild are told apart.
    let (mut second, _second_err) = lab.run(1, 2);
    write_all(&mut second, b"second run\n");
    write_all(&mut out, b"grandchild\n");
    assert_eq!(texts(&lab.drain(1, 2).stdout), ["second run"]);
    assert_eq!(texts(&lab.drain(1, 1).stdout), ["last words", "without newline", "grandchild"]);
    lab.flush();
    assert_eq!(lab.lines("svc", LogFormat::Text, None).len(), 5);
    assert_eq!(lab.tail(1, 10).len(), 5);
}

#[test]
fn a_drain_ends_though_a_grandchild_floods() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &spec(LogTarget::None, LogFormat::Text, 0, 0));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            write_all(&mut out, &b"flood\n".repeat(10_000));
        }
    });
    until(|| !lab.tail(1, 1).is_empty());
    for _ in 0..20 {
        lab.drain(1, 1);
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    lab.drain(1, 1);
    assert_eq!(lab.drain(1, 1).stdout.len(), 100);
}

/// Whatever becomes of the lines: in a file, raw, or nowhere, where most of a flood is not looked at otherwise.
#[test]
fn the_line_that_is_waited_for_is_found_once_in_its_own_run() {
    let targets = [
        text(0, 8),
        spec(LogTarget::File, LogFormat::Raw, 0, 8),
        spec(LogTarget::None, LogFormat::Text, 0, 0),
    ];
    for (id, target) in (1..).zip(targets) {
        let lab = Lab::new();
        let (mut earlier, _earlier_err) = lab.service(id, "svc", &target);
        let (found, finds) = mpsc::channel();
        let watch = |generation, pattern: &str| {
            let found = found.clone();
            let found = Box::new(move || found.send(generation).unwrap());
            lab.logs.watch(id, generation, regex::bytes::Regex::new(pattern).unwrap(), found);
        };
        watch(2, "listening on [0-9]+$");
        let (mut out, mut err) = lab.run(id, 2);
        write_all(&mut earlier, b"listening on 1\n");
        lab.drain(id, 1);
        write_all(&mut out, b"listening on port\nlistening on 8");
        lab.drain(id, 3);
        assert!(finds.try_recv().is_err());
        write_all(&mut err, b"listening on 80 ");
        write_all(&mut out, b"0\n");
        let flood = std::thread::spawn(move || write_all(&mut out, &b"more\n".repeat(50_000)));
        assert_eq!(finds.recv_timeout(BOUND), Ok(2));
        flood.join().unwrap();
        lab.drain(id, 2);
        assert!(finds.try_recv().is_err(), "once is enough");

        // The run's end is the end of it, with the last line that has no newline.
        watch(3, "^last");
        let (mut out, _err) = lab.run(id, 3);
        write_all(&mut out, b"last words");
        lab.drain(id, 3);
        assert_eq!(finds.try_recv(), Ok(3));
        watch(4, "^never");
        lab.run(id, 4);
        lab.drain(id, 4);
        write_all(&mut earlier, b"never\n");
        lab.drain(id, 1);
        assert!(finds.try_recv().is_err());
    }
}

#[test]
fn the_tail_is_in_the_order_of_both_streams() {
    let lab = Lab::new();
    let (mut out, mut err) = lab.service(1, "svc", &spec(LogTarget::None, LogFormat::Raw, 0, 0));
    for n in 0..10 {
        let to = if n % 3 == 0 { &mut err } else { &mut out };
        write_all(to, format!("{n}\n").as_bytes());
        lab.drain(1, 1);
    }
    assert_eq!(texts(&lab.tail(1, 4)), ["6", "7", "8", "9"]);
    assert!(!lab.path().exists());
}

#[test]
fn bytes_that_are_no_text_are_in_the_tail() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"\0\xff\n");
    let line = &lab.drain(1, 1).stdout[0];
    assert_eq!(line.text, "\0\u{fffd}");
    assert_eq!(line.base64.as_deref(), Some("AP8="));
}

#[test]
fn a_raw_tail_has_the_last_lines_whatever_the_chunks() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &spec(LogTarget::File, LogFormat::Raw, 0, 8));
    for n in 0..30_000 {
        write_all(&mut out, format!("line {n}\n").as_bytes());
    }
    write_all(&mut out, b"end");
    let tail = lab.drain(1, 1).stdout;
    let mut wanted: Vec<_> = (29_901..30_000).map(|n| format!("line {n}")).collect();
    wanted.push("end".into());
    assert_eq!(texts(&tail), wanted);
}

#[test]
fn a_service_nobody_defined_is_read_all_the_same() {
    let lab = Lab::new();
    let (mut out, _err) = lab.run(7, 1);
    write_all(&mut out, &b"x\n".repeat(100_000));
    drop(out);
    lab.drain(7, 1);
}

#[test]
fn a_removed_service_is_read_to_its_end() {
    let lab = Lab::new();
    let (mut out, err) = lab.service(1, "svc", &text(0, 8));
    lab.logs.remove(1);
    write_all(&mut out, b"still here\n");
    until(|| texts(&lab.tail(1, 10)) == ["still here"]);
    drop((out, err));
    until(|| lab.tail(1, 1).is_empty());
    lab.flush();
    assert_eq!(texts(&lab.lines("svc", LogFormat::Text, None)), ["still here"]);
    // The same service may come again.
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"again\n");
    lab.settle(1);
    assert_eq!(texts(&lab.lines("svc", LogFormat::Text, None)), ["still here", "again"]);
}

#[test]
fn idle_services_wake_nobody() {
    let lab = Lab::new();
    let mut ends = Vec::new();
    let services = 1000_u32;
    raise_descriptor_limit();
    for id in 0..services {
        ends.push(lab.service(id, &format!("svc-{id}"), &text(0, 8)));
    }
    // Each pipe has one turn, in which it is found empty; each answer takes at least one round of sixteen turns.
    for _ in 0..2 * services / 16 + 1 {
        lab.tail(0, 1);
    }
    let before = lab.logs.wakeups();
    let mut last = ends.pop().unwrap().0;
    for n in 0..10 {
        write_all(&mut last, format!("{n}\n").as_bytes());
        until(|| lab.lines(&format!("svc-{}", services - 1), LogFormat::Text, None).len() > n);
    }
    // Ten lines came; nothing else woke it (the other end of that pair was closed above).
    let woken = lab.logs.wakeups() - before;
    assert!((10..=15).contains(&woken), "{woken}");
}

#[test]
fn a_service_that_said_nothing_costs_little() {
    let size = size_of::<crate::log::service::Service>() + size_of::<crate::log::queue::Shared>();
    assert!(size < 500, "{size}");
}

#[test]
fn stop_writes_what_is_in_the_pipes() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, &b"line\n".repeat(10_000));
    write_all(&mut out, b"last");
    lab.logs.clone().stop(BOUND);
    let lines = lab.lines("svc", LogFormat::Text, None);
    assert_eq!(lines.len(), 10_001);
    assert_eq!(lines[10_000].text, "last");
    // Who asks afterwards hears that nobody answers.
    let (done, answer) = mpsc::channel::<()>();
    lab.logs.flush(Box::new(move || done.send(()).unwrap()));
    assert!(answer.recv_timeout(BOUND).is_err());
}

#[test]
fn a_changed_definition_holds_for_the_next_line() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(0, 8));
    write_all(&mut out, b"to a file\n");
    lab.settle(1);
    lab.logs.define(1, "svc", &spec(LogTarget::None, LogFormat::Text, 0, 8), 100);
    write_all(&mut out, b"to nowhere\n");
    lab.settle(1);
    lab.logs.define(1, "svc", &spec(LogTarget::File, LogFormat::Json, 0, 8), 100);
    write_all(&mut out, b"as json\n");
    lab.settle(1);
    let file = std::fs::read_to_string(lab.path().join("svc.log")).unwrap();
    let lines: Vec<_> = file.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].ends_with(" out to a file"));
    assert!(lines[1].ends_with("\"text\":\"as json\"}"));
    assert_eq!(lab.tail(1, 9).len(), 3);
}

#[test]
fn a_broken_terminal_is_said_once() {
    let (screen, reader) = pipe();
    drop(reader);
    let outputs = crate::log::console::Outputs { out: Box::new(screen), err: Box::new(std::io::sink()) };
    let lab = Lab::with(outputs);
    let (mut out, _err) = lab.service(1, "svc", &spec(LogTarget::Inherit, LogFormat::Text, 0, 0));
    for _ in 0..10 {
        out.write_all(b"lost\n").unwrap();
        lab.settle(1);
    }
    assert!(matches!(lab.event(), crate::log::LogEvent::Failing { .. }));
    assert!(lab.events.try_recv().is_err());
    assert_eq!(lab.logs.dropped(1), 10);
}

/// Two thousand pipes have four thousand ends.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[test]
fn what_a_run_said_to_a_daemon_before_is_recalled() {
    let lab = Lab::new();
    let (mut old, _) = lab.service(1, "svc", &text(0, 0));
    write_all(&mut old, b"of another run\n");
    lab.settle(1);
    // No two stamps are the same.
    let before = jiff::Timestamp::now();
    until(|| jiff::Timestamp::now().as_microsecond() > before.as_microsecond());
    let began = jiff::Timestamp::now();
    write_all(&mut old, b"one\nup on 80\n\xff three\n");
    lab.settle(1);
    lab.logs.clone().stop(BOUND);

    let next = lab.successor();
    next.define(1, "svc", &text(0, 0), 100);
    let (found, hears) = mpsc::channel();
    let pattern = regex::bytes::Regex::new("^up on").unwrap();
    next.watch(1, 7, pattern, Box::new(move || found.send(()).unwrap()));
    let ((mut out, out_end), (mut err, err_end)) = (pipe(), pipe());
    next.attach_again(1, 7, began, Some(out_end), Some(err_end));
    hears.recv_timeout(BOUND).expect("the line is in the file");
    write_all(&mut out, b"four\n");
    write_all(&mut err, b"five\n");
    let (done, tails) = mpsc::channel();
    next.drain(1, 7, Box::new(move |found| done.send(found).unwrap()));
    let Tails { stdout, stderr } = tails.recv_timeout(BOUND).unwrap();
    assert_eq!(texts(&stdout), ["one", "up on 80", "\u{fffd} three", "four"]);
    assert_eq!(bytes(&stdout[2]), b"\xff three");
    assert_eq!(texts(&stderr), ["five"]);
    let (done, tail) = mpsc::channel();
    next.tail(1, 10, Box::new(move |found| done.send(found).unwrap()));
    let tail = tail.recv_timeout(BOUND).unwrap();
    assert_eq!(texts(&tail)[..4], ["of another run", "one", "up on 80", "\u{fffd} three"]);
    assert_eq!(tail.len(), 6);
    next.stop(BOUND);
}
