//! Creates, resizes and removes volumes: directories and disks that outlive the sandboxes that mount them.

use super::steps::{make_disk, make_folder};
use super::stop::remove_tree;
use super::{Applier, Outcome, StepFailure};
use crate::catalog::{SandboxRow, VolumeRow};
use executor_fs::beneath::c_name;
use executor_fs::file::if_present;
use executor_fs::{Directory, remove};
use executor_host::home::VolumeFolder;
use executor_host::volume::{Access, HeldVolume, VolumeError};
use schemas::name::{ProjectName, VolumeName, full_name, full_volume_name};
use schemas::spec::{MountSource, VolumeSpec};
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// The mode of a new directory as sandboxes see it, for which it is root's. Other users of the host do not get as far, as
/// the folder around it is private.
const DIRECTORY_MODE: u32 = 0o755;

impl Applier {
    pub(super) async fn ensure_volume(
        self: &Arc<Self>,
        project: &ProjectName,
        name: &VolumeName,
        spec: &VolumeSpec,
    ) -> Result<Outcome, StepFailure> {
        let folder = self.home.volume(project, name);
        let row = self.catalog.volume(project, name)?;
        if let Some(row) = &row
            && row.created
            && row.spec.kind == spec.kind
            && folder.contents(spec.kind).exists()
        {
            let grown = match spec.disk_mib() {
                Some(mib) => grow(&folder.disk(), u64::from(mib) << 20).map_err(|error| {
                    StepFailure::new(format!("cannot make {} larger: {error}", folder.disk().display()))
                })?,
                None => false,
            };
            if row.spec == *spec && !grown {
                return Ok(Outcome::NotNeeded);
            }
            self.catalog.finish_volume(project, name, spec)?;
            return Ok(Outcome::Updated);
        }
        // The planner refuses to change the kind of a volume with contents. Without them, leftovers are removed.
        if let Some(row) = &row
            && row.spec.kind != spec.kind
        {
            if !row.created || !folder.contents(row.spec.kind).exists() {
                remove_tree(folder.path())?;
            } else {
                let message = format!("the volume {name} is a {}, not a {}", row.spec.kind, spec.kind);
                return Err(StepFailure::new(message));
            }
        }
        if let Some(other) = self.catalog.full_volume_name_taken_by(project, name)? {
            let name = full_volume_name(project, name);
            let owner = if other.is_none() { "no project".to_owned() } else { format!("project {other}") };
            return Err(StepFailure::new(format!("the name {name} is taken by a volume of {owner}"))
                .hint("rename one of the two, or the project"));
        }
        let row = VolumeRow {
            project: project.clone(),
            name: name.clone(),
            spec: spec.clone(),
            created: false,
            anonymous: None,
        };
        self.catalog.begin_volume(&row)?;
        match spec.disk_mib() {
            Some(mib) => make_disk(folder.disk(), mib, None).await?,
            None => make_directory(&folder)?,
        }
        self.catalog.finish_volume(project, name, spec)?;
        Ok(Outcome::Added)
    }

