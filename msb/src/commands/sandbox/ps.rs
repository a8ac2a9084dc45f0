//! `msb ps`.

use super::page::PageOptions;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::words::age;
use crate::output::{print, print_json};
use crate::project;
use crate::project::find::full_name_of;
use executor::catalog::UnreadableRow;
use executor::observe::{Observation, Observed, observe_all};
use executor_host::state::{DiskFull, PublishedPort};
use rules::unit::format_duration_ms;
use schemas::excerpt::excerpt;
use schemas::name::full_name;
use schemas::snapshot::{Exit, FailureCause, Health, Status, TimeLimit};
use schemas::spec::{Port, Role};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The exit code of a process that was killed: 128 + SIGKILL.
const KILLED: i32 = 137;
/// Maximum characters of a reason in the table.
const REASON_CHARS_MAX: usize = 60;

/// Arguments of `msb ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the sandboxes of all projects.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    page: PageOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Version of the JSON format.
const VERSION: u32 = 1;

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    sandboxes: Vec<Row>,
    /// Only in a whole list.
    unreadable: Vec<UnreadableEntry>,
    /// The cursor for the next page, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A sandbox whose record is damaged or was written by another version.
#[derive(schemars::JsonSchema, Serialize)]
struct UnreadableEntry {
    name: String,
    project: String,
    full_name: String,
    id: String,
    reason: String,
}

impl UnreadableEntry {
    fn new(UnreadableRow { project, identity, reason }: UnreadableRow) -> Self {
        Self {
            full_name: full_name(&project, &identity.name),
            name: identity.name.to_string(),
            project: project.to_string(),
            id: identity.id.to_string(),
            reason,
        }
    }
}

#[derive(schemars::JsonSchema, Serialize)]
struct Row {
    name: String,
    project: String,
    full_name: String,
    id: String,
    role: Role,
    #[serde(flatten)]
    status: Status,
    image: String,
    labels: BTreeMap<String, String>,
    restarts: u32,
    supervisor_pid: Option<i32>,
    vmm_pid: Option<i32>,
    uptime_ms: Option<u64>,
    agent_socket: String,
    /// Published ports, as bound on the host.
    ports: Vec<String>,
    /// The effect of a full disk of the host, if it is full.
    host_disk_full: Option<DiskFull>,
    /// Whether its guest has not answered for a while.
    silent: bool,
    /// Whether the guest's kernel killed a process in the last run because memory was exhausted.
    oom_killed: bool,
}

/// Lists recorded sandboxes with their states.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let project = if arguments.all { None } else { project::current(global, &catalog)? };
    let Observed { sandboxes: mut observed, unreadable } = observe_all(&home, &catalog, project.as_ref())?;
    let next_cursor = arguments.page.apply(&mut observed)?;
    // Their labels are unknown.
    let unreadable = unreadable.into_iter().filter(|_| !arguments.page.is_partial());
    let unreadable: Vec<_> = unreadable.map(UnreadableEntry::new).collect();
    let rows: Vec<Row> = observed
        .iter()
        .map(|seen| {
            let state = seen.state.as_ref().filter(|_| seen.status.is_up());
            let full_name = full_name_of(seen);
            Row {
                name: seen.row.name.to_string(),
                project: seen.row.project.to_string(),
                agent_socket: home.sandbox_run(&full_name).agent_socket().display().to_string(),
                full_name,
                id: seen.row.id.to_string(),
                role: seen.row.spec.definition.role,
                status: seen.status.clone(),
                image: seen.row.spec.image.reference.to_string(),
                labels: seen.row.spec.definition.labels.clone(),
                restarts: seen.state.as_ref().map_or(0, |state| state.restarts),
                supervisor_pid: state.map(|state| state.supervisor.pid),
                vmm_pid: state.and_then(|state| state.vmm).map(|vmm| vmm.pid),
                uptime_ms: state.map(|state| since(state.started_unix_ms)),
                host_disk_full: state.and_then(|state| state.host_disk_full),
                silent: state.is_some_and(|state| state.silent),
                oom_killed: seen.state.as_ref().is_some_and(|state| state.oom_killed),
                ports: state.map(|state| state.published.iter().map(port_text).collect()).unwrap_or_default(),
            }
        })
        .collect();
    if arguments.json {
        print_json(&Document { version: VERSION, sandboxes: rows, unreadable, next_cursor });
        return Ok(ExitCode::SUCCESS);
    }
    let mut cells: Vec<Vec<String>> = observed
        .iter()
        .zip(&rows)
        .map(|(seen, row)| {
            let name = if project.is_some() { &row.name } else { &row.full_name };
            let uptime = row.uptime_ms.map_or("-".to_owned(), |ms| age(Duration::from_millis(ms)));
            let ports = if row.ports.is_empty() { "-".to_owned() } else { row.ports.join(", ") };
            vec![name.clone(), status_text(seen), uptime, row.restarts.to_string(), ports, row.image.clone()]
        })
        .collect();
    cells.extend(unreadable.into_iter().map(|entry| {
        let name = if project.is_some() { entry.name } else { entry.full_name };
        let none = || "-".to_owned();
        vec![name, "unreadable".to_owned(), none(), none(), none(), entry.reason]
    }));
    print(&output::table::text(&["NAME", "STATUS", "UPTIME", "RESTARTS", "PORTS", "IMAGE"], &cells));
    Ok(ExitCode::SUCCESS)
}

