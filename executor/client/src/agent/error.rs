//! What can go wrong between a client and an agent.

use crate::deadline::Unresponsive;
use protocol::frame::FrameError;
use protocol::latest::{FileFailure, MessageError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The relay has closed its end: the sandbox ended, or this client broke the rules or read too slowly.
    #[error("the sandbox ended, or its relay closed the connection")]
    ReaderClosed,
    /// This client has been closed, or the relay takes nothing any more.
    #[error("the connection to the sandbox is closed")]
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

impl From<Unresponsive> for AgentError {
    fn from(Unresponsive { patience }: Unresponsive) -> Self {
        Self::Silent { patience }
    }
}

/// ` 1.2.3`, or nothing.
fn version_text(version: Option<&str>) -> String {
    version.map_or_else(String::new, |version| format!(" {version}"))
}
