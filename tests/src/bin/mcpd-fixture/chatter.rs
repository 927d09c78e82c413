//! Prints numbered lines and ends by chance, after it has said in a file what it is going to do.

use std::collections::hash_map::RandomState;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher};
use std::io::Write as _;
use std::process::{exit, id};
use std::thread::sleep;
use std::time::Duration;

use crate::args::Args;
use crate::{sys, wrong};

/// The signals that end it, by number: none of them leaves a core.
const SIGNALS: [i32; 3] = [9, 12, 15];

/// A number below `end`, another one each time.
fn chance(end: u64) -> u64 {
    RandomState::new().build_hasher().finish() % end
}

/// `chatter`
pub(crate) fn chatter(mut args: Args) -> ! {
    let most: u64 = args.option("--most").unwrap_or(60);
    let file = args.path("FILE");
    args.done();
    let lines = 1 + chance(most);
    let by_signal = chance(3) == 0;
    let end = if by_signal {
        SIGNALS[usize::try_from(chance(3)).unwrap_or(0)]
    } else {
        i32::try_from(chance(20)).unwrap_or(0)
    };
    let kind = if by_signal { "signal" } else { "code" };
    let plan = format!("{} {lines} {kind} {end}\n", id());
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(&file)
        .and_then(|mut open| open.write_all(plan.as_bytes()))
        .unwrap_or_else(|error| wrong(&format!("cannot append to {}: {error}", file.display())));
    for line in 1..=lines {
        // In one write each, as `println!` to a pipe would be in two.
        let text = format!("{} {line}\n", id());
        let _ = std::io::stdout().write_all(text.as_bytes());
        let _ = std::io::stdout().flush();
        let _ = std::io::stderr().write_all(format!("e {text}").as_bytes());
        sleep(Duration::from_millis(chance(40)));
    }
    if by_signal {
        sys::end_by(end)
    }
    exit(end)
}
