//! `msb image prune`.

use super::{VERSION, size};
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{OutputOptions, print_json};
use executor::images::{Removed, prune};
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb image prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also what is only known by a name, or lies as it is at a path of this machine.
    #[arg(short, long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    version: u32,
    references: Vec<String>,
    built: usize,
    bytes: u64,
}

/// Removes what nobody needs, and says what that was.
pub fn run(global: &Global, Args { all, json }: &Args) -> Result<ExitCode, CliError> {
    let verbosity = OutputOptions::of(global);
    let Machine { home, catalog } = Machine::open()?;
    let Removed { references, built, bytes } = prune(&home, &catalog, *all)?;
    if *json {
        print_json(&Document { version: VERSION, references, built, bytes });
        return Ok(ExitCode::SUCCESS);
    }
    for reference in &references {
        verbosity.say(&format!("removed {reference}"));
    }
    verbosity.say(&format!("{} freed, {built} root file systems removed", size(bytes)));
    Ok(ExitCode::SUCCESS)
}
