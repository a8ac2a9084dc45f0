//! The braces of a KDL text, found without recursion: the reader recurses for each level, so the depth is limited
//! first. Where a brace is missing, the indentation tells which one.
//!
//! Strings and comments are followed just closely enough to skip them. In broken text more braces may be seen than
//! there are.

use super::text::{newline_at, space_at};
use crate::syntax::Span;
use std::ops::Range;

/// What is wrong with the braces of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// The first place where blocks, parentheses or block comments nest deeper than the limit.
    pub too_deep: Option<Span>,
    /// The `/*` that lacks its `*/`.
    pub open_comment: Option<Span>,
    /// The first `}` that closes nothing.
    pub stray: Option<Span>,
    /// The `{` that is most likely the one that lacks its `}`.
    pub unclosed: Option<Span>,
}

/// The line that is being read.
#[derive(Default)]
struct Line {
    number: usize,
    start: usize,
    /// Counted once: a line may be as long as the file, and hold as many braces.
    indent: Option<usize>,
}

impl Line {
    fn next(&mut self, start: usize) {
        *self = Self { number: self.number + 1, start, indent: None };
    }

    fn indent(&mut self, bytes: &[u8]) -> usize {
        let blanks = || bytes[self.start..].iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
        *self.indent.get_or_insert_with(blanks)
    }
}

/// An open brace or parenthesis.
struct Open {
    at: usize,
    line: usize,
    indent: usize,
}

/// Looks at all braces outside strings and comments.
pub(crate) fn scan(text: &str, limit: usize) -> Blocks {
    let bytes = text.as_bytes();
    let mut blocks = Blocks::default();
    let mut open: Vec<Open> = Vec::new();
    let mut suspect = None;
    let mut line = Line::default();
    let mut at = 0;
    while let Some(piece) = next_piece(text, at) {
        let span = Span::new(piece.range.start, piece.range.start + 1);
        at = piece.range.end;
        match piece.kind {
            Kind::Open => {
                if open.len() == limit {
                    return Blocks { too_deep: Some(span), ..blocks };
                }
                let indent = line.indent(bytes);
                open.push(Open { at: span.start, line: line.number, indent });
            }
            Kind::CloseBlock => {
                // Parentheses belong to one line; those that are left open do not hide a block.
                while open.last().is_some_and(|last| bytes[last.at] == b'(') {
                    open.pop();
                }
                match open.pop() {
                    // A block that ends at another depth than it began has probably taken the end of the next one.
                    Some(last) if last.line != line.number && last.indent != line.indent(bytes) => {
                        suspect.get_or_insert(last.at);
                    }
                    Some(_) => {}
                    None => blocks.stray = blocks.stray.or(Some(span)),
                }
            }
            Kind::CloseParenthesis => {
                if open.last().is_some_and(|last| bytes[last.at] == b'(') {
                    open.pop();
                }
            }
            Kind::Newline => line.next(at),
            // What it takes out may stand on a later line.
            Kind::SlashDash => {
                let skipped = at..after_line_space(text, at);
                for place in skipped.clone().filter(|&place| bytes[place] == b'\n') {
                    line.next(place + 1);
                }
                at = skipped.end;
            }
            Kind::Comment { is_closed } => {
                if let Some(place) = nesting(bytes, &piece.range, limit) {
                    return Blocks { too_deep: Some(Span::new(place, place + 2)), ..blocks };
                }
                if !is_closed {
                    let span = Span::new(span.start, span.start + 2);
                    return Blocks { open_comment: Some(span), ..blocks };
                }
            }
            Kind::Semicolon | Kind::LineComment | Kind::Continuation | Kind::String => {}
        }
    }
    let last = open.iter().rev().find(|last| bytes[last.at] == b'{').map(|last| last.at);
    blocks.unclosed = last.map(|last| suspect.unwrap_or(last)).map(|at| Span::new(at, at + 1));
    blocks
}

