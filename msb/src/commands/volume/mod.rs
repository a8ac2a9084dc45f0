//! `msb volume`: the volumes of this user, one file per subcommand.

mod create;
pub mod inspect;
pub mod ls;
pub mod prune;
mod rm;

use crate::apply::Converged;
use crate::cli::Global;
use crate::error::{CliError, ErrorCode};
use crate::host::Machine;
use crate::project;
use clap::Subcommand;
use executor::catalog::{AnonymousVolume, Catalog, VolumeRow};
use executor::observe::{Observation, observe_sandboxes};
use executor_host::home::Home;
use rules::suggest::nearest;
use schemas::name::{ProjectName, SandboxName, full_name, full_volume_name};
use schemas::spec::{MountSource, VolumeKind, VolumeSpec};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Create a volume that belongs to no project. Sandboxfiles refer to it with `external`.
    Create(create::Args),
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
        Command::Create(arguments) => create::run(global, arguments),
        Command::Rm(arguments) => rm::run(global, arguments),
        Command::Prune(arguments) => prune::run(global, arguments),
    }
}

/// A volume, as listed.
#[derive(Debug, schemars::JsonSchema, Serialize)]
struct Row {
    name: String,
    /// `None` if it belongs to no project.
    project: Option<String>,
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

/// The users of each volume, by its full name, and the external volumes that the sandboxes of one project mount.
#[derive(Debug, Default)]
struct Mounted {
    users: BTreeMap<String, Users>,
    external: BTreeSet<String>,
}

/// Returns the sandboxes that mount each volume. `project` is that of the external volumes.
fn mounted(home: &Home, catalog: &Catalog, project: Option<&ProjectName>) -> Result<Mounted, CliError> {
    let mut mounted = Mounted::default();
    let mut anonymous: BTreeMap<(ProjectName, SandboxName), Vec<String>> = BTreeMap::new();
    for VolumeRow { project, name, anonymous: of, .. } in catalog.all_volumes()? {
        if let Some(AnonymousVolume { sandbox, path: _ }) = of {
            let volume = full_volume_name(&project, &name);
            anonymous.entry((project, sandbox)).or_default().push(volume);
        }
    }
    for Observation { row, status, state: _ } in observe_sandboxes(home, catalog, None)? {
        let sandbox = full_name(&row.project, &row.name);
        let is_running = status.is_up();
        for mount in row.spec.definition.mounts.values() {
            let volume = match &mount.source {
                MountSource::Host { path: _ } | MountSource::Disk { path: _ } => continue,
                MountSource::Volume { name } => full_volume_name(&row.project, name),
                MountSource::External { name: _, volume } => {
                    if Some(&row.project) == project {
                        mounted.external.insert(volume.to_string());
                    }
                    volume.to_string()
                }
            };
            mounted.users.entry(volume).or_default().add(&sandbox, is_running);
        }
        for volume in anonymous.remove(&(row.project, row.name)).into_iter().flatten() {
            mounted.users.entry(volume).or_default().add(&sandbox, is_running);
        }
    }
    Ok(mounted)
}

impl Users {
    /// Adds a sandbox, which may mount the volume several times.
    fn add(&mut self, sandbox: &str, is_running: bool) {
        if self.all.last().is_some_and(|last| last == sandbox) {
            return;
        }
        self.all.push(sandbox.to_owned());
        if is_running {
            self.running.push(sandbox.to_owned());
        }
    }
}

/// Returns the volumes of one project and the external ones that it mounts, or all volumes.
fn rows(Machine { home, catalog }: &Machine, project: Option<&ProjectName>) -> Result<Vec<Row>, CliError> {
    let Mounted { mut users, external } = mounted(home, catalog, project)?;
    let row = |VolumeRow { project, name, spec, created, anonymous: _ }: VolumeRow| {
        let path = home.volume(&project, &name).contents(spec.kind);
        let found = std::fs::symlink_metadata(&path).ok();
        let VolumeSpec { kind, size_mib, shared } = spec;
        let full_name = full_volume_name(&project, &name);
        let Users { all, running } = users.remove(&full_name).unwrap_or_default();
        Row {
            name: name.to_string(),
            project: (!project.is_none()).then(|| project.to_string()),
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
    let is_listed = |row: &VolumeRow| {
        project.is_none_or(|project| {
            row.project == *project || external.contains(&full_volume_name(&row.project, &row.name))
        })
    };
    Ok(catalog.all_volumes()?.into_iter().filter(is_listed).map(row).collect())
}

/// Checks how a plan of volumes went; returns whether there was anything to do.
fn check(Converged { plan, report: _, applied, rolled_back: _ }: Converged) -> Result<bool, CliError> {
    let Some(applied) = applied else { return Ok(false) };
    applied.into_result(&plan).map(|()| true)
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
    Err(CliError::new(format!("there is no volume {name:?}"))
        .code(ErrorCode::VolumeNotFound)
        .about(name)
        .hint(match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "`msb volume ls --all` lists all".to_owned(),
        }))
}
