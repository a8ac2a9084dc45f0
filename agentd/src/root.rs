//! Builds the root: base disk and writable disk as an overlay, moved to `/`, with the kernel's file systems, the
//! scripts, and the sandbox's CA.
//!
//! `/tmp` and `/run` stay on the disk: images contain directories there that services need, with their owners.

use std::ffi::CStr;
use std::fs::{DirBuilder, Permissions, create_dir_all, read_to_string, set_permissions, write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::latest::{BootDocument, Disk, DiskAt, MAX_TRUST_BYTES};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move, mount_remount};
use rustix::process::{chdir, chroot};
use rustix::system::sethostname;
use rustix::time::{ClockId, Timespec, clock_settime};
use thiserror::Error;

use crate::declared_files::DeclaredFiles;
use crate::environment::{SCRIPTS, TrustVariables};
use crate::hosts::Names;
use crate::mount_points::MountPoints;
use crate::mounts::{FILE_SYSTEMS, Mounts, is_of_host};
use crate::{hosts, network, trust, users};

const BASE: &str = "/base";
const WRITABLE: &str = "/writable";
const NEW_ROOT: &str = "/root";
/// The path of the Sandboxfile in a sandbox.
const SANDBOXFILE: &str = "/.msb/Sandboxfile";
const OVERLAY_OPTIONS: &CStr =
    c"lowerdir=/base,upperdir=/writable/upper,workdir=/writable/work,redirect_dir=on";
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum RootError {
    #[error("there is no disk {at:?}")]
    NoDisk { at: DiskAt },
    #[error("cannot {step}: {source}")]
    Step { step: String, source: std::io::Error },
    #[error("'{name}' is not a valid name for a script")]
    ScriptName { name: String },
    #[error(
        "{what} was not unmounted cleanly, and is mounted read-only here: \
         a sandbox that may write to it must start first"
    )]
    Unclean { what: String },
    #[error(
        "{what} has no file system that the guest's kernel knows ({}); partitions are not mounted",
        FILE_SYSTEMS.join(", ")
    )]
    NoFileSystem { what: String },
    #[error("there is no virtio-fs device '{tag}'")]
    NoShare { tag: String },
    #[error(
        "the image's files in {destination} do not fit into the empty volume that is mounted there: \
         give the volume a larger `size`, or make room on the host's disk"
    )]
    VolumeFull { destination: String },
    #[error("{destination} is a directory, and a file cannot be mounted over it")]
    FileOverDirectory { destination: String },
    #[error("more files are declared than this agent takes")]
    TooManyFiles,
    #[error("the sandbox's CA is not a list of certificates in PEM of at most {MAX_TRUST_BYTES} bytes")]
    InvalidCa,
}

pub fn step<T, E: Into<std::io::Error>>(
    result: Result<T, E>,
    step: impl Into<String>,
) -> Result<T, RootError> {
    result.map_err(|error| RootError::Step { step: step.into(), source: error.into() })
}

/// The mounts of a root, for unmounting.
pub struct Root {
    /// The writable disk's own mount, which is hidden below the new root and reachable by this descriptor alone.
    pub writable: Arc<OwnedFd>,
    pub mounts: Mounts,
    pub trust: TrustVariables,
}

/// Mounts the file systems that are needed to find the port and the disks.
pub fn mount_for_devices() -> Result<(), RootError> {
    mount_kernel_file_system("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755")?;
    mount_kernel_file_system("sysfs", "/sys", PLAIN, c"")
}

/// Builds the root. `progress` is called again and again while files are copied, with the number of bytes of a copy.
pub fn build(document: &BootDocument, progress: &mut dyn FnMut(u64)) -> Result<Root, RootError> {
    set_clock(document.clock_unix_ns);
    let writable = mount_overlay(document)?;
    let files = DeclaredFiles::write(&document.files)?;
    let mounts = Mounts::open(document)?;
    match complete(document, &writable, &mounts, files.as_ref(), progress) {
        Ok(trust) => Ok(Root { writable: Arc::new(writable), mounts, trust }),
        Err(error) => {
            mounts.release();
            Err(error)
        }
    }
}

