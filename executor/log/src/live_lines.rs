//! Lines of live output that is not read from a file.

use crate::entry::{Entry, Source};
use crate::line::{LINE_BYTES_MAX, LogLine};
use std::collections::BTreeMap;

/// Joins entries to lines, as the readers of `exec.log` do.
#[derive(Debug, Default)]
pub struct LiveLines {
    open: BTreeMap<(Option<u64>, Source), LogLine>,
}

impl LiveLines {
    /// Takes an entry; returns the lines that it completes. An entry without data completes a line without a line feed.
    pub fn take(&mut self, entry: Entry) -> Vec<LogLine> {
        let Entry { time, source, session, data } = entry;
        let key = (session, source);
        if data.is_empty() {
            return self.open.remove(&key).into_iter().collect();
        }
        let mut lines = Vec::new();
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut line = self.open.remove(&key).unwrap_or_else(|| LogLine::new(time, source, session));
            line.data.extend_from_slice(text);
            line.time = time;
            if ends {
                lines.push(line);
            } else if line.data.len() >= LINE_BYTES_MAX {
                lines.push(LogLine { ends, ..line });
            } else {
                self.open.insert(key, line);
            }
        }
        lines
    }

    /// The remaining incomplete lines.
    pub fn finish(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.open).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn entry(session: u64, source: Source, data: &[u8]) -> Entry {
        Entry { time: UNIX_EPOCH, source, session: Some(session), data: data.to_vec() }
    }

    fn texts(lines: &[LogLine]) -> Vec<(u64, String, bool)> {
        let text = |line: &LogLine| line.data.escape_ascii().to_string();
        lines.iter().map(|line| (line.session.unwrap_or_default(), text(line), line.ends)).collect()
    }

    #[test]
    fn chunks_are_joined_by_session_and_source() {
        let mut lines = LiveLines::default();
        assert!(lines.take(entry(1, Source::Stdout, b"\xf0\x9f")).is_empty());
        assert!(lines.take(entry(1, Source::Stderr, b"no")).is_empty());
        let ended = lines.take(entry(1, Source::Stdout, b"\xa6\x80\n\nb"));
        let crab = "\\xf0\\x9f\\xa6\\x80".to_owned();
        assert_eq!(texts(&ended), [(1, crab, true), (1, String::new(), true)]);
        assert_eq!(texts(&lines.take(entry(2, Source::Stdout, b"x\n"))), [(2, "x".to_owned(), true)]);
        // The end of the session completes its line, and another source's is still open.
        assert_eq!(texts(&lines.take(entry(1, Source::Stdout, b""))), [(1, "b".to_owned(), true)]);
        assert!(lines.take(entry(1, Source::Stdout, b"")).is_empty());
        assert_eq!(texts(&lines.finish()), [(1, "no".to_owned(), true)]);
        assert!(lines.finish().is_empty());
    }

    #[test]
    fn a_line_without_an_end_is_split() {
        let mut lines = LiveLines::default();
        let given = lines.take(entry(1, Source::Stdout, &vec![b'x'; LINE_BYTES_MAX]));
        assert_eq!((given.len(), given[0].ends, given[0].data.len()), (1, false, LINE_BYTES_MAX));
    }
}
