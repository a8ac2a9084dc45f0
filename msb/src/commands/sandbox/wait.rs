//! `msb wait`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{eprintln_lossy, escape_controls};
use crate::project::find::{self, full_name_of};
use executor::observe::Observation;
use executor_client::control::{ControlClient, Event, Request};
use executor_host::home::Home;
use executor_host::state::{Phase, State, read_state};
use schemas::snapshot::Exit;
use std::process::ExitCode;

/// Arguments of `msb wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox.
    name: String,
}

/// Waits until a sandbox has ended for good, and exits as its main process did.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let seen = find::sandbox(global, &home, &catalog, &arguments.name)?;
    let name = &arguments.name;
    let state = crate::commands::event_loop()?.block_on(last_state(&home, &seen));
    match state.map(|state| state.phase) {
        Some(Phase::Exited { exit: Exit::Code { code } }) => Ok(exit_code(code)),
        Some(Phase::Exited { exit: Exit::NotStarted { code, message } }) => {
            eprintln_lossy(&format!("error: {name} did not start: {}", escape_controls(&message)));
            Ok(exit_code(code))
        }
        Some(Phase::Exited { exit: Exit::Failure { message } }) => {
            Err(CliError::new(format!("{name} failed: {}", escape_controls(&message)))
                .hint(format!("msb logs {name} --source system")))
        }
        Some(Phase::Stopped) => {
            Err(CliError::new(format!("{name} was stopped: its main process has no exit code of its own")))
        }
        Some(Phase::Booting | Phase::Running | Phase::Backoff { .. }) => {
            Err(CliError::new(format!("the supervisor of {name} is gone: nobody knows how it ended"))
                .hint(format!("msb start {name}")))
        }
        None => Err(CliError::new(format!("{name} has not run yet")).hint(format!("msb start {name}"))),
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code.rem_euclid(256)).unwrap_or(u8::MAX))
}

/// Follows the supervisor to its end; what it last said, where there is none.
async fn last_state(home: &Home, seen: &Observation) -> Option<State> {
    let socket = home.sandbox_run(&full_name_of(seen)).control_socket();
    let mut last = None;
    if let Ok(mut control) = ControlClient::connect(&socket).await
        && control.send(&Request::Watch).await.is_ok()
    {
        while let Ok(Some(event)) = control.next().await {
            if let Event::State { state } = event {
                let is_final = state.is_final();
                last = Some(*state);
                if is_final {
                    break;
                }
            }
        }
    }
    // Its last word may have been lost with the socket, but not in the file.
    match last {
        Some(state) if state.is_final() => Some(state),
        last => read_state(&home.sandbox(&seen.row.id)).or(last),
    }
}
