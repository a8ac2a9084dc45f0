//! A command from its start to its end, for whoever wants no more than that.

use super::{AgentClient, AgentError};
use schemas::protocol::latest::{ErrorReport, ExecFailed, ExecRequest, ExecStdin, Message};

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
}

impl AgentClient {
    /// Runs a command to its end, without input; hands over what it prints as it comes.
    ///
    /// A client that is dropped meanwhile takes the command with it.
    pub async fn exec(
        &mut self,
        request: ExecRequest,
        mut output: impl FnMut(Output),
    ) -> Result<Ended, AgentError> {
        let request = ExecRequest { stdin_acks: false, output_acks: false, ..request };
        let id = self.sender.next_id()?;
        self.sender.send(id, &request.into()).await?;
        // Nobody will type anything.
        self.sender.send(id, &ExecStdin { data: Vec::new() }.into()).await?;
        loop {
            match self.receiver.next().await? {
                None => return Err(AgentError::ReaderClosed),
                Some((other, _)) if other != id => {}
                Some((_, message)) => match message {
                    Message::ExecStdout(piece) => output(Output::Stdout(piece.data)),
                    Message::ExecStderr(piece) => output(Output::Stderr(piece.data)),
                    Message::ExecExited(exited) => return Ok(Ended::Exited(exited.code)),
                    Message::ExecFailed(failed) => return Ok(Ended::Failed(failed)),
                    Message::Error(report) => return Ok(Ended::Refused(report)),
                    _ => {}
                },
            }
        }
    }
}
