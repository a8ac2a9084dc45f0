//! Volumes that are disks, which outlive the sandbox.

use std::path::Path;

use protocol::latest::{DiskAt, VolumeMount};
use rustix::mount::MountFlags;

use crate::mounts::{HiddenMount, Restrictions, bind, hand_over, make_mount_point};
use crate::root::{RootError, find_disk};

/// The directory of the hidden mounts.
const DIRECTORY: &str = "/volumes";

/// A disk with its hidden mount.
struct Volume {
    at: DiskAt,
    mount: HiddenMount,
    read_only: bool,
}

/// The disks of all volumes.
#[derive(Default)]
pub struct Volumes {
    volumes: Vec<Volume>,
}

impl Volumes {
    /// Mounts each disk, before the root is moved.
    pub fn mount_disks(mounts: &[VolumeMount]) -> Result<Self, RootError> {
        let mut all = Self::default();
        for VolumeMount { disk, destination, .. } in mounts {
            if all.volumes.iter().any(|volume| volume.at == disk.at) {
                continue;
            }
            let read_only =
                mounts.iter().filter(|other| other.disk.at == disk.at).all(|other| other.read_only);
            let device = find_disk(disk)?;
            let target = format!("{DIRECTORY}/{}", all.volumes.len());
            let access = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
            let what = format!("the volume for {destination}");
            let mount =
                HiddenMount::new(&device.to_string_lossy(), &target, &disk.file_system, access, &what)?;
            all.volumes.push(Volume { at: disk.at.clone(), mount, read_only });
        }
        Ok(all)
    }

    /// Returns the path of the root of a volume; `None` if it can only be read.
    pub fn path(&self, mount: &VolumeMount) -> Option<String> {
        let volume = self.volumes.iter().find(|volume| volume.at == mount.disk.at)?;
        (!volume.read_only).then(|| volume.mount.path())
    }

    /// Binds one volume to its path in the new root.
    pub fn bind(&self, mount: &VolumeMount, user: Option<&str>) -> Result<(), RootError> {
        let VolumeMount { disk, destination, read_only, noexec, nosuid, nodev } = mount;
        let Some(volume) = self.volumes.iter().find(|volume| volume.at == disk.at) else {
            return Err(RootError::NoDisk { at: disk.at.clone() });
        };
        let covered = make_mount_point(destination)?;
        let source = volume.mount.path();
        if !volume.read_only {
            hand_over(Path::new(&source), destination, covered.as_ref(), user);
        }
        let restrictions =
            Restrictions { read_only: *read_only, noexec: *noexec, nosuid: *nosuid, nodev: *nodev };
        bind(&source, destination, restrictions)
    }

    /// Makes every disk read-only, which writes back its journal and marks it clean. Returns false if one is busy.
    pub fn release(&self) -> bool {
        let mut all = true;
        // Each of them, whatever the result of the others.
        for volume in self.volumes.iter().filter(|volume| !volume.read_only) {
            all &= volume.mount.make_read_only();
        }
        all
    }
}
