//! The commands, one file each: its arguments, whose doc comments are the help, and `run`.

mod completion;
pub mod doctor;
pub mod image;
mod internal;
pub mod project;
pub mod sandbox;
mod schema;
pub mod snapshot;
pub mod volume;

use crate::cli::Cli;
use crate::error::{CliError, Context};
use clap::Subcommand;
use internal::{man, share, supervise, vmm};
use project::{config, down, graph, init, lock, plan, trust, up, validate};
use sandbox::{
    attach, cp, create, events, exec, inspect, jobs, logs, metrics, net, pause, ps, rm, run, start, stop,
    top, wait,
};
use std::process::ExitCode;
use std::time::Duration;

/// The commands of msb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a starter Sandboxfile into this folder.
    Init(init::Args),
    /// Check the Sandboxfile and report all errors in it.
    Validate(validate::Args),
    /// Print the resolved Sandboxfile.
    Config(config::Args),
    /// Show what `up` would do.
    Plan(plan::Args),
    /// Draw the steps that `up` would take, or the dependencies between sandboxes if there are none.
    Graph(graph::Args),
    /// Create, update and start the project's sandboxes as the Sandboxfile declares them.
    Up(up::Args),
    /// Stop and remove the project's sandboxes.
    Down(down::Args),
    /// Pin the Sandboxfile's images in Sandboxfile.lock.
    Lock(lock::Args),
    /// List, pull, load, save, inspect and remove images.
    Image(image::Args),
    /// Create, list, inspect and remove volumes.
    Volume(volume::Args),
    /// Create, list, remove, export and import snapshots of the disks of sandboxes.
    Snapshot(snapshot::Args),
    /// Allow the Sandboxfile to reach beyond its folder until it changes.
    Trust(trust::Args),
    /// List sandboxes.
    Ps(ps::Args),
    /// Create a sandbox from flags, without a Sandboxfile, and run a command in it.
    Run(run::Args),
    /// Create a sandbox from flags, without a Sandboxfile, and boot it.
    Create(create::Args),
    /// Start existing sandboxes.
    Start(start::Args),
    /// Stop sandboxes and keep their disks.
    Stop(stop::Args),
    /// Stop sandboxes and start them again.
    Restart(start::RestartArgs),
    /// Pause sandboxes: nothing runs in them until they are resumed.
    Pause(pause::Args),
    /// Resume paused sandboxes and correct their clocks.
    Resume(pause::Args),
    /// Stop sandboxes immediately, without a shutdown, or send a signal to a job.
    Kill(stop::KillArgs),
    /// Remove sandboxes and their disks.
    Rm(rm::Args),
    /// Wait until a sandbox or a job has ended, and exit with the code of its main process or of the job.
    Wait(wait::Args),
    /// Show all details of sandboxes.
    Inspect(inspect::Args),
    /// Copy files into or out of a running sandbox.
    Cp(cp::Args),
    /// Run a command in a sandbox.
    Exec(exec::Args),
    /// List the jobs of a sandbox: its start command and detached commands.
    Jobs(jobs::Args),
    /// Attach to a job of a sandbox.
    Attach(attach::Args),
    /// Show the output of sandboxes.
    Logs(logs::Args),
    /// Show the events of sandboxes: starts, exits and refused connections.
    Events(events::Args),
    /// Show how much processor time, memory, disk and network running sandboxes use.
    Metrics(metrics::Args),
    /// Show the metrics of running sandboxes again and again.
    Stats(metrics::StatsArgs),
    /// Watch sandboxes in the terminal: their metrics, logs, events, rules and processes.
    Top(top::Args),
    /// Explain what a sandbox's network allows.
    Net(net::Args),
    /// Print the JSON Schema of a Sandboxfile in YAML, for editors, or of what a command prints with --json.
    Schema(schema::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
    /// Check what this machine offers for running VMs, and report what is missing.
    Doctor(doctor::Args),
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man(man::Args),
    /// Supervise one sandbox.
    #[command(hide = true)]
    Supervise(supervise::Args),
    /// Serve the mounts of a VM.
    #[command(hide = true)]
    Share(share::Args),
    /// Become a VM.
    #[command(hide = true)]
    Vmm(vmm::Args),
}

/// Runs the command of a command line.
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
        Command::Volume(arguments) => volume::run(&global, &arguments),
        Command::Snapshot(arguments) => snapshot::run(&global, &arguments),
        Command::Trust(arguments) => trust::run(&global, &arguments),
        Command::Ps(arguments) => ps::run(&global, &arguments),
        Command::Run(arguments) => run::run(&global, &arguments),
        Command::Create(arguments) => create::run(&global, &arguments),
        Command::Start(arguments) => start::run(&global, &arguments),
        Command::Stop(arguments) => stop::run(&global, &arguments),
        Command::Restart(arguments) => start::restart(&global, &arguments),
        Command::Pause(arguments) => pause::run(&global, &arguments),
        Command::Resume(arguments) => pause::resume(&global, &arguments),
        Command::Kill(arguments) => stop::kill(&global, &arguments),
        Command::Rm(arguments) => rm::run(&global, &arguments),
        Command::Wait(arguments) => wait::run(&global, &arguments),
        Command::Inspect(arguments) => inspect::run(&global, &arguments),
        Command::Cp(arguments) => cp::run(&global, &arguments),
        Command::Exec(arguments) => exec::run(&global, &arguments),
        Command::Jobs(arguments) => jobs::run(&global, &arguments),
        Command::Attach(arguments) => attach::run(&global, &arguments),
        Command::Logs(arguments) => logs::run(&global, &arguments),
        Command::Events(arguments) => events::run(&global, &arguments),
        Command::Metrics(arguments) => metrics::run(&global, &arguments),
        Command::Stats(arguments) => metrics::stats(&global, &arguments),
        Command::Top(arguments) => top::run(&global, &arguments),
        Command::Net(arguments) => net::run(&global, &arguments),
        Command::Schema(arguments) => Ok(schema::run(&arguments)),
        Command::Completion(arguments) => Ok(completion::run(&arguments)),
        Command::Doctor(arguments) => doctor::run(&global, &arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Supervise(arguments) => supervise::run(&arguments),
        Command::Share(arguments) => share::run(&arguments),
        Command::Vmm(arguments) => vmm::run(&arguments),
    }
}

/// Creates the event loop of a command that works in threads beside it. The first one is started now: a task that needs it
/// later panics where the host allows no more threads.
pub fn event_loop_with_threads() -> Result<tokio::runtime::Runtime, CliError> {
    let event_loop = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(FOREVER)
        .build()
        .map_err(|error| CliError::by_host("cannot start the event loop", &error))?;
    // The event loop's own attempt would panic as well.
    let attempt = std::thread::Builder::new().spawn(|| {});
    let attempt = attempt.map_err(|error| CliError::by_host("cannot start a thread", &error))?;
    let _ = attempt.join();
    drop(event_loop.spawn_blocking(|| {}));
    Ok(event_loop)
}

/// Longer than any command.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Creates the event loop of a command.
pub fn event_loop() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the event loop")
}
