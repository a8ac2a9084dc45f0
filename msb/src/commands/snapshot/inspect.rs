//! `msb snapshot inspect`.

use super::{Row, VERSION, name, time};
use crate::commands::image::size;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{escape_controls, print, print_json};
use executor::{images, snapshots};
use schemas::listing::names;
use schemas::name::SnapshotName;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb snapshot inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The snapshot.
    #[arg(value_name = "NAME", value_parser = name)]
    name: SnapshotName,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    #[serde(flatten)]
    snapshot: Row,
}

/// Shows a snapshot.
pub fn run(Args { name, json }: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let snapshot = Row::new(name.clone(), snapshots::find(&home, name)?, &images::users(&catalog)?);
    if *json {
        print_json(&Document { version: VERSION, snapshot });
    } else {
        print(&text(snapshot));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(snapshot: Row) -> String {
    let Row { name, digest, sandbox, base, base_digest, created_unix, disk_bytes, data_bytes, used_by } =
        snapshot;
    let mut text = String::new();
    let mut line =
        |what: &str, detail: String| text.push_str(&format!("{what:<13} {}\n", escape_controls(&detail)));
    line("name", name.to_string());
    line("digest", digest.to_string());
    line("sandbox", sandbox);
    line("image", base);
    line("image digest", base_digest.to_string());
    line("created", time(created_unix));
    line("disk", size(disk_bytes));
    line("data", size(data_bytes));
    line("used by", if used_by.is_empty() { "-".to_owned() } else { names(used_by) });
    text
}
