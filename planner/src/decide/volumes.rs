//! Decides the action on each volume. Volumes are created before the sandboxes that mount them, and removed after.
//!
//! ```text
//! recorded      desired, mounted by one that is brought up   on the way down
//! ───────────── ──────────────────────────────────────────── ───────────────────────────────
//! no            create
//! cut off       create again                                 with `remove_volumes`: remove, once
//! smaller       grow, while no sandbox runs with it           no sandbox is left that mounts it
//! same          nothing
//! larger        blocked: see `block`
//! ```

use crate::Policy;
use crate::decide::select::Selection;
use rules::unit::format_size_mib;
use schemas::model::Model;
use schemas::name::{SandboxName, VolumeName};
use schemas::report::{Action, ChangeKind, FieldChange, VolumeChange, VolumeReason};
use schemas::snapshot::{ObservedVolume, Snapshot, Status};
use schemas::spec::{Definition, MountSource, VolumeSpec};
use std::collections::{BTreeMap, BTreeSet};

/// The decision on one volume.
pub struct VolumeDecision {
    /// Its name.
    pub name: VolumeName,
    /// What to do about it.
    pub task: Task,
    action: Action,
    reason: VolumeReason,
}

/// What to do about a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing.
    Nothing,
    /// Create it, or let it grow.
    Make {
        /// Its desired state.
        spec: VolumeSpec,
        /// Its present size in MiB; `None` when it is new.
        old_mib: Option<u32>,
    },
    /// Remove it.
    Remove,
}

impl VolumeDecision {
    /// Returns the change that the report shows.
    pub fn into_change(self) -> VolumeChange {
        let Self { name, task: _, action, reason } = self;
        VolumeChange { name, action, reason }
    }

    /// Leaves the volume as it is.
    fn left(name: &VolumeName, reason: VolumeReason) -> Self {
        Self { name: name.clone(), task: Task::Nothing, action: Action::Unchanged, reason }
    }

    fn made(name: &VolumeName, spec: &VolumeSpec, old_mib: Option<u32>, reason: VolumeReason) -> Self {
        let action = if old_mib.is_some() { Action::Live } else { Action::Create };
        let task = Task::Make { spec: spec.clone(), old_mib };
        Self { name: name.clone(), task, action, reason }
    }
}

/// Returns the volumes that a sandbox mounts.
pub fn mounted(definition: &Definition) -> BTreeSet<&VolumeName> {
    let sources = definition.mounts.values().map(|mount| &mount.source);
    sources
        .filter_map(|source| match source {
            MountSource::Volume { name } => Some(name),
            MountSource::Host { path: _ } => None,
        })
        .collect()
}

/// Decides on the volumes for `up`, sorted by name. `active` are the sandboxes that are brought up.
pub fn up(
    model: &Model,
    observed: &Snapshot,
    policy: &Policy,
    selection: &Selection,
    active: &BTreeSet<SandboxName>,
) -> Vec<VolumeDecision> {
    let mounting = model.sandboxes().iter().filter(|sandbox| active.contains(sandbox.name()));
    let used: BTreeSet<_> = mounting.flat_map(|sandbox| mounted(sandbox.definition())).collect();
    let names: BTreeSet<_> = model.volumes().keys().chain(observed.volumes.keys()).collect();
    let running = users(observed, runs);
    let decide = |name: &VolumeName| match (model.volumes().get(name), observed.volumes.get(name)) {
        (Some(spec), Some(recorded)) if recorded.created && spec.size_mib < recorded.spec.size_mib => {
            VolumeDecision::left(name, VolumeReason::CannotShrink { size_mib: recorded.spec.size_mib })
        }
        (Some(spec), recorded) if used.contains(name) => {
            // When nothing is started, running sandboxes stay as they are, unless they are removed.
            let mut users = running.get(name).into_iter().flatten().filter(|_| !policy.start);
            let busy = users.find(|user| !selection.removes(user));
            make(name, spec, recorded, busy.copied())
        }
        (Some(_), _) => VolumeDecision::left(name, VolumeReason::NotMounted),
        (None, _) => VolumeDecision::left(name, VolumeReason::Orphaned),
    };
    names.into_iter().map(decide).collect()
}

