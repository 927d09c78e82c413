//! `${VAR}`, `${VAR:-default}` and `$$` in strings.
//!
//! A `$` before anything else stands for itself, so that regular expressions need no doubling. As in a shell, `:-` also
//! steps in for a variable that is set but empty, and a default may hold references itself.

use std::ops::Range;

use crate::environment::Environment;

/// Defaults may nest this deep; more is an accident, and the depth of recursion must have a limit.
const DEEPEST: usize = 16;

/// A string with its references replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) pieces: Vec<Piece>,
    /// The references that decided something, in order.
    pub(crate) used: Vec<Used>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As written.
    Literal(String),
    /// What stood there was a reference; this is its value.
    Value(String),
}

/// Where a value came from that the text does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) name: String,
    pub(crate) value: String,
    /// The variable was set; otherwise the value is the reference's default.
    pub(crate) set: bool,
}

/// A reference that cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadReference {
    /// Bytes of the string.
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Expanded {
    pub(crate) fn text(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Literal(text) | Piece::Value(text) => text.clone(),
        };
        self.pieces.iter().map(text).collect()
    }

    /// The whole string was one reference, so that its value takes the type that is wanted there.
    pub(crate) fn is_one_reference(&self) -> bool {
        matches!(self.pieces.as_slice(), [Piece::Value(_)])
    }
}

/// Replaces every reference, or says everything that is wrong with them.
pub(crate) fn expand(text: &str, environment: &Environment) -> Result<Expanded, Vec<BadReference>> {
    let mut expansion = Expansion { text, environment, used: Vec::new(), bad: Vec::new() };
    let pieces = expansion.pieces(0..text.len(), 0);
    if expansion.bad.is_empty() { Ok(Expanded { pieces, used: expansion.used }) } else { Err(expansion.bad) }
}

struct Expansion<'a> {
    text: &'a str,
    environment: &'a Environment,
    used: Vec<Used>,
    bad: Vec<BadReference>,
}

impl Expansion<'_> {
    fn pieces(&mut self, within: Range<usize>, depth: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = within.start;
        while at < within.end {
            let rest = &self.text[at..within.end];
            if rest.starts_with("$$") {
                literal.push('$');
                at += 2;
            } else if rest.starts_with("${") {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                let (value, end) = self.reference(at, within.end, depth);
                pieces.push(Piece::Value(value));
                at = end;
            } else {
                // Up to the next `$`; the first character is taken in any case, which makes a lone `$` literal.
                let first = rest.chars().next().map_or(1, char::len_utf8);
                let length = rest[first..].find('$').map_or(rest.len(), |next| next + first);
                literal.push_str(&rest[..length]);
                at += length;
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        pieces
    }

    /// The value of the reference that starts at `start`, and where the text goes on.
    fn reference(&mut self, start: usize, limit: usize, depth: usize) -> (String, usize) {
        let name_start = start + 2;
        let rest = &self.text[name_start..limit];
        let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())];
        let Some(close) = closing_brace(rest).map(|at| name_start + at) else {
            return self.fail(start..limit, "this reference has no closing `}`".to_owned(), None, limit);
        };
        let after = name_start + name.len();
        let end = close + 1;
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("{:?} is no name of a variable", &self.text[name_start..close]);
            let help = Some("write $$ for a dollar sign, as in \"$${...}\"".to_owned());
            return self.fail(start..end, message, help, end);
        }
        let default = match &self.text[after..close] {
            "" => None,
            operator if operator.starts_with(":-") => Some(after + 2..close),
            _ => {
                let message = "only ${VAR} and ${VAR:-default} are understood".to_owned();
                let default = self.text[after..close].trim_start_matches([':', '-', '=', '?', '+']);
                let help = Some(format!("for a default write ${{{name}:-{default}}}"));
                return self.fail(start..end, message, help, end);
            }
        };
        if depth >= DEEPEST {
            return self.fail(start..end, "references are nested too deep".to_owned(), None, end);
        }
        let name = name.to_owned();
        let value = match self.environment.get(&name).map(|value| value.to_str()) {
            Some(None) => {
                return self.fail(start..end, format!("the variable {name} is not UTF-8"), None, end);
            }
            Some(Some(value)) => Some(value.to_owned()),
            None => None,
        };
        match (value, default) {
            (Some(value), default) if !value.is_empty() || default.is_none() => {
                self.used.push(Used { name, value: value.clone(), set: true });
                (value, end)
            }
            (_, Some(default)) => {
                let outer = self.used.len();
                let pieces = self.pieces(default, depth + 1);
                let value = Expanded { pieces, used: Vec::new() }.text();
                if self.used.len() == outer {
                    self.used.push(Used { name, value: value.clone(), set: false });
                }
                (value, end)
            }
            (_, None) => {
                let help = match self.similar(&name) {
                    Some(similar) => {
                        format!("did you mean ${{{similar}}}? A default is written ${{{name}:-...}}")
                    }
                    None => format!("set it, or give a default: ${{{name}:-...}}"),
                };
                self.fail(start..end, format!("the variable {name} is not set"), Some(help), end)
            }
        }
    }

    fn similar(&self, name: &str) -> Option<String> {
        let names: Vec<&str> = self.environment.vars.keys().filter_map(|name| name.to_str()).collect();
        crate::similar::closest(name, names.iter().copied()).map(str::to_owned)
    }

    fn fail(
        &mut self,
        at: Range<usize>,
        message: String,
        help: Option<String>,
        end: usize,
    ) -> (String, usize) {
        self.bad.push(BadReference { at, message, help });
        (String::new(), end)
    }
}

