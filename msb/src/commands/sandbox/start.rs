//! `msb start` and `msb restart`.

use crate::apply::lifecycle::{LifecycleOp, STOP_TIMEOUT};
use crate::cli::{self, Global, LockTimeout};
use crate::error::CliError;
use planner::LifecycleAction;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `msb start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    lock: LockTimeout,
}

/// Arguments of `msb restart`.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Time for a guest to shut down before it is killed.
    #[arg(short, long, value_name = "TIME", value_parser = cli::duration, default_value = STOP_TIMEOUT)]
    timeout: Duration,
    #[command(flatten)]
    lock: LockTimeout,
}

/// Starts sandboxes as recorded, even if their Sandboxfile has changed.
pub fn run(global: &Global, Args { names, lock }: &Args) -> Result<ExitCode, CliError> {
    LifecycleOp::new("start", LifecycleAction::Start, "started", *lock).run(global, names)
}

/// Stops sandboxes and starts them again with the same disks.
pub fn restart(
    global: &Global,
    RestartArgs { names, timeout, lock }: &RestartArgs,
) -> Result<ExitCode, CliError> {
    let operation = LifecycleOp {
        stop_timeout: *timeout,
        ..LifecycleOp::new("restart", LifecycleAction::Restart, "started again", *lock)
    };
    operation.run(global, names)
}
