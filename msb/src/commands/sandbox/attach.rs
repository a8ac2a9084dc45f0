//! `msb attach`.

use super::jobs;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::project::find::{self, full_name_of};
use crate::session::detach_keys::DetachKeys;
use crate::session::{self, Attach, Ended};
use executor_client::jobs::{JobReport, JobState};
use std::process::ExitCode;

/// Arguments of `msb attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox.
    name: String,
    /// The ID of the job, as `msb jobs` lists it. Default: the start command, or the only running job.
    id: Option<u64>,
    /// Keys that detach: characters, or `ctrl-` with a letter or one of `@[\]^_`.
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Do not read standard input.
    #[arg(short, long)]
    no_stdin: bool,
    /// Whether Ctrl-C and the signals QUIT, USR1 and USR2 go to a job without a terminal. Otherwise they detach.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
}

/// Attaches this process's streams to a job, and exits with its code, or with 0 when detached.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { name, id, detach_keys, no_stdin, sig_proxy } = arguments;
    let machine = Machine::open()?;
    let seen = find::running(global, &machine, name)?;
    let folder = machine.home.sandbox_run(&full_name_of(&seen));
    let job = choose(jobs::list(&seen, &folder, name)?, *id, name)?;
    let id = job.id;
    let attach = Attach { job, keys: detach_keys.clone(), no_stdin: *no_stdin, forward_signals: *sig_proxy };
    let code = match session::attach(&folder, name, &attach)? {
        Ended::Exited(code) => code,
        Ended::Detached => {
            OutputOptions::of(global).say(&format!("\ndetached; `msb attach {name} {id}` attaches again"));
            0
        }
    };
    // Exits here, because a thread may still be reading standard input.
    std::process::exit(code)
}

/// Chooses the running job of this ID; without one, the start command or the only running job.
fn choose(jobs: Vec<JobReport>, id: Option<u64>, name: &str) -> Result<JobReport, CliError> {
    let listed = format!("`msb jobs {name}` lists its jobs");
    if let Some(id) = id {
        let job = jobs.into_iter().find(|job| job.id == id);
        let job = job.ok_or_else(|| CliError::new(format!("{name} has no job {id}")).hint(listed))?;
        return match job.state {
            JobState::Running => Ok(job),
            JobState::Exited { .. } | JobState::Signalled { .. } => {
                let code = job.state.exit_code().unwrap_or_default();
                Err(CliError::new(format!("job {id} of {name} has ended with code {code}"))
                    .hint(format!("`msb logs {name} --job {id}` shows its output")))
            }
        };
    }
    let mut running: Vec<_> = jobs.into_iter().filter(|job| job.state == JobState::Running).collect();
    if let Some(main) = running.iter().position(|job| job.main) {
        return Ok(running.swap_remove(main));
    }
    match running.as_slice() {
        [] => Err(CliError::new(format!("{name} runs no job"))
            .hint(format!("`msb exec -d {name} -- COMMAND` starts one"))),
        [_] => Ok(running.remove(0)),
        several => {
            let lines = jobs::table(several);
            Err(CliError::new(format!("{name} runs {} jobs", several.len()))
                .because_all(lines.lines())
                .hint(format!("add an ID: `msb attach {name} {}`", several[0].id)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64, main: bool, state: JobState) -> JobReport {
        JobReport {
            id,
            pid: 300,
            main,
            command: vec!["sh".to_owned()],
            tty: false,
            stdin: false,
            attached: 0,
            started_unix_ms: 0,
            ended_unix_ms: None,
            state,
        }
    }

    #[test]
    fn without_an_id_the_start_command_or_the_only_job_is_chosen() {
        let (running, ended) = (JobState::Running, JobState::Exited { code: 0 });
        let chosen = |jobs: &[JobReport], id| choose(jobs.to_vec(), id, "web").map(|job| job.id);
        let message = |jobs: &[JobReport], id| chosen(jobs, id).unwrap_err().message;
        let (main, first, second) = (job(1, true, running), job(2, false, running), job(3, false, running));
        assert_eq!(chosen(&[main.clone(), first.clone()], None).ok(), Some(1));
        assert_eq!(chosen(&[first.clone(), job(4, false, ended)], None).ok(), Some(2));
        assert_eq!(chosen(&[main.clone(), first.clone()], Some(2)).ok(), Some(2));
        assert_eq!(message(&[job(1, true, ended)], None), "web runs no job");
        let several = chosen(&[first.clone(), second], None).unwrap_err();
        assert_eq!((several.message.as_str(), several.causes.len()), ("web runs 2 jobs", 3));
        assert_eq!(message(&[first], Some(9)), "web has no job 9");
        let killed = job(5, false, JobState::Signalled { signal: 9 });
        assert_eq!(message(&[killed], Some(5)), "job 5 of web has ended with code 137");
    }
}
