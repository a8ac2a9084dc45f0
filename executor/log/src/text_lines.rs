//! Reads lines of logs in text or JSON Lines.

use crate::entry::Source;
use crate::events;
use crate::exec_lines::{damaged, gap, truncated};
use crate::line::{LINE_BYTES_MAX, LogError, LogLine};
use crate::records::{Checkpoint, ReadMode, Records, Step};
use crate::segments::Segments;
use crate::text;
use std::time::SystemTime;

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A timestamp and any text.
    Text,
    /// A JSON object with its time.
    Json,
}

/// The reader.
#[derive(Debug)]
pub(crate) struct TextLines {
    records: Records,
    source: Source,
    kind: Kind,
    /// The next bytes continue the last line.
    goes_on: bool,
    at: Checkpoint,
    /// The last timestamp, for lines without one.
    time: Option<SystemTime>,
}

impl TextLines {
    pub fn open(
        log: Segments,
        source: Source,
        kind: Kind,
        from: Option<Checkpoint>,
        mode: ReadMode,
    ) -> Result<Self, LogError> {
        let records = Records::open(log, from, mode, LINE_BYTES_MAX)?;
        let at = records.start();
        // Otherwise a source could forge a time with what follows a cursor within its line.
        let goes_on = records.starts_in_record();
        Ok(Self { records, source, kind, goes_on, at, time: None })
    }

    /// The position after the last returned line.
    pub fn position(&self) -> Checkpoint {
        self.at
    }

    /// The next line; `None` if there is none yet.
    pub fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        match self.records.next()? {
            Step::End => Ok(None),
            Step::Gap(files) => {
                self.at = self.records.start();
                self.goes_on = false;
                Ok(Some(LogLine::note(self.time(), self.source, &gap(files))))
            }
            Step::Truncated => {
                self.at = self.records.start();
                self.goes_on = false;
                Ok(Some(LogLine::note(self.time(), self.source, &truncated(self.records.log()))))
            }
            // The line feed that a writer inserts after a torn record.
            Step::Record if self.kind == Kind::Json && self.records.bytes() == b"\n" => {
                self.at = self.records.end_checkpoint();
                self.next()
            }
            Step::Record | Step::Part => Ok(Some(self.line())),
        }
    }

    /// Returns an incomplete line, when no more input is awaited.
    pub fn finish(&mut self) -> Option<LogLine> {
        self.records.rest()?;
        Some(self.line())
    }

    fn line(&mut self) -> LogLine {
        if self.kind == Kind::Json {
            return self.object();
        }
        let bytes = self.records.bytes();
        let (text, ends) = match bytes.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (bytes, false),
        };
        let (time, text) = if self.goes_on { (None, text) } else { text::parse(text) };
        let data = text.to_vec();
        self.time = time.or(self.time);
        self.at = self.records.end_checkpoint();
        self.goes_on = !ends;
        LogLine { time: self.time(), source: self.source, session: None, data, ends, note: false }
    }

    /// Converts a complete object. Anything else becomes a note, as no reader could use it.
    fn object(&mut self) -> LogLine {
        let bytes = self.records.bytes();
        let (length, data) = (bytes.len() as u64, bytes.trim_ascii_end().to_vec());
        let time = events::time_of(&data);
        self.time = time.or(self.time);
        self.at = self.records.end_checkpoint();
        match time {
            Some(time) => LogLine { time, source: self.source, session: None, data, ends: true, note: false },
            None => LogLine::note(self.time(), self.source, &damaged(length)),
        }
    }

    /// Before the first timestamp, the modification time of the file.
    fn time(&mut self) -> SystemTime {
        *self.time.get_or_insert_with(|| crate::time::to_millisecond(self.records.modified()))
    }
}
