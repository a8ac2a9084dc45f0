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
    /// Also remove images that only have a name, and those built from paths of this machine.
    #[arg(short, long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    references: Vec<String>,
    built: usize,
    bytes: u64,
}

/// Removes unused images.
pub fn run(global: &Global, Args { all, json }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let Machine { home, catalog } = Machine::open()?;
    let Removed { references, built, bytes } = prune(&home, &catalog, *all)?;
    if *json {
        print_json(&Document { version: VERSION, references, built, bytes });
        return Ok(ExitCode::SUCCESS);
    }
    for reference in &references {
        output.say(&format!("removed {reference}"));
    }
    output.say(&format!("{} freed, {built} root file systems removed", size(bytes)));
    Ok(ExitCode::SUCCESS)
}
