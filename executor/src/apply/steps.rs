//! Carries out steps: each kind ensures its end state.

use super::start::described;
use super::{Applier, Outcome, StepFailure};
use crate::catalog::{CatalogError, SandboxRow};
use crate::images::{Fetched, ensure_built};
use crate::reporter::Event;
use crate::secrets::{self, NotPassedOn, Running};
use executor_fs::file::remove_if_present;
use executor_host::home::make_private_folder;
use schemas::name::{ProjectName, SandboxName, full_name};
use schemas::plan::{Ensure, Identity, StepId};
use schemas::spec::{ImageReference, PinnedImage, SandboxSpec, ValueName};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Applier {
    /// Ensures one end state.
    pub(super) async fn ensure(
        self: &Arc<Self>,
        project: &ProjectName,
        step: &StepId,
        ensure: &Ensure,
    ) -> Result<Outcome, StepFailure> {
        match ensure {
            Ensure::Image { image } => self.ensure_image(step, image).await,
            Ensure::Sandbox { identity, spec } => self.ensure_sandbox(project, identity, spec).await,
            Ensure::Started { identity, spec } => self.ensure_started(project, identity, spec).await,
            Ensure::Condition { identity, condition } => {
                self.ensure_condition(project, step, identity, *condition).await
            }
            Ensure::Live { identity, spec, values } => {
                self.ensure_live(project, identity, (spec, values)).await
            }
            Ensure::Stopped { identity, spec } => self.ensure_stopped(project, identity, spec).await,
            Ensure::Removed { identity } => self.ensure_removed(project, identity).await,
            Ensure::Volume { name, spec } => self.ensure_volume(project, name, spec).await,
            Ensure::VolumeRemoved { name } => self.ensure_volume_removed(project, name).await,
            Ensure::Hook { identity, event, command } => {
                self.ensure_hook(project, step, identity, (*event, command)).await
            }
        }
    }

    pub(super) fn recorded(&self, identity: &Identity) -> Result<SandboxRow, StepFailure> {
        let missing = || StepFailure::new(format!("{} is not recorded any more", identity.name));
        self.catalog.sandbox(&identity.id)?.ok_or_else(missing)
    }

    async fn ensure_image(
        self: &Arc<Self>,
        step: &StepId,
        image: &PinnedImage,
    ) -> Result<Outcome, StepFailure> {
        let (applier, step, image) = (self.clone(), step.clone(), image.clone());
        let built = tokio::task::spawn_blocking(move || {
            let progress = |fetched: Fetched| {
                let (done, total, layers) = match fetched {
                    Fetched::Pulling { done, total, layers, of } => (done, Some(total), Some((layers, of))),
                    Fetched::Unpacking { done, total } => (done, total, None),
                };
                applier.reporter.event(&Event::Progress { step: &step, done, total, unit: "bytes", layers });
            };
            ensure_built(&applier.home, &image, &applier.settings.registries, &progress)
        });
        match built.await.map_err(|error| StepFailure::defect(&error))? {
            Ok(true) => Ok(Outcome::Added),
            Ok(false) => Ok(Outcome::NotNeeded),
            Err(error) => Err(StepFailure { hint: error.hint(), ..error.into() }),
        }
    }

    async fn ensure_sandbox(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        spec: &SandboxSpec,
    ) -> Result<Outcome, StepFailure> {
        let folder = self.home.sandbox(&identity.id);
        if let Some(row) = self.catalog.sandbox(&identity.id)?
            && row.created
            && folder.disk().exists()
        {
            if row.spec == *spec {
                return Ok(Outcome::NotNeeded);
            }
            // The state of the last run says nothing about the new spec, so it is removed first.
            remove_if_present(&folder.state()).map_err(|error| {
                StepFailure::new(format!("cannot remove {}: {error}", folder.state().display()))
            })?;
            self.catalog.set_spec(&identity.id, spec)?;
            return Ok(Outcome::Updated);
        }
        let row = SandboxRow {
            id: identity.id.clone(),
            project: project.clone(),
            name: identity.name.clone(),
            generation: identity.generation,
            spec: spec.clone(),
            created: false,
            should_run: false,
            hook_done: false,
        };
        self.catalog.begin_sandbox(&row).map_err(|error| match error {
            CatalogError::NameTaken { .. } => {
                StepFailure::from(error).hint("rename one of the two, or the project")
            }
            error => error.into(),
        })?;
        // Someone may have removed its files behind the back of a supervisor that still runs.
        let (lock, _) = self.end_processes(project, identity).await?;
        lock.remove();
        // The files of an interrupted creation are not trusted.
        let _ = std::fs::remove_file(folder.state());
        let snapshot = executor_image::snapshot_disk(&self.home.images(), &spec.image.digest);
        if snapshot.is_none() && matches!(spec.image.reference, ImageReference::Snapshot { .. }) {
            return Err(StepFailure::new(format!("the disk of {} is missing", spec.image.reference)));
        }
        make_disk(folder.disk(), spec.definition.disk_mib, snapshot).await?;
        self.catalog.finish_sandbox(&identity.id)?;
        Ok(Outcome::Added)
    }

    async fn ensure_live(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        (spec, values): (&SandboxSpec, &BTreeSet<ValueName>),
    ) -> Result<Outcome, StepFailure> {
        let row = self.recorded(identity)?;
        let mut outcome = Outcome::NotNeeded;
        let run_folder = self.home.sandbox_run(&full_name(project, &identity.name));
        if row.spec != *spec {
            self.update_running(&run_folder, &identity.id, spec).await?;
            self.catalog.set_spec(&identity.id, spec)?;
            outcome = Outcome::Updated;
        }
        if !values.is_empty() {
            let (id, definition) = (identity.id.clone(), &spec.definition);
            let running = Running { key: (), id, run_folder, definition };
            match secrets::pass_on(running, values, self.settings.folder.as_deref()).await {
                Ok(true) => outcome = Outcome::Updated,
                Ok(false) => {}
                Err(error) => return Err(not_passed_on(&identity.name, error)),
            }
        }
        Ok(outcome)
    }
}

fn not_passed_on(name: &SandboxName, error: NotPassedOn) -> StepFailure {
    match error {
        NotPassedOn::Unusable { name: value, problem } => {
            StepFailure::new(format!("{name}: {}: {problem}", described(&value)))
        }
        NotPassedOn::Supervisor(error) => {
            StepFailure::new(format!("{name}: the supervisor did not take the changed values: {error}"))
                .hint(format!("`msb restart {name}` starts it with the values of this host"))
        }
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), StepFailure> {
    make_private_folder(path)
        .map_err(|error| StepFailure::new(format!("cannot make {}: {error}", path.display())))
}

/// Creates the disk of a sandbox or a volume, empty or from that of a snapshot, replacing one that an interrupted creation
/// left.
pub(super) async fn make_disk(
    disk: PathBuf,
    size_mib: u32,
    snapshot: Option<PathBuf>,
) -> Result<(), StepFailure> {
    let made = tokio::task::spawn_blocking(move || {
        make_folder(disk.parent().unwrap_or(&disk))?;
        let _ = std::fs::remove_file(&disk);
        let size_bytes = u64::from(size_mib) << 20;
        match snapshot {
            Some(snapshot) => executor_image::disk_from_snapshot(&disk, &snapshot, size_bytes)?,
            None => drop(executor_image::writable_disk(&disk, size_bytes)?),
        }
        Ok(())
    });
    made.await.map_err(|error| StepFailure::defect(&error))?
}
