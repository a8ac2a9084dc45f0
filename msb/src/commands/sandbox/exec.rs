//! `msb exec`.

use crate::cli::{self, Global};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{print, print_error};
use crate::project::find;
use crate::project::find::full_name_of;
use crate::session::unresponsive;
use crate::session::{self, Command};
use executor_client::control::{ControlClient, Request};
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
    /// Return when the command has started, and print its pid. Its output goes to the sandbox's log.
    #[arg(short, long, conflicts_with_all = ["tty", "timeout"])]
    detach: bool,
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
    let Args { name, tty, no_stdin, env, workdir, user, detach, timeout, command } = arguments;
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
        return spawn_detached(&run_folder, name, &command);
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

/// Starts the command in a session of the supervisor, which outlives this process. Prints the pid in the guest.
fn spawn_detached(folder: &RunFolder, name: &str, command: &Command) -> Result<ExitCode, CliError> {
    let request = Request::Exec { command: Box::new(command.request()) };
    let event_loop = crate::commands::event_loop()?;
    let started = event_loop.block_on(async {
        ControlClient::connect(&folder.control_socket()).await?.ask_for_pid(&request).await
    });
    match started {
        Ok(Ok(pid)) => {
            print(&format!("{pid}\n"));
            Ok(ExitCode::SUCCESS)
        }
        Ok(Err((code, message))) => {
            print_error(&message);
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(event_loop.block_on(unresponsive::explain(folder, name)))
        }
        Err(error) => Err(CliError::new(format!("no answer from the sandbox's supervisor: {error}"))),
    }
}
