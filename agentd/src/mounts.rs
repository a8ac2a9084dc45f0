//! Mounts: disks of volumes, and shared files and directories, bound to their paths in the root, and directories in
//! memory.
//!
//! Each disk, which may be a file of a virtio-fs device, and each such device is mounted once at a path that is hidden
//! below the new root, and bound from there to every path of its mounts, with the flags of each. At shutdown the hidden
//! mounts make whole file systems read-only, whatever commands have mounted elsewhere.

use std::fs::{DirBuilder, Metadata, create_dir_all, metadata};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use protocol::latest::{BootDocument, Mount, TmpfsMount, VolumeMount};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use crate::changes::SharedFiles;
use crate::copy_up::{self, CopyFailure};
use crate::root::{RootError, step};
use crate::shares::Shares;
use crate::volumes::Volumes;
use crate::{tmpfs, users};

/// The file systems that a disk of the host can have: those of the guest's kernel.
pub const FILE_SYSTEMS: [&str; 3] = ["ext4", "erofs", "squashfs"];

/// The mode of an unchanged root directory of a volume.
const UNTOUCHED_MODE: u32 = 0o755;

/// Everything that is mounted for the sandbox.
pub struct Mounts {
    volumes: Volumes,
    shares: Shares,
}

impl Mounts {
    /// Mounts each disk and device at its hidden path, before the root is moved.
    pub fn open(document: &BootDocument) -> Result<Self, RootError> {
        let shares = Shares::mount_devices(document)?;
        // Files of the devices can be disks.
        match Volumes::mount_disks(&document.volumes, &shares) {
            Ok(volumes) => Ok(Self { volumes, shares }),
            Err(error) => {
                shares.release();
                Err(error)
            }
        }
    }

    /// Fills empty writable volumes with the contents of the directories of the root that they cover, before any of them
    /// is bound. `progress` is called again and again meanwhile, with the number of bytes of a copy.
    pub fn fill(&self, document: &BootDocument, progress: &mut dyn FnMut(u64)) -> Result<(), RootError> {
        let root = step(metadata("/"), "look at /")?;
        for binding in in_order(document) {
            let Some(source) = self.fillable(&binding) else { continue };
            let destination = binding.destination();
            // Another device is a file system of the kernel, such as /proc.
            let covered =
                metadata(destination).ok().filter(|found| found.is_dir() && found.dev() == root.dev());
            let source = Path::new(&source);
            if covered.is_some() {
                hand_over(source, destination, covered.as_ref(), None);
            }
            let covered = covered.is_some().then_some(Path::new(destination));
            copy_up::fill(source, covered, progress).map_err(|failure| not_filled(failure, destination))?;
        }
        Ok(())
    }

    /// Returns the path of the volume of a writable mount; `None` for all other mounts.
    fn fillable(&self, binding: &Binding<'_>) -> Option<String> {
        match binding {
            Binding::Volume(mount) if !mount.read_only && !mount.of_host => self.volumes.path(mount),
            Binding::Share(mount) if mount.volume && !mount.read_only => self.shares.path(mount),
            Binding::Volume(_) | Binding::Share(_) | Binding::Tmpfs(_) => None,
        }
    }

    /// Binds all mounts to their paths in the new root, outer paths first.
    pub fn bind(&self, document: &BootDocument) -> Result<(), RootError> {
        let user = document.user.as_deref();
        for binding in in_order(document) {
            match binding {
                Binding::Volume(mount) => self.volumes.bind(mount, user)?,
                Binding::Share(mount) => self.shares.bind(mount, user)?,
                Binding::Tmpfs(mount) => tmpfs::mount_at_path(mount)?,
            }
        }
        Ok(())
    }

    /// Returns the shared files, if there are any, for the kernel's caches of them.
    pub fn shared_files(&self) -> Result<Option<SharedFiles>, RootError> {
        self.shares.files()
    }

    /// Makes every file system read-only, which writes what is not written yet and marks disks clean, and detaches disks
    /// from their files. Returns false if one is busy.
    pub fn release(self) -> bool {
        // Both, whatever the result of the other.
        let (volumes, shares) = (self.volumes.release(), self.shares.release());
        volumes && shares
    }
}

/// Returns the error about a volume that cannot be filled.
fn not_filled(failure: CopyFailure, destination: &str) -> RootError {
    if failure.is_full() {
        return RootError::VolumeFull { destination: destination.to_owned() };
    }
    let path = Path::new(destination).join(&failure.path);
    RootError::Step {
        step: format!("copy {} of the image into the volume for {destination}", path.display()),
        source: failure.source,
    }
}

