//! A root directory of its own: an empty file system with what the process needs in it, and nothing else of the host.

use crate::confinement::Layer;
use crate::namespaces::{Namespace, Obtained};
use rustix::fs::{Mode, OFlags, mkdir, open, symlink};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::path::Arg;
use rustix::process::{chdir, pivot_root};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The folder on which the new root is assembled. Only this process sees that.
const STAGE: &str = "/tmp";
/// The flags of its file systems.
const MOUNT_FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
/// The size of the new root, which contains mount points alone.
const ROOT_OPTIONS: &std::ffi::CStr = c"size=64k,mode=0755";

/// The host's files that are in the new root, at their own paths. Those that the host lacks are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootPlan {
    /// Devices and other files.
    pub files: Vec<PathBuf>,
    /// Folders, with what is mounted in them.
    pub folders: Vec<PathBuf>,
    /// Empty folders to mount something on.
    pub mount_points: Vec<PathBuf>,
}

impl RootPlan {
    /// Makes this the root of the process, which needs a mount namespace of its own. `/proc` is in it as well.
    ///
    /// If the host does not allow a part of that, the process keeps the root that it has: Ubuntu, for example, lets ordinary
    /// users create namespaces, but mount nothing in them.
    ///
    /// # Errors
    ///
    /// If the process is left without a usable root.
    pub(crate) fn enter(&self, namespaces: &Obtained) -> io::Result<Layer> {
        let own_processes = match self.assemble(namespaces) {
            Ok(own_processes) => own_processes,
            Err(error) => {
                // Nothing has been mounted there if that was refused.
                let _ = unmount(STAGE, UnmountFlags::DETACH);
                chdir("/")?;
                return Ok(Layer::Missing { why: error.to_string() });
            }
        };
        // The old root has been put on top of the new one.
        unmount(".", UnmountFlags::DETACH)?;
        chdir("/")?;
        mount_remount("/", MOUNT_FLAGS | MountFlags::RDONLY, c"")?;
        Ok(if own_processes {
            Layer::InForce
        } else {
            Layer::Partial { why: "/proc shows the host's processes".to_owned() }
        })
    }

    /// Assembles the root and enters it. Returns whether its `/proc` shows its own processes alone.
    fn assemble(&self, namespaces: &Obtained) -> io::Result<bool> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount("msb-jail", STAGE, "tmpfs", MOUNT_FLAGS, ROOT_OPTIONS)?;
        let stage = Path::new(STAGE);
        for file in &self.files {
            bind_file(stage, file)?;
        }
        for folder in &self.folders {
            bind_folder(stage, folder)?;
        }
        for point in &self.mount_points {
            fs::create_dir_all(inside(stage, point))?;
        }
        let own_processes = mount_proc(stage, namespaces)?;
        chdir(stage)?;
        pivot_root(".", ".")?;
        Ok(own_processes)
    }
}

/// Mounts `/proc`: of its own processes if possible. Returns whether it is.
fn mount_proc(stage: &Path, namespaces: &Obtained) -> io::Result<bool> {
    let point = stage.join("proc");
    mkdir_if_missing(&point)?;
    // Inside some containers the kernel refuses it, because parts of the container's own `/proc` are hidden.
    if namespaces.has(Namespace::Pid) && mount("proc", &point, "proc", MOUNT_FLAGS, None).is_ok() {
        return Ok(true);
    }
    mount_bind_recursive("/proc", &point)?;
    Ok(false)
}

fn bind_file(stage: &Path, file: &Path) -> io::Result<()> {
    let Ok(status) = fs::metadata(file) else { return Ok(()) };
    if status.is_dir() || status.file_type().is_fifo() || status.file_type().is_socket() {
        return Ok(());
    }
    let point = inside(stage, file);
    make_parents(&point)?;
    drop(open(&point, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from(0o600))?);
    Ok(mount_bind_recursive(file, &point)?)
}

/// Binds a folder; a link to one, such as `/lib`, is made again as a link.
fn bind_folder(stage: &Path, folder: &Path) -> io::Result<()> {
    let Ok(status) = fs::symlink_metadata(folder) else { return Ok(()) };
    let point = inside(stage, folder);
    make_parents(&point)?;
    if status.is_symlink() {
        return match symlink(fs::read_link(folder)?, &point) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
    mkdir_if_missing(&point)?;
    Ok(mount_bind_recursive(folder, &point)?)
}

fn inside(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn mkdir_if_missing(path: impl Arg) -> io::Result<()> {
    match mkdir(path, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