    pub(super) async fn ensure_volume_removed(
        self: &Arc<Self>,
        project: &ProjectName,
        name: &VolumeName,
    ) -> Result<Outcome, StepFailure> {
        let Some(row) = self.catalog.volume(project, name)? else { return Ok(Outcome::NotNeeded) };
        let folder = self.home.volume(project, name);
        if let Some(user) = self.external_user(&full_volume_name(project, name))? {
            return Err(StepFailure::new(format!(
                "the volume {name} is mounted by {user} of another project"
            ))
            .hint(format!("remove that sandbox first: `msb rm {user}`")));
        }
        // Held until it is removed, so that no sandbox opens it in between.
        let _held = match HeldVolume::take(name, &folder, row.spec.kind, Access::Remove, None) {
            Ok(held) => Some(held),
            Err(VolumeError::Missing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let removed = folder.clone();
        let removal = tokio::task::spawn_blocking(move || remove_files(&removed));
        removal.await.map_err(|error| StepFailure::defect(&error))??;
        self.catalog.forget_volume(project, name)?;
        Ok(Outcome::Updated)
    }
}

impl Applier {
    /// Returns the full name of a recorded sandbox that mounts a volume as an external one; `None` without one.
    fn external_user(&self, volume: &str) -> Result<Option<String>, StepFailure> {
        let mounts_it = |row: &SandboxRow| {
            let mut sources = row.spec.definition.mounts.values().map(|mount| &mount.source);
            sources.any(|source| {
                matches!(source, MountSource::External { name: _, volume: external } if external.as_str() == volume)
            })
        };
        let recorded = self.catalog.sandboxes(None)?.sandboxes;
        Ok(recorded.iter().find(|row| mounts_it(row)).map(|row| full_name(&row.project, &row.name)))
    }
}

/// Creates the directory of a volume. One that an interrupted creation left is empty.
pub(super) fn make_directory(folder: &VolumeFolder) -> Result<(), StepFailure> {
    let directory = folder.directory();
    make_folder(&directory)?;
    // Whatever the umask is.
    fs::set_permissions(&directory, Permissions::from_mode(DIRECTORY_MODE))
        .map_err(|error| StepFailure::new(format!("cannot make {}: {error}", directory.display())))
}

/// Removes all files of a volume. Sandboxes have made those in its directory.
fn remove_files(folder: &VolumeFolder) -> Result<(), StepFailure> {
    let directory = folder.directory();
    let removed = if_present(Directory::open(folder.path())).and_then(|parent| {
        let Some(parent) = parent else { return Ok(()) };
        remove::remove_tree(&parent, &c_name(directory.file_name().unwrap_or_default())?)
    });
    removed.map_err(|error| StepFailure::new(format!("cannot remove {}: {error}", directory.display())))?;
    remove_tree(folder.path())
}

/// Grows a smaller disk with a hole. A disk in use grows as well: its virtual machine keeps the old size, and the file
/// system grows at the next start.
fn grow(disk: &Path, bytes: u64) -> io::Result<bool> {
    let disk = OpenOptions::new().write(true).open(disk)?;
    if disk.metadata()?.len() >= bytes {
        return Ok(false);
    }
    disk.set_len(bytes)?;
    disk.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::{Settings, SuperviseCommand};
    use crate::catalog::Catalog;
    use crate::images::ImageQuery;
    use crate::observe::observe;
    use crate::reporter::Silent;
    use executor_host::home::{Home, make_private_folder};
    use schemas::snapshot::ObservedVolume;
    use schemas::spec::VolumeKind;

    struct World {
        _scratch: tempfile::TempDir,
        applier: Arc<Applier>,
        project: ProjectName,
        name: VolumeName,
    }

    impl World {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let home = Home::open(scratch.path().to_owned()).unwrap();
            let catalog = Arc::new(Catalog::open(&home.catalog()).unwrap());
            let settings = Settings {
                waiting: Default::default(),
                boot: None,
                supervise: SuperviseCommand {
                    program: "/bin/false".into(),
                    environment: Vec::new(),
                    lease: None,
                },
                parallel: None,
                fail_fast: false,
                stop_timeout: None,
                kill: false,
                registries: Arc::default(),
                folder: None,
                pools: executor_net::Pools::default(),
            };
            let applier = Arc::new(Applier { home, catalog, settings, reporter: Arc::new(Silent) });
            let (project, name) = (ProjectName::new("shop").unwrap(), VolumeName::new("data").unwrap());
            Self { _scratch: scratch, applier, project, name }
        }

        fn folder(&self) -> VolumeFolder {
            self.applier.home.volume(&self.project, &self.name)
        }

        async fn ensure(&self, size_mib: u32) -> Result<Outcome, StepFailure> {
            self.ensure_spec(&VolumeSpec::disk(size_mib)).await
        }

        async fn ensure_spec(&self, spec: &VolumeSpec) -> Result<Outcome, StepFailure> {
            self.applier.ensure_volume(&self.project, &self.name, spec).await
        }

        async fn remove(&self) -> Result<Outcome, StepFailure> {
            self.applier.ensure_volume_removed(&self.project, &self.name).await
        }

        fn observed(&self) -> Option<ObservedVolume> {
            let Applier { home, catalog, .. } = &*self.applier;
            observe(home, catalog, &self.project, &ImageQuery::default()).unwrap().volumes.remove(&self.name)
        }
    }

    #[tokio::test]
    async fn a_volume_is_made_grown_and_removed_and_each_twice() {
        let world = World::new();
        assert_eq!(world.ensure(64).await, Ok(Outcome::Added));
        assert_eq!(world.ensure(64).await, Ok(Outcome::NotNeeded));
        let observed = |size_mib| Some(ObservedVolume { spec: VolumeSpec::disk(size_mib), created: true });
        assert_eq!(world.observed(), observed(64));
        let length = || std::fs::metadata(world.folder().disk()).unwrap().len();
        assert_eq!(length(), 64 << 20);
        assert_eq!(world.ensure(100).await, Ok(Outcome::Updated));
        assert_eq!(world.ensure(100).await, Ok(Outcome::NotNeeded));
        assert_eq!(world.observed(), observed(100));
        assert_eq!(length(), 100 << 20);
        assert_eq!(world.remove().await, Ok(Outcome::Updated));
        assert_eq!(world.remove().await, Ok(Outcome::NotNeeded));
        assert_eq!(world.observed(), None);
        assert!(!world.folder().path().exists());
    }

    #[tokio::test]
    async fn a_directory_keeps_its_contents_whatever_its_limit_and_is_removed_unless_in_use() {
        let world = World::new();
        for (limit, outcome) in [
            (None, Outcome::Added),
            (None, Outcome::NotNeeded),
            (Some(64), Outcome::Updated),
            (Some(64), Outcome::NotNeeded),
            (Some(32), Outcome::Updated),
            (None, Outcome::Updated),
            (Some(96), Outcome::Updated),
            (Some(96), Outcome::NotNeeded),
        ] {
            let shared = limit == Some(96);
            let spec = VolumeSpec { shared, ..VolumeSpec::directory(limit) };
            assert_eq!(world.ensure_spec(&spec).await, Ok(outcome), "{limit:?}");
            assert_eq!(world.observed(), Some(ObservedVolume { spec, created: true }));
            let file = world.folder().directory().join("file");
            if outcome == Outcome::Added {
                std::fs::write(file, "kept").unwrap();
            } else {
                assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
            }
        }
        let failure = world.ensure(64).await.unwrap_err();
        assert_eq!(failure.message, "the volume data is a directory, not a disk");
        let kind = VolumeKind::Directory;
        let take = || HeldVolume::take(&world.name, &world.folder(), kind, Access::Read, Some("shop-web"));
        let held = [take().unwrap(), take().unwrap()];
        let failure = world.remove().await.unwrap_err();
        assert!(failure.message.starts_with("the volume data is in use by shop-web:"), "{failure:?}");
        drop(held);
        assert_eq!(world.remove().await, Ok(Outcome::Updated));
        assert_eq!(world.remove().await, Ok(Outcome::NotNeeded));
        assert!(!world.folder().path().exists());
    }

    #[tokio::test]
    async fn an_interrupted_creation_starts_over() {
        let world = World::new();
        let row = VolumeRow {
            project: world.project.clone(),
            name: world.name.clone(),
            spec: VolumeSpec::disk(64),
            created: false,
            anonymous: None,
        };
        world.applier.catalog.begin_volume(&row).unwrap();
        assert!(!world.observed().unwrap().created);
        make_private_folder(world.folder().path()).unwrap();
        std::fs::write(world.folder().disk(), "half").unwrap();
        assert!(!world.observed().unwrap().created);
        assert_eq!(world.ensure(64).await, Ok(Outcome::Added));
        assert!(world.observed().unwrap().created);
        assert_eq!(std::fs::metadata(world.folder().disk()).unwrap().len(), 64 << 20);
        // A crash after the disk has been removed and before the record is.
        std::fs::remove_dir_all(world.folder().path()).unwrap();
        assert!(!world.observed().unwrap().created);
        assert_eq!(world.remove().await, Ok(Outcome::Updated));
        assert_eq!(world.observed(), None);
    }

    #[tokio::test]
    async fn a_disk_in_use_is_not_removed_and_keeps_what_it_holds() {
        let world = World::new();
        world.ensure(64).await.unwrap();
        let (name, folder) = (&world.name, world.folder());
        let held = HeldVolume::take(name, &folder, VolumeKind::Disk, Access::Read, Some("shop-web")).unwrap();
        let failure = world.remove().await.unwrap_err();
        assert!(failure.message.starts_with("the volume data is in use by shop-web:"), "{failure:?}");
        assert!(world.observed().unwrap().created);
        drop(held);
        world.remove().await.unwrap();
    }

    #[tokio::test]
    async fn a_name_that_two_projects_would_share_is_refused() {
        let world = World::new();
        world.ensure(64).await.unwrap();
        let project = ProjectName::new("shop-data").unwrap();
        let applier = &world.applier;
        // `shop` with `data` and `shop-data` with `x` have different full names; with `data-x` they would not.
        let spec = VolumeSpec::disk(64);
        let x = VolumeName::new("x").unwrap();
        applier.ensure_volume(&project, &x, &spec).await.unwrap();
        let clash = VolumeName::new("data-x").unwrap();
        let failure = applier.ensure_volume(&world.project, &clash, &spec).await.unwrap_err();
        assert_eq!(failure.message, "the name shop-data-x is taken by a volume of project shop-data");
    }
}
