//! `msb stop` and `msb kill`.

use crate::apply::lifecycle::{self, LifecycleOp, STOP_TIMEOUT};
use crate::cli::Global;
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
    /// How long a guest has to shut down before it is killed.
    #[arg(short, long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = STOP_TIMEOUT)]
    timeout: Duration,
    /// Kill it at once, as `msb kill` does: what the guest has not written to its disk is lost.
    #[arg(short, long, conflicts_with = "timeout")]
    force: bool,
    /// The Sandboxfile, whose short form is taken here.
    #[arg(id = "sandboxfile", long = "file", hide = true)]
    files: Vec<PathBuf>,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = "0s")]
    lock_timeout: Duration,
}

/// Arguments of `msb kill`.
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = "0s")]
    lock_timeout: Duration,
}

/// Stops sandboxes: their processes end, their disks are synced, and stay.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, timeout, force, files: _, lock_timeout } = arguments;
    end(global, names, "stop", (*timeout, *force), *lock_timeout)
}

/// Ends sandboxes at once, without a word to their guests.
pub fn kill(global: &Global, arguments: &KillArgs) -> Result<ExitCode, CliError> {
    let KillArgs { names, lock_timeout } = arguments;
    end(global, names, "kill", (Duration::ZERO, true), *lock_timeout)
}

fn end(
    global: &Global,
    names: &[String],
    command: &'static str,
    (timeout, kill): (Duration, bool),
    lock_timeout: Duration,
) -> Result<ExitCode, CliError> {
    let stop_timeout = if kill { Duration::ZERO } else { timeout };
    let done = if kill { "killed" } else { "stopped" };
    let task = LifecycleOp { command, action: LifecycleAction::Stop, done, stop_timeout, kill, lock_timeout };
    lifecycle::run_for_each(global, names, &task, |_| Ok(()))
}
