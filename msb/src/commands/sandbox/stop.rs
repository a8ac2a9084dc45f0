//! `msb stop` and `msb kill`.

use super::jobs;
use crate::apply::lifecycle::LifecycleOp;
use crate::cli::{self, Global, JsonResults, LockTimeout};
use crate::error::CliError;
use crate::host::Machine;
use crate::project::find::{self, full_name_of};
use planner::LifecycleAction;
use schemas::signal::parse_signal;
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
    /// Time for a guest to shut down before it is killed. Default: its `stop-timeout`, or 10s.
    #[arg(short, long, value_name = "TIME", value_parser = cli::duration)]
    timeout: Option<Duration>,
    /// Kill it without a shutdown, like `msb kill`. Data that the guest has not written to its disk is lost.
    #[arg(short, long, conflicts_with = "timeout")]
    force: bool,
    // Hides the global option, whose short form `--force` has here.
    #[arg(id = "sandboxfile", long = "file", hide = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    json: JsonResults,
}

/// Stops sandboxes: their processes end, and their synced disks stay.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, all, timeout, force, files: _, lock, json: _ } = arguments;
    let operation = if *force {
        LifecycleOp::kill("stop", *lock)
    } else {
        let operation = LifecycleOp::new("stop", LifecycleAction::Stop, "stopped", *lock);
        LifecycleOp { stop_timeout: *timeout, ..operation }
    };
    if *all { operation.run_project(global) } else { operation.run(global, names) }
}

/// Arguments of `msb kill`.
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Send a signal to this job of the sandbox, which continues.
    #[arg(long, value_name = "ID")]
    job: Option<u64>,
    /// The signal for the job: a name or a number.
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal, default_value = "TERM", requires = "job")]
    signal: i32,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    json: JsonResults,
}

fn signal(text: &str) -> Result<i32, String> {
    parse_signal(text).ok_or_else(|| "expected a signal such as TERM, SIGKILL or 1".to_owned())
}

/// Ends sandboxes without a shutdown, or signals a job.
pub fn kill(global: &Global, arguments: &KillArgs) -> Result<ExitCode, CliError> {
    let KillArgs { names, job, signal, lock, json: _ } = arguments;
    let Some(job) = *job else { return LifecycleOp::kill("kill", *lock).run(global, names) };
    let name = jobs::only(names)?;
    let machine = Machine::open()?;
    let seen = find::running(global, &machine, name)?;
    let folder = machine.home.sandbox_run(&full_name_of(&seen));
    jobs::ask(&seen, &folder, name, async |client| client.signal(job, *signal).await)?;
    Ok(ExitCode::SUCCESS)
}
