//! Reads lines of logs in text or JSON Lines.

use crate::entry::Source;
use crate::events;
use crate::exec_lines::{ExecPosition, damaged, gap, truncated};
use crate::line::{LINE_BYTES_MAX, Lines, LogError, LogLine};
use crate::records::{Checkpoint, ReadMode, Records, Step};
use crate::segments::Segments;
use crate::text;
use std::time::SystemTime;

/// The reader.
#[derive(Debug)]
pub(crate) struct TextLines {
    records: Records,
    source: Source,
    /// Whether a line is a JSON object with its time, instead of a timestamp and any text.
    is_json: bool,
    /// The next bytes continue the last line.
    goes_on: bool,
    at: Checkpoint,
    /// The last timestamp, for lines without one.
    time: Option<SystemTime>,
}

impl Lines for TextLines {
    fn position(&self) -> ExecPosition {
        self.at.into()
    }

    fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        match self.records.next()? {
            Step::End => Ok(None),
            Step::Gap(files) => Ok(Some(self.restart(&gap(files)))),
            Step::Truncated => Ok(Some(self.restart(&truncated(self.records.log())))),
            // The line feed that a writer inserts after a torn record.
            Step::Record if self.is_json && self.records.bytes() == b"\n" => {
                self.at = self.records.end_checkpoint();
                self.next()
            }
            Step::Record | Step::Part => Ok(Some(self.line())),
        }
    }

    fn finish(&mut self) -> Option<LogLine> {
        self.records.rest()?;
        Some(self.line())
    }
}

impl TextLines {
    pub fn open(
        log: Segments,
        source: Source,
        is_json: bool,
        from: Option<Checkpoint>,
        mode: ReadMode,
    ) -> Result<Self, LogError> {
        let records = Records::open(log, from, mode, LINE_BYTES_MAX)?;
        let at = records.start();
        // Otherwise a source could forge a time with what follows a cursor within its line.
        let goes_on = records.starts_in_record();
        Ok(Self { records, source, is_json, goes_on, at, time: None })
    }

    /// Continues at the start of a segment, with a note about what is missing.
    fn restart(&mut self, text: &str) -> LogLine {
        self.at = self.records.start();
        self.goes_on = false;
        LogLine::note(self.time(), self.source, text)
    }

    fn line(&mut self) -> LogLine {
        if self.is_json {
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
        LogLine { data, ends, ..LogLine::new(self.time(), self.source, None) }
    }

    /// Converts a complete object. Anything else becomes a note, as no reader could use it.
    fn object(&mut self) -> LogLine {
        let bytes = self.records.bytes();
        let (length, data) = (bytes.len() as u64, bytes.trim_ascii_end().to_vec());
        let time = events::time_of(&data);
        self.time = time.or(self.time);
        self.at = self.records.end_checkpoint();
        match time {
            Some(time) => LogLine { data, ..LogLine::new(time, self.source, None) },
            None => LogLine::note(self.time(), self.source, &damaged(length)),
        }
    }

    /// Before the first timestamp, the modification time of the file.
    fn time(&mut self) -> SystemTime {
        *self.time.get_or_insert_with(|| crate::time::to_millisecond(self.records.modified()))
    }
}
