//! Reads a log record by record across its segments, and continues when it has grown.

use crate::line::LogError;
use crate::segments::Segments;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::SystemTime;

/// The number of bytes before a checkpoint that verify it, at most.
const TAIL_BYTES: usize = 64;
/// The size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 128 * 1024;

/// A position between two records, with a checksum that verifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Checkpoint {
    /// The segment's number.
    pub segment: u64,
    /// The offset in the segment, in bytes.
    pub offset: u64,
    /// The number of verified bytes before the offset.
    pub tail: u8,
    /// Their checksum.
    pub check: u32,
}

impl Checkpoint {
    /// The start of a segment.
    pub fn beginning(segment: u64) -> Self {
        Self { segment, offset: 0, tail: 0, check: checksum(&[]) }
    }

    /// The key that orders checkpoints.
    pub fn sort_key(&self) -> (u64, u64) {
        (self.segment, self.offset)
    }

    fn end_checkpoint(self, bytes: &[u8]) -> Self {
        let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        Self {
            segment: self.segment,
            offset: self.offset + bytes.len() as u64,
            tail: tail.len() as u8,
            check: checksum(tail),
        }
    }
}

/// FNV-1a, folded to 32 bits. It detects accidental damage; it is not a security checksum.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 32) as u32 ^ hash as u32
}

/// How far a reader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// To the end of the log when it was opened. Its segments are held open, so none can be missed.
    Snapshot,
    /// To the end of the growing log.
    Growing,
}

/// The result of one step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// [`Records::bytes`] is a record, with its line feed.
    Record,
    /// [`Records::bytes`] is part of a record: it is too long, or its segment ends before it does.
    Part,
    /// This many segments are missing.
    Gap(u64),
    /// The file was truncated after the last record: unread records are lost, and reading restarts at its beginning.
    Truncated,
    /// Nothing is left for now.
    End,
}

/// The reader of a log.
#[derive(Debug)]
pub(crate) struct Records {
    segments: Segments,
    mode: ReadMode,
    /// The longest record that is returned in one part, in bytes.
    bytes_max: usize,
    file: Option<BufReader<File>>,
    /// The other segments of a snapshot, in order.
    snapshot: VecDeque<(u64, File)>,
    /// The end of the last segment of a snapshot.
    end: u64,
    /// Whether the next segment existed before the end of this one was read.
    has_next: bool,
    /// The end of a growing segment was reached: it may have been truncated since.
    paused: bool,
    /// The record so far.
    bytes: Vec<u8>,
    /// The record was returned; the next call starts a new one.
    emitted: bool,
    start: Checkpoint,
    /// Whether that was after the first part of a record.
    starts_in_record: bool,
    end_checkpoint: Checkpoint,
}

impl Records {
    /// Opens a log at a checkpoint, or at its beginning.
    pub fn open(
        segments: Segments,
        from: Option<Checkpoint>,
        mode: ReadMode,
        bytes_max: usize,
    ) -> Result<Self, LogError> {
        let name = segments.name();
        let failed = LogError::io(name);
        let mut start = from.unwrap_or(Checkpoint::beginning(1));
        let mut file = None;
        let mut starts_in_record = false;
        loop {
            if let Some(opened) = segments.open(start.segment).map_err(&failed)? {
                starts_in_record = verify(&opened, &start, name)?;
                let mut reader = BufReader::with_capacity(BUFFER_BYTES, opened);
                reader.seek(SeekFrom::Start(start.offset)).map_err(&failed)?;
                file = Some(reader);
                break;
            }
            match segments.list().map_err(&failed)?.first().copied() {
                None if start == Checkpoint::beginning(1) => break,
                Some(oldest) if from.is_none() => start = Checkpoint::beginning(oldest),
                oldest if oldest.is_some_and(|oldest| oldest > start.segment) => {
                    return Err(LogError::MissedRotation { log: name, wanted: start.segment, oldest });
                }
                _ => return Err(LogError::ForeignCursor { log: name }),
            }
        }
        let mut records = Self {
            segments,
            mode,
            bytes_max,
            file,
            snapshot: VecDeque::new(),
            end: 0,
            has_next: false,
            paused: false,
            bytes: Vec::new(),
            emitted: false,
            start,
            starts_in_record,
            end_checkpoint: start,
        };
        if mode == ReadMode::Snapshot {
            records.open_snapshot().map_err(&failed)?;
        }
        Ok(records)
    }

    fn open_snapshot(&mut self) -> std::io::Result<()> {
        // Oldest first: segments that rotation removes meanwhile are either held or were never listed.
        for segment in self.segments.list()? {
            if segment > self.start.segment
                && let Some(file) = self.segments.open(segment)?
            {
                self.snapshot.push_back((segment, file));
            }
        }
        let last = self.snapshot.back().map(|(_, file)| file).or(self.file.as_ref().map(BufReader::get_ref));
        self.end = last.map_or(Ok(0), |file| Ok::<_, std::io::Error>(file.metadata()?.len()))?;
        Ok(())
    }

    /// The record that [`Records::next`] found.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The start of that record.
    pub fn start(&self) -> Checkpoint {
        self.start
    }

    /// Whether reading started after the first part of a record.
    pub fn starts_in_record(&self) -> bool {
        self.starts_in_record
    }

    /// The end of that record.
    pub fn end_checkpoint(&self) -> Checkpoint {
        self.end_checkpoint
    }

