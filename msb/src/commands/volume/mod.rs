//! `msb volume`: the volumes of this user, one file per subcommand.

mod inspect;
mod ls;
mod prune;
mod rm;

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::project;
use clap::Subcommand;
use executor::catalog::{Catalog, VolumeRow};
use executor::observe::{Observation, observe_sandboxes};
use executor_host::home::Home;
use rules::suggest::nearest;
use schemas::name::{ProjectName, VolumeName, full_name, full_volume_name};
use schemas::snapshot::Status;
use schemas::spec::{MountSource, VolumeKind, VolumeSpec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

/// Version of the JSON formats.
const VERSION: u32 = 1;
/// The unit of the space that a file takes, in bytes.
const BLOCK_BYTES: u64 = 512;

/// Arguments of `msb volume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    /// List volumes.
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Show all details of a volume.
    Inspect(inspect::Args),
    /// Remove volumes that no sandbox mounts, with their contents.
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    /// Remove all volumes of the project that no sandbox mounts, with their contents.
    Prune(prune::Args),
}

/// Runs a subcommand.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    match &arguments.command {
        Command::Ls(arguments) => ls::run(global, arguments),
        Command::Inspect(arguments) => inspect::run(global, arguments),
        Command::Rm(arguments) => rm::run(global, arguments),
        Command::Prune(arguments) => prune::run(global, arguments),
    }
}

/// A volume, as listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    project: String,
    full_name: String,
    kind: VolumeKind,
    /// The size of a disk, or the limit of a directory; `None` without a limit.
    size_mib: Option<u32>,
    /// Whether several sandboxes may write to it at the same time.
    shared: bool,
    /// The space that a disk takes; `None` for a directory, or if there is none.
    used_bytes: Option<u64>,
    /// Whether its creation was completed.
    created: bool,
    /// The path of the disk or the directory.
    path: String,
    /// The full names of the sandboxes that mount it.
    mounted_by: Vec<String>,
    /// Those of them that run.
    running: Vec<String>,
}

/// The full names of the sandboxes that mount a volume.
#[derive(Debug, Default)]
struct Users {
    all: Vec<String>,
    running: Vec<String>,
}

/// Returns the sandboxes that mount each volume, in one project or in all.
fn users(
    home: &Home,
    catalog: &Catalog,
    project: Option<&ProjectName>,
) -> Result<BTreeMap<(ProjectName, VolumeName), Users>, CliError> {
    let mut users: BTreeMap<_, Users> = BTreeMap::new();
    for Observation { row, status, state: _ } in observe_sandboxes(home, catalog, project)? {
        let full_name = full_name(&row.project, &row.name);
        for mount in row.spec.definition.mounts.values() {
            let MountSource::Volume { name } = &mount.source else { continue };
            let Users { all, running } = users.entry((row.project.clone(), name.clone())).or_default();
            // It may mount the volume twice.
            if all.last() == Some(&full_name) {
                continue;
            }
            all.push(full_name.clone());
            if matches!(status, Status::Running { .. }) {
                running.push(full_name.clone());
            }
        }
    }
    Ok(users)
}

/// Returns the volumes of one project, or of all.
fn rows(Machine { home, catalog }: &Machine, project: Option<&ProjectName>) -> Result<Vec<Row>, CliError> {
    let mut users = users(home, catalog, project)?;
    let volumes = match project {
        Some(project) => catalog.volumes(project)?,
        None => catalog.all_volumes()?,
    };
    let row = |VolumeRow { project, name, spec, created }: VolumeRow| {
        let path = home.volume(&project, &name).contents(spec.kind);
        let found = std::fs::symlink_metadata(&path).ok();
        let VolumeSpec { kind, size_mib, shared } = spec;
        let full_name = full_volume_name(&project, &name);
        let project_name = project.to_string();
        let Users { all, running } = users.remove(&(project, name.clone())).unwrap_or_default();
        Row {
            name: name.to_string(),
            project: project_name,
            full_name,
            kind,
            size_mib,
            shared,
            used_bytes: found
                .as_ref()
                .filter(|_| kind == VolumeKind::Disk)
                .map(|found| found.blocks() * BLOCK_BYTES),
            created: created && found.is_some(),
            path: path.display().to_string(),
            mounted_by: all,
            running,
        }
    };
    Ok(volumes.into_iter().map(row).collect())
}

/// Returns a volume by its name in the current project, else by its full name.
fn find(global: &Global, machine: &Machine, name: &str) -> Result<VolumeRow, CliError> {
    // A full name works even in the folder of another project.
    let (project, refusal) = match project::current(global, &machine.catalog) {
        Ok(project) => (project, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let volumes = machine.catalog.all_volumes()?;
    let is_own = |row: &VolumeRow| Some(&row.project) == project.as_ref() && row.name.as_str() == name;
    let is_full = |row: &VolumeRow| full_volume_name(&row.project, &row.name) == name;
    let found = volumes.iter().find(|row| is_own(row)).or_else(|| volumes.iter().find(|row| is_full(row)));
    if let Some(row) = found {
        return Ok(row.clone());
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let full_names: Vec<_> = volumes.iter().map(|row| full_volume_name(&row.project, &row.name)).collect();
    let own = volumes.iter().filter(|row| Some(&row.project) == project.as_ref());
    let known = own.map(|row| row.name.as_str()).chain(full_names.iter().map(String::as_str));
    Err(CliError::new(format!("there is no volume {name:?}")).hint(match nearest(name, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "`msb volume ls --all` lists all".to_owned(),
    }))
}
