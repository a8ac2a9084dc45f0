//! What happened to a sandbox behind our back, told apart from what the Sandboxfile changed.

use schemas::snapshot::{Exit, ObservedSandbox, Status};
use schemas::spec::Role;

/// What happened to a recorded sandbox that nobody asked msb for: `was stopped, though it was to run`.
pub fn drift(
    ObservedSandbox { id: _, generation: _, spec, status, hook_due: _, made, wanted }: &ObservedSandbox,
) -> Option<String> {
    let text = match status {
        Status::Incomplete if *made => "its disk is gone".to_owned(),
        Status::Stopped if *wanted => "was stopped, though it was to run".to_owned(),
        Status::Lost => "its supervisor is gone, though it was to run".to_owned(),
        Status::Exited { exit } if spec.definition.role == Role::Service => match exit {
            Exit::Code { code } => format!("exited with code {code}, though it was to run on"),
            Exit::NotStarted { message, .. } => format!("did not start, though it was to run: {message}"),
            Exit::Failure { message } => format!("failed, though it was to run on: {message}"),
        },
        Status::Incomplete | Status::Stopped | Status::Exited { exit: _ } | Status::Running { health: _ } => {
            return None;
        }
    };
    Some(text)
}
