//! mcpd is killed and stopped at random instants, hundreds of times, while services print and crash. At the end an audit:
//! every line once, whole and in order, every start and every end told once with its true status, nobody restarted who did
//! not die.
//!
//! With `MCPD_CHAOS_UNIT=NAME` mcpd is started by systemd as a unit of this name, with a watchdog (`tests/systemd/inside`).
//!
//! `MCPD_CHAOS_SECONDS=3600 cargo test --release -p mcpd-tests --test chaos` for an hour of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcpd_tests::proto::client::Client;
use mcpd_tests::proto::event::Event;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Daemon, Sandbox, patience, processes};
use rustix::process::Signal;
use serde_json::json;

const SERVICES: usize = 50;

/// How a run said that it was going to end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Code(i64),
    Signal(i64),
}

/// What a run said that it was going to do.
#[derive(Debug, Clone)]
struct Plan {
    pid: u64,
    lines: u64,
    end: End,
}

/// All that is left of it: to be audited.
#[derive(Clone)]
struct Traces {
    /// By service, in the order in which they began.
    plans: BTreeMap<String, Vec<Plan>>,
    /// By service: the text of its log.
    logs: BTreeMap<String, String>,
    events: Vec<Event>,
}

impl Traces {
    fn read(sandbox: &Sandbox) -> Self {
        let (mut plans, mut logs) = (BTreeMap::new(), BTreeMap::new());
        for name in names() {
            let text = std::fs::read_to_string(sandbox.path(&format!("{name}.plan"))).unwrap_or_default();
            plans.insert(name.clone(), text.lines().map(plan).collect());
            let log = log(sandbox, &name);
            logs.insert(name, log);
        }
        Self { plans, logs, events: events(sandbox) }
    }

    /// Everything that is not as it should be.
    fn audit(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, plans) in &self.plans {
            self.audit_lines(name, plans, &mut wrong);
            self.audit_ends(name, plans, &mut wrong);
        }
        wrong
    }

    fn audit_lines(&self, name: &str, plans: &[Plan], wrong: &mut Vec<String>) {
        let mut seen: HashMap<(u64, bool), u64> = HashMap::new();
        for line in self.logs[name].lines() {
            // TIME STREAM TEXT
            let words: Vec<&str> = line.split(' ').collect();
            let told = match words.as_slice() {
                [_, "out", pid, number] => Some((pid, number, false)),
                [_, "err", "e", pid, number] => Some((pid, number, true)),
                _ => None,
            };
            let told = told
                .and_then(|(pid, number, err)| Some((pid.parse().ok()?, number.parse::<u64>().ok()?, err)));
            let Some((pid, number, err)) = told else {
                wrong.push(format!("{name}: torn: {line:?}"));
                continue;
            };
            let last = seen.entry((pid, err)).or_default();
            if number != *last + 1 {
                wrong.push(format!("{name}: line {number} of {pid} after {last} (stderr: {err})"));
            }
            *last = number.max(*last);
        }
        // The last one was stopped.
        for plan in plans.iter().rev().skip(1) {
            for err in [false, true] {
                let last = seen.get(&(plan.pid, err)).copied().unwrap_or(0);
                if last != plan.lines {
                    wrong.push(format!("{name}: the last line is {last} of {} of {}", plan.lines, plan.pid));
                }
            }
        }
    }

    fn audit_ends(&self, name: &str, plans: &[Plan], wrong: &mut Vec<String>) {
        let of = |kind: &str| -> Vec<&Event> {
            let its = |event: &&Event| event.service.as_deref() == Some(name) && event.event == kind;
            self.events.iter().filter(its).collect()
        };
        let started: Vec<u64> = of("started").iter().filter_map(|event| event.data["pid"].as_u64()).collect();
        let planned: Vec<u64> = plans.iter().map(|plan| plan.pid).collect();
        // The last one was stopped, in whatever way; maybe before it had come to saying anything.
        let silent = started.len() == planned.len() + 1;
        if started.len() < planned.len() || started[..started.len() - usize::from(silent)] != planned {
            wrong.push(format!("{name}: started {started:?}, and these ran: {planned:?}"));
        }
        let ends: Vec<End> = of("exited").iter().map(|event| end_of(event)).collect();
        let expected: Vec<End> = plans.iter().map(|plan| plan.end.clone()).collect();
        let sure = if silent { expected.len() } else { expected.len() - 1 };
        if ends.len() != started.len() || ends[..sure.min(ends.len())] != expected[..sure] {
            wrong.push(format!("{name}: ends {ends:?}, and these were: {expected:?}"));
        }
    }
}