fn make(
    name: &VolumeName,
    spec: &VolumeSpec,
    recorded: Option<&ObservedVolume>,
    busy: Option<&SandboxName>,
) -> VolumeDecision {
    let VolumeSpec { size_mib } = *spec;
    let Some(ObservedVolume { spec: VolumeSpec { size_mib: old_mib }, created }) = recorded else {
        return VolumeDecision::made(name, spec, None, VolumeReason::NotCreated { size_mib });
    };
    let (from_mib, to_mib) = (*old_mib, size_mib);
    match busy {
        _ if !created => {
            VolumeDecision::made(name, spec, None, VolumeReason::CreationInterrupted { size_mib })
        }
        _ if from_mib >= to_mib => VolumeDecision::left(name, VolumeReason::AsDeclared),
        None => VolumeDecision::made(name, spec, Some(from_mib), VolumeReason::Grows { from_mib, to_mib }),
        Some(user) => {
            let user = user.clone();
            VolumeDecision::left(name, VolumeReason::GrowthDeferred { from_mib, to_mib, user })
        }
    }
}

/// Decides on the volumes for `down`, sorted by name. `removed` are the sandboxes that are removed.
pub fn down(observed: &Snapshot, policy: &Policy, removed: &BTreeSet<SandboxName>) -> Vec<VolumeDecision> {
    let users = users(observed, |_| true);
    // The mounts of a sandbox with an unreadable record are unknown.
    let unknown = observed.unreadable.keys().find(|name| !removed.contains(*name));
    let decide = |name: &VolumeName| {
        let users = users.get(name).map(Vec::as_slice).unwrap_or_default();
        let left = users.iter().copied().find(|user| !removed.contains(*user));
        match (left, unknown) {
            _ if !policy.remove_volumes => VolumeDecision::left(name, VolumeReason::Kept),
            (Some(user), _) => VolumeDecision::left(name, VolumeReason::KeptMounted { user: user.clone() }),
            (None, Some(user)) => {
                VolumeDecision::left(name, VolumeReason::KeptPossiblyMounted { user: user.clone() })
            }
            // With targets, only their own volumes are removed.
            (None, None) if !policy.targets.is_empty() && users.is_empty() => {
                VolumeDecision::left(name, VolumeReason::KeptOtherTargets)
            }
            (None, None) => VolumeDecision {
                name: name.clone(),
                task: Task::Remove,
                action: Action::Remove,
                reason: VolumeReason::TakenDown,
            },
        }
    };
    observed.volumes.keys().map(decide).collect()
}

/// Returns the volumes that are created or grow, as changes that restart a running sandbox with such a mount:
/// a guest reads the size of a disk when it boots.
pub fn restarts(decisions: &[VolumeDecision]) -> BTreeMap<&VolumeName, FieldChange> {
    let change = |decision: &'_ VolumeDecision| match &decision.task {
        Task::Make { spec, old_mib } => Some(FieldChange {
            field: format!("volume.{}", decision.name),
            old: old_mib.map(|mib| format_size_mib(mib.into())),
            new: Some(format_size_mib(spec.size_mib.into())),
            kind: ChangeKind::Restart,
        }),
        Task::Nothing | Task::Remove => None,
    };
    decisions.iter().filter_map(|decision| Some((&decision.name, change(decision)?))).collect()
}

/// Returns the recorded sandboxes that mount each volume and whose status fits.
pub fn users(
    observed: &Snapshot,
    fits: impl Fn(&Status) -> bool,
) -> BTreeMap<&VolumeName, Vec<&SandboxName>> {
    let mut users: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, sandbox) in observed.sandboxes.iter().filter(|(_, sandbox)| fits(&sandbox.status)) {
        for volume in mounted(&sandbox.spec.definition) {
            users.entry(volume).or_default().push(name);
        }
    }
    users
}

/// Returns whether a sandbox runs, and so uses its volumes and ports.
pub fn runs(status: &Status) -> bool {
    matches!(status, Status::Running { health: _ })
}
