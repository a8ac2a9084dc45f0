//! Texts in YAML.

use super::quotes::quoted;
use crate::variables::interpolate::escape;
use schemas::terminal::steers;

/// Words that some readers of YAML take for other types than text.
const KEYWORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

fn code_of(c: char) -> Option<String> {
    (!is_printable(c)).then(|| format!("\\U{:08X}", u32::from(c)))
}

fn is_printable(c: char) -> bool {
    !steers(c) && !matches!(c, '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

/// Returns a text on one line: bare where no reader takes it for something else, otherwise in quotes.
pub(crate) fn string(text: &str) -> String {
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/' | '.'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && !text.starts_with("...")
        && !matches!(text.to_ascii_lowercase().as_str(), ".inf" | ".nan")
        && !KEYWORDS.contains(&text.to_ascii_lowercase().as_str());
    if bare { text.to_owned() } else { quoted(text, code_of) }
}

/// Returns a value on one line, in which nothing is a variable.
pub(super) fn value(text: &str) -> String {
    string(&escape(text))
}

/// Returns a text over several lines, indented by `indent`, if it has several; otherwise on one line.
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
