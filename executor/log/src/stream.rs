//! The lines of a sandbox's logs, merged by time, resumable and following growth.

use crate::cursor::Cursor;
use crate::entry::Source;
use crate::exec_lines::{ExecLines, ExecPosition};
use crate::files::{FILES, Format};
use crate::line::{Lines, LogError, LogLine};
use crate::records::ReadMode;
use crate::segments::Segments;
use crate::text_lines::TextLines;
use std::path::Path;
use std::time::SystemTime;

/// Where to start reading.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// At the oldest line.
    #[default]
    Beginning,
    /// After the line at which this cursor was taken. Logs that the cursor does not cover are read from their
    /// beginning.
    Cursor(Cursor),
}

/// Reads the logs of one sandbox.
///
/// Lines of one log keep their order; lines of several are merged by time. Where the clock was set back, a log's own
/// order counts.
#[derive(Debug)]
pub struct LogStream {
    logs: Vec<OneLog>,
    sources: Vec<Source>,
    failed: bool,
}

#[derive(Debug)]
struct OneLog {
    file: usize,
    lines: Box<dyn Lines>,
    /// The next line, with the position after it.
    next: Option<(LogLine, ExecPosition)>,
    /// The position after the last returned line.
    position: ExecPosition,
    /// The latest time so far.
    time: SystemTime,
    /// Its end was reached.
    dry: bool,
}

impl OneLog {
    /// Keeps a line that was read, or skips it.
    fn keep(&mut self, line: LogLine, sources: &[Source]) {
        self.time = self.time.max(line.time);
        let position = self.lines.position();
        if wants(sources, &line) {
            self.next = Some((line, position));
        } else {
            self.position = position;
        }
    }
}

impl LogStream {
    /// Opens the logs in a folder, to follow them as they grow. Missing logs are empty.
    ///
    /// # Errors
    ///
    /// If a log cannot be read, or the cursor is not one of these logs.
    pub fn open(folder: &Path, sources: &[Source], start: &Start) -> Result<Self, LogError> {
        Self::with_mode(folder, sources, start, ReadMode::Growing)
    }

    /// Opens the logs in a folder, to follow them or to read them up to their current end.
    pub(crate) fn with_mode(
        folder: &Path,
        sources: &[Source],
        start: &Start,
        mode: ReadMode,
    ) -> Result<Self, LogError> {
        let cursor = if let Start::Cursor(cursor) = start { Some(cursor) } else { None };
        let mut logs = Vec::new();
        for (file, log) in FILES.iter().enumerate() {
            if !sources.iter().any(|&source| log.holds(source)) {
                continue;
            }
            let position = cursor.and_then(|cursor| cursor.position(file)).cloned();
            let segments = Segments::new(folder, log.name);
            let lines: Box<dyn Lines> = match log.format {
                Format::Entries => Box::new(ExecLines::open(segments, position, mode)?),
                Format::Text(source) | Format::Json(source) => {
                    let mark = position.map(|position| position.at.entry);
                    let is_json = log.format == Format::Json(source);
                    Box::new(TextLines::open(segments, source, is_json, mark, mode)?)
                }
            };
            let position = lines.position();
            logs.push(OneLog { file, lines, next: None, position, time: SystemTime::UNIX_EPOCH, dry: false });
        }
        Ok(Self { logs, sources: sources.to_vec(), failed: false })
    }

    /// The time of the next line; `None` until [`LogStream::wake`] if there is none.
    ///
    /// # Errors
    ///
    /// If a log cannot be read. The stream is at its end afterwards.
    pub fn peek(&mut self) -> Result<Option<SystemTime>, LogError> {
        self.fill()?;
        Ok(self.earliest().map(|index| self.logs[index].time))
    }

    /// The next line; `None` until [`LogStream::wake`] if there is none.
    ///
    /// # Errors
    ///
    /// If a log cannot be read. The stream is at its end afterwards.
    #[expect(clippy::should_implement_trait, reason = "an iterator does not continue after its end")]
    pub fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        self.fill()?;
        Ok(self.take_earliest())
    }

    /// Checks the logs for growth with the next call.
    pub fn wake(&mut self) {
        for log in &mut self.logs {
            log.dry = false;
        }
    }

    /// An incomplete line, when no more input is awaited.
    pub fn finish(&mut self) -> Option<LogLine> {
        for index in 0..self.logs.len() {
            while self.logs[index].next.is_none() && !self.failed {
                let log = &mut self.logs[index];
                let Some(line) = log.lines.finish() else { break };
                log.keep(line, &self.sources);
            }
        }
        self.take_earliest()
    }

    /// The position after the last returned line.
    pub fn cursor(&self) -> Cursor {
        Cursor { positions: self.logs.iter().map(|log| (log.file, log.position.clone())).collect() }
    }

    fn fill(&mut self) -> Result<(), LogError> {
        for log in &mut self.logs {
            while log.next.is_none() && !log.dry && !self.failed {
                match log.lines.next() {
                    Ok(Some(line)) => log.keep(line, &self.sources),
                    Ok(None) => log.dry = true,
                    Err(error) => {
                        self.failed = true;
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn earliest(&self) -> Option<usize> {
        let waiting = self.logs.iter().enumerate().filter(|(_, log)| log.next.is_some());
        waiting.min_by_key(|(_, log)| log.time).map(|(index, _)| index)
    }

    fn take_earliest(&mut self) -> Option<LogLine> {
        let index = self.earliest()?;
        let log = &mut self.logs[index];
        let (line, position) = log.next.take()?;
        log.position = position;
        Some(line)
    }
}

fn wants(sources: &[Source], line: &LogLine) -> bool {
    line.note || sources.contains(&line.source)
}
