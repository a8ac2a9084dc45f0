//! What KDL 2 says of single characters: white space, line breaks, the characters of a bare word.

/// The length of the white space character at a place, in bytes; 0 where there is none.
#[inline]
pub(crate) fn space_at(text: &str, at: usize) -> usize {
    match text.as_bytes().get(at) {
        Some(b' ' | b'\t') => 1,
        Some(byte) if byte.is_ascii() => 0,
        Some(_) => wide_at(text, at).filter(|&c| is_space(c)).map_or(0, char::len_utf8),
        None => 0,
    }
}

/// The length of the line break at a place, in bytes; 0 where there is none.
#[inline]
pub(crate) fn newline_at(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    match bytes.get(at) {
        Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => 2,
        Some(b'\n'..=b'\r') => 1,
        Some(0xC2 | 0xE2) => wide_at(text, at).filter(|&c| is_wide_newline(c)).map_or(0, char::len_utf8),
        _ => 0,
    }
}

/// The character at a place, if one starts there.
fn wide_at(text: &str, at: usize) -> Option<char> {
    text.get(at..).and_then(|rest| rest.chars().next())
}

fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}'
    )
}

fn is_wide_newline(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a character may stand in a word without quotes.
#[inline]
pub(crate) fn is_word_character(c: char) -> bool {
    match c {
        '\0'..=' ' | '\u{7F}' => false,
        '\\' | '/' | '(' | ')' | '{' | '}' | '[' | ']' | ';' | '"' | '#' | '=' => false,
        '\u{FEFF}' => false,
        c => c.is_ascii() || !(is_space(c) || is_wide_newline(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (text, space, newline) in [
            ("", 0, 0),
            (" ", 1, 0),
            ("\t", 1, 0),
            ("\r\n", 0, 2),
            ("\r", 0, 1),
            ("\u{B}", 0, 1),
            ("\u{C}", 0, 1),
            ("\u{85}", 0, 2),
            ("\u{2028}", 0, 3),
            ("\u{A0}", 2, 0),
            ("\u{3000}", 3, 0),
            ("é", 0, 0),
            ("a", 0, 0),
        ] {
            assert_eq!((space_at(text, 0), newline_at(text, 0)), (space, newline), "{text:?}");
        }
        assert_eq!((space_at("é", 1), newline_at("é", 1)), (0, 0));
    }
}
