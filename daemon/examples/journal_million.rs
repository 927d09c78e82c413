//! How long do questions take with a million events on disk? Writes them into a directory of its own and asks.
//!
//!     cargo run --release -p mcpd --example journal_million

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use mcpd::journal::{Filter, From, Journal, dir};
use mcpd::scribe::Scribe;

const EVENTS: u64 = 1_000_000;
const FILES: u64 = 16;
/// One of so many has a few events at the very beginning only.
const SERVICES: u64 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let state = std::env::temp_dir().join(format!("mcpd-journal-million-{}", std::process::id()));
    let folder = dir(&state);
    fs::create_dir_all(&folder)?;
    let begin = Timestamp::now().checked_sub(SignedDuration::from_hours(48))?;
    let mut bytes = 0;
    for file in 0..FILES {
        let first = file * EVENTS / FILES + 1;
        let mut text = String::new();
        for id in first..=(file + 1) * EVENTS / FILES {
            let time = begin.checked_add(SignedDuration::from_millis(i64::try_from(id * 170)?))?;
            let service =
                if id < 5_000 && id % 500 == 0 { "rare".into() } else { format!("s{}", id % SERVICES) };
            let cause = id.saturating_sub(SERVICES).max(1);
            writeln!(
                text,
                r#"{{"schema":1,"id":{id},"cause":{cause},"time":"{time:.6}","service":"{service}","event":"started","message":"started, pid {id}, as it should be","data":{{"generation":{file},"pid":{id}}}}}"#
            )?;
        }
        bytes += text.len();
        let name =
            if file + 1 == FILES { "events.jsonl".into() } else { format!("events-{first:020}.jsonl") };
        fs::write(folder.join(name), text)?;
    }
    println!("{EVENTS} events, {} MiB", bytes / 1024 / 1024);
    let timed = |what: &str, work: &mut dyn FnMut() -> Result<usize, Box<dyn Error>>| {
        let began = Instant::now();
        let found = work()?;
        println!("{what:<44} {found:>8} found {:>10.3?}", began.elapsed());
        Ok::<(), Box<dyn Error>>(())
    };
    let mut opened = None;
    timed("open, and the next id", &mut || {
        let (journal, next) = Journal::start(&state, |_| {})?;
        opened = Some(Scribe::start(journal)?.reader());
        Ok(usize::try_from(next - 1)?)
    })?;
    let reader = opened.ok_or("not opened")?;
    let hour = Timestamp::now().checked_sub(SignedDuration::from_hours(2))?;
    for round in ["cold", "again"] {
        println!("{round}");
        timed("  newest 100 of all", &mut || Ok(reader.newest(&Filter::all(), 100)?.len()))?;
        timed("  newest 10 of one service", &mut || Ok(reader.newest(&Filter::service("s7"), 10)?.len()))?;
        timed("  newest 10 of one at the very beginning", &mut || {
            Ok(reader.newest(&Filter::service("rare"), 10)?.len())
        })?;
        timed("  newest 10 of one that never was", &mut || {
            Ok(reader.newest(&Filter::service("none"), 10)?.len())
        })?;
        timed("  one by its id", &mut || Ok(usize::from(reader.get(EVENTS / 3)?.is_some())))?;
        timed("  a chain of 20 causes", &mut || Ok(reader.chain(EVENTS - 1, 20)?.len()))?;
        timed("  a service's since two hours", &mut || {
            Ok(reader.since(hour, &Filter::service("s7"), 1000)?.len())
        })?;
        timed("  all since two hours, newest 1000", &mut || {
            Ok(reader.since(hour, &Filter::all(), 1000)?.len())
        })?;
        timed("  all after an id, 1000 of them", &mut || {
            let mut found = 0;
            reader.walk(From::After(EVENTS / 2), &Filter::all(), &mut |_| {
                found += 1;
                found < 1000
            })?;
            Ok(found)
        })?;
    }
    fs::remove_dir_all(state)?;
    Ok(())
}
