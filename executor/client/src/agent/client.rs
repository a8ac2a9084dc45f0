//! The typed client: it sends and receives messages.

use super::handshake::{Hello, shake_hands};
use super::{AgentError, CONNECT_TIMEOUT};
use crate::frame_reader::FrameReader;
use executor_host::home::Home;
use protocol::latest::{Message, Ready};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A connection to one sandbox's agent.
#[derive(Debug)]
pub struct AgentClient {
    pub(super) sender: AgentSender,
    pub(super) receiver: AgentReceiver,
    pub(super) ready: Ready,
    ready_bytes: Vec<u8>,
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct AgentSender {
    writer: OwnedWriteHalf,
    ids: Range<u32>,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct AgentReceiver {
    frames: FrameReader<OwnedReadHalf>,
}

impl AgentClient {
    /// Connects to the sandbox of this full name; waits while it boots.
    ///
    /// # Errors
    ///
    /// If the sandbox does not run, or the handshake fails or times out.
    pub async fn connect_sandbox(home: &Home, full_name: &str) -> Result<Self, AgentError> {
        Self::connect(&home.sandbox_run(full_name).agent_socket()).await
    }

    /// Connects to a relay's socket, within [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// If there is no relay, or the handshake fails or times out.
    pub async fn connect(path: &Path) -> Result<Self, AgentError> {
        Self::connect_with_timeout(path, CONNECT_TIMEOUT).await
    }

    /// Connects to a relay's socket, within a timeout.
    ///
    /// # Errors
    ///
    /// If there is no relay, or the handshake fails or times out.
    pub async fn connect_with_timeout(path: &Path, timeout: Duration) -> Result<Self, AgentError> {
        let Hello { frames, writer, ids, frame, ready } = shake_hands(path, timeout).await?;
        Ok(Self {
            sender: AgentSender { writer, ids },
            receiver: AgentReceiver { frames },
            ready,
            ready_bytes: frame.into_bytes(),
        })
    }

    /// Wraps a connection whose handshake is done.
    #[cfg(test)]
    pub(crate) fn over(stream: tokio::net::UnixStream, ready: Ready) -> Self {
        let (reader, writer) = stream.into_split();
        let receiver = AgentReceiver { frames: FrameReader::new(reader) };
        Self { sender: AgentSender { writer, ids: 1..u32::MAX }, receiver, ready, ready_bytes: Vec::new() }
    }

    /// Returns the guest's `core.ready`.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Returns the frame of the guest's `core.ready`.
    pub fn ready_bytes(&self) -> &[u8] {
        &self.ready_bytes
    }

    /// Refuses an operation that the guest's agent is too old for.
    pub(super) fn require(&self, feature: &str, operation: &'static str) -> Result<(), AgentError> {
        if self.ready.features.iter().any(|known| known == feature) {
            return Ok(());
        }
        let agent_version = self.ready.agent_version.clone();
        Err(AgentError::UnsupportedOperation { operation, agent_version })
    }

    /// Splits the client into halves for two tasks.
    pub fn into_split(self) -> (AgentSender, AgentReceiver) {
        (self.sender, self.receiver)
    }
}

impl AgentSender {
    /// Returns an unused session id.
    ///
    /// # Errors
    ///
    /// If all ids of this client have been used.
    pub fn next_id(&mut self) -> Result<u32, AgentError> {
        self.ids.next().ok_or(AgentError::IdRangeExhausted)
    }

    /// Sends a message of a session.
    ///
    /// # Errors
    ///
    /// If the connection is closed, or the message is too large.
    pub async fn send(&mut self, id: u32, message: &Message) -> Result<(), AgentError> {
        let frame = message.encode(id)?;
        self.writer.write_all(frame.as_bytes()).await.map_err(|_| AgentError::Closed)
    }
}

impl AgentReceiver {
    /// Receives the next message and its session; `None` after the relay has closed.
    ///
    /// # Errors
    ///
    /// If the relay or the guest breaks the protocol.
    pub async fn next(&mut self) -> Result<Option<(u32, Message)>, AgentError> {
        let Some(frame) = self.frames.next().await? else { return Ok(None) };
        Ok(Some((frame.id(), Message::decode(&frame)?)))
    }
}
