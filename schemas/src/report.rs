//! The report that comes with a plan: what changes for a person, field by field, and what is blocked.

use crate::name::{SandboxName, VolumeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a plan means, sandbox by sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Every sandbox that is recorded or selected, sorted by name, unchanged ones included.
    pub changes: Vec<SandboxChange>,
    /// Every volume that is desired or recorded, sorted by name, unchanged ones included.
    pub volumes: Vec<VolumeChange>,
    /// What cannot be planned, and why.
    pub blocked: Vec<Blocked>,
}

impl Report {
    /// How many sandboxes take this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }

    /// How many sandboxes stay as they are, without those that are blocked.
    pub fn unchanged(&self) -> usize {
        let blocked: BTreeSet<_> = self.blocked.iter().map(|blocked| &blocked.name).collect();
        let unchanged = self.changes.iter().filter(|change| change.action == Action::Unchanged);
        unchanged.filter(|change| !blocked.contains(&change.name)).count()
    }

    /// Whether anything is to change.
    pub fn has_changes(&self) -> bool {
        let Self { changes, volumes, blocked: _ } = self;
        let sandboxes = changes.iter().map(|change| change.action);
        sandboxes.chain(volumes.iter().map(|change| change.action)).any(|action| action != Action::Unchanged)
    }

    /// What carrying the plan out destroys for good, in the order of the changes.
    pub fn losses(&self) -> Vec<Loss> {
        let Self { changes, volumes, blocked: _ } = self;
        let disks = changes.iter().filter(|change| change.action.loses_the_disk()).map(
            |SandboxChange { name, action: _, reason, drift: _, fields: _ }| Loss {
                kind: LossKind::Disk,
                name: name.to_string(),
                reason: reason.clone(),
            },
        );
        let volumes = volumes.iter().filter(|change| change.action.loses_the_disk()).map(
            |VolumeChange { name, action: _, reason, hint: _ }| Loss {
                kind: LossKind::Volume,
                name: name.to_string(),
                reason: reason.clone(),
            },
        );
        disks.chain(volumes).collect()
    }
}

/// Something that holds data and will not be there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// What it is.
    pub kind: LossKind,
    /// Whose it is, or its name.
    pub name: String,
    /// Why it goes.
    pub reason: String,
}

/// What holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// A sandbox's writable disk: everything that was written in the guest.
    Disk,
    /// A volume.
    Volume,
}

/// What happens to one sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxChange {
    /// Its name in the project.
    pub name: SandboxName,
    /// The strongest thing that happens to it.
    pub action: Action,
    /// Why, in one clause: `not there yet`, `image changed`, `its supervisor is gone`, …
    pub reason: String,
    /// What happened to it behind our back, if anything: `stopped, though it was to run`.
    pub drift: Option<String>,
    /// The fields that differ, sorted by name; empty for creations and removals.
    pub fields: Vec<FieldChange>,
}

/// What happens to one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeChange {
    /// Its name in the project.
    pub name: VolumeName,
    /// `Unchanged`, `Create`, `Live` (grows) or `Remove`.
    pub action: Action,
    /// Why, in one clause.
    pub reason: String,
    /// What a person can do where it is not as they may want it: the command that does it.
    pub hint: Option<String>,
}

/// What happens to a sandbox, from nothing to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// Removed and made anew, its disk lost.
    Replace,
    /// Made and started.
    Create,
    /// Stopped and removed.
    Remove,
}

impl Action {
    /// Whether what was written in the guest is gone afterwards.
    pub fn loses_the_disk(self) -> bool {
        match self {
            Self::Replace | Self::Remove => true,
            Self::Unchanged | Self::Live | Self::Start | Self::Stop | Self::Restart | Self::Create => false,
        }
    }
}

/// What a change of a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Nothing happens to the sandbox: only the record changes.
    None,
    /// Applied while it runs.
    Live,
    /// Takes a restart; the disk is kept.
    Restart,
    /// Takes a new sandbox; the disk is lost.
    Replace,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its path as a Sandboxfile has it: `memory`, `env.PORT`, `script.greet`.
    pub field: String,
    /// The old value as text; `None` when it was not set.
    pub old: Option<String>,
    /// The new value as text; `None` when it is set no longer.
    pub new: Option<String>,
    /// What it takes.
    pub kind: ChangeKind,
}

/// A sandbox that is left as it is, because what it asks for cannot be done, or because it depends on one
/// of which that is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Which sandbox.
    pub name: SandboxName,
    /// Why, in one clause: `images from a registry cannot be pulled yet`, `db is blocked`.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_replaced_or_removed_is_lost() {
        use Action::{Create, Live, Remove, Replace, Restart, Start, Stop, Unchanged};
        let change = |(index, action): (usize, Action)| SandboxChange {
            name: SandboxName::new(format!("s{index}")).unwrap(),
            action,
            reason: format!("{action:?}"),
            drift: None,
            fields: Vec::new(),
        };
        let actions = [Create, Replace, Live, Restart, Remove, Start, Stop, Unchanged];
        let changes = actions.into_iter().enumerate().map(change).collect();
        let losses = Report { changes, ..Report::default() }.losses();
        let loss = |name: &str, reason: &str| Loss {
            kind: LossKind::Disk,
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        assert_eq!(losses, [loss("s1", "Replace"), loss("s4", "Remove")]);
    }
}
