//! The error of this crate. Its [`code`](Error::code) is the same text in the SDKs of all languages.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure with the parts that `msb` prints about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The code, which may be one of a later `msb`.
    pub code: String,
    /// The text without causes and hint.
    pub message: String,
    /// The texts of the causes, the nearest first.
    pub causes: Vec<String>,
    /// The next step, if one is known to help.
    pub hint: Option<String>,
    /// The sandbox, volume, image or snapshot that it is about.
    pub name: Option<String>,
    /// The exit code of `msb`, if a run of it failed.
    pub exit_code: Option<i32>,
    /// The suffix as written, of [`Error::SuffixTooBroad`].
    pub raw: Option<String>,
    /// The number of the oldest missing segment of the log, of [`Error::MissedRotation`].
    pub dropped_from_offset: Option<u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for cause in &self.causes {
            write!(formatter, ": {cause}")?;
        }
        match &self.hint {
            Some(hint) => write!(formatter, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// The reason why a command was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecFailure {
    /// The kind: `not_found`, `permission_denied`, `not_executable`, `bad_cwd`, `bad_args`, `resource_limit`,
    /// `user_setup_failed`, `out_of_memory`, `pty_setup_failed` or `other`.
    pub kind: &'static str,
    /// The error number of Linux, if there is one.
    pub errno: Option<i32>,
    /// Its name, such as `ENOENT`.
    pub errno_name: Option<String>,
    /// The failed step, such as `execve` or `chdir`.
    pub stage: Option<String>,
    /// The reason as a sentence.
    pub message: String,
}

/// The reason why the guest refused a file operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFailure {
    /// The kind: `not_found`, `permission_denied`, `already_exists`, `not_directory`, `is_directory`,
    /// `directory_not_empty`, `no_space`, `read_only`, `wrong_kind`, `bad_request`, `no_such_user`, `busy` or `other`.
    pub kind: &'static str,
    /// The path in the guest.
    pub path: String,
    /// The error number of Linux, if there is one.
    pub errno: Option<i32>,
    /// Its name, such as `ENOSPC`.
    pub errno_name: Option<String>,
    /// The reason as a sentence.
    pub message: String,
}

/// A command that was ended at its timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecTimeout {
    /// The timeout.
    pub timeout: Duration,
    /// The standard output until then.
    pub stdout: Vec<u8>,
    /// The standard error until then.
    pub stderr: Vec<u8>,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)*) => {
        /// Any failure of this crate.
        #[derive(Clone, Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum Error {
            $($(#[$doc])* #[error("{0}")] $variant(Box<Report>),)*
            /// `exec-failed`: a command was not started.
            #[error("{}", .0.message)]
            ExecFailed(Box<ExecFailure>),
            /// `exec-timeout`: a command was ended at its timeout.
            #[error("the command was ended at its timeout of {:?}", .0.timeout)]
            ExecTimeout(Box<ExecTimeout>),
            /// `path-not-found`: there is no such file in the guest.
            #[error("{}", .0.message)]
            PathNotFound(Box<FileFailure>),
            /// `file-failed`: the guest refused a file operation.
            #[error("{}", .0.message)]
            FileFailed(Box<FileFailure>),
            /// `failed`: a file or process of the host failed.
            #[error("cannot {action} {}", path.display())]
            Host {
                /// The failed action, such as `open`.
                action: &'static str,
                /// The path on the host.
                path: PathBuf,
                /// The cause.
                source: std::sync::Arc<std::io::Error>,
            },
        }

        impl Error {
            /// Returns the kind of the error, the same in all languages: `sandbox-not-found`, `exec-failed`, ….
            pub fn code(&self) -> &str {
                match self {
                    $(Self::$variant(report) => if report.code.is_empty() { $code } else { &report.code },)*
                    Self::ExecFailed(_) => "exec-failed",
                    Self::ExecTimeout(_) => "exec-timeout",
                    Self::PathNotFound(_) => "path-not-found",
                    Self::FileFailed(_) => "file-failed",
                    Self::Host { .. } => "failed",
                }
            }

            /// Returns the parts of the error, unless it has a type of its own.
            pub fn report(&self) -> Option<&Report> {
                match self {
                    $(Self::$variant(report) => Some(report),)*
                    _ => None,
                }
            }

            fn report_mut(&mut self) -> Option<&mut Report> {
                match self {
                    $(Self::$variant(report) => Some(report),)*
                    _ => None,
                }
            }

            /// Creates the error of a report by its code; one with an unknown code is [`Error::Failed`].
            pub(crate) fn from_report(report: Report) -> Self {
                match report.code.as_str() {
                    $($code => Self::$variant(Box::new(report)),)*
                    _ => Self::Failed(Box::new(report)),
                }
            }
        }
    };
}

