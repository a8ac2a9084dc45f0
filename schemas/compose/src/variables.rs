//! `${NAME}` in the values of a compose file, which a Sandboxfile has in the same forms.

use std::collections::{BTreeMap, HashSet};

/// The deepest nesting of `${…}`.
const DEPTH_MAX: usize = 8;
/// The longest text after replacement, in bytes.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// A part of a text with variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    /// A text without variables.
    Literal(&'t str),
    /// `$$`.
    Dollar,
    /// `$NAME`, or `${NAME…}` with an operator such as `:-` and its word.
    Variable {
        /// As written.
        written: &'t str,
        /// The name.
        name: &'t str,
        /// `:-`, `-`, `:?`, `?`, `:+`, `+`, or nothing.
        operator: &'t str,
        /// The text after the operator.
        word: &'t str,
    },
    /// A `${` that is not closed or contains anything else.
    Malformed(&'t str),
}

impl<'t> Piece<'t> {
    /// Returns it as it is written.
    pub fn written(&self) -> &'t str {
        match self {
            Self::Literal(text) | Self::Malformed(text) => text,
            Self::Dollar => "$$",
            Self::Variable { written, .. } => written,
        }
    }
}

/// Returns the parts of a text.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            pieces.push(Piece::Literal(&rest[..at]));
        }
        rest = &rest[at..];
        let after = &rest[1..];
        let length = if after.starts_with('$') {
            pieces.push(Piece::Dollar);
            2
        } else if let Some(inside) = after.strip_prefix('{') {
            let Some(end) = closing(inside) else {
                pieces.push(Piece::Malformed(rest));
                return pieces;
            };
            let written = &rest[..end + 3];
            pieces.push(braced(written, &inside[..end]));
            written.len()
        } else {
            let name = name_of(after);
            let written = &rest[..=name.len()];
            pieces.push(if name.is_empty() {
                Piece::Literal(written)
            } else {
                Piece::Variable { written, name, operator: "", word: "" }
            });
            written.len()
        };
        rest = &rest[length..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    pieces
}

fn braced<'t>(written: &'t str, inside: &'t str) -> Piece<'t> {
    let name = name_of(inside);
    let rest = &inside[name.len()..];
    let operator = [":-", ":?", ":+", "-", "?", "+"].into_iter().find(|operator| rest.starts_with(operator));
    match operator {
        _ if name.is_empty() => Piece::Malformed(written),
        Some(operator) => Piece::Variable {
            written,
            name,
            operator: &rest[..operator.len()],
            word: &rest[operator.len()..],
        },
        None if rest.is_empty() => Piece::Variable { written, name, operator: "", word: "" },
        None => Piece::Malformed(written),
    }
}

/// Returns the name that a text starts with; empty if it starts with none.
fn name_of(text: &str) -> &str {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..length] }
}

/// Returns the offset of the `}` that closes a `${` before `text`.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut open, mut at) = (0, 0);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'$', Some(b'$')) => at += 1,
            (b'$', Some(b'{')) => {
                open += 1;
                at += 1;
            }
            (b'}', _) if open == 0 => return Some(at),
            (b'}', _) => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Returns the value of a text; variables without a value are empty.
pub(crate) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    push_expanded(&mut out, text, known, 0);
    out
}

fn push_expanded(out: &mut String, text: &str, known: &BTreeMap<String, String>, depth: usize) {
    for piece in pieces(text) {
        if out.len() > VALUE_BYTES_MAX {
            return;
        }
        match piece {
            Piece::Literal(text) | Piece::Malformed(text) => out.push_str(text),
            Piece::Dollar => out.push('$'),
            Piece::Variable { name, operator, word, written: _ } => {
                let value = known.get(name).map(String::as_str);
                let usable = value.filter(|value| !(value.is_empty() && operator.starts_with(':')));
                match (operator.trim_start_matches(':'), usable) {
                    ("+", Some(_)) | ("-", None) if depth < DEPTH_MAX => {
                        push_expanded(out, word, known, depth + 1);
                    }
                    ("+" | "-", None) => {}
                    ("+", Some(_)) => {}
                    (_, _) => out.push_str(value.unwrap_or_default()),
                }
            }
        }
    }
}

