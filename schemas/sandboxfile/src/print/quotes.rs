//! Strings in quotes, which differ between the spellings in the escapes of characters without a short one.

/// Returns a text in quotes on one line; `escape` returns the escape of a character that needs one.
pub(super) fn quoted(text: &str, escape: fn(char) -> Option<String>) -> String {
    let mut out = String::from("\"");
    text.chars().for_each(|c| push_escaped(&mut out, c, escape));
    out.push('"');
    out
}

/// Appends a character of a string in quotes.
pub(super) fn push_escaped(out: &mut String, c: char, escape: fn(char) -> Option<String>) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c => match escape(c) {
            Some(escaped) => out.push_str(&escaped),
            None => out.push(c),
        },
    }
}
