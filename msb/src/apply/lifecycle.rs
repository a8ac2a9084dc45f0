//! What `start`, `stop`, `restart`, `kill` and `rm` share: recorded sandboxes by name, one line for each.

use crate::apply::confirm::Consent;
use crate::apply::interrupts;
use crate::apply::{self, ApplyOptions, Converged, LockedProject};
use crate::cli::Global;
use crate::error::CliError;
use crate::host;
use crate::host::Machine;
use crate::output::words;
use crate::output::{OutputOptions, eprintln_lossy, escape_controls, print};
use crate::project::find;
use executor::apply::{ProjectLock, Settings, StepResult};
use executor::catalog::Catalog;
use executor::images::ImageQuery;
use executor::launch::LaunchSpec;
use executor::observe::Observation;
use executor_host::home::Home;
use executor_host::state::read_json;
use planner::LifecycleAction;
use rules::unit::{DURATION_FORMS, parse_duration};
use schemas::name::{ProjectName, SandboxName};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a guest has to shut down, unless something else is said.
pub const STOP_TIMEOUT: &str = "10s";
/// The same as a time.
pub const STOP_TIME: Duration = Duration::from_secs(10);

/// A time on the command line; a plain 0 is one, too.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => {
            parse_duration(text).map_err(|error| format!("{error}: a time is written like {DURATION_FORMS}"))
        }
    }
}

/// What is to become of each sandbox.
#[derive(Clone, Copy, Debug)]
pub struct LifecycleOp {
    /// The command, for whoever finds the project locked.
    pub command: &'static str,
    /// What is wished.
    pub action: LifecycleAction,
    /// What is told when that was done: `started`.
    pub done: &'static str,
    /// How long a guest has to shut down before it is killed.
    pub stop_timeout: Duration,
    /// Whether it is killed at once.
    pub kill: bool,
    /// How long another msb that works on the project is waited for.
    pub lock_timeout: Duration,
}

/// Does it to each one, whatever became of the others, and prints a line for each.
pub fn run_for_each(
    global: &Global,
    names: &[String],
    op: &LifecycleOp,
    admit: impl Fn(&Observation) -> Result<(), CliError>,
) -> Result<ExitCode, CliError> {
    let verbosity = OutputOptions::of(global);
    let Machine { home, catalog } = Machine::open()?;
    let mut code = ExitCode::SUCCESS;
    for name in names {
        interrupts::check()?;
        let ended = find::sandbox(global, &home, &catalog, name).and_then(|seen| {
            admit(&seen)?;
            let row = &seen.row;
            let folder = read_json::<LaunchSpec>(&home.sandbox(&row.id).launch_spec()).ok().flatten();
            let settings = || {
                let settings = match op.action {
                    LifecycleAction::Start | LifecycleAction::Restart => {
                        let boot = Some(host::boot_settings(&home, global)?);
                        apply::settings(&home, boot, None, false, std::path::Path::new(""))?
                    }
                    LifecycleAction::Stop | LifecycleAction::Remove => {
                        apply::settings_without_boot(&home, op.stop_timeout)?
                    }
                };
                // It is shown its paths as it was when it was first started.
                let folder = folder.as_ref().and_then(|orders| orders.folder.clone());
                Ok(Settings { folder, stop_timeout: op.stop_timeout, kill: op.kill, ..settings })
            };
            run_for((&home, &catalog), (&row.project, &row.name), op, &verbosity, settings)
        });
        match ended {
            Ok(line) if verbosity.quiet => drop(line),
            Ok(line) => print(&format!("{name}: {line}\n")),
            Err(failure) if failure.exit.is_signal() => return Err(failure),
            Err(failure) => {
                eprintln_lossy(&line_of(name, &failure));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Makes one recorded sandbox do what is wished; gives what is told of it.
pub fn run_for(
    (home, catalog): (&Home, &Arc<Catalog>),
    (project, name): (&ProjectName, &SandboxName),
    op: &LifecycleOp,
    verbosity: &OutputOptions,
    settings: impl Fn() -> Result<Settings, CliError>,
) -> Result<String, CliError> {
    let command = format!("msb {}", op.command);
    let locked = &LockedProject {
        lock: ProjectLock::acquire(home, project, &command, op.lock_timeout)?,
        home: home.clone(),
        catalog: catalog.clone(),
        project: project.clone(),
        images: ImageQuery::default(),
        verbosity: verbosity.silent(),
        // Naming a sandbox to remove is the consent.
        consent: Consent::Given,
        command: op.command,
    };
    run_locked(locked, name, op, settings)
}

/// The same for whoever holds the project's lock.
pub fn run_locked(
    locked: &LockedProject,
    name: &SandboxName,
    op: &LifecycleOp,
    settings: impl Fn() -> Result<Settings, CliError>,
) -> Result<String, CliError> {
    let targets = BTreeSet::from([name.clone()]);
    let converged = apply::converge(
        locked,
        |snapshot| planner::plan_lifecycle(snapshot, &targets, op.action).map_err(CliError::from),
        settings,
        |_, _| String::new(),
        ApplyOptions::default(),
    )?;
    let Converged { plan, report, applied, rolled_back: _ } = converged;
    let Some(applied) = applied else {
        return Ok(report
            .changes
            .into_iter()
            .next()
            .map(|change| words::reason(&change.reason))
            .unwrap_or_default());
    };
    if let Some(exit) = applied.interrupted {
        return Err(CliError::new(applied.left_by_interrupt(&plan)).exit(exit));
    }
    match first_failure(applied.results.into_values()) {
        Some(failure) => Err(failure),
        None => Ok(op.done.to_owned()),
    }
}

/// The first step that failed, as a failure of the whole.
pub fn first_failure(results: impl Iterator<Item = StepResult>) -> Option<CliError> {
    let failed = results.filter_map(|result| match result {
        StepResult::Failed(failure) => Some(failure),
        _ => None,
    });
    let failure = failed.into_iter().next()?;
    let told = failure.details.iter().fold(CliError::new(failure.message), CliError::because);
    Some(match failure.hint {
        Some(hint) => told.hint(hint),
        None => told,
    })
}

/// A failure on one line.
fn line_of(name: &str, failure: &CliError) -> String {
    let mut text = format!("error: {name}: {}", failure.message);
    for cause in &failure.causes {
        text.push_str(": ");
        text.push_str(cause.trim());
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!(" ({hint})"));
    }
    let whole: Vec<_> = text.lines().map(escape_controls).collect();
    whole.join(" | ")
}
