//! Volumes: disks that outlive the sandbox.
//!
//! Each is mounted once at a path that is hidden below the new root, and bound to every path of its mounts, with the
//! flags of each. At shutdown the hidden mount makes the whole file system read-only and clean, whatever commands have
//! mounted elsewhere.

use std::fs::{DirBuilder, create_dir_all};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use protocol::latest::{DiskAt, VolumeMount};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use crate::root::{RootError, find_disk, step};
use crate::users;

/// The folder of the hidden mounts.
const FOLDER: &str = "/volumes";
/// The mode of an unchanged root directory.
const UNTOUCHED_MODE: u32 = 0o755;

/// A disk with its hidden mount.
struct Volume {
    at: DiskAt,
    /// The mount, which no path leads to.
    mount: OwnedFd,
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
            let target = format!("{FOLDER}/{}", all.volumes.len());
            step(DirBuilder::new().recursive(true).mode(0o700).create(&target), format!("make {target}"))?;
            let access = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
            let mounted =
                mount(&device, &target, disk.file_system.as_str(), access | MountFlags::NOATIME, None);
            // A read-only disk with a journal to replay.
            if let Err(Errno::ROFS) = mounted {
                return Err(RootError::Unclean { destination: destination.clone() });
            }
            step(mounted, format!("mount the volume for {destination}"))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let mount = step(open(&target, flags, Mode::empty()), format!("keep {target}"))?;
            all.volumes.push(Volume { at: disk.at.clone(), mount, read_only });
        }
        Ok(all)
    }

    /// Binds the volumes to their mount paths in the new root.
    pub fn bind(&self, mounts: &[VolumeMount], user: Option<&str>) -> Result<(), RootError> {
        for mount in mounts {
            let Some(volume) = self.volumes.iter().find(|volume| volume.at == mount.disk.at) else {
                continue;
            };
            volume.bind(mount, user)?;
        }
        Ok(())
    }

    /// Makes every disk read-only, which writes back its journal and marks it clean. Returns false if one is busy.
    pub fn release(&self) -> bool {
        let mut all = true;
        // Each of them, whatever the result of the others.
        for volume in self.volumes.iter().filter(|volume| !volume.read_only) {
            let flags = MountFlags::RDONLY | MountFlags::NOATIME;
            all &= mount_remount(volume.path().as_str(), flags, c"").is_ok();
        }
        all
    }
}

impl Volume {
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.mount.as_raw_fd())
    }

    fn bind(&self, mount: &VolumeMount, user: Option<&str>) -> Result<(), RootError> {
        let VolumeMount { disk: _, destination, read_only, noexec, nosuid, nodev } = mount;
        let covered = std::fs::metadata(destination).ok();
        step(create_dir_all(destination), format!("make the mount point {destination}"))?;
        if !self.read_only {
            // A volume that its user cannot write to is of no use, but the sandbox still starts.
            if let Err(error) = self.hand_over(covered.as_ref(), user) {
                crate::log(format_args!("the volume at {destination} stays root's: {error}"));
            }
        }
        step(mount_bind(self.path(), destination), format!("mount a volume at {destination}"))?;
        let mut flags = MountFlags::BIND | MountFlags::NOATIME;
        for (is_set, flag) in [
            (*read_only, MountFlags::RDONLY),
            (*noexec, MountFlags::NOEXEC),
            (*nosuid, MountFlags::NOSUID),
            (*nodev, MountFlags::NODEV),
        ] {
            flags.set(flag, is_set);
        }
        step(mount_remount(destination, flags, c""), format!("restrict the volume at {destination}"))
    }

    /// Gives an unchanged empty volume the owner and mode of the directory that it covers, or else the sandbox's user
    /// as owner.
    fn hand_over(&self, covered: Option<&std::fs::Metadata>, user: Option<&str>) -> std::io::Result<()> {
        let path = self.path();
        // The link in /proc names a directory only with a path after it.
        let root = Path::new(&path).join(".");
        let own = std::fs::metadata(&root)?;
        let untouched = (own.uid(), own.gid(), own.mode() & 0o7777) == (0, 0, UNTOUCHED_MODE);
        if !untouched || std::fs::read_dir(&root)?.next().is_some() {
            return Ok(());
        }
        if let Some(covered) = covered {
            chown(&root, Some(covered.uid()), Some(covered.gid()))?;
            return std::fs::set_permissions(&root, PermissionsExt::from_mode(covered.mode() & 0o7777));
        }
        let Some(user) = user else { return Ok(()) };
        let identity = users::look_up(user).map_err(std::io::Error::other)?;
        chown(&root, Some(identity.uid), Some(identity.gid))
    }
}
