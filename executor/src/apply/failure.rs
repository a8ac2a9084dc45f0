//! Failures of steps, as text for the user.

use crate::catalog::CatalogError;
use executor_host::home::SandboxFolder;
use executor_log::{ReadOptions, Source, read_logs};

/// The most lines of a log that a failure shows.
const LOG_LINES: usize = 5;

/// The failure of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The message, on one line.
    pub message: String,
    /// Details: the last probe, the last lines of a log.
    pub details: Vec<String>,
    /// The next step for the user, if there is one.
    pub hint: Option<String>,
}

impl StepFailure {
    /// Creates a failure without details.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: Vec::new(), hint: None }
    }

    /// Creates a failure of an error's text, with its causes as details.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.details.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    /// Adds a detail.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Sets the hint.
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

/// Adds the last lines of a sandbox's output.
pub(super) fn with_last_lines(failure: StepFailure, folder: &SandboxFolder) -> StepFailure {
    let last = last_lines(folder, &Source::DEFAULT);
    if last.is_empty() {
        return failure;
    }
    last.iter().fold(failure.detail("it last printed:"), |failure, line| failure.detail(format!("  {line}")))
}

/// Returns the last lines of a sandbox's logs, as far as they can be read.
pub(super) fn last_lines(folder: &SandboxFolder, sources: &[Source]) -> Vec<String> {
    let options = ReadOptions { sources: sources.to_vec(), tail: Some(LOG_LINES), ..ReadOptions::default() };
    let lines = read_logs(&folder.logs(), &options, &|_| true).into_iter().flatten().flatten();
    lines.map(|line| String::from_utf8_lossy(&line.data).into_owned()).collect()
}
