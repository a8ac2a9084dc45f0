//! `msb start`.

use crate::apply::lifecycle::{self, LifecycleOp, STOP_TIMEOUT};
use crate::cli::Global;
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
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = "0s")]
    lock_timeout: Duration,
}

/// Arguments of `msb restart`.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// How long a guest has to shut down before it is killed.
    #[arg(short, long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = STOP_TIMEOUT)]
    timeout: Duration,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = "0s")]
    lock_timeout: Duration,
}

/// Starts sandboxes as they are recorded, whatever their Sandboxfile says by now.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, lock_timeout } = arguments;
    let task = LifecycleOp {
        command: "start",
        action: LifecycleAction::Start,
        done: "started",
        stop_timeout: Duration::ZERO,
        kill: false,
        lock_timeout: *lock_timeout,
    };
    lifecycle::run_for_each(global, names, &task, |_| Ok(()))
}

/// Stops sandboxes in order, and starts them again with the disks that they had.
pub fn run_again(global: &Global, arguments: &RestartArgs) -> Result<ExitCode, CliError> {
    let RestartArgs { names, timeout, lock_timeout } = arguments;
    let task = LifecycleOp {
        command: "restart",
        action: LifecycleAction::Restart,
        done: "started again",
        stop_timeout: *timeout,
        kill: false,
        lock_timeout: *lock_timeout,
    };
    lifecycle::run_for_each(global, names, &task, |_| Ok(()))
}
