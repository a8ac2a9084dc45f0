//! The host's files and the directory volumes of one sandbox, as the file server of its virtual machine serves them.
//!
//! All of them are entries of one file system: each source with its policy once, however often it is mounted.

mod attributes;
mod source;

use super::MountError;
use crate::launch::LaunchSpec;
use executor_host::home::Home;
use executor_share::{Owner, Share, SharePolicy};
use executor_vm::MOUNTS_TAG;
use protocol::latest;
use rules::mount_text::{HostPerms, StatVirt};
use schemas::spec::{Definition, Mount, MountSource};
use source::Source;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// The timeout of opening all sources: one on a network file system may never answer.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The sources of a sandbox's mounts in the order of their entries, and the mounts.
#[derive(Debug, Default)]
pub struct Shares {
    sources: Vec<Source>,
    mounts: Vec<latest::Mount>,
}

impl Shares {
    /// Describes the shares of a sandbox; opens nothing.
    pub fn new(home: &Home, launch: &LaunchSpec, definition: &Definition) -> Self {
        let mut shares = Self::default();
        for (destination, mount) in &definition.mounts {
            let Some(source) = source_of(home, launch, definition, destination, mount) else { continue };
            let entry = shares.entry(source);
            shares.mounts.push(latest::Mount {
                tag: MOUNTS_TAG.to_owned(),
                entry,
                destination: destination.clone(),
                volume: !matches!(mount.source, MountSource::Host { .. }),
                read_only: mount.readonly,
                noexec: mount.noexec,
                nosuid: mount.nosuid,
                nodev: mount.nodev,
            });
        }
        for (destination, name) in &launch.anonymous {
            let entry = shares.entry(Source {
                path: home.volume(&launch.project, name).directory(),
                volume: Some(name.clone()),
                destination: destination.clone(),
                policy: volume_policy(false, None),
            });
            shares.mounts.push(latest::Mount {
                tag: MOUNTS_TAG.to_owned(),
                entry,
                destination: destination.clone(),
                volume: true,
                read_only: false,
                noexec: false,
                nosuid: false,
                nodev: false,
            });
        }
        shares
    }

    /// Returns the entry of a source, which is added unless it is there.
    fn entry(&mut self, source: Source) -> String {
        let known = self.sources.iter().position(|known| known.is_same(&source));
        let entry = known.unwrap_or(self.sources.len());
        if known.is_none() {
            self.sources.push(source);
        }
        entry.to_string()
    }

    /// Returns the number of entries of the file server.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there is nothing to serve.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns the mounts of the guest.
    pub fn mounts(&self) -> Vec<latest::Mount> {
        self.mounts.clone()
    }

    /// Opens and checks all sources as the user who runs msb.
    pub async fn open(&self) -> Result<Vec<Share>, MountError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let sources = self.sources.clone();
        in_thread(move || sources.iter().map(Source::open).collect()).await?
    }
}

/// Opens sources in a thread, as those on a network file system may never answer.
///
/// # Errors
///
/// If they do not answer.
pub(super) async fn in_thread<T: Send + 'static>(
    open: impl FnOnce() -> T + Send + 'static,
) -> Result<T, MountError> {
    let (sender, opened) = oneshot::channel();
    // Not in the runtime's pool, whose end would wait for it.
    let run = move || {
        // The receiver may have given up.
        let _ = sender.send(open());
    };
    std::thread::Builder::new()
        .name("open a mount".to_owned())
        .spawn(run)
        .map_err(|source| MountError::Thread { source })?;
    match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
        Ok(Ok(opened)) => Ok(opened),
        // The thread has not sent anything.
        Ok(Err(_)) | Err(_) => Err(MountError::NoAnswer { seconds: OPEN_TIMEOUT.as_secs() }),
    }
}

/// Returns the policy of a volume that is a directory.
fn volume_policy(read_only: bool, size_bytes: Option<u64>) -> SharePolicy {
    SharePolicy {
        read_only,
        stat_virt: StatVirt::Strict,
        host_perms: HostPerms::Private,
        size_bytes,
        owner: None,
        disk: false,
    }
}

