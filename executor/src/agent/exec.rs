//! A command from its start to its end, for whoever wants no more than that.

use super::{AgentClient, AgentError};
use schemas::protocol::latest::{ErrorReport, ExecFailed, ExecRequest, ExecSignal, ExecStdin, Message};
use std::time::{Duration, Instant};

/// A piece of what a command printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// On standard output; with a terminal, everything.
    Stdout(Vec<u8>),
    /// On standard error.
    Stderr(Vec<u8>),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ran; 128 + n for signal n.
    Exited(i32),
    /// It could not be started.
    Failed(ExecFailed),
    /// The agent did not take it.
    Refused(ErrorReport),
    /// It was killed, because its time was over.
    TimedOut,
}

/// `SIGKILL`.
const SIGKILL: i32 = 9;

impl AgentClient {
    /// Runs a command to its end, without input; hands over what it prints as it comes.
    ///
    /// A client that is dropped meanwhile takes the command with it.
    pub async fn exec(
        &mut self,
        request: ExecRequest,
        output: impl FnMut(Output),
    ) -> Result<Ended, AgentError> {
        self.exec_until(request, None, output).await
    }

    /// The same; when this time is over, the command is killed. What it has printed until then is handed over.
    pub async fn exec_with_timeout(
        &mut self,
        request: ExecRequest,
        timeout: Duration,
        output: impl FnMut(Output),
    ) -> Result<Ended, AgentError> {
        // A time beyond all clocks is none.
        self.exec_until(request, Instant::now().checked_add(timeout), output).await
    }

    async fn exec_until(
        &mut self,
        request: ExecRequest,
        mut deadline: Option<Instant>,
        mut output: impl FnMut(Output),
    ) -> Result<Ended, AgentError> {
        let request = ExecRequest { stdin_acks: false, output_acks: false, ..request };
        let id = self.sender.next_id()?;
        self.sender.send(id, &request.into()).await?;
        // Nobody will type anything.
        self.sender.send(id, &ExecStdin { data: Vec::new() }.into()).await?;
        let mut timed_out = false;
        loop {
            let next = tokio::select! {
                next = self.receiver.next() => next?,
                () = until(deadline), if deadline.is_some() => {
                    (deadline, timed_out) = (None, true);
                    self.sender.send(id, &ExecSignal { signal: SIGKILL }.into()).await?;
                    continue;
                }
            };
            match next {
                None => return Err(AgentError::ReaderClosed),
                Some((other, _)) if other != id => {}
                Some((_, message)) => match message {
                    Message::ExecStdout(piece) => output(Output::Stdout(piece.data)),
                    Message::ExecStderr(piece) => output(Output::Stderr(piece.data)),
                    Message::ExecExited(_) if timed_out => return Ok(Ended::TimedOut),
                    Message::ExecExited(exited) => return Ok(Ended::Exited(exited.code)),
                    Message::ExecFailed(failed) => return Ok(Ended::Failed(failed)),
                    Message::Error(report) => return Ok(Ended::Refused(report)),
                    _ => {}
                },
            }
        }
    }
}

/// At that moment, or never.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
