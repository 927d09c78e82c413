//! How it lives and ends.

use std::io::Write;
use std::process::{exit, id};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::{run as dispatch, sys};

/// A look at the file system while waiting for a file to appear: short against what scenarios measure.
const LOOK: Duration = Duration::from_millis(5);

/// What Python prints when a server falls over.
const TRACEBACK: &str = "Traceback (most recent call last):
  File \"/srv/app/main.py\", line 42, in <module>
    serve()
  File \"/srv/app/main.py\", line 17, in serve
    raise RuntimeError(\"crashed on demand\")
RuntimeError: crashed on demand
";

/// Writes all of it at once and at once: a reader sees it before anything that happens later.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away is none of the fixture's business.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The line that scenarios wait for.
pub(crate) fn ready() {
    say(&format!("ready {}\n", id()));
}

/// Prints the traceback and exits.
pub(crate) fn crash(code: i32) -> ! {
    let _ = std::io::stderr().write_all(TRACEBACK.as_bytes());
    exit(code)
}

/// Waits until `file` exists; with no file for ever.
pub(crate) fn wait_for(file: &std::path::Path) {
    while !file.exists() {
        sleep(LOOK);
    }
}

/// `exit`
pub(crate) fn exit_with(mut args: Args) -> ! {
    let (after, stdout, stderr) = (args.millis("--after"), args.text("--stdout"), args.text("--stderr"));
    let code = args.value("CODE");
    args.done();
    if let Some(text) = stdout {
        say(&format!("{text}\n"));
    }
    if let Some(text) = stderr {
        let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
    }
    if let Some(after) = after {
        sleep(after);
    }
    exit(code)
}

/// `crash-on`
pub(crate) fn crash_on(mut args: Args) -> ! {
    let (keep, code) = (args.flag("--keep"), args.option("--code").unwrap_or(1));
    let file = args.path("FILE");
    args.done();
    ready();
    wait_for(&file);
    if !keep {
        // The next run is to live until it is asked again.
        let _ = std::fs::remove_file(&file);
    }
    crash(code)
}

/// `run`
pub(crate) fn run(mut args: Args) -> ! {
    let stay = sys::Stay {
        code: args.option("--exit-code").unwrap_or(0),
        delay: args.millis("--term-delay").unwrap_or_default(),
        crash: args.flag("--term-crash"),
    };
    args.done();
    // Before the line: whoever has read it may signal at once.
    let signals = sys::Signals::block();
    ready();
    signals.stay(&stay)
}

/// `leak`
pub(crate) fn leak(mut args: Args) -> ! {
    const STEP: Duration = Duration::from_millis(100);
    const MIB: usize = 1024 * 1024;
    let limit: usize = args.option("--max").unwrap_or(usize::MAX / MIB);
    let rate: usize = args.value("MB_PER_S");
    args.done();
    ready();
    let started = Instant::now();
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        let due =
            usize::try_from(started.elapsed().as_millis()).unwrap_or(usize::MAX).saturating_mul(rate) / 1000;
        while held.len() < due.min(limit) {
            // Written, not only asked for: only touched pages count.
            held.push(vec![0xa5; MIB]);
        }
        sleep(STEP);
    }
}

/// `slow-start`
pub(crate) fn slow_start(mut args: Args) -> ! {
    sleep(Duration::from_millis(args.value("MS")));
    dispatch(args)
}

/// `exists`
pub(crate) fn exists(mut args: Args) -> ! {
    let file = args.path("FILE");
    args.done();
    if file.exists() {
        exit(0);
    }
    eprintln!("{} is not there", file.display());
    exit(1)
}
