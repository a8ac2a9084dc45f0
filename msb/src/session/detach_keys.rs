//! The keys that detach a client from a job, as of `docker attach`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// Maximum number of keys.
const KEYS_MAX: usize = 16;

/// A sequence of keys, as the bytes that a terminal sends for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// A text is not a sequence of keys.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidKeys;

impl std::error::Error for InvalidKeys {}

impl Display for InvalidKeys {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected 1 to {KEYS_MAX} keys such as ctrl-p,ctrl-q, where a key is a character, or ctrl- with a letter \
             or one of @[\\]^_"
        )
    }
}

impl FromStr for DetachKeys {
    type Err = InvalidKeys;

    fn from_str(text: &str) -> Result<Self, InvalidKeys> {
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.filter(|keys| keys.len() <= KEYS_MAX).map(Self).ok_or(InvalidKeys)
    }
}

fn key(text: &str) -> Option<u8> {
    let control = text.len().checked_sub(1).and_then(|at| text.split_at_checked(at));
    match (control, text.as_bytes()) {
        (Some((prefix, letter)), _) if prefix.eq_ignore_ascii_case("ctrl-") => {
            // A terminal sends the low five bits of the letter.
            let letter = letter.bytes().next()?.to_ascii_uppercase();
            (b'@'..=b'_').contains(&letter).then_some(letter & 0x1f)
        }
        (_, [byte]) if byte.is_ascii() => Some(*byte),
        _ => None,
    }
}

/// Finds the keys in the input of a client. Keys at the end of a piece that may be the start of the sequence are held
/// back until the next ones arrive.
#[derive(Debug)]
pub struct DetachFilter {
    keys: Vec<u8>,
    held: Vec<u8>,
}

impl DetachFilter {
    /// Creates a filter at the start of the input.
    pub fn new(DetachKeys(keys): DetachKeys) -> Self {
        Self { keys, held: Vec::new() }
    }

    /// Takes the next input. Returns the input before the sequence, and whether the sequence is complete.
    pub fn feed(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for byte in input {
            self.held.push(*byte);
            while !self.keys.starts_with(&self.held) {
                passed.push(self.held.remove(0));
            }
            if self.held.len() == self.keys.len() {
                return (passed, true);
            }
        }
        (passed, false)
    }

    /// Returns the keys that are held back at the end of the input.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<u8>, InvalidKeys> {
        text.parse::<DetachKeys>().map(|DetachKeys(keys)| keys)
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        assert_eq!(keys("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(keys("a"), Ok(vec![b'a']));
        assert_eq!(keys("Ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"), Ok(vec![0, 27, 28, 29, 30, 31]));
        assert_eq!(keys("-"), Ok(vec![b'-']));
        let long = vec!["x"; KEYS_MAX + 1].join(",");
        for wrong in ["", ",", "a,", "ctrl-", "ctrl-1", "ctrl-é", "ab", "é", &long] {
            assert_eq!(keys(wrong), Err(InvalidKeys), "{wrong}");
        }
    }

    /// Feeds the pieces. Returns what has passed, and whether the sequence was found.
    fn feed(keys: &str, pieces: &[&str]) -> (String, bool) {
        let mut filter = DetachFilter::new(keys.parse().unwrap());
        let mut all = Vec::new();
        for piece in pieces {
            let (passed, found) = filter.feed(piece.as_bytes());
            all.extend(passed);
            if found {
                return (String::from_utf8(all).unwrap(), true);
            }
        }
        all.extend(filter.finish());
        (String::from_utf8(all).unwrap(), false)
    }

    #[test]
    fn the_sequence_is_found_in_any_pieces_and_all_else_passes() {
        assert_eq!(feed("ctrl-p,ctrl-q", &["ls\r\x10\x11more"]), ("ls\r".to_owned(), true));
        assert_eq!(feed("ctrl-p,ctrl-q", &["a\x10", "\x11"]), ("a".to_owned(), true));
        assert_eq!(feed("ctrl-p,ctrl-q", &["\x10", "b\x10\x10", "\x11"]), ("\x10b\x10".to_owned(), true));
        assert_eq!(feed("ctrl-p,ctrl-q", &["\x11\x10"]), ("\x11\x10".to_owned(), false));
        // A sequence that begins anew within itself.
        assert_eq!(feed("a,a,b", &["aaa", "b"]), ("a".to_owned(), true));
        assert_eq!(feed("a,b,a,c", &["ababac"]), ("ab".to_owned(), true));
    }
}
