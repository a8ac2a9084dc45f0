//! `msb snapshot create`.

use super::name;
use crate::apply::LockedProject;
use crate::cli::{Global, LockTimeout};
use crate::commands::image::size;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::project::find::{self, full_name_of};
use executor::snapshots::{self, Source};
use schemas::name::SnapshotName;
use schemas::snapshot::Status;
use std::process::ExitCode;

/// Arguments of `msb snapshot create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox, which must be stopped.
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
}

/// Creates a snapshot of the disk of a sandbox.
pub fn run(global: &Global, Args { sandbox, name, replace, lock }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let machine = Machine::open()?;
    let project = find::sandbox(global, &machine, sandbox)?.row.project;
    let _locked = LockedProject::acquire(&machine, &project, "snapshot create", lock.timeout)?;
    // It may have changed before the lock.
    let seen = find::sandbox(global, &machine, sandbox)?;
    if let Some(state) = use_of_disk(&seen.status) {
        return Err(CliError::new(format!("{sandbox} is {state}, and its disk is in use"))
            .hint(format!("stop it first: `msb stop {sandbox}`, and `msb start {sandbox}` afterwards")));
    }
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
    let source = Source { id: seen.row.id, full_name, image: seen.row.spec.image };
    let snapshot = snapshots::create(&machine.home, source, &name, *replace)?;
    output.say(&format!("created snapshot {name} ({})", size(snapshot.disk.data_bytes)));
    Ok(ExitCode::SUCCESS)
}

/// Returns the state in which a sandbox uses its disk; `None` if it does not.
fn use_of_disk(status: &Status) -> Option<&'static str> {
    match status {
        Status::Running { .. } => Some("running"),
        Status::Paused => Some("paused"),
        _ => None,
    }
}
