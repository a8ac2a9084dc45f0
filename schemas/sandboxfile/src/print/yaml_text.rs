//! Texts in YAML.

use crate::variables::interpolate::escape;
use schemas::terminal::steers;

/// Words that some reader or other takes for something else than a text.
const KEYWORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_printable(c) => out.push(c),
        c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
    }
}

fn is_printable(c: char) -> bool {
    !steers(c) && !matches!(c, '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

/// A text on one line: bare where nobody can misread it, else in quotes.
pub(crate) fn string(text: &str) -> String {
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/' | '.'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && !text.starts_with("...")
        && !matches!(text.to_ascii_lowercase().as_str(), ".inf" | ".nan")
        && !KEYWORDS.contains(&text.to_ascii_lowercase().as_str());
    if bare {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    text.chars().for_each(|c| push_escaped(&mut out, c));
    out.push('"');
    out
}

/// A value on one line, in which nothing is a variable.
pub(super) fn value(text: &str) -> String {
    string(&escape(text))
}

/// A text over several lines, indented by `indent`, when it has several; else on one line.
pub(super) fn block(text: &str, indent: &str) -> String {
    let plain = text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c));
    // The first line decides about indentation, and blank ends of lines are lost to many editors.
    let fits =
        text.split('\n').all(|line| !line.ends_with([' ', '\t'])) && !text.starts_with([' ', '\t', '\n']);
    if !text.contains('\n') || !plain || !fits || text.ends_with("\n\n") {
        return string(text);
    }
    let (body, keep) = match text.strip_suffix('\n') {
        Some(body) => (body, "|"),
        None => (text, "|-"),
    };
    let mut out = String::from(keep);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(indent);
            out.push_str(line);
        }
    }
    out
}