/// The `}` that closes a reference whose inside starts here; references in a default have their own.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'$') => at += 1,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment() -> Environment {
        [("A", "one"), ("EMPTY", ""), ("PORT", "80"), ("DOLLAR", "${A}")].into_iter().collect()
    }

    #[test]
    fn references_and_their_values() {
        for (text, expected, whole) in [
            ("", "", false),
            ("plain", "plain", false),
            ("${A}", "one", true),
            ("x${A}", "xone", false),
            ("${A}${A}", "oneone", false),
            ("${EMPTY}", "", true),
            ("${EMPTY:-two}", "two", true),
            ("${NONE:-two}", "two", true),
            ("${NONE:-}", "", true),
            ("${NONE:-a:-b}", "a:-b", true),
            ("${NONE:-${A}}", "one", true),
            ("${NONE:-${NEITHER:-x${A}y}}z", "xoneyz", false),
            ("http://h:${PORT:-7}/x", "http://h:80/x", false),
            ("$$", "$", false),
            ("$${A}", "${A}", false),
            ("$$$$", "$$", false),
            ("^ok$", "^ok$", false),
            ("$A", "$A", false),
            ("${NONE:-$$}", "$", true),
            // The value of a variable is not looked at again.
            ("${DOLLAR}", "${A}", true),
            ("ü${NONE:-ü}ü", "üüü", false),
        ] {
            let expanded = expand(text, &environment()).unwrap();
            assert_eq!(expanded.text(), expected, "{text}");
            assert_eq!(expanded.is_one_reference(), whole, "{text}");
        }
    }

    #[test]
    fn references_that_cannot_be_replaced() {
        for (text, messages) in [
            ("${NONE}", vec![(0..7, "the variable NONE is not set")]),
            ("a${X}b${Y}", vec![(1..5, "the variable X is not set"), (6..10, "the variable Y is not set")]),
            ("a${NONE", vec![(1..7, "this reference has no closing `}`")]),
            ("${NONE:-${A}", vec![(0..12, "this reference has no closing `}`")]),
            ("${}", vec![(0..3, "\"\" is no name of a variable")]),
            ("${1}", vec![(0..4, "\"1\" is no name of a variable")]),
            ("${A-b}", vec![(0..6, "only ${VAR} and ${VAR:-default} are understood")]),
            ("${A:=b}", vec![(0..7, "only ${VAR} and ${VAR:-default} are understood")]),
            ("${NONE:-${X}}", vec![(8..12, "the variable X is not set")]),
        ] {
            let bad = expand(text, &environment()).unwrap_err();
            let found: Vec<_> = bad.iter().map(|bad| (bad.at.clone(), bad.message.as_str())).collect();
            assert_eq!(found, messages, "{text}");
        }
        let deep = "${N:-".repeat(100) + &"}".repeat(100);
        assert_eq!(expand(&deep, &environment()).unwrap_err()[0].message, "references are nested too deep");
    }

    #[test]
    fn what_was_used_is_known() {
        let used = |text| {
            let used = expand(text, &environment()).unwrap().used;
            used.into_iter().map(|used| (used.name, used.value, used.set)).collect::<Vec<_>>()
        };
        assert_eq!(used("${A}"), [("A".into(), "one".into(), true)]);
        assert_eq!(used("${NONE:-x}"), [("NONE".into(), "x".into(), false)]);
        assert_eq!(used("${NONE:-${A}}"), [("A".into(), "one".into(), true)]);
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in "[${}:A-]{0,24}|\\PC{0,24}") {
            let _ = expand(&text, &environment());
        }
    }
}
