//! `msb volume rm`.

use super::{check, find};
use crate::apply::confirm::Consent;
use crate::apply::lifecycle::STOP_TIME;
use crate::apply::{self, ApplyOptions, LockedProject};
use crate::cli::{Global, LockTimeout};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{OutputOptions, print};
use executor::catalog::VolumeRow;
use schemas::name::{ProjectName, VolumeName};
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
}

/// Removes volumes, all of one project at once.
pub fn run(global: &Global, Args { names, yes, lock }: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let mut projects: BTreeMap<ProjectName, BTreeSet<VolumeName>> = BTreeMap::new();
    for name in names {
        let VolumeRow { project, name, .. } = find(global, &machine, name)?;
        projects.entry(project).or_default().insert(name);
    }
    for (project, volumes) in projects {
        let locked = LockedProject {
            output: OutputOptions::of(global).silent(),
            consent: Consent::of(*yes),
            ..LockedProject::acquire(&machine, &project, "volume rm", lock.timeout)?
        };
        remove(&locked, &volumes)?;
        if !global.quiet {
            let lines: String = volumes.iter().map(|name| format!("{name}: removed\n")).collect();
            print(&lines);
        }
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
        || apply::settings(&locked.machine.home, STOP_TIME),
        ApplyOptions::default(),
    )?;
    check(converged).map(drop)
}