/// Completes the root after it was moved to `/`.
fn complete(
    document: &BootDocument,
    writable: &OwnedFd,
    mounts: &Mounts,
    files: Option<&DeclaredFiles<'_>>,
    progress: &mut dyn FnMut(u64),
) -> Result<TrustVariables, RootError> {
    step(chdir(NEW_ROOT), "enter the new root")?;
    step(mount_move(".", "/"), "move the new root to /")?;
    step(chroot("."), "change the root")?;
    step(chdir("/"), "enter /")?;
    mount_kernel_file_systems()?;
    // Before volumes are filled, which would take the mount points of earlier files for files of the image.
    let tidied = MountPoints::tidy(writable, Path::new("/"), &document.files);
    let mut points = step(tidied, "remove the mount points of earlier files")?;
    mounts.fill(document, progress)?;
    mounts.bind(document)?;
    if let Some(files) = files {
        files.bind(&mut points)?;
    }
    let trust = install_own_files(document)?;
    step(sethostname(document.hostname.as_bytes()), "set the host name")?;
    // `1` is IFF_UP. A kernel without loopback has nothing to bring up.
    let _ = write("/sys/class/net/lo/flags", "0x1");
    let addresses = document.network.as_ref().map(network::configure).transpose()?;
    if let Some(network) = &document.network
        && !is_given(document, network::RESOLV_CONF)
    {
        network::write_resolv_conf(network)?;
    }
    if !is_given(document, hosts::HOSTS) {
        hosts::install(&Names {
            hostname: &document.hostname,
            addresses: &addresses.unwrap_or_default(),
            declared: &document.hosts,
        });
    }
    for directory in &document.directories {
        step(create_dir_all(directory), format!("make the directory '{directory}'"))?;
    }
    if let Some(workdir) = &document.workdir {
        step(create_dir_all(workdir), format!("make the working directory '{workdir}'"))?;
    }
    if document.read_only {
        // The mount and not the file system below it, which the agent itself writes to at a snapshot.
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        step(mount_remount("/", flags, c""), "make the root read only")?;
    }
    Ok(trust)
}

/// Whether a file is declared, or lies in a mount of the host's own files: the agent leaves it as it is.
fn is_given(document: &BootDocument, path: &str) -> bool {
    is_of_host(document, path) || document.files.iter().any(|file| file.destination == path)
}

pub fn set_clock(unix_ns: u64) {
    let time = Timespec::try_from(Duration::from_nanos(unix_ns)).unwrap_or_default();
    if let Err(error) = clock_settime(ClockId::Realtime, time) {
        crate::log(format_args!("the clock could not be set: {error}"));
    }
}

fn mount_overlay(document: &BootDocument) -> Result<OwnedFd, RootError> {
    // A base has no journal to replay, or one that does not matter: it is never written, not even for that.
    let options = if document.base.file_system == "ext4" { c"noload" } else { c"" };
    mount_disk(&document.base, BASE, MountFlags::RDONLY, options)?;
    mount_disk(&document.writable, WRITABLE, MountFlags::NOATIME, c"")?;
    make_directory("/writable/upper")?;
    make_directory("/writable/work")?;
    make_directory(NEW_ROOT)?;
    step(
        mount("overlay", NEW_ROOT, "overlay", MountFlags::empty(), Some(OVERLAY_OPTIONS)),
        "mount the overlay",
    )?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    step(open(WRITABLE, flags, Mode::empty()), "keep the writable disk")
}

fn mount_disk(disk: &Disk, target: &str, flags: MountFlags, options: &CStr) -> Result<(), RootError> {
    let device = find_disk(disk)?;
    make_directory(target)?;
    let mounted = mount(&device, target, disk.file_system.as_str(), flags, Some(options));
    step(mounted, format!("mount the disk {} at {target}", device.display()))
}