/// Returns where the node ends that a place is part of: after its line break or its `;`, or before the `}` of the
/// block around it.
pub(crate) fn node_end(text: &str, start: usize, is_in_block: bool) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(piece) = next_piece(text, at) {
        at = piece.range.end;
        match piece.kind {
            Kind::Open => depth += usize::from(text.as_bytes()[piece.range.start] == b'{'),
            Kind::CloseBlock if depth == 0 && is_in_block => return piece.range.start,
            Kind::CloseBlock => depth = depth.saturating_sub(1),
            Kind::SlashDash => at = after_line_space(text, at),
            Kind::Newline | Kind::Semicolon if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// What a piece of the text is. Plain text between the pieces is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `{` or `(`.
    Open,
    CloseBlock,
    CloseParenthesis,
    Newline,
    Semicolon,
    /// `/-`.
    SlashDash,
    /// `/* … */`.
    Comment {
        is_closed: bool,
    },
    /// `// …`, without the end of its line.
    LineComment,
    /// A `\` and the end of its line.
    Continuation,
    String,
}

struct Piece {
    kind: Kind,
    range: Range<usize>,
}

/// The first piece at or after a place.
fn next_piece(text: &str, from: usize) -> Option<Piece> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        let (kind, end) = match *bytes.get(at)? {
            b'{' | b'(' => (Kind::Open, at + 1),
            b'}' => (Kind::CloseBlock, at + 1),
            b')' => (Kind::CloseParenthesis, at + 1),
            b';' => (Kind::Semicolon, at + 1),
            b'\n' => (Kind::Newline, at + 1),
            b'"' => (Kind::String, after_string(text, at)),
            b'#' => (Kind::String, after_raw_string(bytes, at)),
            b'\\' => (Kind::Continuation, after_continuation(text, at)),
            b'/' => match bytes.get(at + 1) {
                Some(b'/') => (Kind::LineComment, after_line(bytes, at)),
                Some(b'-') => (Kind::SlashDash, at + 2),
                Some(b'*') => {
                    let (end, is_closed) = after_comment(bytes, at);
                    (Kind::Comment { is_closed }, end)
                }
                _ => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        return Some(Piece { kind, range: at..end });
    }
}

fn after_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

/// Behind the blanks, line breaks and comments that stand here.
fn after_line_space(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at;
    loop {
        at = match &bytes[at..] {
            [b'\\', ..] => after_continuation(text, at),
            [b'/', b'/', ..] => after_line(bytes, at),
            [b'/', b'*', ..] => match after_comment(bytes, at) {
                (end, true) => end,
                (_, false) => return at,
            },
            _ => match space_at(text, at) + newline_at(text, at) {
                0 => return at,
                length => at + length,
            },
        };
    }
}

fn after_continuation(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at + 1;
    loop {
        at = match &bytes[at..] {
            [b'/', b'/', ..] => {
                let end = after_line(bytes, at);
                return end + newline_at(text, end);
            }
            [b'/', b'*', ..] => match after_comment(bytes, at) {
                (end, true) => end,
                (_, false) => return at,
            },
            _ => match space_at(text, at) {
                0 => return at + newline_at(text, at),
                length => at + length,
            },
        };
    }
}

/// Returns where a quoted string ends; a broken one of one line ends with its line.
pub(crate) fn after_string(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let multi_line = bytes[at..].starts_with(b"\"\"\"");
    let quotes = if multi_line { 3 } else { 1 };
    let mut at = at + quotes;
    let is_mark = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'"');
    // A `\` may be the last byte, which leaves `at` beyond the text.
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.iter().position(is_mark)) {
        at += length;
        match bytes[at] {
            b'\\' => {
                let escaped = at + 1;
                at = escaped;
                // A `\` removes all white space after it, line breaks too.
                while space_at(text, at) + newline_at(text, at) > 0 {
                    at += space_at(text, at) + newline_at(text, at);
                }
                at += usize::from(at == escaped);
            }
            // A string on one line that is not closed there is broken: go on after it, as the reader does.
            b'\n' if !multi_line => return at,
            b'"' if !multi_line => return at + 1,
            b'"' if bytes[at..].starts_with(b"\"\"\"") => return at + 3,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Returns where a raw string ends; a broken one of one line ends with its line.
pub(crate) fn after_raw_string(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at..].iter().take_while(|&&byte| byte == b'#').count();
    let open = at + hashes;
    if bytes.get(open) != Some(&b'"') {
        return open;
    }
    let multi_line = bytes[open..].starts_with(b"\"\"\"");
    let quotes = if multi_line { 3 } else { 1 };
    let mut at = open + quotes;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest[0] == b'\n' && !multi_line {
            return at;
        }
        let quoted = rest.len() >= quotes && rest[..quotes].iter().all(|&byte| byte == b'"');
        if quoted && rest[quotes..].iter().take(hashes).take_while(|&&byte| byte == b'#').count() == hashes {
            return at + quotes + hashes;
        }
        at += 1;
    }
    bytes.len()
}

