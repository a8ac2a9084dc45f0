//! `start`, `stop`, `restart`, `kill` and `rm`: an operation on existing sandboxes by name, with one line for each.

use crate::apply::interrupts;
use crate::apply::{self, ApplyOptions, Converged, LockedProject};
use crate::cli::{Global, LockTimeout};
use crate::error::CliError;
use crate::host::{self, Machine};
use crate::output::words;
use crate::output::{OutputOptions, eprintln_lossy, escape_controls, print, print_json};
use crate::project::{self, find, load};
use executor::apply::Settings;
use executor::observe::Observation;
use planner::LifecycleAction;
use schemas::name::SandboxName;
use schemas::report::Action;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

/// An operation on sandboxes.
#[derive(Clone, Copy, Debug)]
pub struct LifecycleOp {
    /// The command.
    pub command: &'static str,
    /// The planned action.
    pub action: LifecycleAction,
    /// What is printed afterwards, such as `started`.
    pub done: &'static str,
    /// Time for a guest to shut down before it is killed; `None` for that of each sandbox.
    pub stop_timeout: Option<Duration>,
    /// Whether the guest is killed without a shutdown.
    pub kill: bool,
    /// Maximum time to wait for the project's lock.
    pub lock_timeout: Duration,
}

impl LifecycleOp {
    /// An operation that does not wait for a shutdown.
    pub fn new(
        command: &'static str,
        action: LifecycleAction,
        done: &'static str,
        lock: LockTimeout,
    ) -> Self {
        Self { command, action, done, stop_timeout: None, kill: false, lock_timeout: lock.timeout }
    }

    /// An operation that ends sandboxes without a shutdown.
    pub fn kill(command: &'static str, lock: LockTimeout) -> Self {
        Self { kill: true, ..Self::new(command, LifecycleAction::Stop, "killed", lock) }
    }

    /// Runs the operation on each sandbox and prints a line for each. A failure does not prevent the others.
    ///
    /// # Errors
    ///
    /// If a signal interrupts it.
    pub fn run(&self, global: &Global, names: &[String]) -> Result<ExitCode, CliError> {
        self.run_if(global, names, |_| Ok(()))
    }

