//! Finds the sandboxes that cannot be brought up as declared.

use crate::Policy;
use crate::decide::ports::Ports;
use crate::decide::select::Selection;
use crate::decide::volumes::{mounted, runs, users};
use schemas::model::{Model, Sandbox};
use schemas::name::{SandboxName, VolumeName};
use schemas::report::BlockReason;
use schemas::snapshot::Snapshot;
use schemas::spec::MountSource;
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
        let reason = unsupported(sandbox)
            .or_else(|| volumes.reason(sandbox))
            .or_else(|| volumes.in_use(sandbox, selection))
            .or_else(|| ports.reason(sandbox.name()));
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

/// Returns a property that this version does not implement.
fn unsupported(sandbox: &Sandbox) -> Option<BlockReason> {
    let definition = sandbox.definition();
    let host_mount = definition.mounts.iter().find_map(|(path, mount)| match &mount.source {
        MountSource::Host { path: source } => {
            Some(BlockReason::HostMount { path: path.clone(), source: source.clone() })
        }
        MountSource::Volume { name: _ } => None,
    });
    host_mount.or_else(|| Some(BlockReason::Secret { name: definition.secrets.keys().next()?.clone() }))
}

/// The sandboxes that declare or use each volume.
struct Volumes<'a> {
    model: &'a Model,
    observed: &'a Snapshot,
    /// The selected sandboxes that declare a mount of each volume.
    declared_by: BTreeMap<&'a VolumeName, Vec<&'a SandboxName>>,
    /// The recorded sandboxes that run with each volume.
    running_with: BTreeMap<&'a VolumeName, Vec<&'a SandboxName>>,
}

impl<'a> Volumes<'a> {
    fn new(model: &'a Model, observed: &'a Snapshot, selected: &[&'a Sandbox]) -> Self {
        let mut declared_by: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for sandbox in selected {
            for volume in mounted(sandbox.definition()) {
                declared_by.entry(volume).or_default().push(sandbox.name());
            }
        }
        let running_with = users(observed, runs);
        Self { model, observed, declared_by, running_with }
    }

    /// Returns why a sandbox cannot have its volumes, whatever happens to the others.
    fn reason(&self, sandbox: &Sandbox) -> Option<BlockReason> {
        mounted(sandbox.definition()).into_iter().find_map(|volume| {
            // A volume that was never created holds no data, so it can have any size.
            let made = self.observed.volumes.get(volume).filter(|seen| seen.created);
            let sizes = [made.map(|seen| &seen.spec), self.model.volumes().get(volume)];
            if let [Some(old), Some(new)] = sizes
                && new.size_mib < old.size_mib
            {
                return Some(BlockReason::VolumeCannotShrink {
                    volume: volume.clone(),
                    from_mib: old.size_mib,
                    to_mib: new.size_mib,
                });
            }
            let other = self.declared_by.get(volume)?.iter().find(|other| **other != sandbox.name())?;
            Some(BlockReason::VolumeShared { volume: volume.clone(), other: (*other).clone() })
        })
    }

    /// Returns a volume that an unselected sandbox keeps using.
    fn in_use(&self, sandbox: &Sandbox, selection: &Selection) -> Option<BlockReason> {
        mounted(sandbox.definition()).into_iter().find_map(|volume| {
            let other = self.running_with.get(volume)?.iter().find(|other| selection.leaves(other))?;
            Some(in_use(volume, other))
        })
    }

    /// Returns the sandboxes that declare volumes which this one runs with.
    fn waiting_for(&self, name: &SandboxName) -> Vec<(&'a SandboxName, &'a VolumeName)> {
        let running = self.observed.sandboxes.get(name).filter(|sandbox| runs(&sandbox.status));
        let volumes = running.into_iter().flat_map(|sandbox| mounted(&sandbox.spec.definition));
        let wanted = volumes.filter_map(|volume| self.declared_by.get_key_value(volume));
        wanted.flat_map(|(volume, names)| names.iter().map(|name| (*name, *volume))).collect()
    }
}
