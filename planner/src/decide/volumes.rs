//! Decides the action on each volume. Volumes are created before the sandboxes that mount them, and removed after.
//!
//! ```text
//! recorded          desired, mounted by one that is brought up   on the way down
//! ───────────────── ──────────────────────────────────────────── ───────────────────────────────
//! no                create
//! cut off           create again                                 with `remove_volumes`: remove, once
//! smaller disk      grow, while no sandbox runs with it           no sandbox is left that mounts it
//! directory with    change it, while no sandbox runs with it
//!   another limit
//!   or sharing
//! same              nothing
//! larger disk, or   blocked: see `block`
//!   another kind
//! ```

use crate::Policy;
use crate::decide::select::Selection;
use schemas::model::Model;
use schemas::name::{SandboxName, VolumeName};
use schemas::report::{Action, ChangeKind, FieldChange, VolumeChange, VolumeReason};
use schemas::snapshot::{ObservedVolume, Snapshot, Status};
use schemas::spec::{Definition, MountSource, VolumeKind, VolumeSpec};
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
    /// Create it, or change its size.
    Make {
        /// Its desired state.
        spec: VolumeSpec,
        /// Its present state; `None` when it is new.
        old: Option<VolumeSpec>,
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

    /// Removes the volume.
    pub fn removed(name: &VolumeName, reason: VolumeReason) -> Self {
        Self { name: name.clone(), task: Task::Remove, action: Action::Remove, reason }
    }

    /// Leaves the volume as it is.
    fn left(name: &VolumeName, reason: VolumeReason) -> Self {
        Self { name: name.clone(), task: Task::Nothing, action: Action::Unchanged, reason }
    }

    /// Creates the volume.
    pub fn created(name: &VolumeName, spec: &VolumeSpec, reason: VolumeReason) -> Self {
        let task = Task::Make { spec: spec.clone(), old: None };
        Self { name: name.clone(), task, action: Action::Create, reason }
    }

    fn resized(name: &VolumeName, spec: &VolumeSpec, old: &VolumeSpec, reason: VolumeReason) -> Self {
        let task = Task::Make { spec: spec.clone(), old: Some(old.clone()) };
        Self { name: name.clone(), task, action: Action::Live, reason }
    }
}

/// Why the data of a volume do not survive a change of its spec.
pub enum DataLoss {
    /// It would become one of the other kind.
    Kind,
    /// It is a disk that would shrink.
    Size {
        /// Its size in MiB.
        from_mib: u32,
        /// Its declared size in MiB.
        to_mib: u32,
    },
}

/// Returns why the data of a volume do not survive its declared spec; `None` if they do. A volume that was never created
/// has no data.
pub fn loss(recorded: &ObservedVolume, spec: &VolumeSpec) -> Option<DataLoss> {
    let ObservedVolume { spec: old, created } = recorded;
    if !created {
        return None;
    }
    if old.kind != spec.kind {
        return Some(DataLoss::Kind);
    }
    let (from_mib, to_mib) = (old.disk_mib()?, spec.disk_mib()?);
    (to_mib < from_mib).then_some(DataLoss::Size { from_mib, to_mib })
}

/// Returns the project's volumes that a sandbox mounts.
pub fn mounted(definition: &Definition) -> BTreeSet<&VolumeName> {
    let sources = definition.mounts.values().map(|mount| &mount.source);
    sources
        .filter_map(|source| match source {
            MountSource::Volume { name } => Some(name),
            MountSource::Host { .. } | MountSource::Disk { .. } | MountSource::External { .. } => None,
        })
        .collect()
}

/// What a sandbox needs of a volume while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// That no other writes to it.
    Reads,
    /// To be the only user of a disk, or the only writer of a directory.
    Writes,
}

impl Claim {
    /// Whether two sandboxes with these claims on a volume can run at the same time.
    pub fn agrees_with(self, other: Self) -> bool {
        self == Self::Reads && other == Self::Reads
    }
}

/// Returns the volumes that a sandbox claims: disks, and directories that are not shared and that it may write to. Those
/// without a spec count as disks.
pub fn claims<'a, 's>(
    definition: &'a Definition,
    spec: impl Fn(&VolumeName) -> Option<&'s VolumeSpec>,
) -> BTreeMap<&'a VolumeName, Claim> {
    let claim = |name: &VolumeName, readonly: bool| match spec(name) {
        None | Some(VolumeSpec { kind: VolumeKind::Disk, .. }) if readonly => Some(Claim::Reads),
        None | Some(VolumeSpec { kind: VolumeKind::Disk, .. }) => Some(Claim::Writes),
        Some(VolumeSpec { kind: VolumeKind::Directory, shared, size_mib: _ }) => {
            (!shared && !readonly).then_some(Claim::Writes)
        }
    };
    let mut claims = BTreeMap::new();
    for mount in definition.mounts.values() {
        if let MountSource::Volume { name } = &mount.source
            && let Some(claim) = claim(name, mount.readonly)
        {
            let most = claims.entry(name).or_insert(claim);
            *most = claim.max(*most);
        }
    }
    claims
}

