//! Texts in KDL.

use crate::variables::interpolate::escape;
use schemas::terminal::steers;

/// Whether a character cannot stand in a string as it is: line breaks that KDL knows, control
/// characters, and those that KDL bans because they change what a reader sees.
fn needs_escape(c: char) -> bool {
    steers(c) || c == '\u{FEFF}'
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if needs_escape(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => out.push(c),
    }
}

/// A quoted string on one line.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::from("\"");
    text.chars().for_each(|c| push_escaped(&mut out, c));
    out.push('"');
    out
}

/// A value on one line, in which nothing is a variable.
pub(super) fn value(text: &str) -> String {
    string(&escape(text))
}

/// A string over several lines, indented by `indent`, when the text has several; else on one line.
pub(super) fn block(text: &str, indent: &str) -> String {
    // A line of blanks loses them in a string of several lines.
    let blank = |line: &str| !line.is_empty() && line.chars().all(char::is_whitespace);
    if !text.contains('\n') || text.split('\n').any(blank) {
        return string(text);
    }
    let mut out = String::from("\"\"\"\n");
    for line in text.split('\n') {
        if !line.is_empty() {
            out.push_str(indent);
        }
        for c in line.chars() {
            match c {
                // Only three quotes in a row would end the string.
                '"' if !line.contains("\"\"\"") => out.push('"'),
                '\t' => out.push('\t'),
                c => push_escaped(&mut out, c),
            }
        }
        out.push('\n');
    }
    out.push_str(indent);
    out.push_str("\"\"\"");
    out
}

/// A node's name: bare where it can be.
pub(super) fn name(text: &str) -> String {
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !matches!(text, "true" | "false" | "null" | "inf" | "-inf" | "nan");
    if bare { text.to_owned() } else { string(text) }
}
