//! `signal`

use mcpd_config::spec::Signal;
use mcpd_proto::method::SignalParams;
use serde_json::json;

use super::{Context, act};
use crate::exit::Exit;
use crate::failure::Failure;

/// Sends the signal.
pub(crate) fn run(
    words: Vec<String>,
    signal: Option<String>,
    all: bool,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let (names, signal) = split(words, signal)?;
    let result = context.question()?.call("service.signal", json!(SignalParams { names, signal, all }))?;
    act::show(&result, None, context)
}

/// The services and the signal's full name.
fn split(mut words: Vec<String>, signal: Option<String>) -> Result<(Vec<String>, String), Failure> {
    let signal = match signal {
        Some(signal) => signal,
        None => match (words.pop(), words.is_empty()) {
            (Some(signal), false) => signal,
            _ => {
                let message = "which service, and which signal? As in: mcpctl signal web SIGHUP";
                return Err(Failure::Usage(message.to_owned()));
            }
        },
    };
    match Signal::parse(&signal) {
        Some(signal) => Ok((words, signal.to_string())),
        None => Err(Failure::Usage(unknown(&signal))),
    }
}

fn unknown(signal: &str) -> String {
    let upper = signal.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let near = Signal::names().min_by_key(|name| strsim::damerau_levenshtein(bare, &name[3..]));
    match near.filter(|name| strsim::damerau_levenshtein(bare, &name[3..]) <= 2) {
        Some(near) => format!("\"{signal}\" is no signal. Did you mean {near}?"),
        None => format!("\"{signal}\" is no signal. Give its name last, as in: mcpctl signal web SIGHUP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_is_last_or_named() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let table = [
            ("web SIGHUP", None, Some(("web", "SIGHUP"))),
            ("web hup", None, Some(("web", "SIGHUP"))),
            ("web db 10", None, Some(("web db", "SIGUSR1"))),
            ("web db", Some("TERM"), Some(("web db", "SIGTERM"))),
            ("HUP", None, None),
            ("web db", None, None),
        ];
        for (given, signal, expected) in table {
            let found = split(words(given), signal.map(str::to_owned)).ok();
            let expected = expected.map(|(names, signal)| (words(names), signal.to_owned()));
            assert_eq!(found, expected, "{given} {signal:?}");
        }
        assert!(unknown("SIGHPU").ends_with("Did you mean SIGHUP?"));
        assert!(unknown("production").contains("Give its name last"));
    }
}
