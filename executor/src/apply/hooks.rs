//! Hooks: commands that run inside a sandbox at moments of its life, through its agent as `exec` does.

use super::{Applier, Outcome, StepFailure};
use crate::agent::{AgentClient, AgentError, CONNECT_TIMEOUT};
use crate::reporter::Event;
use schemas::name::{ProjectName, full_name};
use schemas::plan::{Identity, StepId};
use schemas::protocol::latest::{ExecRequest, ExecStdin, Message};
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
                if !folder.agent_socket().exists() {
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
        let mut output = Output::default();
        let ended = tokio::time::timeout(time, async {
            let agent = AgentClient::connect(&folder, CONNECT_TIMEOUT.min(time)).await?;
            run(agent, command, &mut output).await
        });
        let what = match ended.await {
            Ok(Ok(End::Exited(0))) => return Ok(()),
            Ok(Ok(End::Exited(code))) => format!("exited with code {code}"),
            Ok(Ok(End::Refused(why))) => format!("could not run: {why}"),
            Ok(Err(error)) => format!("could not be run to its end: {error}"),
            // The connection is closed by now, and with it the command's session is ended.
            Err(_) => {
                let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                format!("did not end within {}", schemas::unit::format_duration_ms(time))
            }
        };
        let failure = StepFailure::new(format!("the {event} hook of {name} {what}"));
        Err(output.explain(failure).hint(format!("msb logs {name}")))
    }
}

/// How a command ended.
enum End {
    Exited(i32),
    Refused(String),
}

async fn run(agent: AgentClient, command: &[String], output: &mut Output) -> Result<End, AgentError> {
    let (mut sender, mut receiver) = agent.into_split();
    let id = sender.next_id()?;
    sender.send(id, &ExecRequest::command(command).into()).await?;
    // Nobody will type anything.
    sender.send(id, &ExecStdin { data: Vec::new() }.into()).await?;
    loop {
        match receiver.next().await? {
            None => return Err(AgentError::Closed),
            Some((other, _)) if other != id => {}
            Some((_, message)) => match message {
                Message::ExecStdout(out) => output.add(&out.data),
                Message::ExecStderr(out) => output.add(&out.data),
                Message::ExecExited(exited) => return Ok(End::Exited(exited.code)),
                Message::ExecFailed(failed) => return Ok(End::Refused(failed.message)),
                Message::Error(report) => return Ok(End::Refused(report.message)),
                _ => {}
            },
        }
    }
}

/// The end of what a command printed.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
}

impl Output {
    fn add(&mut self, data: &[u8]) {
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
        let mut output = Output::default();
        for number in 0..10_000 {
            output.add(format!("line {number}\n").as_bytes());
        }
        output.add(&vec![b'x'; 3 * OUTPUT_BYTES_MAX]);
        assert_eq!(output.bytes.len(), OUTPUT_BYTES_MAX);
        output.add(b"\nnext to last\nlast\n");
        let failure = output.explain(StepFailure::new("it failed"));
        assert_eq!(failure.details.len(), 4);
        assert_eq!(failure.details[2..], ["  next to last", "  last"]);
    }
}
