//! `msb rm`.

use crate::apply::lifecycle::{self, LifecycleOp, STOP_TIMEOUT};
use crate::cli::Global;
use crate::error::CliError;
use executor::observe::Observation;
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
    /// Also one that runs: it is stopped first.
    #[arg(short, long)]
    force: bool,
    /// The Sandboxfile, whose short form is taken here.
    #[arg(id = "sandboxfile", long = "file", hide = true)]
    files: Vec<PathBuf>,
    /// How long a guest has to shut down before it is killed.
    #[arg(short, long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = STOP_TIMEOUT)]
    timeout: Duration,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = "0s")]
    lock_timeout: Duration,
}

/// Removes sandboxes and their disks. Volumes stay.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, force, files: _, timeout, lock_timeout } = arguments;
    let task = LifecycleOp {
        command: "rm",
        action: LifecycleAction::Remove,
        done: "removed",
        stop_timeout: *timeout,
        kill: false,
        lock_timeout: *lock_timeout,
    };
    lifecycle::run_for_each(global, names, &task, |seen: &Observation| match seen.status {
        Status::Running { .. } if !force => {
            Err(CliError::new("it runs").hint("-f stops it and removes it; `msb stop` keeps its disk"))
        }
        _ => Ok(()),
    })
}
