//! Observes the current state: the catalog's rows, the supervisors' state files, the running processes, the images.

mod ports;

use crate::catalog::{Catalog, CatalogError, Recorded, SandboxRow, UnreadableRow, VolumeRow};
use crate::images::{ImageQuery, ImagesError, observe_image};
use crate::secrets::{self, Running};
use executor_host::home::Home;
use executor_host::state::{Phase, State, read_state};
use ports::held_ports;
use schemas::name::{ProjectName, SandboxName, VolumeName, full_name};
use schemas::plan::Identity;
use schemas::snapshot::{Health, ObservedSandbox, ObservedVolume, Snapshot, Status, UnreadableSandbox};
use schemas::spec::{HookEvent, ImageReference, ValueName, VolumeSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A failure to observe a project.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Images cannot be read.
    #[error("{}", unreadable(failures))]
    Images {
        /// The images with their errors; at least one.
        failures: Vec<(ImageReference, ImagesError)>,
        /// The rest of the observation.
        rest: Box<Snapshot>,
    },
}

fn unreadable(failures: &[(ImageReference, ImagesError)]) -> String {
    match failures {
        [(reference, _)] => format!("cannot read the image {reference}"),
        several => format!("cannot read {} images", several.len()),
    }
}

/// A recorded sandbox and its current state.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The catalog's row.
    pub row: SandboxRow,
    /// Its current status.
    pub status: Status,
    /// The state that its supervisor wrote last; `None` without one.
    pub state: Option<State>,
}

/// Observes one project, the images of its file, and the users of its published ports.
///
/// # Errors
///
/// If the catalog fails, or images cannot be observed.
pub fn observe(
    home: &Home,
    catalog: &Catalog,
    project: &ProjectName,
    query: &ImageQuery,
) -> Result<Snapshot, ObserveError> {
    let Observed { sandboxes, unreadable } = observe_all(home, catalog, Some(project))?;
    let sandboxes: BTreeMap<SandboxName, ObservedSandbox> = sandboxes
        .into_iter()
        .map(|Observation { row, status, state }| {
            let status = planned_status(status, state.as_ref());
            let SandboxRow { id, project: _, name, generation, spec, created, should_run, hook_done } = row;
            let has_hook = spec.definition.hooks.contains_key(&HookEvent::PostStart);
            let post_start_pending = has_hook && !hook_done && status.is_up();
            (name, ObservedSandbox { id, generation, spec, status, post_start_pending, created, should_run })
        })
        .collect();
    let changed_values =
        if query.compare_values { changed(home, project, &sandboxes) } else { BTreeMap::new() };
    let unreadable: BTreeMap<SandboxName, UnreadableSandbox> = unreadable
        .into_iter()
        .map(|UnreadableRow { project: _, identity, reason }| {
            let Identity { name, id, generation } = identity;
            (name, UnreadableSandbox { id, generation, reason })
        })
        .collect();
    let mut images = BTreeMap::new();
    let mut failures = Vec::new();
    for reference in &query.references {
        match observe_image(home, catalog, reference, query) {
            Ok(observed) => drop(images.insert(reference.to_string(), observed)),
            Err(error) => failures.push((reference.clone(), error)),
        }
    }
    let is_recorded = |name: &SandboxName| sandboxes.contains_key(name) || unreadable.contains_key(name);
    let volumes = observe_volumes(home, catalog, project, is_recorded)?;
    let external = observe_external(home, catalog, &query.external)?;
    let held_ports = held_ports(home, catalog, project, &query.ports)?;
    let snapshot = Snapshot {
        project: project.clone(),
        sandboxes,
        unreadable,
        volumes,
        external,
        images,
        held_ports,
        mount_obstacle: query.mount_obstacle.clone(),
        secret_problems: query.secret_problems.clone(),
        changed_values,
    };
    if failures.is_empty() {
        Ok(snapshot)
    } else {
        Err(ObserveError::Images { failures, rest: Box::new(snapshot) })
    }
}

/// Finds the values of running sandboxes that have changed on this host.
fn changed(
    home: &Home,
    project: &ProjectName,
    sandboxes: &BTreeMap<SandboxName, ObservedSandbox>,
) -> BTreeMap<SandboxName, BTreeSet<ValueName>> {
    let running = sandboxes.iter().filter(|(_, sandbox)| sandbox.status.is_up());
    let running = running.map(|(name, sandbox)| Running {
        key: name.clone(),
        id: sandbox.id.clone(),
        run_folder: home.sandbox_run(&full_name(project, name)),
        definition: &sandbox.spec.definition,
    });
    secrets::changed_values(running.collect())
}

/// The observed sandboxes.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The sandboxes with readable records.
    pub sandboxes: Vec<Observation>,
    /// The sandboxes with unreadable records.
    pub unreadable: Vec<UnreadableRow>,
}

