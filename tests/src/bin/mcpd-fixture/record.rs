//! What it leaves behind for the scenario to read.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::id;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::Args;
use crate::{http, life, run, sys, wrong};

/// Appends `PID UNIX_MILLISECONDS`; one write, so that lines of several processes do not mix.
fn note_start(file: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut open| open.write_all(format!("{} {now}\n", id()).as_bytes()))
        .unwrap_or_else(|error| wrong(&format!("cannot append to {}: {error}", file.display())));
}

/// `record`
pub(crate) fn record(mut args: Args) -> ! {
    note_start(&args.path("FILE"));
    run(args)
}

/// `crash-first`
pub(crate) fn crash_first(mut args: Args) -> ! {
    let times: usize = args.value("N");
    let file = args.path("FILE");
    note_start(&file);
    let starts = std::fs::read_to_string(&file).map(|text| text.lines().count()).unwrap_or(0);
    if starts <= times {
        life::crash(1)
    }
    run(args)
}

/// `env`
pub(crate) fn env(mut args: Args) -> ! {
    let file = args.path("FILE");
    args.done();
    let signals_before = sys::state();
    let signals = sys::Signals::block();
    let mut json = String::from("{\"env\":{");
    for (index, (name, value)) in std::env::vars_os().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(json, "{comma}{}:{}", quote(&name.to_string_lossy()), quote(&value.to_string_lossy()));
    }
    let cwd = std::env::current_dir().unwrap_or_default();
    let words: Vec<String> = std::env::args_os().map(|word| quote(&word.to_string_lossy())).collect();
    let _ = write!(
        json,
        "}},\"cwd\":{},\"args\":[{}],\"pid\":{},\"system\":{signals_before}}}",
        quote(&cwd.to_string_lossy()),
        words.join(","),
        id()
    );
    http::publish(&file, &json);
    life::ready();
    signals.stay(&sys::Stay::default())
}

/// A JSON string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
