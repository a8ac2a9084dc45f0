//! `msb rm`.

use crate::apply::lifecycle::LifecycleOp;
use crate::cli::{self, Global, JsonResults, LockTimeout};
use crate::error::{CliError, ErrorCode};
use planner::LifecycleAction;
use schemas::snapshot::Status;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `msb rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Also remove running sandboxes, which are stopped first.
    #[arg(short, long)]
    force: bool,
    // Hides the global option, whose short form `--force` has here.
    #[arg(id = "sandboxfile", long = "file", hide = true)]
    files: Vec<PathBuf>,
    /// Time for a guest to shut down before it is killed. Default: its `stop-timeout`, or 10s.
    #[arg(short, long, value_name = "TIME", value_parser = cli::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    json: JsonResults,
}

/// Removes sandboxes and their disks, but not their volumes.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, force, files: _, timeout, lock, json: _ } = arguments;
    let operation = LifecycleOp {
        stop_timeout: *timeout,
        ..LifecycleOp::new("rm", LifecycleAction::Remove, "removed", *lock)
    };
    operation.run_if(global, names, |seen| match seen.status {
        Status::Paused if !force => Err(CliError::new("it is paused")
            .code(ErrorCode::SandboxPaused)
            .hint("-f stops and removes it; `msb stop` keeps its disk")),
        Status::Running { .. } if !force => Err(CliError::new("it is running")
            .code(ErrorCode::SandboxRunning)
            .hint("-f stops and removes it; `msb stop` keeps its disk")),
        _ => Ok(()),
    })
}
