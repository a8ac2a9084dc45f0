//! Hooks: commands that run inside a sandbox at moments of its life, through its agent as `exec` does.

use super::{Applier, Outcome, StepFailure};
use crate::reporter::Event;
use executor_client::agent::{AgentClient, CONNECT_TIMEOUT, Ended, Output};
use executor_client::guest_text::GuestText;
use protocol::latest::ExecRequest;
use schemas::name::{ProjectName, full_name};
use schemas::plan::{Identity, StepId};
use schemas::spec::HookEvent;
use std::sync::Arc;
use std::time::Duration;

/// How long a `post-start` hook may take. What takes longer is a job.
const POST_START_TIME: Duration = Duration::from_secs(600);
/// How much of a hook's output is kept for a failure's report, in bytes: its end.
const OUTPUT_BYTES_MAX: usize = 4096;
/// How many of its last lines a failure shows.
const OUTPUT_LINES: usize = 5;

impl Applier {
    /// A `post-start` hook runs once for each start; a start that the applier does makes it due again. A
    /// `pre-stop` hook has its say for as long as a guest has to shut down; its failure is a warning.
    pub(super) async fn ensure_hook(
        self: &Arc<Self>,
        project: &ProjectName,
        step: &StepId,
        identity: &Identity,
        (event, command): (HookEvent, &[String]),
    ) -> Result<Outcome, StepFailure> {
        let Some(row) = self.row(identity)? else {
            return Err(StepFailure::new(format!("{} is not there any more", identity.name)));
        };
        let hook = (event, command);
        match event {
            HookEvent::PostStart if row.hook_done => return Ok(Outcome::NotNeeded),
            HookEvent::PostStart => {
                self.run_hook(project, identity, hook, POST_START_TIME).await?;
                self.catalog.set_hook_done(&identity.id, true)?;
            }
            HookEvent::PreStop => {
                let folder = self.home.sandbox_run(&full_name(project, &identity.name));
                // What is killed has no last words either.
                if self.settings.kill || !folder.agent_socket().exists() {
                    return Ok(Outcome::NotNeeded);
                }
                // Whoever wants it gone wants that more than what its hook could not do.
                let time = self.settings.stop_timeout;
                if let Err(failure) = self.run_hook(project, identity, hook, time).await {
                    self.reporter.event(&Event::Warned { step, failure: &failure });
                }
            }
        }
        Ok(Outcome::Updated)
    }

    /// Runs a hook's command to its end, as the sandbox's own user; its output goes to `exec.log`.
    async fn run_hook(
        &self,
        project: &ProjectName,
        identity: &Identity,
        (event, command): (HookEvent, &[String]),
        time: Duration,
    ) -> Result<(), StepFailure> {
        let name = &identity.name;
        let folder = self.home.sandbox_run(&full_name(project, name));
        let mut output = LastWords::default();
        let ended = tokio::time::timeout(time, async {
            let socket = folder.agent_socket();
            let mut agent = AgentClient::connect_with_timeout(&socket, CONNECT_TIMEOUT.min(time)).await?;
            agent.exec(ExecRequest::command(command), |piece| output.add(piece)).await
        });
        let what = match ended.await {
            Ok(Ok(Ended::Exited(0))) => return Ok(()),
            Ok(Ok(Ended::Exited(code))) => format!("exited with code {code}"),
            Ok(Ok(Ended::Failed(failed))) => format!("could not run: {}", GuestText::message(failed.message)),
            Ok(Ok(Ended::Refused(report))) => {
                format!("could not run: {}", GuestText::message(report.message))
            }
            Ok(Err(error)) => format!("could not be run to its end: {error}"),
            // The connection is closed by now, and with it the command's session is ended.
            Ok(Ok(Ended::TimedOut)) | Err(_) => {
                let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                format!("did not end within {}", rules::unit::format_duration_ms(time))
            }
        };
        let failure = StepFailure::new(format!("the {event} hook of {name} {what}"));
        Err(output.explain(failure).hint(format!("msb logs {name}")))
    }
}

/// The end of what a command printed.
#[derive(Default)]
struct LastWords {
    bytes: Vec<u8>,
}

impl LastWords {
    fn add(&mut self, piece: Output) {
        let (Output::Stdout(data) | Output::Stderr(data)) = piece;
        // Of a large piece only its end is looked at.
        self.bytes.extend_from_slice(&data[data.len().saturating_sub(OUTPUT_BYTES_MAX)..]);
        let excess = self.bytes.len().saturating_sub(OUTPUT_BYTES_MAX);
        self.bytes.drain(..excess);
    }

    fn explain(&self, failure: StepFailure) -> StepFailure {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(OUTPUT_LINES)..];
        if last.is_empty() {
            return failure;
        }
        last.iter()
            .fold(failure.detail("it last printed:"), |failure, line| failure.detail(format!("  {line}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_last_lines_of_a_flood() {
        let mut output = LastWords::default();
        for number in 0..10_000 {
            output.add(Output::Stdout(format!("line {number}\n").into_bytes()));
        }
        output.add(Output::Stderr(vec![b'x'; 3 * OUTPUT_BYTES_MAX]));
        assert_eq!(output.bytes.len(), OUTPUT_BYTES_MAX);
        output.add(Output::Stdout(b"\nnext to last\nlast\n".to_vec()));
        let failure = output.explain(StepFailure::new("it failed"));
        assert_eq!(failure.details.len(), 4);
        assert_eq!(failure.details[2..], ["  next to last", "  last"]);
    }
}
