//! Reads what is logged by now, without ever holding more than a few lines of it.

use crate::cursor::Cursor;
use crate::entry::Source;
use crate::line::{LogError, LogLine};
use crate::stream::{LogStream, Start};
use crate::time::to_millisecond;
use std::collections::VecDeque;
use std::path::Path;
use std::time::SystemTime;

/// So many places are remembered, at most, to find the one where the last lines begin.
const POSITIONS_MAX: usize = 4096;

/// What is read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Only these; [`Source::DEFAULT`] without any.
    pub sources: Vec<Source>,
    /// Where to begin.
    pub start: Start,
    /// Only what came at this moment or later.
    pub since: Option<SystemTime>,
    /// Only what came before this moment.
    pub until: Option<SystemTime>,
    /// Only so many lines at the end, of those that are wanted.
    pub tail: Option<usize>,
}

impl ReadOptions {
    /// The sources that are read.
    pub fn sources(&self) -> &[Source] {
        if self.sources.is_empty() { &Source::DEFAULT } else { &self.sources }
    }

    fn wants(&self, line: &LogLine) -> bool {
        self.since.is_none_or(|since| line.time >= to_millisecond(since))
            && self.until.is_none_or(|until| line.time < to_millisecond(until))
    }
}

/// Lines in order by time, to the end of the logs as it was when they were opened.
pub struct ReadLogs<'a> {
    stream: LogStream,
    options: ReadOptions,
    wanted: &'a dyn Fn(&LogLine) -> bool,
    /// So many wanted lines are passed over, and so many given.
    skip: usize,
    take: usize,
    failed: bool,
}

/// Reads the logs in a folder: lines for which `wanted` is true. Missing logs are empty.
///
/// For the tail, all is read twice, so that no number of lines takes more memory than another.
pub fn read_logs<'a>(
    folder: &Path,
    options: &ReadOptions,
    wanted: &'a dyn Fn(&LogLine) -> bool,
) -> Result<ReadLogs<'a>, LogError> {
    let Some(tail) = options.tail else {
        return open(folder, options, &options.start, wanted);
    };
    let LastLines { begin, skip } = last_lines(folder, options, tail, wanted)?;
    let read = open(folder, options, &Start::Cursor(begin), wanted)?;
    Ok(ReadLogs { skip, take: tail, ..read })
}

/// Where the last lines begin.
#[derive(Clone, Debug)]
pub struct LastLines {
    /// Reading begins here,
    pub begin: Cursor,
    /// and passes over so many wanted lines.
    pub skip: usize,
}

/// Finds the last lines that are wanted, so many or all.
pub fn last_lines(
    folder: &Path,
    options: &ReadOptions,
    count: usize,
    wanted: &dyn Fn(&LogLine) -> bool,
) -> Result<LastLines, LogError> {
    let mut read = open(folder, options, &options.start, wanted)?;
    let stride = count / POSITIONS_MAX + 1;
    let mut positions = VecDeque::from([(0, read.cursor())]);
    let mut seen = 0usize;
    while let Some(line) = read.next() {
        line?;
        seen += 1;
        if seen.is_multiple_of(stride) {
            positions.push_back((seen, read.cursor()));
        }
        while positions.get(1).is_some_and(|(before, _)| before + count <= seen) {
            positions.pop_front();
        }
    }
    let (before, begin) = positions.pop_front().unwrap_or_else(|| (seen, read.cursor()));
    Ok(LastLines { begin, skip: seen.saturating_sub(count).saturating_sub(before) })
}

fn open<'a>(
    folder: &Path,
    options: &ReadOptions,
    start: &Start,
    wanted: &'a dyn Fn(&LogLine) -> bool,
) -> Result<ReadLogs<'a>, LogError> {
    let stream = LogStream::snapshot(folder, options.sources(), start)?;
    let options = options.clone();
    Ok(ReadLogs { stream, options, wanted, skip: 0, take: usize::MAX, failed: false })
}

impl ReadLogs<'_> {
    /// Reading goes on from here behind the line that was given last.
    pub fn cursor(&self) -> Cursor {
        self.stream.cursor()
    }
}

impl Iterator for ReadLogs<'_> {
    type Item = Result<LogLine, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.take > 0 && !self.failed {
            let line = match self.stream.next() {
                Ok(line) => line.or_else(|| self.stream.finish())?,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            };
            if !self.options.wants(&line) || !(line.note || (self.wanted)(&line)) {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.take -= 1;
            return Some(Ok(line));
        }
        None
    }
}
