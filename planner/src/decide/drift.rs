//! The state of a recorded sandbox compared with the one that msb left it in.

use schemas::report::Drift;
use schemas::snapshot::{ObservedSandbox, Status};
use schemas::spec::Role;

/// Returns how a recorded sandbox drifted; `None` when its state is the one that msb left it in.
pub fn drift(
    ObservedSandbox { id: _, generation: _, spec, status, hook_due: _, made, wanted }: &ObservedSandbox,
) -> Option<Drift> {
    match status {
        Status::Incomplete if *made => Some(Drift::DiskMissing),
        Status::Stopped if *wanted => Some(Drift::Stopped),
        Status::Lost => Some(Drift::SupervisorGone),
        Status::Exited { exit } if spec.definition.role == Role::Service => {
            Some(Drift::Exited { exit: exit.clone() })
        }
        Status::Incomplete | Status::Stopped | Status::Exited { exit: _ } | Status::Running { health: _ } => {
            None
        }
    }
}
