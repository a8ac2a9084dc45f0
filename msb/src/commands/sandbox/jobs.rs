//! `msb jobs`, and requests about jobs for other commands.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::words::age;
use crate::output::{self, print, print_json};
use crate::project::find::{self, full_name_of};
use crate::session::unresponsive;
use executor::observe::Observation;
use executor_client::jobs::{JobReport, JobState, JobsClient, JobsError};
use executor_host::home::RunFolder;
use schemas::excerpt::excerpt;
use schemas::signal::signal_name;
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum characters of a command in the table.
const COMMAND_CHARS_MAX: usize = 60;
/// Version of the JSON format.
const VERSION: u32 = 1;

/// Arguments of `msb jobs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox.
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    jobs: Vec<JobReport>,
}

/// Lists the jobs of a sandbox: its start command, and detached commands.
pub fn run(global: &Global, Args { name, json }: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let seen = find::running(global, &machine, name)?;
    let folder = machine.home.sandbox_run(&full_name_of(&seen));
    let jobs = list(&seen, &folder, name)?;
    if *json {
        print_json(&Document { version: VERSION, jobs });
    } else {
        print(&table(&jobs));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the jobs of a running sandbox.
///
/// # Errors
///
/// If its guest is not up, or its supervisor does not answer or is too old.
pub fn list(seen: &Observation, folder: &RunFolder, name: &str) -> Result<Vec<JobReport>, CliError> {
    ask(seen, folder, name, async |client| client.list().await)
}

/// Sends a request about jobs to the supervisor of a running sandbox.
///
/// # Errors
///
/// If the supervisor or the guest refuses it or does not answer.
pub fn ask<T>(
    seen: &Observation,
    folder: &RunFolder,
    name: &str,
    request: impl AsyncFnOnce(&mut JobsClient) -> Result<T, JobsError>,
) -> Result<T, CliError> {
    let event_loop = crate::commands::event_loop()?;
    let answer = event_loop.block_on(async {
        let mut client = JobsClient::connect(&folder.control_socket(), &seen.row.id).await?;
        request(&mut client).await
    });
    match answer {
        Ok(answer) => Ok(answer),
        Err(JobsError::Unresponsive) => Err(event_loop.block_on(unresponsive::explain(folder, name))),
        Err(error @ JobsError::UnsupportedOperation { .. }) => {
            Err(CliError::from_error(&error).hint(format!("`msb restart {name}` starts it with this msb")))
        }
        Err(error @ JobsError::Refused { .. }) => {
            Err(CliError::from_error(&error).hint(format!("`msb jobs {name}` lists its jobs")))
        }
        Err(error @ (JobsError::NotStarted { .. } | JobsError::Connection { .. })) => {
            Err(CliError::from_error(&error))
        }
    }
}

/// Returns the only sandbox of a command that is about one of its jobs.
///
/// # Errors
///
/// If there are several.
pub fn only(names: &[String]) -> Result<&str, CliError> {
    match names {
        [name] => Ok(name),
        _ => Err(CliError::usage("--job is for one sandbox")),
    }
}

/// Formats jobs as a table.
pub fn table(jobs: &[JobReport]) -> String {
    let rows: Vec<_> = jobs.iter().map(row).collect();
    output::table::text(&["ID", "KIND", "STATE", "TIME", "PID", "CLIENTS", "COMMAND"], &rows)
}

fn row(job: &JobReport) -> Vec<String> {
    let kind = match job {
        JobReport { main: true, .. } => "start",
        JobReport { tty: true, .. } => "terminal",
        JobReport { stdin: true, .. } => "interactive",
        JobReport { .. } => "detached",
    };
    let state = match job.state {
        JobState::Running => "running".to_owned(),
        JobState::Exited { code } => format!("exited ({code})"),
        JobState::Signalled { signal } => format!("killed ({})", signal_name(signal)),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let ran_ms = job.ended_unix_ms.unwrap_or(now_ms).saturating_sub(job.started_unix_ms);
    vec![
        job.id.to_string(),
        kind.to_owned(),
        state,
        age(Duration::from_millis(ran_ms)),
        job.pid.to_string(),
        job.attached.to_string(),
        excerpt(&job.command.join(" "), COMMAND_CHARS_MAX).into_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_kinds_and_states() {
        let job = |id, state, ended_unix_ms| JobReport {
            id,
            pid: 300,
            main: id == 1,
            command: vec!["sh".to_owned(), "-c".to_owned(), "a\nb".to_owned()],
            tty: id == 2,
            stdin: id == 2 || id == 3,
            attached: 0,
            started_unix_ms: 1_000,
            ended_unix_ms,
            state,
        };
        let jobs = [
            job(1, JobState::Exited { code: 3 }, Some(62_000)),
            job(2, JobState::Signalled { signal: 15 }, Some(1_500)),
            job(3, JobState::Exited { code: 0 }, Some(0)),
        ];
        let expected = "\
ID  KIND         STATE             TIME   PID  CLIENTS  COMMAND
1   start        exited (3)        1m 1s  300  0        sh -c a\\nb
2   terminal     killed (SIGTERM)  0s     300  0        sh -c a\\nb
3   interactive  exited (0)        0s     300  0        sh -c a\\nb
";
        assert_eq!(table(&jobs), expected);
    }
}
