//! The volumes and disks of one sandbox: locked from the first boot to the final end, restarts included. Disks are passed
//! to each of its virtual machines; directories are opened for each of them, see [`super::shares`].
//!
//! A machine has few slots for devices. Disks beyond them are files that the file server of the sandbox's mounts serves,
//! for which the guest has loop devices.

use super::host_disk::{HostDisk, driver_format};
use super::shares::Shares;
use super::{BASE_DISK, FILE_SYSTEM, MountError, WRITABLE_DISK, filling, guest_disk};
use crate::launch::{LaunchSpec, MountedVolume};
use executor_host::home::{Home, VolumeFolder};
use executor_host::volume::{Access, HeldVolume, VolumeError};
use executor_image::Growth;
use executor_share::{Share, SharePolicy};
use executor_vm::{DeviceMap, Disk, MOUNTS_TAG};
use protocol::latest::{self, ANY_FILE_SYSTEM, DiskAt, VolumeMount};
use rules::mount_text::StatVirt;
use schemas::name::{VolumeName, full_volume_name};
use schemas::spec::limits::{DISK_DEVICES_MAX, disk_devices};
use schemas::spec::{Definition, DiskFormat, Mount, MountSource, VolumeKind, VolumeSpec};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time for a virtual machine whose supervisor was killed to release a disk.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two attempts in that time.
const RETRY: Duration = Duration::from_millis(20);

/// The disks that every virtual machine has beside those of volumes.
const OWN_DISKS: usize = [BASE_DISK, WRITABLE_DISK].len();

/// All volumes and disks of one sandbox.
#[derive(Debug, Default)]
pub struct Volumes {
    /// The disks: those in qcow2, volumes in the order of their full names, other disks of the host in that of their paths.
    disks: Vec<HeldDisk>,
    /// The directories.
    _directories: Vec<HeldVolume>,
    /// The folders of directories that the guest may write to, each sandbox's in the same order.
    writable: Vec<VolumeFolder>,
}

/// A disk in use.
#[derive(Debug)]
struct HeldDisk {
    source: DiskSource,
    held: Held,
    access: Access,
    place: Place,
}

/// A disk of a sandbox.
#[derive(Debug)]
enum DiskSource {
    Volume { full_name: String, name: VolumeName },
    Host { path: String },
}

impl DiskSource {
    /// Whether it is what a mount of this sandbox names.
    fn is(&self, launch: &LaunchSpec, source: &MountSource) -> bool {
        match self {
            Self::Volume { full_name, name: _ } => {
                launch.volume(source).is_some_and(|volume| volume.full_name == *full_name)
            }
            Self::Host { path } => matches!(source, MountSource::Disk { path: other } if other == path),
        }
    }

    /// Returns the rank among those that are to be devices.
    fn rank(&self) -> u8 {
        match self {
            Self::Host { path } if DiskFormat::of_path(path) == DiskFormat::Qcow2 => QCOW2_RANK,
            Self::Volume { .. } => 1,
            Self::Host { .. } => 2,
        }
    }
}

impl fmt::Display for DiskSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume { full_name: _, name } => f.write_str(name.as_str()),
            Self::Host { path } => f.write_str(path),
        }
    }
}

/// The rank of a disk that must be a device.
const QCOW2_RANK: u8 = 0;

/// A disk, opened and locked.
#[derive(Debug)]
enum Held {
    Volume(HeldVolume),
    Host(File, DiskFormat),
}

impl Held {
    fn file(&self) -> &File {
        match self {
            Self::Volume(volume) => volume.disk(),
            Self::Host(file, _) => file,
        }
    }

    fn format(&self) -> DiskFormat {
        match self {
            Self::Volume(_) => DiskFormat::Raw,
            Self::Host(_, format) => *format,
        }
    }
}

/// How a guest gets a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As a device of its own.
    Device,
    /// As a file that the file server serves.
    File,
}

