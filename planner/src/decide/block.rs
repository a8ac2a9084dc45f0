//! Finds the sandboxes that cannot be brought up as declared.

use crate::Policy;
use crate::decide::ports::Ports;
use crate::decide::select::Selection;
use crate::decide::volumes::{Claims, DataLoss, claims, loss, mounted, recorded_spec, runs};
use schemas::model::{Model, Sandbox};
use schemas::name::{SandboxName, VolumeName};
use schemas::report::{BlockReason, ChangeKind};
use schemas::snapshot::{ObservedSandbox, Snapshot, Status};
use schemas::spec::diff::{changes, strongest};
use schemas::spec::{MountSource, PinnedImage, Role, SandboxSpec, ValueName, VolumeKind, VolumeSpec};
use std::collections::{BTreeMap, VecDeque};

/// The blocked sandboxes, each with its reason.
pub type Blocks = BTreeMap<SandboxName, BlockReason>;

/// Returns the selected sandboxes that are blocked, by themselves or through a dependency.
pub fn blocks(model: &Model, observed: &Snapshot, policy: &Policy, selection: &Selection) -> Blocks {
    let selected: Vec<_> =
        model.sandboxes().iter().filter(|sandbox| selection.sandboxes.contains(sandbox.name())).collect();
    let volumes = Volumes::new(model, observed, &selected);
    let ports = Ports::new(observed, selection, &selected, policy.start);
    let mut blocks = Blocks::new();
    for sandbox in &selected {
        let reason = missing(sandbox, observed)
            .or_else(|| unavailable(sandbox, model, observed))
            .or_else(|| volumes.reason(sandbox))
            .or_else(|| volumes.in_use(sandbox, selection))
            .or_else(|| ports.reason(sandbox.name()))
            .or_else(|| unusable(sandbox, model, observed, policy));
        blocks.extend(reason.map(|reason| (sandbox.name().clone(), reason)));
    }
    if blocks.is_empty() {
        return blocks;
    }
    let mut dependents: BTreeMap<&SandboxName, Vec<&SandboxName>> = BTreeMap::new();
    for sandbox in &selected {
        for dependency in sandbox.definition().depends_on.keys() {
            dependents.entry(dependency).or_default().push(sandbox.name());
        }
    }
    let mut queue: VecDeque<SandboxName> = blocks.keys().cloned().collect();
    while let Some(blocked) = queue.pop_front() {
        let dependents = dependents.get(&blocked).into_iter().flatten().copied();
        let dependents = dependents.map(|name| (name, BlockReason::Dependency { name: blocked.clone() }));
        // A blocked sandbox keeps using what it runs with.
        let others = volumes.waiting_for(&blocked);
        let others = others.into_iter().map(|(name, volume)| (name, in_use(volume, &blocked)));
        let others = others.chain(ports.waiting_for(&blocked));
        for (name, reason) in dependents.chain(others) {
            if !blocks.contains_key(name) {
                blocks.insert(name.clone(), reason);
                queue.push_back(name.clone());
            }
        }
    }
    blocks
}

fn in_use(volume: &VolumeName, by: &SandboxName) -> BlockReason {
    BlockReason::VolumeInUse { volume: volume.clone(), by: by.clone() }
}

/// Returns a value that cannot be used, if bringing the sandbox up needs it.
fn unusable(sandbox: &Sandbox, model: &Model, observed: &Snapshot, policy: &Policy) -> Option<BlockReason> {
    let problems = observed.secret_problems.get(sandbox.name())?;
    let mut values = sandbox.definition().value_sources();
    let (name, problem) = values.find_map(|(name, _)| problems.get(&name).map(|problem| (name, problem)))?;
    if !starts(sandbox, model, observed, policy) {
        return None;
    }
    let problem = problem.clone();
    Some(match name {
        ValueName::Secret(name) => BlockReason::SecretUnusable { name, problem },
        ValueName::ProxyPassword => BlockReason::ProxyPasswordUnusable { problem },
    })
}

/// Returns whether a sandbox would be started: values of secrets are read then, and never later.
fn starts(sandbox: &Sandbox, model: &Model, observed: &Snapshot, policy: &Policy) -> bool {
    if !policy.start {
        return false;
    }
    let Some(recorded) = observed.sandboxes.get(sandbox.name()) else { return true };
    let ObservedSandbox { spec: SandboxSpec { image, definition }, status, .. } = recorded;
    let is_up = match status {
        Status::Running { health: _ } | Status::Paused => true,
        Status::Exited { exit } => sandbox.definition().role == Role::Job && exit.is_success(),
        Status::Incomplete | Status::Stopped | Status::Lost | Status::HostRebooted => false,
    };
    // A missing image is reported by itself.
    let digest = observed.image(sandbox.image()).map_or(&image.digest, |image| &image.digest).clone();
    let new = PinnedImage { reference: sandbox.image().clone(), digest };
    let changes = changes((image, definition), (&new, sandbox.definition()));
    let changes_volume = |name: &VolumeName| {
        let recorded = observed.volumes.get(name).filter(|volume| volume.created);
        model.volumes().get(name).is_some_and(|spec| recorded.is_none_or(|volume| volume.spec != *spec))
    };
    !is_up
        || strongest(&changes) >= Some(ChangeKind::Restart)
        || runs(status) && mounted(definition).into_iter().any(changes_volume)
}

