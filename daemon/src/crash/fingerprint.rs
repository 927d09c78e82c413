//! Which crashes are the same one again?
//!
//! A fingerprint is a sum over what stays the same when a failure repeats: the service, the kind of end, the words of the
//! cause and the innermost frames, without what differs from one time to the next: numbers, addresses, times, ids, and the
//! directories of paths. Two causes that differ in nothing else are one group. It is kept in reports, so what it is made
//! of changes only with a good reason: older reports then form groups of their own.

use std::sync::LazyLock;

use mcpd_proto::crash::CrashKind;
use regex::{Captures, Regex};

/// Characters of a normalised text that count. A cause may be a line of any length.
const MAX_TEXT: usize = 512;

/// Characters that are looked at: normalising takes time.
const MAX_RAW: usize = 4096;

/// What a crash is told by.
#[derive(Debug, Clone, Copy)]
pub struct Death<'d> {
    /// Whose.
    pub service: &'d str,
    /// Which kind of end.
    pub kind: CrashKind,
    /// The key of the command, when it was not `exec`.
    pub phase: Option<&'d str>,
    /// Counts for an end of its own, where no cause is known.
    pub exit_code: Option<i32>,
    /// Counts for an end that was not mcpd's doing.
    pub signal: Option<&'d str>,
    /// The evidence.
    pub cause: Option<&'d str>,
    /// The innermost frames.
    pub frames: &'d [String],
}

/// 16 hex digits.
#[must_use]
pub fn of(death: &Death<'_>) -> String {
    let Death { service, kind, phase, exit_code, signal, cause, frames } = *death;
    let cause = cause.map(normalised).unwrap_or_default();
    // How a process took a signal of mcpd's or the kernel's says nothing about the cause.
    let own = match kind {
        CrashKind::Exit | CrashKind::Signal | CrashKind::Spawn => true,
        CrashKind::Oom
        | CrashKind::Health
        | CrashKind::Watchdog
        | CrashKind::StartTimeout
        | CrashKind::StopTimeout => false,
    };
    let code = exit_code.filter(|_| own && cause.is_empty()).map(|code| code.to_string());
    let signal = signal.filter(|_| own);
    let mut sum = Sum::new();
    for part in [service, kind.name(), phase.unwrap_or(""), signal.unwrap_or(""), &code.unwrap_or_default()] {
        sum.add(part);
    }
    sum.add(&cause);
    for frame in frames {
        sum.add(&normalised(frame));
    }
    format!("{:016x}", sum.end())
}

/// FNV-1a over parts that cannot run into each other, well mixed.
struct Sum(u64);

impl Sum {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, part: &str) {
        for byte in part.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    const fn end(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 33)
    }
}

/// A cause or a frame without what differs from one time to the next; `#` stands for what was left out.
#[must_use]
pub fn normalised(text: &str) -> String {
    let text: String = text.chars().take(MAX_RAW).collect();
    let text = UUID.replace_all(&text, "#");
    let text = TIME.replace_all(&text, "#");
    let text = URL.replace_all(&text, |found: &Captures<'_>| {
        let path = found.name("path").map_or("", |path| path.as_str());
        let name = path.rsplit('/').next().unwrap_or_default();
        format!("{} {} {name}", &found["scheme"], &found["host"])
    });
    let text = PATH.replace_all(&text, |found: &Captures<'_>| {
        // A name in a directory of temporary files is made up.
        let made_up = matches!(&found["dirs"], "/tmp/" | "/var/tmp/");
        format!("{}{}", &found["before"], if made_up { "#" } else { &found["name"] })
    });
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if word == 0 {
            let end = rest.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            push_word(&mut out, &rest[..word]);
            rest = &rest[word..];
        }
    }
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    // "1.5 s", "300 ms", "12 bytes"; "127.0.0.1:80"; "1, 2, 3": how many there are differs as well.
    let mut out = MEASURE.replace_all(&out, "#").into_owned();
    while let std::borrow::Cow::Owned(joined) = SEVERAL.replace_all(&out, "#") {
        if joined == out {
            break;
        }
        out = joined;
    }
    out.chars().take(MAX_TEXT).collect()
}

/// A number, an address or an id becomes `#`; a word loses the number at its end or beginning.
fn push_word(out: &mut String, word: &str) {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return out.push_str(word);
    }
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let address = word.strip_prefix("0x").is_some_and(hex);
    let turns =
        word.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit());
    let id = (word.len() >= 6 && hex(word)) || turns.count() >= 3 || (word.len() >= 16 && digits >= 3);
    if address || id {
        return out.push('#');
    }
    // `worker12` is one of many, `Base64Error` is a name.
    let bare = word.trim_start_matches(|c: char| c.is_ascii_digit());
    if bare.len() < word.len() {
        out.push('#');
    }
    let name = bare.trim_end_matches(|c: char| c.is_ascii_digit());
    out.push_str(name);
    if name.len() < bare.len() {
        out.push('#');
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant that the tests compile")
}

static UUID: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b")
});

/// Dates and times of day as programs print them.
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\b\d{4}[-/]\d{2}[-/]\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2})\b)?)?",
        r"|\b\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?(?: ?[AP]M\b)?",
        r"|\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?",
        r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* +\d{1,2}(?:,? \d{4})?\b",
    ))
});

static URL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"\b(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^\s/?#'"<>@]*@)?(?P<host>\[[0-9A-Fa-f:]+\]|[^\s/:?#'"<>)]*)"#,
        r#"(?::\d+)?(?P<path>/[^\s?#'"<>)]*)?(?:[?#][^\s'"<>)]*)?"#,
    ))
});

/// Directories and the name in them. A word with a slash in it is taken for a path: it loses its beginning.
static PATH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?P<before>^|[^\w/\\.~-])(?P<dirs>(?:[A-Za-z]:)?[\w.~@+-]*[/\\](?:[\w.@+%=~$-]+[/\\])*)(?P<name>[\w.@+%=~$-]+)"#,
    )
});

static MEASURE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"#(?:[.,]#)? ?(?:%|(?:ns|us|µs|ms|s|sec|secs|seconds?|min|minutes?|h|hours?|B|bytes?|[KMGT]i?B?|kB)\b)",
    )
});

static SEVERAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"-?#(?:(?:[.:_-]|, ?| )?-?#)+"));
