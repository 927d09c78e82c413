//! What does the command line say?

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::when::{self, Limit};

const EXIT_CODES: &str = "\
Exit codes:
  0  done                          5  no such service
  1  failed                        6  configuration invalid
  2  usage                         7  not running
  3  status NAME: not running     10  daemon unreachable
  4  not permitted;               11  timed out
     status NAME: no such service

Examples:
  mcpctl status                    what runs, what does not
  mcpctl status web                everything about one, with its last log lines
  mcpctl why web                   why it is so, and what to do
  mcpctl restart web               waits until it is up, or says why it is not
  mcpctl crashes --last 5          the newest crashes of all services
  mcpctl logs web -f               follow its output";

/// Client of mcpd: status, why, start, stop, restart, logs, crashes.
#[derive(Debug, Parser)]
#[command(name = "mcpctl", version, propagate_version = true, after_help = EXIT_CODES)]
#[command(infer_long_args = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// Answer with a JSON document (streams: one per line); a failure is a document with "error"
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The daemon's control socket [env: MCPD_SOCKET] [default: the running daemon's]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Wait no longer than this: 10s, 500ms, 2m; 0: for ever [default: 10s for questions, none for waiting]
    #[arg(long, global = true, value_name = "DURATION", value_parser = when::limit)]
    pub(crate) timeout: Option<Limit>,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

/// `--color`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What runs and what does not; with a name: everything about it
    #[command(after_help = "\
Without a name: one line per service and a summary. With names: state, health, what happens next, the last crash and
the last log lines of each; the exit code is then LSB's: 0 running, 3 not running, 4 no such service (the worst of all).
With a pattern: one line for each service that fits.

Examples:
  mcpctl status
  mcpctl status web
  mcpctl status 'worker@*'
  mcpctl status web --json | jq .state")]
    Status {
        /// Services; * ? [] {} make a pattern
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Start services and wait until they are up
    #[command(after_help = "\
When one does not come up, the reason and its last stderr lines are shown.

Examples:
  mcpctl start web db
  mcpctl start web --no-wait")]
    Start(Names),
    /// Stop services and wait until they are down
    #[command(after_help = "Examples:\n  mcpctl stop web\n  mcpctl stop web --timeout 30s")]
    Stop(Names),
    /// Stop and start services and wait until they are up
    #[command(after_help = "\
A service that is down is started. When one does not come up, the reason and its last stderr lines are shown.

Examples:
  mcpctl restart web
  mcpctl restart web db --timeout 1m
  mcpctl restart 'worker@*'")]
    Restart(Names),
    /// Let services read their configuration again, by their exec_reload
    #[command(after_help = "\
The process stays. A service without exec_reload is refused: see mcpctl signal. mcpd's own: mcpctl daemon reload.

Examples:
  mcpctl reload web")]
    Reload(Names),
    /// Forget restarts and failures, so that a parked service may start again
    #[command(after_help = "Examples:\n  mcpctl reset web")]
    Reset(Names),
    /// Send a signal to services
    #[command(
        override_usage = "mcpctl signal NAME... SIGNAL\n       mcpctl signal -s SIGNAL NAME...",
        after_help = "\
The signal is a name, with or without SIG, or a number.

Examples:
  mcpctl signal web SIGHUP
  mcpctl signal -s USR1 web db
  mcpctl signal web SIGTERM --all"
    )]
    Signal {
        /// Services or patterns, and the signal last unless -s gives it
        #[arg(value_name = "NAME", required = true)]
        words: Vec<String>,
        /// The signal
        #[arg(short, long, value_name = "SIGNAL")]
        signal: Option<String>,
        /// To every process of the service, not to its main process only
        #[arg(long)]
        all: bool,
    },
    /// Which crashes there were, and the whole report of one
    #[command(
        override_usage = "\
mcpctl crashes [NAME] [--last N] [--groups]
       mcpctl crashes show ID
       mcpctl crashes stats [NAME]",
        after_help = "\
The report has the reason, what mcpd decided, the last health verdicts and the last lines of stderr and stdout. Of an ID
its beginning is enough, as long as it fits only one. A service that is called \"show\" is reached with --name show.

\"alike\" and --groups count crashes with the same cause, also those whose reports are gone. stats has availability, the mean
time between failures (MTBF) and to recover (MTTR), over all lives of mcpd.

Examples:
  mcpctl crashes --last 5
  mcpctl crashes web
  mcpctl crashes --groups
  mcpctl crashes stats web
  mcpctl crashes show 20261122"
    )]
    Crashes(Crashes),
    /// Why a service is as it is, what led there, what follows, what you can do
    #[command(after_help = "\
The state, the chain of causes that led there, what mcpd does next and when, and what you can do, with the command for it.

Examples:
  mcpctl why web
  mcpctl why web --json | jq -r '.advice[].command'")]
    Why {
        /// The service
        name: String,
    },
    /// A service's output
    #[command(after_help = "\
Times are local on a terminal and UTC when piped. --since understands 2026-11-22T11:30:00Z, \"2026-11-22 11:30\", 11:30,
today, yesterday, and spans back from now: 10m, 2h, \"3 days\".

