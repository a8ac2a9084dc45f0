//! Locks and the addresses of disks.

use super::*;
use crate::launch::BootSettings;
use executor_host::home::make_private_folder;
use executor_host::state::STATE_VERSION;
use executor_vm::DiskAddressing;
use protocol::latest::DiskAt;
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName};
use schemas::spec::{HostPerms, ImageReference, PinnedImage, Role, SandboxSpec};

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
        format: Default::default(),
    };
    let mut all = vec![base];
    all.extend(disks);
    let mounts = |addressing| {
        let devices = DeviceMap::new(addressing, &all);
        let mounts = volumes.mounts(&launch, &launch.spec.definition, &devices, &Shares::default());
        mounts
            .into_iter()
            .map(|mount| (mount.destination, mount.disk.at, mount.read_only))
            .collect::<Vec<_>>()
    };
    let at = |position: u32| DiskAt::Serial(format!("volume-{position}"));
    let expected =
        [("/a".to_owned(), at(1), true), ("/a/b".to_owned(), at(0), true), ("/c".to_owned(), at(0), false)];
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
    let mut other = launch("web", &[("/d", Mount { source: external("shop-data"), ..mount("data", false) })]);
    other.project = ProjectName::new("blog").unwrap();
    other.full_name = "blog-web".to_owned();
    let held = Volumes::take(&home, &owner).await.unwrap();
    let error = Volumes::take(&home, &other).await.unwrap_err().to_string();
    assert!(error.starts_with("the volume shop-data is in use by shop-db: "), "{error}");
    drop(held);
    let volumes = Volumes::take(&home, &other).await.unwrap();
    let disks = volumes.disks().unwrap();
    let devices = DeviceMap::new(DiskAddressing::Serial, &disks);
    let mounts = volumes.mounts(&other, &other.spec.definition, &devices, &Shares::default());
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
async fn disks_beyond_the_slots_are_files_with_their_locks() {
    let ranks = ["/a.qcow2", "/a.img"].map(|path| DiskSource::Host { path: path.to_owned() }.rank());
    assert_eq!(ranks, [QCOW2_RANK, 2]);
    assert_eq!([0, 3, 4, 20].map(|disks| devices_among(disks, false)), [0, 3, 2, 2]);
    assert_eq!([0, 2, 3, 20].map(|disks| devices_among(disks, true)), [0, 2, 2, 2]);
    let names = ["a", "b", "c", "d"];
    let (scratch, home) = home(&names);
    let mut launch = launch("web", &names.map(|name| (name, mount(name, name == "d"))));
    let path = scratch.path().to_str().unwrap().to_owned();
    let of_host = Mount { source: MountSource::Host { path }, ..mount("a", true) };
    launch.spec.definition.mounts.insert("/host".to_owned(), of_host);
    let volumes = Volumes::take(&home, &launch).await.unwrap();
    assert_eq!(volumes.disks().unwrap().len(), 2);
    let files = volumes.shares().unwrap();
    let policies: Vec<_> = files.iter().map(|file| (file.policy.disk, file.policy.read_only)).collect();
    assert_eq!(policies, [(true, false), (true, true)]);
    let shares = Shares::new(&home, &launch, &launch.spec.definition);
    let devices = DeviceMap::new(DiskAddressing::Serial, &volumes.disks().unwrap());
    let mounts = volumes.mounts(&launch, &launch.spec.definition, &devices, &shares);
    let serial = |position: u32| DiskAt::Serial(format!("volume-{position}"));
    let entry = |entry: &str| DiskAt::Entry { tag: MOUNTS_TAG.to_owned(), entry: entry.to_owned() };
    let at: Vec<_> = mounts.into_iter().map(|mount| mount.disk.at).collect();
    assert_eq!(at, [serial(0), serial(1), entry("1"), entry("2")]);
    // Only the file server has the file.
    drop(volumes);
    let name = VolumeName::new("c").unwrap();
    let folder = home.volume(&launch.project, &name);
    let take = || HeldVolume::take(&name, &folder, VolumeKind::Disk, Access::Read, None);
    assert!(matches!(take(), Err(VolumeError::InUse { .. })));
    drop(files);
    take().unwrap();
}

#[tokio::test]
async fn directories_have_one_writer_unless_shared_and_take_no_slots_of_disks() {
    let names = ["a", "b", "c", "d"];
    let (_scratch, home) = home(&names);
    let mut launch = launch("web", &names.map(|name| (name, mount(name, false))));
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
    let removal = || HeldVolume::take(&directories[0], &folder, VolumeKind::Directory, Access::Remove, None);
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
    let shared = [Volumes::take(&home, &launch).await.unwrap(), Volumes::take(&home, &other).await.unwrap()];
    drop(shared);
}
