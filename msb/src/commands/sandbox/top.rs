//! `msb top`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::{project, top};
use std::process::ExitCode;

/// Arguments of `msb top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes of all projects.
    #[arg(short, long)]
    all: bool,
}

/// Shows sandboxes until it is told to end.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let project = if arguments.all { None } else { project::current(global, &machine.catalog)? };
    top::run(&machine, project.as_ref(), OutputOptions::of(global))
}
