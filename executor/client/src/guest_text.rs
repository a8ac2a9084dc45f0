//! Text of a guest, clipped at the border: it ends up in states, control lines and messages.

use schemas::terminal::steers;
use std::fmt;

/// The largest size of a guest's text in JSON, in bytes.
pub const GUEST_TEXT_BYTES_MAX: usize = 4096;

/// A guest's text of at most [`GUEST_TEXT_BYTES_MAX`]; a note at its end counts the clipped bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestText(String);

impl GuestText {
    /// Clips a text.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::clip(text.as_ref(), |character, shown| shown.push(character))
    }

    /// Clips a message and escapes characters that control a terminal or the direction of text, line breaks included.
    pub fn message(text: impl AsRef<str>) -> Self {
        Self::clip(text.as_ref(), |character, shown| {
            if steers(character) {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        })
    }

    fn clip(text: &str, show: impl Fn(char, &mut String)) -> Self {
        let note = |left: usize| format!(" [{left} more bytes]");
        let room = GUEST_TEXT_BYTES_MAX - note(text.len()).len();
        let (mut shown, mut taken) = (String::new(), 0);
        // The prefix that leaves room for the note: bytes of the text, and bytes of its escaped form.
        let mut kept = (0, 0);
        for (start, character) in text.char_indices() {
            let before = shown.len();
            show(character, &mut shown);
            taken += shown[before..].chars().map(json_bytes).sum::<usize>();
            if taken <= room {
                kept = (start + character.len_utf8(), shown.len());
            }
            if taken > GUEST_TEXT_BYTES_MAX {
                shown.truncate(kept.1);
                shown.push_str(&note(text.len() - kept.0));
                break;
            }
        }
        Self(shown)
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends output and keeps at most the last `bytes_max` bytes.
pub fn keep_end(kept: &mut Vec<u8>, data: &[u8], bytes_max: usize) {
    kept.extend_from_slice(&data[data.len().saturating_sub(bytes_max)..]);
    kept.drain(..kept.len().saturating_sub(bytes_max));
}

/// The size of a character in a JSON string, in bytes.
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

    #[test]
    fn a_message_is_harmless_on_a_terminal() {
        for (text, shown) in [
            ("exec: \"x\": not found", "exec: \"x\": not found"),
            ("a\x1b[2Jb\rc\nd\te\u{9b}", "a\\u{1b}[2Jb\\rc\\nd\\te\\u{9b}"),
            ("\u{202e}ü\u{2028}", "\\u{202e}ü\\u{2028}"),
        ] {
            assert_eq!(GuestText::message(text).to_string(), shown);
        }
        let long = GuestText::message("\x1b".repeat(1 << 20)).to_string();
        let kept = long.matches("\\u{1b}").count();
        assert!(kept > 500 && long.ends_with(&format!(" [{} more bytes]", (1 << 20) - kept)), "{long}");
    }

    proptest! {
        #[test]
        fn no_text_takes_more(text in proptest::collection::vec(any::<char>(), 0..6000)) {
            let text: String = text.into_iter().collect();
            for shown in [GuestText::new(&text), GuestText::message(&text)] {
                prop_assert!(in_json(&shown) <= GUEST_TEXT_BYTES_MAX);
            }
            prop_assert!(!GuestText::message(&text).to_string().contains(char::is_control));
        }
    }
}
