//! The lines of `exec.log`: pieces of output joined, each session and source by itself.
//!
//! Several lines may be open at a time. A place in this log therefore is more than one position: where the next entry
//! begins, how much of it has been given already, and where each open line began. Reading on from there gives exactly
//! what is next, without what others have said meanwhile.
//!
//! An open line never reaches back further than [`OPEN_BYTES_MAX`]: it is given in a piece then. That bounds memory, how
//! much is read again, and what rotation can take from a line.

use crate::entry::{Entry, Source};
use crate::line::{LINE_BYTES_MAX, LogError, LogLine};
use crate::records::{Checkpoint, ReadMode, Records, Step};
use crate::segments::Segments;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The longest entry that is read, in bytes of its JSON. What is written is shorter: a frame's data has
/// less than 4 MiB, and JSON makes at most six bytes of one.
const ENTRY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How far the log may go on, in bytes, while a line stays open.
const OPEN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Lines that are open at a time; beyond that the oldest is given in a piece.
const OPEN_LINES_MAX: usize = 32;

/// Whose line it is.
pub(crate) type Key = (Option<u64>, Source);

/// A place within an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryOffset {
    /// Where the entry begins.
    pub entry: Checkpoint,
    /// How much of its data is before the place, in bytes.
    pub data: u64,
}

/// A place between two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecPosition {
    /// What is to be looked at next.
    pub at: EntryOffset,
    /// The lines that are open there, and where they began.
    pub open: Vec<(Key, EntryOffset)>,
}

impl From<Checkpoint> for ExecPosition {
    fn from(entry: Checkpoint) -> Self {
        Self { at: EntryOffset { entry, data: 0 }, open: Vec::new() }
    }
}

/// Reads lines.
#[derive(Debug)]
pub(crate) struct ExecLines {
    records: Records,
    open: BTreeMap<Key, OpenLine>,
    current: Option<Current>,
    /// Where the last line ended, without those that are open.
    at: EntryOffset,
    /// So many bytes have been read.
    read: u64,
    /// A place to come to before anything is given.
    resumed: Option<ExecPosition>,
    time: SystemTime,
}

#[derive(Debug)]
struct OpenLine {
    line: LogLine,
    start: EntryOffset,
    read_before: u64,
}

/// The entry at hand.
#[derive(Debug)]
struct Current {
    entry: Entry,
    start: Checkpoint,
    behind: Checkpoint,
    done: usize,
}

impl ExecLines {
    pub fn open(log: Segments, from: Option<ExecPosition>, mode: ReadMode) -> Result<Self, LogError> {
        let earliest = from.as_ref().map(|position| {
            let starts = position.open.iter().map(|(_, start)| start.entry);
            starts.chain([position.at.entry]).min().unwrap_or(position.at.entry)
        });
        let records = Records::open(log, earliest, mode, ENTRY_BYTES_MAX)?;
        let at =
            from.as_ref().map_or(EntryOffset { entry: records.start(), data: 0 }, |position| position.at);
        let time = SystemTime::UNIX_EPOCH;
        Ok(Self { records, open: BTreeMap::new(), current: None, at, read: 0, resumed: from, time })
    }

    /// Where the line that was given last has ended.
    pub fn position(&self) -> ExecPosition {
        if let Some(resumed) = &self.resumed {
            return resumed.clone();
        }
        ExecPosition { at: self.at, open: self.open.iter().map(|(key, open)| (*key, open.start)).collect() }
    }

