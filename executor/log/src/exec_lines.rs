//! Reads lines of `exec.log`: chunks of output, joined per session and source.
//!
//! Several lines may be open at a time. A position therefore consists of several offsets: the next entry, the part of
//! it that was emitted, and the start of each open line. Resuming there yields exactly the lines that follow.
//!
//! An open line spans at most [`OPEN_BYTES_MAX`] of the log; then a part of it is emitted. That bounds the memory, the
//! bytes that are read again, and the loss through rotation.

use crate::entry::{Entry, Source};
use crate::line::{LINE_BYTES_MAX, Lines, LogError, LogLine};
use crate::records::{Checkpoint, ReadMode, Records, Step};
use crate::segments::Segments;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The longest entry, in bytes of its JSON. Written ones are shorter: a frame's data has less than 4 MiB, and JSON
/// escapes a byte to six at most.
const ENTRY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How far the log may grow while a line stays open, in bytes.
const OPEN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The limit of open lines; beyond it a part of the oldest is emitted.
const OPEN_LINES_MAX: usize = 32;

/// The owner of a line.
pub(crate) type Key = (Option<u64>, Source);

/// A position within an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryOffset {
    /// The start of the entry.
    pub entry: Checkpoint,
    /// The bytes of its data before the position.
    pub data: u64,
}

/// A position between two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecPosition {
    /// The next byte to read.
    pub at: EntryOffset,
    /// The open lines and their starts.
    pub open: Vec<(Key, EntryOffset)>,
}

impl From<Checkpoint> for EntryOffset {
    fn from(entry: Checkpoint) -> Self {
        Self { entry, data: 0 }
    }
}

impl From<Checkpoint> for ExecPosition {
    fn from(entry: Checkpoint) -> Self {
        Self { at: entry.into(), open: Vec::new() }
    }
}

/// The reader.
#[derive(Debug)]
pub(crate) struct ExecLines {
    records: Records,
    open: BTreeMap<Key, OpenLine>,
    current: Option<Current>,
    /// The end of the last emitted line, without the open ones.
    at: EntryOffset,
    /// The bytes read so far.
    read: u64,
    /// A position to reach before anything is emitted.
    resumed: Option<ExecPosition>,
    time: SystemTime,
}

#[derive(Debug)]
struct OpenLine {
    line: LogLine,
    start: EntryOffset,
    read_before: u64,
}

/// The current entry.
#[derive(Debug)]
struct Current {
    entry: Entry,
    start: Checkpoint,
    end: Checkpoint,
    done: usize,
}

impl Lines for ExecLines {
    fn position(&self) -> ExecPosition {
        if let Some(resumed) = &self.resumed {
            return resumed.clone();
        }
        ExecPosition { at: self.at, open: self.open.iter().map(|(key, open)| (*key, open.start)).collect() }
    }

    fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        loop {
            if let Some(line) = self.line_from_entry() {
                return Ok(Some(line));
            }
            match self.records.next()? {
                Step::End => return Ok(None),
                Step::Gap(files) => {
                    self.at = self.records.start().into();
                    return Ok(Some(self.note(&gap(files))));
                }
                Step::Truncated => {
                    self.at = self.records.start().into();
                    return Ok(Some(self.note(&truncated(self.records.log()))));
                }
                Step::Part => {
                    let bytes = self.skip_rest()?;
                    self.skip_record();
                    if self.resumed.is_none() {
                        return Ok(Some(self.note(&damaged(bytes))));
                    }
                }
                Step::Record => {
                    let bytes = self.records.bytes().len();
                    self.read += bytes as u64;
                    match Entry::from_line(self.records.bytes()) {
                        Ok(entry) => self.take(entry),
                        // The line feed that a writer inserts after a torn entry.
                        Err(_) if bytes == 1 => self.skip_record(),
                        Err(_) => {
                            self.skip_record();
                            if self.resumed.is_none() {
                                return Ok(Some(self.note(&damaged(bytes as u64))));
                            }
                        }
                    }
                }
            }
        }
    }

    fn finish(&mut self) -> Option<LogLine> {
        if let Some(position) = self.resumed.take() {
            // The log ends at or before the position to resume from: the open lines there are emitted now, and the next
            // position is without them.
            self.at = position.at;
        }
        if let Some(line) = self.emit_oldest(false, None) {
            return Some(line);
        }
        let bytes = self.records.rest()?.len() as u64;
        self.skip_record();
        Some(self.note(&damaged(bytes)))
    }
}

impl ExecLines {
    pub fn open(log: Segments, from: Option<ExecPosition>, mode: ReadMode) -> Result<Self, LogError> {
        let earliest = from.as_ref().map(|position| {
            let starts = position.open.iter().map(|(_, start)| start.entry);
            starts.chain([position.at.entry]).min().unwrap_or(position.at.entry)
        });
        let records = Records::open(log, earliest, mode, ENTRY_BYTES_MAX)?;
        let at = from.as_ref().map_or(records.start().into(), |position| position.at);
        let time = SystemTime::UNIX_EPOCH;
        Ok(Self { records, open: BTreeMap::new(), current: None, at, read: 0, resumed: from, time })
    }

