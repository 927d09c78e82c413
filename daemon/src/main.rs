//! `mcpd`: the daemon's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mcpd::keeper::{self, Legacy, Line};
use mcpd::shell::load::{Loaded, Source};
use mcpd::shell::takeover::{Bequest, LEDGER};
use mcpd::{demo, run, setup, sys, voice};
use mcpd_config::Environment;

/// The configuration is invalid: LSB's "program is not configured".
const INVALID: u8 = 6;
/// It could not start, or ended by an error.
const FAILED: u8 = 1;

/// Supervises MCP servers and other long-lived programs, as a TOML file says.
#[derive(Parser)]
#[command(name = "mcpd", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(after_help = "Without --config the first of these is used: $MCPD_CONFIG, ./mcpd.toml, \
    $XDG_CONFIG_HOME/mcpd/mcpd.toml, /etc/mcpd/mcpd.toml (as root the last first).\n\
    Signals: SIGTERM, SIGINT stop every service as configured and then mcpd (a second one: at once, by SIGKILL); SIGHUP reloads; SIGUSR1 reopens logs.\n\
    Its client is mcpctl.")]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and exit: 0 valid, 6 invalid.
    #[arg(long)]
    check: bool,
    /// Started by its keeper, which holds the other end of stdin.
    #[arg(long, hide = true)]
    kept: bool,
    /// The keeper, in the place of another program that has left what it knew as this descriptor.
    #[arg(long, hide = true, value_name = "DESCRIPTOR")]
    keeper_state: Option<i32>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Supervise, in the foreground, as without a verb: for the command line of a container, whose process 1 this may be.
    #[command(name = keeper::RUN)]
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Run three small built-in servers, two of which misbehave, and say what to type to watch them.
    Demo,
    /// A server of the demo.
    #[command(name = "__demo-server", hide = true)]
    DemoServer { which: String, port: u16 },
    /// Would this program go on from a ledger, which is stdin?
    #[command(name = keeper::papers::REHEARSE, hide = true)]
    Rehearse,
    /// Sends CTRL+C to the console of a process (Windows).
    #[command(name = "__ctrl-c", hide = true)]
    CtrlC { pid: u32 },
}

fn main() -> ExitCode {
    // Before everything else: there a service is being started, and waits.
    if let Some(code) = sys::exec_step() {
        return status(code);
    }
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Run { config }) => supervise(config),
        Some(Command::Demo) => run_demo(),
        Some(Command::DemoServer { which, port }) => status(demo::serve(&which, port)),
        Some(Command::Rehearse) => rehearse(),
        Some(Command::CtrlC { pid }) => status(sys::ctrl_c_helper(pid)),
        None if arguments.check => check(arguments.config),
        None if arguments.kept => match Line::take_up() {
            Ok((line, legacy)) => run_daemon(arguments.config, line, legacy),
            Err(error) => complain(FAILED, &format!("its keeper cannot be heard: {error}")),
        },
        None if arguments.keeper_state.is_some() => {
            let state = arguments.keeper_state.unwrap_or_default();
            keeper::go_on(state).map_or(ExitCode::from(FAILED), status)
        }
        None => supervise(arguments.config),
    }
}

fn supervise(config: Option<PathBuf>) -> ExitCode {
    match keeper::keep() {
        Some(code) => status(code),
        None => run_daemon(config, Line::none(), Legacy::default()),
    }
}

fn status(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(FAILED))
}

fn complain(code: u8, what: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("mcpd: {what}");
    ExitCode::from(code)
}

/// The configuration that is meant, read; or what this process ends with.
fn load(config: Option<PathBuf>) -> Result<(Source, Loaded), ExitCode> {
    let path = match config {
        Some(path) => path,
        None => mcpd_config::find_default(&Environment::from_process())
            .map_err(|error| complain(INVALID, &error))?,
    };
    // Relative names of the file mean the same when the daemon has long been running.
    let path = std::path::absolute(&path).unwrap_or(path);
    let source = Source::File(path);
    let color =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    match source.load(color) {
        Ok(loaded) => Ok((source, loaded)),
        Err(diagnostics) => {
            eprint!("{diagnostics}");
            if !diagnostics.ends_with('\n') {
                eprintln!();
            }
            Err(ExitCode::from(INVALID))
        }
    }
}

