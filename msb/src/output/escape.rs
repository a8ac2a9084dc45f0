//! Escaping of text that a guest, a file or another user may have written.
//!
//! Text for people is sanitized where it leaves the program, by the functions of [`output`](super) that print. A value
//! that must not start another line is also escaped where it is put into one, with [`escape_controls`].

use crate::report::github::escape_commands;
use crate::report::on_github;
use schemas::terminal::steers;
use std::borrow::Cow;

/// Escapes everything that controls a terminal, except line breaks, tabs and colors, and everything that a CI system
/// takes for a command.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    let text = if text.contains(is_unsafe) { Cow::Owned(escape_unsafe(text)) } else { Cow::Borrowed(text) };
    if on_github() { Cow::Owned(escape_commands(&text)) } else { text }
}

fn is_unsafe(c: char) -> bool {
    steers(c) && c != '\n' && c != '\t'
}

fn escape_unsafe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let color = color_length(rest);
        let (piece, tail) = rest.split_at(color.unwrap_or(c.len_utf8()));
        if color.is_none() && is_unsafe(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push_str(piece);
        }
        rest = tail;
    }
    shown
}

/// Returns the length in bytes of the color sequence that a text starts with, if any.
fn color_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    (parameters.as_bytes().get(length) == Some(&b'm')).then_some(length + 3)
}

/// Escapes everything that controls a terminal, line breaks and colors included; tabs stay.
pub fn escape_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Escapes each line of a text and indents all but the first, so that none looks like a line of msb's own.
pub fn escape_lines(text: &str, indent: &str) -> String {
    let lines: Vec<_> = text.lines().map(escape_controls).collect();
    lines.join(&format!("\n{indent}"))
}

/// Appends bytes with controls escaped; bytes that are not UTF-8 become `\xNN`.
pub fn escape_bytes(bytes: &[u8], shown: &mut Vec<u8>) {
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return shown.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        shown.extend_from_slice(escape_controls(chunk.valid()).as_bytes());
        shown.extend(chunk.invalid().iter().flat_map(|&byte| std::ascii::escape_default(byte)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_bidirectional_marks_are_escaped() {
        assert_eq!(escape_controls("a\tb\x1b[31mc\rd\u{202E}e\n"), "a\tb\\u{1b}[31mc\\rd\\u{202e}e\\n");
    }

    #[test]
    fn only_lines_tabs_and_colors_leave_unescaped() {
        let plain = "a\tb\n  \u{1b}[31;1mred\u{1b}[0m ä🦀\n";
        assert_eq!(sanitize(plain), plain);
        for (text, shown) in [
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("\u{1b}[1", "\\u{1b}[1"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\u{9b}1m", "a\\rb\\u{9b}1m"),
            ("\u{1b}[1mä\u{1b}[0m\u{7}ü", "\u{1b}[1mä\u{1b}[0m\\u{7}ü"),
            ("\u{61c}\u{202e}\u{2066}\u{2028}", "\\u{61c}\\u{202e}\\u{2066}\\u{2028}"),
        ] {
            assert_eq!(sanitize(text), shown);
        }
        assert_eq!(escape_lines("a\nb\u{1b}[31m", "  "), "a\n  b\\u{1b}[31m");
    }

    #[test]
    fn invalid_utf8_is_shown_by_value() {
        let shown = |bytes: &[u8]| {
            let mut shown = Vec::new();
            escape_bytes(bytes, &mut shown);
            String::from_utf8(shown).unwrap()
        };
        assert_eq!(shown(b"plain \\ text"), "plain \\ text");
        assert_eq!(shown(b"a\xff\xf0\x9f\xa6b\0\xc2\x9b"), "a\\xff\\xf0\\x9f\\xa6b\\u{0}\\u{9b}");
        assert_eq!(shown("Grüße\u{2028}\u{200f}".as_bytes()), "Grüße\\u{2028}\\u{200f}");
    }
}
