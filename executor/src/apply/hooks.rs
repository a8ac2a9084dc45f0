//! Hooks: commands that run inside a sandbox after its start or before its stop, by its agent as `exec` does.

use super::start::not_resumed;
use super::{Applier, Outcome, StepFailure};
use crate::reporter::Event;
use executor_client::agent::{AgentClient, CONNECT_TIMEOUT, Ended, Output};
use executor_client::control::ControlClient;
use executor_client::guest_text::{GuestText, keep_end};
use protocol::latest::ExecRequest;
use schemas::name::{ProjectName, full_name};
use schemas::plan::{Identity, StepId};
use schemas::spec::HookEvent;
use std::sync::Arc;
use std::time::Duration;

/// The timeout of a `post-start` hook. Longer work belongs in a job.
const POST_START_TIME: Duration = Duration::from_secs(600);
/// The size of the end of a hook's output that is kept for its failure, in bytes.
const OUTPUT_BYTES_MAX: usize = 4096;
/// The most lines of output that a failure shows.
const OUTPUT_LINES: usize = 5;

impl Applier {
    /// Runs a hook. A `post-start` hook runs once per start by the applier. A `pre-stop` hook has the timeout of the
    /// guest's shutdown, and its failure is a warning.
    pub(super) async fn ensure_hook(
        self: &Arc<Self>,
        project: &ProjectName,
        step: &StepId,
        identity: &Identity,
        hook: (HookEvent, &[String]),
    ) -> Result<Outcome, StepFailure> {
        let row = self.recorded(identity)?;
        match hook.0 {
            HookEvent::PostStart if row.hook_done => return Ok(Outcome::NotNeeded),
            HookEvent::PostStart => {
                self.run_hook(project, identity, hook, POST_START_TIME).await?;
                self.catalog.set_hook_done(&identity.id, true)?;
            }
            HookEvent::PreStop => {
                let folder = self.home.sandbox_run(&full_name(project, &identity.name));
                // A sandbox that is killed runs no hook.
                if self.settings.kill || !folder.agent_socket().exists() {
                    return Ok(Outcome::NotNeeded);
                }
                // The stop of a paused sandbox begins with its resumption.
                let mut resumed = Ok(());
                if let Ok((mut control, state)) =
                    ControlClient::connect_to(&folder.control_socket(), &identity.id).await
                    && state.paused
                {
                    resumed = control.resume().await.map_err(|error| not_resumed(&identity.name, &error));
                }
                // The stop goes on without the hook.
                let time = self.stop_timeout(identity);
                let ended = match resumed {
                    Ok(()) => self.run_hook(project, identity, hook, time).await,
                    Err(failure) => Err(failure),
                };
                if let Err(failure) = ended {
                    self.reporter.event(&Event::Warned { step, failure: &failure });
                }
            }
        }
        Ok(Outcome::Updated)
    }

    /// Runs a hook's command to its end, as the sandbox's user; its output goes to `exec.log`.
    async fn run_hook(
        &self,
        project: &ProjectName,
        identity: &Identity,
        (event, command): (HookEvent, &[String]),
        time: Duration,
    ) -> Result<(), StepFailure> {
        let name = &identity.name;
        let folder = self.home.sandbox_run(&full_name(project, name));
        let mut output = Vec::new();
        let ended = tokio::time::timeout(time, async {
            let socket = folder.agent_socket();
            let mut agent = AgentClient::connect_with_timeout(&socket, CONNECT_TIMEOUT.min(time)).await?;
            agent.exec(ExecRequest::command(command), |piece| add(&mut output, piece)).await
        });
        let what = match ended.await {
            Ok(Ok(Ended::Exited(0))) => return Ok(()),
            Ok(Ok(Ended::Exited(code))) => format!("exited with code {code}"),
            Ok(Ok(Ended::Failed(failed))) => format!("could not run: {}", GuestText::message(failed.message)),
            Ok(Ok(Ended::Refused(report))) => {
                format!("could not run: {}", GuestText::message(report.message))
            }
            Ok(Err(error)) => format!("could not be run to its end: {error}"),
            // The closed connection ends the command's session.
            Ok(Ok(Ended::TimedOut)) | Err(_) => {
                let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                format!("did not end within {}", rules::unit::format_duration_ms(time))
            }
        };
        let failure = StepFailure::new(format!("the {event} hook of {name} {what}"));
        Err(with_output(failure, &output).hint(format!("msb logs {name}")))
    }
}

fn add(output: &mut Vec<u8>, piece: Output) {
    let (Output::Stdout(data) | Output::Stderr(data)) = piece;
    keep_end(output, &data, OUTPUT_BYTES_MAX);
}

fn with_output(failure: StepFailure, output: &[u8]) -> StepFailure {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().collect();
    failure.last_printed(&lines[lines.len().saturating_sub(OUTPUT_LINES)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_last_lines_of_a_flood() {
        let mut output = Vec::new();
        for number in 0..10_000 {
            add(&mut output, Output::Stdout(format!("line {number}\n").into_bytes()));
        }
        add(&mut output, Output::Stderr(vec![b'x'; 3 * OUTPUT_BYTES_MAX]));
        assert_eq!(output.len(), OUTPUT_BYTES_MAX);
        add(&mut output, Output::Stdout(b"\nnext to last\nlast\n".to_vec()));
        let failure = with_output(StepFailure::new("it failed"), &output);
        assert_eq!(failure.details.len(), 4);
        assert_eq!(failure.details[2..], ["  next to last", "  last"]);
    }
}
