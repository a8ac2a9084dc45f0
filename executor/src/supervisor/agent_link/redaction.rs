//! Replaces values of secrets in what a guest prints: it may have got one from a server.

use executor_intercept::Value;
use executor_log::Source;
use memchr::memmem;
use std::collections::HashMap;

/// The text in place of a value.
const REDACTED: &[u8] = b"[redacted]";
/// Shorter values would be found by chance.
const VALUE_BYTES_MIN: usize = 4;

/// Replaces values in the output of sessions.
#[derive(Default)]
pub struct Redaction {
    /// The longest first, so that a value that contains another one is replaced as a whole.
    values: Vec<Value>,
    /// The ends of outputs that may be the beginning of a value, by session and source.
    held: HashMap<(u64, Source), Vec<u8>>,
}

impl Redaction {
    /// Replaces these values, too.
    pub fn add(&mut self, values: impl IntoIterator<Item = Value>) {
        let known: Vec<Value> = std::mem::take(&mut self.values);
        let is_long = |value: &Value| value.bytes().len() >= VALUE_BYTES_MIN;
        let mut values: Vec<Value> = known.into_iter().chain(values.into_iter().filter(is_long)).collect();
        values.sort_by(|a, b| (b.bytes().len(), b.bytes()).cmp(&(a.bytes().len(), a.bytes())));
        values.dedup_by(|a, b| a.bytes() == b.bytes());
        self.values = values;
    }

    /// Replaces the values in the next output. An end that may be the beginning of a value is kept for the next call; a
    /// whole line is not, as values contain no line feed.
    pub fn redact(&mut self, session: u64, source: Source, data: Vec<u8>) -> Vec<u8> {
        if self.values.is_empty() {
            return data;
        }
        let mut data = match self.held.remove(&(session, source)) {
            Some(mut held) => {
                held.extend_from_slice(&data);
                held
            }
            None => data,
        };
        for value in &self.values {
            replace(&mut data, value.bytes());
        }
        let held = self.values.iter().map(|value| held_bytes(&data, value.bytes())).max().unwrap_or_default();
        if held > 0 {
            let tail = data.split_off(data.len() - held);
            self.held.insert((session, source), tail);
        }
        data
    }

    /// Returns what was kept of an ended session.
    pub fn end(&mut self, session: u64) -> Vec<(Source, Vec<u8>)> {
        let ended = self.held.extract_if(|(number, _), _| *number == session);
        ended.map(|((_, source), held)| (source, held)).collect()
    }
}

fn replace(data: &mut Vec<u8>, value: &[u8]) {
    if memmem::find(data, value).is_none() {
        return;
    }
    let mut replaced = Vec::with_capacity(data.len());
    let mut end = 0;
    for start in memmem::find_iter(data, value) {
        replaced.extend_from_slice(&data[end..start]);
        replaced.extend_from_slice(REDACTED);
        end = start + value.len();
    }
    replaced.extend_from_slice(&data[end..]);
    *data = replaced;
}

/// The length of the longest end of the data that is the beginning of a value, but not all of it.
fn held_bytes(data: &[u8], value: &[u8]) -> usize {
    let longest = data.len().min(value.len() - 1);
    (1..=longest).rev().find(|&length| data.ends_with(&value[..length])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(values: &[&str]) -> Redaction {
        let mut redaction = Redaction::default();
        // Later ones are added to earlier ones.
        for value in values {
            redaction.add([Value::new(value.as_bytes().to_vec())]);
        }
        redaction
    }

    /// The output of a session that prints these pieces and ends.
    fn printed(redaction: &mut Redaction, pieces: &[&[u8]]) -> String {
        let mut output = Vec::new();
        for piece in pieces {
            output.extend(redaction.redact(1, Source::Stdout, piece.to_vec()));
        }
        output.extend(redaction.end(1).into_iter().flat_map(|(_, held)| held));
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn values_are_replaced_wherever_output_is_split() {
        let text = b"a topsecret, topsecret topsecre\ntopsecret";
        let expected = "a [redacted], [redacted] topsecre\n[redacted]";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(printed(&mut redaction(&["topsecret"]), &pieces), expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn a_value_within_another_one_is_replaced_with_it() {
        let mut both = redaction(&["secret", "topsecretword"]);
        assert_eq!(printed(&mut both, &[b"topsecretword secret"]), "[redacted] [redacted]");
    }

    #[test]
    fn whole_lines_and_other_sessions_do_not_wait() {
        let mut redaction = redaction(&["topsecret"]);
        assert_eq!(redaction.redact(1, Source::Stdout, b"top".to_vec()), b"");
        assert_eq!(redaction.redact(2, Source::Stdout, b"secret\n".to_vec()), b"secret\n");
        assert_eq!(redaction.redact(1, Source::Stderr, b"secret\n".to_vec()), b"secret\n");
        assert_eq!(redaction.redact(1, Source::Stdout, b"\n".to_vec()), b"top\n");
        assert!(redaction.end(1).is_empty());
    }

    #[test]
    fn short_values_are_left() {
        assert_eq!(printed(&mut redaction(&["abc"]), &[b"abcabc"]), "abcabc");
    }
}
