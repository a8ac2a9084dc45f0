//! Limits the length of quotes of input in messages.

use std::borrow::Cow;

/// The most characters of a message about malformed JSON, without its position.
const JSON_MESSAGE_MAX: usize = 300;

/// Returns the text, or its first characters and an ellipsis where it has more than `max`.
pub fn excerpt(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Returns the message of a JSON error without its position. The error quotes complete keys and strings.
pub fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    excerpt(text.strip_suffix(&place).unwrap_or(&text), JSON_MESSAGE_MAX).into_owned()
}

/// Returns the message of a JSON error with its position.
pub fn json_error(error: &serde_json::Error) -> String {
    let message = json_message(error);
    match error.line() {
        0 => message,
        line => format!("{message} at line {line} column {}", error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(excerpt("äöü", 3), "äöü");
        assert_eq!(excerpt("äöü", 2), "äö…");
        assert_eq!(excerpt("", 0), "");
    }

    #[test]
    fn messages_about_json_keep_their_position() {
        let error = |text: &str| serde_json::from_str::<Vec<u8>>(text).unwrap_err();
        assert_eq!(json_error(&error("[\n1,]")), "trailing comma at line 2 column 3");
        let long = json_error(&error(&format!("[\"{}\"]", "x".repeat(10_000))));
        assert!(long.ends_with("… at line 1 column 10003") && long.len() < 400, "{long}");
    }
}
