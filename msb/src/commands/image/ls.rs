//! `msb image ls`.

use super::{VERSION, size};
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::{print, print_json};
use executor::images::{KnownImage, known_images, users};
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb image ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    images: Vec<Row>,
}

#[derive(schemars::JsonSchema, Serialize)]
struct Row {
    reference: String,
    platform: String,
    digest: String,
    /// Compressed size; `None` if only its name is known.
    bytes: Option<u64>,
    /// Whether it can boot without a registry.
    here: bool,
    resolved_unix: i64,
    used_by: Vec<String>,
}

/// Lists named images.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let users = users(&catalog)?;
    let row = |image: KnownImage| {
        let KnownImage { reference, platform, digest, resolved_unix, bytes, is_here } = image;
        let used_by = users.get(&digest).cloned().unwrap_or_default();
        Row { reference, platform, digest: digest.to_string(), bytes, here: is_here, resolved_unix, used_by }
    };
    let images: Vec<Row> = known_images(&home, &catalog)?.into_iter().map(row).collect();
    if arguments.json {
        print_json(&Document { version: VERSION, images });
        return Ok(ExitCode::SUCCESS);
    }
    let cells: Vec<Vec<String>> = images
        .into_iter()
        .map(|row| {
            let short = row.digest.trim_start_matches("sha256:").chars().take(12).collect();
            let bytes = row.bytes.map_or("-".to_owned(), size);
            let here = if row.here { "yes" } else { "no" }.to_owned();
            vec![row.reference, short, bytes, here, schemas::listing::names(row.used_by)]
        })
        .collect();
    print(&output::table::text(&["REFERENCE", "DIGEST", "SIZE", "HERE", "USED BY"], &cells));
    Ok(ExitCode::SUCCESS)
}