/// Returns where a block comment and the comments in it end, and whether it is closed.
pub(super) fn after_comment(bytes: &[u8], at: usize) -> (usize, bool) {
    let mut depth = 0_usize;
    let mut at = at;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return (at, true);
                }
            }
            _ => at += 1,
        }
    }
    (at, false)
}

/// The place in a block comment where comments nest deeper than the limit.
fn nesting(bytes: &[u8], comment: &Range<usize>, limit: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = comment.start;
    while at < comment.end {
        match &bytes[at..] {
            [b'/', b'*', ..] if depth == limit => return Some(at),
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 2;

    #[test]
    fn braces_count_outside_strings_and_comments() {
        for fine in [
            "a { b { } }",
            "a \"{{{{\" { b }",
            "a #\"{{{\"{{\"#",
            "// {{{{\na { }",
            "/* {{{{ /* */ */ a { b {} }",
            "a \"\"\"\n {{{ \"\n \"\"\"",
            "a \"\\\"{{{\"",
            "a \"\\ \u{A0}\n {{{\"",
            "a {} b {} c {}",
            "(a)b { }",
            "a \\ // {{{\n b { }",
        ] {
            assert_eq!(scan(fine, LIMIT), Blocks::default(), "{fine}");
        }
        assert_eq!(scan("a { b { c { } } }", LIMIT).too_deep, Some(Span::new(10, 11)));
        assert_eq!(scan("/*/*/*", LIMIT).too_deep, Some(Span::new(4, 6)));
        assert_eq!(scan("a /*", LIMIT).open_comment, Some(Span::new(2, 4)));
    }

    #[test]
    fn strays_and_open_ends() {
        assert_eq!(scan("a {\n}}\n", LIMIT).stray, Some(Span::new(5, 6)));
        assert_eq!(scan("a {\n", LIMIT).unclosed, Some(Span::new(2, 3)));
        assert_eq!(scan("a {\n  b {\n}\nc\n", LIMIT).unclosed, Some(Span::new(8, 9)));
        assert_eq!(scan("a {\n  b {\n  }\nc\n", LIMIT).unclosed, Some(Span::new(2, 3)));
    }

    #[test]
    fn broken_text_ends() {
        for broken in
            ["\"", "\"\\", "#\"", "##", "\"\"\"", "#\"\"\"#", "a \"é", "#", "(", ")", "\\", "/-", "/"]
        {
            assert_eq!(scan(broken, LIMIT), Blocks::default(), "{broken}");
            assert_eq!(node_end(broken, 0, false), broken.len(), "{broken}");
        }
    }

    #[test]
    fn a_node_ends_with_its_line() {
        for (node, rest) in [
            ("a b\n", "c"),
            ("a;", "c"),
            ("a {\n b; c\n}\n", "d"),
            ("a \"\n", "c"),
            ("a \\\n b\n", "c"),
            ("a \\ /* \n */ // x\n b\n", "c"),
            ("a \"\"\"\n b;\n \"\"\"\n", "c"),
            ("a \"b\\\n  c\"\n", "c"),
            ("/-\n// b\n a\n", "c"),
            ("/- \\\n\n a\n", "c"),
            ("a /* \n */\n", "c"),
            ("a (b;", "c"),
        ] {
            assert_eq!(node_end(&format!("{node}{rest}"), 0, false), node.len(), "{node}");
        }
    }
}