/// Formats a port with the host's port that was assigned to it.
fn port_text(PublishedPort { port, host }: &PublishedPort) -> String {
    Port { host: *host, ..*port }.to_string()
}

/// Words the state of a sandbox.
pub fn status_text(seen: &Observation) -> String {
    let job = seen.row.spec.definition.role == Role::Job;
    let host_disk_full = seen.state.as_ref().and_then(|state| state.host_disk_full);
    let oom_killed = seen.state.as_ref().is_some_and(|state| state.oom_killed);
    let is_silent = seen.state.as_ref().is_some_and(|state| state.silent);
    match &seen.status {
        Status::Paused if host_disk_full == Some(DiskFull::GuestWaits) => {
            "paused (the host's disk is full)".to_owned()
        }
        Status::Paused => "paused".to_owned(),
        Status::Running { .. } if host_disk_full == Some(DiskFull::GuestWaits) => {
            "waiting (the host's disk is full)".to_owned()
        }
        Status::Running { .. } if host_disk_full == Some(DiskFull::WritesFail) => {
            "running (the host's disk is full)".to_owned()
        }
        Status::Running { .. } if is_silent => "running (does not answer)".to_owned(),
        Status::Incomplete => "incomplete".to_owned(),
        Status::Stopped => "stopped".to_owned(),
        Status::Running { health: Health::Booting } => "starting".to_owned(),
        Status::Running { health: Health::Unchecked } => "running".to_owned(),
        Status::Running { health: Health::Starting } => "running (not healthy yet)".to_owned(),
        Status::Running { health: Health::Healthy } => "running (healthy)".to_owned(),
        Status::Running { health: Health::Unhealthy } => "running (unhealthy)".to_owned(),
        Status::Exited { exit } if exit.is_success() && job => "completed".to_owned(),
        Status::Exited { exit: Exit::Code { code: code @ KILLED } } if oom_killed => {
            format!("exited ({code}, out of memory)")
        }
        Status::Exited { exit: Exit::Code { code } } => format!("exited ({code})"),
        Status::Exited { exit: Exit::Limit { limit: TimeLimit::MaxDuration, ms } } => {
            format!("stopped (max-duration of {} is over)", format_duration_ms(*ms))
        }
        Status::Exited { exit: Exit::Limit { limit: TimeLimit::IdleTimeout, ms } } => {
            format!("stopped (idle for {})", format_duration_ms(*ms))
        }
        Status::Exited { exit: Exit::NotStarted { message, .. } } => {
            format!("not started: {}", excerpt(message, REASON_CHARS_MAX))
        }
        Status::Exited { exit: Exit::Failure { cause, message } } => match cause {
            FailureCause::GuestPanic => "failed (its kernel panicked)".to_owned(),
            FailureCause::GuestOutOfMemory => "failed (its kernel ran out of memory)".to_owned(),
            FailureCause::GuestHung => "failed (it did not answer)".to_owned(),
            FailureCause::VmCrash => "failed (the VM's process crashed)".to_owned(),
            FailureCause::Other => format!("failed: {}", excerpt(message, REASON_CHARS_MAX)),
        },
        Status::Lost => "lost".to_owned(),
        Status::HostRebooted => "stopped (the host was rebooted)".to_owned(),
    }
}

/// Returns the milliseconds since a time; 0 if the clock was set back.
fn since(unix_ms: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(unix_ms)
}
