//! The volumes of one sandbox: locked from the first boot to the final end, restarts included. Disks are passed to each of
//! its virtual machines; directories are opened for each of them, see [`super::shares`].

use super::filling;
use super::shares::Shares;
use super::{BASE_DISK, MountError, WRITABLE_DISK, guest_disk};
use crate::launch::{LaunchSpec, MountedVolume};
use executor_host::home::{Home, VolumeFolder};
use executor_host::volume::{Access, HeldVolume, VolumeError};
use executor_image::Growth;
use executor_vm::{DeviceMap, Disk};
use protocol::latest::VolumeMount;
use schemas::name::{VolumeName, full_volume_name};
use schemas::spec::{Definition, Mount, VolumeKind, VolumeSpec};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// The time for a virtual machine whose supervisor was killed to release a disk.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two attempts in that time.
const RETRY: Duration = Duration::from_millis(20);

/// The disks that every virtual machine has beside those of volumes.
pub const OWN_DISKS: usize = [BASE_DISK, WRITABLE_DISK].len();

/// All volumes of one sandbox.
#[derive(Debug, Default)]
pub struct Volumes {
    /// The disks by their full names, in this order.
    disks: Vec<(String, HeldVolume, Access)>,
    /// The directories.
    _directories: Vec<HeldVolume>,
    /// The folders of directories that the guest may write to, each sandbox's in the same order.
    writable: Vec<VolumeFolder>,
}

