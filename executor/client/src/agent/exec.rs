//! Runs one command from its start to its exit.

use super::{AgentClient, AgentError};
use crate::deadline::{SIGNAL_TIMEOUT, START_TIMEOUT, Unresponsive, until, within};
use protocol::latest::{ErrorReport, ExecFailed, ExecRequest, ExecSignal, ExecStdin, Message};
use std::time::Duration;
use tokio::time::Instant;

/// A piece of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output; all output of a command with a terminal.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
}

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its exit code; 128 + n for signal n.
    Exited(i32),
    /// It could not be started.
    Failed(ExecFailed),
    /// The agent refused it.
    Refused(ErrorReport),
    /// It was killed at its timeout.
    TimedOut,
}

/// `SIGKILL`.
const SIGKILL: i32 = 9;

impl AgentClient {
    /// Runs a command without input, and passes its output on as it arrives. Dropping the client ends the command.
    ///
    /// # Errors
    ///
    /// If the connection fails, or the guest does not answer in time.
    pub async fn exec(
        &mut self,
        request: ExecRequest,
        output: impl FnMut(Output),
    ) -> Result<Ended, AgentError> {
        self.exec_until(request, None, output).await
    }

    /// Runs a command as [`AgentClient::exec`] does, and kills it at a timeout. Its output until then is passed on.
    ///
    /// # Errors
    ///
    /// As [`AgentClient::exec`]; also if the guest does not kill it in time.
    pub async fn exec_with_timeout(
        &mut self,
        request: ExecRequest,
        timeout: Duration,
        output: impl FnMut(Output),
    ) -> Result<Ended, AgentError> {
        // A timeout beyond the clock's range is none.
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
        let asked = within(START_TIMEOUT, async {
            self.sender.send(id, &request.into()).await?;
            // The command has no input.
            self.sender.send(id, &ExecStdin { data: Vec::new() }.into()).await
        });
        asked.await??;
        let mut start_deadline = Instant::now().checked_add(START_TIMEOUT);
        // Set at the timeout: the guest reports the end of the killed command until then.
        let mut killed_deadline = None;
        loop {
            let next = tokio::select! {
                // Messages that have arrived go before any deadline.
                biased;
                next = self.receiver.next() => next?,
                () = until(killed_deadline), if killed_deadline.is_some() => return Ok(Ended::TimedOut),
                () = until(deadline), if deadline.is_some() => {
                    (deadline, start_deadline) = (None, None);
                    killed_deadline = Instant::now().checked_add(SIGNAL_TIMEOUT);
                    let kill = ExecSignal { signal: SIGKILL }.into();
                    if let Ok(sent) = within(SIGNAL_TIMEOUT, self.sender.send(id, &kill)).await {
                        sent?;
                    }
                    continue;
                }
                () = until(start_deadline), if start_deadline.is_some() => {
                    return Err(Unresponsive { timeout: START_TIMEOUT }.into());
                }
            };
            let timed_out = killed_deadline.is_some();
            match next {
                None => return Err(AgentError::ReaderClosed),
                Some((other, _)) if other != id => {}
                Some((_, Message::ExecStarted(_))) => start_deadline = None,
                Some((_, Message::ExecStdout(piece))) => output(Output::Stdout(piece.data)),
                Some((_, Message::ExecStderr(piece))) => output(Output::Stderr(piece.data)),
                Some((_, Message::ExecExited(_))) if timed_out => return Ok(Ended::TimedOut),
                Some((_, Message::ExecExited(exited))) => return Ok(Ended::Exited(exited.code)),
                Some((_, Message::ExecFailed(failed))) => return Ok(Ended::Failed(failed)),
                Some((_, Message::Error(report))) => return Ok(Ended::Refused(report)),
                Some(_) => {}
            }
        }
    }
}
