//! What goes wrong, as a person sees it: the one place that gives library errors their hint and exit code.

use crate::output::{OutputOptions, eprintln_lossy, eprintln_raw, escape_lines};
use crate::report::findings::{self, Finding};
use executor::apply::ApplyError;
use executor::catalog::CatalogError;
use executor::images::ImagesError;
use executor::observe::ObserveError;
use executor_client::agent::AgentError;
use executor_host::config::ConfigFileError;
use executor_host::home::HomeError;
use executor_host::lock::LockError;
use executor_vm::ChooseError;
use planner::PlanError;
use sandboxfile::Report;
use schemas::excerpt::excerpt;
use std::error::Error;
use std::process::ExitCode;

/// The most characters of one cause: it may quote a file, such as the manifest of an image.
const CAUSE_MAX: usize = 2_000;

/// What `msb` exits with when it fails. The table of `msb --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// The lock file, or a Sandboxfile that was trusted, is not the one that is there now.
    Mismatch = 3,
    /// A wait timed out.
    TimedOut = 4,
    /// Another msb works on the project.
    Locked = 5,
    /// The command line makes no sense.
    Usage = 64,
    /// Ctrl-C.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Whether a signal is the reason.
    pub fn is_signal(self) -> bool {
        matches!(self, Self::Interrupted | Self::Terminated)
    }
}

/// A failure, ready to be shown.
#[derive(Debug)]
pub struct CliError {
    /// What went wrong, in one sentence.
    pub message: String,
    /// What is told below it.
    pub causes: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
    /// What to exit with.
    pub exit: Exit,
    refusal: Option<Box<Refusal>>,
}

/// What is wrong with a Sandboxfile.
#[derive(Debug)]
struct Refusal {
    /// For machines.
    findings: Vec<Finding>,
    /// How many more findings there are.
    omitted: usize,
    /// Printed in front.
    shown: String,
    /// What a CI system is told, as it reads it.
    annotations: String,
    /// Whether that says it all; else `error: …` follows.
    is_all: bool,
}

/// A report about a Sandboxfile as it is printed.
#[derive(Debug)]
pub struct Shown {
    /// For people.
    pub text: String,
    /// For the CI system, as it reads it; empty where there is none.
    pub annotations: String,
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self { text, annotations: String::new() }
    }
}