/// One mount of any kind.
#[derive(Debug, PartialEq, Eq)]
enum Binding<'a> {
    Volume(&'a VolumeMount),
    Share(&'a Mount),
    Tmpfs(&'a TmpfsMount),
}

impl Binding<'_> {
    fn destination(&self) -> &str {
        match self {
            Self::Volume(mount) => &mount.destination,
            Self::Share(mount) => &mount.destination,
            Self::Tmpfs(mount) => &mount.destination,
        }
    }

    /// Whether its files are the host's own, not those of a volume.
    fn is_of_host(&self) -> bool {
        match self {
            Self::Volume(mount) => mount.of_host,
            Self::Tmpfs(_) => false,
            Self::Share(mount) => !mount.volume,
        }
    }
}

/// Returns all mounts, sorted by path: a directory comes before its contents.
fn in_order(document: &BootDocument) -> Vec<Binding<'_>> {
    let volumes = document.volumes.iter().map(Binding::Volume);
    let shares = document.mounts.iter().map(Binding::Share);
    let mut all: Vec<_> = volumes.chain(shares).chain(document.tmpfs.iter().map(Binding::Tmpfs)).collect();
    all.sort_by(|one, other| one.destination().cmp(other.destination()));
    all
}

/// Whether a path lies in a mount of the host's own files, which the agent never writes to by itself.
pub fn is_of_host(document: &BootDocument, path: &str) -> bool {
    // The innermost mount is the last one in order.
    let innermost =
        in_order(document).into_iter().rfind(|binding| Path::new(path).starts_with(binding.destination()));
    innermost.is_some_and(|binding| binding.is_of_host())
}

/// A mount that no path leads to.
pub struct HiddenMount(OwnedFd);

impl HiddenMount {
    /// Mounts a file system at a path of the initial root, which will be hidden.
    pub fn new(
        device: &str,
        target: &str,
        file_system: &str,
        flags: MountFlags,
        what: &str,
    ) -> Result<Self, RootError> {
        step(DirBuilder::new().recursive(true).mode(0o700).create(target), format!("make {target}"))?;
        let mounted = mount(device, target, file_system, flags | MountFlags::NOATIME, None);
        // A read-only disk with a journal to replay.
        if let Err(Errno::ROFS) = mounted {
            return Err(RootError::Unclean { what: what.to_owned() });
        }
        step(mounted, format!("mount {what}"))?;
        Self::open(target)
    }

    /// Mounts a disk with whatever file system it has.
    pub fn of_any(device: &str, target: &str, flags: MountFlags, what: &str) -> Result<Self, RootError> {
        for file_system in FILE_SYSTEMS {
            match Self::new(device, target, file_system, flags, what) {
                // The answer of a file system that is not there.
                Err(RootError::Step { source, .. })
                    if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
                mounted => return mounted,
            }
        }
        Err(RootError::NoFileSystem { what: what.to_owned() })
    }

    /// Returns a path of the root of the file system.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    /// Binds the root of a hidden mount to another hidden path, where nothing can be changed.
    pub fn read_only(source: &str, target: &str) -> Result<Self, RootError> {
        step(DirBuilder::new().recursive(true).mode(0o700).create(target), format!("make {target}"))?;
        let restrictions = Restrictions { read_only: true, noexec: true, nosuid: true, nodev: true };
        bind(source, target, restrictions)?;
        Self::open(target)
    }

    /// Returns another descriptor of it.
    pub fn descriptor(&self) -> Result<OwnedFd, RootError> {
        step(self.0.try_clone(), "duplicate a mount's descriptor")
    }

    fn open(target: &str) -> Result<Self, RootError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        step(open(target, flags, Mode::empty()), format!("keep {target}")).map(Self)
    }

    /// Opens a file in its root: for reading, and unless `read_only` for writing.
    pub fn open_file(&self, name: &str, read_only: bool) -> Result<OwnedFd, RootError> {
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        step(openat(&self.0, name, flags, Mode::empty()), format!("open the disk {name}"))
    }

    /// Unmounts the file system, unless it is mounted elsewhere as well.
    pub fn unmount(self) {
        // Lazily, as this descriptor is a use of it.
        let _ = unmount(self.path().as_str(), UnmountFlags::DETACH);
    }

    /// Makes the whole file system read-only; false if it is busy.
    pub fn make_read_only(&self) -> bool {
        let flags = MountFlags::RDONLY | MountFlags::NOATIME;
        mount_remount(self.path().as_str(), flags, c"").is_ok()
    }
}

/// The restrictions of one mount.
#[derive(Clone, Copy)]
pub struct Restrictions {
    pub read_only: bool,
    pub noexec: bool,
    pub nosuid: bool,
    pub nodev: bool,
}

/// Binds a file or directory to a path of the root.
pub fn bind(source: &str, destination: &str, restrictions: Restrictions) -> Result<(), RootError> {
    step(mount_bind(source, destination), format!("mount the files for {destination}"))?;
    let Restrictions { read_only, noexec, nosuid, nodev } = restrictions;
    let mut flags = MountFlags::BIND | MountFlags::NOATIME;
    for (is_set, flag) in [
        (read_only, MountFlags::RDONLY),
        (noexec, MountFlags::NOEXEC),
        (nosuid, MountFlags::NOSUID),
        (nodev, MountFlags::NODEV),
    ] {
        flags.set(flag, is_set);
    }
    step(mount_remount(destination, flags, c""), format!("restrict the mount at {destination}"))
}