impl Observed {
    fn new(home: &Home, Recorded { sandboxes, unreadable }: Recorded) -> Self {
        let sandboxes = sandboxes.into_iter().map(|row| observe_row(home, row)).collect();
        Self { sandboxes, unreadable }
    }
}

/// Observes the sandboxes of one project, or of all projects.
///
/// # Errors
///
/// If the catalog fails.
pub fn observe_all(
    home: &Home,
    catalog: &Catalog,
    project: Option<&ProjectName>,
) -> Result<Observed, CatalogError> {
    Ok(Observed::new(home, catalog.sandboxes(project)?))
}

/// Observes the sandboxes that a name may mean: the one of a project, and the one with this full name.
///
/// # Errors
///
/// If the catalog fails.
pub fn observe_named(
    home: &Home,
    catalog: &Catalog,
    project: Option<&ProjectName>,
    name: &str,
) -> Result<Observed, CatalogError> {
    Ok(Observed::new(home, catalog.sandboxes_named(project, name)?))
}

/// Observes the sandboxes of one project, or of all projects, without those with unreadable records.
///
/// # Errors
///
/// If the catalog fails.
pub fn observe_sandboxes(
    home: &Home,
    catalog: &Catalog,
    project: Option<&ProjectName>,
) -> Result<Vec<Observation>, CatalogError> {
    Ok(observe_all(home, catalog, project)?.sandboxes)
}

/// Returns the sandboxes with running supervisors of one project, or of all projects.
fn running(
    home: &Home,
    catalog: &Catalog,
    project: Option<&ProjectName>,
) -> Result<Vec<(SandboxRow, State)>, CatalogError> {
    let observed = observe_sandboxes(home, catalog, project)?.into_iter();
    let running = observed.filter(|observation| observation.status.is_up());
    Ok(running.filter_map(|Observation { row, status: _, state }| Some((row, state?))).collect())
}

fn observe_row(home: &Home, row: SandboxRow) -> Observation {
    let folder = home.sandbox(&row.id);
    let state = read_state(&folder);
    let status = status(&row, state.as_ref(), &folder.disk());
    Observation { row, status, state }
}

fn observe_volumes(
    home: &Home,
    catalog: &Catalog,
    project: &ProjectName,
    is_recorded: impl Fn(&SandboxName) -> bool,
) -> Result<BTreeMap<VolumeName, ObservedVolume>, CatalogError> {
    // An anonymous volume goes with its sandbox; one that an interrupted replacement left is a volume like others.
    let is_plain = |row: &VolumeRow| row.anonymous.as_ref().is_none_or(|it| !is_recorded(&it.sandbox));
    let volumes = catalog.volumes(project)?.into_iter().filter(is_plain).map(|row| {
        let VolumeRow { project, name, spec, created, anonymous: _ } = row;
        let created = created && home.volume(&project, &name).contents(spec.kind).exists();
        (name, ObservedVolume { spec, created })
    });
    Ok(volumes.collect())
}

/// Returns the volumes of these full names that exist.
fn observe_external(
    home: &Home,
    catalog: &Catalog,
    names: &BTreeSet<VolumeName>,
) -> Result<BTreeMap<VolumeName, VolumeSpec>, CatalogError> {
    let mut found = BTreeMap::new();
    for name in names {
        if let Some(VolumeRow { spec, created: true, anonymous: None, .. }) =
            catalog.volume_by_full_name(name.as_str())?
            && home.volume_of(name.as_str()).contents(spec.kind).exists()
        {
            found.insert(name.clone(), spec);
        }
    }
    Ok(found)
}

/// Returns the status that a plan is made from: one that is ending is not up, so that the plan waits for what follows.
fn planned_status(status: Status, state: Option<&State>) -> Status {
    match status {
        Status::Running { health: _ } if state.is_some_and(State::is_ending) => {
            Status::Running { health: Health::Booting }
        }
        status => status,
    }
}

fn status(row: &SandboxRow, state: Option<&State>, disk: &Path) -> Status {
    if let Some(state) = state
        && !state.is_final()
        && state.supervisor.is_alive()
    {
        return if state.paused { Status::Paused } else { Status::Running { health: state.health } };
    }
    if !row.created || !disk.exists() {
        return Status::Incomplete;
    }
    match state.map(|state| &state.phase) {
        Some(Phase::Exited { exit }) => Status::Exited { exit: exit.clone() },
        Some(Phase::Booting | Phase::Running | Phase::Backoff { .. }) if row.should_run => {
            let rebooted = state.is_some_and(|state| state.supervisor.is_of_earlier_boot());
            if rebooted { Status::HostRebooted } else { Status::Lost }
        }
        Some(_) | None => Status::Stopped,
    }
}
