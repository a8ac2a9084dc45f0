//! Shared files and directories: entries of a virtio-fs device's file system, which the host serves.

use std::fs::{OpenOptions, create_dir_all, metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::latest::{BootDocument, DiskAt, Mount};
use rustix::fs::{major, minor};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::changes::SharedFiles;
use crate::mounts::{HiddenMount, Restrictions, bind, hand_over, make_mount_point};
use crate::root::{RootError, step};

/// The directory of the hidden mounts.
const DIRECTORY: &str = "/shares";
/// The timeout of a device, which may be announced after the console port.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause between two attempts to mount it; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The size of the largest request in KiB. The kernel's default is 128.
const READ_AHEAD_KIB: u32 = 1024;

/// A device with its hidden mount.
struct Device {
    tag: String,
    mount: HiddenMount,
    /// The same files, where nothing can be changed.
    read_only: HiddenMount,
}

/// The devices of all shared files.
#[derive(Default)]
pub struct Shares {
    devices: Vec<Device>,
}

impl Shares {
    /// Mounts each device, before the root is moved.
    pub fn mount_devices(document: &BootDocument) -> Result<Self, RootError> {
        let mut all = Self::default();
        let of_disks = document.volumes.iter().filter_map(|volume| match &volume.disk.at {
            DiskAt::Entry { tag, entry: _ } => Some(tag),
            DiskAt::Serial(_) | DiskAt::Index(_) => None,
        });
        for tag in document.mounts.iter().map(|mount| &mount.tag).chain(of_disks) {
            if all.devices.iter().any(|device| device.tag == *tag) {
                continue;
            }
            let target = format!("{DIRECTORY}/{}", all.devices.len());
            let mount = mount_device(tag, &target)?;
            read_ahead(&target);
            let read_only = HiddenMount::read_only(&target, &format!("{target}.read-only"))?;
            all.devices.push(Device { tag: tag.clone(), mount, read_only });
        }
        Ok(all)
    }

    /// Returns the path of an entry; `None` if there is no such device.
    pub fn path(&self, mount: &Mount) -> Option<String> {
        let device = self.device(&mount.tag).ok()?;
        Some(format!("{}/{}", device.mount.path(), mount.entry))
    }

    /// Opens a file of a device that is a disk.
    pub fn open_disk(&self, tag: &str, entry: &str, read_only: bool) -> Result<OwnedFd, RootError> {
        self.device(tag)?.mount.open_file(entry, read_only)
    }

    fn device(&self, tag: &str) -> Result<&Device, RootError> {
        let found = self.devices.iter().find(|device| device.tag == tag);
        found.ok_or_else(|| RootError::NoShare { tag: tag.to_owned() })
    }

    /// Binds one entry to its path in the new root.
    pub fn bind(&self, mount: &Mount, user: Option<&str>) -> Result<(), RootError> {
        let Mount { tag, entry: _, destination, volume, read_only, noexec, nosuid, nodev } = mount;
        let source = self.path(mount).ok_or_else(|| RootError::NoShare { tag: tag.clone() })?;
        let found = step(metadata(&source), format!("find the files for {destination}"))?;
        if found.is_dir() {
            let covered = make_mount_point(destination)?;
            if *volume && !read_only {
                hand_over(Path::new(&source), destination, covered.as_ref(), user);
            }
        } else {
            make_file(destination)?;
        }
        let restrictions =
            Restrictions { read_only: *read_only, noexec: *noexec, nosuid: *nosuid, nodev: *nodev };
        bind(&source, destination, restrictions)
    }

    /// Returns the files of the device; `None` if there is none. The host has one device for all mounts.
    pub fn files(&self) -> Result<Option<SharedFiles>, RootError> {
        let files = |device: &Device| {
            Ok(SharedFiles { root: device.mount.descriptor()?, read_only: device.read_only.descriptor()? })
        };
        self.devices.first().map(files).transpose()
    }

    /// Makes every device's file system read-only after its data are written. Returns false if one is busy.
    pub fn release(&self) -> bool {
        let mut all = true;
        // Each of them, whatever the result of the others.
        for device in &self.devices {
            all &= device.mount.make_read_only();
        }
        all
    }
}

/// Mounts a device, with a timeout: the kernel refuses a tag that it does not know yet as an invalid argument.
fn mount_device(tag: &str, target: &str) -> Result<HiddenMount, RootError> {
    let deadline = Instant::now() + DEVICE_TIMEOUT;
    let mut pause = FIRST_PAUSE;
    loop {
        let what = format!("the virtio-fs device '{tag}'");
        match HiddenMount::new(tag, target, "virtiofs", MountFlags::empty(), &what) {
            Err(RootError::Step { source, .. })
                if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
            {
                if Instant::now() >= deadline {
                    return Err(RootError::NoShare { tag: tag.to_owned() });
                }
                std::thread::sleep(pause);
                // Each attempt is a line in the kernel's log.
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            mounted => return mounted,
        }
    }
}

/// Makes the kernel read files of a file system ahead in the largest requests, instead of in eight times as many.
fn read_ahead(target: &str) {
    let Ok(device) = metadata(target).map(|found| found.dev()) else { return };
    let queue = format!("/sys/class/bdi/{}:{}/read_ahead_kb", major(device), minor(device));
    // A kernel that has no such file reads more slowly.
    let _ = std::fs::write(queue, READ_AHEAD_KIB.to_string());
}

/// Creates the file that a mounted one covers, unless something is there. A directory that is there is an error.
fn make_file(destination: &str) -> Result<(), RootError> {
    match metadata(destination) {
        Ok(found) if found.is_dir() => {
            Err(RootError::FileOverDirectory { destination: destination.to_owned() })
        }
        // Not opened, as it may be of any kind.
        Ok(_) => Ok(()),
        Err(_) => {
            let parent = Path::new(destination).parent().unwrap_or(Path::new("/"));
            let what = format!("make the mount point {destination}");
            step(create_dir_all(parent), what.as_str())?;
            let created = OpenOptions::new().write(true).create(true).truncate(false).open(destination);
            step(created.map(drop), what)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::write;

    #[test]
    fn a_mount_point_of_a_file_is_created_once_and_never_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("etc/app/config");
        let destination = path.to_str().unwrap();
        make_file(destination).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        write(&path, "image's").unwrap();
        make_file(destination).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"image's");
        let directory = scratch.path().join("etc");
        let error = make_file(directory.to_str().unwrap()).unwrap_err();
        assert!(
            error.to_string().ends_with("/etc is a directory, and a file cannot be mounted over it"),
            "{error}"
        );
        assert!(make_file(path.join("below").to_str().unwrap()).is_err());
    }
}
