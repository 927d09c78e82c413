//! Reading along sees each line once.

use mcpd_config::spec::{LogFormat, LogTarget};
use mcpd_proto::log::{LogLine, LogLines};

use super::{BOUND, Lab, spec, text, texts, write_all};
use crate::log::{Follow, Follower};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

async fn next(follower: &mut Follower) -> Option<LogLines> {
    tokio::time::timeout(BOUND, follower.recv()).await.expect("lines in time")
}

async fn take(follower: &mut Follower, count: usize) -> Vec<LogLine> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let batch = next(follower).await.expect("the service is there");
        assert_eq!(batch.skipped, 0);
        lines.extend(batch.lines);
    }
    lines
}

fn all() -> Follow {
    Follow { lines: usize::MAX, since: None }
}

fn numbers(lines: &[LogLine]) -> Vec<u32> {
    lines.iter().map(|line| line.text.parse().unwrap()).collect()
}

/// Followers come while lines are written and files are rotated; each sees every number once and in order.
#[test]
fn backlog_and_live_lines_meet_exactly() {
    for (format, max_size) in [(LogFormat::Text, 4000), (LogFormat::Json, 4000), (LogFormat::Raw, 1000)] {
        let lab = Lab::new();
        let (mut out, _err) = lab.service(1, "svc", &spec(LogTarget::File, format, max_size, 1_000_000));
        // Less than a follower may lag behind by, however slow this machine is.
        let count = 4_000;
        let writer = std::thread::spawn(move || {
            for n in 0..count {
                // In two writes, so that raw lines are cut anywhere.
                write_all(&mut out, format!("{n}").as_bytes());
                write_all(&mut out, b"\n");
            }
            out
        });
        runtime().block_on(async {
            for _ in 0..10 {
                let mut follower = lab.logs.follow(1, all());
                let lines = take(&mut follower, 500).await;
                assert!(numbers(&lines).into_iter().eq(0..u32::try_from(lines.len()).unwrap()));
            }
            let mut follower = lab.logs.follow(1, all());
            let lines = take(&mut follower, count as usize).await;
            assert!(numbers(&lines).into_iter().eq(0..count), "{format:?}");
        });
        let _out = writer.join().unwrap();
    }
}

#[test]
fn the_last_lines_come_first() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(300, 1000));
    for n in 0..100 {
        write_all(&mut out, format!("{n}\n").as_bytes());
    }
    lab.settle(1);
    runtime().block_on(async {
        let mut follower = lab.logs.follow(1, Follow { lines: 25, since: None });
        assert_eq!(numbers(&take(&mut follower, 25).await), (75..100).collect::<Vec<_>>());
        let mut fresh = lab.logs.follow(1, Follow::default());
        lab.flush();
        write_all(&mut out, b"100\n");
        assert_eq!(numbers(&take(&mut follower, 1).await), [100]);
        assert_eq!(numbers(&take(&mut fresh, 1).await), [100]);
    });
}

#[test]
fn a_raw_line_that_began_before_the_follower_came_is_whole() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &spec(LogTarget::File, LogFormat::Raw, 0, 8));
    write_all(&mut out, b"before\nhal");
    lab.settle(1);
    runtime().block_on(async {
        let mut follower = lab.logs.follow(1, all());
        lab.flush();
        write_all(&mut out, b"f\nafter\n");
        assert_eq!(texts(&take(&mut follower, 3).await), ["before", "half", "after"]);
    });
}

#[test]
fn services_without_a_file_are_followed_through_memory() {
    for target in [LogTarget::None, LogTarget::Inherit] {
        let sink = || Box::new(std::io::sink());
        let lab = Lab::with(crate::log::console::Outputs { out: sink(), err: sink() });
        let (mut out, mut err) = lab.service(1, "svc", &spec(target, LogFormat::Text, 0, 0));
        write_all(&mut out, b"one\ntwo\n");
        lab.settle(1);
        write_all(&mut err, b"three\n");
        lab.settle(1);
        runtime().block_on(async {
            let mut follower = lab.logs.follow(1, Follow { lines: 2, since: None });
            lab.flush();
            write_all(&mut out, b"four\n");
            let lines = take(&mut follower, 3).await;
            assert_eq!(texts(&lines), ["two", "three", "four"]);
            assert!(lines.iter().all(|line| line.time.is_some() && line.stream.is_some()));
        });
    }
}

#[test]
fn a_slow_follower_is_told_what_it_missed_and_stalls_nobody() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &text(1 << 20, 1000));
    let mut follower = lab.logs.follow(1, Follow::default());
    // It hears what comes from the moment on in which it is known, and pipes do not wait for that.
    lab.flush();
    let count = 200_000_u64;
    for n in 0..count {
        write_all(&mut out, format!("{n}\n").as_bytes());
    }
    lab.settle(1);
    assert_eq!(lab.lines("svc", LogFormat::Text, None).len() as u64, count);
    runtime().block_on(async {
        let (mut seen, mut skipped) = (0, 0);
        while seen + skipped < count {
            let batch = next(&mut follower).await.unwrap();
            skipped += batch.skipped;
            if let Some(first) = batch.lines.first() {
                assert_eq!(
                    first.text.parse::<u64>().unwrap(),
                    seen + skipped,
                    "the gap is where it is said to be"
                );
            }
            seen += batch.lines.len() as u64;
        }
        assert_eq!(seen + skipped, count);
        assert!(skipped > count / 2, "only so much waits: {skipped}");
        write_all(&mut out, b"200000\n");
        assert_eq!(numbers(&take(&mut follower, 1).await), [200_000]);
    });
}

#[test]
fn a_follower_ends_with_its_service() {
    let lab = Lab::new();
    let (out, err) = lab.service(1, "svc", &text(0, 8));
    runtime().block_on(async {
        let mut follower = lab.logs.follow(1, all());
        let mut unknown = lab.logs.follow(99, all());
        assert_eq!(next(&mut unknown).await, None);
        lab.logs.remove(1);
        drop((out, err));
        assert_eq!(next(&mut follower).await, None);
    });
}

#[test]
fn a_follower_who_leaves_is_forgotten() {
    let lab = Lab::new();
    let (mut out, _err) = lab.service(1, "svc", &spec(LogTarget::None, LogFormat::Text, 0, 0));
    for _ in 0..10 {
        drop(lab.logs.follow(1, all()));
        write_all(&mut out, b"line\n");
        lab.settle(1);
    }
    let shared = std::sync::Arc::clone(&crate::log::queue::lock(&lab.logs.inner.control.services)[&1]);
    assert_eq!(shared.followers.load(std::sync::atomic::Ordering::SeqCst), 0);
}
