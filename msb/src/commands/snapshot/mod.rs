//! `msb snapshot`: snapshots of the disks of sandboxes, one file per subcommand.

mod create;
mod export;
mod import;
pub mod inspect;
pub mod ls;
mod rm;

use crate::cli::Global;
use crate::commands::image::size;
use crate::error::CliError;
use crate::output::results::CreatedSnapshot;
use crate::output::{OutputOptions, print_json};
use clap::Subcommand;
use executor::snapshots::Snapshot;
use schemas::digest::Digest;
use schemas::name::SnapshotName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Version of the JSON formats.
const VERSION: u32 = 1;

/// Arguments of `msb snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Create a snapshot of a sandbox's disk.
    Create(create::Args),
    /// List snapshots.
    Ls(ls::Args),
    /// Show a snapshot.
    Inspect(inspect::Args),
    /// Remove snapshots.
    Rm(rm::Args),
    /// Write a snapshot with its image to one file.
    Export(export::Args),
    /// Add the snapshot in a file.
    Import(import::Args),
}

/// Runs a subcommand.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    match &arguments.command {
        Command::Create(arguments) => create::run(global, arguments),
        Command::Ls(arguments) => ls::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Rm(arguments) => rm::run(global, arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Import(arguments) => import::run(global, arguments),
    }
}

/// Parses a name on the command line, with or without the prefix of images.
fn name(text: &str) -> Result<SnapshotName, String> {
    let name = text.strip_prefix(schemas::spec::ImageReference::SNAPSHOT_PREFIX).unwrap_or(text);
    SnapshotName::new(name).map_err(|reason| reason.to_string())
}

/// A snapshot, as listed.
#[derive(Debug, schemars::JsonSchema, Serialize)]
struct Row {
    name: SnapshotName,
    digest: Digest,
    /// The full name of its sandbox.
    sandbox: String,
    /// The image that the sandbox booted from.
    base: String,
    base_digest: Digest,
    created_unix: i64,
    /// The size of the disk in bytes.
    disk_bytes: u64,
    /// The data on the disk in bytes.
    data_bytes: u64,
    /// The full names of the sandboxes that boot from it.
    used_by: Vec<String>,
}

impl Row {
    fn new(name: SnapshotName, snapshot: Snapshot, users: &BTreeMap<Digest, Vec<String>>) -> Self {
        let Snapshot { digest, base, sandbox, created_unix, root: _, disk, .. } = snapshot;
        Self {
            name,
            used_by: users.get(&digest).cloned().unwrap_or_default(),
            digest,
            sandbox,
            base: base.reference.to_string(),
            base_digest: base.digest,
            created_unix,
            disk_bytes: disk.bytes,
            data_bytes: disk.data_bytes,
        }
    }
}

/// Formats a time in seconds since 1970.
fn time(unix: i64) -> String {
    jiff::Timestamp::from_second(unix).map_or_else(|_| "-".to_owned(), |time| time.to_string())
}

/// Reports a snapshot that has been created or imported.
fn report(output: &OutputOptions, done: &str, name: &SnapshotName, snapshot: &Snapshot) {
    let bytes = snapshot.disk.data_bytes;
    output.say(&format!("{done} snapshot {name} ({})", size(bytes)));
    if output.json {
        let digest = snapshot.digest.to_string();
        print_json(&CreatedSnapshot {
            version: VERSION,
            name: name.as_str(),
            digest: &digest,
            data_bytes: bytes,
        });
    }
}
