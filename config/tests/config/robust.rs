//! Whatever the text, there is an answer.

use std::path::Path;

use mcpd_config::{Config, load_text};
use proptest::prelude::*;

use crate::common::{ROOT, environment};

const MANY: &str = include_str!("../../examples/many.toml");
const STUDIO: &str = include_str!("../../examples/mcp-studio.toml");

/// Loads, and draws or shows whatever comes of it.
fn exercise(text: &str) -> Result<(), TestCaseError> {
    let path = Path::new(ROOT).join("no-such-directory").join("t.toml");
    match load_text(&path, text, &environment(&[("V", "7")])) {
        Ok(loaded) => {
            let shown = loaded.show_with_secrets();
            let again = load_text(&path, &shown, &environment(&[])).map_err(|failed| {
                TestCaseError::fail(format!("{failed}\n--- shown as\n{shown}\n--- from\n{text}"))
            })?;
            prop_assert_eq!(
                Config { files: loaded.config.files.clone(), ..again.config },
                loaded.config.clone()
            );
            let _ = loaded.show_json();
            loaded.warnings.iter().for_each(|warning| drop(warning.render(true)));
        }
        Err(failed) => {
            prop_assert!(!failed.diagnostics.is_empty());
            let order: Vec<_> = failed.diagnostics.iter().map(|found| (found.line, found.column)).collect();
            prop_assert!(order.is_sorted(), "{:?}", order);
            let _ = failed.render(true);
            let plain = failed.render(false);
            prop_assert!(!plain.contains('\x1b'));
        }
    }
    Ok(())
}

/// Pieces that configurations are made of, so that random texts get past the parser.
const PIECES: &[&str] = &[
    "[service.a]\n",
    "[service.\"b c\"]\n",
    "[service.a.restart]\n",
    "[service.a.health]\n",
    "[service.a.log]\n",
    "[daemon]\n",
    "exec",
    "restart",
    "health",
    "delay",
    "http",
    "tcp",
    "environment",
    "include",
    "stop_signal",
    "when",
    "user",
    "crash",
    "notify",
    "webhook",
    "headers",
    "max_size",
    ".",
    " = ",
    "=",
    "\n",
    ", ",
    "[",
    "]",
    "{ ",
    " }",
    "'",
    "\"",
    "\"\"\"",
    "#",
    "\r\n",
    "\\",
    "\u{feff}",
    "\u{0}",
    "ü",
    "'x'",
    "\"${V}\"",
    "\"${W:-1}\"",
    "\"${W\"",
    "'$$'",
    "1",
    "-1",
    "0.5",
    "nan",
    "1e400",
    "true",
    "'1s'",
    "'9K'",
    "'always'",
    "'http://h'",
    "'h:1'",
    "'SIGTERM'",
    "1979-05-27",
    "99999999999999999999",
    "0x7f",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        exercise(&text)?;
    }

    #[test]
    fn any_sequence_of_pieces(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        exercise(&pieces.concat())?;
    }

    #[test]
    fn a_valid_text_with_a_change(
        studio in any::<bool>(),
        at in any::<prop::sample::Index>(),
        length in 0..12_usize,
        piece in proptest::sample::select(PIECES),
    ) {
        let text = if studio { STUDIO } else { MANY };
        let mut chars: Vec<char> = text.chars().collect();
        let start = at.index(chars.len());
        let end = (start + length).min(chars.len());
        chars.splice(start..end, piece.chars());
        exercise(&chars.into_iter().collect::<String>())?;
    }

    #[test]
    fn a_valid_text_cut_off(studio in any::<bool>(), at in any::<prop::sample::Index>()) {
        let text = if studio { STUDIO } else { MANY };
        let chars: Vec<char> = text.chars().collect();
        exercise(&chars[..at.index(chars.len())].iter().collect::<String>())?;
    }

    #[test]
    fn any_bytes_in_a_file(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("t.toml");
        std::fs::write(&path, &bytes).unwrap();
        if let Err(failed) = mcpd_config::load(&path, &environment(&[])) {
            prop_assert!(!failed.render(false).is_empty());
        }
    }
}

#[test]
fn a_deep_text_is_an_error_and_not_an_overflow() {
    for text in [
        format!("[service.x]\nexec = {}{}", "[".repeat(20_000), "]".repeat(20_000)),
        format!("[service.x]\nexec = {}", "{a=".repeat(20_000)),
        format!("[service.x]\nhealth.expect_json.{}a = 1", "a.".repeat(20_000)),
        format!("[service.x]\nexec = '{}{}'", "${A:-".repeat(20_000), "}".repeat(20_000)),
    ] {
        assert!(load_text(Path::new("t.toml"), &text, &environment(&[])).is_err());
    }
}

#[test]
fn a_thousand_services_load() {
    let text: String =
        (0..1000).map(|n| format!("[service.s{n}]\nexec = ['a', '{n}']\nrestart.delay = 2\n")).collect();
    let loaded = load_text(Path::new("t.toml"), &text, &environment(&[])).unwrap();
    assert_eq!(loaded.config.services.len(), 1000);
    assert_eq!(loaded.origins.get("service.s999.restart.delay").unwrap().to_string(), "t.toml:3000");
}
