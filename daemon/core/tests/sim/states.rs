//! What was written down by one version is read by every later one, and by nobody as what it is not.
//!
//! `tests/state/v1.jsonl` has a core per line, together in every state that there is. It was written once, by
//! `MCPD_WRITE_STATES=1 cargo test -p mcpd-core --test simulator states`; a change of the format gets a file of its own beside it, and
//! both are read from then on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use mcpd_core::state::{Refusal, VERSION};
use mcpd_core::{Core, State};
use proptest::prelude::*;

use super::run;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/state")
}

fn written() -> Vec<String> {
    let files = directory().read_dir().unwrap().map(|entry| entry.unwrap().path());
    files
        .flat_map(|file| {
            std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn states(core: &Core) -> BTreeSet<String> {
    let name = |state: String| state.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    core.views().map(|view| name(format!("{:?}", view.state))).collect()
}

/// Runs worlds until their cores have been in every state, and writes down one of each.
fn write() {
    let mut seen = BTreeSet::new();
    let mut lines = String::new();
    for seed in 0..2000 {
        run::watch(seed, &mut |core| {
            let new = states(core).into_iter().any(|state| seen.insert(state));
            if new {
                lines += &core.state().to_text();
                lines.push('\n');
            }
        });
    }
    std::fs::create_dir_all(directory()).unwrap();
    std::fs::write(directory().join(format!("v{VERSION}.jsonl")), lines).unwrap();
}

#[test]
fn what_was_written_is_read_for_ever() {
    if std::env::var_os("MCPD_WRITE_STATES").is_some() {
        write();
    }
    let mut seen = BTreeSet::new();
    for line in written() {
        let core = Core::restore(State::from_text(&line).unwrap());
        assert!(core.views().count() > 0, "{line}");
        seen.extend(states(&core));
        // And it is understood: what it would write is the same core again.
        let again = Core::restore(State::from_text(&core.state().to_text()).unwrap());
        let (views, deadline) = (core.views().collect::<Vec<_>>(), core.next_deadline());
        assert_eq!((again.views().collect::<Vec<_>>(), again.next_deadline()), (views, deadline), "{line}");
    }
    let all = "Backoff Down Ending Exited Leaving Parked Spawning Starting Stopping Up Waiting";
    assert_eq!(seen.into_iter().collect::<Vec<_>>().join(" "), all);
}

#[test]
fn what_comes_from_a_later_version_is_refused_by_its_number() {
    let later = r#"{"version":7,"everything":"is different","services":{"a":[]}}"#;
    let refusal = State::from_text(later).unwrap_err();
    assert_eq!(refusal, Refusal::UnknownVersion { found: 7 });
    let said = refusal.to_string();
    assert!(said.contains("format 7") && said.contains(&format!("up to {VERSION}")), "{said}");
    for garbage in ["", "{}", "[]", r#"{"version":1}"#, r#"{"version":-1}"#, "\0"] {
        assert!(matches!(State::from_text(garbage), Err(Refusal::Garbage(_))), "{garbage:?}");
    }
}

proptest! {
    /// Whatever is in it: it is refused, or it is a core that can be asked.
    #[test]
    fn damage_is_no_panic(line in 0..4_usize, at in 0.0..1.0_f64, to in "[0-9a-z\"{}\\[\\],:]{0,3}", cut in 0..4_usize) {
        let lines = written();
        let mut text = lines[line % lines.len()].clone();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a text")]
        let at = (text.len() as f64 * at) as usize;
        text.replace_range(at..(at + cut).min(text.len()), &to);
        if let Ok(state) = State::from_text(&text) {
            let core = Core::restore(state);
            let _ = (core.views().count(), core.next_deadline(), core.owed());
        }
    }
}
