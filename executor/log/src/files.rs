//! The log files of a sandbox. A new log is one more entry here, and its [`Source`]s.

use crate::entry::Source;
use crate::{EVENTS_LOG, EXEC_LOG, FLOWS_LOG, KERNEL_LOG, NETWORK_LOG, RUNTIME_LOG};

/// The format of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// [`crate::Entry`]s, one per line.
    Entries,
    /// Text lines with a timestamp, all of one source.
    Text(Source),
    /// JSON objects, one per line, with the time as `t`, all of one source.
    Json(Source),
}

/// A log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFile {
    /// The file's name in the log folder.
    pub name: &'static str,
    /// The letter of the log in cursors; never reused.
    pub letter: char,
    /// The format.
    pub format: Format,
}

/// All logs.
pub(crate) const FILES: [LogFile; 6] = [
    LogFile { name: EXEC_LOG, letter: 'e', format: Format::Entries },
    LogFile { name: RUNTIME_LOG, letter: 'r', format: Format::Text(Source::Runtime) },
    LogFile { name: KERNEL_LOG, letter: 'k', format: Format::Text(Source::Kernel) },
    LogFile { name: NETWORK_LOG, letter: 'n', format: Format::Json(Source::Network) },
    LogFile { name: EVENTS_LOG, letter: 'v', format: Format::Json(Source::Events) },
    LogFile { name: FLOWS_LOG, letter: 'f', format: Format::Json(Source::Flows) },
];

impl LogFile {
    /// Whether the log contains a source.
    pub fn holds(&self, source: Source) -> bool {
        match self.format {
            Format::Text(own) | Format::Json(own) => own == source,
            Format::Entries => !FILES
                .iter()
                .any(|file| matches!(file.format, Format::Text(own) | Format::Json(own) if own == source)),
        }
    }
}
