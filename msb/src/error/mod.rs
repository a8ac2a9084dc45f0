//! Failures as users see them: the only place that gives library errors a hint and an exit code.

use crate::output::style::{BOLD_RED, CYAN};
use crate::output::{OutputOptions, eprintln_lossy, eprintln_raw, escape_lines};
use crate::report::findings::{self, Finding};
use crate::report::{diagnostics, github, on_github, repository_path};
use executor::apply::{ApplyError, limit_hint};
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
use sandboxfile::Report;
use schemas::excerpt::excerpt;
use schemas::spec::ImageReference;
use serde::Serialize;
use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

mod code;

pub use code::ErrorCode;

/// The version of failures as JSON.
const JSON_VERSION: u32 = 1;

/// Maximum characters of one message or cause, which may quote a file such as an image's manifest.
const CAUSE_MAX: usize = 2_000;

/// A failure with what is printed about it. Events contain its message, causes and hint.
#[derive(Debug, schemars::JsonSchema, Serialize)]
pub struct CliError {
    /// What it is.
    pub code: ErrorCode,
    /// What went wrong, in one sentence.
    pub message: String,
    /// Causes and details, printed below the message.
    pub causes: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
    /// The name of the sandbox, volume, snapshot or job that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
        Self {
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            code: ErrorCode::Failed,
            name: None,
            refusal: None,
        }
    }

    /// Creates a failure about the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).code(ErrorCode::Usage)
    }

    /// Creates the failure of a Sandboxfile that is refused; the report is all that is printed.
    pub fn refused(report: &Report, output: &OutputOptions) -> Self {
        Self::new(report.to_string()).code(ErrorCode::InvalidSandboxfile).with_refusal(
            report,
            diagnostics::text(report, output),
            true,
        )
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
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let text = |error: &dyn Error| excerpt(&error.to_string(), CAUSE_MAX).into_owned();
        let mut failure = Self::new(text(error));
        failure.code = code_of(error);
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.causes.push(text(error));
            if failure.code == ErrorCode::Failed {
                failure.code = code_of(error);
            }
            if let Some(hint) = limit_hint(error) {
                failure.hint = Some(hint.to_owned());
            }
            cause = error.source();
        }
        failure
    }

    /// Creates a failure from what cannot be done and the host's refusal.
    pub fn by_host(what: &str, error: &std::io::Error) -> Self {
        Self::new(format!("{what}: {error}")).maybe_hint(limit_hint(error))
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

    /// Sets what it is, and so the exit code.
    pub fn code(mut self, code: ErrorCode) -> Self {
        self.code = code;
        self
    }

    /// Sets what it is about.
    pub fn about(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Prints the failure and returns its exit code.
    pub fn report(&self, output: &OutputOptions) -> ExitCode {
        if output.json {
            self.print_json();
            return self.code.into();
        }
        if let Some(Refusal { text, annotations, is_all, .. }) = self.refusal.as_deref() {
            if !text.is_empty() {
                eprintln_lossy(text.trim_end_matches('\n'));
            }
            if !annotations.is_empty() {
                eprintln_raw(annotations.trim_end_matches('\n'));
            }
            if *is_all {
                return self.code.into();
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
        self.code.into()
    }

    /// Prints the failure as one line of JSON on stderr, after whatever was printed there.
    fn print_json(&self) {
        let document = FailureDocument { version: JSON_VERSION, error: self, findings: self.findings() };
        eprintln_raw(&serde_json::to_string(&document).unwrap_or_default());
    }
}

/// A failure as JSON: the last line on standard error.
#[derive(schemars::JsonSchema, Serialize)]
pub struct FailureDocument<'a> {
    version: u32,
    error: &'a CliError,
    /// The findings in an invalid Sandboxfile.
    #[serde(skip_serializing_if = "<[Finding]>::is_empty")]
    findings: &'a [Finding],
}

/// Returns what an error of a sandbox's agent is.
fn code_of(error: &(dyn Error + 'static)) -> ErrorCode {
    match error.downcast_ref() {
        Some(AgentError::SandboxNotFound { .. } | AgentError::ReaderClosed) => ErrorCode::SandboxNotRunning,
        Some(AgentError::UnsupportedOperation { .. }) => ErrorCode::Unsupported,
        Some(AgentError::Unresponsive(_)) => ErrorCode::Unresponsive,
        _ => ErrorCode::Failed,
    }
}

/// Returns what an error about images is.
fn code_of_image(error: &ImagesError) -> ErrorCode {
    match error {
        ImagesError::Unknown { .. } | ImagesError::NotHere { .. } => ErrorCode::ImageNotFound,
        ImagesError::InUse { .. } => ErrorCode::InUse,
        ImagesError::Snapshot(error) => code_of_snapshot(error),
        _ => ErrorCode::Failed,
    }
}

/// Returns what an error about snapshots is.
fn code_of_snapshot(error: &SnapshotError) -> ErrorCode {
    match error {
        SnapshotError::Unknown { .. } => ErrorCode::SnapshotNotFound,
        SnapshotError::Exists { .. } => ErrorCode::SnapshotExists,
        SnapshotError::InUse { .. } => ErrorCode::InUse,
        SnapshotError::Guest(error) => code_of(error.as_ref()),
        _ => ErrorCode::Failed,
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
            .code(failures.first().map_or(ErrorCode::Failed, |(_, error)| code_of_image(error)))
    }
}

impl From<ImagesError> for CliError {
    fn from(error: ImagesError) -> Self {
        let failure = Self::from_error(&error).maybe_hint(error.hint()).code(code_of_image(&error));
        match error {
            ImagesError::Unknown { name } | ImagesError::InUse { name, .. } => failure.about(name),
            ImagesError::NotHere { reference } => failure.about(reference.to_string()),
            _ => failure,
        }
    }
}

impl From<SnapshotError> for CliError {
    fn from(error: SnapshotError) -> Self {
        let failure = Self::from_error(&error).maybe_hint(error.hint()).code(code_of_snapshot(&error));
        match error {
            SnapshotError::Unknown { name, .. }
            | SnapshotError::Exists { name }
            | SnapshotError::InUse { name, .. } => failure.about(name.as_str()),
            _ => failure,
        }
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
            PlanError::VolumeMounted { name: _, user } => failure
                .code(ErrorCode::InUse)
                .hint(format!("remove the sandbox first: `msb rm {user}`, or `msb down {user}`")),
            PlanError::VolumeExists { name, spec: _ } => failure
                .code(ErrorCode::VolumeExists)
                .about(name.as_str())
                .hint(format!("choose another name, or remove it with `msb volume rm {name}`")),
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
            .code(ErrorCode::Locked),
            LockError::Held { holder: None, .. } => failure.code(ErrorCode::Locked),
            LockError::Io { .. } => failure,
        }
    }
}
