//! The state of a recorded sandbox compared with the one that msb left it in.

use schemas::report::Drift;
use schemas::snapshot::{ObservedSandbox, Status};
use schemas::spec::Role;

/// Returns how a recorded sandbox drifted; `None` when its state is the one that msb left it in.
pub fn drift(
    ObservedSandbox { id: _, generation: _, spec, status, post_start_pending: _, created, should_run }: &ObservedSandbox,
) -> Option<Drift> {
    match status {
        Status::Incomplete if *created => Some(Drift::DiskMissing),
        Status::Stopped if *should_run => Some(Drift::Stopped),
        Status::Lost => Some(Drift::SupervisorGone),
        Status::HostRebooted => Some(Drift::HostRebooted),
        Status::Paused => Some(Drift::Paused),
        Status::Exited { exit } if spec.definition.role == Role::Service => {
            Some(Drift::Exited { exit: exit.clone() })
        }
        Status::Incomplete | Status::Stopped | Status::Exited { exit: _ } | Status::Running { health: _ } => {
            None
        }
    }
}