impl Volumes {
    /// Locks all volumes and disks of the sandbox. Waits for one in use only as long as a dying virtual machine may take.
    pub async fn take(home: &Home, launch: &LaunchSpec) -> Result<Self, MountError> {
        let definition = &launch.spec.definition;
        let has_shares = !Shares::new(home, launch, definition).is_empty();
        let (directories, volumes): (Vec<_>, Vec<_>) =
            uses(launch, definition).into_iter().partition(|(_, used)| used.directory.is_some());
        let volumes = volumes.into_iter().map(|(full_name, Use { name, directory: _, access })| {
            (DiskSource::Volume { full_name, name }, access)
        });
        let mut disks: Vec<_> = volumes.chain(host_disks(definition)).collect();
        disks.sort_by_key(|(source, _)| source.rank());
        let devices = devices_among(disks.len(), has_shares);
        let given = disks.iter().filter(|(source, _)| source.rank() == QCOW2_RANK).count();
        if given > devices {
            return Err(MountError::TooManyQcow2 { given, most: devices });
        }
        let mut held_disks = Vec::new();
        for (position, (source, access)) in disks.into_iter().enumerate() {
            let held = hold(home, launch, &source, access).await?;
            let place = if position < devices { Place::Device } else { Place::File };
            held_disks.push(HeldDisk { source, held, access, place });
        }
        let (mut held_directories, mut writable) = (Vec::new(), Vec::new());
        for (full_name, Use { name, directory, access }) in directories {
            let folder = home.volume_of(&full_name);
            let is_shared = directory.is_some_and(|volume| volume.shared);
            let used = if is_shared && access == Access::Write { Access::WriteShared } else { access };
            held_directories
                .push(take(&name, &folder, VolumeKind::Directory, used, &launch.full_name).await?);
            if access == Access::Write {
                writable.push(folder);
            }
        }
        writable.sort_by(|one, other| one.path().cmp(other.path()));
        Ok(Self { disks: held_disks, _directories: held_directories, writable })
    }

    /// Locks the directories that a booting guest may fill with files of its image, and waits for other guests that do so.
    pub async fn lock_for_filling(&self) -> io::Result<Vec<File>> {
        let mut locks = Vec::new();
        for folder in &self.writable {
            locks.extend(filling::lock(folder).await?);
        }
        Ok(locks)
    }

    /// Returns the disks that are devices of one virtual machine. They keep the locks as long as the machine lives, even
    /// without this supervisor.
    pub fn disks(&self) -> io::Result<Vec<Disk>> {
        let disk = |(position, disk): (usize, &HeldDisk)| {
            let HeldDisk { source: _, held, access, place: _ } = disk;
            let file = held.file().try_clone()?.into();
            let format = driver_format(held.format());
            Ok(Disk { id: disk_id(position), file, read_only: *access == Access::Read, format })
        };
        let disks = self.disks.iter().enumerate();
        disks.filter(|(_, disk)| disk.place == Place::Device).map(disk).collect()
    }

    /// Returns the disks that are files for one virtual machine. Its file server alone writes to them, and keeps the locks
    /// as long as it lives.
    pub fn shares(&self) -> io::Result<Vec<Share>> {
        let share = |disk: &HeldDisk| {
            let HeldDisk { source, held, access, place: _ } = disk;
            let policy = SharePolicy {
                read_only: *access == Access::Read,
                stat_virt: StatVirt::Off,
                disk: true,
                ..SharePolicy::default()
            };
            Ok(Share { name: format!("the disk {source}"), source: held.file().try_clone()?.into(), policy })
        };
        self.files().map(share).collect()
    }

    /// Returns the paths of the host's own disks.
    pub fn paths_of_host(&self) -> impl Iterator<Item = &Path> {
        self.disks.iter().filter_map(|disk| match &disk.source {
            DiskSource::Host { path } => Some(Path::new(path)),
            DiskSource::Volume { .. } => None,
        })
    }

    /// Returns the disks that are files, in the order of [`Volumes::shares`].
    fn files(&self) -> impl Iterator<Item = &HeldDisk> {
        self.disks.iter().filter(|disk| disk.place == Place::File)
    }

    /// Returns a disk as the boot document names it; `None` if there is none of this source.
    fn guest_disk(
        &self,
        launch: &LaunchSpec,
        source: &MountSource,
        devices: &DeviceMap,
        shares: &Shares,
    ) -> Option<latest::Disk> {
        let is_wanted = |disk: &HeldDisk| disk.source.is(launch, source);
        let position = self.disks.iter().position(is_wanted)?;
        let disk = &self.disks[position];
        let at = match disk.place {
            Place::Device => guest_disk(devices, &disk_id(position))?.at,
            Place::File => {
                let entry = (shares.len() + self.files().position(is_wanted)?).to_string();
                DiskAt::Entry { tag: MOUNTS_TAG.to_owned(), entry }
            }
        };
        let file_system = match disk.held {
            Held::Volume(_) => FILE_SYSTEM,
            Held::Host(..) => ANY_FILE_SYSTEM,
        };
        Some(latest::Disk { at, file_system: file_system.to_owned() })
    }

    /// Returns the mounts of the guest, outer paths first. Files come after the shares among the entries of the file
    /// server.
    pub fn mounts(
        &self,
        launch: &LaunchSpec,
        definition: &Definition,
        devices: &DeviceMap,
        shares: &Shares,
    ) -> Vec<VolumeMount> {
        let mount = |(destination, mount): (&String, &Mount)| {
            let Mount {
                source,
                readonly,
                noexec,
                nosuid,
                nodev,
                stat_virt: _,
                host_perms: _,
                size_mib: _,
                uid: _,
                gid: _,
            } = mount;
            Some(VolumeMount {
                disk: self.guest_disk(launch, source, devices, shares)?,
                destination: destination.clone(),
                of_host: matches!(source, MountSource::Disk { .. }),
                read_only: *readonly,
                noexec: *noexec,
                nosuid: *nosuid,
                nodev: *nodev,
            })
        };
        // Sorted by path, a folder comes before its contents.
        definition.mounts.iter().filter_map(mount).collect()
    }
}

