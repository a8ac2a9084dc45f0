//! The lines of a log that is text.

use crate::entry::Source;
use crate::exec_lines::gap;
use crate::generations::Generations;
use crate::line::{LINE_BYTES_MAX, LogError, LogLine};
use crate::records::{Extent, Found, Mark, Records};
use crate::text;
use std::time::SystemTime;

/// Reads lines.
#[derive(Debug)]
pub(crate) struct TextLines {
    records: Records,
    source: Source,
    /// What is next goes on with the line before.
    goes_on: bool,
    at: Mark,
    /// Of the line before; lines without a time have that of the one before.
    time: Option<SystemTime>,
}

impl TextLines {
    pub fn open(
        log: Generations,
        source: Source,
        from: Option<Mark>,
        extent: Extent,
    ) -> Result<Self, LogError> {
        let records = Records::open(log, from, extent, LINE_BYTES_MAX)?;
        let at = records.start();
        Ok(Self { records, source, goes_on: false, at, time: None })
    }

    /// Where the line that was given last has ended.
    pub fn place(&self) -> Mark {
        self.at
    }

    /// The next line; none where there is none yet.
    pub fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        match self.records.next()? {
            Found::End => Ok(None),
            Found::Gap(files) => {
                self.at = self.records.start();
                self.goes_on = false;
                Ok(Some(LogLine::note(self.time(), self.source, &gap(files))))
            }
            Found::Record | Found::Piece => Ok(Some(self.line())),
        }
    }

    /// Gives a line that has no end, when nothing more is waited for.
    pub fn finish(&mut self) -> Option<LogLine> {
        self.records.rest()?;
        Some(self.line())
    }

    fn line(&mut self) -> LogLine {
        let bytes = self.records.bytes();
        let (text, ends) = match bytes.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (bytes, false),
        };
        let (time, text) = if self.goes_on { (None, text) } else { text::parse(text) };
        let data = text.to_vec();
        self.time = time.or(self.time);
        self.at = self.records.behind();
        self.goes_on = !ends;
        LogLine { time: self.time(), source: self.source, session: None, data, ends, note: false }
    }

    /// Before any time has been read, that of the file.
    fn time(&mut self) -> SystemTime {
        *self.time.get_or_insert_with(|| crate::time::to_millisecond(self.records.modified()))
    }
}
