//! `msb start` and `msb restart`.

use crate::apply::lifecycle::LifecycleOp;
use crate::cli::{self, Global, JsonResults, LockTimeout};
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
    #[command(flatten)]
    json: JsonResults,
}

/// Arguments of `msb restart`.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Time for a guest to shut down before it is killed. Default: its `stop-timeout`, or 10s.
    #[arg(short, long, value_name = "TIME", value_parser = cli::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    json: JsonResults,
}

/// Starts sandboxes as recorded, even if their Sandboxfile has changed.
pub fn run(global: &Global, Args { names, lock, json: _ }: &Args) -> Result<ExitCode, CliError> {
    LifecycleOp::new("start", LifecycleAction::Start, "started", *lock).run(global, names)
}

/// Stops sandboxes and starts them again with the same disks.
pub fn restart(
    global: &Global,
    RestartArgs { names, timeout, lock, json: _ }: &RestartArgs,
) -> Result<ExitCode, CliError> {
    let operation = LifecycleOp {
        stop_timeout: *timeout,
        ..LifecycleOp::new("restart", LifecycleAction::Restart, "restarted", *lock)
    };
    operation.run(global, names)
}
