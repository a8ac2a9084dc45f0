//! `msb wait`.

use super::jobs;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::print_error;
use crate::project::find::{self, full_name_of};
use executor::observe::Observation;
use executor_client::control::ControlClient;
use executor_host::home::Home;
use executor_host::state::{Phase, State, read_state};
use schemas::name::SandboxId;
use schemas::snapshot::{EXIT_CODE_OF_LIMIT, Exit};
use std::process::ExitCode;

/// Arguments of `msb wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox.
    name: String,
    /// Wait for this job of the sandbox, and exit with its code.
    #[arg(long, value_name = "ID")]
    job: Option<u64>,
}

/// Waits until a sandbox has ended and is not restarted, and exits with the code of its main process; or waits for a job.
pub fn run(global: &Global, Args { name, job }: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    if let Some(job) = *job {
        let seen = find::running(global, &machine, name)?;
        let folder = machine.home.sandbox_run(&full_name_of(&seen));
        let state = jobs::ask(&seen, &folder, name, async |client| client.wait(job).await)?;
        return Ok(exit_code(state.exit_code().unwrap_or_default()));
    }
    let seen = find::sandbox(global, &machine, name)?;
    let state = crate::commands::event_loop()?.block_on(last_state(&machine.home, &seen));
    match state.map(|state| state.phase) {
        Some(Phase::Exited { exit: Exit::Code { code } }) => Ok(exit_code(code)),
        Some(Phase::Exited { exit: Exit::NotStarted { code, message } }) => {
            print_error(&format!("{name} did not start: {message}"));
            Ok(exit_code(code))
        }
        Some(Phase::Exited { exit: exit @ Exit::Limit { .. } }) => {
            print_error(&format!("{name} {exit}"));
            Ok(exit_code(EXIT_CODE_OF_LIMIT))
        }
        Some(Phase::Exited { exit: Exit::Failure { cause: _, message } }) => {
            Err(CliError::new(format!("{name} failed: {message}"))
                .hint(format!("see `msb logs {name} --source system`")))
        }
        Some(Phase::Stopped) => {
            Err(CliError::new(format!("{name} was stopped before its main process ended")))
        }
        Some(Phase::Booting | Phase::Running | Phase::Backoff { .. }) => {
            Err(CliError::new(format!("the supervisor of {name} has ended, so its exit code is unknown"))
                .hint(format!("`msb start {name}` starts it")))
        }
        None => {
            Err(CliError::new(format!("{name} has not run yet"))
                .hint(format!("`msb start {name}` starts it")))
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code.rem_euclid(256)).unwrap_or(u8::MAX))
}

/// Follows the supervisor until it ends. Returns the last known state.
async fn last_state(home: &Home, seen: &Observation) -> Option<State> {
    last_state_of(home, &full_name_of(seen), &seen.row.id).await
}

/// Follows the supervisor of a sandbox with this full name until it ends. Returns the last known state.
pub async fn last_state_of(home: &Home, full_name: &str, id: &SandboxId) -> Option<State> {
    let socket = home.sandbox_run(full_name).control_socket();
    let mut last = None;
    if let Ok(mut control) = ControlClient::watch(&socket).await {
        while !last.as_ref().is_some_and(State::is_final)
            && let Ok(state) = control.next_state().await
        {
            last = Some(state);
        }
    }
    // The final state may be lost with the socket; the file has it.
    match last {
        Some(state) if state.is_final() => Some(state),
        last => read_state(&home.sandbox(id)).or(last),
    }
}
