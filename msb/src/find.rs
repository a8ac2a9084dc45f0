//! Finds recorded sandboxes by the names that people use for them.

use crate::cli::Global;
use crate::commands::unknown_sandbox;
use crate::error::CliError;
use crate::load;
use executor::catalog::{Catalog, UnreadableRow};
use executor::home::Home;
use executor::observe::{Observation, Observed, observe_all};
use schemas::name::{ProjectName, full_name};
use schemas::snapshot::Status;

/// The full name of an observed sandbox.
pub fn full_name_of(observation: &Observation) -> String {
    full_name(&observation.row.project, &observation.row.name)
}

/// The project at hand: `-p`, else that of the `-f` file, else the one last brought up from this folder or
/// the nearest above it, else that of the Sandboxfile around.
///
/// So what reads or removes works beside a broken Sandboxfile, and after it is gone.
pub fn project_at_hand(global: &Global, catalog: &Catalog) -> Result<Option<ProjectName>, CliError> {
    if let Some(project) = load::named_project(global)? {
        return Ok(Some(project));
    }
    if !global.files.is_empty() || global.project_directory.is_some() {
        return load::load(global).map(|loaded| Some(loaded.model.project().clone()));
    }
    let here = load::current_folder()?;
    let here = std::fs::canonicalize(&here).unwrap_or(here);
    for folder in here.ancestors() {
        if let Some(project) = catalog.project_in(folder)? {
            return Ok(Some(project));
        }
        if load::has_sandboxfile(folder) {
            break;
        }
    }
    Ok(load::load(global).ok().map(|loaded| loaded.model.project().clone()))
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
    let project = project_at_hand(global, catalog)?;
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
