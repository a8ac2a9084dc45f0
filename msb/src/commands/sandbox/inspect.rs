//! `msb inspect`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{escape_controls, print, print_json};
use crate::project::find::{self, full_name_of};
use crate::project::rule_sources::{Projects, Rules};
use executor::catalog::{AnonymousVolume, SandboxRow, VolumeRow};
use executor::launch::LaunchSpec;
use executor::observe::Observation;
use executor_client::agent::AgentClient;
use executor_host::home::Home;
use executor_host::state::State;
use executor_jail::Confinement;
use protocol::latest::Ready;
use sandboxfile::print;
use schemas::name::full_volume_name;
use schemas::snapshot::{Exit, Status};
use schemas::spec::SandboxSpec;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `msb inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Version of the JSON format.
const VERSION: u32 = 1;
/// Timeout of the connection to the agent, for the times of the boot.
const AGENT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    sandboxes: Vec<Entry>,
}

/// All details of a sandbox. Secrets have their sources, but no values.
#[derive(schemars::JsonSchema, Serialize)]
struct Entry {
    name: String,
    /// `None` if it was created from flags.
    project: Option<String>,
    full_name: String,
    id: String,
    generation: u32,
    #[serde(flatten)]
    status: Status,
    /// Whether it should run.
    should_run: bool,
    spec: SandboxSpec,
    /// The volumes for data paths of the image.
    anonymous_volumes: Vec<AnonymousEntry>,
    /// The rules in effect, with their sources.
    network: Rules,
    agent_socket: PathBuf,
    control_socket: PathBuf,
    logs: PathBuf,
    disk: PathBuf,
    supervisor_pid: Option<i32>,
    vmm_pid: Option<i32>,
    started_unix_ms: Option<u64>,
    restarts: u32,
    last_exit: Option<Exit>,
    /// What is in force round the process of a running virtual machine.
    jail: Option<Confinement>,
    /// Whether the guest's kernel killed a process in the last run because memory was exhausted.
    oom_killed: bool,
    boot: Option<Boot>,
    /// Driver, kernel and initramfs.
    guest: Option<executor::launch::BootSettings>,
}

/// A volume for a data path of the image.
#[derive(schemars::JsonSchema, Serialize)]
struct AnonymousEntry {
    path: String,
    /// Its full name.
    volume: String,
    /// Its directory on the host.
    directory: PathBuf,
}

/// Returns the anonymous volumes of a sandbox, sorted by path.
fn anonymous_volumes(machine: &Machine, row: &SandboxRow) -> Result<Vec<AnonymousEntry>, CliError> {
    let mut entries = Vec::new();
    for VolumeRow { project, name, anonymous, .. } in machine.catalog.volumes(&row.project)? {
        if let Some(AnonymousVolume { sandbox, path }) = anonymous
            && sandbox == row.name
        {
            let directory = machine.home.volume(&project, &name).directory();
            entries.push(AnonymousEntry { path, volume: full_volume_name(&project, &name), directory });
        }
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

/// The duration of the last boot.
#[derive(schemars::JsonSchema, Serialize)]
struct Boot {
    /// From the start of the VM process to the guest's `core.ready`, in milliseconds.
    boot_ms: u64,
    /// Times that a running guest measured.
    #[serde(flatten)]
    guest: Option<GuestTimes>,
}

#[derive(schemars::JsonSchema, Serialize)]
struct GuestTimes {
    boot_time_ns: u64,
    init_time_ns: u64,
    ready_time_ns: u64,
    agent_version: Option<String>,
}

impl From<Ready> for GuestTimes {
    fn from(ready: Ready) -> Self {
        let Ready { boot_time_ns, init_time_ns, ready_time_ns, agent_version, features: _ } = ready;
        Self { boot_time_ns, init_time_ns, ready_time_ns, agent_version }
    }
}

/// Prints all details of sandboxes.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let Machine { home, catalog } = &machine;
    let event_loop = crate::commands::event_loop()?;
    let mut sandboxes = Vec::new();
    let mut text = String::new();
    let mut projects = Projects::default();
    for name in &arguments.names {
        let seen = find::sandbox(global, &machine, name)?;
        let launch = find::launch_spec(home, &seen.row.id);
        let folder = launch.as_ref().and_then(|launch| launch.folder.clone());
        let rules = Rules::of(global, catalog, &mut projects, &seen);
        let mut entry = event_loop.block_on(entry(home, &seen, launch, rules));
        entry.anonymous_volumes = anonymous_volumes(&machine, &seen.row)?;
        if !arguments.json {
            text.push_str(&describe(&entry, &seen, folder.as_deref()));
        }
        sandboxes.push(entry);
    }
    if arguments.json {
        print_json(&Document { version: VERSION, sandboxes });
    } else {
        print(text.trim_start_matches('\n'));
    }
    Ok(ExitCode::SUCCESS)
}

async fn entry(home: &Home, seen: &Observation, launch: Option<LaunchSpec>, rules: Rules) -> Entry {
    let Observation { row, status, state } = seen;
    let full_name = full_name_of(seen);
    let (folder, run_folder) = (home.sandbox(&row.id), home.sandbox_run(&full_name));
    let now = state.as_ref().filter(|_| status.is_up());
    let mut ready = None;
    if now.is_some() {
        let client = AgentClient::connect_with_timeout(&run_folder.agent_socket(), AGENT_TIMEOUT).await;
        ready = client.ok().map(|client| client.ready().clone().into());
    }
    Entry {
        name: row.name.to_string(),
        project: (!row.project.is_of_one()).then(|| row.project.to_string()),
        full_name,
        id: row.id.to_string(),
        generation: row.generation,
        status: status.clone(),
        should_run: row.should_run,
        spec: row.spec.clone(),
        anonymous_volumes: Vec::new(),
        network: rules,
        agent_socket: run_folder.agent_socket(),
        control_socket: run_folder.control_socket(),
        logs: folder.logs(),
        disk: folder.disk(),
        supervisor_pid: now.map(|state| state.supervisor.pid),
        vmm_pid: now.and_then(|state| state.vmm).map(|vmm| vmm.pid),
        started_unix_ms: state.as_ref().map(|state| state.started_unix_ms),
        restarts: state.as_ref().map_or(0, |state| state.restarts),
        last_exit: state.as_ref().and_then(last_exit),
        jail: now.and_then(|state| state.jail.clone()),
        oom_killed: state.as_ref().is_some_and(|state| state.oom_killed),
        boot: state.as_ref().and_then(|state| state.boot_ms).map(|boot_ms| Boot { boot_ms, guest: ready }),
        guest: launch.map(|launch| launch.boot),
    }
}

fn last_exit(state: &State) -> Option<Exit> {
    use executor_host::state::Phase;
    match &state.phase {
        Phase::Exited { exit } | Phase::Backoff { exit } => Some(exit.clone()),
        Phase::Booting | Phase::Running | Phase::Stopped => state.last_exit.clone(),
    }
}

/// Formats the details for people: state and paths, then the declaration.
fn describe(entry: &Entry, seen: &Observation, folder: Option<&Path>) -> String {
    let status = escape_controls(&super::ps::status_text(seen));
    let mut text = format!("\n// {}: {status}\n", entry.full_name);
    let mut line = |name: &str, value: String| {
        text.push_str(&format!("// {name:<15} {}\n", escape_controls(&value)));
    };
    line("id", format!("{} (generation {})", entry.id, entry.generation));
    line("image digest", entry.spec.image.digest.to_string());
    line("agent socket", entry.agent_socket.display().to_string());
    line("control socket", entry.control_socket.display().to_string());
    line("logs", entry.logs.display().to_string());
    line("disk", entry.disk.display().to_string());
    for AnonymousEntry { path, volume, directory: _ } in &entry.anonymous_volumes {
        line("image's volume", format!("{path} in {volume}"));
    }
    if let (Some(supervisor), Some(vmm)) = (entry.supervisor_pid, entry.vmm_pid) {
        line("processes", format!("supervisor {supervisor}, machine {vmm}"));
    }
    if let Some(jail) = &entry.jail {
        line("jail", jail.in_force().join(", "));
        for gap in jail.gaps() {
            line("not in force", gap);
        }
    }
    if let Some(Boot { boot_ms, guest }) = &entry.boot {
        let inside = guest.as_ref().map_or(String::new(), |times| {
            let ms = |ns: u64| ns / 1_000_000;
            format!(
                " (in the guest: kernel {} ms, init {} ms)",
                ms(times.boot_time_ns),
                ms(times.init_time_ns)
            )
        });
        line("last boot", format!("{boot_ms} ms{inside}"));
    }
    if let Some(exit) = &entry.last_exit {
        line("last exit", exit.to_string());
    }
    if entry.restarts > 0 {
        line("restarts", entry.restarts.to_string());
    }
    line("network rules", "in effect; the first match decides".to_owned());
    for row in entry.network.table().lines() {
        text.push_str(&format!("//   {row}\n"));
    }
    text.push_str(&print::sandbox(&seen.row.project, &seen.row.name, &seen.row.spec, folder));
    text
}
