//! What is mounted into a sandbox.

use crate::error::{Error, Result};
use std::path::PathBuf;

/// Where owners, modes and devices of the host's files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatVirtualization {
    /// In extended attributes.
    Strict,
    /// In extended attributes where possible.
    Relaxed,
    /// Nowhere: the sandbox sees those of the host.
    Off,
}

/// Which modes files of a mount have on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostPermissions {
    /// Only their owner may use them.
    Private,
    /// As the sandbox sets them.
    Mirror,
}

/// Something mounted into a sandbox: [`bind`](Self::bind), [`named`](Self::named) or [`tmpfs`](Self::tmpfs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    source: Source,
    options: Vec<String>,
    has_policy: bool,
    is_sized: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Bind(PathBuf),
    Named(String),
    Tmpfs,
}

impl Mount {
    fn new(source: Source) -> Self {
        Self { source, options: Vec::new(), has_policy: false, is_sized: false }
    }

    /// A file or folder of the host. A relative path is one of the working directory.
    pub fn bind(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Bind(path.into()))
    }

    /// A volume of the sandbox, which `msb` creates.
    pub fn named(name: impl Into<String>) -> Self {
        Self::new(Source::Named(name.into()))
    }

    /// A directory in the sandbox's memory that is empty at each start.
    pub fn tmpfs() -> Self {
        Self::new(Source::Tmpfs)
    }

    fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// Makes it read only.
    pub fn readonly(self) -> Self {
        self.option("ro")
    }

    /// Forbids programs in it.
    pub fn noexec(self) -> Self {
        self.option("noexec")
    }

    /// Ignores set-user-id bits in it.
    pub fn nosuid(self) -> Self {
        self.option("nosuid")
    }

    /// Forbids devices in it.
    pub fn nodev(self) -> Self {
        self.option("nodev")
    }

    /// Sets where owners, modes and devices of the host's files are kept. Not for a tmpfs.
    pub fn stat_virtualization(mut self, policy: StatVirtualization) -> Self {
        self.has_policy = true;
        self.option(match policy {
            StatVirtualization::Strict => "stat-virt=strict",
            StatVirtualization::Relaxed => "stat-virt=relaxed",
            StatVirtualization::Off => "stat-virt=off",
        })
    }

    /// Sets which modes the files have on the host. Not for a tmpfs.
    pub fn host_permissions(mut self, policy: HostPermissions) -> Self {
        self.has_policy = true;
        self.option(match policy {
            HostPermissions::Private => "host-perms=private",
            HostPermissions::Mirror => "host-perms=mirror",
        })
    }

    /// Sets the owner that the host's files have in the sandbox.
    pub fn owner(self, uid: u32, gid: u32) -> Self {
        self.option(format!("uid={uid}")).option(format!("gid={gid}"))
    }

    /// Sets the size of a tmpfs, or what the sandbox can add to a folder of the host, in MiB. Not for a volume.
    pub fn size_mib(mut self, size: u64) -> Self {
        self.is_sized = true;
        self.option(format!("size={size}M"))
    }

    /// Mounts the file system in a disk image of the host.
    pub fn disk(self) -> Self {
        self.option("kind=disk")
    }

    /// Sets the mode of the directory of a tmpfs.
    pub fn mode(self, mode: u32) -> Self {
        self.option(format!("mode={mode:04o}"))
    }

    /// Returns the option of `msb create` and its value.
    pub(crate) fn arguments(&self, path: &str) -> Result<(&'static str, String)> {
        if !path.starts_with('/') {
            return Err(Error::invalid(format!("{path:?} is not an absolute path in the sandbox")));
        }
        let (flag, source) = match &self.source {
            Source::Tmpfs if self.has_policy => {
                return Err(Error::invalid("a tmpfs has no policies, because it has no files on the host"));
            }
            Source::Tmpfs => ("--tmpfs", None),
            Source::Named(name) if name.is_empty() || name.contains('/') => {
                return Err(Error::invalid(format!("{name:?} is not a name of a volume")));
            }
            Source::Named(_) if self.is_sized => {
                return Err(Error::invalid("a volume has the size that it was created with"));
            }
            Source::Named(name) => ("--volume", Some(name.clone())),
            Source::Bind(source) => ("--volume", Some(absolute(source)?)),
        };
        let mut parts: Vec<String> = source.into_iter().chain([path.to_owned()]).collect();
        if let Some(part) = parts.iter().find(|part| part.contains(':')) {
            return Err(Error::invalid(format!("a path of a mount must not contain ':': {part:?}")));
        }
        if !self.options.is_empty() {
            parts.push(self.options.join(","));
        }
        Ok((flag, parts.join(":")))
    }
}

/// Returns a path of the host as an absolute one in UTF-8.
pub(crate) fn absolute(path: &std::path::Path) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|source| Error::host("find", path, source))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|path| Error::invalid(format!("the path {} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_become_options_of_msb() {
        let bind = Mount::bind("/src").readonly().stat_virtualization(StatVirtualization::Off);
        assert_eq!(bind.arguments("/dst").unwrap(), ("--volume", "/src:/dst:ro,stat-virt=off".to_owned()));
        let tmpfs = Mount::tmpfs().size_mib(16).mode(0o1777);
        assert_eq!(tmpfs.arguments("/t").unwrap(), ("--tmpfs", "/t:size=16M,mode=1777".to_owned()));
        for (mount, path) in [
            (Mount::tmpfs().host_permissions(HostPermissions::Mirror), "/t"),
            (Mount::named("a/b"), "/t"),
            (Mount::named("v").size_mib(1), "/t"),
            (Mount::bind("/a:b"), "/t"),
            (Mount::bind("/a"), "t"),
        ] {
            assert_eq!(mount.arguments(path).unwrap_err().code(), "invalid-argument");
        }
    }
}
