//! Finds recorded sandboxes by the names that people use for them.

use crate::cli::Global;
use crate::error::CliError;
use crate::project;
use crate::project::targets::unknown_sandbox;
use executor::catalog::{Catalog, UnreadableRow};
use executor::observe::{Observation, Observed, observe_named};
use executor_host::home::Home;
use schemas::name::full_name;
use schemas::snapshot::Status;

/// The full name of an observed sandbox.
pub fn full_name_of(observation: &Observation) -> String {
    full_name(&observation.row.project, &observation.row.name)
}

/// One sandbox that runs.
pub fn running(global: &Global, home: &Home, catalog: &Catalog, name: &str) -> Result<Observation, CliError> {
    let seen = sandbox(global, home, catalog, name)?;
    match seen.status {
        Status::Running { .. } => Ok(seen),
        _ => Err(CliError::new(format!("{name} does not run")).hint(format!("`msb start {name}` starts it"))),
    }
}

/// One sandbox: by its name in the project at hand, else by its full name.
pub fn sandbox(global: &Global, home: &Home, catalog: &Catalog, name: &str) -> Result<Observation, CliError> {
    // A full name stands for itself, whoever has the project of this folder.
    let (project, refusal) = match project::at_hand(global, catalog) {
        Ok(project) => (project, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let Observed { sandboxes, unreadable } = observe_named(home, catalog, project.as_ref(), name)?;
    let is_own =
        |seen: &Observation| Some(&seen.row.project) == project.as_ref() && seen.row.name.as_str() == name;
    let (own, others): (Vec<_>, Vec<_>) = sandboxes.into_iter().partition(is_own);
    if let Some(seen) = own.into_iter().chain(others).next() {
        return Ok(seen);
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    if let Some(UnreadableRow { project, identity, reason }) = unreadable.first() {
        return Err(CliError::new(format!("the record of {name} cannot be read: {reason}")).hint(format!(
            "use the msb that wrote it; `msb -p {project} down {}` removes it",
            identity.name
        )));
    }
    let all = catalog.sandboxes(None)?.sandboxes.into_iter();
    let names: Vec<String> = all
        .map(|row| match Some(&row.project) == project.as_ref() {
            true => row.name.to_string(),
            false => full_name(&row.project, &row.name),
        })
        .collect();
    Err(unknown_sandbox(name, names.iter().map(String::as_str)))
}
