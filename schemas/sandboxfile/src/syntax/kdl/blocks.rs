//! The braces of a KDL text, found without recursion: the reader recurses for each level, so the depth is limited
//! first. Where a brace is missing, the indentation tells which one.
//!
//! Strings and comments are followed just closely enough to skip them. In broken text more braces may be seen than
//! there are.

use super::problem::{Problem, ProblemKind};
use super::skip::{after_comment, after_continuation, after_line_space, after_string, line_end};
use crate::syntax::Span;
use schemas::spec::limits;

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

/// Looks at all braces outside strings and comments. Returns the first place where blocks, parentheses or comments nest
/// deeper than the limit, or the comment that is not closed; otherwise the first `}` that closes nothing, and the `{`
/// that is most likely the one that lacks its `}`.
pub(super) fn scan(text: &str) -> Vec<Problem> {
    let bytes = text.as_bytes();
    let problem = |kind, at| Problem { kind, span: Span::new(at, at + 1) };
    let mut open: Vec<Open> = Vec::new();
    let (mut stray, mut suspect) = (None, None);
    let mut line = Line::default();
    let mut at = 0;
    while let Some(Piece { kind, start, end }) = next_piece(text, at) {
        at = end;
        match kind {
            Kind::Open => {
                if open.len() == limits::SANDBOXFILE_DEPTH_MAX {
                    return vec![problem(ProblemKind::TooDeep, start)];
                }
                let indent = line.indent(bytes);
                open.push(Open { at: start, line: line.number, indent });
            }
            Kind::CloseBlock => {
                // Parentheses belong to one line; those that are left open do not hide a block.
                while open.pop_if(|last| bytes[last.at] == b'(').is_some() {}
                match open.pop() {
                    // A block that ends at another depth than it began has probably taken the end of the next one.
                    Some(last) if last.line != line.number && last.indent != line.indent(bytes) => {
                        suspect.get_or_insert(last.at);
                    }
                    Some(_) => {}
                    None => stray = stray.or(Some(start)),
                }
            }
            Kind::CloseParenthesis => drop(open.pop_if(|last| bytes[last.at] == b'(')),
            Kind::Newline => line.next(end),
            // What it takes out may stand on a later line.
            Kind::SlashDash => {
                at = after_line_space(text, end);
                for place in (end..at).filter(|&place| bytes[place] == b'\n') {
                    line.next(place + 1);
                }
            }
            Kind::BrokenComment(problem) => return vec![problem],
            Kind::Semicolon => {}
        }
    }
    let unclosed = open.iter().rfind(|last| bytes[last.at] == b'{').map(|last| suspect.unwrap_or(last.at));
    let stray = stray.map(|at| problem(ProblemKind::Stray, at));
    stray.into_iter().chain(unclosed.map(|at| problem(ProblemKind::Unclosed, at))).collect()
}

/// Returns where the node ends that a place is part of: after its line break or its `;`, or before the `}` of the
/// block around it.
pub(super) fn node_end(text: &str, start: usize, is_in_block: bool) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(Piece { kind, start, end }) = next_piece(text, at) {
        at = end;
        match kind {
            Kind::Open => depth += usize::from(text.as_bytes()[start] == b'{'),
            Kind::CloseBlock if depth == 0 && is_in_block => return start,
            Kind::CloseBlock => depth = depth.saturating_sub(1),
            Kind::SlashDash => at = after_line_space(text, end),
            Kind::Newline | Kind::Semicolon if depth == 0 => return end,
            _ => {}
        }
    }
    text.len()
}

/// The kind of a piece of the text, which is neither plain text nor a string nor a comment.
enum Kind {
    /// `{` or `(`.
    Open,
    CloseBlock,
    CloseParenthesis,
    Newline,
    Semicolon,
    /// `/-`.
    SlashDash,
    /// A comment that takes the rest of the text.
    BrokenComment(Problem),
}

struct Piece {
    kind: Kind,
    start: usize,
    end: usize,
}

/// Returns the first piece at or after a place.
fn next_piece(text: &str, mut at: usize) -> Option<Piece> {
    let bytes = text.as_bytes();
    loop {
        let piece = move |kind, length| Some(Piece { kind, start: at, end: at + length });
        at = match *bytes.get(at)? {
            b'{' | b'(' => return piece(Kind::Open, 1),
            b'}' => return piece(Kind::CloseBlock, 1),
            b')' => return piece(Kind::CloseParenthesis, 1),
            b';' => return piece(Kind::Semicolon, 1),
            b'\n' => return piece(Kind::Newline, 1),
            b'"' | b'#' => after_string(text, at),
            b'\\' => after_continuation(text, at).unwrap_or(at + 1),
            b'/' => match bytes.get(at + 1) {
                Some(b'-') => return piece(Kind::SlashDash, 2),
                Some(b'/') => line_end(text, at),
                Some(b'*') => match after_comment(bytes, at) {
                    Ok(end) => end,
                    Err(problem) => return piece(Kind::BrokenComment(problem), bytes.len() - at),
                },
                _ => at + 1,
            },
            _ => at + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: ProblemKind, at: usize, length: usize) -> [Problem; 1] {
        [Problem { kind, span: Span::new(at, at + length) }]
    }

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
            assert_eq!(scan(fine), [], "{fine}");
        }
        let deepest = limits::SANDBOXFILE_DEPTH_MAX;
        let nested = |levels: usize| format!("a{}{}", "{".repeat(levels), "}".repeat(levels));
        assert_eq!(scan(&nested(deepest)), []);
        assert_eq!(scan(&nested(deepest + 1)), found(ProblemKind::TooDeep, deepest + 1, 1));
        let nested = |levels: usize| format!("{}{}", "/*".repeat(levels), "*/".repeat(levels));
        assert_eq!(scan(&nested(deepest)), []);
        assert_eq!(scan(&nested(deepest + 1)), found(ProblemKind::TooDeep, 2 * deepest, 2));
        assert_eq!(scan(&"/*".repeat(deepest + 1)), found(ProblemKind::TooDeep, 2 * deepest, 2));
        assert_eq!(scan("a /*"), found(ProblemKind::OpenComment, 2, 2));
    }

    #[test]
    fn strays_and_open_ends() {
        assert_eq!(scan("a {\n}}\n"), found(ProblemKind::Stray, 5, 1));
        assert_eq!(scan("a {\n"), found(ProblemKind::Unclosed, 2, 1));
        assert_eq!(scan("a {\n  b {\n}\nc\n"), found(ProblemKind::Unclosed, 8, 1));
        assert_eq!(scan("a {\n  b {\n  }\nc\n"), found(ProblemKind::Unclosed, 2, 1));
    }

    #[test]
    fn broken_text_ends() {
        for broken in
            ["\"", "\"\\", "#\"", "##", "\"\"\"", "#\"\"\"#", "a \"é", "#", "(", ")", "\\", "/-", "/"]
        {
            assert_eq!(scan(broken), [], "{broken}");
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