/// Finds a disk's device, with a timeout: a disk may be announced after the console port.
pub fn find_disk(disk: &Disk) -> Result<PathBuf, RootError> {
    let deadline = Instant::now() + DISK_TIMEOUT;
    loop {
        let found = match &disk.at {
            DiskAt::Serial(serial) => disk_by_serial(serial),
            DiskAt::Index(index) => disk_by_index(*index),
            // Only a volume can be a file.
            DiskAt::Entry { .. } => return Err(RootError::NoDisk { at: disk.at.clone() }),
        };
        if let Some(path) = found.filter(|path| path.exists()) {
            return Ok(path);
        }
        if Instant::now() >= deadline {
            return Err(RootError::NoDisk { at: disk.at.clone() });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn disk_by_serial(wanted: &str) -> Option<PathBuf> {
    std::fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
        let serial = read_to_string(entry.path().join("serial")).ok()?;
        (serial.trim_end_matches(['\n', '\0']) == wanted).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

fn disk_by_index(index: u32) -> Option<PathBuf> {
    let letter = char::from(b'a'.checked_add(u8::try_from(index).ok().filter(|index| *index < 26)?)?);
    Some(PathBuf::from(format!("/dev/vd{letter}")))
}

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

fn mount_kernel_file_systems() -> Result<(), RootError> {
    mount_kernel_file_system("proc", "/proc", PLAIN, c"")?;
    mount_kernel_file_system("sysfs", "/sys", PLAIN, c"")?;
    mount_kernel_file_system("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755")?;
    mount_kernel_file_system(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"gid=5,mode=0620,ptmxmode=0666",
    )?;
    mount_kernel_file_system("tmpfs", "/dev/shm", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    // A kernel without one of these can still run.
    let _ = mount_kernel_file_system("mqueue", "/dev/mqueue", PLAIN, c"");
    let _ = mount("cgroup2", "/sys/fs/cgroup", "cgroup2", PLAIN, Some(c"nsdelegate"));
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        let _ = symlink(target, link);
    }
    for (directory, mode) in [("/tmp", 0o1777), ("/run", 0o755)] {
        if DirBuilder::new().create(directory).is_ok() {
            let _ = set_permissions(directory, Permissions::from_mode(mode));
        }
    }
    Ok(())
}

fn mount_kernel_file_system(
    kind: &str,
    target: &str,
    flags: MountFlags,
    options: &CStr,
) -> Result<(), RootError> {
    make_directory(target)?;
    match mount(kind, target, kind, flags, Some(options)) {
        // The kernel may be configured to mount devtmpfs itself.
        Err(Errno::BUSY) => Ok(()),
        result => step(result, format!("mount {target}")),
    }
}

fn make_directory(path: &str) -> Result<(), RootError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => step(result, format!("make {path}")),
    }
}

/// Installs the scripts and the CA on a read-only tmpfs, so that they are those of this boot and never lie on the disk.
fn install_own_files(document: &BootDocument) -> Result<TrustVariables, RootError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount_kernel_file_system("tmpfs", "/.msb", flags, c"mode=0755")?;
    make_directory(SCRIPTS)?;
    for (name, body) in &document.scripts {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(RootError::ScriptName { name: name.clone() });
        }
        let path = Path::new(SCRIPTS).join(name);
        step(write(&path, body), format!("write the script '{name}'"))?;
        step(set_permissions(&path, Permissions::from_mode(0o755)), format!("make '{name}' executable"))?;
    }
    if let Some(text) = &document.sandboxfile {
        install_sandboxfile(text, document.user.as_deref())?;
    }
    let trust = trust::install(Path::new("/"), document.trust.as_ref())?;
    step(mount_remount("/.msb", flags | MountFlags::RDONLY, c"mode=0755"), "make /.msb read-only")?;
    Ok(trust)
}

/// Installs the Sandboxfile. It contains environment variables, so only root and the sandbox's own user may read it.
fn install_sandboxfile(text: &str, user: Option<&str>) -> Result<(), RootError> {
    step(write(SANDBOXFILE, text), format!("write {SANDBOXFILE}"))?;
    let mode = Permissions::from_mode(0o400);
    step(set_permissions(SANDBOXFILE, mode), format!("restrict {SANDBOXFILE}"))?;
    let Some(user) = user else { return Ok(()) };
    match users::look_up(user) {
        Ok(identity) => step(
            chown(SANDBOXFILE, Some(identity.uid), Some(identity.gid)),
            format!("hand over {SANDBOXFILE}"),
        ),
        // Each command will report it.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_lettered() {
        assert_eq!(disk_by_index(0), Some(PathBuf::from("/dev/vda")));
        assert_eq!(disk_by_index(25), Some(PathBuf::from("/dev/vdz")));
        assert_eq!(disk_by_index(26), None);
        assert_eq!(disk_by_index(u32::MAX), None);
    }
}
