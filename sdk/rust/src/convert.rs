//! Errors of `executor-client` as errors of this crate.

use crate::error::{Error, ExecFailure, FileFailure};
use executor_client::agent::AgentError;
use executor_client::copy::CopyError;
use protocol::latest::{
    ErrorKind, ErrorReport, ExecFailed, FailureKind, FileFailure as WireFileFailure, FileFailureKind,
    MessageError,
};
use std::io;
use std::path::Path;

/// The longest text of a guest or a relay in an error, in characters.
const TEXT_CHARS_MAX: usize = 2000;

/// Shortens a text of a guest, and replaces its control characters.
pub(crate) fn text(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' => '\n',
        character if character.is_control() => char::REPLACEMENT_CHARACTER,
        character => character,
    };
    text.chars().take(TEXT_CHARS_MAX).map(shown).collect()
}

/// Converts a failure to connect.
pub(crate) fn connecting(error: AgentError, path: &Path) -> Error {
    let path = path.display();
    match error {
        AgentError::SandboxNotFound { .. } => Error::new(
            "sandbox-not-running",
            format!("the sandbox does not run: there is no relay at {path}"),
        ),
        AgentError::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
            Error::timed_out(format!("the relay {path} did not answer in time"))
        }
        AgentError::Connect { source, .. } => {
            Error::new("handshake-failed", format!("cannot connect to the relay {path}: {source}"))
        }
        AgentError::Handshake { why } => {
            Error::new("handshake-failed", format!("the handshake of the relay failed: {why}"))
        }
        AgentError::InvalidMessage { source } => {
            Error::new("handshake-failed", format!("the relay began with a malformed message: {source}"))
        }
        other => agent(&other),
    }
}

/// Converts a failure on a connection.
pub(crate) fn agent(error: &AgentError) -> Error {
    let code = match error {
        AgentError::SandboxNotFound { .. } => "sandbox-not-running",
        AgentError::Connect { .. } | AgentError::Handshake { .. } => "handshake-failed",
        AgentError::ReaderClosed => "connection-lost",
        AgentError::Closed => "closed",
        AgentError::InvalidPacket { .. } => "invalid-frame",
        AgentError::InvalidMessage { .. } | AgentError::Unexpected { .. } => "protocol-error",
        AgentError::IdRangeExhausted => "ids-exhausted",
        AgentError::UnsupportedOperation { .. } => "unsupported",
        AgentError::Unresponsive(_) => "unresponsive",
        AgentError::Refused { .. } | AgentError::Contents { .. } => "failed",
    };
    let message = match error {
        AgentError::InvalidPacket { source } => format!("{error}: {source}"),
        AgentError::InvalidMessage { source } => format!("{error}: {source}"),
        AgentError::Closed => "this client has been closed".to_owned(),
        _ => error.to_string(),
    };
    Error::new(code, text(&message))
}

/// Converts a failure of a file operation on a connection that only it uses.
pub(crate) fn file(error: AgentError, path: &[u8]) -> Error {
    match error {
        AgentError::Refused { failure } => refused(failure, path),
        // The connection is not closed by this client while it is used.
        AgentError::Closed => agent(&AgentError::ReaderClosed),
        other => agent(&other),
    }
}

fn refused(failure: WireFileFailure, path: &[u8]) -> Error {
    let kind = match failure.kind {
        FileFailureKind::NotFound => "not_found",
        FileFailureKind::PermissionDenied => "permission_denied",
        FileFailureKind::AlreadyExists => "already_exists",
        FileFailureKind::NotDirectory => "not_directory",
        FileFailureKind::IsDirectory => "is_directory",
        FileFailureKind::DirectoryNotEmpty => "directory_not_empty",
        FileFailureKind::NoSpace => "no_space",
        FileFailureKind::ReadOnly => "read_only",
        FileFailureKind::WrongKind => "wrong_kind",
        FileFailureKind::BadRequest => "bad_request",
        FileFailureKind::NoSuchUser => "no_such_user",
        FileFailureKind::Busy => "busy",
        FileFailureKind::Other => "other",
    };
    file_failure(kind, path, failure.errno, failure.errno_name, text(&failure.message))
}

/// Creates the error of a file operation.
pub(crate) fn file_failure(
    kind: &'static str,
    path: &[u8],
    errno: Option<i32>,
    errno_name: Option<String>,
    message: String,
) -> Error {
    let path = String::from_utf8_lossy(path).into_owned();
    let errno_name = errno_name.map(|name| text(&name));
    let failure = Box::new(FileFailure { kind, path, errno, errno_name, message });
    if kind == "not_found" { Error::PathNotFound(failure) } else { Error::FileFailed(failure) }
}

/// Converts a failure of a copy between the host and the guest.
pub(crate) fn copy(error: CopyError) -> Error {
    match error {
        CopyError::Guest { path, source } => file(source, path.as_bytes()),
        CopyError::Host { action, path, source } => Error::host(action, path, source),
        other => Error::failed(text(&other.to_string())),
    }
}

/// Converts the report that a command was not started.
pub(crate) fn exec_failed(failed: ExecFailed) -> Error {
    let kind = match failed.kind {
        FailureKind::NotFound => "not_found",
        FailureKind::PermissionDenied => "permission_denied",
        FailureKind::NotExecutable => "not_executable",
        FailureKind::BadCwd => "bad_cwd",
        FailureKind::BadArgs => "bad_args",
        FailureKind::ResourceLimit => "resource_limit",
        FailureKind::UserSetupFailed => "user_setup_failed",
        FailureKind::OutOfMemory => "out_of_memory",
        FailureKind::PtySetupFailed => "pty_setup_failed",
        FailureKind::Other => "other",
    };
    Error::ExecFailed(Box::new(ExecFailure {
        kind,
        errno: failed.errno,
        errno_name: failed.errno_name.map(|name| text(&name)),
        stage: failed.stage.map(|stage| text(&stage)),
        message: text(&failed.message),
    }))
}

/// Converts the guest's refusal of a message.
pub(crate) fn refusal(report: &ErrorReport) -> Error {
    let code = match report.kind {
        ErrorKind::UnsupportedType => "unsupported",
        ErrorKind::Unavailable => "unresponsive",
        _ => "failed",
    };
    Error::new(code, format!("the guest refused: {}", text(&report.message)))
}

/// Converts a message that cannot be decoded or encoded.
pub(crate) fn message(error: MessageError) -> Error {
    match error {
        MessageError::Frame { source } => Error::new("invalid-frame", source.to_string()),
        other => Error::new(
            "protocol-error",
            format!("the guest sent an invalid message: {}", text(&other.to_string())),
        ),
    }
}
