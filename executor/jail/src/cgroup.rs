//! A control group (cgroups(7), version 2) that limits what the processes of one sandbox use together.
//!
//! A host delegates a part of the hierarchy to a user: systemd to each user's manager and to units with `Delegate=`, a
//! container to its own root. The group is made there, next to the one in which this process is, as a group with processes
//! cannot have groups with limits in it.

use crate::confinement::Layer;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The start of the names of groups.
const PREFIX: &str = "msb-";
/// The period of the limit on processor time, in microseconds.
const PERIOD_MICROSECONDS: u64 = 100_000;
/// The inode of the cgroup namespace of the host itself, as in the kernel's `proc_ns.h`.
const HOST_NAMESPACE: &str = "cgroup:[4026531835]";
/// The number of attempts to make a group that another process takes for a leftover.
const ATTEMPTS: usize = 3;
/// The controllers that are wanted, and the file of each limit.
const CONTROLLERS: [(&str, &str); 3] = [("memory", "memory.max"), ("pids", "pids.max"), ("cpu", "cpu.max")];

/// What the processes of a group may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes, with the files in the host's cache, which are dropped first.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub tasks: u32,
    /// Processors.
    pub processors: u32,
}

impl Limits {
    /// Returns the content of the file of a controller's limit.
    fn value(&self, controller: &str) -> String {
        match controller {
            "memory" => self.memory_bytes.to_string(),
            "pids" => self.tasks.to_string(),
            _ => {
                let quota = u64::from(self.processors) * PERIOD_MICROSECONDS;
                format!("{quota} {PERIOD_MICROSECONDS}")
            }
        }
    }
}

/// The control group of a sandbox's processes. It is removed on drop: drop it after them.
#[derive(Debug)]
pub struct Cgroup {
    /// `None` where the host does not allow one.
    folder: Option<PathBuf>,
    layer: Layer,
}

impl Cgroup {
    /// Creates a group with these limits. Where the host does not allow one, processes are started without it, and report
    /// that.
    pub fn create(limits: &Limits) -> Self {
        match create(limits) {
            Ok((folder, missing)) if missing.is_empty() => {
                Self { folder: Some(folder), layer: Layer::InForce }
            }
            Ok((folder, missing)) => {
                let why = format!("the host delegates no limits on {}", missing.join(" and "));
                Self { folder: Some(folder), layer: Layer::Partial { why } }
            }
            Err(why) => Self { folder: None, layer: Layer::Missing { why } },
        }
    }

