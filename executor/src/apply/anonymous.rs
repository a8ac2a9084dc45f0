//! Anonymous volumes: a directory for each data path of an image (`VOLUME`) that no mount of the sandbox covers.
//!
//! They belong to the sandbox's name in its project: they stay when it is stopped or replaced, and go when it is removed.
//! The planner does not know them, as the configuration of an image is known only once it has been pulled.

use super::volumes::make_directory;
use super::{Applier, StepFailure};
use crate::catalog::{AnonymousVolume, VolumeRow};
use crate::data_paths::DataPaths;
use crate::launch::LaunchSpec;
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxName, VolumeName};
use schemas::spec::VolumeSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of hex digits in the name of an anonymous volume.
const NAME_DIGITS: usize = 16;

/// Returns the name of the volume for a path of a sandbox, which is the same for every replacement of the sandbox.
fn name_of(project: &ProjectName, sandbox: &SandboxName, path: &str) -> Result<VolumeName, StepFailure> {
    let digest = Digest::of_bytes(format!("{project}/{sandbox}{path}").as_bytes());
    VolumeName::new(format!("anonymous-{}", &digest.hex()[..NAME_DIGITS]))
        .map_err(|error| StepFailure::new(format!("cannot name a volume: {error}")))
}

impl Applier {
    /// Creates the anonymous volumes of a sandbox that is about to start, unless they exist, and adds them to its launch
    /// spec.
    pub(super) fn add_anonymous_volumes(&self, launch: &mut LaunchSpec) -> Result<(), StepFailure> {
        let definition = &launch.spec.definition;
        let image = executor_image::image_config(&self.home.images(), &launch.spec.image.digest)
            .map_err(|error| StepFailure::new(format!("cannot read how the image is run: {error}")))?;
        let mut found = DataPaths::of(&image, definition);
        if found.paths.is_empty() {
            launch.warnings = found.warnings;
            return Ok(());
        }
        if let Err(problem) = launch.boot.backend.check_mounts() {
            found.leave_on_root(&format!("this host cannot serve directories ({problem})"));
        }
        let mut volumes = BTreeMap::new();
        for path in found.paths {
            let name = name_of(&launch.project, &launch.name, &path)?;
            self.ensure_anonymous(&launch.project, &launch.name, &name, &path)?;
            volumes.insert(path, name);
        }
        (launch.anonymous, launch.warnings) = (volumes, found.warnings);
        Ok(())
    }

    fn ensure_anonymous(
        &self,
        project: &ProjectName,
        sandbox: &SandboxName,
        name: &VolumeName,
        path: &str,
    ) -> Result<(), StepFailure> {
        let folder = self.home.volume(project, name);
        if let Some(row) = self.catalog.volume(project, name)?
            && row.created
            && folder.directory().exists()
        {
            return Ok(());
        }
        let row = VolumeRow {
            project: project.clone(),
            name: name.clone(),
            spec: VolumeSpec::directory(None),
            created: false,
            anonymous: Some(AnonymousVolume { sandbox: sandbox.clone(), path: path.to_owned() }),
        };
        self.catalog.begin_volume(&row)?;
        make_directory(&folder)?;
        Ok(self.catalog.finish_volume(project, name, &row.spec)?)
    }

    /// Removes the anonymous volumes of a sandbox, which does not run.
    pub(super) async fn remove_anonymous_volumes(
        self: &Arc<Self>,
        project: &ProjectName,
        sandbox: &SandboxName,
    ) -> Result<(), StepFailure> {
        for row in self.catalog.volumes(project)? {
            if row.anonymous.is_some_and(|anonymous| anonymous.sandbox == *sandbox) {
                self.ensure_volume_removed(project, &row.name).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_sandbox_and_path_only() {
        let name = |project: &str, sandbox: &str, path: &str| {
            let (project, sandbox) = (ProjectName::new(project).unwrap(), SandboxName::new(sandbox).unwrap());
            name_of(&project, &sandbox, path).unwrap()
        };
        let base = name("shop", "db", "/data");
        assert_eq!(base, name("shop", "db", "/data"));
        for other in [name("shop", "db", "/data2"), name("shop", "web", "/data"), name("blog", "db", "/data")]
        {
            assert_ne!(base, other);
        }
    }
}