    /// The next line; none where there is none yet.
    pub fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        loop {
            if let Some(line) = self.line_from_entry() {
                return Ok(Some(line));
            }
            match self.records.next()? {
                Step::End => return Ok(None),
                Step::Gap(files) => {
                    self.at = EntryOffset { entry: self.records.start(), data: 0 };
                    return Ok(Some(self.note(&gap(files))));
                }
                Step::Truncated => {
                    self.at = EntryOffset { entry: self.records.start(), data: 0 };
                    return Ok(Some(self.note(&truncated(self.records.log()))));
                }
                Step::Piece => {
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
                        // Written before an entry, so that it is not glued to one that was torn.
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

    /// Gives a line that is still open, when nothing more is waited for.
    pub fn finish(&mut self) -> Option<LogLine> {
        if let Some(position) = self.resumed.take() {
            // The log ends at the place that reading goes on from, or before it: the lines open there are given now,
            // and the next place is without them.
            self.at = position.at;
        }
        if let Some(line) = self.emit_oldest(false, None) {
            return Some(line);
        }
        let bytes = self.records.rest()?.len() as u64;
        self.skip_record();
        Some(self.note(&damaged(bytes)))
    }

    /// An entry has been read. On the way to a place that reading goes on from, only open lines are of interest.
    fn take(&mut self, entry: Entry) {
        let (start, behind) = (self.records.start(), self.records.end_checkpoint());
        self.time = entry.time;
        let Some(position) = &self.resumed else {
            self.current = Some(Current { entry, start, behind, done: 0 });
            return;
        };
        if start.sort_key() < position.at.entry.sort_key() {
            let key = (entry.session, entry.source);
            let began = position.open.iter().find(|(open, _)| *open == key).map(|(_, start)| *start);
            if let Some(began) = began.filter(|began| began.entry.sort_key() <= start.sort_key()) {
                let skip = if began.entry.sort_key() == start.sort_key() { began.data } else { 0 };
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let data = entry.data.get(skip..).unwrap_or_default();
                append(&mut self.open, key, entry.time, (began, self.read), data);
            }
            return;
        }
        let done = usize::try_from(position.at.data).unwrap_or(usize::MAX).min(entry.data.len());
        self.resumed = None;
        self.current = Some(Current { entry, start, behind, done });
    }

    /// What was read is no entry and is behind us.
    fn skip_record(&mut self) {
        if self
            .resumed
            .as_ref()
            .is_none_or(|position| self.records.start().sort_key() >= position.at.entry.sort_key())
        {
            self.resumed = None;
            self.at = EntryOffset { entry: self.records.end_checkpoint(), data: 0 };
        }
    }

    /// The next line that the entry at hand gives; none when it has been used up.
    fn line_from_entry(&mut self) -> Option<LogLine> {
        let current = self.current.as_ref()?;
        let key = (current.entry.session, current.entry.source);
        if current.done == 0 {
            // The supervisor speaks when a guest begins and ends: no line goes on beyond that.
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
            self.at = EntryOffset { entry: current.behind, data: 0 };
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
            EntryOffset { entry: current.behind, data: 0 }
        } else {
            EntryOffset { entry: current.start, data: current.done as u64 }
        };
        if ends && !self.open.contains_key(&key) {
            // By far the most: a line in one piece.
            let data = text.to_vec();
            self.current = self.current.take().filter(|_| !used_up);
            return Some(LogLine { time, source: key.1, session: key.0, data, ends, note: false });
        }
        let length = append(&mut self.open, key, time, (began, self.read), text);
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

    /// Passes over the rest of a record that is too long or torn; gives its length.
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

/// What is said where files are missing.
pub(crate) fn gap(files: u64) -> String {
    format!("{files} files of this log are missing here")
}

/// What is said where a file was truncated while it was followed.
pub(crate) fn truncated(log: &str) -> String {
    format!("{log} was truncated: lines may be missing here")
}

/// What is said where something is left out.
pub(crate) fn damaged(bytes: u64) -> String {
    format!("{bytes} bytes of this log are damaged and left out here")
}

/// Adds to an open line, or opens one; gives its length.
fn append(
    open: &mut BTreeMap<Key, OpenLine>,
    key: Key,
    time: SystemTime,
    (start, read_before): (EntryOffset, u64),
    data: &[u8],
) -> usize {
    let open = open.entry(key).or_insert_with(|| {
        let line = LogLine { time, source: key.1, session: key.0, data: Vec::new(), ends: true, note: false };
        OpenLine { line, start, read_before }
    });
    open.line.data.extend_from_slice(data);
    open.line.time = time;
    open.line.data.len()
}
