//! Failures of steps, as text for the user.

use executor_host::home::SandboxFolder;
use executor_log::{ReadOptions, Source, read_logs};
use rustix::io::Errno;
use serde::Serialize;
use std::error::Error;
use std::fmt::Display;
use tokio::task::JoinError;

/// The most lines of a log that a failure shows.
const LOG_LINES: usize = 5;

/// The failure of a step.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct StepFailure {
    /// The message, on one line.
    pub message: String,
    /// Details: the last probe, the last lines of a log.
    pub details: Vec<String>,
    /// The next step for the user, if there is one.
    pub hint: Option<String>,
}

/// Returns the next step after an error, if it is one about a limit of the host on this process.
pub fn limit_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    match error.downcast_ref().and_then(Errno::from_io_error)? {
        Errno::MFILE => Some("raise the limit of open files: `ulimit -n 4096`"),
        // No call here is one that does not wait.
        Errno::AGAIN => Some("raise the limit of processes: `ulimit -u`, or `pids.max` of the control group"),
        _ => None,
    }
}

impl StepFailure {
    /// Creates a failure without details.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: Vec::new(), hint: None }
    }

    /// Creates a failure of a panic.
    pub(super) fn defect(error: &JoinError) -> Self {
        Self::new(format!("a defect in msb: {error}"))
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

    /// Adds the last lines of a sandbox's output, if there are any.
    pub(super) fn last_output(self, folder: &SandboxFolder) -> Self {
        self.last_printed(&last_lines(folder, &Source::DEFAULT))
    }

    /// Adds the last lines of a program's output, if there are any.
    pub(super) fn last_printed(mut self, lines: &[impl Display]) -> Self {
        if !lines.is_empty() {
            self.details.push("it last printed:".to_owned());
        }
        self.details.extend(lines.iter().map(|line| format!("  {line}")));
        self
    }
}

/// The message is the error's, and its causes are details.
impl<E: Error> From<E> for StepFailure {
    fn from(error: E) -> Self {
        let causes = std::iter::successors(error.source(), |&error| error.source());
        Self { details: causes.map(ToString::to_string).collect(), ..Self::new(error.to_string()) }
    }
}

/// Returns the last lines of a sandbox's logs, as far as they can be read.
pub(super) fn last_lines(folder: &SandboxFolder, sources: &[Source]) -> Vec<String> {
    let options = ReadOptions { sources: sources.to_vec(), tail: Some(LOG_LINES), ..ReadOptions::default() };
    let lines = read_logs(&folder.logs(), &options, &|_| true).into_iter().flatten().flatten();
    lines.map(|line| String::from_utf8_lossy(&line.data).into_owned()).collect()
}