    /// Takes an entry. Before the position to resume from, only open lines matter.
    fn take(&mut self, entry: Entry) {
        let (start, end) = (self.records.start(), self.records.end_checkpoint());
        self.time = entry.time;
        let Some(position) = &self.resumed else {
            self.current = Some(Current { entry, start, end, done: 0 });
            return;
        };
        if start.sort_key() < position.at.entry.sort_key() {
            let key = (entry.session, entry.source);
            let began = position.open.iter().find(|(open, _)| *open == key).map(|(_, start)| *start);
            if let Some(began) = began.filter(|began| began.entry.sort_key() <= start.sort_key()) {
                let skip = if began.entry.sort_key() == start.sort_key() { began.data } else { 0 };
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let data = entry.data.get(skip..).unwrap_or_default();
                let new = || OpenLine::new(key, entry.time, began, self.read);
                self.open.entry(key).or_insert_with(new).append(entry.time, data);
            }
            return;
        }
        let done = usize::try_from(position.at.data).unwrap_or(usize::MAX).min(entry.data.len());
        self.resumed = None;
        self.current = Some(Current { entry, start, end, done });
    }

    /// Moves past a record that is not an entry.
    fn skip_record(&mut self) {
        if self
            .resumed
            .as_ref()
            .is_none_or(|position| self.records.start().sort_key() >= position.at.entry.sort_key())
        {
            self.resumed = None;
            self.at = self.records.end_checkpoint().into();
        }
    }

    /// The next line from the current entry; `None` if it is used up.
    fn line_from_entry(&mut self) -> Option<LogLine> {
        let current = self.current.as_ref()?;
        let key = (current.entry.session, current.entry.source);
        if current.done == 0 {
            // The supervisor logs when a guest starts and ends: no line continues past that.
            if current.entry.source == Source::System && !self.open.is_empty() {
                return self.emit_oldest(true, Some(current.entry.time));
            }
            let oldest = self.open.values().map(|open| open.read_before).min();
            let is_old = oldest.is_some_and(|oldest| self.read - oldest > OPEN_BYTES_MAX);
            if is_old || self.open.len() > OPEN_LINES_MAX {
                return self.emit_oldest(false, Some(current.entry.time));
            }
        }
        let current = self.current.as_mut()?;
        let rest = &current.entry.data[current.done..];
        let time = current.entry.time;
        if rest.is_empty() {
            let ends_session = current.entry.data.is_empty();
            self.at = current.end.into();
            self.current = None;
            let open = ends_session.then(|| self.open.remove(&key)).flatten()?;
            return Some(LogLine { time, ..open.line });
        }
        let (text, ends) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&rest[..end], true),
            None => (rest, false),
        };
        let began = EntryOffset { entry: current.start, data: current.done as u64 };
        current.done += text.len() + usize::from(ends);
        let used_up = current.done == current.entry.data.len();
        self.at = if used_up {
            current.end.into()
        } else {
            EntryOffset { entry: current.start, data: current.done as u64 }
        };
        if ends && !self.open.contains_key(&key) {
            // The common case: a line in one chunk.
            let data = text.to_vec();
            self.current = self.current.take().filter(|_| !used_up);
            return Some(LogLine { data, ..LogLine::new(time, key.1, key.0) });
        }
        let new = || OpenLine::new(key, time, began, self.read);
        let length = self.open.entry(key).or_insert_with(new).append(time, text);
        if used_up {
            self.current = None;
        }
        if !ends && length < LINE_BYTES_MAX {
            return None;
        }
        self.open.remove(&key).map(|open| LogLine { time, ends, ..open.line })
    }

    fn emit_oldest(&mut self, ends: bool, time: Option<SystemTime>) -> Option<LogLine> {
        let oldest = self.open.iter().min_by_key(|(_, open)| (open.read_before, open.start.data))?;
        let key = *oldest.0;
        let line = self.open.remove(&key)?.line;
        Some(LogLine { time: time.unwrap_or(line.time), ends, ..line })
    }

    /// Skips the rest of a record that is too long or torn; returns its length in bytes.
    fn skip_rest(&mut self) -> Result<u64, LogError> {
        let mut bytes = self.records.bytes().len() as u64;
        while self.records.bytes().len() >= ENTRY_BYTES_MAX && self.records.next()? != Step::End {
            bytes += self.records.bytes().len() as u64;
        }
        Ok(bytes)
    }

    fn note(&self, text: &str) -> LogLine {
        LogLine::note(self.time, Source::Stderr, text)
    }
}

/// The note where files are missing.
pub(crate) fn gap(files: u64) -> String {
    format!("{files} files of this log are missing here")
}

/// The note where a file was truncated while it was followed.
pub(crate) fn truncated(log: &str) -> String {
    format!("{log} was truncated: lines may be missing here")
}

/// The note where damaged bytes are skipped.
pub(crate) fn damaged(bytes: u64) -> String {
    format!("{bytes} bytes of this log are damaged and skipped here")
}

impl OpenLine {
    fn new(key: Key, time: SystemTime, start: EntryOffset, read_before: u64) -> Self {
        Self { line: LogLine::new(time, key.1, key.0), start, read_before }
    }

    /// Appends data; returns the line's length in bytes.
    fn append(&mut self, time: SystemTime, data: &[u8]) -> usize {
        self.line.data.extend_from_slice(data);
        self.line.time = time;
        self.line.data.len()
    }
}
