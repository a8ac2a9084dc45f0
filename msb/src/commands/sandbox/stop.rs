//! `msb stop` and `msb kill`.

use crate::apply::lifecycle::{self, LifecycleOp, STOP_TIMEOUT};
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
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
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

/// Arguments of `msb kill`.
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    lock: LockTimeout,
}

/// Stops sandboxes: their processes end, and their synced disks stay.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, timeout, force, files: _, lock } = arguments;
    if *force {
        return kill_all(global, names, "stop", lock);
    }
    let operation = LifecycleOp {
        stop_timeout: *timeout,
        lock_timeout: lock.timeout,
        ..LifecycleOp::new("stop", LifecycleAction::Stop, "stopped")
    };
    lifecycle::run_for_each(global, names, &operation, |_| Ok(()))
}

/// Ends sandboxes without a shutdown.
pub fn kill(global: &Global, KillArgs { names, lock }: &KillArgs) -> Result<ExitCode, CliError> {
    kill_all(global, names, "kill", lock)
}

fn kill_all(
    global: &Global,
    names: &[String],
    command: &'static str,
    lock: &LockTimeout,
) -> Result<ExitCode, CliError> {
    let operation = LifecycleOp {
        kill: true,
        lock_timeout: lock.timeout,
        ..LifecycleOp::new(command, LifecycleAction::Stop, "killed")
    };
    lifecycle::run_for_each(global, names, &operation, |_| Ok(()))
}
