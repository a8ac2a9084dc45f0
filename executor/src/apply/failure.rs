//! Why a step failed, in the words that a person is shown.

use crate::catalog::CatalogError;
use executor_host::home::SandboxFolder;
use executor_log::{ReadOptions, Source, read_logs};

/// How many of a log's last lines a failure shows.
const LOG_LINES: usize = 5;

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// One line.
    pub message: String,
    /// What else is known: the last probe, the last lines of a log.
    pub details: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl StepFailure {
    /// A failure with nothing but its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: Vec::new(), hint: None }
    }

    /// From an error: its text, and its causes as details.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.details.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    /// With something else that is known.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// With what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<CatalogError> for StepFailure {
    fn from(error: CatalogError) -> Self {
        Self::from_error(&error)
    }
}

/// Adds the last lines that a sandbox printed.
pub(super) fn with_last_lines(failure: StepFailure, folder: &SandboxFolder) -> StepFailure {
    let last = last_lines(folder, &Source::DEFAULT);
    if last.is_empty() {
        return failure;
    }
    last.iter().fold(failure.detail("it last printed:"), |failure, line| failure.detail(format!("  {line}")))
}

/// The last lines of a sandbox's logs, as far as they can be read.
pub(super) fn last_lines(folder: &SandboxFolder, sources: &[Source]) -> Vec<String> {
    let options = ReadOptions { sources: sources.to_vec(), tail: Some(LOG_LINES), ..ReadOptions::default() };
    let lines = read_logs(&folder.logs(), &options, &|_| true).into_iter().flatten().flatten();
    lines.map(|line| String::from_utf8_lossy(&line.data).into_owned()).collect()
}
