//! The handshake with a relay: a range of ids, and the guest's `core.ready`.

use super::{AgentError, READ_BYTES};
use crate::guest_text::GuestText;
use protocol::frame::{Frame, FrameDecoder, LINK_ID};
use protocol::latest::{Message, Ready};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// A connection whose handshake is done.
#[derive(Debug)]
pub(super) struct Hello {
    /// The connection.
    pub stream: UnixStream,
    /// Bytes after the handshake.
    pub decoder: FrameDecoder,
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
    let mut stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AgentError::SandboxNotFound { path: path.to_owned() }
        }
        _ => AgentError::Connect { path: path.to_owned(), source },
    })?;
    let short = || AgentError::Handshake { why: "the relay closed before it was over".to_owned() };
    let start = stream.read_u32().await.map_err(|_| short())?;
    let ids = start..stream.read_u32().await.map_err(|_| short())?;
    let mut decoder = FrameDecoder::new();
    let mut buffer = vec![0; READ_BYTES];
    let frame = loop {
        if let Some(frame) = decoder.next_frame()? {
            break frame;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return Err(short()),
            Ok(count) => decoder.feed(&buffer[..count]),
        }
    };
    match Message::decode(&frame)? {
        Message::Ready(_) if ids.is_empty() || ids.contains(&LINK_ID) => {
            Err(AgentError::Handshake { why: format!("the range of ids {ids:?} is none") })
        }
        Message::Ready(ready) if frame.id() == LINK_ID => Ok(Hello { stream, decoder, ids, frame, ready }),
        Message::Error(report) => {
            Err(AgentError::Handshake { why: GuestText::message(report.message).into() })
        }
        other => Err(AgentError::Handshake {
            why: format!("it began with {}", GuestText::message(other.message_type())),
        }),
    }
}
