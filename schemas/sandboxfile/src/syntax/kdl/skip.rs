//! The ends of white space, comments and strings, found without reading their contents.

use super::problem::{Problem, ProblemKind};
use super::text::{newline_at, space_at};
use crate::syntax::Span;
use schemas::spec::limits;

/// Returns the end of white space, line breaks included.
pub(super) fn after_white_space(text: &str, mut at: usize) -> usize {
    while let length @ 1.. = space_at(text, at) + newline_at(text, at) {
        at += length;
    }
    at
}

/// Returns the end of everything that may stand between the parts of a node.
pub(super) fn after_node_space(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    loop {
        let end = match bytes.get(at) {
            Some(b'/') if bytes.get(at + 1) == Some(&b'*') => after_comment(bytes, at).ok(),
            Some(b'\\') => after_continuation(text, at),
            _ => Some(space_at(text, at)).filter(|&length| length > 0).map(|length| at + length),
        };
        let Some(end) = end else { return at };
        at = end;
    }
}

/// Returns the end of everything that may stand between two nodes.
pub(super) fn after_line_space(text: &str, mut at: usize) -> usize {
    loop {
        at = after_node_space(text, at);
        at = match newline_at(text, at) {
            0 if text.as_bytes()[at..].starts_with(b"//") => after_line(text, at),
            0 => return at,
            length => at + length,
        };
    }
}

/// Returns the end of a line, before its line break.
pub(super) fn line_end(text: &str, mut at: usize) -> usize {
    let may_end = |byte: &u8| matches!(byte, b'\n'..=b'\r' | 0xC2 | 0xE2);
    while let Some(length) = text.as_bytes()[at..].iter().position(may_end) {
        at += length;
        if newline_at(text, at) > 0 {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// Returns the start of the next line.
pub(super) fn after_line(text: &str, at: usize) -> usize {
    let end = line_end(text, at);
    end + newline_at(text, end)
}

/// Returns the end of a `\` and the rest of its line; `None` if the line contains anything but white space and comments.
pub(super) fn after_continuation(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = at + 1;
    loop {
        at = match &bytes[at..] {
            [] => return Some(at),
            [b'/', b'/', ..] => return Some(after_line(text, at)),
            [b'/', b'*', ..] => after_comment(bytes, at).ok()?,
            _ => match (space_at(text, at), newline_at(text, at)) {
                (0, 0) => return None,
                (0, length) => return Some(at + length),
                (length, _) => at + length,
            },
        };
    }
}

/// Returns the end of a block comment and the comments in it.
///
/// # Errors
///
/// If it is not closed, or comments nest deeper than the limit.
pub(super) fn after_comment(bytes: &[u8], start: usize) -> Result<usize, Problem> {
    let problem = |kind, at| Err(Problem { kind, span: Span::new(at, at + 2) });
    let (mut at, mut depth) = (start, 0);
    loop {
        match &bytes[at..] {
            [b'/', b'*', ..] if depth == limits::SANDBOXFILE_DEPTH_MAX => {
                return problem(ProblemKind::TooDeep, at);
            }
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Ok(at);
                }
            }
            [] => return problem(ProblemKind::OpenComment, start),
            _ => at += 1,
        }
    }
}

/// Returns the end of a quoted or raw string; a broken one of one line ends with its line.
pub(super) fn after_string(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let hashes = bytes[at..].iter().take_while(|&&byte| byte == b'#').count();
    let mut at = at + hashes;
    let is_multi_line = bytes[at..].starts_with(b"\"\"\"");
    let quotes = if is_multi_line { "\"\"\"" } else { "\"" };
    if !bytes[at..].starts_with(quotes.as_bytes()) {
        return at;
    }
    at += quotes.len();
    let is_mark = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'"');
    // A `\` may be the last byte, which leaves `at` beyond the text.
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.iter().position(is_mark)) {
        at += length;
        match bytes[at] {
            b'\\' if hashes == 0 => {
                let escaped = at + 1;
                // A `\` removes all white space after it, line breaks too.
                at = after_white_space(text, escaped);
                at += usize::from(at == escaped);
            }
            // A string on one line that is not closed there is broken: go on after it, as the reader does.
            b'\n' if !is_multi_line => return at,
            b'"' if bytes[at..].starts_with(quotes.as_bytes())
                && has_hashes(bytes, at + quotes.len(), hashes) =>
            {
                return at + quotes.len() + hashes;
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Returns whether at least this number of `#` stands at a place.
pub(super) fn has_hashes(bytes: &[u8], at: usize, hashes: usize) -> bool {
    let found = bytes.get(at..at + hashes);
    found.is_some_and(|found| found.iter().all(|&byte| byte == b'#'))
}
