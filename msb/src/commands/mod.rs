//! The commands, one file each: its arguments (their doc comments are the help) and one function.

mod completion;
mod doctor;
mod image;
mod internal;
pub mod project;
mod sandbox;
mod schema;

use crate::cli::Cli;
use crate::error::CliError;
use clap::Subcommand;
use internal::{supervise, vmm};
use project::{config, down, graph, init, lock, plan, trust, up, validate};
use sandbox::{cp, create, events, exec, inspect, logs, net, ps, rm, run, start, stop, wait};
use std::process::ExitCode;

/// What msb can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first Sandboxfile into this folder.
    Init(init::Args),
    /// Check the Sandboxfile and say what is wrong with it.
    Validate(validate::Args),
    /// Print the Sandboxfile as msb understands it.
    Config(config::Args),
    /// Show what `up` would do.
    Plan(plan::Args),
    /// Draw the steps of what `up` would do; where that is nothing, who depends on whom.
    Graph(graph::Args),
    /// Bring the project's sandboxes to what the Sandboxfile says.
    Up(up::Args),
    /// Stop and remove the project's sandboxes.
    Down(down::Args),
    /// Pin the images that the Sandboxfile names, in Sandboxfile.lock.
    Lock(lock::Args),
    /// List, pull, load, save, inspect and remove images.
    Image(image::Args),
    /// Let the Sandboxfile reach beyond its folder, until it changes.
    Trust(trust::Args),
    /// List sandboxes.
    Ps(ps::Args),
    /// Make a sandbox from flags, without a file, and run a command in it.
    Run(run::Args),
    /// Make a sandbox from flags, without a file, and boot it.
    Create(create::Args),
    /// Start sandboxes as they are recorded.
    Start(start::Args),
    /// Stop sandboxes; their disks stay.
    Stop(stop::Args),
    /// Stop sandboxes and start them again.
    Restart(start::RestartArgs),
    /// End sandboxes at once.
    Kill(stop::KillArgs),
    /// Remove sandboxes and their disks.
    Rm(rm::Args),
    /// Wait until a sandbox has ended, and exit as its main process did.
    Wait(wait::Args),
    /// Show all that is known of sandboxes.
    Inspect(inspect::Args),
    /// Copy files into a sandbox that runs, or out of it.
    Cp(cp::Args),
    /// Run a command in a sandbox.
    Exec(exec::Args),
    /// Show what sandboxes have printed.
    Logs(logs::Args),
    /// Show what has happened to sandboxes: starts, ends, and what their networks have refused.
    Events(events::Args),
    /// Explain what a sandbox may reach.
    Net(net::Args),
    /// Print the JSON Schema of a Sandboxfile in YAML, for editors.
    Schema,
    /// Print what teaches a shell the commands and options of msb.
    Completion(completion::Args),
    /// Say how VMs run here, why so, and what is missing.
    Doctor(doctor::Args),
    /// Supervise one sandbox.
    #[command(hide = true)]
    Supervise(supervise::Args),
    /// Become a VM.
    #[command(hide = true)]
    Vmm(vmm::Args),
}

/// Runs a command.
pub fn dispatch(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { global, command } = cli;
    match command {
        Command::Init(arguments) => init::run(&global, &arguments),
        Command::Validate(arguments) => validate::run(&global, &arguments),
        Command::Config(arguments) => config::run(&global, &arguments),
        Command::Plan(arguments) => plan::run(&global, &arguments),
        Command::Graph(arguments) => graph::run(&global, &arguments),
        Command::Up(arguments) => up::run(&global, &arguments),
        Command::Down(arguments) => down::run(&global, &arguments),
        Command::Lock(arguments) => lock::run(&global, &arguments),
        Command::Image(arguments) => image::run(&global, &arguments),
        Command::Trust(arguments) => trust::run(&global, &arguments),
        Command::Ps(arguments) => ps::run(&global, &arguments),
        Command::Run(arguments) => run::run(&global, &arguments),
        Command::Create(arguments) => create::run(&global, &arguments),
        Command::Start(arguments) => start::run(&global, &arguments),
        Command::Stop(arguments) => stop::run(&global, &arguments),
        Command::Restart(arguments) => start::run_again(&global, &arguments),
        Command::Kill(arguments) => stop::kill(&global, &arguments),
        Command::Rm(arguments) => rm::run(&global, &arguments),
        Command::Wait(arguments) => wait::run(&global, &arguments),
        Command::Inspect(arguments) => inspect::run(&global, &arguments),
        Command::Cp(arguments) => cp::run(&global, &arguments),
        Command::Exec(arguments) => exec::run(&global, &arguments),
        Command::Logs(arguments) => logs::run(&global, &arguments),
        Command::Events(arguments) => events::run(&global, &arguments),
        Command::Net(arguments) => net::run(&global, &arguments),
        Command::Schema => Ok(schema::run()),
        Command::Completion(arguments) => Ok(completion::run(&arguments)),
        Command::Doctor(arguments) => doctor::run(&global, &arguments),
        Command::Supervise(arguments) => supervise::run(&arguments),
        Command::Vmm(arguments) => vmm::run(&arguments),
    }
}

/// An event loop for one command.
pub fn event_loop() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(format!("cannot start the event loop: {error}")))
}
