//! The lines of one sandbox's logs, put in order by time, from any place on, and on as they grow.

use crate::cursor::Cursor;
use crate::entry::Source;
use crate::exec_lines::{ExecLines, ExecPlace};
use crate::files::{FILES, Format};
use crate::generations::Generations;
use crate::line::{LogError, LogLine};
use crate::records::Extent;
use crate::text_lines::{Kind, TextLines};
use std::path::Path;
use std::time::SystemTime;

/// Where reading begins.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// With the oldest line there is.
    #[default]
    Beginning,
    /// Behind the line that gave this cursor. What the cursor does not cover, because it was not read then, is read
    /// from its beginning.
    Cursor(Cursor),
}

/// Reads one sandbox's logs.
///
/// Lines of one log come in the order in which they were written; lines of several are put in order by time, as far as
/// they are there. Where a clock was set back, a log's own order counts.
#[derive(Debug)]
pub struct LogStream {
    logs: Vec<OneLog>,
    sources: Vec<Source>,
    failed: bool,
}

#[derive(Debug)]
struct OneLog {
    file: usize,
    lines: Lines,
    /// Read and not given yet, with the place behind it.
    next: Option<(LogLine, ExecPlace)>,
    /// Behind what was given.
    place: ExecPlace,
    /// The latest time so far.
    time: SystemTime,
    /// It was at its end when it was last looked at.
    dry: bool,
}

#[derive(Debug)]
enum Lines {
    Exec(Box<ExecLines>),
    Text(Box<TextLines>),
}

impl Lines {
    fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        match self {
            Self::Exec(lines) => lines.next(),
            Self::Text(lines) => lines.next(),
        }
    }

    fn finish(&mut self) -> Option<LogLine> {
        match self {
            Self::Exec(lines) => lines.finish(),
            Self::Text(lines) => lines.finish(),
        }
    }

    fn place(&self) -> ExecPlace {
        match self {
            Self::Exec(lines) => lines.place(),
            Self::Text(lines) => lines.place().into(),
        }
    }
}

impl OneLog {
    /// A line has been read: it is next, or passed over.
    fn keep(&mut self, line: LogLine, sources: &[Source]) {
        self.time = self.time.max(line.time);
        let place = self.lines.place();
        if wants(sources, &line) {
            self.next = Some((line, place));
        } else {
            self.place = place;
        }
    }
}

impl LogStream {
    /// Opens the logs in a folder, to be read on as they grow. A log that is not there yet is empty.
    pub fn open(folder: &Path, sources: &[Source], start: &Start) -> Result<Self, LogError> {
        Self::with_extent(folder, sources, start, Extent::Growing)
    }

    /// The same as far as the logs go now.
    pub(crate) fn snapshot(folder: &Path, sources: &[Source], start: &Start) -> Result<Self, LogError> {
        Self::with_extent(folder, sources, start, Extent::Snapshot)
    }

    fn with_extent(
        folder: &Path,
        sources: &[Source],
        start: &Start,
        extent: Extent,
    ) -> Result<Self, LogError> {
        let cursor = if let Start::Cursor(cursor) = start { Some(cursor) } else { None };
        let mut logs = Vec::new();
        for (file, log) in FILES.iter().enumerate() {
            if !sources.iter().any(|&source| log.holds(source)) {
                continue;
            }
            let place = cursor.and_then(|cursor| cursor.place(file)).cloned();
            let generations = Generations::new(folder, log.name);
            let lines = match log.format {
                Format::Entries => Lines::Exec(Box::new(ExecLines::open(generations, place, extent)?)),
                Format::Text(source) | Format::Json(source) => {
                    let mark = place.map(|place| place.at.entry);
                    let kind = if log.format == Format::Text(source) { Kind::Text } else { Kind::Json };
                    Lines::Text(Box::new(TextLines::open(generations, (source, kind), mark, extent)?))
                }
            };
            let place = lines.place();
            logs.push(OneLog { file, lines, next: None, place, time: SystemTime::UNIX_EPOCH, dry: false });
        }
        Ok(Self { logs, sources: sources.to_vec(), failed: false })
    }

    /// When the next line came, if there is one; `None` until [`LogStream::wake`].
    ///
    /// After an error the stream is at its end.
    pub fn peek(&mut self) -> Result<Option<SystemTime>, LogError> {
        self.fill()?;
        Ok(self.earliest().map(|index| self.logs[index].time))
    }

    /// The next line, if there is one; `None` until [`LogStream::wake`].
    ///
    /// After an error the stream is at its end.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends does not go on")]
    pub fn next(&mut self) -> Result<Option<LogLine>, LogError> {
        self.fill()?;
        Ok(self.take_earliest())
    }

    /// The logs may have grown.
    pub fn wake(&mut self) {
        for log in &mut self.logs {
            log.dry = false;
        }
    }

    /// When nothing more will come: a line that is still open.
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

    /// From here on reading goes on behind the line that was given last.
    pub fn cursor(&self) -> Cursor {
        Cursor { places: self.logs.iter().map(|log| (log.file, log.place.clone())).collect() }
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
        let (line, place) = log.next.take()?;
        log.place = place;
        Some(line)
    }
}

fn wants(sources: &[Source], line: &LogLine) -> bool {
    line.note || sources.contains(&line.source)
}