errors! {
    /// `failed`, or a code of a later `msb`: anything else.
    Failed = "failed";
    /// `invalid-sandboxfile`: the Sandboxfile is invalid.
    InvalidSandboxfile = "invalid-sandboxfile";
    /// `mismatch`: the lock file does not match, or the Sandboxfile is not trusted.
    Mismatch = "mismatch";
    /// `timed-out`: a wait has reached its deadline.
    TimedOut = "timed-out";
    /// `locked`: another `msb` holds the lock of the project.
    Locked = "locked";
    /// `sandbox-not-found`: there is no sandbox of this name.
    SandboxNotFound = "sandbox-not-found";
    /// `volume-not-found`: there is no volume of this name.
    VolumeNotFound = "volume-not-found";
    /// `image-not-found`: there is no such image.
    ImageNotFound = "image-not-found";
    /// `snapshot-not-found`: there is no snapshot of this name.
    SnapshotNotFound = "snapshot-not-found";
    /// `job-not-found`: the sandbox has no such job.
    JobNotFound = "job-not-found";
    /// `sandbox-exists`: the name of the new sandbox is taken.
    SandboxExists = "sandbox-exists";
    /// `volume-exists`: the name of the new volume is taken.
    VolumeExists = "volume-exists";
    /// `snapshot-exists`: the name of the new snapshot is taken.
    SnapshotExists = "snapshot-exists";
    /// `sandbox-running`: the sandbox runs, and the operation needs it stopped.
    SandboxRunning = "sandbox-running";
    /// `in-use`: a sandbox uses the volume, image or snapshot.
    InUse = "in-use";
    /// `sandbox-not-running`: the sandbox does not run.
    SandboxNotRunning = "sandbox-not-running";
    /// `sandbox-paused`: the sandbox is paused.
    SandboxPaused = "sandbox-paused";
    /// `unsupported`: this `msb`, this driver or the guest's agent cannot do it.
    UnsupportedOperation = "unsupported";
    /// `unresponsive`: the guest did not answer in time.
    Unresponsive = "unresponsive";
    /// `usage`: `msb` refused the options of a call.
    Usage = "usage";
    /// `suffix-too-broad`: a network rule names a public suffix, such as `*.com`; `raw` is the suffix.
    SuffixTooBroad = "suffix-too-broad";
    /// `interrupted`: `msb` was interrupted.
    Interrupted = "interrupted";
    /// `terminated`: `msb` was terminated.
    Terminated = "terminated";
    /// `invalid-argument`: an argument of a call is invalid.
    InvalidArgument = "invalid-argument";
    /// `msb-not-found`: the program `msb` is neither given nor in `MSB` nor on `PATH`.
    MsbNotFound = "msb-not-found";
    /// `missed-rotation`: the log was rotated past the cursor, so that entries are missing.
    MissedRotation = "missed-rotation";
    /// `invalid-cursor`: a text is not a cursor, or not one of this log.
    InvalidCursor = "invalid-cursor";
    /// `connection-lost`: the connection ended in the middle of an operation, or the sandbox did.
    ConnectionLost = "connection-lost";
    /// `closed`: this client has been closed.
    Closed = "closed";
    /// `handshake-failed`: the relay refused the connection, or did not answer as a relay does.
    HandshakeFailed = "handshake-failed";
    /// `protocol-error`: the relay or the guest sent a malformed message.
    ProtocolError = "protocol-error";
    /// `invalid-frame`: a frame is too short or too large, which ends its connection.
    InvalidFrame = "invalid-frame";
    /// `ids-exhausted`: all session ids of this connection have been used.
    IdsExhausted = "ids-exhausted";
    /// `stdin-closed`: the command has closed its standard input, or has ended.
    StdinClosed = "stdin-closed";
    /// `too-large`: output or a file exceeds the limit of the call.
    TooLarge = "too-large";
}

impl Error {
    /// Creates an error of a code.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self::from_report(Report { code: code.to_owned(), message: message.into(), ..Report::default() })
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid-argument", message)
    }

    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new("timed-out", message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new("failed", message)
    }

    pub(crate) fn host(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Host { action, path: path.into(), source: source.into() }
    }

    /// Adds the name of what the error is about.
    pub(crate) fn about(mut self, name: &str) -> Self {
        if let Some(report) = self.report_mut() {
            report.name.get_or_insert_with(|| name.to_owned());
        }
        self
    }

    /// Adds a hint.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        if let Some(report) = self.report_mut() {
            report.hint.get_or_insert_with(|| hint.to_owned());
        }
        self
    }

    /// Returns the text without causes and hint.
    pub fn message(&self) -> String {
        self.report().map_or_else(|| self.to_string(), |report| report.message.clone())
    }

    /// Returns the next step, if one is known to help.
    pub fn hint(&self) -> Option<&str> {
        self.report()?.hint.as_deref()
    }

    /// Returns the name of the sandbox, volume, image or snapshot that the error is about.
    pub fn name(&self) -> Option<&str> {
        self.report()?.name.as_deref()
    }

    /// Returns the exit code of `msb`, if a run of it failed.
    pub fn exit_code(&self) -> Option<i32> {
        self.report()?.exit_code
    }

    /// Returns the kind of [`Error::ExecFailed`], [`Error::FileFailed`] or [`Error::PathNotFound`].
    pub fn kind(&self) -> Option<&'static str> {
        match self {
            Self::ExecFailed(failure) => Some(failure.kind),
            Self::FileFailed(failure) | Self::PathNotFound(failure) => Some(failure.kind),
            _ => None,
        }
    }

    /// Returns the error number of Linux in the guest, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::ExecFailed(failure) => failure.errno,
            Self::FileFailed(failure) | Self::PathNotFound(failure) => failure.errno,
            _ => None,
        }
    }

    /// Returns the name of the error number, such as `ENOENT`.
    pub fn errno_name(&self) -> Option<&str> {
        match self {
            Self::ExecFailed(failure) => failure.errno_name.as_deref(),
            Self::FileFailed(failure) | Self::PathNotFound(failure) => failure.errno_name.as_deref(),
            _ => None,
        }
    }
}
