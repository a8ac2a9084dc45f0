//! Texts in KDL.

use super::quotes::{push_escaped, quoted};
use crate::variables::interpolate::escape;
use schemas::terminal::steers;

/// Returns the escape of a character that needs one: line breaks of KDL, control characters, and those that KDL bans
/// because they change what a reader sees.
fn code_of(c: char) -> Option<String> {
    (steers(c) || c == '\u{FEFF}').then(|| format!("\\u{{{:x}}}", u32::from(c)))
}

/// Returns a quoted string on one line.
pub(crate) fn string(text: &str) -> String {
    quoted(text, code_of)
}

/// Returns a value on one line, in which nothing is a variable.
pub(super) fn value(text: &str) -> String {
    string(&escape(text))
}

/// Returns a string over several lines, indented by `indent`, if the text has several; otherwise on one line.
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
                c => push_escaped(&mut out, c, code_of),
            }
        }
        out.push('\n');
    }
    out.push_str(indent);
    out.push_str("\"\"\"");
    out
}

/// Returns the name of a node: bare if possible.
pub(crate) fn name(text: &str) -> String {
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !matches!(text, "true" | "false" | "null" | "inf" | "-inf" | "nan");
    if bare { text.to_owned() } else { string(text) }
}
