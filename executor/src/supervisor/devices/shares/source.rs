//! One source of mounts: found, checked and opened without being read.

use super::attributes;
use crate::supervisor::devices::MountError;
use executor_fs::Directory;
use executor_fs::usage::usage;
use executor_share::{Share, SharePolicy};
use rules::mount_text::StatVirt;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use schemas::name::VolumeName;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The time for counting the files of a volume with a limit; less than the timeout of opening all sources.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(10);

/// A directory or file of the host, with its policy.
#[derive(Clone, Debug)]
pub struct Source {
    /// The absolute path, which is trusted: links in it are followed.
    pub path: PathBuf,
    /// The volume whose directory it is; `None` for the host's own files.
    pub volume: Option<VolumeName>,
    /// The first of its paths in the sandbox, for messages.
    pub destination: String,
    /// Its policy.
    pub policy: SharePolicy,
}

impl Source {
    /// Whether another mount has the same files with the same policy.
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { path, volume, destination: _, policy } = self;
        (path, volume, policy) == (&other.path, &other.volume, &other.policy)
    }

    /// Opens the source, and checks that its policy is possible.
    pub fn open(&self) -> Result<Share, MountError> {
        let Self { path, volume: _, destination, policy } = self;
        let failed = |error: Errno| MountError::Open {
            path: path.clone(),
            destination: destination.clone(),
            source: error.into(),
        };
        // A descriptor of this kind opens neither a device nor a pipe.
        let source = match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => {
                return Err(MountError::Missing { path: path.clone(), destination: destination.clone() });
            }
            opened => opened.map_err(failed)?,
        };
        let kind = FileType::from_raw_mode(fstat(&source).map_err(failed)?.st_mode);
        if let Some(kind) = special(kind) {
            return Err(MountError::Special { path: path.clone(), destination: destination.clone(), kind });
        }
        if policy.stat_virt == StatVirt::Strict
            && let Err(error) = attributes::check(&source, kind == FileType::Directory, policy.read_only)
        {
            return Err(MountError::NoAttributes {
                path: path.clone(),
                destination: destination.clone(),
                file_system: attributes::file_system(&source).unwrap_or_else(|| "unknown".to_owned()),
                advice: self.advice(),
                source: error.into(),
            });
        }
        Ok(Share { name: destination.clone(), source, policy: self.remaining() })
    }

    /// Returns the policy with what a volume may still grow by; the host's own files may grow by the whole size.
    fn remaining(&self) -> SharePolicy {
        let (Some(name), Some(limit)) = (&self.volume, self.policy.size_bytes) else { return self.policy };
        let used = Directory::open(&self.path)
            .and_then(|directory| usage(&directory, Instant::now() + MEASURE_TIMEOUT))
            .unwrap_or_else(|error| {
                tracing::warn!("cannot measure the volume {name}: {error}");
                None
            });
        let Some(used) = used else {
            tracing::warn!("the volume {name} may grow by its whole size, as its files are not counted");
            return self.policy;
        };
        SharePolicy { size_bytes: Some(limit.saturating_sub(used)), ..self.policy }
    }

    /// Returns the next step after a failed check of extended attributes.
    fn advice(&self) -> &'static str {
        match (&self.volume, self.policy.read_only) {
            (Some(_), _) => "move MSB_HOME to a file system with them, or make the volume a disk",
            (None, true) => "set stat-virt=\"relaxed\"",
            (None, false) => "set stat-virt=\"relaxed\", or mount it read-only",
        }
    }
}

/// Returns the name of a kind of file that is never opened.
fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::Directory | FileType::RegularFile => None,
        FileType::Socket => Some("socket"),
        FileType::Fifo => Some("pipe"),
        FileType::BlockDevice | FileType::CharacterDevice => Some("device"),
        _ => Some("special file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::mount_text::HostPerms;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    fn source(path: &Path, stat_virt: StatVirt) -> Source {
        Source {
            path: path.to_owned(),
            volume: None,
            destination: "/app".to_owned(),
            policy: SharePolicy {
                read_only: false,
                stat_virt,
                host_perms: HostPerms::Private,
                size_bytes: None,
                owner: None,
                disk: false,
            },
        }
    }

    fn error(path: &Path, stat_virt: StatVirt) -> String {
        source(path, stat_virt).open().unwrap_err().to_string()
    }

    #[test]
    fn missing_and_special_sources_are_refused_with_their_paths() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = scratch.path().join("src");
        assert_eq!(
            error(&missing, StatVirt::Off),
            format!(
                "{} does not exist, so it cannot be mounted at /app: create it, or remove the mount",
                missing.display()
            )
        );
        let socket = scratch.path().join("docker.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, kind) in [(socket.as_path(), "socket"), (Path::new("/dev/null"), "device")] {
            assert_eq!(
                error(path, StatVirt::Off),
                format!(
                    "{} is a {kind}, so it cannot be mounted at /app: mount directories and regular files only",
                    path.display()
                )
            );
        }
        // Links of the host in a path that the user wrote are followed.
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(scratch.path(), &link).unwrap();
        assert_eq!(source(&link, StatVirt::Off).open().unwrap().name, "/app");
    }

    #[test]
    fn a_limited_volume_grows_by_what_it_does_not_contain() {
        let scratch = tempfile::tempdir().unwrap();
        let limited = |size_bytes, volume: Option<&str>| {
            let mut source = source(scratch.path(), StatVirt::Off);
            source.policy.size_bytes = size_bytes;
            source.volume = volume.map(|name| VolumeName::new(name).unwrap());
            source.open().unwrap().policy.size_bytes
        };
        let file = std::fs::File::create(scratch.path().join("file")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).unwrap();
        let left = limited(Some(4 << 20), Some("data")).unwrap();
        assert!(left <= 3 << 20 && left > 2 << 20, "{left}");
        assert_eq!(limited(Some(1 << 19), Some("data")), Some(0));
        assert_eq!(limited(None, Some("data")), None);
        assert_eq!(limited(Some(4 << 20), None), Some(4 << 20));
    }

    #[test]
    fn strict_needs_extended_attributes() {
        // Files of /proc have none, whoever asks.
        let message = error(Path::new("/proc/self"), StatVirt::Strict);
        assert_eq!(
            message,
            "stat-virt=\"strict\" of the mount at /app cannot store owners and modes in /proc/self (proc): set \
             stat-virt=\"relaxed\", or mount it read-only"
        );
        source(Path::new("/proc/self"), StatVirt::Relaxed).open().unwrap();
    }
}
