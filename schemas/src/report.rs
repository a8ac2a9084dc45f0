//! The report that comes with a plan: the change of each sandbox field by field, and the blocked ones.
//!
//! Reasons are data: `code` and the fields beside it are stable within [`PLAN_VERSION`](crate::plan::PLAN_VERSION).
//! The `text` that msb's JSON adds beside them is for people and may change at any time.

mod reason;

pub use reason::{BlockReason, DownState, Drift, Effect, OrphanCause, Reason, VolumeReason};

use crate::name::{SandboxName, VolumeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The effect of a plan, sandbox by sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct Report {
    /// Every sandbox that is recorded or selected, sorted by name, unchanged ones included.
    pub changes: Vec<SandboxChange>,
    /// Every volume that is desired or recorded, sorted by name, unchanged ones included.
    pub volumes: Vec<VolumeChange>,
    /// The selected sandboxes that cannot be planned.
    pub blocked: Vec<Blocked>,
}

impl Report {
    /// Counts the sandboxes that take this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }

    /// Counts the sandboxes that stay as they are, without the blocked ones.
    pub fn unchanged(&self) -> usize {
        let blocked: BTreeSet<_> = self.blocked.iter().map(|blocked| &blocked.name).collect();
        let unchanged = self.changes.iter().filter(|change| change.action == Action::Unchanged);
        unchanged.filter(|change| !blocked.contains(&change.name)).count()
    }

    /// Returns whether any sandbox or volume changes.
    pub fn has_changes(&self) -> bool {
        let Self { changes, volumes, blocked: _ } = self;
        let sandboxes = changes.iter().map(|change| change.action);
        sandboxes.chain(volumes.iter().map(|change| change.action)).any(|action| action != Action::Unchanged)
    }

    /// Returns the data that applying the plan destroys, in the order of the changes.
    pub fn losses(&self) -> Vec<Loss> {
        let Self { changes, volumes, blocked: _ } = self;
        let disks = changes.iter().filter(|change| change.action.loses_the_disk());
        let disks =
            disks.map(|change| Loss::Disk { name: change.name.clone(), reason: change.reason.clone() });
        let volumes = volumes.iter().filter(|change| change.action.loses_the_disk());
        let volumes =
            volumes.map(|change| Loss::Volume { name: change.name.clone(), reason: change.reason.clone() });
        disks.chain(volumes).collect()
    }
}

/// Data that applying a plan destroys.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Loss {
    /// A sandbox's writable disk: everything that was written in the guest.
    Disk {
        /// The sandbox.
        name: SandboxName,
        /// Why it is replaced or removed.
        reason: Reason,
    },
    /// A volume.
    Volume {
        /// The volume.
        name: VolumeName,
        /// Why it is removed.
        reason: VolumeReason,
    },
}

/// The change of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct SandboxChange {
    /// Its name in the project.
    pub name: SandboxName,
    /// The strongest action on it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// How its state differs from the one that msb left it in; `None` when it does not.
    pub drift: Option<Drift>,
    /// The fields that differ, sorted by name; empty for creations and removals.
    pub fields: Vec<FieldChange>,
}

/// The change of one volume.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct VolumeChange {
    /// Its name in the project.
    pub name: VolumeName,
    /// `Unchanged`, `Create`, `Live` (grows) or `Remove`.
    pub action: Action,
    /// Why.
    pub reason: VolumeReason,
}

/// What happens to a sandbox, from nothing to the most.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    Unchanged,
    /// Changed while it runs.
    Live,
    /// Started; it exists and does not run.
    Start,
    /// Stopped, its disk kept.
    Stop,
    /// Stopped and started again, its disk kept.
    Restart,
    /// Removed and created again, its disk lost.
    Replace,
    /// Created and started.
    Create,
    /// Stopped and removed.
    Remove,
}

impl Action {
    /// Returns whether the action destroys what was written in the guest.
    pub fn loses_the_disk(self) -> bool {
        match self {
            Self::Replace | Self::Remove => true,
            Self::Unchanged | Self::Live | Self::Start | Self::Stop | Self::Restart | Self::Create => false,
        }
    }
}

/// What the change of a field requires.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Nothing happens to the sandbox: only the record changes.
    None,
    /// Applied while it runs.
    Live,
    /// Requires a restart; the disk is kept.
    Restart,
    /// Requires a new sandbox; the disk is lost.
    Replace,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its path as a Sandboxfile has it: `memory`, `env.PORT`, `script.greet`.
    pub field: String,
    /// The old value as text; `None` when it was not set.
    pub old: Option<String>,
    /// The new value as text; `None` when it is no longer set.
    pub new: Option<String>,
    /// What the change requires.
    pub kind: ChangeKind,
}

/// A sandbox that is left as it is, because it cannot be brought up as declared or depends on a blocked sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct Blocked {
    /// The sandbox.
    pub name: SandboxName,
    /// Why.
    pub reason: BlockReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replaced_and_removed_sandboxes_are_losses() {
        use Action::{Create, Live, Remove, Replace, Restart, Start, Stop, Unchanged};
        let name = |index| SandboxName::new(format!("s{index}")).unwrap();
        let change = |(index, action): (usize, Action)| SandboxChange {
            name: name(index),
            action,
            reason: Reason::FieldsChanged {
                fields: vec![format!("{action:?}")],
                down: None,
                effect: Effect::Now,
            },
            drift: None,
            fields: Vec::new(),
        };
        let actions = [Create, Replace, Live, Restart, Remove, Start, Stop, Unchanged];
        let changes: Vec<_> = actions.into_iter().enumerate().map(change).collect();
        let loss = |index: usize| Loss::Disk { name: name(index), reason: changes[index].reason.clone() };
        let expected = [loss(1), loss(4)];
        assert_eq!(Report { changes, ..Report::default() }.losses(), expected);
    }
}
