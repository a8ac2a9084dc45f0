//! The volumes of one sandbox: locked from the first boot to the final end, restarts included, and passed to each of its
//! virtual machines.

use super::guest_disk;
use crate::launch::LaunchSpec;
use executor_host::home::Home;
use executor_host::volume::{Access, HeldVolume, VolumeError};
use executor_image::Growth;
use executor_vm::{DeviceMap, Disk};
use protocol::latest::VolumeMount;
use schemas::name::VolumeName;
use schemas::spec::{Definition, Mount, MountSource, limits};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

/// The time for a virtual machine whose supervisor was killed to release a disk.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two attempts in that time.
const RETRY: Duration = Duration::from_millis(20);

/// A failure to provide the mounts of a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A volume cannot be locked.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The virtual machine has too few slots for disks.
    #[error("a sandbox has at most {} volumes, not {given}", limits::VOLUMES_PER_SANDBOX_MAX)]
    TooMany {
        /// The given number.
        given: usize,
    },
    /// A mount of a host's folder, which the planner refuses.
    #[error("this version cannot mount {path} of the host at {destination}")]
    Host {
        /// The host's path.
        path: String,
        /// The destination in the guest.
        destination: String,
    },
}

/// All volumes of one sandbox, in the order of their names.
#[derive(Debug, Default)]
pub struct Volumes {
    held: Vec<(VolumeName, HeldVolume, Access)>,
}

impl Volumes {
    /// Locks all volumes of the sandbox. Waits for one in use only as long as a dying virtual machine may take.
    pub async fn take(home: &Home, launch: &LaunchSpec) -> Result<Self, MountError> {
        let accesses = accesses(&launch.spec.definition)?;
        if accesses.len() > limits::VOLUMES_PER_SANDBOX_MAX {
            return Err(MountError::TooMany { given: accesses.len() });
        }
        let mut volumes = Self::default();
        for (name, access) in accesses {
            let folder = home.volume(&launch.project, &name);
            let deadline = Instant::now() + RELEASE_TIMEOUT;
            let held = loop {
                match HeldVolume::take(&name, &folder, access, Some(&launch.full_name)) {
                    Err(VolumeError::InUse { .. }) if Instant::now() < deadline => {
                        tokio::time::sleep(RETRY).await;
                    }
                    taken => break taken?,
                }
            };
            if access == Access::Write {
                grow(&name, &held);
            }
            volumes.held.push((name, held, access));
        }
        Ok(volumes)
    }

    /// Returns the disks for one virtual machine. They keep the locks as long as the machine lives, even without this
    /// supervisor.
    pub fn disks(&self) -> io::Result<Vec<Disk>> {
        let disk = |(position, (_, held, access)): (usize, &(VolumeName, HeldVolume, Access))| {
            let file = held.disk().try_clone()?.into();
            Ok(Disk { id: disk_id(position), file, read_only: *access == Access::Read })
        };
        self.held.iter().enumerate().map(disk).collect()
    }

