//! `msb exec`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::print;
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
    /// Give the command no input, and leave this one's unread: for loops that read their own.
    #[arg(short, long, conflicts_with = "tty")]
    no_stdin: bool,
    /// Set a variable of its environment.
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Its working directory.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Its user, and group: names or numbers.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Let it run on its own, and return as soon as it does. Its output goes to the sandbox's log.
    #[arg(short, long, conflicts_with_all = ["tty", "timeout"])]
    detach: bool,
    /// Kill it after this time and exit with 124.
    #[arg(long, value_name = "TIME", value_parser = crate::apply::lifecycle::parse_time)]
    timeout: Option<Duration>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command, streams in and out, and exits as it did.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    check_env(&arguments.env)?;
    let Machine { home, catalog } = Machine::open()?;
    let seen = find::running(global, &home, &catalog, &arguments.name)?;
    let run_folder = home.sandbox_run(&full_name_of(&seen));
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
    // Not by way of `main`: a thread may still be in a read of standard input.
    std::process::exit(session::run(&run_folder, name, &command)?)
}

/// Refuses what sets no variable.
pub fn check_env(env: &[String]) -> Result<(), CliError> {
    match env.iter().find(|variable| variable.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
        Some(variable) => Err(CliError::usage(format!("{variable:?} is not NAME=VALUE"))),
        None => Ok(()),
    }
}

/// Has the supervisor run the command: its session outlives this client. Prints the pid in the guest.
fn spawn_detached(folder: &RunFolder, name: &str, command: &Command) -> Result<ExitCode, CliError> {
    let request = Request::Exec { command: Box::new(command.request()) };
    let event_loop = crate::commands::event_loop()?;
    let asked = event_loop.block_on(async {
        ControlClient::connect(&folder.control_socket()).await?.ask_for_pid(&request).await
    });
    match asked {
        Ok(Ok(pid)) => {
            print(&format!("{pid}\n"));
            Ok(ExitCode::SUCCESS)
        }
        Ok(Err((code, message))) => {
            crate::output::eprintln_lossy(&format!("error: {}", crate::output::escape_controls(&message)));
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(event_loop.block_on(unresponsive::explain(folder, name)))
        }
        Err(error) => Err(CliError::new(format!("cannot ask the sandbox's supervisor: {error}"))),
    }
}