/// Creates the directory of a mount, unless it exists. Returns what it was before, `None` if it was created.
pub fn make_mount_point(destination: &str) -> Result<Option<Metadata>, RootError> {
    let covered = metadata(destination).ok();
    step(create_dir_all(destination), format!("make the mount point {destination}"))?;
    Ok(covered)
}

/// Gives the directory of an unchanged empty volume the owner and mode of the directory that it covers, or else the
/// sandbox's user as owner. A volume that its user cannot write to is of no use, but the sandbox still starts.
pub fn hand_over(root: &Path, destination: &str, covered: Option<&Metadata>, user: Option<&str>) {
    if let Err(error) = try_hand_over(root, covered, user) {
        crate::log(format_args!("the volume at {destination} stays root's: {error}"));
    }
}

fn try_hand_over(root: &Path, covered: Option<&Metadata>, user: Option<&str>) -> std::io::Result<()> {
    // A link in /proc names a directory only with a path after it.
    let root = root.join(".");
    let own = metadata(&root)?;
    let untouched = (own.uid(), own.gid(), own.mode() & 0o7777) == (0, 0, UNTOUCHED_MODE);
    if !untouched || !copy_up::is_unused(&root)? {
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

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::latest::{BOOT_DOCUMENT_VERSION, Disk, DiskAt};
    use std::fs::{create_dir, set_permissions, write};

    fn document(volumes: &[&str], shares: &[(&str, bool)]) -> BootDocument {
        let disk = || Disk { at: DiskAt::Index(0), file_system: "ext4".to_owned() };
        let volume = |destination: &&str| VolumeMount {
            disk: disk(),
            destination: (*destination).to_owned(),
            of_host: false,
            read_only: false,
            noexec: false,
            nosuid: false,
            nodev: false,
        };
        let share = |(destination, volume): &(&str, bool)| Mount {
            tag: "tag".to_owned(),
            entry: "0".to_owned(),
            destination: (*destination).to_owned(),
            volume: *volume,
            read_only: false,
            noexec: false,
            nosuid: false,
            nodev: false,
        };
        BootDocument {
            version: BOOT_DOCUMENT_VERSION,
            hostname: "web".to_owned(),
            env: Default::default(),
            workdir: None,
            user: None,
            shell: "/bin/sh".to_owned(),
            scripts: Default::default(),
            sandboxfile: None,
            base: disk(),
            writable: disk(),
            directories: Vec::new(),
            volumes: volumes.iter().map(volume).collect(),
            mounts: shares.iter().map(share).collect(),
            tmpfs: Vec::new(),
            files: Vec::new(),
            network: None,
            trust: None,
            clock_unix_ns: 0,
            rlimits: Vec::new(),
            hosts: std::collections::BTreeMap::new(),
            read_only: false,
        }
    }

    #[test]
    fn outer_paths_come_first_whatever_is_mounted_there() {
        let document = document(&["/a/b", "/c"], &[("/a/b/c", true), ("/a-b", false), ("/a", false)]);
        let order: Vec<_> =
            in_order(&document).iter().map(|binding| binding.destination().to_owned()).collect();
        assert_eq!(order, ["/a", "/a-b", "/a/b", "/a/b/c", "/c"]);
    }

    #[test]
    fn the_innermost_mount_tells_whose_files_they_are() {
        let document = document(
            &["/etc/disk"],
            &[("/etc", false), ("/etc/volume", true), ("/etc/volume/hosts", false), ("/hosts", false)],
        );
        for path in ["/etc/hosts", "/etc/volume/hosts", "/hosts", "/etc/disks/x", "/etc"] {
            assert!(is_of_host(&document, path), "{path}");
        }
        for path in ["/etc/disk/hosts", "/etc/volume/other", "/hostsname", "/", "/usr/hosts"] {
            assert!(!is_of_host(&document, path), "{path}");
        }
    }

    #[test]
    fn only_unchanged_empty_volumes_are_handed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let with_mode = |name: &str, mode: u32| {
            let path = scratch.path().join(name);
            create_dir(&path).unwrap();
            set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let covered = metadata(with_mode("covered", 0o1770)).unwrap();
        let mode = |path: &Path| metadata(path).unwrap().mode() & 0o7777;
        // Owners other than this user need root, modes do not; the volume must be root's.
        let is_root = covered.uid() == 0;
        for (name, before, contents, expected) in [
            ("new", UNTOUCHED_MODE, None, if is_root { 0o1770 } else { UNTOUCHED_MODE }),
            ("changed", 0o700, None, 0o700),
            ("used", UNTOUCHED_MODE, Some("file"), UNTOUCHED_MODE),
        ] {
            let root = with_mode(name, before);
            if let Some(file) = contents {
                write(root.join(file), "").unwrap();
            }
            try_hand_over(&root, Some(&covered), None).unwrap();
            assert_eq!(mode(&root), expected, "{name}");
        }
        assert!(try_hand_over(&scratch.path().join("missing"), None, None).is_err());
    }
}
