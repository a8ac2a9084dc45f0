//! Failures of guests that do not answer.

use crate::error::{CliError, ErrorCode};
use executor_client::agent::AgentError;
use executor_client::control::current_state;
use executor_client::deadline::{START_TIMEOUT, within};
use executor_host::home::RunFolder;
use executor_host::state::DiskFull;
use std::error::Error;
use std::time::Duration;

/// Timeout of the query for the supervisor's state.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns whether an error or one of its sources is that a guest does not answer.
pub fn is_silence(error: &(dyn Error + 'static)) -> bool {
    let is_it = |error: &AgentError| match error {
        AgentError::Unresponsive(_) => true,
        AgentError::Connect { source, .. } => source.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(is_it) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns the failure of an operation on a sandbox, with the reason if its guest does not answer.
pub async fn failure(error: &(dyn Error + 'static), folder: &RunFolder, name: &str) -> CliError {
    if is_silence(error) { explain(folder, name).await } else { CliError::from_error(error) }
}

/// Returns the failure of a sandbox that does not answer, with the reason if its supervisor knows it.
pub async fn explain(folder: &RunFolder, name: &str) -> CliError {
    let state = within(SUPERVISOR_TIMEOUT, current_state(&folder.control_socket())).await.ok().flatten();
    if state.as_ref().is_some_and(|state| state.paused) {
        return CliError::new(format!("{name} does not answer: it is paused"))
            .code(ErrorCode::SandboxPaused)
            .about(name)
            .hint(format!("`msb resume {name}` resumes it"));
    }
    match state.and_then(|state| state.host_disk_full) {
        Some(DiskFull::GuestWaits) => {
            CliError::new(format!("{name} does not answer: the host's disk is full, and it waits for space"))
                .code(ErrorCode::Unresponsive)
                .about(name)
                .hint("free space on the host, for example with `msb image prune`; it then continues")
        }
        Some(DiskFull::WritesFail) | None => {
            let seconds = START_TIMEOUT.as_secs();
            let failure = CliError::new(format!("{name} did not answer within {seconds} s"));
            failure.code(ErrorCode::Unresponsive).about(name).hint(format!(
                "`msb logs {name} --source kernel` may say why; `msb restart {name}` restarts it"
            ))
        }
    }
}