    /// Returns the mounts of the guest, outer paths first.
    pub fn mounts(&self, definition: &Definition, devices: &DeviceMap) -> Vec<VolumeMount> {
        let mount = |(destination, mount): (&String, &Mount)| {
            let Mount { source, readonly, noexec, nosuid, nodev, .. } = mount;
            let MountSource::Volume { name: wanted } = source else { return None };
            let position = self.held.iter().position(|(name, _, _)| name == wanted)?;
            Some(VolumeMount {
                disk: guest_disk(devices, &disk_id(position))?,
                destination: destination.clone(),
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

fn disk_id(position: usize) -> String {
    format!("volume-{position}")
}

/// Returns the access to each volume: read if all its mounts are read-only, else write.
fn accesses(definition: &Definition) -> Result<BTreeMap<VolumeName, Access>, MountError> {
    let mut accesses = BTreeMap::new();
    for (destination, mount) in &definition.mounts {
        match &mount.source {
            MountSource::Volume { name } => {
                let access = accesses.entry(name.clone()).or_insert(Access::Read);
                if !mount.readonly {
                    *access = Access::Write;
                }
            }
            MountSource::Host { path } => {
                return Err(MountError::Host { path: path.clone(), destination: destination.clone() });
            }
        }
    }
    Ok(accesses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::BootSettings;
    use executor_host::home::make_private_folder;
    use executor_host::state::STATE_VERSION;
    use executor_vm::DiskAddressing;
    use protocol::latest::DiskAt;
    use schemas::digest::Digest;
    use schemas::name::{ProjectName, SandboxId, SandboxName};
    use schemas::spec::{HostPerms, ImageReference, PinnedImage, Role, SandboxSpec, StatVirt};

    fn mount(volume: &str, readonly: bool) -> Mount {
        Mount {
            source: MountSource::Volume { name: VolumeName::new(volume).unwrap() },
            readonly,
            noexec: true,
            nosuid: false,
            nodev: true,
            stat_virt: StatVirt::default(),
            host_perms: HostPerms::default(),
            size_mib: None,
            uid: None,
            gid: None,
        }
    }

    fn launch(name: &str, mounts: &[(&str, Mount)]) -> LaunchSpec {
        let project = ProjectName::new("shop").unwrap();
        let sandbox = SandboxName::new(name).unwrap();
        let mut definition = Definition::with_defaults(Role::Service);
        definition.mounts = mounts.iter().map(|(path, mount)| ((*path).to_owned(), mount.clone())).collect();
        let image = PinnedImage {
            reference: ImageReference::Local { path: "/srv/image".to_owned() },
            digest: Digest::of_bytes(b"image"),
        };
        LaunchSpec {
            version: STATE_VERSION,
            id: SandboxId::derive(&project, &sandbox, 1),
            full_name: format!("shop-{name}"),
            name: sandbox,
            project,
            folder: None,
            spec: SandboxSpec { image, definition },
            boot: BootSettings {
                backend: executor_vm::Backend::Krun,
                kernel: "/k".into(),
                initramfs: "/i".into(),
            },
            addresses: None,
        }
    }

    fn home(volumes: &[&str]) -> (tempfile::TempDir, Home) {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::open(scratch.path().to_owned()).unwrap();
        for name in volumes {
            let folder = home.volume(&ProjectName::new("shop").unwrap(), &VolumeName::new(*name).unwrap());
            make_private_folder(folder.path()).unwrap();
            std::fs::write(folder.disk(), *name).unwrap();
        }
        (scratch, home)
    }

    #[tokio::test]
    async fn each_volume_is_one_disk_wherever_it_is_mounted() {
        let (_scratch, home) = home(&["data", "logs"]);
        let launch = launch(
            "web",
            &[("/a", mount("logs", true)), ("/a/b", mount("data", true)), ("/c", mount("data", false))],
        );
        let volumes = Volumes::take(&home, &launch).await.unwrap();
        let disks = volumes.disks().unwrap();
        let described: Vec<_> = disks.iter().map(|disk| (disk.id.as_str(), disk.read_only)).collect();
        assert_eq!(described, [("volume-0", false), ("volume-1", true)]);
        let base = Disk {
            id: "base".to_owned(),
            file: std::fs::File::open("/dev/null").unwrap().into(),
            read_only: true,
        };
        let mut all = vec![base];
        all.extend(disks);
        let mounts = |addressing| {
            let devices = DeviceMap::new(addressing, &all);
            let mounts = volumes.mounts(&launch.spec.definition, &devices);
            mounts
                .into_iter()
                .map(|mount| (mount.destination, mount.disk.at, mount.read_only))
                .collect::<Vec<_>>()
        };
        let at = |position: u32| DiskAt::Serial(format!("volume-{position}"));
        let expected = [
            ("/a".to_owned(), at(1), true),
            ("/a/b".to_owned(), at(0), true),
            ("/c".to_owned(), at(0), false),
        ];
        assert_eq!(mounts(DiskAddressing::Serial), expected);
        let indexes: Vec<_> = mounts(DiskAddressing::Index).into_iter().map(|(_, at, _)| at).collect();
        assert_eq!(indexes, [DiskAt::Index(2), DiskAt::Index(1), DiskAt::Index(1)]);
    }

    #[tokio::test]
    async fn two_sandboxes_never_write_to_one_disk() {
        let (_scratch, home) = home(&["data"]);
        let first = Volumes::take(&home, &launch("db", &[("/d", mount("data", false))])).await.unwrap();
        // The descriptors of the first machine outlive the hold of its supervisor.
        let of_the_machine = first.disks().unwrap();
        drop(first);
        let second = launch("web", &[("/d", mount("data", true))]);
        let error = Volumes::take(&home, &second).await.unwrap_err();
        assert!(error.to_string().starts_with("the volume data is in use"), "{error}");
        drop(of_the_machine);
        Volumes::take(&home, &second).await.unwrap();
    }

    #[tokio::test]
    async fn impossible_mounts_are_refused() {
        let (_scratch, home) = home(&[]);
        let host = Mount { source: MountSource::Host { path: "/srv".to_owned() }, ..mount("x", false) };
        let error = Volumes::take(&home, &launch("web", &[("/srv", host)])).await.unwrap_err();
        assert_eq!(error.to_string(), "this version cannot mount /srv of the host at /srv");
        let many = ["a", "b", "c", "d"].map(|name| (name, mount(name, false)));
        let error = Volumes::take(&home, &launch("web", &many)).await.unwrap_err();
        assert_eq!(error.to_string(), "a sandbox has at most 3 volumes, not 4");
    }
}
