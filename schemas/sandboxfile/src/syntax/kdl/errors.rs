//! Errors about a text that the reader does not look at: it is not KDL, or has characters that KDL bans.

use super::says_something;
use crate::diagnostics::{Code, DIAGNOSTICS_MAX, Diagnostic};
use crate::syntax::Span;

/// Returns errors about characters that KDL bans from a text, because no reader would see them.
pub(crate) fn banned_characters(text: &str) -> Vec<Diagnostic> {
    let banned = |&(at, c): &(usize, char)| match c {
        '\u{FEFF}' => at > 0,
        '\t'..='\r' | '\u{80}'..='\u{9F}' => false,
        // These are line breaks in KDL, and a mark that it does not know of.
        '\u{2028}' | '\u{2029}' | '\u{61C}' => false,
        c => schemas::terminal::steers(c),
    };
    // Most texts hold none: a look at each byte is enough to see that.
    let plain = |byte: u8| matches!(byte, b'\t'..=b'\r' | b' '..=b'~');
    // Without a way out in between, the compiler looks at many bytes of a chunk at a time.
    let is_plain = |chunk: &[u8]| chunk.iter().fold(true, |all, &byte| all & plain(byte));
    if text.as_bytes().chunks(64).all(is_plain) {
        return Vec::new();
    }
    let diagnostic = |(at, c): (usize, char)| {
        let code = format!("{:04X}", u32::from(c));
        let span = Span::new(at, at + c.len_utf8());
        Diagnostic::error(Code::KdlSyntax, span, format!("U+{code} is an invisible character"))
            .label("here")
            .help(format!("remove it; if it is meant, write `\\u{{{code}}}` in a string in quotes"))
    };
    text.char_indices().filter(banned).take(DIAGNOSTICS_MAX).map(diagnostic).collect()
}

/// Returns the error about a text in YAML.
pub(crate) fn not_kdl(text: &str) -> Diagnostic {
    let line = text.lines().find(says_something).unwrap_or_default();
    let start = text.find(line).unwrap_or_default();
    Diagnostic::error(
        Code::KdlSyntax,
        Span::new(start, start + line.len()),
        "this file is YAML, but its name says KDL",
    )
    .label("a line of YAML")
    .help("name it Sandboxfile.yaml")
}