impl CliError {
    /// A failure in one sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hint: None, exit: Exit::Failed, refusal: None }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).exit(Exit::Usage)
    }

    /// A Sandboxfile that is refused, with the report that a person is shown.
    pub fn refused(report: &Report, Shown { text, annotations }: Shown) -> Self {
        let (findings, omitted) = (findings::of(report), report.omitted());
        let refusal = Refusal { findings, omitted, shown: text, annotations, is_all: true };
        Self { refusal: Some(Box::new(refusal)), ..Self::new(report.to_string()) }
    }

    /// With the places of the Sandboxfile that it is about, as a person is shown them above it.
    pub fn shown_at(mut self, report: &Report, Shown { text, annotations }: Shown) -> Self {
        let (findings, omitted) = (findings::of(report), report.omitted());
        let refusal = Refusal { findings, omitted, shown: text, annotations, is_all: false };
        self.refusal = Some(Box::new(refusal));
        self
    }

    /// The same where its report has been given in another way.
    pub fn without_report(mut self) -> Self {
        if let Some(refusal) = &mut self.refusal {
            refusal.shown.clear();
            refusal.annotations.clear();
        }
        self
    }

    /// What is wrong with the Sandboxfile, if that is it.
    pub fn findings(&self) -> &[Finding] {
        self.refusal.as_ref().map(|refusal| refusal.findings.as_slice()).unwrap_or_default()
    }

    /// How many more findings there are.
    pub fn findings_omitted(&self) -> usize {
        self.refusal.as_ref().map_or(0, |refusal| refusal.omitted)
    }

    /// From an error: its text, and its causes below it.
    pub fn from_error(error: &dyn Error) -> Self {
        let text = |error: &dyn Error| excerpt(&error.to_string(), CAUSE_MAX).into_owned();
        let mut failure = Self::new(text(error));
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.causes.push(text(error));
            cause = error.source();
        }
        failure
    }

    /// With something that is told below its sentence.
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// With the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit code.
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Shows it, and gives the exit code.
    pub fn report(&self, verbosity: &OutputOptions) -> ExitCode {
        let code = ExitCode::from(self.exit as u8);
        if let Some(refusal) = &self.refusal {
            if !refusal.shown.is_empty() {
                eprintln_lossy(refusal.shown.trim_end_matches('\n'));
                if !refusal.annotations.is_empty() {
                    eprintln_raw(refusal.annotations.trim_end_matches('\n'));
                }
            }
            if refusal.is_all {
                return code;
            }
        }
        let (error, hint, off) =
            if verbosity.color_stderr { ("\x1b[31;1m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        eprintln_lossy(&format!("{error}error{off}: {}", escape_lines(&self.message, "  ")));
        for cause in &self.causes {
            eprintln_lossy(&format!("  {}", escape_lines(cause, "  ")));
        }
        if let Some(text) = &self.hint {
            eprintln_lossy(&format!("{hint}hint{off}: {}", escape_lines(text, "  ")));
        }
        code
    }
}

impl From<HomeError> for CliError {
    fn from(error: HomeError) -> Self {
        Self::from_error(&error).hint("set MSB_HOME to a folder that you own, with a short path")
    }
}

impl From<ConfigFileError> for CliError {
    fn from(error: ConfigFileError) -> Self {
        let failure = Self::from_error(&error);
        let suggestion = match &error {
            ConfigFileError::Refused { source, .. } => source.suggestion(),
            ConfigFileError::Read { .. } => None,
        };
        match suggestion {
            Some(suggestion) => failure.hint(format!("did you mean `{suggestion}`?")),
            None => failure.hint("`msb config --home` prints the settings in force, once they are sound"),
        }
    }
}

impl From<CatalogError> for CliError {
    fn from(error: CatalogError) -> Self {
        Self::from_error(&error)
    }
}

impl From<ObserveError> for CliError {
    fn from(error: ObserveError) -> Self {
        let mut failure = Self::from_error(&error);
        if let ObserveError::Images { failures, rest: _ } = &error {
            let alone = failures.len() == 1;
            failure.causes.extend(schemas::listing::lines(
                failures,
                schemas::listing::LISTED_MAX,
                |(reference, error)| {
                    let Self { message, causes, .. } = Self::from_error(error);
                    let whole = [vec![message], causes].concat().join(": ");
                    if alone { whole } else { format!("{reference}: {whole}") }
                },
            ));
            failure.hint = failures.iter().find_map(|(_, error)| error.hint());
        }
        failure
    }
}

impl From<ImagesError> for CliError {
    fn from(error: ImagesError) -> Self {
        let failure = Self::from_error(&error);
        error.hint().into_iter().fold(failure, Self::hint)
    }
}

impl From<PlanError> for CliError {
    fn from(error: PlanError) -> Self {
        let failure = Self::from_error(&error);
        match error {
            PlanError::Unreadable { name, reason: _ } => failure
                .hint(format!("use the msb that wrote it; `msb down {name}` removes it, its disk included")),
            _ => failure,
        }
    }
}

impl From<ApplyError> for CliError {
    fn from(error: ApplyError) -> Self {
        let failure = Self::from_error(&error);
        if matches!(error, ApplyError::Stale { .. }) { failure.hint("plan again") } else { failure }
    }
}

impl From<ChooseError> for CliError {
    fn from(error: ChooseError) -> Self {
        Self::from_error(&error).hint(error.help().to_owned())
    }
}

impl From<AgentError> for CliError {
    fn from(error: AgentError) -> Self {
        Self::from_error(&error)
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
