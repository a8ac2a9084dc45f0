//! Volumes that are disks, which outlive the sandbox.

use std::path::{Path, PathBuf};

use protocol::latest::{ANY_FILE_SYSTEM, Disk, DiskAt, VolumeMount};
use rustix::mount::MountFlags;

use crate::loop_device::LoopDevice;
use crate::mounts::{HiddenMount, Restrictions, bind, hand_over, make_mount_point};
use crate::root::{RootError, find_disk};
use crate::shares::Shares;

/// The directory of the hidden mounts.
const DIRECTORY: &str = "/volumes";

/// A disk with its hidden mount.
struct Volume {
    at: DiskAt,
    mount: HiddenMount,
    read_only: bool,
    /// Whether it is a file behind a loop device.
    is_file: bool,
}

/// The device of a disk.
enum Device {
    Block(PathBuf),
    Loop(LoopDevice),
}

impl Device {
    fn find(disk: &Disk, shares: &Shares, read_only: bool) -> Result<Self, RootError> {
        match &disk.at {
            DiskAt::Entry { tag, entry } => {
                let file = shares.open_disk(tag, entry, read_only)?;
                LoopDevice::attach(&file, read_only).map(Self::Loop)
            }
            DiskAt::Serial(_) | DiskAt::Index(_) => find_disk(disk).map(Self::Block),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Block(path) => path,
            Self::Loop(device) => device.path(),
        }
    }
}

/// The disks of all volumes.
#[derive(Default)]
pub struct Volumes {
    volumes: Vec<Volume>,
}

impl Volumes {
    /// Mounts each disk, before the root is moved.
    pub fn mount_disks(mounts: &[VolumeMount], shares: &Shares) -> Result<Self, RootError> {
        let mut all = Self::default();
        match all.mount_each(mounts, shares) {
            Ok(()) => Ok(all),
            Err(error) => {
                all.release();
                Err(error)
            }
        }
    }

    fn mount_each(&mut self, mounts: &[VolumeMount], shares: &Shares) -> Result<(), RootError> {
        for VolumeMount { disk, destination, of_host, .. } in mounts {
            if self.volumes.iter().any(|volume| volume.at == disk.at) {
                continue;
            }
            let read_only =
                mounts.iter().filter(|other| other.disk.at == disk.at).all(|other| other.read_only);
            let device = Device::find(disk, shares, read_only)?;
            let target = format!("{DIRECTORY}/{}", self.volumes.len());
            let access = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
            let what = format!("the {} for {destination}", if *of_host { "disk" } else { "volume" });
            let path = device.path().to_string_lossy();
            let mount = match disk.file_system.as_str() {
                ANY_FILE_SYSTEM => HiddenMount::of_any(&path, &target, access, &what)?,
                file_system => HiddenMount::new(&path, &target, file_system, access, &what)?,
            };
            let is_file = matches!(device, Device::Loop(_));
            self.volumes.push(Volume { at: disk.at.clone(), mount, read_only, is_file });
        }
        Ok(())
    }

    /// Returns the path of the root of a volume; `None` if it can only be read.
    pub fn path(&self, mount: &VolumeMount) -> Option<String> {
        let volume = self.volumes.iter().find(|volume| volume.at == mount.disk.at)?;
        (!volume.read_only).then(|| volume.mount.path())
    }

    /// Binds one volume to its path in the new root.
    pub fn bind(&self, mount: &VolumeMount, user: Option<&str>) -> Result<(), RootError> {
        let VolumeMount { disk, destination, of_host, read_only, noexec, nosuid, nodev } = mount;
        let Some(volume) = self.volumes.iter().find(|volume| volume.at == disk.at) else {
            return Err(RootError::NoDisk { at: disk.at.clone() });
        };
        let covered = make_mount_point(destination)?;
        let source = volume.mount.path();
        if !volume.read_only && !of_host {
            hand_over(Path::new(&source), destination, covered.as_ref(), user);
        }
        let restrictions =
            Restrictions { read_only: *read_only, noexec: *noexec, nosuid: *nosuid, nodev: *nodev };
        bind(&source, destination, restrictions)
    }

    /// Makes every disk read-only, which writes back its journal and marks it clean, and detaches it from its file. Returns
    /// false if one is busy.
    pub fn release(self) -> bool {
        let mut all = true;
        // Each of them, whatever the result of the others.
        for Volume { at: _, mount, read_only, is_file } in self.volumes {
            all &= read_only || mount.make_read_only();
            if is_file {
                mount.unmount();
            }
        }
        all
    }
}