/// Returns the recorded spec of a volume; `None` without a record.
pub fn recorded_spec<'a>(observed: &'a Snapshot, name: &VolumeName) -> Option<&'a VolumeSpec> {
    observed.volumes.get(name).map(|volume| &volume.spec)
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
    let decide = |name: &VolumeName| {
        let Some(spec) = model.volumes().get(name) else {
            return VolumeDecision::left(name, VolumeReason::Orphaned);
        };
        let recorded = observed.volumes.get(name);
        match recorded.and_then(|recorded| Some((loss(recorded, spec)?, recorded))) {
            Some((DataLoss::Size { from_mib, to_mib: _ }, _)) => {
                return VolumeDecision::left(name, VolumeReason::CannotShrink { size_mib: from_mib });
            }
            Some((DataLoss::Kind, recorded)) => {
                return VolumeDecision::left(name, VolumeReason::CannotConvert { kind: recorded.spec.kind });
            }
            None => {}
        }
        if !used.contains(name) {
            return VolumeDecision::left(name, VolumeReason::NotMounted);
        }
        // A running sandbox that is not started again stays as it is, unless it is removed.
        let restarts = |user: &SandboxName| policy.start && active.contains(user);
        let mut users = running.get(name).into_iter().flatten().copied();
        let busy = users.find(|user| !restarts(user) && !selection.removes(user));
        make(name, spec, recorded, busy)
    };
    names.into_iter().map(decide).collect()
}

fn make(
    name: &VolumeName,
    spec: &VolumeSpec,
    recorded: Option<&ObservedVolume>,
    busy: Option<&SandboxName>,
) -> VolumeDecision {
    let VolumeSpec { kind, size_mib, shared } = *spec;
    let Some(ObservedVolume { spec: old, created }) = recorded else {
        return VolumeDecision::created(name, spec, VolumeReason::NotCreated { kind, size_mib });
    };
    if !created {
        return VolumeDecision::created(name, spec, VolumeReason::CreationInterrupted { kind, size_mib });
    }
    if old == spec {
        return VolumeDecision::left(name, VolumeReason::AsDeclared);
    }
    let reason = match (old.disk_mib(), spec.disk_mib(), busy.cloned()) {
        (Some(from_mib), Some(to_mib), None) => VolumeReason::Grows { from_mib, to_mib },
        (Some(from_mib), Some(to_mib), Some(user)) => VolumeReason::GrowthDeferred { from_mib, to_mib, user },
        (_, _, None) if old.size_mib == size_mib => VolumeReason::SharingChanged { shared },
        (_, _, Some(user)) if old.size_mib == size_mib => VolumeReason::SharingDeferred { shared, user },
        (_, _, None) => VolumeReason::LimitChanged { from_mib: old.size_mib, to_mib: size_mib },
        (_, _, Some(user)) => VolumeReason::LimitDeferred { from_mib: old.size_mib, to_mib: size_mib, user },
    };
    match busy {
        None => VolumeDecision::resized(name, spec, old, reason),
        Some(_) => VolumeDecision::left(name, reason),
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
            (None, None) => VolumeDecision::removed(name, VolumeReason::TakenDown),
        }
    };
    observed.volumes.keys().map(decide).collect()
}

/// Returns the volumes that are created or change, as changes that restart a running sandbox with such a
/// mount: a guest reads the size of a disk when it boots, and the limit and the lock of a directory are set when it starts.
pub fn restarts(decisions: &[VolumeDecision]) -> BTreeMap<&VolumeName, FieldChange> {
    let change = |decision: &'_ VolumeDecision| match &decision.task {
        Task::Make { spec, old } => Some(FieldChange {
            field: format!("volume.{}", decision.name),
            old: old.as_ref().map(VolumeSpec::to_string),
            new: Some(spec.to_string()),
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

/// The sandboxes that claim each volume.
#[derive(Default)]
pub struct Claims<'a>(BTreeMap<&'a VolumeName, Vec<(&'a SandboxName, Claim)>>);

impl<'a> Claims<'a> {
    /// Returns the claims of the recorded sandboxes whose status fits.
    pub fn recorded(observed: &'a Snapshot, fits: impl Fn(&Status) -> bool) -> Self {
        let mut all = Self::default();
        for (name, sandbox) in observed.sandboxes.iter().filter(|(_, sandbox)| fits(&sandbox.status)) {
            all.add(name, claims(&sandbox.spec.definition, |name| recorded_spec(observed, name)));
        }
        all
    }

    /// Adds the claims of a sandbox.
    pub fn add(&mut self, sandbox: &'a SandboxName, claims: BTreeMap<&'a VolumeName, Claim>) {
        for (volume, claim) in claims {
            self.0.entry(volume).or_default().push((sandbox, claim));
        }
    }

    /// Returns the sandboxes that cannot run at the same time as one with these claims, each with a volume.
    pub fn against<'c>(
        &'c self,
        claims: BTreeMap<&'c VolumeName, Claim>,
    ) -> impl Iterator<Item = (&'a SandboxName, &'a VolumeName)> + use<'a, 'c> {
        claims.into_iter().flat_map(|(volume, claim)| {
            let known = self.0.get_key_value(volume);
            known.into_iter().flat_map(move |(volume, others)| {
                let others = others.iter().filter(move |(_, other)| !claim.agrees_with(*other));
                others.map(|(name, _)| (*name, *volume))
            })
        })
    }
}

/// Returns whether a sandbox runs, and so uses its volumes and ports.
pub fn runs(status: &Status) -> bool {
    status.is_up()
}
