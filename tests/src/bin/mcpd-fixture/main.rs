//! One small program that misbehaves on demand, so that scenarios can show what mcpd makes of it.
//!
//! It uses the standard library only (and `libc` on Unix), starts in a millisecond and keeps its promises exactly: what a
//! subcommand prints and when it ends is stated in [`USAGE`], and scenarios rely on it.

mod args;
#[cfg(unix)]
mod chatter;
mod http;
mod life;
#[cfg(unix)]
mod notify;
mod output;
mod record;
#[cfg(unix)]
#[path = "unix.rs"]
mod sys;
#[cfg(windows)]
#[path = "windows.rs"]
mod sys;

use std::process::exit;

use args::Args;

/// What it can do; printed when it is called wrongly.
const USAGE: &str = "\
mcpd-fixture SUBCOMMAND

Ends by itself
  exit CODE [--after MS] [--stdout TEXT] [--stderr TEXT]   print, wait, exit
  crash-on FILE [--keep] [--code N]    print `ready PID`; once FILE exists: remove it (unless --keep), print a Python
                                       traceback on stderr, exit N (default 1)
  crash-first N FILE SUBCOMMAND...     exit 1 with a traceback in the first N runs (counted in FILE), then SUBCOMMAND
  signal-self SIGNAL [--after MS]      (unix) end by this signal, a name or a number
  stop-self [--after MS]               (unix) SIGSTOP itself after printing `ready PID`

Runs for ever
  run [--exit-code N] [--term-delay MS] [--term-crash]
                                       print `ready PID`; on SIGTERM or SIGINT wait, then exit N (default 0), or abort
                                       with --term-crash; print `signal NAME` for HUP, USR1, USR2
  ignore-term [--children N]           (unix) deaf to TERM, INT, HUP, as are its N children; prints `ready PID`
  fork-away --pid-file FILE [--leader-exit CODE] [--after MS] [--deaf] [--quiet]
                                       (unix) a daemonised grandchild (double fork, setsid, deaf to HUP, and to TERM with
                                       --deaf) keeps stdout and stderr (unless --quiet); the leader exits CODE after MS,
                                       or stays as `run`
  tree N [--pid-file FILE] [--deaf] [--depth D]
                                       (unix) N children, below each a chain down to depth D (default 2, the children
                                       are 1), in the leader's group; a line PID of each is appended to FILE
  crowd N FILE                         (unix) start children until there are N or the system refuses one; write how many
                                       there are to FILE, then as `run`
  leak MB_PER_S [--max MB]             allocate and touch so much per second
  env FILE                             write environment, working directory, arguments (and, on Linux, descriptors and
                                       signal masks) to FILE as JSON, then as `run`

Says things about itself (unix; sd_notify)
  notify STEP...                       each step in turn, then print `ready PID` and as `run`:
                                       say=TEXT (`\\n` is a new line), child=TEXT (a child says it and stays),
                                       brief=TEXT (a child says it, waits until it is heard, exits), away=TEXT (a
                                       grandchild in another session says it and stays), barrier= (wait until all is
                                       heard), feed=MS:FILE (WATCHDOG=1 every MS until FILE exists), await=FILE,
                                       pause=MS, exit=CODE

Prints
  flood BYTES [--line-len L] [--stderr] [--exit CODE] [--done-file FILE]
  flood lines N [--line-len L] [--numbered] [--stderr] [--exit CODE] [--done-file FILE] [--pause-us US]
                                       so much output, then `exit CODE` or as `run`; --numbered: `line 00000042 ...`
  garbage [--copy FILE] [--stderr] [--exit CODE]
                                       invalid UTF-8, NULs, a 10 MB line, no newline at the end; the same bytes to FILE

  chatter FILE [--most N]              (unix) append `PID LINES code N` or `PID LINES signal N` to FILE, print so many lines
                                       `PID LINE` (and `e PID LINE` on stderr) with pauses, end so; all of it by chance

Listens (ADDRESS is PORT or IP:PORT; port 0 picks one; --port-file FILE gets the one in use)
  http ADDRESS [--port-file FILE] [--healthy-after MS] [--status N] [--body TEXT] [--delay MS] [--hang-on FILE]
               [--unhealthy-on FILE] [--crash-on FILE] [--count-file FILE]
                                       every GET is answered {\"status\":\"healthy\"}; 503 before --healthy-after and while
                                       --unhealthy-on exists; no answer while --hang-on exists; one byte per request is
                                       appended to --count-file
  hang-listen ADDRESS [--port-file FILE]   accepts, never answers

Wraps another subcommand
  slow-start MS SUBCOMMAND...          wait first
  record FILE SUBCOMMAND...            append a line `PID UNIX_MILLISECONDS` to FILE first

Answers
  exists FILE                          exit 0 when FILE exists, else 1 with a word on stderr
";

fn main() {
    run(Args::from_environment());
}

/// Does what the first argument says. Wrappers call it again with what is left.
fn run(mut args: Args) -> ! {
    let Some(subcommand) = args.next() else { wrong("no subcommand") };
    match subcommand.as_str() {
        "exit" => life::exit_with(args),
        "crash-on" => life::crash_on(args),
        "crash-first" => record::crash_first(args),
        "signal-self" => sys::signal_self(args),
        "stop-self" => sys::stop_self(args),
        "run" => life::run(args),
        "ignore-term" => sys::ignore_term(args),
        "fork-away" => sys::fork_away(args),
        "tree" => sys::tree(args),
        "crowd" => sys::crowd(args),
        "leak" => life::leak(args),
        #[cfg(unix)]
        "notify" => notify::notify(args),
        "env" => record::env(args),
        "flood" => output::flood(args),
        "garbage" => output::garbage(args),
        #[cfg(unix)]
        "chatter" => chatter::chatter(args),
        "http" => http::http(args),
        "hang-listen" => http::hang_listen(args),
        "slow-start" => life::slow_start(args),
        "record" => record::record(args),
        "exists" => life::exists(args),
        other => wrong(&format!("no subcommand `{other}`")),
    }
}

/// Ends with the usage and code 2.
fn wrong(what: &str) -> ! {
    eprintln!("mcpd-fixture: {what}\n\n{USAGE}");
    exit(2)
}
