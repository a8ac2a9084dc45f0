//! `msb vmm`: the process that becomes a VM. Spawned by supervisors only.

use crate::error::CliError;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Arguments of `msb vmm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The descriptor that holds the configuration.
    config: RawFd,
}

/// Becomes the VM; returns only when that failed.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    match executor_vm::run_vmm(arguments.config) {
        Ok(never) => match never {},
        Err(error) => Err(CliError::from_error(&error)),
    }
}
