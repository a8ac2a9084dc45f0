//! `msb volume prune`.

use super::{Row, rm, rows};
use crate::apply::LockedProject;
use crate::apply::confirm::Consent;
use crate::cli::{Global, LockTimeout};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{OutputOptions, print};
use crate::project;
use schemas::name::VolumeName;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Arguments of `msb volume prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove their contents without asking.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    lock: LockTimeout,
}

/// Removes the volumes of the current project that no recorded sandbox mounts.
pub fn run(global: &Global, Args { yes, lock }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let machine = Machine::open()?;
    let Some(project) = project::current(global, &machine.catalog)? else {
        return Err(CliError::new("there is no project here").hint("name one with -p"));
    };
    let locked = LockedProject {
        output: output.silent(),
        consent: Consent::of(*yes),
        ..LockedProject::acquire(&machine, &project, "volume prune", lock.timeout)?
    };
    let is_unused = |row: &Row| row.mounted_by.is_empty() && row.project.as_deref() == Some(project.as_str());
    let unused = rows(&machine, Some(&project))?.into_iter().filter(is_unused);
    let unused: BTreeSet<VolumeName> = unused.filter_map(|row| VolumeName::new(row.name).ok()).collect();
    if unused.is_empty() {
        output.say("every volume of the project is mounted by a sandbox");
        return Ok(ExitCode::SUCCESS);
    }
    rm::remove(&locked, &unused)?;
    if !global.quiet {
        let lines: String = unused.iter().map(|name| format!("{name}: removed\n")).collect();
        print(&lines);
    }
    Ok(ExitCode::SUCCESS)
}