fn check(config: Option<PathBuf>) -> ExitCode {
    let (source, loaded) = match load(config) {
        Ok(read) => read,
        Err(code) => return code,
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    for (name, why) in &loaded.missing {
        eprintln!("warning: service \"{name}\" would be parked: {why}");
    }
    for (name, spec) in &loaded.config.services {
        if let Some(why) = sys::unknown_account(&setup::of(spec)) {
            eprintln!("warning: service \"{name}\" would be parked: {why}");
        }
    }
    let count = loaded.config.services.len();
    let services = if count == 1 { "1 service" } else { &format!("{count} services") };
    println!("{}: valid, {services}", source.path().display());
    ExitCode::SUCCESS
}

fn rehearse() -> ExitCode {
    #[cfg(unix)]
    let ledger = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned();
    #[cfg(windows)]
    let ledger = std::os::windows::io::AsHandle::as_handle(&std::io::stdin()).try_clone_to_owned();
    let candidate = ledger
        .map_err(|error| error.to_string())
        .and_then(|ledger| keeper::rehearsal::candidate(ledger.into()))
        .and_then(|candidate| serde_json::to_string(&candidate).map_err(|error| error.to_string()));
    match candidate {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => complain(FAILED, &why),
    }
}

fn run_daemon(config: Option<PathBuf>, line: Line, mut legacy: Legacy) -> ExitCode {
    let mut read = None;
    // The first of its keeper: maybe not the first that there is.
    if line.about().is_some_and(|keeper| keeper.lives == 1) {
        let (source, loaded) = match load(config.clone()) {
            Ok(read) => read,
            Err(code) => return code,
        };
        match keeper::inheritance::take_over(&loaded.config.daemon.control_socket, &line) {
            Ok(Some(inherited)) => legacy = inherited,
            Ok(None) => read = Some((source, loaded)),
            Err(why) => return complain(FAILED, &why),
        }
    }
    let bequest = bequest(&line, &mut legacy);
    // What was in force goes on being so, whatever the files say by now.
    let read = bequest.as_ref().map(Bequest::loaded).or(read);
    let (source, loaded) = match read.map_or_else(|| load(config), Ok) {
        Ok(read) => read,
        Err(code) => return code,
    };
    voice::start();
    match run::run(source, loaded, line, legacy, bequest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(FAILED, &error),
    }
}

/// What the daemon before this one has written down. Not when it is what they die of, one after the other.
fn bequest(line: &Line, legacy: &mut Legacy) -> Option<Bequest> {
    let ledger = legacy.take(LEDGER)?.into_file()?;
    let crashes = line.about().map_or(0, |keeper| keeper.crashes);
    if crashes >= HOPELESS {
        eprintln!(
            "mcpd: {crashes} daemons in a row have crashed after taking over: what runs is started anew"
        );
        return None;
    }
    Bequest::read(ledger)
        .inspect_err(|why| {
            eprintln!("mcpd: what the last daemon has written down cannot be gone on from: {why}")
        })
        .ok()
}

/// So many daemons that crash at their start, one after the other, do so because of what they were to take over.
const HOPELESS: u32 = 4;

fn run_demo() -> ExitCode {
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(error) => return complain(FAILED, &format!("cannot find its own program: {error}")),
    };
    // Short: a Unix socket's path has 107 bytes.
    let dir = std::env::temp_dir().join(format!("mcpd-demo-{}", std::process::id()));
    let ports = match demo::Ports::pick() {
        Ok(ports) => ports,
        Err(error) => return complain(FAILED, &format!("no free port on loopback: {error}")),
    };
    let text = demo::configuration(&exe, &dir, ports);
    let source = Source::Text(dir.join("demo.toml"), text);
    match source.load(false) {
        Ok(loaded) => {
            println!("{}", demo::greeting(&exe, &loaded.config.daemon.control_socket, &dir));
            voice::start();
            let result = run::run(source, loaded, Line::none(), Legacy::default(), None);
            // Logs and reports of a demo are of no use without it.
            let _ = std::fs::remove_dir_all(&dir);
            match result {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(FAILED, &error),
            }
        }
        Err(diagnostics) => complain(INVALID, &diagnostics),
    }
}
