//! Joins the pieces of output in a log to lines.

use crate::entry::{Entry, Source};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A person's line: output joined to whole lines, one session and source at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When its first bytes came.
    pub time: SystemTime,
    /// Where from.
    pub source: Source,
    /// The session's number.
    pub session: Option<u64>,
    /// The bytes, without the line feed.
    pub data: Vec<u8>,
}

/// The longest line that is put together, in bytes; a longer one comes in pieces of about this size.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Joins pieces of output to whole lines.
#[derive(Debug, Default)]
pub struct LineAssembler {
    open: BTreeMap<(Option<u64>, Source), LogLine>,
}

impl LineAssembler {
    /// Takes an entry; gives the lines that it finishes.
    pub fn push(&mut self, entry: Entry) -> Vec<LogLine> {
        let Entry { time, source, session, data } = entry;
        // The supervisor speaks when a guest begins and ends: no session goes on beyond that, and those of
        // the next guest have the same numbers again.
        let mut finished = if source == Source::System { self.finish() } else { Vec::new() };
        if data.is_empty() {
            finished.extend(self.open.remove(&(session, source)));
        }
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let line = self.open.entry((session, source)).or_insert_with(|| LogLine {
                time,
                source,
                session,
                data: Vec::new(),
            });
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            line.data.extend_from_slice(text);
            if ends || line.data.len() >= LINE_BYTES_MAX {
                finished.extend(self.open.remove(&(session, source)));
            }
        }
        finished
    }

    /// What has no line feed at its end, in the order of its first bytes.
    pub fn finish(&mut self) -> Vec<LogLine> {
        let mut rest: Vec<_> = std::mem::take(&mut self.open).into_values().collect();
        rest.sort_by_key(|line| line.time);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn entry(session: u64, data: &str) -> Entry {
        Entry { time: UNIX_EPOCH, source: Source::Stdout, session: Some(session), data: data.into() }
    }

    fn text(lines: Vec<LogLine>) -> Vec<String> {
        lines.into_iter().map(|line| String::from_utf8(line.data).unwrap()).collect()
    }

    #[test]
    fn pieces_become_lines_a_session_at_a_time() {
        let mut lines = LineAssembler::default();
        assert_eq!(text(lines.push(entry(1, "a"))), [""; 0]);
        assert_eq!(text(lines.push(entry(2, "x\n"))), ["x"]);
        assert_eq!(text(lines.push(entry(1, "b\n\nc"))), ["ab", ""]);
        assert_eq!(text(lines.finish()), ["c"]);
        assert_eq!(text(lines.finish()), [""; 0]);
    }

    #[test]
    fn a_line_ends_with_its_session_and_at_the_latest_with_its_guest() {
        let mut lines = LineAssembler::default();
        lines.push(entry(1, "a"));
        lines.push(entry(2, "b"));
        assert_eq!(text(lines.push(entry(1, ""))), ["a"]);
        assert_eq!(text(lines.push(entry(1, ""))), [""; 0]);
        let ready =
            Entry { time: UNIX_EPOCH, source: Source::System, session: None, data: b"guest ready\n".into() };
        assert_eq!(text(lines.push(ready)), ["b", "guest ready"]);
        assert_eq!(text(lines.push(entry(2, "c\n"))), ["c"]);
    }
}
