//! The braces of a KDL text, found without recursion: the KDL parser recurses for each level, and for each
//! brace that closes nothing, and would run out of stack.

use super::span::Span;

/// What is wrong with the braces of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// The first place where blocks, parentheses or block comments nest deeper than the limit.
    pub too_deep: Option<Span>,
    /// The first `}` that closes nothing.
    pub stray: Option<Span>,
    /// The `{` that is most likely the one that lacks its `}`.
    pub unclosed: Option<Span>,
}

/// An open brace or parenthesis.
struct Open {
    at: usize,
    line: usize,
    indent: usize,
}

/// Looks at all braces outside strings and comments.
///
/// It follows strings and comments just closely enough to skip them. Where it errs on broken input, it
/// sees at most more braces than there are.
pub(crate) fn scan(text: &str, limit: usize) -> Blocks {
    let bytes = text.as_bytes();
    let mut blocks = Blocks::default();
    let mut open: Vec<Open> = Vec::new();
    let mut suspect = None;
    let (mut line, mut line_start) = (0, 0);
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'(' => {
                if open.len() == limit {
                    blocks.too_deep = Some(Span::new(at, at + 1));
                    return blocks;
                }
                open.push(Open { at, line, indent: indent(&bytes[line_start..]) });
                at += 1;
            }
            b'}' => {
                // Parentheses belong to one line; those that are left open do not hide a block.
                while open.last().is_some_and(|last| bytes[last.at] == b'(') {
                    open.pop();
                }
                match open.pop() {
                    // A block that ends at another depth than it began has probably taken the end of the next one.
                    Some(last) if last.line != line && last.indent != indent(&bytes[line_start..]) => {
                        suspect.get_or_insert(last.at);
                    }
                    Some(_) => {}
                    None => blocks.stray = blocks.stray.or(Some(Span::new(at, at + 1))),
                }
                at += 1;
            }
            b')' => {
                if open.last().is_some_and(|last| bytes[last.at] == b'(') {
                    open.pop();
                }
                at += 1;
            }
            b'"' => at = after_string(bytes, at),
            b'#' => at = after_raw_string(bytes, at),
            b'/' if bytes[at..].starts_with(b"//") => at = after_line(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => match after_comment(bytes, at, limit) {
                Ok(end) => at = end,
                Err(place) => {
                    blocks.too_deep = Some(Span::new(place, place + 2));
                    return blocks;
                }
            },
            b'\n' => {
                line += 1;
                at += 1;
                line_start = at;
            }
            _ => at += 1,
        }
    }
    let last = open.iter().rev().find(|last| bytes[last.at] == b'{').map(|last| last.at);
    blocks.unclosed = last.map(|last| suspect.unwrap_or(last)).map(|at| Span::new(at, at + 1));
    blocks
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count()
}

fn after_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn after_string(bytes: &[u8], at: usize) -> usize {
    let multi_line = bytes[at..].starts_with(b"\"\"\"");
    let quote: &[u8] = if multi_line { b"\"\"\"" } else { b"\"" };
    let mut at = at + quote.len();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            // A string on one line that is not closed there is broken: go on as the parser does, behind it.
            b'\n' if !multi_line => return at,
            _ if bytes[at..].starts_with(quote) => return at + quote.len(),
            _ => at += 1,
        }
    }
    bytes.len()
}

fn after_raw_string(bytes: &[u8], at: usize) -> usize {
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

fn after_comment(bytes: &[u8], at: usize, limit: usize) -> Result<usize, usize> {
    let mut depth = 0;
    let mut at = at;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            if depth > limit {
                return Err(at);
            }
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Ok(at);
            }
        } else {
            at += 1;
        }
    }
    Ok(at)
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
            "a {} b {} c {}",
            "(a)b { }",
        ] {
            assert_eq!(scan(fine, LIMIT), Blocks::default(), "{fine}");
        }
        assert_eq!(scan("a { b { c { } } }", LIMIT).too_deep, Some(Span::new(10, 11)));
        assert_eq!(scan("/*/*/*", LIMIT).too_deep, Some(Span::new(4, 6)));
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
        for broken in ["\"", "\"\\", "#\"", "##", "/*", "\"\"\"", "#\"\"\"#", "a \"é", "#", "(", ")"] {
            assert_eq!(scan(broken, LIMIT), Blocks::default(), "{broken}");
        }
    }
}
