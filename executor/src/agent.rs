//! A client of a sandbox's relay: the handshake, and sessions over it.

mod files;
#[cfg(test)]
pub(crate) use files::fake_guest;

use crate::home::RunFolder;
use schemas::protocol::frame::{Frame, FrameDecoder, FrameError, LINK_ID};
use schemas::protocol::latest::{FileFailure, Message, MessageError, Ready};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// How long connecting and the handshake may take, unless told otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much is read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no relay: the sandbox does not run.
    #[error("the sandbox does not run (no relay at {})", path.display())]
    SandboxNotFound {
        /// Where it would be.
        path: PathBuf,
    },
    /// The relay cannot be reached.
    #[error("cannot connect to the relay {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The relay's first words are not the protocol's.
    #[error("the relay's handshake failed: {why}")]
    Handshake {
        /// What was wrong.
        why: String,
    },
    /// The relay has closed: the sandbox ended.
    #[error("the sandbox ended, or its relay closed the connection")]
    Closed,
    /// Bytes that are not frames.
    #[error("the relay sent an invalid packet")]
    InvalidPacket {
        /// Why.
        #[from]
        source: FrameError,
    },
    /// A frame that is not a message.
    #[error("the guest sent an invalid message")]
    InvalidMessage {
        /// Why.
        #[from]
        source: MessageError,
    },
    /// All ids of this client have been used.
    #[error("this client has used up its range of ids")]
    IdRangeExhausted,
    /// The guest booted with an agent that does not know this yet.
    #[error("the sandbox's agent{} cannot {operation}: it is older than this msb", version_text(agent_version.as_deref()))]
    UnsupportedOperation {
        /// What was asked for.
        operation: &'static str,
        /// What the agent says of itself.
        agent_version: Option<String>,
    },
    /// The guest did not do it. Its words are the guest's, and to be shown as such.
    #[error("{}", failure.message)]
    Refused {
        /// Why.
        failure: FileFailure,
    },
    /// What was to be sent could not be read, or what came not be kept: nothing went wrong in the guest.
    #[error("cannot read or keep the contents")]
    Contents {
        /// Why.
        source: io::Error,
    },
    /// An answer that no agent of ours gives.
    #[error("the guest answered {what}")]
    Unexpected {
        /// Which.
        what: String,
    },
    /// The guest says nothing.
    #[error("the guest did not answer within {} s", patience.as_secs())]
    Silent {
        /// So long.
        patience: Duration,
    },
}

fn version_text(version: Option<&str>) -> String {
    version.map_or_else(String::new, |version| format!(" {version}"))
}

/// A connection to one sandbox's agent.
#[derive(Debug)]
pub struct AgentClient {
    sender: AgentSender,
    receiver: AgentReceiver,
    ready: Ready,
}

/// The half that sends.
#[derive(Debug)]
pub struct AgentSender {
    writer: OwnedWriteHalf,
    ids: Range<u32>,
}

/// The half that receives.
#[derive(Debug)]
pub struct AgentReceiver {
    reader: OwnedReadHalf,
    decoder: FrameDecoder,
}

impl AgentClient {
    /// Connects to a running sandbox; one that is booting is waited for, at most `timeout`.
    pub async fn connect(folder: &RunFolder, timeout: Duration) -> Result<Self, AgentError> {
        let path = folder.agent_socket();
        match tokio::time::timeout(timeout, Self::handshake(&path)).await {
            Ok(client) => client,
            Err(_) => Err(AgentError::Connect { path, source: io::ErrorKind::TimedOut.into() }),
        }
    }

    async fn handshake(path: &Path) -> Result<Self, AgentError> {
        let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                AgentError::SandboxNotFound { path: path.to_owned() }
            }
            _ => AgentError::Connect { path: path.to_owned(), source },
        })?;
        let (mut reader, writer) = stream.into_split();
        let mut hello = [0; 8];
        reader.read_exact(&mut hello).await.map_err(|_| AgentError::Closed)?;
        let [a, b, c, d, e, f, g, h] = hello;
        let ids = u32::from_be_bytes([a, b, c, d])..u32::from_be_bytes([e, f, g, h]);
        let mut receiver = AgentReceiver { reader, decoder: FrameDecoder::new() };
        let (id, first) = receiver.next().await?.ok_or(AgentError::Closed)?;
        match first {
            Message::Ready(ready) if id == LINK_ID && !ids.is_empty() => {
                Ok(Self { sender: AgentSender { writer, ids }, receiver, ready })
            }
            Message::Error(report) => Err(AgentError::Handshake { why: report.message }),
            other => Err(AgentError::Handshake { why: format!("it began with {}", other.message_type()) }),
        }
    }

    /// Over a connection whose handshake is done.
    #[cfg(test)]
    pub(crate) fn over(stream: UnixStream, ready: Ready) -> Self {
        let (reader, writer) = stream.into_split();
        let receiver = AgentReceiver { reader, decoder: FrameDecoder::new() };
        Self { sender: AgentSender { writer, ids: 1..u32::MAX }, receiver, ready }
    }

    /// What the guest said when it was ready.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Both halves, to be used by two tasks.
    pub fn into_split(self) -> (AgentSender, AgentReceiver) {
        (self.sender, self.receiver)
    }
}

impl AgentSender {
    /// An id that this client has not used yet.
    pub fn next_id(&mut self) -> Result<u32, AgentError> {
        self.ids.next().ok_or(AgentError::IdRangeExhausted)
    }

    /// Sends a message of a session.
    pub async fn send(&mut self, id: u32, message: &Message) -> Result<(), AgentError> {
        let frame: Frame = message.encode(id)?;
        self.writer.write_all(frame.as_bytes()).await.map_err(|_| AgentError::Closed)
    }
}

impl AgentReceiver {
    /// The next message and its session; `None` when the relay has closed.
    pub async fn next(&mut self) -> Result<Option<(u32, Message)>, AgentError> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some((frame.id(), Message::decode(&frame)?)));
            }
            match self.reader.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(count) => self.decoder.feed(&buffer[..count]),
            }
        }
    }
}
