//! Finds recorded sandboxes by the names that people use for them.

use crate::cli::Global;
use crate::commands::unknown_sandbox;
use crate::error::CliError;
use crate::project;
use executor::catalog::{Catalog, UnreadableRow};
use executor::home::Home;
use executor::observe::{Observation, Observed, observe_all};
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
    let Observed { sandboxes: all, unreadable } = observe_all(home, catalog, None)?;
    let own = |observation: &Observation| {
        Some(&observation.row.project) == project.as_ref() && observation.row.name.as_str() == name
    };
    let found = all.iter().position(own).or_else(|| all.iter().position(|seen| full_name_of(seen) == name));
    if let Some(index) = found {
        return Ok(all
            .into_iter()
            .nth(index)
            .unwrap_or_else(|| unreachable!("the position was found in it")));
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let meant = unreadable.iter().find(|row| {
        row.identity.name.as_str() == name && Some(&row.project) == project.as_ref()
            || full_name(&row.project, &row.identity.name) == name
    });
    if let Some(UnreadableRow { project, identity, reason }) = meant {
        return Err(CliError::new(format!("the record of {name} cannot be read: {reason}")).hint(format!(
            "use the msb that wrote it; `msb -p {project} down {}` removes it",
            identity.name
        )));
    }
    let names: Vec<String> = all
        .iter()
        .map(|seen| {
            if Some(&seen.row.project) == project.as_ref() {
                seen.row.name.to_string()
            } else {
                full_name_of(seen)
            }
        })
        .collect();
    Err(unknown_sandbox(name, names.iter().map(String::as_str)))
}
