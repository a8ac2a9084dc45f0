//! The validated model of a project: references resolve, values are typed and have units.
//!
//! It has no `Deserialize`, as only the front end creates it, with [`Model::new`] and [`Sandbox::new`].

use crate::name::{ProjectName, SandboxName, VolumeName};
use crate::spec::limits::DISK_DEVICES_MAX;
use crate::spec::{Definition, ImageReference, Mount, MountSource, VolumeKind, VolumeSpec};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    project: ProjectName,
    volumes: BTreeMap<VolumeName, VolumeSpec>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    external: BTreeMap<VolumeName, VolumeName>,
    sandboxes: Vec<Sandbox>,
}

/// One sandbox of a project, or one of its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    name: SandboxName,
    replica: Option<Replica>,
    profiles: BTreeSet<String>,
    image: ImageReference,
    definition: Definition,
}

/// The position of a sandbox among its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// The name in the Sandboxfile: `worker` for `worker-2`.
    pub family: SandboxName,
    /// The number of this replica, from 1.
    pub number: u32,
    /// The number of replicas.
    pub count: u32,
}

impl Model {
    /// Creates a model of checked parts. It sorts the sandboxes by name.
    pub fn new(
        project: ProjectName,
        volumes: BTreeMap<VolumeName, VolumeSpec>,
        mut sandboxes: Vec<Sandbox>,
    ) -> Self {
        sandboxes.sort_by(|a, b| a.name.cmp(&b.name));
        Self { project, volumes, external: BTreeMap::new(), sandboxes }
    }

    /// Adds volumes that exist already, by their names in the Sandboxfile, with their full names.
    pub fn with_external(self, external: BTreeMap<VolumeName, VolumeName>) -> Self {
        Self { external, ..self }
    }

    /// Disables the image's own command in sandboxes that declare none.
    pub fn idle(mut self) -> Self {
        for sandbox in &mut self.sandboxes {
            sandbox.definition.start.get_or_insert_default();
        }
        self
    }

    /// Returns the name of the project.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// Returns the volumes by name.
    pub fn volumes(&self) -> &BTreeMap<VolumeName, VolumeSpec> {
        &self.volumes
    }

    /// Returns the full names of the volumes that exist already, by their names in the Sandboxfile.
    pub fn external(&self) -> &BTreeMap<VolumeName, VolumeName> {
        &self.external
    }

    /// Returns the sandboxes and jobs, each replica by itself, sorted by name.
    pub fn sandboxes(&self) -> &[Sandbox] {
        &self.sandboxes
    }

    /// Returns a sandbox by its name in the project; `None` if there is none.
    pub fn sandbox(&self, name: &SandboxName) -> Option<&Sandbox> {
        self.sandboxes
            .binary_search_by(|sandbox| sandbox.name.cmp(name))
            .ok()
            .map(|index| &self.sandboxes[index])
    }

    /// Returns the path in a sandbox of its first mount that is served by the host: of a path of the host, of a volume that
    /// is a directory, or of one of more disks than its virtual machine has devices for. `None` without one.
    /// `is_external_disk` tells of an external volume, by its full name, whether it is one.
    pub fn first_served_mount<'a>(
        &self,
        sandbox: &'a Sandbox,
        is_external_disk: impl Fn(&VolumeName) -> bool,
    ) -> Option<&'a str> {
        let is_disk =
            |name: &VolumeName| self.volumes.get(name).is_some_and(|volume| volume.kind == VolumeKind::Disk);
        let is_served = |mount: &Mount| match &mount.source {
            MountSource::Host { path: _ } => true,
            MountSource::Disk { path: _ } => false,
            MountSource::Volume { name } => !is_disk(name),
            MountSource::External { name: _, volume } => !is_external_disk(volume),
        };
        let mounts = &sandbox.definition.mounts;
        if let Some((path, _)) = mounts.iter().find(|(_, mount)| is_served(mount)) {
            return Some(path);
        }
        let mut disks = BTreeSet::new();
        // All of them are disks.
        let mut firsts = mounts.iter().filter(|(_, mount)| disks.insert(&mount.source));
        firsts.nth(DISK_DEVICES_MAX).map(|(path, _)| path.as_str())
    }

    /// Returns the sandboxes of a name in the Sandboxfile: the sandbox itself, or all its replicas.
    pub fn family<'a>(&'a self, name: &'a SandboxName) -> impl Iterator<Item = &'a Sandbox> {
        self.sandboxes.iter().filter(move |sandbox| sandbox.family() == name)
    }
}

impl Sandbox {
    /// Creates a sandbox of checked parts.
    pub fn new(
        name: SandboxName,
        replica: Option<Replica>,
        profiles: BTreeSet<String>,
        image: ImageReference,
        definition: Definition,
    ) -> Self {
        Self { name, replica, profiles, image, definition }
    }

    /// Returns its name in the project.
    pub fn name(&self) -> &SandboxName {
        &self.name
    }

    /// Returns its position among its replicas; `None` without replicas.
    pub fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// Returns its name in the Sandboxfile, which its replicas share.
    pub fn family(&self) -> &SandboxName {
        self.replica.as_ref().map_or(&self.name, |replica| &replica.family)
    }

    /// Returns its profiles. Without any it takes part in each `up`; otherwise only if one of them is selected, it is
    /// named, or another sandbox depends on it.
    pub fn profiles(&self) -> &BTreeSet<String> {
        &self.profiles
    }

    /// Returns its image.
    pub fn image(&self) -> &ImageReference {
        &self.image
    }

    /// Returns its definition.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Role;

    #[test]
    fn disks_beyond_the_devices_are_served() {
        let volume = |name: &str| MountSource::Volume { name: VolumeName::new(name).unwrap() };
        let served = |mounts: &[(&str, MountSource)]| {
            let mut definition = Definition::with_defaults(Role::Service);
            for (path, source) in mounts {
                definition.mounts.insert((*path).to_owned(), Mount::of(source.clone()));
            }
            let image = ImageReference::Local { path: "/srv/image".to_owned() };
            let name = SandboxName::new("web").unwrap();
            let sandbox = Sandbox::new(name, None, BTreeSet::new(), image, definition);
            let volumes =
                ["a", "b", "c", "d"].map(|name| (VolumeName::new(name).unwrap(), VolumeSpec::disk(64)));
            let model = Model::new(ProjectName::new("shop").unwrap(), volumes.into(), vec![sandbox]);
            model.first_served_mount(&model.sandboxes()[0], |_| false).map(str::to_owned)
        };
        let three = [("/1", volume("a")), ("/2", volume("b")), ("/3", volume("a")), ("/4", volume("c"))];
        assert_eq!(served(&three), None);
        let disk = MountSource::Disk { path: "/srv/disk".to_owned() };
        assert_eq!(served(&[&three[..], &[("/5", disk)]].concat()).as_deref(), Some("/5"));
        let four = [&three[..], &[("/5", volume("d"))]].concat();
        assert_eq!(served(&four).as_deref(), Some("/5"));
        let of_host = MountSource::Host { path: "/srv".to_owned() };
        assert_eq!(served(&[&four[..], &[("/6", of_host)]].concat()).as_deref(), Some("/6"));
    }
}
