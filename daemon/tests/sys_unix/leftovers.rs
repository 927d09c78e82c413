//! What a run leaves: it is found, and ended.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mcpd::sys::{self, Collected, Key, Named, Output, SpawnPlan, Spawned, Whom};

use crate::lab::*;

#[test]
fn a_member_of_the_group_that_outlives_its_leader_is_found_and_killed() {
    let mut lab = Lab::new();
    let mut started = lab.start(1, &shell(1, "sleep 1000 & echo $!; exit 5"));
    let survivor: u32 = started.line().parse().unwrap();
    assert_eq!(lab.exit_of(1).code, Some(5));
    lab.left(1, 1);
    // Before its exec it still is a copy of the shell.
    let [Named { pid, name }] = &lab.children.living(1)[..] else { panic!("more than one is left") };
    assert!(*pid == survivor && ["sh", "sleep"].contains(&name.as_str()), "{pid} {name}");
    assert_eq!(lab.children.signal_leftovers(1, SIGKILL), 1);
    lab.collect_until("the orphan", |_, found| found.contains(&Collected::Orphan { pid: survivor }));
    lab.left(1, 0);
    assert_eq!(started.all(), "");
}

#[test]
fn descendants_that_left_the_session_are_found_with_their_own_descendants() {
    let mut lab = Lab::new();
    // A daemon by the book: fork, setsid, fork; and it has a child of its own that knows nothing of the run.
    let daemon = "setsid sh -c '(env -i sleep 1000 & echo up; exec sleep 1000) &'";
    let mut first = lab.start(1, &shell(1, &format!("{daemon}; exit 0")));
    assert_eq!(first.line(), "up");
    // Another run's daemon is nobody's business.
    let mut other = lab.start(2, &shell(2, &format!("{daemon}; echo up; exec sleep 1000")));
    read_until(other.stdout.as_mut().unwrap(), |bytes| bytes == b"up\nup\n");
    assert_eq!(lab.exit_of(1).code, Some(0));
    lab.left(1, 2);
    lab.left(2, 2);
    lab.kill_leftovers(1);
    assert_eq!(first.all(), "");
    lab.left(2, 2);
    lab.children.signal(2, SIGKILL, Whom::Group).unwrap();
    lab.exit_of(2);
    lab.kill_leftovers(2);
    assert_eq!(other.all(), "");
}

/// A command around a run, and what it leaves in its own session without a word of the run in its environment.
#[test]
fn what_a_part_of_a_run_leaves_is_left_by_the_run() {
    let mut lab = Lab::new();
    let _ = lab.start(1, &shell(1, "exit 0"));
    assert_eq!(lab.exit_of(1).code, Some(0));
    let script = "env -i /bin/sleep 1000 > /dev/null 2>&1 & echo $!; exec /bin/sleep 1000";
    let plan = SpawnPlan { cgroup: lab.children.cgroup(1).cloned(), ..shell(1, script) };
    let Spawned { process, stdout, stderr } = sys::spawn(&plan).unwrap();
    let mut part = Started { pid: process.id(), stdout, stderr };
    lab.children.adopt(2, process, &run_id(1));
    lab.children.join(2, 1);
    let child: u32 = part.line().parse().unwrap();
    lab.collect_until("the program", |children, _| {
        let all = children.living(1);
        // The shell that becomes `env` and then `sleep` is its child all along.
        all.iter().map(|one| one.pid).eq([part.pid.min(child), part.pid.max(child)])
    });
    lab.children.signal(2, SIGKILL, Whom::Main).unwrap();
    assert_eq!(lab.exit_of(2).signal, Some(SIGKILL));
    assert_eq!(lab.children.living(1).iter().map(|one| one.pid).collect::<Vec<_>>(), [child]);
    lab.kill_leftovers(1);
    // It went with the run.
    lab.left(2, 0);
}

