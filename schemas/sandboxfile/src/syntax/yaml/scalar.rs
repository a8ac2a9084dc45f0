//! What a plain scalar of YAML is by itself: YAML 1.2's core schema, and numbers with `_` and `0b`.

use crate::syntax::ScalarKind;

/// Returns what a plain scalar is.
pub(crate) fn scalar_kind(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" => ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => ScalarKind::Bool(false),
        _ => match text.as_bytes() {
            // Most scalars are words.
            [b'0'..=b'9' | b'+' | b'-' | b'.', ..] => number(text),
            _ => ScalarKind::Text,
        },
    }
}

fn number(text: &str) -> ScalarKind {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(value) = integer(text, unsigned) {
        return ScalarKind::Integer(value);
    }
    if is_float(unsigned) { ScalarKind::Float } else { ScalarKind::Text }
}

fn integer(text: &str, unsigned: &str) -> Option<i128> {
    let radixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    let prefixed = radixes.iter().find_map(|&(prefix, radix)| Some((unsigned.strip_prefix(prefix)?, radix)));
    let (digits, radix) = prefixed.unwrap_or((unsigned, 10));
    let is_padded = radix == 10 && digits.starts_with('0') && digits != "0";
    // One `_` at most between two digits.
    let is_spaced = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    if is_padded || is_spaced || !digits.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
        return None;
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    let value = i128::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix).ok()?;
    // Larger ones are floats, as everywhere.
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

fn is_float(unsigned: &str) -> bool {
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => true,
        // Rust's own parser takes words such as `inf` and `nan` as well.
        _ => {
            unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && unsigned.parse::<f64>().is_ok()
        }
    }
}