    /// Moves a process into the group. Returns what is in force.
    pub(crate) fn add(&self, pid: i32) -> Layer {
        let Some(folder) = &self.folder else { return self.layer.clone() };
        match fs::write(folder.join("cgroup.procs"), pid.to_string()) {
            Ok(()) => self.layer.clone(),
            Err(error) => Layer::Missing { why: format!("cannot enter its group: {error}") },
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // One with processes stays, and is removed as a leftover.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Creates a group in the first place of the hierarchy that allows it. Returns it with the controllers that it lacks.
fn create(limits: &Limits) -> Result<(PathBuf, Vec<&'static str>), String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    let own = own_group(&read("/proc/self/cgroup")?).ok_or("the host has no unified hierarchy")?.to_owned();
    let root = mount_point(&read("/proc/self/mountinfo")?).ok_or("the unified hierarchy is not mounted")?;
    let own = root.join(own.trim_start_matches('/'));
    let mut why = "the host delegates no part of the hierarchy to this user".to_owned();
    let places = own.ancestors().take_while(|place| place.starts_with(&root));
    for place in places.filter(|place| is_delegated(place, &root)) {
        match create_in(place, limits) {
            Ok(created) => return Ok(created),
            Err(refused) => why = refused,
        }
    }
    Err(why)
}

/// Creates a group in this one, which must be able to limit memory or tasks.
fn create_in(place: &Path, limits: &Limits) -> Result<(PathBuf, Vec<&'static str>), String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let failed = |what: &str, error: &io::Error| format!("cannot {what} in {}: {error}", place.display());
    remove_leftovers(place);
    for (controller, _) in CONTROLLERS {
        // Refused if it has processes, or its parent does not have the controller. It may be there already.
        let _ = fs::write(place.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    let enabled = fs::read_to_string(place.join("cgroup.subtree_control"))
        .map_err(|error| failed("read the controllers", &error))?;
    let has = |controller: &str| enabled.split_ascii_whitespace().any(|name| name == controller);
    if !has("memory") && !has("pids") {
        return Err(format!("{} has no limits for groups in it", place.display()));
    }
    let mut last = io::Error::from(Errno::NOENT);
    for _ in 0..ATTEMPTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
        if let Err(error) = fs::create_dir(&folder) {
            return Err(failed("make a group", &error));
        }
        let written = CONTROLLERS
            .into_iter()
            .filter(|(controller, _)| has(controller))
            .try_for_each(|(controller, file)| fs::write(folder.join(file), limits.value(controller)));
        match written {
            Ok(()) if access(folder.join("cgroup.procs"), Access::WRITE_OK).is_ok() => {
                let missing = CONTROLLERS.into_iter().map(|(controller, _)| controller);
                return Ok((folder, missing.filter(|controller| !has(controller)).collect()));
            }
            // Another process has removed it as a leftover.
            Ok(()) => {}
            Err(error) => {
                let _ = fs::remove_dir(&folder);
                last = error;
            }
        }
    }
    Err(failed("limit a group", &last))
}

/// Removes the groups of processes that were killed before they could. One with processes cannot be removed.
fn remove_leftovers(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether the host leaves a group of the hierarchy to this user.
fn is_delegated(place: &Path, root: &Path) -> bool {
    let user = rustix::process::geteuid();
    if !user.is_root() {
        return fs::metadata(place).is_ok_and(|metadata| metadata.uid() == user.as_raw());
    }
    let is_marked = |group: &Path| {
        ["trusted.delegate", "user.delegate"]
            .iter()
            .any(|name| rustix::fs::getxattr(group, *name, &mut [0; 8][..]).is_ok())
    };
    let owner = fs::read_link("/proc/self/ns/cgroup").unwrap_or_default();
    // A container's own root, or a host where no service manager has the whole hierarchy.
    owner != Path::new(HOST_NAMESPACE)
        || !Path::new("/run/systemd/system").exists()
        || place.ancestors().take_while(|group| group.starts_with(root)).any(is_marked)
}

/// Finds the path of this process's group in `/proc/self/cgroup`.
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Finds the place of the unified hierarchy in `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn mount_point(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_whole = mount.split(' ').nth(3) == Some("/");
        let place = mount.split(' ').nth(4)?;
        (is_whole && file_system.starts_with("cgroup2 ")).then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_the_unified_hierarchy() {
        assert_eq!(own_group("12:cpu:/a\n0::/user.slice/app.scope\n"), Some("/user.slice/app.scope"));
        assert_eq!(own_group("1:name=systemd:/\n"), None);
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 23 0:36 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup rw\n";
        let part = "30 23 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(unified), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(mount_point(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point(part), None);
        assert_eq!(mount_point(""), None);
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let limits = Limits { memory_bytes: 1 << 30, tasks: 300, processors: 3 };
        let values: Vec<String> =
            CONTROLLERS.iter().map(|(controller, _)| limits.value(controller)).collect();
        assert_eq!(values, ["1073741824", "300", "300000 100000"]);
    }

    #[test]
    fn a_place_without_controllers_is_refused_and_leftovers_are_removed() {
        let limits = Limits { memory_bytes: 1, tasks: 1, processors: 1 };
        let folder = tempfile::tempdir().unwrap();
        let leftover = folder.path().join("msb-1-0");
        fs::create_dir(&leftover).unwrap();
        fs::create_dir(folder.path().join("other")).unwrap();
        fs::write(folder.path().join("cgroup.subtree_control"), "cpuset io").unwrap();
        let refused = create_in(folder.path(), &limits).unwrap_err();
        assert!(refused.contains("has no limits"), "{refused}");
        assert!(!leftover.exists());
        assert!(folder.path().join("other").exists());
    }

    /// On most hosts of tests nothing is delegated; then the reason is told.
    #[test]
    fn a_group_limits_its_processes_or_says_why_not() {
        let limits = Limits { memory_bytes: 64 << 20, tasks: 20, processors: 1 };
        let group = Cgroup::create(&limits);
        let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = process.id().cast_signed();
        let layer = group.add(pid);
        match &group.folder {
            None => assert!(matches!(&layer, Layer::Missing { why } if !why.is_empty()), "{layer:?}"),
            Some(folder) => {
                let read = |file| fs::read_to_string(folder.join(file)).unwrap();
                assert_eq!(read("cgroup.procs").trim(), pid.to_string());
                assert_eq!(read("pids.max").trim(), "20");
            }
        }
        let folder = group.folder.clone();
        process.kill().unwrap();
        process.wait().unwrap();
        drop(group);
        assert!(folder.is_none_or(|folder| !folder.exists()));
    }
}
