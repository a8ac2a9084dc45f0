//! Volumes, snapshots and images.

use crate::error::{Error, Result};
use crate::mount::absolute;
use crate::msb::{Limit, Msb, Run};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A volume.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Volume {
    /// The full name.
    #[serde(rename = "full_name")]
    pub name: String,
    /// The project that it belongs to, if it does.
    #[serde(default)]
    pub project: Option<String>,
    /// The kind: `directory` or `disk`.
    pub kind: String,
    /// The size, or the most that it can contain, in MiB.
    #[serde(default)]
    pub size_mib: Option<u64>,
    /// The space that it takes, in bytes, if it is known.
    #[serde(default)]
    pub used_bytes: Option<u64>,
    /// Where its contents are on the host.
    pub path: PathBuf,
    /// The sandboxes that mount it.
    #[serde(default)]
    pub mounted_by: Vec<String>,
    /// All else, by the names of the JSON document.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// The options of a new volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeOptions {
    /// The size of the disk, or the most that the directory can contain, in MiB.
    pub size_mib: Option<u64>,
    /// The kind; a disk if there is a size, or else a directory.
    pub kind: Option<VolumeKind>,
    /// Whether several sandboxes may write to the directory at the same time.
    pub shared: bool,
}

/// The kind of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeKind {
    /// A directory of the host.
    Directory,
    /// A disk with a file system.
    Disk,
}

/// The volumes of all projects, and those of none.
#[derive(Clone, Debug)]
pub struct Volumes {
    msb: Arc<Msb>,
}

#[derive(Deserialize)]
struct ListedVolumes {
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
struct CreatedVolume {
    created: bool,
}

impl Volumes {
    pub(crate) fn new(msb: Arc<Msb>) -> Self {
        Self { msb }
    }

    /// Returns all volumes.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn list(&self) -> Result<Vec<Volume>> {
        let listed: ListedVolumes = self.msb.json(Run::new(["volume", "ls", "--all"])).await?;
        Ok(listed.volumes)
    }

    /// Returns a volume.
    ///
    /// # Errors
    ///
    /// [`Error::VolumeNotFound`].
    pub async fn get(&self, name: &str) -> Result<Volume> {
        self.msb.json(Run::new(["volume", "inspect", "--", name]).about(name)).await
    }

    /// Creates a volume that belongs to no project.
    ///
    /// # Errors
    ///
    /// [`Error::VolumeExists`].
    pub async fn create(&self, name: &str, options: VolumeOptions) -> Result<Volume> {
        let VolumeOptions { size_mib, kind, shared } = options;
        let kind = kind.map(|kind| match kind {
            VolumeKind::Directory => "--kind=directory",
            VolumeKind::Disk => "--kind=disk",
        });
        let run = Run::new(["volume", "create"])
            .optional(size_mib.map(|size| format!("--size={size}M")))
            .optional(kind)
            .flag("--shared", shared);
        let made: CreatedVolume = self.msb.json(run.args(["--", name]).about(name)).await?;
        if !made.created {
            return Err(
                Error::new("volume-exists", format!("there is a volume {name:?} already")).about(name)
            );
        }
        self.get(name).await
    }

    /// Removes a volume with its contents.
    ///
    /// # Errors
    ///
    /// [`Error::VolumeNotFound`], and [`Error::InUse`] if a sandbox mounts it.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let run = Run::new(["volume", "rm", "--yes", "--", name]).about(name);
        self.msb.json::<Value>(run).await.map(drop)
    }
}

/// A snapshot of the disk of a sandbox; boot from it with the image `snapshot:NAME`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The name.
    pub name: String,
    /// The digest of its disk and configuration.
    pub digest: String,
    /// The sandbox that it is of.
    pub sandbox: String,
    /// The time of its creation, in seconds since 1970.
    pub created_unix: i64,
    /// The data on the disk, in bytes.
    pub data_bytes: u64,
    /// The sandboxes that boot from it.
    #[serde(default)]
    pub used_by: Vec<String>,
    /// All else, by the names of the JSON document.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// The snapshots of this machine.
#[derive(Clone, Debug)]
pub struct Snapshots {
    msb: Arc<Msb>,
}

#[derive(Deserialize)]
struct ListedSnapshots {
    snapshots: Vec<Snapshot>,
}

impl Snapshots {
    pub(crate) fn new(msb: Arc<Msb>) -> Self {
        Self { msb }
    }

