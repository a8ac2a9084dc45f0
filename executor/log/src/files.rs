//! Which file holds what. Another log is one more line here, and its [`Source`]s.

use crate::entry::Source;
use crate::{EVENTS_LOG, EXEC_LOG, KERNEL_LOG, NETWORK_LOG, RUNTIME_LOG};

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// [`crate::Entry`]s, one a line.
    Entries,
    /// Lines of text with a time in front, all of one source.
    Text(Source),
    /// JSON objects, one a line, each with its time as `t`, all of one source.
    Json(Source),
}

/// One log of a sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFile {
    /// Its name in the folder of logs.
    pub name: &'static str,
    /// What stands for it in a cursor; never given to another one.
    pub letter: char,
    /// How it is written.
    pub format: Format,
}

/// All of them.
pub(crate) const FILES: [LogFile; 5] = [
    LogFile { name: EXEC_LOG, letter: 'e', format: Format::Entries },
    LogFile { name: RUNTIME_LOG, letter: 'r', format: Format::Text(Source::Runtime) },
    LogFile { name: KERNEL_LOG, letter: 'k', format: Format::Text(Source::Kernel) },
    LogFile { name: NETWORK_LOG, letter: 'n', format: Format::Json(Source::Network) },
    LogFile { name: EVENTS_LOG, letter: 'v', format: Format::Json(Source::Events) },
];

impl LogFile {
    /// Whether what comes from this source is in it.
    pub fn holds(&self, source: Source) -> bool {
        match self.format {
            Format::Text(own) | Format::Json(own) => own == source,
            Format::Entries => !FILES
                .iter()
                .any(|file| matches!(file.format, Format::Text(own) | Format::Json(own) if own == source)),
        }
    }
}
