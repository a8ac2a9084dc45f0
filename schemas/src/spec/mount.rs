//! Mounts, copied folders and volumes.

use super::defaults;
use crate::name::VolumeName;
use rules::mount_text::{HostPerms, StatVirt, VolumeKind};
use rules::unit::format_size_mib;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A mount; its path in the sandbox is its key in the map.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The path of the host, or the volume.
    pub source: MountSource,
    /// Whether the sandbox cannot write to it.
    pub readonly: bool,
    /// Whether programs on it cannot be executed.
    pub noexec: bool,
    /// Whether set-user-id bits on it have no effect.
    pub nosuid: bool,
    /// Whether device nodes on it have no effect.
    pub nodev: bool,
    /// Where the owners, modes and devices of files of the host are stored.
    pub stat_virt: StatVirt,
    /// The modes of files on the host.
    pub host_perms: HostPerms,
    /// The space that the sandbox can add to it, in MiB; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_mib: Option<u32>,
    /// The user who owns files that have no owner of their own, as the sandbox sees them; `None` for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group of such files; `None` for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl Mount {
    /// Returns a mount with the default options.
    pub fn of(source: MountSource) -> Self {
        Self {
            source,
            readonly: false,
            noexec: false,
            nosuid: false,
            nodev: false,
            stat_virt: StatVirt::default(),
            host_perms: HostPerms::default(),
            size_mib: None,
            uid: None,
            gid: None,
        }
    }

    /// Returns the user and the group that own files without an owner of their own; a missing one of the two is root.
    /// `None` for the default.
    pub fn owner(&self) -> Option<(u32, u32)> {
        match (self.uid, self.gid) {
            (None, None) => None,
            (uid, gid) => Some((uid.unwrap_or(0), gid.unwrap_or(0))),
        }
    }
}

impl fmt::Display for Mount {
    /// Writes the source and the options other than the defaults, as `/srv/app, readonly`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms, size_mib, uid, gid } =
            self;
        write!(f, "{source}")?;
        if matches!(source, MountSource::Disk { .. }) {
            f.write_str(", kind disk")?;
        }
        for (is_set, word) in
            [(readonly, "readonly"), (noexec, "noexec"), (nosuid, "nosuid"), (nodev, "nodev")]
        {
            if *is_set {
                write!(f, ", {word}")?;
            }
        }
        if *stat_virt != StatVirt::default() {
            write!(f, ", stat-virt {stat_virt}")?;
        }
        if *host_perms != HostPerms::default() {
            write!(f, ", host-perms {host_perms}")?;
        }
        if let Some(mib) = size_mib {
            write!(f, ", size {}", format_size_mib((*mib).into()))?;
        }
        for (id, word) in [(uid, "uid"), (gid, "gid")] {
            if let Some(id) = id {
                write!(f, ", {word} {id}")?;
            }
        }
        Ok(())
    }
}

/// The source of a mount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MountSource {
    /// A file or a directory of the host.
    Host {
        /// The absolute path, without `.` or `..`.
        path: String,
    },
    /// A disk of the host: a file with a file system.
    Disk {
        /// The absolute path, without `.` or `..`.
        path: String,
    },
    /// A volume of the project.
    Volume {
        /// The name of the volume.
        name: VolumeName,
    },
    /// A volume that exists already, of another project or of none.
    External {
        /// Its name in the Sandboxfile.
        name: VolumeName,
        /// Its full name.
        volume: VolumeName,
    },
}

/// The format of a disk of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// The bytes of the disk.
    Raw,
    /// QEMU's format.
    Qcow2,
}

impl DiskFormat {
    /// Returns the format of a disk by its name. Never by its contents: a sandbox could write another header there.
    pub fn of_path(path: &str) -> Self {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        if extension.eq_ignore_ascii_case("qcow2") { Self::Qcow2 } else { Self::Raw }
    }
}

impl fmt::Display for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { path } | Self::Disk { path } => f.write_str(path),
            Self::Volume { name } => f.write_str(name.as_str()),
            Self::External { name: _, volume } => write!(f, "the external volume {volume}"),
        }
    }
}

/// A host folder that `msb up --watch` copies into the running sandbox; its path there is its key in the map.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// The absolute path on the host, without `.` or `..`.
    pub source: String,
    /// Patterns of files that are not copied, in the syntax of `.gitignore`.
    pub ignore: Vec<String>,
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, ignore } = self;
        if ignore.is_empty() {
            write!(f, "{source}")
        } else {
            write!(f, "{source} without {}", ignore.join(", "))
        }
    }
}

