//! The handshake with a relay: a range of ids, and the guest's `core.ready`.

use super::AgentError;
use crate::frame_reader::FrameReader;
use crate::guest_text::GuestText;
use protocol::frame::{Frame, LINK_ID};
use protocol::latest::{Message, Ready};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A connection whose handshake is done.
#[derive(Debug)]
pub(super) struct Hello {
    /// The frames after the handshake.
    pub frames: FrameReader<OwnedReadHalf>,
    /// The other direction.
    pub writer: OwnedWriteHalf,
    /// The ids of this client.
    pub ids: Range<u32>,
    /// The frame of `core.ready`.
    pub frame: Frame,
    /// The decoded `core.ready`.
    pub ready: Ready,
}

/// Connects and validates `id_start u32 BE | id_end_exclusive u32 BE | the cached core.ready frame`.
///
/// Waits for a booting sandbox, within the same timeout.
pub(super) async fn shake_hands(path: &Path, timeout: Duration) -> Result<Hello, AgentError> {
    match tokio::time::timeout(timeout, connect(path)).await {
        Ok(hello) => hello,
        Err(_) => Err(AgentError::Connect { path: path.to_owned(), source: io::ErrorKind::TimedOut.into() }),
    }
}

async fn connect(path: &Path) -> Result<Hello, AgentError> {
    let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AgentError::SandboxNotFound { path: path.to_owned() }
        }
        _ => AgentError::Connect { path: path.to_owned(), source },
    })?;
    let (mut reader, writer) = stream.into_split();
    let short = || AgentError::Handshake { why: "the relay closed before it was over".to_owned() };
    let start = reader.read_u32().await.map_err(|_| short())?;
    let ids = start..reader.read_u32().await.map_err(|_| short())?;
    let mut frames = FrameReader::new(reader);
    let frame = frames.next().await?.ok_or_else(short)?;
    match Message::decode(&frame)? {
        Message::Ready(_) if ids.is_empty() || ids.contains(&LINK_ID) => {
            Err(AgentError::Handshake { why: format!("the range of ids {ids:?} is none") })
        }
        Message::Ready(ready) if frame.id() == LINK_ID => Ok(Hello { frames, writer, ids, frame, ready }),
        Message::Error(report) => {
            Err(AgentError::Handshake { why: GuestText::message(report.message).into() })
        }
        other => Err(AgentError::Handshake {
            why: format!("it began with {}", GuestText::message(other.message_type())),
        }),
    }
}