#[test]
fn one_that_belonged_through_its_parent_is_known_after_the_parent_died() {
    let mut lab = Lab::new();
    let mut started = lab.start(1, &shell(1, "setsid sh -c 'env -i sleep 1000 & echo $$; wait' & exit 0"));
    let parent: u32 = started.line().parse().unwrap();
    lab.exit_of(1);
    lab.left(1, 2);
    let pid = rustix::process::Pid::from_raw(parent.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    lab.collect_until("the parent", |_, found| found.contains(&Collected::Orphan { pid: parent }));
    lab.left(1, 1);
    lab.kill_leftovers(1);
    assert_eq!(started.all(), "");
}

/// What is on its way out has no environment any more and still has its ports and its children: it is left until it is
/// dead, whoever asks.
#[test]
fn one_that_takes_long_to_die_is_left_until_it_is_dead() {
    if cgroups().is_some() {
        // The kernel takes it out of its cgroup a moment before it counts as dead.
        return;
    }
    let mut lab = Lab::new();
    let begun = Instant::now();
    let looked = (1..).any(|key| {
        assert!(begun.elapsed() < BOUND, "each was dead before the first look at it came back");
        looks_at_one_that_dies(&mut lab, key) > 0
    });
    assert!(looked);
}

/// How often it was looked at while it died: on a busy machine never, now and then.
fn looks_at_one_that_dies(lab: &mut Lab, key: Key) -> usize {
    // Half a gigabyte takes the kernel some 50 ms to tear down.
    let large = "setsid dd if=/dev/zero of=/dev/null bs=500M 2>/dev/null >&2 & echo $!";
    let survivor: u32 = lab.start(key, &shell(key, large)).line().parse().unwrap();
    lab.exit_of(key);
    let start = Instant::now();
    let resident = || {
        let statm = fs::read_to_string(format!("/proc/{survivor}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    while resident() < 500 << 20 {
        assert!(start.elapsed() < BOUND);
        std::thread::yield_now();
    }
    // Nobody has looked at it before: there is nothing but itself to know it by.
    let pid = rustix::process::Pid::from_raw(survivor.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut looks = 0;
    loop {
        let left = lab.children.leftovers(key);
        // Dead and not reaped: that happens in `collect` only.
        if stat_field(&fs::read_to_string(format!("/proc/{survivor}/stat")).unwrap(), 3) == "Z" {
            break;
        }
        assert_ne!(left, Some(0), "after {looks} looks");
        looks += 1;
    }
    lab.left(key, 0);
    looks
}

/// Whoever ends its first thread and lives on in others is known by those, and is in nobody else's way.
#[test]
fn one_whose_first_thread_has_ended_is_known() {
    const SCRIPT: &str = "import ctypes, os, threading, time\n\
        threading.Thread(target=time.sleep, args=(1000,)).start()\n\
        print(os.getpid(), flush=True)\n\
        ctypes.CDLL(None).syscall(EXIT, 0)";
    let exit = if cfg!(target_arch = "x86_64") { "60" } else { "93" };
    let script = SCRIPT.replace("EXIT", exit);
    let mut lab = Lab::new();
    let mut earlier = lab.start(1, &shell(1, "exit 0"));
    let python = format!("setsid python3 -c \"{script}\" & exit 0");
    let mut started = lab.start(2, &shell(2, &python));
    assert_eq!(earlier.all(), "");
    for key in [1, 2] {
        lab.exit_of(key);
    }
    let Ok(survivor) = started.line().parse::<u32>() else {
        return skipped("python3 is not installed: nothing has ended its first thread");
    };
    let start = Instant::now();
    while stat_field(&fs::read_to_string(format!("/proc/{survivor}/stat")).unwrap(), 3) != "Z" {
        assert!(start.elapsed() < BOUND);
        std::thread::yield_now();
    }
    lab.left(1, 0);
    lab.left(2, 1);
    lab.kill_leftovers(2);
}

/// It forks a successor in a new session and ends, again and again, so that a look at its tree always races with it. On
/// a busy machine whoever looks stands still while a hundred hops come and go.
#[test]
fn a_runaway_that_keeps_forking_away_is_never_lost_and_is_caught() {
    const HOPS: u64 = 1500;
    let mut lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("hops");
    // Should this test be killed, it ends as well.
    let goes_on = format!("kill -0 {} || exit", std::process::id());
    let hop = format!("#!/bin/sh\n{goes_on}\necho >>{}\nsetsid \"$0\" &\n", log.display());
    let hop = script(directory.path(), "hop", &hop, 0o755);
    let mut started = lab.start(1, &shell(1, &format!("setsid {} & echo off", hop.display())));
    assert_eq!(started.line(), "off");
    lab.exit_of(1);
    let hops = || fs::metadata(&log).map_or(0, |log| log.len());
    let (busy, start) = (busy_machine(), Instant::now());
    let mut looks = 0;
    while hops() < HOPS {
        // `None` says no more than that it was not seen.
        assert_ne!(lab.children.leftovers(1), Some(0), "lost at look {looks}, after {} hops", hops());
        lab.children.collect(false, &mut |_| (), &mut lab.found);
        looks += 1;
        assert!(start.elapsed() < BOUND, "it stands still after {} hops", hops());
    }
    drop(busy);
    println!("{looks} looks");
    lab.kill_leftovers(1);
    // It ends only if no hop is left to hold it.
    started.all();
}

/// Work for every processor, until it is dropped.
fn busy_machine() -> impl Drop {
    struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.drain(..).for_each(|thread| thread.join().unwrap());
        }
    }
    let over = Arc::new(AtomicBool::new(false));
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let spin = |over: Arc<AtomicBool>| move || while !over.load(Ordering::Relaxed) {};
    let threads = (0..processors).map(|_| std::thread::spawn(spin(Arc::clone(&over))));
    Busy(Arc::clone(&over), threads.collect())
}

#[test]
fn five_hundred_are_stopped_at_once() {
    const ALL: u64 = 500;
    let mut lab = Lab::new();
    for key in 0..ALL {
        let plan = SpawnPlan { stdout: Output::Null, ..plan(key, "/bin/sleep", ["1000"]) };
        lab.start(key, &plan);
    }
    let start = Instant::now();
    for key in 0..ALL {
        lab.children.signal(key, SIGTERM, Whom::Group).unwrap();
    }
    lab.collect_until("all of them", |_, found| found.len() >= usize::try_from(ALL).unwrap());
    for key in 0..ALL {
        assert_eq!(main_exit(&lab.found, key).unwrap().signal, Some(SIGTERM));
        lab.left(key, 0);
        lab.children.forget(key);
    }
    println!("stopped and checked in {:?}", start.elapsed());
}

#[test]
fn the_last_resort_ends_children_groups_and_daemons() {
    let mut lab = Lab::new();
    let script = "sleep 1000 & setsid sh -c '(echo up; sleep 1000; sleep 1000) &'; exec sleep 1000";
    let mut all = [1, 2, 3].map(|key| lab.start(key, &shell(key, script)));
    for started in &mut all {
        assert_eq!(started.line(), "up");
    }
    // Of each: the main process, its background child, the daemon. The daemon's own child may not be there yet, or for
    // a moment the one between.
    let killed = lab.children.end_all();
    assert!((9..=15).contains(&killed), "{killed}");
    assert!(own_children().is_empty());
    for started in &mut all {
        assert_eq!(started.all(), "");
    }
    assert_eq!(lab.children.end_all(), 0);
}