/// Returns an external volume that does not exist.
fn missing(sandbox: &Sandbox, observed: &Snapshot) -> Option<BlockReason> {
    sandbox.definition().mounts.values().find_map(|mount| match &mount.source {
        MountSource::External { name: _, volume } if !observed.external.contains_key(volume) => {
            Some(BlockReason::ExternalMissing { volume: volume.clone() })
        }
        MountSource::External { .. }
        | MountSource::Host { .. }
        | MountSource::Disk { .. }
        | MountSource::Volume { .. } => None,
    })
}

/// Returns a mount that the driver cannot serve on this host.
fn unavailable(sandbox: &Sandbox, model: &Model, observed: &Snapshot) -> Option<BlockReason> {
    let obstacle = observed.mount_obstacle.as_ref()?;
    let is_disk =
        |volume: &VolumeName| observed.external.get(volume).is_some_and(|spec| spec.kind == VolumeKind::Disk);
    let path = model.first_served_mount(sandbox, is_disk)?;
    Some(BlockReason::MountsUnavailable { path: path.to_owned(), obstacle: obstacle.clone() })
}

/// The sandboxes that declare or use each volume.
struct Volumes<'a> {
    model: &'a Model,
    observed: &'a Snapshot,
    /// The claims that the selected sandboxes declare.
    declared: Claims<'a>,
    /// Those of the running sandboxes.
    running: Claims<'a>,
}

impl<'a> Volumes<'a> {
    fn new(model: &'a Model, observed: &'a Snapshot, selected: &[&'a Sandbox]) -> Self {
        let mut declared = Claims::default();
        for sandbox in selected {
            declared.add(sandbox.name(), claims(sandbox.definition(), |name| model.volumes().get(name)));
        }
        Self { model, observed, declared, running: Claims::recorded(observed, runs) }
    }

    /// Returns the present spec of a volume, with which sandboxes run; the declared one if it does not exist yet.
    fn spec(&self, name: &VolumeName) -> Option<&VolumeSpec> {
        recorded_spec(self.observed, name).or_else(|| self.model.volumes().get(name))
    }

    /// Returns why a sandbox cannot have its volumes, whatever happens to the others.
    fn reason(&self, sandbox: &Sandbox) -> Option<BlockReason> {
        let claims = claims(sandbox.definition(), |name| self.model.volumes().get(name));
        mounted(sandbox.definition()).into_iter().find_map(|volume| {
            let both = self.observed.volumes.get(volume).zip(self.model.volumes().get(volume));
            if let Some((recorded, spec)) = both
                && let Some(loss) = loss(recorded, spec)
            {
                let volume = volume.clone();
                return Some(match loss {
                    DataLoss::Kind => {
                        BlockReason::VolumeCannotConvert { volume, from: recorded.spec.kind, to: spec.kind }
                    }
                    DataLoss::Size { from_mib, to_mib } => {
                        BlockReason::VolumeCannotShrink { volume, from_mib, to_mib }
                    }
                });
            }
            let claim = claims.get_key_value(volume).map(|(volume, claim)| (*volume, *claim));
            let mut others = self.declared.against(claim.into_iter().collect());
            let (other, _) = others.find(|(other, _)| *other != sandbox.name())?;
            Some(BlockReason::VolumeShared { volume: volume.clone(), other: other.clone() })
        })
    }

    /// Returns a volume that an unselected sandbox keeps using.
    fn in_use(&self, sandbox: &Sandbox, selection: &Selection) -> Option<BlockReason> {
        let mut others = self.running.against(claims(sandbox.definition(), |name| self.spec(name)));
        let (other, volume) = others.find(|(other, _)| selection.leaves(other))?;
        Some(in_use(volume, other))
    }

    /// Returns the sandboxes that declare volumes which this one runs with.
    fn waiting_for(&self, name: &SandboxName) -> Vec<(&'a SandboxName, &'a VolumeName)> {
        let running = self.observed.sandboxes.get(name).filter(|sandbox| runs(&sandbox.status));
        let used = |sandbox: &'a ObservedSandbox| claims(&sandbox.spec.definition, |name| self.spec(name));
        running.into_iter().flat_map(|sandbox| self.declared.against(used(sandbox))).collect()
    }
}
