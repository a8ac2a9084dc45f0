//! `msb exec`.

use super::jobs;
use crate::cli::{self, Global};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{OutputOptions, print, print_error};
use crate::project::find;
use crate::project::find::full_name_of;
use crate::session::{self, Command};
use executor::observe::Observation;
use executor_client::jobs::{JobsError, StartedJob};
use executor_host::home::RunFolder;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `msb exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox.
    name: String,
    /// Give the command a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Do not read standard input: for loops that read it themselves.
    #[arg(short, long, conflicts_with = "tty")]
    no_stdin: bool,
    /// Set an environment variable.
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User and group, as names or numbers.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Return when the command has started, and print the ID of its job, for `msb attach`, `wait --job` and `kill --job`.
    /// Its output goes to the sandbox's log. It has no input, unless -i or -t is given.
    #[arg(short, long, conflicts_with_all = ["no_stdin", "timeout"])]
    detach: bool,
    /// Keep the standard input of a detached command open, for `msb attach`. Other commands always read it.
    #[arg(short, long, conflicts_with = "no_stdin")]
    interactive: bool,
    /// Kill the command after this time and exit with 124.
    #[arg(long, value_name = "TIME", value_parser = cli::duration)]
    timeout: Option<Duration>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs a command with this process's streams, and exits with its code.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    check_env(&arguments.env)?;
    let machine = Machine::open()?;
    let seen = find::running(global, &machine, &arguments.name)?;
    let run_folder = machine.home.sandbox_run(&full_name_of(&seen));
    let Args { name, tty, no_stdin, env, workdir, user, detach, interactive: _, timeout, command } =
        arguments;
    let command = Command {
        words: command.clone(),
        env: env.clone(),
        workdir: workdir.clone(),
        user: user.clone(),
        tty: *tty,
        no_stdin: *no_stdin,
        timeout: *timeout,
    };
    if *detach {
        return spawn_detached(global, arguments, &seen, &run_folder, &command);
    }
    // Exits here, because a thread may still be reading standard input.
    std::process::exit(session::run(&run_folder, name, &command)?)
}

fn check_env(env: &[String]) -> Result<(), CliError> {
    match env.iter().find(|variable| variable.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
        Some(variable) => Err(CliError::usage(format!("{variable:?} is not NAME=VALUE"))),
        None => Ok(()),
    }
}

/// Starts the command as a job of the supervisor, which outlives this process. Prints its ID.
fn spawn_detached(
    global: &Global,
    arguments: &Args,
    seen: &Observation,
    folder: &RunFolder,
    command: &Command,
) -> Result<ExitCode, CliError> {
    let (request, name) = (command.request(), &arguments.name);
    let stdin = arguments.interactive || arguments.tty;
    // A command that does not start is no failure of the request.
    let started = jobs::ask(seen, folder, name, async |client| match client.start(request, stdin).await {
        Err(JobsError::NotStarted { code, message }) => Ok(Err((code, message))),
        started => started.map(Ok),
    });
    match started? {
        Ok(StartedJob { id: Some(id), .. }) => {
            print(&format!("{id}\n"));
            Ok(ExitCode::SUCCESS)
        }
        Ok(StartedJob { pid, id: None }) => {
            let text = format!(
                "the command runs with pid {pid}: {name} was started by an older msb, which has no jobs"
            );
            OutputOptions::of(global).warn(&text);
            Ok(ExitCode::SUCCESS)
        }
        Err((code, message)) => {
            print_error(&message);
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
    }
}
