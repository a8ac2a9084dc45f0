//! Text that a guest has chosen, clipped where it comes in: it ends up in states, in control lines and in messages.

use std::fmt;

/// The most that a guest's text takes in JSON, in bytes.
pub const GUEST_TEXT_BYTES_MAX: usize = 4096;

/// A guest's text, of [`GUEST_TEXT_BYTES_MAX`] at most. What was longer says so at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestText(String);

impl GuestText {
    /// Clips a text.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.chars().map(json_bytes).try_fold(0, fits).is_some() {
            return Self(text);
        }
        let bytes = text.len();
        let note = |left: usize| format!(" [{left} more bytes]");
        let room = GUEST_TEXT_BYTES_MAX - note(bytes).len();
        let (mut kept, mut taken) = (0, 0);
        for (start, character) in text.char_indices() {
            taken += json_bytes(character);
            if taken > room {
                break;
            }
            kept = start + character.len_utf8();
        }
        text.truncate(kept);
        // What a megabyte has been kept for is given back.
        text.push_str(&note(bytes - kept));
        text.shrink_to_fit();
        Self(text)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The sum, if it fits.
fn fits(sum: usize, bytes: usize) -> Option<usize> {
    Some(sum + bytes).filter(|sum| *sum <= GUEST_TEXT_BYTES_MAX)
}

/// What a character takes in a JSON string, in bytes.
fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

impl From<&str> for GuestText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<GuestText> for String {
    fn from(text: GuestText) -> Self {
        text.0
    }
}

impl fmt::Display for GuestText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_json(text: &GuestText) -> usize {
        // Without the quotes around it.
        serde_json::to_vec(&text.0).unwrap().len() - 2
    }

    #[test]
    fn a_text_that_fits_is_kept_as_it_is() {
        for text in ["", "no such file", "\u{1}\n\"\\ü€😀", &"x".repeat(GUEST_TEXT_BYTES_MAX)] {
            assert_eq!(GuestText::new(text).to_string(), text);
        }
    }

    #[test]
    fn a_text_that_does_not_says_how_much_is_missing() {
        let text = GuestText::new("x".repeat(4 << 20)).to_string();
        let kept = text.bytes().take_while(|byte| *byte == b'x').count();
        assert_eq!(text[kept..], format!(" [{} more bytes]", (4 << 20) - kept));
        assert!(kept > GUEST_TEXT_BYTES_MAX - 32);
        for unit in ["\u{1}", "\"", "€", "😀", "a\u{1f}€"] {
            let text = GuestText::new(unit.repeat(1 << 20));
            assert!(in_json(&text) <= GUEST_TEXT_BYTES_MAX, "{unit:?}: {}", in_json(&text));
            assert!(in_json(&text) > GUEST_TEXT_BYTES_MAX - 64, "{unit:?}: {}", in_json(&text));
        }
    }

    proptest! {
        #[test]
        fn no_text_takes_more(text in proptest::collection::vec(any::<char>(), 0..6000)) {
            let text = GuestText::new(text.into_iter().collect::<String>());
            prop_assert!(in_json(&text) <= GUEST_TEXT_BYTES_MAX);
        }
    }
}
