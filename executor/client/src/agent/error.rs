//! Errors of agent clients.

use crate::deadline::Unresponsive;
use protocol::frame::FrameError;
use protocol::latest::{FileFailure, MessageError};
use std::io;
use std::path::PathBuf;

/// An error of an agent client.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no relay: the sandbox does not run.
    #[error("the sandbox does not run (no relay at {})", path.display())]
    SandboxNotFound {
        /// The expected socket.
        path: PathBuf,
    },
    /// The relay cannot be reached.
    #[error("cannot connect to the relay {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The relay's handshake is not the protocol's.
    #[error("the relay's handshake failed: {why}")]
    Handshake {
        /// The cause.
        why: String,
    },
    /// The relay closed the connection: the sandbox ended, or this client broke the protocol or read too slowly.
    #[error("the sandbox ended, or its relay closed the connection")]
    ReaderClosed,
    /// The client is closed, or the relay reads no more.
    #[error("the connection to the sandbox is closed")]
    Closed,
    /// Bytes that are not frames.
    #[error("the relay sent an invalid packet")]
    InvalidPacket {
        /// The cause.
        #[from]
        source: FrameError,
    },
    /// A frame that is not a message.
    #[error("the guest sent an invalid message")]
    InvalidMessage {
        /// The cause.
        #[from]
        source: MessageError,
    },
    /// All ids of this client have been used.
    #[error("this client has used up its range of ids")]
    IdRangeExhausted,
    /// The guest's agent is too old for the operation.
    #[error("the sandbox's agent{} cannot {operation}: it is older than this msb", version_text(agent_version.as_deref()))]
    UnsupportedOperation {
        /// The operation.
        operation: &'static str,
        /// The agent's version, if it reports one.
        agent_version: Option<String>,
    },
    /// The guest refused. The message is the guest's own text.
    #[error("{}", failure.message)]
    Refused {
        /// The cause.
        failure: FileFailure,
    },
    /// The contents could not be read or written on the host.
    #[error("cannot read or keep the contents")]
    Contents {
        /// The cause.
        source: io::Error,
    },
    /// The guest broke the protocol.
    #[error("the guest answered {what}")]
    Unexpected {
        /// The answer.
        what: String,
    },
    /// The guest did not answer in time.
    #[error(transparent)]
    Unresponsive(#[from] Unresponsive),
}

/// Formats a version as ` 1.2.3`, or as nothing.
fn version_text(version: Option<&str>) -> String {
    version.map_or_else(String::new, |version| format!(" {version}"))
}