/// All starts and ends, from the files: over the socket there are the newest ten thousand. They are written a little later.
fn events(sandbox: &Sandbox) -> Vec<Event> {
    let directory = sandbox.state_dir().join("events");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    // `events-NUMBER.jsonl` is older than `events.jsonl`, and comes before it.
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let ours = |line: &&str| line.contains("\"event\":\"started\"") || line.contains("\"event\":\"exited\"");
    text.lines().filter(ours).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The whole of it, through all rotations.
fn log(sandbox: &Sandbox, name: &str) -> String {
    let current = format!("{name}.log");
    let there = std::fs::read_dir(sandbox.log_dir()).into_iter().flatten();
    let mut names: Vec<String> =
        there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|file| file.strip_prefix(&current).is_some_and(|rest| !rest.is_empty()));
    names.sort();
    names.push(current);
    let text = |file: &String| std::fs::read_to_string(sandbox.log_dir().join(file)).unwrap_or_default();
    names.iter().map(text).collect()
}

fn plan(line: &str) -> Plan {
    let words: Vec<&str> = line.split(' ').collect();
    let [pid, lines, kind, number] = words.as_slice() else { panic!("{line:?}") };
    let number = number.parse().unwrap();
    let end = if *kind == "code" { End::Code(number) } else { End::Signal(number) };
    Plan { pid: pid.parse().unwrap(), lines: lines.parse().unwrap(), end }
}

fn end_of(event: &Event) -> End {
    if let Some(code) = event.data["exit_code"].as_i64() {
        return End::Code(code);
    }
    let numbers = [("SIGKILL", 9), ("SIGUSR2", 12), ("SIGTERM", 15)];
    let number = numbers.iter().find(|(name, _)| event.data["signal"] == *name).map(|(_, number)| *number);
    End::Signal(number.unwrap_or_else(|| panic!("{event:?}")))
}

fn names() -> impl Iterator<Item = String> {
    (0..SERVICES).map(|number| format!("s{number:02}"))
}

fn services() -> String {
    let mut text = String::new();
    for name in names() {
        let _ = write!(
            text,
            "[service.{name}]\nexec = [\"@fixture\", \"chatter\", \"@dir/{name}.plan\"]\n\
             restart = {{ when = \"always\", delay = \"50ms\", multiplier = 1, max_restarts = 0 }}\n\
             log = {{ max_size = \"8K\", max_files = 100000 }}\n"
        );
    }
    text
}

/// mcpd as the unit of this name. What is started here ends when the unit does.
fn as_unit<'s>(sandbox: &'s Sandbox, unit: &str) -> Daemon<'s> {
    Daemon::start(sandbox, |command| {
        let mut own = sandbox.command("systemd-run".as_ref());
        own.args(["--quiet", "--wait", "--pipe", "--unit", unit, "--setenv", mcpd_tests::sandbox::MARK]);
        // A hang is found out by the keeper, long before systemd ends everything for it.
        for property in
            ["Type=notify", "WatchdogSec=8s", "Delegate=yes", "KillMode=mixed", "LimitNOFILE=65536"]
        {
            own.args(["--property", property]);
        }
        own.arg(command.get_program()).args(command.get_args());
        let append =
            |name| std::fs::File::options().append(true).create(true).open(sandbox.path(name)).unwrap();
        own.stdout(append("mcpd.out")).stderr(append("mcpd.err"));
        *command = own;
    })
}

