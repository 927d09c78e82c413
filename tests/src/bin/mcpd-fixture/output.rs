//! What it prints: much, or what is no text.

use std::fs::File;
use std::io::{self, Write};
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use crate::args::Args;
use crate::sys;

/// Where a subcommand prints.
fn stream(stderr: bool) -> Box<dyn Write> {
    if stderr { Box::new(io::stderr().lock()) } else { Box::new(RawStdout) }
}

/// stdout without the standard library's line buffer, so that a line of 10 MB goes out as it is.
struct RawStdout;

impl Write for RawStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sys::write_stdout(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// After the output: exit, or live on.
fn then(signals: &sys::Signals, code: Option<i32>, done: Option<std::path::PathBuf>) -> ! {
    if let Some(done) = done {
        std::fs::write(done, b"done").expect("the file that says that the output is out can be written");
    }
    match code {
        Some(code) => exit(code),
        None => signals.stay(&sys::Stay::default()),
    }
}

/// `flood`
pub(crate) fn flood(mut args: Args) -> ! {
    let length = args.option("--line-len").unwrap_or(80_usize).max(1);
    let (numbered, stderr) = (args.flag("--numbered"), args.flag("--stderr"));
    let (code, done) = (args.option("--exit"), args.file("--done-file"));
    let pause: Option<u64> = args.option("--pause-us");
    let amount = args.word("BYTES or `lines`");
    let lines: u64 = if amount == "lines" {
        args.value("N")
    } else {
        let bytes: u64 = amount.parse().unwrap_or_else(|_| crate::wrong("BYTES is no number"));
        bytes.div_ceil(length as u64 + 1)
    };
    args.done();
    let signals = sys::Signals::block();
    let mut out = stream(stderr);
    // Many lines in one write, as a program with a buffered stdout does; a paced flood writes line by line.
    let batch_limit = if pause.is_some() { 0 } else { 32 * 1024 };
    let mut batch = Vec::new();
    for number in 1..=lines {
        let start = batch.len();
        if numbered {
            batch.extend_from_slice(format!("line {number:08} ").as_bytes());
        }
        let filled = batch.len() - start;
        batch.resize(batch.len() + length.saturating_sub(filled), b'x');
        batch.push(b'\n');
        if batch.len() > batch_limit || number == lines {
            out.write_all(&batch).expect("somebody reads the flood");
            batch.clear();
        }
        if let Some(pause) = pause {
            sleep(Duration::from_micros(pause));
        }
    }
    drop(out);
    then(&signals, code, done)
}

/// `garbage`
pub(crate) fn garbage(mut args: Args) -> ! {
    let (copy, stderr, code) = (args.file("--copy"), args.flag("--stderr"), args.option("--exit"));
    args.done();
    let signals = sys::Signals::block();
    let bytes = garbage_bytes();
    if let Some(copy) = copy {
        // Complete before the first byte is printed, so that whoever sees output finds the whole copy.
        let part = copy.with_extension("part");
        File::create(&part)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| std::fs::rename(&part, &copy))
            .expect("the copy can be written");
    }
    stream(stderr).write_all(&bytes).expect("somebody reads the garbage");
    then(&signals, code, None)
}

/// The same bytes at every call: each hard case once, then noise.
fn garbage_bytes() -> Vec<u8> {
    const LONG_LINE: usize = 10_000_000;
    const NOISE: usize = 64 * 1024;
    let mut bytes = Vec::with_capacity(LONG_LINE + NOISE + 1024);
    bytes.extend_from_slice(b"plain\n\n\r\nwith\rreturn\n");
    bytes.extend_from_slice("grün 日本語 \u{1f980}\n".as_bytes());
    bytes.extend_from_slice(b"nul \0\0 nul\n\0\n");
    bytes.extend_from_slice(b"lone continuation \x80\xbf, cut sequence \xe6\x97\n");
    bytes.extend_from_slice(
        b"overlong \xc0\xaf, surrogate \xed\xa0\x80, too high \xf4\x90\x80\x80, never \xfe\xff\n",
    );
    bytes.extend_from_slice(b"escape \x1b[31mred\x1b[0m bell \x07 backspace \x08\n");
    bytes.extend_from_slice(b"2026-11-22T11:30:00.123456Z out a line that looks like a stored one\n");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        // xorshift64: the sequence is fixed by its seed.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    for _ in 0..NOISE / 8 {
        bytes.extend_from_slice(&random());
    }
    bytes.push(b'\n');
    let start = bytes.len();
    while bytes.len() - start < LONG_LINE {
        // No newline in it, but every other byte.
        bytes.extend_from_slice(&random().map(|byte| if byte == b'\n' { b'n' } else { byte }));
    }
    bytes.push(b'\n');
    bytes.extend_from_slice(b"no newline behind this \xff");
    bytes
}
