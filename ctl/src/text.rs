//! How wide is a text on a terminal, and how does it become narrower?

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for what was cut.
const ELLIPSIS: char = '…';

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text without what could move the cursor, change colours or ring: services write what they like, and their lines
/// must not be able to rewrite the reader's terminal. Colour sequences vanish, other controls become visible; tabs
/// become spaces, for their width depends on where they stand.
pub(crate) fn safe(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' if rest.peek() == Some(&'[') => {
                rest.next();
                // ECMA-48: parameters and intermediates, then one final byte.
                while rest.next_if(|c| matches!(c, '\x20'..='\x3f')).is_some() {}
                rest.next_if(|c| matches!(c, '\x40'..='\x7e'));
            }
            '\t' => clean.push_str("    "),
            '\x7f' => clean.push('\u{2421}'),
            // "Control Pictures": U+2400 shows NUL, U+241B shows ESC.
            c if c < '\x20' => clean.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            c if c.is_control() || is_bidi(c) => clean.push('\u{fffd}'),
            c => clean.push(c),
        }
    }
    clean
}

/// Characters that reorder what stands around them.
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `limit` columns, the end cut.
pub(crate) fn cut_end(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    if limit == 0 {
        return String::new();
    }
    let mut cut = head(text, limit - 1).to_owned();
    cut.push(ELLIPSIS);
    cut
}

/// At most `limit` columns, the middle cut: names often differ at their ends only.
pub(crate) fn cut_middle(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    if limit == 0 {
        return String::new();
    }
    let behind = (limit - 1) / 2;
    let front = limit - 1 - behind;
    format!("{}{ELLIPSIS}{}", head(text, front), tail(text, behind))
}

/// Lines of at most `limit` columns, broken at spaces where there are some.
pub(crate) fn wrap(text: &str, limit: usize) -> Vec<String> {
    wrap_with(text, limit, true)
}

/// As [`wrap`], but a longer word stays whole.
pub(crate) fn wrap_between_words(text: &str, limit: usize) -> Vec<String> {
    wrap_with(text, limit, false)
}

fn wrap_with(text: &str, limit: usize, within_words: bool) -> Vec<String> {
    let limit = limit.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for mut word in words(text) {
        if !line.is_empty() {
            if width(&line) + 1 + width(word) <= limit {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            lines.push(std::mem::take(&mut line));
        }
        while within_words && width(word) > limit {
            // A character wider than the limit goes alone; without this the loop would not end.
            let first = word.chars().next().map_or(0, char::len_utf8);
            let at = head(word, limit).len().max(first);
            lines.push(word[..at].to_owned());
            word = &word[at..];
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// The text at its spaces, but a number and its unit are one word.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut end = text.find(' ').unwrap_or(text.len());
        if text[..end].ends_with(|c: char| c.is_ascii_digit()) {
            let after = text.get(end + 1..).unwrap_or_default();
            let next = &after[..after.find(' ').unwrap_or(after.len())];
            if matches!(next.trim_end_matches(|c: char| !c.is_alphanumeric()), "s" | "ms") {
                end += 1 + next.len();
            }
        }
        rest = text.get(end + 1..);
        Some(&text[..end])
    })
}

fn head(text: &str, limit: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > limit {
            return &text[..at];
        }
    }
    text
}

fn tail(text: &str, limit: usize) -> &str {
    let mut used = 0;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > limit {
            break;
        }
        start = at;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting() {
        let table = [
            ("short", 10, "short", "short"),
            ("exactly-10", 10, "exactly-10", "exactly-10"),
            ("mcp-studio-production", 11, "mcp-studio…", "mcp-s…ction"),
            ("abcdef", 2, "a…", "a…"),
            ("abcdef", 1, "…", "…"),
            ("abcdef", 0, "", ""),
            ("日本語のサービス", 7, "日本語…", "日…ス"),
        ];
        for (text, limit, end, middle) in table {
            assert_eq!(cut_end(text, limit), end, "{text} {limit}");
            assert!(width(&cut_middle(text, limit)) <= limit, "{text} {limit}");
            if width(text) > limit && text.is_ascii() {
                assert_eq!(cut_middle(text, limit), middle, "{text} {limit}");
            }
        }
    }

    #[test]
    fn wrapping_keeps_every_word_and_never_passes_the_limit() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap_between_words("abcdefghij k lm", 4), ["abcdefghij", "k lm"]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("start in 4 s, then", 10), ["start in", "4 s, then"]);
        assert_eq!(wrap("waited 10 ms", 9), ["waited", "10 ms"]);
        for line in wrap("a mixture of words and averyverylongwordwithoutanybreak in it", 9) {
            assert!(width(&line) <= 9, "{line}");
        }
    }

    #[test]
    fn controls_cannot_reach_the_terminal() {
        assert_eq!(safe("\x1b[31mred\x1b[0m and\tplain"), "red and    plain");
        assert_eq!(safe("\x1b]0;title\x07"), "␛]0;title␇");
        assert_eq!(safe("nul\0 cr\r \u{9b}2J \u{202e}x"), "nul␀ cr␍ \u{fffd}2J \u{fffd}x");
        assert_eq!(safe("\x1b["), "");
    }
}
