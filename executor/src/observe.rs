//! Reads how things are: the catalog's rows, the supervisors' state files, the living processes, the images.

use crate::catalog::{Catalog, CatalogError, SandboxRow};
use crate::home::Home;
use crate::state::{Phase, State, read_state};
use executor_image::ImageError;
use schemas::name::ProjectName;
use schemas::snapshot::{ObservedImage, ObservedSandbox, Snapshot, Status};
use schemas::spec::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Why a project cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// An image cannot be read.
    #[error("cannot read the image {reference}")]
    Image {
        /// Which.
        reference: ImageReference,
        /// Why.
        source: ImageError,
    },
}

/// One sandbox as recorded and as it is.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The catalog's row.
    pub row: SandboxRow,
    /// What it does now.
    pub status: Status,
    /// What its supervisor last said.
    pub state: Option<State>,
}

/// Observes one project, and the images that its file names.
pub fn observe(
    home: &Home,
    catalog: &Catalog,
    project: &ProjectName,
    references: &BTreeSet<ImageReference>,
) -> Result<Snapshot, ObserveError> {
    let sandboxes = observe_sandboxes(home, catalog, Some(project))?
        .into_iter()
        .map(|Observation { row, status, state: _ }| {
            let SandboxRow { id, project: _, name, generation, spec, made: _, wanted: _ } = row;
            (name, ObservedSandbox { id, generation, spec, status, hook_due: false })
        })
        .collect();
    let mut images = BTreeMap::new();
    for reference in references {
        // What a registry holds is not known before it is pulled.
        if let ImageReference::Local { path } = reference {
            images.insert(reference.to_string(), observe_image(home, catalog, reference, path)?);
        }
    }
    Ok(Snapshot { project: project.clone(), sandboxes, volumes: BTreeMap::new(), images })
}

/// Observes the sandboxes of one project, or of all.
pub fn observe_sandboxes(
    home: &Home,
    catalog: &Catalog,
    project: Option<&ProjectName>,
) -> Result<Vec<Observation>, CatalogError> {
    let observed = catalog.sandboxes(project)?.into_iter().map(|row| {
        let folder = home.sandbox(&row.id);
        let state = read_state(&folder);
        let status = status(&row, state.as_ref(), &folder.disk());
        Observation { row, status, state }
    });
    Ok(observed.collect())
}

fn status(row: &SandboxRow, state: Option<&State>, disk: &Path) -> Status {
    if let Some(state) = state
        && !state.is_final()
        && state.supervisor.is_alive()
    {
        return Status::Running { health: state.health };
    }
    if !row.made || !disk.exists() {
        return Status::Incomplete;
    }
    match state.map(|state| &state.phase) {
        Some(Phase::Exited { exit }) => Status::Exited { exit: exit.clone() },
        Some(Phase::Booting | Phase::Running | Phase::Backoff { .. }) if row.wanted => Status::Lost,
        Some(_) | None => Status::Stopped,
    }
}

fn observe_image(
    home: &Home,
    catalog: &Catalog,
    reference: &ImageReference,
    path: &str,
) -> Result<ObservedImage, ObserveError> {
    let known = catalog.image_source(path)?;
    let resolved = executor_image::resolve(Path::new(path), known.as_ref())
        .map_err(|source| ObserveError::Image { reference: reference.clone(), source })?;
    if known.as_ref() != Some(&resolved) {
        catalog.remember_image_source(path, &resolved)?;
    }
    let built = executor_image::is_built(&home.images(), &resolved.digest);
    let digest = resolved.digest;
    Ok(ObservedImage { reference: reference.clone(), digest, built })
}