impl Volumes {
    /// Locks all volumes of the sandbox. Waits for one in use only as long as a dying virtual machine may take.
    pub async fn take(home: &Home, launch: &LaunchSpec) -> Result<Self, MountError> {
        let definition = &launch.spec.definition;
        let has_shares = !Shares::new(home, launch, definition).is_empty();
        let (directories, disks): (Vec<_>, Vec<_>) =
            uses(launch, definition).into_iter().partition(|(_, used)| used.directory.is_some());
        let (given, max) = (disks.len(), executor_vm::disks_max(has_shares) - OWN_DISKS);
        if given > max {
            return Err(MountError::TooManyDisks { given, max });
        }
        let mut held_disks = Vec::new();
        for (full_name, Use { name, directory: _, access }) in disks {
            let folder = home.volume_of(&full_name);
            let held = take(&name, &folder, VolumeKind::Disk, access, &launch.full_name).await?;
            if access == Access::Write {
                grow(&name, &held);
            }
            held_disks.push((full_name, held, access));
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

    /// Returns the disks for one virtual machine. They keep the locks as long as the machine lives, even without this
    /// supervisor.
    pub fn disks(&self) -> io::Result<Vec<Disk>> {
        let disk = |(position, (_, held, access)): (usize, &(String, HeldVolume, Access))| {
            let file = held.disk().try_clone()?.into();
            Ok(Disk { id: disk_id(position), file, read_only: *access == Access::Read })
        };
        self.disks.iter().enumerate().map(disk).collect()
    }

    /// Returns the mounts of the guest, outer paths first.
    pub fn mounts(
        &self,
        launch: &LaunchSpec,
        definition: &Definition,
        devices: &DeviceMap,
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
            let MountedVolume { full_name, name: _ } = launch.volume(source)?;
            let position = self.disks.iter().position(|(disk, _, _)| *disk == full_name)?;
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
    use schemas::spec::{HostPerms, ImageReference, MountSource, PinnedImage, Role, SandboxSpec, StatVirt};

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
            volumes: BTreeMap::new(),
            external: BTreeMap::new(),
            anonymous: BTreeMap::new(),
            warnings: Vec::new(),
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
            let mounts = volumes.mounts(&launch, &launch.spec.definition, &devices);
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
    async fn a_volume_of_another_project_is_the_same_for_all_of_its_users() {
        let (_scratch, home) = home(&["data"]);
        let owner = launch("db", &[("/d", mount("data", false))]);
        let external = |volume: &str| MountSource::External {
            name: VolumeName::new("theirs").unwrap(),
            volume: VolumeName::new(volume).unwrap(),
        };
        let mut other =
            launch("web", &[("/d", Mount { source: external("shop-data"), ..mount("data", false) })]);
        other.project = ProjectName::new("blog").unwrap();
        other.full_name = "blog-web".to_owned();
        let held = Volumes::take(&home, &owner).await.unwrap();
        let error = Volumes::take(&home, &other).await.unwrap_err().to_string();
        assert!(error.starts_with("the volume shop-data is in use by shop-db: "), "{error}");
        drop(held);
        let volumes = Volumes::take(&home, &other).await.unwrap();
        let disks = volumes.disks().unwrap();
        let devices = DeviceMap::new(DiskAddressing::Serial, &disks);
        let mounts = volumes.mounts(&other, &other.spec.definition, &devices);
        assert_eq!((mounts.len(), mounts[0].destination.as_str()), (1, "/d"));
        // One of no project, which is a directory.
        let folder = home.volume(&ProjectName::none(), &VolumeName::new("pool").unwrap());
        make_private_folder(&folder.directory()).unwrap();
        let pool = Mount { source: external("pool"), ..mount("data", false) };
        other.spec.definition.mounts.insert("/d".to_owned(), pool);
        other.external.insert(VolumeName::new("pool").unwrap(), VolumeSpec::directory(None));
        let volumes = Volumes::take(&home, &other).await.unwrap();
        assert!(volumes.disks().unwrap().is_empty());
        let shares = Shares::new(&home, &other, &other.spec.definition);
        assert!(shares.mounts()[0].volume);
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
    async fn directories_have_one_writer_unless_shared_and_take_no_slots_of_disks() {
        let names = ["a", "b", "c", "d"];
        let (_scratch, home) = home(&names);
        let mut launch = launch("web", &names.map(|name| (name, mount(name, false))));
        let error = Volumes::take(&home, &launch).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a sandbox has at most 3 volumes that are disks, not 4: make some of them directories"
        );
        let directories = ["a", "d"].map(|name| VolumeName::new(name).unwrap());
        for name in &directories {
            launch.volumes.insert(name.clone(), VolumeSpec::directory(None));
            make_private_folder(&home.volume(&launch.project, name).directory()).unwrap();
        }
        let volumes = Volumes::take(&home, &launch).await.unwrap();
        assert_eq!(volumes.disks().unwrap().len(), 2);
        let mut other = launch.clone();
        other.full_name = "shop-other".to_owned();
        other.spec.definition.mounts.retain(|path, _| path == "a" || path == "d");
        let error = Volumes::take(&home, &other).await.unwrap_err().to_string();
        assert!(error.starts_with("the volume a is in use by shop-web: only one sandbox"), "{error}");
        for mount in other.spec.definition.mounts.values_mut() {
            mount.readonly = true;
        }
        let reader = Volumes::take(&home, &other).await.unwrap();
        let folder = home.volume(&launch.project, &directories[0]);
        let removal =
            || HeldVolume::take(&directories[0], &folder, VolumeKind::Directory, Access::Remove, None);
        drop(volumes);
        assert!(matches!(removal(), Err(VolumeError::InUse { .. })));
        drop(reader);
        removal().unwrap();
        // Several write to one that is shared.
        let directory = &directories[1];
        launch.spec.definition.mounts.retain(|path, _| path == directory.as_str());
        launch.volumes.insert(directory.clone(), VolumeSpec::shared_directory(None));
        let mut other = launch.clone();
        other.full_name = "shop-other".to_owned();
        let shared =
            [Volumes::take(&home, &launch).await.unwrap(), Volumes::take(&home, &other).await.unwrap()];
        drop(shared);
        launch.spec.definition.mounts = names.map(|name| (name.to_owned(), mount(name, false))).into();
        // Beside the one device of all shares there are fewer slots.
        launch.volumes.remove(&directories[0]);
        let error = Volumes::take(&home, &launch).await.unwrap_err();
        assert!(
            error.to_string().starts_with("a sandbox has at most 2 volumes that are disks, not 3"),
            "{error}"
        );
    }
}
