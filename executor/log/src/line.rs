//! What readers give: lines.

use crate::entry::Source;
use std::io;
use std::time::SystemTime;

/// The longest line that is put together, in bytes; a longer one comes in pieces of about this size.
pub(crate) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A person's line: output joined to whole lines, one session and source at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When its last bytes came.
    pub time: SystemTime,
    /// Where from.
    pub source: Source,
    /// The session's number.
    pub session: Option<u64>,
    /// The bytes, without the line feed.
    pub data: Vec<u8>,
    /// Whether the line ends here. Otherwise it is a piece of one that is long, or slow to come, and goes on with the
    /// next line of the same session and source.
    pub ends: bool,
    /// Whether msb says this itself, where something is missing: it belongs to whatever is read.
    pub note: bool,
}

impl LogLine {
    pub(crate) fn note(time: SystemTime, source: Source, text: &str) -> Self {
        let data = format!("[msb: {text}]").into_bytes();
        Self { time, source, session: None, data, ends: true, note: true }
    }
}

/// Why a log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What was to come next has been removed since.
    #[error(
        "missed a rotation: what comes next in {log} has been removed, its file {wanted}; the oldest one left is {}",
        oldest.map_or_else(|| "none".to_owned(), |oldest| oldest.to_string())
    )]
    MissedRotation {
        /// The log's name.
        log: &'static str,
        /// The number of the file that was to be read.
        wanted: u64,
        /// The number of the oldest file that is left.
        oldest: Option<u64>,
    },
    /// The cursor is of another log: that of a sandbox that has been replaced, for example.
    #[error("the cursor is not one of this {log}")]
    ForeignCursor {
        /// The log's name.
        log: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {log}")]
    Io {
        /// The log's name.
        log: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl LogError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::MissedRotation { .. } => Some(
                "read on without the cursor, from what is left; the sandbox's `logs` block says how much is kept \
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
