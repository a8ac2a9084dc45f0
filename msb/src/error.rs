//! Failures as users see them: the only place that gives library errors a hint and an exit code.

use crate::output::style::{BOLD_RED, CYAN};
use crate::output::{OutputOptions, eprintln_lossy, eprintln_raw, escape_lines};
use crate::report::findings::{self, Finding};
use crate::report::{diagnostics, github, on_github, repository_path};
use executor::apply::{ApplyError, OPEN_FILES_HINT};
use executor::catalog::CatalogError;
use executor::images::ImagesError;
use executor::observe::ObserveError;
use executor::snapshots::{SnapshotError, TransferError};
use executor_client::agent::AgentError;
use executor_host::config::ConfigFileError;
use executor_host::home::HomeError;
use executor_host::lock::LockError;
use executor_image::ImageError;
use executor_metrics::RegistryError;
use executor_vm::ChooseError;
use planner::PlanError;
use rustix::io::Errno;
use sandboxfile::Report;
use schemas::excerpt::excerpt;
use schemas::spec::ImageReference;
use serde::Serialize;
use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

/// Maximum characters of one message or cause, which may quote a file such as an image's manifest.
const CAUSE_MAX: usize = 2_000;

/// Exit codes of failures, as `msb --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Any other failure.
    Failed = 1,
    /// The lock file or a trusted Sandboxfile does not match.
    Mismatch = 3,
    /// A wait timed out.
    TimedOut = 4,
    /// Another msb has locked the project.
    Locked = 5,
    /// The command line is invalid.
    Usage = 64,
    /// Ctrl-C.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Returns whether a signal ended the command.
    pub fn is_signal(self) -> bool {
        matches!(self, Self::Interrupted | Self::Terminated)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure with what is printed about it. Events contain its message, causes and hint.
#[derive(Debug, Serialize)]
pub struct CliError {
    /// What went wrong, in one sentence.
    pub message: String,
    /// Causes and details, printed below the message.
    pub causes: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
    /// The exit code.
    #[serde(skip)]
    pub exit: Exit,
    #[serde(skip)]
    refusal: Option<Box<Refusal>>,
}

/// Findings in a Sandboxfile.
#[derive(Debug)]
struct Refusal {
    findings: Vec<Finding>,
    /// Number of findings beyond the reported ones.
    omitted: usize,
    /// The report for people.
    text: String,
    /// Annotations for the CI system; may be empty.
    annotations: String,
    /// Whether the report is printed alone, without `error: …` after it.
    is_all: bool,
}

impl CliError {
    /// Creates a failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hint: None, exit: Exit::Failed, refusal: None }
    }

    /// Creates a failure about the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).exit(Exit::Usage)
    }

    /// Creates the failure of a Sandboxfile that is refused; the report is all that is printed.
    pub fn refused(report: &Report, output: &OutputOptions) -> Self {
        Self::new(report.to_string()).with_refusal(report, diagnostics::text(report, output), true)
    }

    /// Adds findings that are printed above the message.
    pub fn with_report(self, report: &Report, output: &OutputOptions) -> Self {
        self.with_refusal(report, diagnostics::findings(report, output), false)
    }

    fn with_refusal(mut self, report: &Report, text: String, is_all: bool) -> Self {
        let (findings, omitted) = (findings::of(report), report.omitted());
        let annotations = String::new();
        self.refusal = Some(Box::new(Refusal { findings, omitted, text, annotations, is_all }));
        self
    }

    /// Adds annotations on GitHub, which shows them in the files.
    pub fn annotated(mut self) -> Self {
        if let Some(refusal) = self.refusal.as_mut().filter(|_| on_github()) {
            refusal.annotations = github::annotations(&refusal.findings, &repository_path);
        }
        self
    }

    /// Drops the printed form of a report that was written in another format.
    pub fn without_report(mut self) -> Self {
        if let Some(refusal) = &mut self.refusal {
            refusal.text.clear();
            refusal.annotations.clear();
        }
        self
    }

    /// The findings in the Sandboxfile, if they are the reason.
    pub fn findings(&self) -> &[Finding] {
        self.refusal.as_ref().map(|refusal| refusal.findings.as_slice()).unwrap_or_default()
    }

    /// Number of findings beyond [`Self::findings`].
    pub fn findings_omitted(&self) -> usize {
        self.refusal.as_ref().map_or(0, |refusal| refusal.omitted)
    }

    /// Creates a failure from an error and its sources.
    pub fn from_error(error: &dyn Error) -> Self {
        let text = |error: &dyn Error| excerpt(&error.to_string(), CAUSE_MAX).into_owned();
        let mut failure = Self::new(text(error));
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.causes.push(text(error));
            if error.downcast_ref().and_then(Errno::from_io_error) == Some(Errno::MFILE) {
                failure.hint = Some(OPEN_FILES_HINT.to_owned());
            }
            cause = error.source();
        }
        failure
    }

    /// Adds a cause.
    pub fn because(self, cause: impl Into<String>) -> Self {
        self.because_all([cause])
    }

    /// Adds several causes.
    pub fn because_all(mut self, causes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.causes.extend(causes.into_iter().map(Into::into));
        self
    }

    /// Sets the next step.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.maybe_hint(Some(hint))
    }

    /// Sets or clears the next step.
    pub fn maybe_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// Sets the exit code.
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Prints the failure and returns its exit code.
    pub fn report(&self, output: &OutputOptions) -> ExitCode {
        if let Some(Refusal { text, annotations, is_all, .. }) = self.refusal.as_deref() {
            if !text.is_empty() {
                eprintln_lossy(text.trim_end_matches('\n'));
            }
            if !annotations.is_empty() {
                eprintln_raw(annotations.trim_end_matches('\n'));
            }
            if *is_all {
                return self.exit.into();
            }
        }
        let style = output.style();
        eprintln_lossy(&format!("{}: {}", style.paint(BOLD_RED, "error"), escape_lines(&self.message, "  ")));
        for cause in &self.causes {
            eprintln_lossy(&format!("  {}", escape_lines(cause, "  ")));
        }
        if let Some(hint) = &self.hint {
            eprintln_lossy(&format!("{}: {}", style.paint(CYAN, "hint"), escape_lines(hint, "  ")));
        }
        self.exit.into()
    }
}

