//! A command from its start to its end, for whoever wants no more than that.

use super::{AgentClient, AgentError};
use crate::deadline::{SIGNAL_PATIENCE, START_PATIENCE, until, within};
use protocol::latest::{ErrorReport, ExecFailed, ExecRequest, ExecSignal, ExecStdin, Message};
use std::time::Duration;
use tokio::time::Instant;

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
        let asked = within(START_PATIENCE, async {
            self.sender.send(id, &request.into()).await?;
            // Nobody will type anything.
            self.sender.send(id, &ExecStdin { data: Vec::new() }.into()).await
        });
        asked.await??;
        let mut start_deadline = Instant::now().checked_add(START_PATIENCE);
        // Set once the time is over: until then a guest may tell of the end of what was killed.
        let mut killed_deadline = None;
        loop {
            let next = tokio::select! {
                // What has come already goes before any deadline.
                biased;
                next = self.receiver.next() => next?,
                () = until(killed_deadline), if killed_deadline.is_some() => return Ok(Ended::TimedOut),
                () = until(deadline), if deadline.is_some() => {
                    (deadline, start_deadline) = (None, None);
                    killed_deadline = Instant::now().checked_add(SIGNAL_PATIENCE);
                    let kill = ExecSignal { signal: SIGKILL }.into();
                    if let Ok(sent) = within(SIGNAL_PATIENCE, self.sender.send(id, &kill)).await {
                        sent?;
                    }
                    continue;
                }
                () = until(start_deadline), if start_deadline.is_some() => {
                    return Err(AgentError::Silent { patience: START_PATIENCE });
                }
            };
            let timed_out = killed_deadline.is_some();
            match next {
                None => return Err(AgentError::ReaderClosed),
                Some((other, _)) if other != id => {}
                Some((_, message)) => match message {
                    Message::ExecStarted(_) => start_deadline = None,
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