/// A directory or a disk that outlives the sandboxes that mount it.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Its kind.
    #[serde(default)]
    pub kind: VolumeKind,
    /// Its size in MiB: of a disk, whose space is taken as it is filled, or the most that a directory can contain.
    /// `None` for a directory without a limit.
    pub size_mib: Option<u32>,
    /// Whether several sandboxes may write to it at the same time; a directory only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared: bool,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl VolumeSpec {
    /// Returns the kind of a volume that is declared without one, from its size.
    pub fn kind_of(size_mib: Option<u32>) -> VolumeKind {
        match size_mib {
            Some(_) => VolumeKind::Disk,
            None => VolumeKind::Directory,
        }
    }

    /// Returns the spec of a disk.
    pub fn disk(size_mib: u32) -> Self {
        Self { kind: VolumeKind::Disk, size_mib: Some(size_mib), shared: false }
    }

    /// Returns the spec of a directory, with the most that it can contain in MiB.
    pub fn directory(size_mib: Option<u32>) -> Self {
        Self { kind: VolumeKind::Directory, size_mib, shared: false }
    }

    /// Returns the spec of a directory that several sandboxes may write to at the same time, with its limit in MiB.
    pub fn shared_directory(size_mib: Option<u32>) -> Self {
        Self { shared: true, ..Self::directory(size_mib) }
    }

    /// Returns the size of a disk in MiB; `None` for a directory.
    pub fn disk_mib(&self) -> Option<u32> {
        match self.kind {
            VolumeKind::Disk => Some(self.size_mib.unwrap_or(defaults::VOLUME_MIB)),
            VolumeKind::Directory => None,
        }
    }
}

impl fmt::Display for VolumeSpec {
    /// Writes the size of a disk, as `2G`, or `directory` with its limit, as `shared directory of at most 2G`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shared {
            f.write_str("shared ")?;
        }
        match (self.disk_mib(), self.size_mib) {
            (Some(mib), _) => f.write_str(&format_size_mib(mib.into())),
            (None, None) => f.write_str("directory"),
            (None, Some(mib)) => write!(f, "directory of at most {}", format_size_mib(mib.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_an_older_msb_are_disks_and_mounts_without_limits() {
        let volume: VolumeSpec = serde_json::from_str("{\"size_mib\": 64}").unwrap();
        assert_eq!(volume, VolumeSpec::disk(64));
        assert_eq!(serde_json::to_string(&volume).unwrap(), "{\"kind\":\"disk\",\"size_mib\":64}");
        let directories = [VolumeSpec::directory(None), VolumeSpec::shared_directory(Some(1024))];
        let described = directories.into_iter().chain([volume]).map(|it| it.to_string());
        let described: Vec<_> = described.collect();
        assert_eq!(described, ["directory", "shared directory of at most 1G", "64M"]);
        let old = "{\"source\":{\"host\":{\"path\":\"/srv\"}},\"readonly\":true,\"noexec\":false,\"nosuid\":false,\
                   \"nodev\":false,\"stat_virt\":\"strict\",\"host_perms\":\"private\"}";
        let mount: Mount = serde_json::from_str(old).unwrap();
        assert_eq!((mount.size_mib, mount.owner()), (None, None));
        assert_eq!(serde_json::to_string(&mount).unwrap(), old, "its digest is the same");
    }

    #[test]
    fn half_an_owner_is_completed_with_root() {
        let mount = Mount {
            source: MountSource::Host { path: "/srv".to_owned() },
            readonly: false,
            noexec: false,
            nosuid: false,
            nodev: false,
            stat_virt: StatVirt::Relaxed,
            host_perms: HostPerms::Mirror,
            size_mib: Some(2048),
            uid: None,
            gid: Some(100),
        };
        assert_eq!(mount.owner(), Some((0, 100)));
        assert_eq!(mount.to_string(), "/srv, stat-virt relaxed, host-perms mirror, size 2G, gid 100");
    }

    #[test]
    fn the_name_of_a_disk_tells_its_format() {
        for (path, format) in [
            ("/srv/data.qcow2", DiskFormat::Qcow2),
            ("/srv/DATA.QCOW2", DiskFormat::Qcow2),
            ("/srv/data.qcow2.img", DiskFormat::Raw),
            ("/srv/qcow2", DiskFormat::Raw),
            ("/srv.qcow2/data", DiskFormat::Raw),
        ] {
            assert_eq!(DiskFormat::of_path(path), format, "{path}");
        }
        let disk = Mount { readonly: true, ..Mount::of(MountSource::Disk { path: "/srv/a.img".to_owned() }) };
        assert_eq!(disk.to_string(), "/srv/a.img, kind disk, readonly");
    }
}
