//! `msb share`: the process that serves the mounts of a VM. Spawned by supervisors only.

use crate::error::CliError;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Arguments of `msb share`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The descriptor of the configuration.
    config: RawFd,
}

/// Serves until the VM has ended.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    executor_share::run_share_server(arguments.config)
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| CliError::from_error(&error))
}
