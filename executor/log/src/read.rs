//! Reads the logs up to their current end, a few lines in memory at a time.

use crate::cursor::Cursor;
use crate::entry::Source;
use crate::line::{LogError, LogLine};
use crate::records::ReadMode;
use crate::stream::{LogStream, Start};
use crate::time::to_millisecond;
use std::collections::VecDeque;
use std::path::Path;
use std::time::SystemTime;

/// The limit of positions that are remembered to find the start of the last lines.
const POSITIONS_MAX: usize = 4096;

/// The selection of lines.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The sources; [`Source::DEFAULT`] if empty.
    pub sources: Vec<Source>,
    /// Where to start.
    pub start: Start,
    /// The earliest time, inclusive.
    pub since: Option<SystemTime>,
    /// The latest time, exclusive.
    pub until: Option<SystemTime>,
    /// The number of matching lines at the end.
    pub tail: Option<usize>,
}

impl ReadOptions {
    /// The selected sources.
    pub fn sources(&self) -> &[Source] {
        if self.sources.is_empty() { &Source::DEFAULT } else { &self.sources }
    }

    fn wants(&self, line: &LogLine) -> bool {
        self.since.is_none_or(|since| line.time >= to_millisecond(since))
            && self.until.is_none_or(|until| line.time < to_millisecond(until))
    }
}

/// Lines in order of time, up to the end of the logs when they were opened.
pub struct ReadLogs<'a> {
    stream: LogStream,
    options: ReadOptions,
    wanted: &'a dyn Fn(&LogLine) -> bool,
    /// How many matching lines to skip, and how many to return.
    skip: usize,
    take: usize,
    failed: bool,
}

/// Reads the logs in a folder: lines for which `wanted` is true. Missing logs are empty.
///
/// With a tail the logs are read twice, so that memory does not grow with its length.
///
/// # Errors
///
/// If a log cannot be read, or the cursor is not one of these logs.
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

/// The start of the last lines.
#[derive(Clone, Debug)]
pub struct LastLines {
    /// Where to start reading.
    pub begin: Cursor,
    /// How many matching lines to skip there.
    pub skip: usize,
}

/// Finds the last `count` matching lines.
///
/// # Errors
///
/// If a log cannot be read, or the cursor is not one of these logs.
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
    let stream = LogStream::with_mode(folder, options.sources(), start, ReadMode::Snapshot)?;
    let options = options.clone();
    Ok(ReadLogs { stream, options, wanted, skip: 0, take: usize::MAX, failed: false })
}

impl ReadLogs<'_> {
    /// The position after the last returned line.
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