/// Adds the failed operation to an error.
pub trait Context<T> {
    /// Converts an error to the failure `CONTEXT: ERROR`.
    ///
    /// # Errors
    ///
    /// The failure, if this is an error.
    fn context(self, context: impl Display) -> Result<T, CliError>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, context: impl Display) -> Result<T, CliError> {
        self.map_err(|error| CliError::new(format!("{context}: {error}")))
    }
}

/// Converts errors that need no hint.
macro_rules! from_errors {
    ($($error:ty),*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::from_error(&error)
            }
        }
    )*};
}

from_errors!(AgentError, ImageError, RegistryError);

impl From<CatalogError> for CliError {
    fn from(error: CatalogError) -> Self {
        let hint = "put a copy of it back, if you have one; otherwise move it away: running sandboxes go on until the next \
            `msb up` makes them again, with new disks";
        Self::from_error(&error).maybe_hint(error.is_damage().then_some(hint))
    }
}

impl From<HomeError> for CliError {
    fn from(error: HomeError) -> Self {
        Self::from_error(&error).hint("set MSB_HOME to a folder that you own, with a short path")
    }
}

impl From<ConfigFileError> for CliError {
    fn from(error: ConfigFileError) -> Self {
        let suggestion = match &error {
            ConfigFileError::Refused { source, .. } => source.suggestion(),
            ConfigFileError::Read { .. } => None,
        };
        Self::from_error(&error).hint(match suggestion {
            Some(suggestion) => format!("did you mean `{suggestion}`?"),
            None => "once it is valid, `msb config --home` prints the settings in effect".to_owned(),
        })
    }
}

impl From<ObserveError> for CliError {
    fn from(error: ObserveError) -> Self {
        let failure = Self::from_error(&error);
        let ObserveError::Images { failures, rest: _ } = &error else { return failure };
        let alone = failures.len() == 1;
        let line = |(reference, error): &(ImageReference, ImagesError)| {
            let Self { message, causes, .. } = Self::from_error(error);
            let text = [vec![message], causes].concat().join(": ");
            if alone { text } else { format!("{reference}: {text}") }
        };
        failure
            .because_all(schemas::listing::lines(failures, schemas::listing::LISTED_MAX, line))
            .maybe_hint(failures.iter().find_map(|(_, error)| error.hint()))
    }
}

impl From<ImagesError> for CliError {
    fn from(error: ImagesError) -> Self {
        Self::from_error(&error).maybe_hint(error.hint())
    }
}

impl From<SnapshotError> for CliError {
    fn from(error: SnapshotError) -> Self {
        Self::from_error(&error).maybe_hint(error.hint())
    }
}

impl From<TransferError> for CliError {
    fn from(error: TransferError) -> Self {
        Self::from_error(&error).maybe_hint(error.hint())
    }
}

impl From<PlanError> for CliError {
    fn from(error: PlanError) -> Self {
        let failure = Self::from_error(&error);
        match error {
            PlanError::Unreadable { name, reason: _ } => failure
                .hint(format!("use the msb that wrote it, or remove it and its disk with `msb down {name}`")),
            PlanError::VolumeMounted { name: _, user } => {
                failure.hint(format!("remove the sandbox first: `msb rm {user}`, or `msb down {user}`"))
            }
            PlanError::VolumeExists { name, spec: _ } => {
                failure.hint(format!("choose another name, or remove it with `msb volume rm {name}`"))
            }
            _ => failure,
        }
    }
}

impl From<ApplyError> for CliError {
    fn from(error: ApplyError) -> Self {
        let is_stale = matches!(error, ApplyError::Stale { .. });
        Self::from_error(&error).maybe_hint(is_stale.then_some("plan again"))
    }
}

impl From<ChooseError> for CliError {
    fn from(error: ChooseError) -> Self {
        Self::from_error(&error).hint(error.help().to_owned())
    }
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        let failure = Self::from_error(&error);
        match error {
            LockError::Held { holder: Some(holder), .. } => Self::new(format!(
                "another msb works on this project: '{}', pid {}",
                holder.command, holder.process.pid
            ))
            .hint("wait for it, or give it more time with --lock-timeout")
            .exit(Exit::Locked),
            LockError::Held { holder: None, .. } => failure.exit(Exit::Locked),
            LockError::Io { .. } => failure,
        }
    }
}
