//! `msb volume rm`.

use super::{check, find};
use crate::apply::confirm::Consent;
use crate::apply::{self, ApplyOptions, LockedProject};
use crate::cli::{Global, JsonResults, LockTimeout};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::results::Removed;
use crate::output::{OutputOptions, print, print_json};
use executor::catalog::VolumeRow;
use schemas::name::{ProjectName, VolumeName, full_volume_name};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Arguments of `msb volume rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The volumes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Remove their contents without asking.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    json: JsonResults,
}

/// Removes volumes, all of one project at once.
pub fn run(global: &Global, Args { names, yes, lock, json: _ }: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let mut projects: BTreeMap<ProjectName, BTreeSet<VolumeName>> = BTreeMap::new();
    for name in names {
        let VolumeRow { project, name, .. } = find(global, &machine, name)?;
        projects.entry(project).or_default().insert(name);
    }
    let mut removed = Vec::new();
    for (project, volumes) in projects {
        let locked = LockedProject {
            output: OutputOptions::of(global).silent(),
            consent: Consent::of(*yes),
            ..LockedProject::acquire(&machine, &project, "volume rm", lock.timeout)?
        };
        remove(&locked, &volumes)?;
        removed.extend(volumes.iter().map(|name| full_volume_name(&project, name)));
        if !global.quiet && !global.json {
            let lines: String = volumes.iter().map(|name| format!("{name}: removed\n")).collect();
            print(&lines);
        }
    }
    if global.json {
        print_json(&Removed::new(&removed));
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes volumes of a locked project after consent.
///
/// # Errors
///
/// If a sandbox mounts one of them, consent is refused, or a step fails.
pub(super) fn remove(locked: &LockedProject, volumes: &BTreeSet<VolumeName>) -> Result<(), CliError> {
    if locked.consent == Consent::Missing {
        let message = "this removes the contents of volumes, and there is no terminal for a prompt; nothing was changed";
        return Err(CliError::new(message).hint("--yes removes them"));
    }
    let converged = apply::converge(
        locked,
        |snapshot| planner::plan_volume_removal(snapshot, volumes).map_err(CliError::from),
        || apply::settings(&locked.machine.home, None),
        ApplyOptions::default(),
    )?;
    check(converged).map(drop)
}
