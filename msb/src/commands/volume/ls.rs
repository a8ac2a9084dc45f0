//! `msb volume ls`.

use super::{Row, VERSION, rows};
use crate::cli::Global;
use crate::commands::image::size;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{self, print, print_json};
use crate::project;
use rules::unit::format_size_mib;
use schemas::listing::names;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb volume ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the volumes of all projects.
    #[arg(short, long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    volumes: Vec<Row>,
}

/// Lists volumes.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let project = if arguments.all { None } else { project::current(global, &machine.catalog)? };
    let volumes = rows(&machine, project.as_ref())?;
    if arguments.json {
        print_json(&Document { version: VERSION, volumes });
        return Ok(ExitCode::SUCCESS);
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let cells: Vec<Vec<String>> = volumes
        .into_iter()
        .map(|row| {
            vec![
                if project.as_ref().is_some_and(|own| row.project.as_deref() == Some(own.as_str())) {
                    row.name
                } else {
                    row.full_name
                },
                if row.shared { format!("{}, shared", row.kind) } else { row.kind.to_string() },
                or_dash(row.size_mib.map(|mib| format_size_mib(mib.into()))),
                or_dash(row.used_bytes.map(size)),
                if row.mounted_by.is_empty() { "-".to_owned() } else { names(row.mounted_by) },
            ]
        })
        .collect();
    print(&output::table::text(&["NAME", "KIND", "SIZE", "USED", "MOUNTED BY"], &cells));
    Ok(ExitCode::SUCCESS)
}
