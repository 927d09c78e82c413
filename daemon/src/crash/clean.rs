//! Program output made fit for a line that people read: no escape sequences, no control characters.

use std::iter::Peekable;
use std::str::Chars;

/// `text` without ANSI escape sequences and control characters. Line ends stay, a tab becomes a space; what a lone
/// carriage return overwrote on a terminal is left out.
#[must_use]
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line_start = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                out.push('\n');
                line_start = out.len();
            }
            // A progress bar draws over itself; CR LF is a plain line end.
            '\r' => match chars.peek() {
                None | Some('\n' | '\r') => {}
                Some(_) => out.truncate(line_start),
            },
            '\t' => out.push(' '),
            '\u{1b}' => skip_escape(&mut chars),
            // CSI as one character (C1).
            '\u{9b}' => skip_csi(&mut chars),
            // Bidirectional overrides and isolates reorder the text around them.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// After ESC (ECMA-48): a control sequence, a string ended by BEL or ST, or a short sequence.
fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_csi(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            while let Some(c) = chars.next_if(|&c| c != '\n') {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        Some(_) => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
        None => {}
    }
}

/// Parameters, intermediates, one final character.
fn skip_csi(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_stays() {
        for (raw, clean) in [
            ("plain äöü", "plain äöü"),
            ("\x1b[1;31mError\x1b[0m: no", "Error: no"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Btext", "text"),
            ("\u{9b}31mred", "red"),
            ("a\tb\0c\x08d", "a bcd"),
            ("10 %\r50 %\r100 %", "100 %"),
            ("one\r\ntwo\r\n", "one\ntwo\n"),
            ("done\r", "done"),
            ("\x1b]unterminated\nnext", "\nnext"),
            ("cut \x1b[3", "cut "),
            ("\u{202e}drow", "drow"),
            ("\x1b", ""),
        ] {
            assert_eq!(text(raw), clean, "{raw:?}");
        }
    }
}
