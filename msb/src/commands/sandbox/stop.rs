//! `msb stop` and `msb kill`.

use super::start;
use crate::apply::lifecycle::{LifecycleOp, STOP_TIMEOUT};
use crate::cli::{self, Global, LockTimeout};
use crate::error::CliError;
use planner::LifecycleAction;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `msb stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes.
    #[arg(required_unless_present = "all", value_name = "NAME")]
    names: Vec<String>,
    /// Stop all sandboxes of the project, those that depend on others first.
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    /// Time for a guest to shut down before it is killed.
    #[arg(short, long, value_name = "TIME", value_parser = cli::duration, default_value = STOP_TIMEOUT)]
    timeout: Duration,
    /// Kill it without a shutdown, like `msb kill`. Data that the guest has not written to its disk is lost.
    #[arg(short, long, conflicts_with = "timeout")]
    force: bool,
    // Hides the global option, whose short form `--force` has here.
    #[arg(id = "sandboxfile", long = "file", hide = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lock: LockTimeout,
}

/// Stops sandboxes: their processes end, and their synced disks stay.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, all, timeout, force, files: _, lock } = arguments;
    let operation = if *force {
        LifecycleOp::kill("stop", *lock)
    } else {
        let operation = LifecycleOp::new("stop", LifecycleAction::Stop, "stopped", *lock);
        LifecycleOp { stop_timeout: *timeout, ..operation }
    };
    if *all { operation.run_project(global) } else { operation.run(global, names) }
}

/// Ends sandboxes without a shutdown.
pub fn kill(global: &Global, start::Args { names, lock }: &start::Args) -> Result<ExitCode, CliError> {
    LifecycleOp::kill("kill", *lock).run(global, names)
}
