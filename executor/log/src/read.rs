//! Reads `exec.log` back, entry by entry or line by line, and holds no more than one of them.

use crate::assemble::{LineAssembler, LogLine};
use crate::entry::{Entry, Source};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::path::Path;
use std::time::SystemTime;

/// The longest entry that is read, in bytes of its JSON. What is written is shorter: a frame's data has
/// less than 4 MiB, and JSON makes at most six bytes of one.
const ENTRY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Reads entries one after the other. At the end it may be asked again when the log has grown.
#[derive(Debug)]
pub(crate) struct EntryReader<R> {
    reader: BufReader<R>,
    /// The start of an entry whose end has not been read yet.
    partial: Vec<u8>,
    /// How many bytes of a too long entry have been passed over; its end has not been read yet.
    skipped: usize,
    /// When the last entry was written.
    time: SystemTime,
}

impl<R: Read> EntryReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { reader: BufReader::new(source), partial: Vec::new(), skipped: 0, time: SystemTime::UNIX_EPOCH }
    }

    /// The next whole entry; `None` at the end. What is no entry, for example because a power cut tore
    /// it, is left out; a note stands in the place of one that is too long.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            if self.skipped > 0 || self.partial.len() + taken > ENTRY_BYTES_MAX {
                self.skipped += std::mem::take(&mut self.partial).len() + taken;
            } else {
                self.partial.extend_from_slice(&available[..taken]);
            }
            self.reader.consume(taken);
            if end.is_none() {
                continue;
            }
            if self.skipped > 0 {
                return Ok(Some(left_out(self.time, std::mem::take(&mut self.skipped))));
            }
            let entry = Entry::from_line(&self.partial);
            self.partial.clear();
            if let Ok(entry) = entry {
                self.time = entry.time;
                return Ok(Some(entry));
            }
        }
    }
}

/// Stands where an entry was too long to be read; among the output, so that it is seen.
fn left_out(time: SystemTime, bytes: usize) -> Entry {
    let data = format!("[msb: a log entry of {bytes} bytes is left out]\n").into_bytes();
    Entry { time, source: Source::Stderr, session: None, data }
}

/// The lines of a log, as far as it went when it was opened.
#[derive(Debug)]
pub struct Lines {
    /// `None` at the end, or without a log.
    entries: Option<EntryReader<Take<File>>>,
    assembler: LineAssembler,
    finished: VecDeque<LogLine>,
}

/// The lines of a log that is not followed. A missing file is an empty log.
pub fn lines(path: &Path) -> io::Result<Lines> {
    let entries = match File::open(path) {
        Ok(file) => {
            // A busy sandbox must not keep its reader for ever.
            let length = file.metadata()?.len();
            Some(EntryReader::new(file.take(length)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Lines { entries, assembler: LineAssembler::default(), finished: VecDeque::new() })
}

impl Iterator for Lines {
    type Item = io::Result<LogLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.finished.pop_front() {
                return Some(Ok(line));
            }
            match self.entries.as_mut()?.next() {
                Ok(Some(entry)) => self.finished.extend(self.assembler.push(entry)),
                Ok(None) => {
                    self.entries = None;
                    self.finished.extend(self.assembler.finish());
                    if self.finished.is_empty() {
                        return None;
                    }
                }
                Err(error) => {
                    self.entries = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The last lines of a log that are wanted, at most `count`.
pub fn last_lines(
    path: &Path,
    count: usize,
    mut wanted: impl FnMut(&LogLine) -> bool,
) -> io::Result<Vec<LogLine>> {
    let mut last = VecDeque::new();
    for line in lines(path)? {
        let line = line?;
        if wanted(&line) {
            last.push_back(line);
        }
        if last.len() > count {
            last.pop_front();
        }
    }
    Ok(last.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::Writer;

    #[test]
    fn the_last_lines_are_the_last_wanted_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec.log");
        let texts = |count, source| -> Vec<String> {
            let lines = last_lines(&path, count, |line| line.source == source).unwrap();
            lines.into_iter().map(|line| String::from_utf8(line.data).unwrap()).collect()
        };
        assert_eq!(texts(2, Source::Stdout), [""; 0]);
        let mut writer = Writer::open(&path).unwrap();
        writer.output(1, Source::Stdout, b"a\nb\nc\nd").unwrap();
        writer.output(1, Source::Stderr, b"x\n").unwrap();
        assert_eq!(texts(2, Source::Stdout), ["c", "d"]);
        assert_eq!(texts(9, Source::Stderr), ["x"]);
        assert_eq!(texts(0, Source::Stdout), [""; 0]);
    }

    #[test]
    fn a_too_long_entry_is_left_out_visibly() {
        let whole = left_out(SystemTime::UNIX_EPOCH, 1).to_line();
        let log = io::repeat(b'x').take(3 * ENTRY_BYTES_MAX as u64).chain(&b"\n"[..]).chain(&whole[..]);
        let mut reader = EntryReader::new(log);
        let note = reader.next().unwrap().unwrap();
        let bytes = 3 * ENTRY_BYTES_MAX + 1;
        assert_eq!(note, left_out(SystemTime::UNIX_EPOCH, bytes));
        assert_eq!(reader.next().unwrap().unwrap().to_line(), whole);
        assert!(reader.next().unwrap().is_none());
    }
}
