//! `msb snapshot create`.

use super::{name, report};
use crate::apply::LockedProject;
use crate::cli::{Global, JsonResults, LockTimeout};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::project::find::{self, full_name_of};
use executor::snapshots::{self, DiskUse, Source};
use schemas::name::SnapshotName;
use std::process::ExitCode;

/// Arguments of `msb snapshot create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox. One that runs holds the writes to its disk for the moment of the copy.
    #[arg(value_name = "SANDBOX")]
    sandbox: String,
    /// The name of the snapshot. Default: that of the sandbox.
    #[arg(value_name = "NAME", value_parser = name)]
    name: Option<SnapshotName>,
    /// Replace a snapshot of this name. Sandboxes that boot from it keep their disks until the next `up`.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    json: JsonResults,
}

/// Creates a snapshot of the disk of a sandbox.
pub fn run(
    global: &Global,
    Args { sandbox, name, replace, lock, json: _ }: &Args,
) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let machine = Machine::open()?;
    let project = find::sandbox(global, &machine, sandbox)?.row.project;
    let _locked = LockedProject::acquire(&machine, &project, "snapshot create", lock.timeout)?;
    // It may have changed before the lock.
    let seen = find::sandbox(global, &machine, sandbox)?;
    let full_name = full_name_of(&seen);
    let name = match name {
        Some(name) => name.clone(),
        None => SnapshotName::new(seen.row.name.as_str())
            .map_err(|reason| CliError::usage(format!("{sandbox} cannot name a snapshot: {reason}")))?,
    };
    if !seen.row.created {
        return Err(
            CliError::new(format!("{sandbox} was not created completely")).hint("`msb up` completes it")
        );
    }
    let disk_use = if seen.status.is_up() { DiskUse::Guest } else { DiskUse::None };
    let source = Source { id: seen.row.id, full_name, image: seen.row.spec.image, disk_use };
    let event_loop = crate::commands::event_loop()?;
    let snapshot = event_loop.block_on(snapshots::create(&machine.home, source, &name, *replace))?;
    report(&output, "created", &name, &snapshot);
    Ok(ExitCode::SUCCESS)
}
