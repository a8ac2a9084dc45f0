//! Lines, as readers return them.

use crate::entry::Source;
use crate::exec_lines::ExecPosition;
use std::fmt;
use std::io;
use std::time::SystemTime;

/// The longest line, in bytes; a longer one is split into parts of about this size.
pub(crate) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A line of one session and source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When its last bytes were received.
    pub time: SystemTime,
    /// Its source.
    pub source: Source,
    /// The session's number; `None` for lines without a session.
    pub session: Option<u64>,
    /// The bytes, without the line feed.
    pub data: Vec<u8>,
    /// Whether the line is complete. Otherwise the next line of the same session and source continues it.
    pub ends: bool,
    /// Whether it is msb's note about missing data, which filters must not drop.
    pub note: bool,
}

impl LogLine {
    /// An empty line.
    pub(crate) fn new(time: SystemTime, source: Source, session: Option<u64>) -> Self {
        Self { time, source, session, data: Vec::new(), ends: true, note: false }
    }

    pub(crate) fn note(time: SystemTime, source: Source, text: &str) -> Self {
        Self { data: format!("[msb: {text}]").into_bytes(), note: true, ..Self::new(time, source, None) }
    }
}

/// The reader of one log.
pub(crate) trait Lines: fmt::Debug + Send + Sync {
    /// The next line; `None` if there is none yet.
    fn next(&mut self) -> Result<Option<LogLine>, LogError>;

    /// An incomplete line, when no more input is awaited.
    fn finish(&mut self) -> Option<LogLine>;

    /// The position after the last returned line.
    fn position(&self) -> ExecPosition;
}

/// Why a log cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The next segment was removed by rotation.
    #[error(
        "missed a rotation: the next file {wanted} of {log} was removed; the oldest remaining one is {}",
        oldest.map_or_else(|| "none".to_owned(), |oldest| oldest.to_string())
    )]
    MissedRotation {
        /// The log's name.
        log: &'static str,
        /// The number of the removed segment.
        wanted: u64,
        /// The number of the oldest remaining segment.
        oldest: Option<u64>,
    },
    /// The cursor belongs to another log, for example that of a replaced sandbox.
    #[error("the cursor does not belong to this {log}")]
    ForeignCursor {
        /// The log's name.
        log: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {log}")]
    Io {
        /// The log's name.
        log: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl LogError {
    /// The next step for the user, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::MissedRotation { .. } => Some(
                "read without the cursor, from the oldest remaining line; the sandbox's `logs` block says how much is kept \
                 (`max-size` and `keep`; without it `log` in config.json)",
            ),
            Self::ForeignCursor { .. } => Some("read without the cursor, from the beginning"),
            Self::Io { .. } => None,
        }
    }

    pub(crate) fn io(log: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { log, source }
    }
}
