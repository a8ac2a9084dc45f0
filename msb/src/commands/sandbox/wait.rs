//! `msb wait`.

use super::jobs;
use crate::apply::lifecycle;
use crate::cli::{self, Global, JsonResults};
use crate::error::{CliError, ErrorCode};
use crate::host::Machine;
use crate::output::{print_error, print_json};
use crate::project::find::{self, full_name_of};
use executor::observe::Observation;
use executor_client::control::ControlClient;
use executor_host::home::Home;
use executor_host::state::{Phase, State, read_state};
use schemas::name::SandboxId;
use schemas::snapshot::{EXIT_CODE_OF_LIMIT, Exit, Health, Status};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `msb wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox.
    name: String,
    /// Wait for this job of the sandbox, and exit with its code.
    #[arg(long, value_name = "ID")]
    job: Option<u64>,
    /// Wait for this state instead. `running` and `healthy` end with a failure when the sandbox ends before.
    #[arg(long = "for", value_enum, value_name = "STATE", conflicts_with = "job")]
    state: Option<Awaited>,
    /// The longest wait for the state; exit code 4 after it.
    #[arg(long, value_name = "TIME", value_parser = cli::duration, requires = "state")]
    timeout: Option<Duration>,
    #[command(flatten)]
    json: JsonResults,
}

/// Waits until a sandbox has ended and is not restarted, and exits with the code of its main process; or waits for a job.
pub fn run(
    global: &Global,
    Args { name, job, state, timeout, json: _ }: &Args,
) -> Result<ExitCode, CliError> {
    if let Some(state) = state {
        state_reached(global, name, *state, *timeout)?;
        if global.json {
            lifecycle::print_result(name, state.word());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let code = match *job {
        Some(job) => job_code(global, name, job)?,
        None => main_code(global, name)?,
    };
    if global.json {
        print_json(&Document { version: VERSION, name, job: *job, exit_code: code });
        return Ok(ExitCode::SUCCESS);
    }
    Ok(exit_code(code))
}

/// A state of a sandbox that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Awaited {
    /// It runs, whatever its health check says.
    Running,
    /// It runs, and its health check passes.
    Healthy,
    /// It is paused.
    Paused,
    /// It does not run: it was stopped, or has ended.
    Stopped,
}

impl Awaited {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Healthy => "healthy",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    fn is_reached(self, status: &Status) -> bool {
        match (self, status) {
            (Self::Running, Status::Running { health }) => *health != Health::Booting,
            (Self::Healthy, Status::Running { health }) => *health == Health::Healthy,
            (Self::Paused, Status::Paused) => true,
            (Self::Stopped, status) => !status.is_up(),
            _ => false,
        }
    }
}

/// The time between two looks at the state.
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until a sandbox has a state.
fn state_reached(
    global: &Global,
    name: &str,
    wanted: Awaited,
    timeout: Option<Duration>,
) -> Result<(), CliError> {
    let machine = Machine::open()?;
    let began = Instant::now();
    let mut was_up = false;
    loop {
        let status = find::sandbox(global, &machine, name)?.status;
        if wanted.is_reached(&status) {
            return Ok(());
        }
        if was_up && !status.is_up() {
            let message = format!("{name} ended before it was {}", wanted.word());
            return Err(CliError::new(message).code(ErrorCode::SandboxNotRunning).about(name));
        }
        was_up |= status.is_up();
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            let message = format!("{name} was not {} in time", wanted.word());
            return Err(CliError::new(message).code(ErrorCode::TimedOut).about(name));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The version of the JSON format.
const VERSION: u32 = 1;

/// The end of a sandbox or a job, as JSON.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Document<'a> {
    version: u32,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<u64>,
    /// 0 to 255 as of a process: 128+n for signal n.
    exit_code: i32,
}

/// Waits for the end of a job.
fn job_code(global: &Global, name: &str, job: u64) -> Result<i32, CliError> {
    let machine = Machine::open()?;
    let seen = find::running(global, &machine, name)?;
    let folder = machine.home.sandbox_run(&full_name_of(&seen));
    let state = jobs::ask(&seen, &folder, name, async |client| client.wait(job).await)?;
    Ok(state.exit_code().unwrap_or_default())
}

/// Waits for the end of a sandbox.
fn main_code(global: &Global, name: &str) -> Result<i32, CliError> {
    let machine = Machine::open()?;
    let seen = find::sandbox(global, &machine, name)?;
    let state = crate::commands::event_loop()?.block_on(last_state(&machine.home, &seen));
    let start = format!("`msb start {name}` starts it");
    match state.map(|state| state.phase) {
        Some(Phase::Exited { exit: Exit::Code { code } }) => Ok(code),
        Some(Phase::Exited { exit: Exit::NotStarted { code, message } }) => {
            print_error(&format!("{name} did not start: {message}"));
            Ok(code)
        }
        Some(Phase::Exited { exit: exit @ Exit::Limit { .. } }) => {
            print_error(&format!("{name} {exit}"));
            Ok(EXIT_CODE_OF_LIMIT)
        }
        Some(Phase::Exited { exit: Exit::Failure { cause: _, message } }) => {
            Err(CliError::new(format!("{name} failed: {message}"))
                .hint(format!("see `msb logs {name} --source system`")))
        }
        Some(Phase::Stopped) => {
            let message = format!("{name} was stopped before its main process ended");
            Err(CliError::new(message).code(ErrorCode::SandboxNotRunning).about(name))
        }
        Some(Phase::Booting | Phase::Running | Phase::Backoff { .. }) => {
            let message = format!("the supervisor of {name} has ended, so its exit code is unknown");
            Err(CliError::new(message).code(ErrorCode::SandboxNotRunning).about(name).hint(start))
        }
        None => {
            let message = format!("{name} has not run yet");
            Err(CliError::new(message).code(ErrorCode::SandboxNotRunning).about(name).hint(start))
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