/// Opens and locks a disk.
async fn hold(
    home: &Home,
    launch: &LaunchSpec,
    source: &DiskSource,
    access: Access,
) -> Result<Held, MountError> {
    match source {
        DiskSource::Volume { full_name, name } => {
            let folder = home.volume_of(full_name);
            let held = take(name, &folder, VolumeKind::Disk, access, &launch.full_name).await?;
            if access == Access::Write {
                grow(name, &held);
            }
            Ok(Held::Volume(held))
        }
        DiskSource::Host { path } => {
            let mounts = &launch.spec.definition.mounts;
            let destination = mounts.iter().find(|(_, mount)| source.is(launch, &mount.source));
            let disk = HostDisk {
                path: path.into(),
                destination: destination.map_or_else(String::new, |(path, _)| path.clone()),
                access,
                format: DiskFormat::of_path(path),
            };
            let deadline = Instant::now() + RELEASE_TIMEOUT;
            loop {
                match disk.take().await {
                    Err(MountError::DiskInUse { .. }) if Instant::now() < deadline => {
                        tokio::time::sleep(RETRY).await;
                    }
                    taken => return taken.map(|file| Held::Host(file, disk.format)),
                }
            }
        }
    }
}

/// Locks a volume, and waits as long as a dying virtual machine may take to release it.
async fn take(
    name: &VolumeName,
    folder: &VolumeFolder,
    kind: VolumeKind,
    access: Access,
    holder: &str,
) -> Result<HeldVolume, VolumeError> {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        match HeldVolume::take(name, folder, kind, access, Some(holder)) {
            Err(VolumeError::InUse { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(RETRY).await;
            }
            taken => return taken,
        }
    }
}

/// Grows the file system of a volume whose disk has grown. A volume that cannot grow is used as it is; after an unclean
/// unmount it grows at a later start.
fn grow(name: &VolumeName, held: &HeldVolume) {
    match executor_image::grow_disk(held.disk()) {
        Ok(Growth::NotNeeded) => {}
        Ok(Growth::Grown) => tracing::info!("the file system of the volume {name} has grown"),
        Ok(Growth::LeftAlone) => {
            tracing::info!("the volume {name} was not unmounted in order: it does not grow at this start");
        }
        Err(error) => tracing::warn!("the volume {name} cannot grow: {error}"),
    }
}

/// Returns how many of a sandbox's disks are devices. Files need the device of the shares, also where there are no others.
fn devices_among(disks: usize, has_shares: bool) -> usize {
    const { assert!(DISK_DEVICES_MAX + OWN_DISKS <= executor_vm::disks_max(false)) };
    disk_devices(disks, has_shares)
}

fn disk_id(position: usize) -> String {
    format!("volume-{position}")
}

/// The spec of every anonymous volume.
static ANONYMOUS: VolumeSpec = VolumeSpec { kind: VolumeKind::Directory, size_mib: None, shared: false };

/// The use of one volume by a sandbox.
struct Use<'a> {
    /// Its name in messages.
    name: VolumeName,
    /// Its spec, if it is a directory.
    directory: Option<&'a VolumeSpec>,
    /// Read if all its mounts are read-only, else write.
    access: Access,
}

/// Returns the use of each volume, by its full name.
fn uses<'a>(launch: &'a LaunchSpec, definition: &Definition) -> BTreeMap<String, Use<'a>> {
    let mut uses = BTreeMap::new();
    for mount in definition.mounts.values() {
        let Some(MountedVolume { full_name, name }) = launch.volume(&mount.source) else { continue };
        let directory = launch.directory_volume(&mount.source);
        let used = uses.entry(full_name).or_insert(Use { name, directory, access: Access::Read });
        if !mount.readonly {
            used.access = Access::Write;
        }
    }
    for name in launch.anonymous.values() {
        let used = Use { name: name.clone(), directory: Some(&ANONYMOUS), access: Access::Write };
        uses.insert(full_volume_name(&launch.project, name), used);
    }
    uses
}

/// Returns the access to each disk of the host.
fn host_disks(definition: &Definition) -> impl Iterator<Item = (DiskSource, Access)> {
    let mut accesses = BTreeMap::new();
    for Mount { source, readonly, .. } in definition.mounts.values() {
        let MountSource::Disk { path } = source else { continue };
        let access = accesses.entry(path.clone()).or_insert(Access::Read);
        if !readonly {
            *access = Access::Write;
        }
    }
    accesses.into_iter().map(|(path, access)| (DiskSource::Host { path }, access))
}

#[cfg(test)]
mod tests;