/// Returns the source of one mount; `None` for a disk.
fn source_of(
    home: &Home,
    launch: &LaunchSpec,
    definition: &Definition,
    destination: &str,
    mount: &Mount,
) -> Option<Source> {
    let Mount {
        source,
        readonly,
        noexec: _,
        nosuid: _,
        nodev: _,
        stat_virt,
        host_perms,
        size_mib,
        uid: _,
        gid: _,
    } = mount;
    let bytes = |mib: u32| u64::from(mib) << 20;
    Some(match source {
        MountSource::Host { path } => Source {
            path: PathBuf::from(path),
            volume: None,
            destination: destination.to_owned(),
            policy: SharePolicy {
                read_only: *readonly,
                stat_virt: *stat_virt,
                host_perms: *host_perms,
                size_bytes: size_mib.map(bytes),
                owner: mount.owner().map(|(uid, gid)| Owner { uid, gid }),
                disk: false,
            },
        },
        MountSource::Disk { path: _ } => return None,
        MountSource::Volume { .. } | MountSource::External { .. } => {
            let spec = launch.directory_volume(source)?;
            let volume = launch.volume(source)?;
            Source {
                path: home.volume_of(&volume.full_name).directory(),
                destination: destination.to_owned(),
                policy: volume_policy(
                    definition
                        .mounts
                        .values()
                        .filter(|other| launch.volume(&other.source).as_ref() == Some(&volume))
                        .all(|other| other.readonly),
                    spec.size_mib.map(bytes),
                ),
                volume: Some(volume.name),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::testing::launch_spec;
    use schemas::name::VolumeName;
    use schemas::spec::VolumeSpec;

    fn mount(source: MountSource, readonly: bool) -> Mount {
        Mount {
            source,
            readonly,
            noexec: false,
            nosuid: true,
            nodev: false,
            stat_virt: StatVirt::Relaxed,
            host_perms: HostPerms::Mirror,
            size_mib: Some(3),
            uid: Some(7),
            gid: None,
        }
    }

    fn host(path: &str, readonly: bool) -> Mount {
        mount(MountSource::Host { path: path.to_owned() }, readonly)
    }

    fn volume(name: &str, readonly: bool) -> Mount {
        mount(MountSource::Volume { name: VolumeName::new(name).unwrap() }, readonly)
    }

    #[test]
    fn each_source_and_policy_is_one_entry() {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::open(scratch.path().to_owned()).unwrap();
        let mut launch = launch_spec();
        launch.anonymous.insert("/z".to_owned(), VolumeName::new("anonymous-1").unwrap());
        for (name, spec) in [
            ("data", VolumeSpec::directory(Some(5))),
            ("logs", VolumeSpec::directory(None)),
            ("disk", VolumeSpec::disk(64)),
        ] {
            launch.volumes.insert(VolumeName::new(name).unwrap(), spec);
        }
        let mounts = [
            ("/a", host("/srv/app", false)),
            ("/b", volume("data", true)),
            ("/c", host("/srv/app", true)),
            ("/d", host("/srv/app", false)),
            ("/e", volume("data", false)),
            ("/f", volume("disk", false)),
            ("/g", volume("logs", true)),
            // Not recorded, as by an earlier msb: a disk.
            ("/h", volume("unknown", false)),
        ];
        launch.spec.definition.mounts = mounts.map(|(path, mount)| (path.to_owned(), mount)).into();
        let shares = Shares::new(&home, &launch, &launch.spec.definition);
        let entries: Vec<_> = shares
            .mounts()
            .into_iter()
            .map(|mount| {
                let nosuid = mount.destination != "/z";
                assert_eq!((mount.tag.as_str(), mount.nosuid, mount.nodev), (MOUNTS_TAG, nosuid, false));
                format!(
                    "{} {} {} {}",
                    mount.destination,
                    mount.entry,
                    if mount.volume { "volume" } else { "host" },
                    if mount.read_only { "ro" } else { "rw" }
                )
            })
            .collect();
        assert_eq!(
            entries,
            [
                "/a 0 host rw",
                "/b 1 volume ro",
                "/c 2 host ro",
                "/d 0 host rw",
                "/e 1 volume rw",
                "/g 3 volume ro",
                "/z 4 volume rw"
            ]
        );
        let policies: Vec<_> = shares.sources.iter().map(|source| source.policy).collect();
        let of_host = SharePolicy {
            read_only: false,
            stat_virt: StatVirt::Relaxed,
            host_perms: HostPerms::Mirror,
            size_bytes: Some(3 << 20),
            owner: Some(Owner { uid: 7, gid: 0 }),
            disk: false,
        };
        let of_volume = SharePolicy {
            read_only: false,
            stat_virt: StatVirt::Strict,
            host_perms: HostPerms::Private,
            size_bytes: Some(5 << 20),
            owner: None,
            disk: false,
        };
        assert_eq!(
            policies,
            [
                of_host,
                of_volume,
                SharePolicy { read_only: true, ..of_host },
                SharePolicy { read_only: true, size_bytes: None, ..of_volume },
                SharePolicy { size_bytes: None, ..of_volume },
            ]
        );
        let folder = home.root().join("volumes/shop-data/data");
        assert_eq!(shares.sources[1].path, folder);
    }

    #[tokio::test]
    async fn sources_are_opened_in_the_order_of_their_entries() {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::open(scratch.path().join("home")).unwrap();
        let mut launch = launch_spec();
        let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("file"), "contents").unwrap();
        let mounts = [("/a", host(&path("file"), true)), ("/b", host(&path(""), true))];
        launch.spec.definition.mounts = mounts.map(|(path, mount)| (path.to_owned(), mount)).into();
        let shares = Shares::new(&home, &launch, &launch.spec.definition);
        let opened = shares.open().await.unwrap();
        let kinds: Vec<_> = opened
            .iter()
            .map(|share| {
                (share.name.as_str(), executor_fs::Kind::of(&rustix::fs::fstat(&share.source).unwrap()))
            })
            .collect();
        assert_eq!(kinds, [("/a", executor_fs::Kind::File), ("/b", executor_fs::Kind::Directory)]);
        std::fs::remove_file(path("file")).unwrap();
        let error = shares.open().await.unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
        assert!(Shares::default().open().await.unwrap().is_empty());
    }
}
