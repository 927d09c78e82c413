//! Files of `NAME=value` lines, as systemd's `EnvironmentFile=` and the tools called dotenv read them.
//!
//! Where the two differ, systemd wins, because its files are the ones that come along: a `#` inside an unquoted value is part
//! of it, and nothing is expanded. From dotenv come a leading `export` and comments after a closing quote. What either would
//! drop without a word (a line without `=`, a quote that is never closed) is an error here.

/// Where and why a file cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// The variables in the order of the file; a name may come twice.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, SyntaxError> {
    let text = std::str::from_utf8(bytes).map_err(|error| SyntaxError {
        line: bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1,
        why: "not UTF-8".to_owned(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut variables = Vec::new();
    loop {
        reader.skip(|c| c.is_whitespace());
        match reader.peek() {
            None => return Ok(variables),
            Some('#' | ';') => reader.skip_comment(),
            Some(_) => {
                let name = reader.name()?;
                variables.push((name, reader.value()?));
            }
        }
    }
}

/// How far a value has come.
#[derive(Clone, Copy)]
enum At {
    Start,
    /// Inside of what no quotes are around.
    Inside,
    AfterQuote,
    BlankAfterQuote,
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The next character; both kinds of line end come out as one `\n`.
    fn next(&mut self) -> Option<char> {
        if let Some(rest) = self.rest.strip_prefix("\r\n") {
            self.rest = rest;
            self.line += 1;
            return Some('\n');
        }
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn skip(&mut self, belongs: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&belongs) {
            self.next();
        }
    }

    /// Up to the end of the line; a backslash at its end takes the next line in, as in systemd.
    fn skip_comment(&mut self) {
        while let Some(c) = self.next() {
            match c {
                '\\' => drop(self.next()),
                '\n' => return,
                _ => {}
            }
        }
    }

    fn error(&self, why: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.line, why: why.into() }
    }

    /// Up to and with the `=`.
    fn name(&mut self) -> Result<String, SyntaxError> {
        let end = self.rest.find(['=', '\n']).unwrap_or(self.rest.len());
        let (head, tail) = self.rest.split_at(end);
        let head = head.trim();
        let Some(after) = tail.strip_prefix('=') else {
            return Err(self.error(format!("expected NAME=value, found {:?}", shorten(head))));
        };
        let exported = head.strip_prefix("export").filter(|rest| rest.starts_with(char::is_whitespace));
        let name = exported.unwrap_or(head).trim_start();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(allowed) {
            return Err(self.error(format!("{:?} cannot be the name of a variable", shorten(name))));
        }
        let name = name.to_owned();
        self.rest = after;
        Ok(name)
    }

    /// Up to and with the end of the line.
    fn value(&mut self) -> Result<String, SyntaxError> {
        let mut value = String::new();
        // Blanks at the end are dropped unless they were quoted or escaped; the value goes at least up to here.
        let mut kept = 0;
        let mut at = At::Start;
        while let Some(c) = self.next() {
            match (c, at) {
                ('\n', _) => break,
                ('\0', _) => return Err(self.error("a NUL character cannot stand in a value")),
                // In the middle of a value a quote is a character like any other, as in "it's".
                ('\'' | '"', At::Start | At::AfterQuote | At::BlankAfterQuote) => {
                    self.quoted(c, &mut value)?;
                    kept = value.len();
                    at = At::AfterQuote;
                }
                ('#', At::BlankAfterQuote) => {
                    self.skip_comment();
                    break;
                }
                (' ' | '\t' | '\r', At::Start) => {}
                (' ' | '\t' | '\r', At::AfterQuote | At::BlankAfterQuote) => at = At::BlankAfterQuote,
                (' ' | '\t' | '\r', At::Inside) => value.push(c),
                ('\\', _) => {
                    at = At::Inside;
                    if let Some(c) = self.next().filter(|&c| c != '\n') {
                        value.push(c);
                        kept = value.len();
                    }
                }
                (_, _) => {
                    at = At::Inside;
                    value.push(c);
                    kept = value.len();
                }
            }
        }
        value.truncate(kept);
        Ok(value)
    }

    fn quoted(&mut self, quote: char, value: &mut String) -> Result<(), SyntaxError> {
        let start = self.line;
        while let Some(c) = self.next() {
            match c {
                c if c == quote => return Ok(()),
                '\0' => return Err(self.error("a NUL character cannot stand in a value")),
                '\\' if quote == '"' => match self.next() {
                    Some('\n') | None => {}
                    Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                    Some(c) => value.extend(['\\', c]),
                },
                c => value.push(c),
            }
        }
        Err(SyntaxError { line: start, why: format!("the quote {quote} is never closed") })
    }
}

/// Enough to recognise the line by, and not the secret that may stand further right.
fn shorten(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_and_their_values() {
        for (text, expected) in [
            ("", vec![]),
            ("A=1", vec![("A", "1")]),
            ("\u{feff}A=1\r\nB=2\r\n", vec![("A", "1"), ("B", "2")]),
            ("# comment\n; another\n\n  A=1\n", vec![("A", "1")]),
            ("# goes on \\\nA=1\nB=2", vec![("B", "2")]),
            ("export A=1\n", vec![("A", "1")]),
            ("exported=1\n", vec![("exported", "1")]),
            ("A = 1  \n", vec![("A", "1")]),
            ("A=\nB=", vec![("A", ""), ("B", "")]),
            ("A=a b # c\n", vec![("A", "a b # c")]),
            ("A=a#b\n", vec![("A", "a#b")]),
            ("A=\"x\" # c\n", vec![("A", "x")]),
            ("A=\"x#y\"\n", vec![("A", "x#y")]),
            ("A=' x '  \n", vec![("A", " x ")]),
            ("A='it\\n'\n", vec![("A", "it\\n")]),
            ("A=\"a \\\"b\\\" \\$c \\n\"\n", vec![("A", "a \"b\" $c \\n")]),
            ("A=\"two\nlines\"\nB=1", vec![("A", "two\nlines"), ("B", "1")]),
            ("A='x'\"y\"z\n", vec![("A", "xyz")]),
            ("A=one\\\ntwo\n", vec![("A", "onetwo")]),
            ("A=a\\ b\\ \n", vec![("A", "a b ")]),
            ("A=it's\n", vec![("A", "it's")]),
            ("A=http://h/?a=b&c='d'\n", vec![("A", "http://h/?a=b&c='d'")]),
            ("A=1\nA=2\n", vec![("A", "1"), ("A", "2")]),
        ] {
            let found = parse(text.as_bytes()).unwrap();
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn lines_that_say_nothing_are_errors() {
        for (text, line, why) in [
            ("A=1\nnothing\n", 2, "expected NAME=value, found \"nothing\""),
            ("=1", 1, "\"\" cannot be the name of a variable"),
            ("1A=1", 1, "\"1A\" cannot be the name of a variable"),
            ("A B=1", 1, "\"A B\" cannot be the name of a variable"),
            ("\nA=\"x\n\n", 2, "the quote \" is never closed"),
            ("A=\0", 1, "a NUL character cannot stand in a value"),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(SyntaxError { line, why: why.into() }), "{text:?}");
        }
        assert_eq!(parse(b"A=1\nB=\xff"), Err(SyntaxError { line: 2, why: "not UTF-8".into() }));
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[A= '\"\\\\#\n\r]{0,24}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn any_value_can_be_quoted(value in "[^'\0\r]{0,24}") {
            prop_assert_eq!(parse(format!("A='{value}'").as_bytes()), Ok(vec![("A".to_owned(), value)]));
        }
    }
}
