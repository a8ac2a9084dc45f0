//! How deep a KDL text nests, found without recursion: the KDL parser itself recurses per level and
//! would run out of stack.

use super::span::Span;

/// The place where blocks or block comments first nest deeper than `limit`.
///
/// It follows strings and comments just closely enough to skip them. Where it errs on broken input, it
/// sees at most more braces than there are.
pub(crate) fn too_deep(text: &str, limit: usize) -> Option<Span> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'(' => {
                depth += 1;
                if depth > limit {
                    return Some(Span::new(at, at + 1));
                }
                at += 1;
            }
            b'}' | b')' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'"' => at = after_string(bytes, at),
            b'#' => at = after_raw_string(bytes, at),
            b'/' if bytes[at..].starts_with(b"//") => at = after_line(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => match after_comment(bytes, at, limit) {
                Ok(end) => at = end,
                Err(place) => return Some(Span::new(place, place + 2)),
            },
            _ => at += 1,
        }
    }
    None
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

    #[test]
    fn depth_is_counted_outside_strings_and_comments() {
        let limit = 2;
        for fine in [
            "a { b { } }",
            "a \"{{{{\" { b }",
            "a #\"{{{\"{{\"#",
            "// {{{{\na { }",
            "/* {{{{ /* */ */ a { b {} }",
            "a \"\"\"\n {{{ \"\n \"\"\"",
            "a \"\\\"{{{\"",
            "a {} b {} c {}",
        ] {
            assert_eq!(too_deep(fine, limit), None, "{fine}");
        }
        assert_eq!(too_deep("a { b { c { } } }", limit), Some(Span::new(10, 11)));
        assert_eq!(too_deep("/*/*/*", limit), Some(Span::new(4, 6)));
    }

    #[test]
    fn broken_text_ends() {
        for broken in ["\"", "\"\\", "#\"", "##", "/*", "\"\"\"", "#\"\"\"#", "a \"é", "#"] {
            assert_eq!(too_deep(broken, 1), None, "{broken}");
        }
    }
}
