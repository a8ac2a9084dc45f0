//! `msb snapshot ls`.

use super::{Row, VERSION, time};
use crate::commands::image::size;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{self, print, print_json};
use executor::{images, snapshots};
use schemas::listing::names;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb snapshot ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    snapshots: Vec<Row>,
}

/// Lists snapshots.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let users = images::users(&catalog)?;
    let found = snapshots::list(&home)?.into_iter();
    let rows: Vec<_> = found.map(|(name, snapshot)| Row::new(name, snapshot, &users)).collect();
    if arguments.json {
        print_json(&Document { version: VERSION, snapshots: rows });
        return Ok(ExitCode::SUCCESS);
    }
    let cells = |row: Row| {
        let used_by = if row.used_by.is_empty() { "-".to_owned() } else { names(row.used_by) };
        let data = size(row.data_bytes);
        vec![row.name.to_string(), row.sandbox, row.base, data, time(row.created_unix), used_by]
    };
    let cells: Vec<Vec<String>> = rows.into_iter().map(cells).collect();
    print(&output::table::text(&["NAME", "SANDBOX", "IMAGE", "DATA", "CREATED", "USED BY"], &cells));
    Ok(ExitCode::SUCCESS)
}