Examples:
  mcpctl logs web -n 50
  mcpctl logs web -f
  mcpctl logs web --since 10m
  mcpctl logs web -n all --raw > web.out")]
    Logs(Logs),
    /// What happened: starts, ends, failures, decisions
    #[command(
        after_help = "TIME is as for `mcpctl logs`: 2026-11-22T11:30:00Z, \"2026-11-22 11:30\", 11:30, today, 10m, \"3 days\".\n\nExamples:\n  mcpctl events -f\n  mcpctl events web -n 20\n  mcpctl events web --since 2h\n  mcpctl events -f --json"
    )]
    Events(Events),
    /// Check or show a configuration file, without the daemon; plan: what a reload would do
    Config {
        #[command(subcommand)]
        what: ConfigVerb,
    },
    /// The daemon itself
    Daemon {
        #[command(subcommand)]
        what: DaemonVerb,
    },
}

/// `start`, `stop`, `restart`, `reload`, `reset`
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Services, * ? [] {} make a pattern; none is touched when one does not exist
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Return as soon as mcpd has taken the order
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `crashes`
#[derive(Debug, Args)]
pub(crate) struct Crashes {
    /// A service, a pattern, "show" or "stats"
    #[arg(value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// With "show": the report's ID; with "stats": a service or a pattern
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// A service, whatever it is called
    #[arg(long, value_name = "NAME", conflicts_with_all = ["target", "id"])]
    pub(crate) name: Option<String>,
    /// Crashes with the same cause together, each with its count and trend
    #[arg(long)]
    pub(crate) groups: bool,
    /// The newest so many [default: 20; all with --json]
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) last: Option<usize>,
}

/// `logs`
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The service
    pub(crate) name: String,
    /// The last so many lines, or "all" [default: 100; with -f 10; with --since all]
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<Lines>,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only lines from this time on
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// The service's bytes exactly as it wrote them, nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

/// `-n`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// As many as there are.
    All,
    /// At most so many.
    Last(usize),
}

impl std::str::FromStr for Lines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse().map(Self::Last).map_err(|_| "a number of lines, or \"all\", is needed".to_owned())
    }
}

/// `events`
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only this service's; * ? [] {} make a pattern
    pub(crate) name: Option<String>,
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// First the last so many [default: 100; with -f 10; with --since all]
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// Only what happened from this time on
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
}

/// `config`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Say everything that is wrong with it
    #[command(after_help = "Examples:\n  mcpctl config check\n  mcpctl config check ./mcpd.toml")]
    Check {
        /// The file [default: the one that mcpd would find]
        file: Option<PathBuf>,
    },
    /// Show it as mcpd understands it: defaults filled in, each value with the place it came from
    #[command(after_help = "Examples:\n  mcpctl config show\n  mcpctl config show ./mcpd.toml --json")]
    Show {
        /// The file [default: the one that mcpd would find]
        file: Option<PathBuf>,
        /// Secrets too, which else are left out
        #[arg(long)]
        secrets: bool,
    },
    /// What a reload would start, stop, restart and change live, and why, key by key; nothing is touched
    #[command(after_help = "\
start, stop, restart: what happens to processes. pending: the process goes on with what it was started with, and the
keys that are marked so wait for its next start. change: in force at once, no process is touched. add, remove: services
without a process come and go.

Examples:
  mcpctl config plan
  mcpctl config plan --restart")]
    Plan {
        /// As for: mcpctl daemon reload --restart
        #[arg(long)]
        restart: bool,
    },
}

/// `daemon`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DaemonVerb {
    /// Version, pid, files, how long it has been running
    Status,
    /// Read the configuration again and do exactly what the plan says, or nothing
    #[command(after_help = "\
New services start, those that are gone stop, settings change live. A process whose program, environment or the like
changed goes on until its next start: it is \"pending\", and \"mcpctl status NAME\" says which keys.

Examples:
  mcpctl daemon reload --dry-run
  mcpctl daemon reload
  mcpctl daemon reload --restart")]
    Reload {
        /// Restart the processes that a change waits for, those of earlier reloads too
        #[arg(long)]
        restart: bool,
        /// Only show the plan, as \"mcpctl config plan\" does
        #[arg(long, conflicts_with = "plan")]
        dry_run: bool,
        /// Do what the plan with this id says (config plan --json shows it), or nothing
        #[arg(long, value_name = "ID")]
        plan: Option<String>,
    },
    /// Let the program that is now on disk take over, keeper and daemon; no service is touched
    #[command(after_help = "\
The program is asked first whether it would go on with what runs; if not, or if it fails as soon as it has begun, the
old one goes on. A downgrade is made in the same way.

Examples:
  mcpctl daemon upgrade --dry-run
  mcpctl daemon upgrade
  mcpctl daemon upgrade --program /opt/mcpd-0.2/mcpd")]
    Upgrade {
        /// The program; without it, what is now where mcpd was started from
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
        /// Only ask it whether it would take over
        #[arg(long)]
        dry_run: bool,
    },
    /// Stop every service, then mcpd itself
    Shutdown,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_stand_anywhere() {
        for line in
            ["mcpctl --json --timeout 5s status web", "mcpctl status web --json --timeout 5s --color never"]
        {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.common.json && cli.common.timeout.is_some(), "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "mcpctl",
            "mcpctl start",
            "mcpctl dance",
            "mcpctl status --timeout soon",
            "mcpctl logs",
            "mcpctl logs web -n many",
            "mcpctl logs web --raw --json",
            "mcpctl crashes web --name web",
            "mcpctl signal",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