    /// Returns all snapshots.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn list(&self) -> Result<Vec<Snapshot>> {
        let listed: ListedSnapshots = self.msb.json(Run::new(["snapshot", "ls"])).await?;
        Ok(listed.snapshots)
    }

    /// Returns a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotNotFound`].
    pub async fn get(&self, name: &str) -> Result<Snapshot> {
        let found = self.list().await?.into_iter().find(|snapshot| snapshot.name == name);
        found.ok_or_else(|| {
            Error::new("snapshot-not-found", format!("there is no snapshot {name:?}")).about(name)
        })
    }

    /// Creates a snapshot of a sandbox's disk.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`] and [`Error::SnapshotExists`].
    pub async fn create(&self, sandbox: &str, name: &str) -> Result<Snapshot> {
        self.snapshot(Run::new(["snapshot", "create", "--", sandbox, name]), name).await
    }

    /// Creates a snapshot of a sandbox's disk, or replaces one of this name.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn replace(&self, sandbox: &str, name: &str) -> Result<Snapshot> {
        self.snapshot(Run::new(["snapshot", "create", "--replace", "--", sandbox, name]), name).await
    }

    async fn snapshot(&self, run: Run, name: &str) -> Result<Snapshot> {
        self.msb.json::<Value>(run.about(name).limit(Limit::Long)).await?;
        self.get(name).await
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotNotFound`], and [`Error::InUse`] if a sandbox boots from it.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.msb.json::<Value>(Run::new(["snapshot", "rm", "--", name]).about(name)).await.map(drop)
    }

    /// Removes a snapshot, even if a sandbox boots from it.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotNotFound`].
    pub async fn remove_by_force(&self, name: &str) -> Result<()> {
        self.msb
            .json::<Value>(Run::new(["snapshot", "rm", "--force", "--", name]).about(name))
            .await
            .map(drop)
    }

    /// Writes a snapshot with its image to one file.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotNotFound`].
    pub async fn export(&self, name: &str, file: impl AsRef<Path>) -> Result<()> {
        let output = format!("--output={}", absolute(file.as_ref())?);
        let run = Run::new(["snapshot", "export"]).arg(output).args(["--", name]);
        self.msb.output(run.about(name).limit(Limit::Long)).await.map(drop)
    }

    /// Adds the snapshot in a file, by its own name.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotExists`].
    pub async fn import(&self, file: impl AsRef<Path>) -> Result<()> {
        let run = Run::new(["snapshot", "import", "--"]).arg(absolute(file.as_ref())?);
        self.msb.json::<Value>(run.limit(Limit::Long)).await.map(drop)
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Image {
    /// The reference.
    #[serde(default, alias = "name")]
    pub reference: String,
    /// The digest.
    #[serde(default)]
    pub digest: String,
    /// All else, by the names of the JSON document.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// The images of this machine.
#[derive(Clone, Debug)]
pub struct Images {
    msb: Arc<Msb>,
}

#[derive(Deserialize)]
struct ListedImages {
    images: Vec<Image>,
}

impl Images {
    pub(crate) fn new(msb: Arc<Msb>) -> Self {
        Self { msb }
    }

    /// Returns the images that have a name.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn list(&self) -> Result<Vec<Image>> {
        let listed: ListedImages = self.msb.json(Run::new(["image", "ls"])).await?;
        Ok(listed.images)
    }

    /// Returns an image with its configuration and layers.
    ///
    /// # Errors
    ///
    /// [`Error::ImageNotFound`].
    pub async fn get(&self, image: &str) -> Result<Image> {
        self.msb.json(Run::new(["image", "inspect", "--", image]).about(image)).await
    }

    /// Pulls an image, and prepares it for booting.
    ///
    /// # Errors
    ///
    /// [`Error::ImageNotFound`].
    pub async fn pull(&self, image: &str) -> Result<()> {
        let run = Run::new(["image", "pull", "--", image]).about(image);
        self.msb.json::<Value>(run.limit(Limit::Long)).await.map(drop)
    }

    /// Loads images from an OCI layout or an archive.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn load(&self, path: impl AsRef<Path>) -> Result<()> {
        let run = Run::new(["image", "load", "--"]).arg(absolute(path.as_ref())?);
        self.msb.output(run.limit(Limit::Long)).await.map(drop)
    }

    /// Writes images to an archive.
    ///
    /// # Errors
    ///
    /// [`Error::ImageNotFound`].
    pub async fn save<I: AsRef<str>>(
        &self,
        images: impl IntoIterator<Item = I>,
        file: impl AsRef<Path>,
    ) -> Result<()> {
        let output = format!("--output={}", absolute(file.as_ref())?);
        let names = images.into_iter().map(|image| image.as_ref().to_owned());
        let run = Run::new(["image", "save"]).arg(output).arg("--").args(names);
        self.msb.output(run.limit(Limit::Long)).await.map(drop)
    }

    /// Removes an image.
    ///
    /// # Errors
    ///
    /// [`Error::ImageNotFound`], and [`Error::InUse`] if a sandbox uses it.
    pub async fn remove(&self, image: &str) -> Result<()> {
        self.msb.json::<Value>(Run::new(["image", "rm", "--", image]).about(image)).await.map(drop)
    }

    /// Removes images that nothing uses, and with `all` those that only have a name; returns the document of `msb`.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn prune(&self, all: bool) -> Result<Value> {
        self.msb.json(Run::new(["image", "prune"]).flag("--all", all)).await
    }

    /// Returns the disk usage of images, as the document of `msb`.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn usage(&self) -> Result<Value> {
        self.msb.json(Run::new(["image", "df"])).await
    }
}