    /// Runs the operation on all sandboxes of the current project at once, in the order of their dependencies.
    ///
    /// # Errors
    ///
    /// If there is no project, a step fails or a signal interrupts it.
    pub fn run_project(&self, global: &Global) -> Result<ExitCode, CliError> {
        let output = OutputOptions::of(global);
        let machine = Machine::open()?;
        let project = match project::current(global, &machine.catalog)? {
            Some(project) => project,
            // Fails with the reason.
            None => load::load(global)?.model.project().clone(),
        };
        let locked = LockedProject {
            output: output.silent(),
            ..LockedProject::acquire(&machine, &project, self.command, self.lock_timeout)?
        };
        let converged = apply::converge(
            &locked,
            |snapshot| {
                let targets = snapshot.sandboxes.keys().cloned().collect();
                planner::plan_lifecycle(snapshot, &targets, self.action).map_err(CliError::from)
            },
            || {
                let settings = apply::settings(&machine.home, self.stop_timeout)?;
                Ok(Settings { kill: self.kill, ..settings })
            },
            ApplyOptions::default(),
        )?;
        let Converged { plan, report, applied, rolled_back: _ } = converged;
        if let Some(applied) = applied {
            applied.into_result(&plan)?;
        }
        for change in &report.changes {
            let done = if change.action == Action::Unchanged {
                words::reason(&change.reason)
            } else {
                self.done.to_owned()
            };
            if !output.quiet {
                print(&format!("{}: {done}\n", change.name));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Runs the operation on each sandbox that `admit` accepts. See [`Self::run`].
    ///
    /// # Errors
    ///
    /// If a signal interrupts it.
    pub fn run_if(
        &self,
        global: &Global,
        names: &[String],
        admit: impl Fn(&Observation) -> Result<(), CliError>,
    ) -> Result<ExitCode, CliError> {
        let machine = Machine::open()?;
        for_each(global, names, self.done, |name| {
            let seen = find::sandbox(global, &machine, name)?;
            admit(&seen)?;
            run_for(global, &machine, self, &seen)
        })
    }
}

/// Calls a function for each sandbox, and prints what it has done, or `done` if it had nothing to say. A failure does not
/// prevent the others; the first one decides the exit code.
///
/// # Errors
///
/// If a signal interrupts it, or, where results are JSON, the first failure.
pub fn for_each(
    global: &Global,
    names: &[String],
    done: &'static str,
    mut run: impl FnMut(&str) -> Result<Option<String>, CliError>,
) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let mut results = Vec::new();
    let mut code = ExitCode::SUCCESS;
    let mut failed = false;
    for name in names {
        interrupts::check()?;
        let (outcome, error) = match run(name) {
            Ok(unneeded) => {
                if !output.quiet && !output.json {
                    print(&format!("{name}: {}\n", unneeded.as_deref().unwrap_or(done)));
                }
                (unneeded.map_or(done, |_| UNCHANGED), None)
            }
            Err(failure) if failure.code.is_signal() => return Err(failure),
            Err(failure) => {
                if !output.json {
                    eprintln_lossy(&one_line(name, &failure));
                }
                if !std::mem::replace(&mut failed, true) {
                    code = failure.code.into();
                }
                (FAILED, Some(failure.about(name)))
            }
        };
        results.push(SandboxResult { name: name.clone(), outcome, error });
    }
    if output.json {
        print_json(&Results { version: VERSION, sandboxes: &results });
        if let Some(failure) = results.into_iter().find_map(|result| result.error) {
            return Err(failure);
        }
    }
    Ok(code)
}

/// Prints as JSON what has been done with one sandbox.
pub fn print_result(name: &str, outcome: &'static str) {
    let result = SandboxResult { name: name.to_owned(), outcome, error: None };
    print_json(&Results { version: VERSION, sandboxes: &[result] });
}

/// The outcome of a sandbox for which nothing had to be done.
const UNCHANGED: &str = "unchanged";
/// The outcome of a sandbox whose operation failed.
const FAILED: &str = "failed";
/// The version of the results as JSON.
const VERSION: u32 = 1;

/// The results of an operation as JSON.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Results<'a> {
    version: u32,
    sandboxes: &'a [SandboxResult],
}

/// The result for one sandbox.
#[derive(schemars::JsonSchema, Serialize)]
pub struct SandboxResult {
    /// Its name as it was given.
    name: String,
    /// What was done: `started`, `stopped`, `unchanged`, `failed` and so on.
    outcome: &'static str,
    error: Option<CliError>,
}

/// Runs an operation on a sandbox. Returns the reason if nothing had to be done.
fn run_for(
    global: &Global,
    machine: &Machine,
    op: &LifecycleOp,
    Observation { row, .. }: &Observation,
) -> Result<Option<String>, CliError> {
    let home = &machine.home;
    // Before it is stopped, as it could not be started again.
    if op.action == LifecycleAction::Restart
        && let Some((value, problem)) = executor::secrets::unusable(&row.spec.definition).pop_first()
    {
        let message = format!("{} cannot be used: {problem}", crate::output::words::value(&value));
        return Err(CliError::new(message).hint("a secret's value is read whenever its sandbox starts"));
    }
    // Naming a sandbox to remove is the consent.
    let locked = LockedProject {
        output: OutputOptions::of(global).silent(),
        ..LockedProject::acquire(machine, &row.project, op.command, op.lock_timeout)?
    };
    // Its paths stay relative to the folder in which it was created.
    let folder = find::launch_spec(home, &row.id).and_then(|launch| launch.folder);
    let settings = || {
        let settings = match op.action {
            LifecycleAction::Start | LifecycleAction::Restart => {
                apply::settings_with_boot(home, Some(host::boot_settings(home, global)?), None)?
            }
            LifecycleAction::Stop | LifecycleAction::Remove => apply::settings(home, op.stop_timeout)?,
        };
        Ok(Settings { folder: folder.clone(), stop_timeout: op.stop_timeout, kill: op.kill, ..settings })
    };
    run_locked(&locked, &row.name, op.action, settings)
}

/// Removes a sandbox of a locked project, and kills it if it has not shut down in time.
///
/// # Errors
///
/// If a step fails or a signal interrupts it.
pub fn remove_locked(
    locked: &LockedProject,
    name: &SandboxName,
    stop_timeout: Option<Duration>,
) -> Result<(), CliError> {
    let settings = || apply::settings(&locked.machine.home, stop_timeout);
    run_locked(locked, name, LifecycleAction::Remove, settings).map(drop)
}

/// Takes an action on a sandbox of a locked project. Returns the reason if nothing had to be done.
fn run_locked(
    locked: &LockedProject,
    name: &SandboxName,
    action: LifecycleAction,
    settings: impl Fn() -> Result<Settings, CliError>,
) -> Result<Option<String>, CliError> {
    let targets = BTreeSet::from([name.clone()]);
    let converged = apply::converge(
        locked,
        |snapshot| planner::plan_lifecycle(snapshot, &targets, action).map_err(CliError::from),
        settings,
        ApplyOptions::default(),
    )?;
    let Converged { plan, report, applied, rolled_back: _ } = converged;
    let Some(applied) = applied else {
        let reason = report.changes.first().map(|change| words::reason(&change.reason));
        return Ok(Some(reason.unwrap_or_default()));
    };
    applied.into_result(&plan).map(|()| None)
}

/// Formats a failure on one line.
pub fn one_line(name: &str, failure: &CliError) -> String {
    let mut text = format!("error: {name}: {}", failure.message);
    for cause in &failure.causes {
        text.push_str(": ");
        text.push_str(cause.trim());
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!(" ({hint})"));
    }
    let lines: Vec<_> = text.lines().map(escape_controls).collect();
    lines.join(" | ")
}
