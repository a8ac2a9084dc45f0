//! `msb man`: writes the manual pages, for packages.

use crate::cli::Cli;
use crate::error::{CliError, Context};
use clap::CommandFactory;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder for the pages.
    folder: PathBuf,
}

/// Writes a page for msb and one for each command that its help shows.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    // `help` would have pages of all commands again.
    let program = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(program, &arguments.folder)
        .context(format_args!("cannot write manual pages into {}", arguments.folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
