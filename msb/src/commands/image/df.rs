//! `msb image df`.

use super::{VERSION, size};
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::{print, print_json};
use executor::images::{Usage, usage};
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb image df`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    blobs: Part,
    root_file_systems: Part,
    /// Bytes of incomplete blobs.
    unfinished_bytes: u64,
    /// Bytes that `msb image prune` would free.
    unused_bytes: u64,
}

#[derive(schemars::JsonSchema, Serialize)]
struct Part {
    count: usize,
    bytes: u64,
}

/// Sums up the disk usage.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let Usage { blobs, unfinished_bytes, built, unused_bytes } = usage(&home, &catalog)?;
    let part = |(count, bytes)| Part { count, bytes };
    if arguments.json {
        let (blobs, root_file_systems) = (part(blobs), part(built));
        print_json(&Document { version: VERSION, blobs, root_file_systems, unfinished_bytes, unused_bytes });
        return Ok(ExitCode::SUCCESS);
    }
    let row = |what: &str, count: String, bytes| vec![what.to_owned(), count, size(bytes)];
    let rows = [
        row("blobs", blobs.0.to_string(), blobs.1),
        row("incomplete blobs", "-".to_owned(), unfinished_bytes),
        row("root file systems", built.0.to_string(), built.1),
        row("unused part of these", "-".to_owned(), unused_bytes),
    ];
    print(&output::table::text(&["WHAT", "COUNT", "SIZE"], &rows));
    Ok(ExitCode::SUCCESS)
}