/// What systemd says of a unit.
fn property(unit: &str, name: &str) -> String {
    let said =
        Command::new("systemctl").args(["show", "--value", "--property", name, unit]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// The daemon that the keeper has now.
fn daemon_of(keeper: u32) -> Option<u32> {
    processes::children(keeper).into_iter().find(|child| child.name == "mcpd").map(|child| child.pid)
}

fn private_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn killed_and_stopped_at_random() {
    let seconds = std::env::var("MCPD_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let sandbox = Sandbox::new(&services());
    let unit = std::env::var("MCPD_CHAOS_UNIT").ok();
    let mut daemon = unit.as_deref().map_or_else(|| sandbox.start(), |unit| as_unit(&sandbox, unit));
    let keeper = daemon.call("daemon.status", json!({}))["keeper"]["pid"].as_u64().unwrap();
    let keeper = u32::try_from(keeper).unwrap();
    daemon.wait("all of them", || {
        let up = daemon.list().services.iter().filter(|service| service.pid.is_some()).count();
        if up > SERVICES / 2 { Ok(()) } else { Err(format!("{up}")) }
    });
    let (files, memory) = (open_files(keeper), private_kib(keeper));
    let over = AtomicBool::new(false);
    let (answers, mut kills) = (AtomicU64::new(0), 0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let asked = Client::connect(&sandbox.socket()).and_then(|mut client| {
                        client.set_timeout(Some(patience()));
                        client.call("service.list", json!({}))
                    });
                    // One that was asking the daemon that was killed asks again.
                    answers.fetch_add(u64::from(asked.is_ok()), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut dice = 0x2545_f491_4f6c_dd1d_u64;
        while Instant::now() < until {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            std::thread::sleep(Duration::from_micros(dice % 300_000));
            let Some(pid) = daemon_of(keeper) else { continue };
            let signal = if dice.is_multiple_of(20) { Signal::STOP } else { Signal::KILL };
            processes::signal(pid, signal);
            kills += 1;
            wait_for("its end", || !processes::lives(pid));
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{kills} kills, {} answers", answers.load(Ordering::Relaxed));
    assert!(answers.load(Ordering::Relaxed) > 10);
    let all: Vec<String> = names().collect();
    daemon.call("service.stop", json!({ "names": all }));
    // What was printed last is on its way.
    daemon.wait("every line on disk", || {
        let traces = Traces::read(&sandbox);
        let wrong = traces.audit();
        let told: usize = traces.plans.values().map(Vec::len).sum();
        if told > SERVICES && wrong.is_empty() {
            return Ok(());
        }
        Err(format!("{} of {told} runs:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n")))
    });
    let traces = Traces::read(&sandbox);
    let runs: usize = traces.plans.values().map(Vec::len).sum();
    let lines: u64 = traces.plans.values().flatten().map(|plan| 2 * plan.lines).sum();
    println!("the keeper: {memory} KiB, and now {}", private_kib(keeper));
    println!("{runs} runs, {} events, {lines} lines", traces.events.len());

    // It would notice: one line less, one twice, one end less, another status.
    let name = all[0].as_str();
    let spoilt = |spoil: &dyn Fn(&mut Traces)| {
        let mut traces = traces.clone();
        spoil(&mut traces);
        traces.audit().len()
    };
    let log: Vec<&str> = traces.logs[name].lines().collect();
    let but_one = [&log[..1], &log[2..]].concat().join("\n");
    let twice = [&log[..2], &log[1..]].concat().join("\n");
    assert!(spoilt(&|traces| drop(traces.logs.insert(name.into(), but_one.clone()))) > 0);
    assert!(spoilt(&|traces| drop(traces.logs.insert(name.into(), twice.clone()))) > 0);
    let exited = traces.events.iter().position(|event| event.event == "exited").unwrap();
    assert!(spoilt(&|traces| drop(traces.events.remove(exited))) > 0);
    assert!(spoilt(&|traces| traces.events[exited].data = json!({ "exit_code": 77 })) > 0);

    // The pipes of what runs no more are gone.
    wait_for("as many files as before", || open_files(keeper) <= files);
    assert!(private_kib(keeper) < memory + 1024, "{memory} KiB, and now {}", private_kib(keeper));
    if let Some(unit) = unit {
        let property = |name| property(&unit, name);
        assert_eq!((property("MainPID"), property("NRestarts")), (keeper.to_string(), "0".to_owned()));
        daemon.call("daemon.shutdown", json!({}));
        assert!(daemon.wait_end().success(), "{}", daemon.stderr());
    }
}
