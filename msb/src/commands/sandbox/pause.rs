//! `msb pause` and `msb resume`.

use crate::apply::lifecycle::for_each;
use crate::cli::{Global, JsonResults};
use crate::error::CliError;
use crate::host::Machine;
use crate::project::find::{self, full_name_of};
use crate::project::{self, load};
use executor::observe::observe_sandboxes;
use executor_client::control::ControlClient;
use std::process::ExitCode;

/// Arguments of `msb pause` and `msb resume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes.
    #[arg(required_unless_present = "all", value_name = "NAME")]
    names: Vec<String>,
    /// All sandboxes of the project that run.
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    json: JsonResults,
}

/// Pauses sandboxes: their processes stay where they are, and their memory stays in use.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    each(global, arguments, true)
}

/// Resumes paused sandboxes.
pub fn resume(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    each(global, arguments, false)
}

/// Pauses or resumes each sandbox and prints a line for each. A failure does not prevent the others.
fn each(global: &Global, Args { names, all, json: _ }: &Args, paused: bool) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let event_loop = crate::commands::event_loop()?;
    let names = if *all { up_in_project(global, &machine)? } else { names.clone() };
    for_each(global, &names, if paused { "paused" } else { "resumed" }, |name| {
        event_loop.block_on(change(global, &machine, name, paused))
    })
}

/// Returns the names of the sandboxes of the project that run or are paused.
fn up_in_project(global: &Global, machine: &Machine) -> Result<Vec<String>, CliError> {
    let project = match project::current(global, &machine.catalog)? {
        Some(project) => project,
        // Fails with the reason.
        None => load::load(global)?.model.project().clone(),
    };
    let seen = observe_sandboxes(&machine.home, &machine.catalog, Some(&project))?;
    Ok(seen.into_iter().filter(|seen| seen.status.is_up()).map(|seen| seen.row.name.to_string()).collect())
}

/// Pauses or resumes a sandbox. Returns the reason if nothing had to be done.
async fn change(
    global: &Global,
    machine: &Machine,
    name: &str,
    paused: bool,
) -> Result<Option<String>, CliError> {
    let seen = find::up(global, machine, name)?;
    let socket = machine.home.sandbox_run(&full_name_of(&seen)).control_socket();
    let connected = ControlClient::connect_to(&socket, &seen.row.id).await;
    let (mut control, state) = connected
        .map_err(|error| CliError::new(format!("no answer from the sandbox's supervisor: {error}")))?;
    let failed = |what: &str, error: std::io::Error| {
        CliError::new(format!("cannot be {what}: {error}"))
            .hint(format!("`msb logs {name} --source runtime` may say why"))
    };
    match (paused, state.paused) {
        (true, true) => Ok(Some("already paused".to_owned())),
        (false, false) => Ok(Some("not paused".to_owned())),
        (true, false) => control.pause().await.map(|()| None).map_err(|error| failed("paused", error)),
        (false, true) => control.resume().await.map(|()| None).map_err(|error| failed("resumed", error)),
    }
}
