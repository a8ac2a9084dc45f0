//! `msb volume inspect`.

use super::{Row, VERSION, find, rows};
use crate::cli::Global;
use crate::commands::image::size;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{escape_controls, print, print_json};
use executor::catalog::VolumeRow;
use rules::unit::format_size_mib;
use schemas::listing::names;
use schemas::name::full_volume_name;
use schemas::spec::VolumeKind;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb volume inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The volume.
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    #[serde(flatten)]
    volume: Row,
}

/// Shows a volume.
pub fn run(global: &Global, Args { name, json }: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let VolumeRow { project, name, .. } = find(global, &machine, name)?;
    let full_name = full_volume_name(&project, &name);
    let found = rows(&machine, None)?.into_iter().find(|row| row.full_name == full_name);
    // Another msb may remove it meanwhile.
    let volume = found.ok_or_else(|| CliError::new(format!("the volume {name} has just been removed")))?;
    if *json {
        print_json(&Document { version: VERSION, volume });
    } else {
        print(&text(volume));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(volume: Row) -> String {
    let Row {
        name,
        project,
        full_name,
        kind,
        size_mib,
        shared,
        used_bytes,
        created,
        path,
        mounted_by,
        running,
    } = volume;
    let mut text = String::new();
    let mut line =
        |what: &str, detail: String| text.push_str(&format!("{what:<11} {}\n", escape_controls(&detail)));
    line("name", name);
    line("full name", full_name);
    line("project", project.unwrap_or_else(|| "none".to_owned()));
    line("kind", if shared { format!("{kind}, shared") } else { kind.to_string() });
    match size_mib.map(|mib| format_size_mib(mib.into())) {
        Some(size) => line(if kind == VolumeKind::Disk { "size" } else { "limit" }, size),
        None => line("limit", "none".to_owned()),
    }
    if let Some(bytes) = used_bytes {
        line("used", size(bytes));
    }
    line("path", path);
    if !created {
        line("state", "not created completely: the next `msb up` creates it".to_owned());
    }
    let list = |all: Vec<String>| if all.is_empty() { "-".to_owned() } else { names(all) };
    line("mounted by", list(mounted_by));
    line("running", list(running));
    text
}
