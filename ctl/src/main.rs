//! `mcpctl`, the client of mcpd.
//!
//! A command is read ([`args`]), its socket found ([`socket`]), the daemon asked ([`link`]), and the answer shown: as it
//! came with `--json`, else written for a person ([`verb`]). Renderers are functions from a document and a [`look`] to
//! text; only [`out`] writes. Nothing here knows how services are run: what the daemon says is all there is.
//!
//! | module | answers |
//! |---|---|
//! | [`args`] | what does the command line say? |
//! | [`socket`], [`link`] | where is the daemon, and what does it say, within which time? |
//! | [`verb`] | what does each verb ask, and how is its answer shown? |
//! | [`failure`], [`refusal`], [`exit`] | what went wrong, how is it said, which number ends the process? |
//! | [`look`], [`table`], [`text`], [`lines`], [`human`], [`when`], [`progress`] | how is it written? |
//! | [`out`] | where does it go? |

mod args;
mod exit;
mod failure;
mod human;
mod lines;
mod link;
mod look;
mod out;
mod progress;
mod refusal;
mod socket;
mod table;
mod text;
mod verb;
mod when;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::look::Look;
use crate::out::complain;
use crate::verb::Context;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let mut context = Context::new(cli.common);
    let exit = match verb::run(cli.verb, &mut context) {
        Ok(exit) => exit,
        Err(failure) => tell(&failure, &mut context),
    };
    ExitCode::from(exit.code())
}

/// Says why it failed: for people on standard error, for programs as a document too.
fn tell(failure: &Failure, context: &mut Context) -> Exit {
    let exit = failure.exit();
    let json = context.common.json;
    match failure {
        Failure::OutputClosed => return exit,
        Failure::Refused(error) if !json => {
            complain(&refusal::explain(error, None, None, &context.errors));
        }
        _ => complain(&sentence(failure, &context.errors)),
    }
    // What was written before the failure is still worth having.
    if json && !matches!(failure, Failure::Output(_)) {
        let _ = context.out.line(&failure.document());
    }
    let _ = context.out.flush();
    exit
}

fn sentence(failure: &Failure, look: &Look) -> String {
    let lines = look.wrap(&format!("mcpctl: {failure}"), 2);
    let lines: Vec<String> = lines.iter().map(|line| look.paint(look::BAD, line)).collect();
    lines.join("\n  ") + "\n"
}