/// Returns the names of variables that need a value and have none: compose takes an empty text for them.
pub(crate) fn unset<'t>(text: &'t str, known: &BTreeMap<String, String>) -> Vec<&'t str> {
    let needs = |piece| match piece {
        Piece::Variable { name, operator: "", .. } if !known.contains_key(name) => Some(name),
        _ => None,
    };
    pieces(text).into_iter().filter_map(needs).collect()
}

/// Returns the text with an empty default for each of these variables.
pub(crate) fn with_empty_defaults(text: &str, names: &[&str]) -> String {
    let names: HashSet<&str> = names.iter().copied().collect();
    let shown = |piece: Piece<'_>| match piece {
        Piece::Variable { name, operator: "", .. } if names.contains(name) => format!("${{{name}:-}}"),
        piece => piece.written().to_owned(),
    };
    pieces(text).into_iter().map(shown).collect()
}

/// Returns whether a text has variables.
pub(crate) fn is_template(text: &str) -> bool {
    pieces(text).iter().any(|piece| matches!(piece, Piece::Variable { .. }))
}

/// Splits a text at each `separator` outside of variables.
pub(crate) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    for piece in pieces(text) {
        match piece {
            Piece::Literal(literal) => {
                for (offset, found) in literal.match_indices(separator) {
                    parts.push(&text[start..at + offset]);
                    start = at + offset + found.len();
                }
                at += literal.len();
            }
            Piece::Dollar => at += 2,
            Piece::Variable { written, .. } | Piece::Malformed(written) => at += written.len(),
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Splits a command line into words as compose does: quotes and backslashes, without a shell. `None` if a quote is not
/// closed.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut quote, mut escaped) = (None, false);
    for piece in pieces(line) {
        let literal = match piece {
            Piece::Literal(text) => text,
            Piece::Dollar => {
                word.get_or_insert_default().push_str("$$");
                escaped = false;
                continue;
            }
            Piece::Variable { written, .. } | Piece::Malformed(written) => {
                word.get_or_insert_default().push_str(written);
                escaped = false;
                continue;
            }
        };
        for c in literal.chars() {
            if std::mem::take(&mut escaped) {
                word.get_or_insert_default().push(c);
                continue;
            }
            match (c, quote) {
                ('\\', None | Some('"')) => escaped = true,
                (c, Some(open)) if c == open => quote = None,
                (c, Some(_)) => word.get_or_insert_default().push(c),
                ('"' | '\'', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
                (c, None) => word.get_or_insert_default().push(c),
            }
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> BTreeMap<String, String> {
        [("A", "1"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn values_are_those_of_compose() {
        for (text, value) in [
            ("$A-${A}", "1-1"),
            ("${B:-2} ${EMPTY:-3} ${EMPTY-4} ${A:-5}", "2 3  1"),
            ("${A:+6}${B:+7}", "6"),
            ("${B:-${C:-${A}}}", "1"),
            ("$$A $ $(x) 100%", "$A $ $(x) 100%"),
            ("${A", "${A"),
            ("${B:?no}", ""),
        ] {
            assert_eq!(expand(text, &known()), value, "{text}");
        }
        let deep = "${B:-".repeat(1_000) + &"}".repeat(1_000);
        assert_eq!(expand(&deep, &known()), "");
    }

    #[test]
    fn texts_split_outside_of_variables() {
        assert_eq!(split("${A:-x:y}:${B}:c", ':'), ["${A:-x:y}", "${B}", "c"]);
        assert_eq!(split("", ':'), [""]);
        assert_eq!(split("a::$$:", ':'), ["a", "", "$$", ""]);
    }

    #[test]
    fn command_lines_become_words() {
        let split = |line| words(line).unwrap();
        assert_eq!(split("a 'b c' \"d \\\" e\" f\\ g \"\""), ["a", "b c", "d \" e", "f g", ""]);
        assert_eq!(split("sh -c \"echo $$HOME ${A:-b c}\""), ["sh", "-c", "echo $$HOME ${A:-b c}"]);
        assert_eq!(split("  a\n  b\n"), ["a", "b"]);
        assert_eq!(words("a 'b"), None);
    }

    #[test]
    fn unset_variables_get_empty_defaults() {
        assert_eq!(unset("$A $B ${C} ${D:-x}", &known()), ["B", "C"]);
        assert_eq!(with_empty_defaults("$B/${C}/$$B/${A}", &["B", "C"]), "${B:-}/${C:-}/$$B/${A}");
    }
}