    /// The log's name.
    pub fn log(&self) -> &'static str {
        self.segments.name()
    }

    /// The modification time of the current segment.
    pub fn modified(&self) -> SystemTime {
        let metadata = self.file.as_ref().and_then(|file| file.get_ref().metadata().ok());
        metadata.and_then(|metadata| metadata.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Reads the next record.
    pub fn next(&mut self) -> Result<Step, LogError> {
        let log = self.log();
        let failed = LogError::io(log);
        if std::mem::take(&mut self.emitted) {
            self.bytes.clear();
            self.start = self.end_checkpoint;
        }
        loop {
            let Some(file) = &mut self.file else {
                // The log was not written yet.
                self.file = self
                    .segments
                    .open(self.start.segment)
                    .map_err(&failed)?
                    .map(|file| BufReader::with_capacity(BUFFER_BYTES, file));
                if self.file.is_none() || self.mode == ReadMode::Snapshot {
                    return Ok(Step::End);
                }
                continue;
            };
            let is_last = self.mode == ReadMode::Snapshot && self.snapshot.is_empty();
            if is_last && self.bytes.is_empty() && self.start.offset >= self.end {
                return Ok(Step::End);
            }
            if std::mem::take(&mut self.paused)
                && is_truncated(file.get_ref(), &self.start, &self.bytes, log)?
            {
                file.seek(SeekFrom::Start(0)).map_err(&failed)?;
                self.bytes.clear();
                self.start = Checkpoint::beginning(self.start.segment);
                self.end_checkpoint = self.start;
                return Ok(Step::Truncated);
            }
            let room = self.bytes_max.saturating_sub(self.bytes.len()) as u64;
            file.take(room).read_until(b'\n', &mut self.bytes).map_err(&failed)?;
            if self.bytes.last() == Some(&b'\n') {
                return Ok(self.emit(Step::Record));
            }
            if self.bytes.len() >= self.bytes_max {
                return Ok(self.emit(Step::Part));
            }
            // The end of the segment, so far.
            if is_last {
                return Ok(Step::End);
            }
            match self.mode {
                ReadMode::Growing if !self.has_next => {
                    if !self.find_next_segment().map_err(&failed)? {
                        self.paused = true;
                        return Ok(Step::End);
                    }
                }
                _ if !self.bytes.is_empty() => return Ok(self.emit(Step::Part)),
                ReadMode::Growing => self.open_next_segment()?,
                ReadMode::Snapshot => {
                    if let Some((segment, file)) = self.snapshot.pop_front() {
                        let missing = segment - self.start.segment - 1;
                        self.begin(segment, file);
                        if missing > 0 {
                            return Ok(Step::Gap(missing));
                        }
                    }
                }
            }
        }
    }

    /// Returns an incomplete record when no more input is awaited; `None` if there is none. Later bytes start a new
    /// record.
    pub fn rest(&mut self) -> Option<&[u8]> {
        if self.emitted || self.bytes.is_empty() {
            return None;
        }
        self.emit(Step::Part);
        Some(&self.bytes)
    }

    fn emit(&mut self, found: Step) -> Step {
        self.emitted = true;
        self.end_checkpoint = self.start.end_checkpoint(&self.bytes);
        found
    }

    fn begin(&mut self, segment: u64, file: File) {
        self.file = Some(BufReader::with_capacity(BUFFER_BYTES, file));
        self.start = Checkpoint::beginning(segment);
        self.end_checkpoint = self.start;
        self.has_next = false;
    }

    /// Whether a newer segment exists. Then the end of this one is final.
    fn find_next_segment(&mut self) -> std::io::Result<bool> {
        self.has_next = self.segments.exists(self.start.segment + 1);
        if !self.has_next
            && let Some(file) = &self.file
            && file.get_ref().metadata()?.nlink() == 0
        {
            // This segment was removed, and the next one may be too.
            let newest = self.segments.list()?.last().copied();
            self.has_next = newest.is_some_and(|newest| newest > self.start.segment);
        }
        Ok(self.has_next)
    }

    fn open_next_segment(&mut self) -> Result<(), LogError> {
        let failed = LogError::io(self.log());
        let wanted = self.start.segment + 1;
        match self.segments.open(wanted).map_err(&failed)? {
            Some(file) => {
                self.begin(wanted, file);
                Ok(())
            }
            None => {
                let oldest = self.segments.list().map_err(&failed)?.first().copied();
                Err(LogError::MissedRotation { log: self.log(), wanted, oldest })
            }
        }
    }
}

/// Whether a file no longer contains what was read: up to a checkpoint, and some bytes of a record after it.
fn is_truncated(file: &File, mark: &Checkpoint, bytes: &[u8], log: &'static str) -> Result<bool, LogError> {
    let length = file.metadata().map_err(LogError::io(log))?.len();
    if length < mark.offset + bytes.len() as u64 {
        return Ok(true);
    }
    // It may have grown past that offset again.
    match verify(file, mark, log) {
        Ok(_) => Ok(false),
        Err(LogError::ForeignCursor { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Checks that a checkpoint belongs to this file; returns whether it is within a record.
fn verify(file: &File, mark: &Checkpoint, log: &'static str) -> Result<bool, LogError> {
    let mut tail = [0; TAIL_BYTES];
    let length = usize::from(mark.tail).min(TAIL_BYTES);
    let before = mark.offset.checked_sub(length as u64);
    let same = before.is_some_and(|before| {
        file.read_exact_at(&mut tail[..length], before).is_ok() && checksum(&tail[..length]) == mark.check
    });
    // Without verified bytes, the length is still checked.
    let inside = file.metadata().is_ok_and(|metadata| metadata.len() >= mark.offset);
    let is_in_record = tail[..length].last().is_some_and(|&byte| byte != b'\n');
    if same && inside { Ok(is_in_record) } else { Err(LogError::ForeignCursor { log }) }
}
