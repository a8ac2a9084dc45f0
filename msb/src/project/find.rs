//! Looking up recorded sandboxes by name.

use crate::cli::Global;
use crate::error::{CliError, ErrorCode};
use crate::host::Machine;
use crate::project;
use crate::project::targets::unknown_sandbox;
use executor::catalog::UnreadableRow;
use executor::launch::LaunchSpec;
use executor::observe::{Observation, Observed, observe_named};
use executor_host::home::Home;
use executor_host::state::read_json;
use schemas::name::{SandboxId, full_name};
use schemas::snapshot::Status;

/// Returns how a sandbox was last launched; `None` if it has never run.
pub fn launch_spec(home: &Home, id: &SandboxId) -> Option<LaunchSpec> {
    read_json(&home.sandbox(id).launch_spec()).ok().flatten()
}

/// Returns the full name of an observed sandbox.
pub fn full_name_of(observation: &Observation) -> String {
    full_name(&observation.row.project, &observation.row.name)
}

/// Returns a running sandbox.
///
/// # Errors
///
/// Those of [`sandbox`], or if it is paused or not running.
pub fn running(global: &Global, machine: &Machine, name: &str) -> Result<Observation, CliError> {
    let seen = up(global, machine, name)?;
    match seen.status {
        Status::Paused => {
            let failure =
                CliError::new(format!("{name} is paused")).code(ErrorCode::SandboxPaused).about(name);
            Err(failure.hint(format!("`msb resume {name}` resumes it")))
        }
        _ => Ok(seen),
    }
}

/// Returns a sandbox that runs or is paused.
///
/// # Errors
///
/// Those of [`sandbox`], or if it is not running.
pub fn up(global: &Global, machine: &Machine, name: &str) -> Result<Observation, CliError> {
    let seen = sandbox(global, machine, name)?;
    if seen.status.is_up() {
        Ok(seen)
    } else {
        let failure = CliError::new(format!("{name} is not running"));
        let failure = failure.code(ErrorCode::SandboxNotRunning).about(name);
        Err(failure.hint(format!("`msb start {name}` starts it")))
    }
}

/// Returns a sandbox by its name in the current project, else by its full name.
///
/// # Errors
///
/// If there is none, or its record cannot be read.
pub fn sandbox(
    global: &Global,
    Machine { home, catalog }: &Machine,
    name: &str,
) -> Result<Observation, CliError> {
    // A full name works even in the folder of another project.
    let (project, refusal) = match project::current(global, catalog) {
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
    let mut names = Vec::new();
    for row in catalog.sandboxes(None)?.sandboxes {
        let is_own = Some(&row.project) == project.as_ref();
        names.push(if is_own { row.name.to_string() } else { full_name(&row.project, &row.name) });
    }
    Err(unknown_sandbox(name, names.iter().map(String::as_str)))
}
