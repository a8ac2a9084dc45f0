//! `msb vmm`: the process that becomes a VM. Spawned by supervisors only.

use crate::error::CliError;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Arguments of `msb vmm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The descriptor of the configuration.
    config: RawFd,
}

/// Turns this process into the VM; returns only on failure.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    let Err(error) = executor_vm::run_vmm(arguments.config);
    Err(CliError::from_error(&error))
}
