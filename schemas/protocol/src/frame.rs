//! Frames: `len u32 BE | id u32 BE | flags u8 | body`, where `len` counts id, flags and body.
//!
//! A [`Frame`] keeps the bytes as they travel, so that a relay reads id and flags and forwards
//! [`Frame::as_bytes`] without encoding anything anew.

use std::fmt;
use std::ops::BitOr;

use thiserror::Error;

/// The most that `len` may say: 4 MiB.
pub const MAX_FRAME_LEN: u32 = 4 * 1024 * 1024;
/// The least that `len` may say: id and flags, and an empty body.
pub const MIN_FRAME_LEN: u32 = 5;
/// Bytes before the body on the wire: len, id, flags.
pub const HEADER_BYTES: usize = 9;
/// The longest body that fits into a frame.
pub const MAX_BODY_BYTES: usize = (MAX_FRAME_LEN - MIN_FRAME_LEN) as usize;
/// The id of what belongs to the link itself and to no session: boot, ready, shutdown, disconnects.
pub const LINK_ID: u32 = 0;

/// An empty decoder gives back a buffer that a large frame blew up beyond this.
const RETAINED_BUFFER_BYTES: usize = 1024 * 1024;

/// A frame's flags. Unknown bits are kept and mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    pub const NONE: Self = Self(0);
    /// The last frame of its session: the id means nothing afterwards.
    pub const TERMINAL: Self = Self(1);
    /// The first frame of a session.
    pub const SESSION_START: Self = Self(2);
    /// Asks for the end of the whole sandbox; a relay may act on it without decoding the body.
    pub const SHUTDOWN: Self = Self(4);

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Flags({:#05b})", self.0)
    }
}

/// Why bytes are not frames. The stream has lost its borders: the link must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("a frame of {len} bytes is shorter than the {MIN_FRAME_LEN} bytes of its own header")]
    TooShort { len: u32 },
    #[error("a frame of {len} bytes is larger than the {MAX_FRAME_LEN} bytes allowed")]
    TooLong { len: u64 },
}

/// One frame, in the bytes that travel.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Always `HEADER_BYTES` or more, and its first four bytes always tell its true length.
    wire: Vec<u8>,
}

impl Frame {
    pub fn new(id: u32, flags: Flags, body: &[u8]) -> Result<Self, FrameError> {
        Self::build(id, flags, body.len(), |wire| wire.extend_from_slice(body))
    }

    /// Lets `write_body` write straight behind the header, so that a body is not copied once more.
    pub(crate) fn build(
        id: u32,
        flags: Flags,
        body_hint: usize,
        write_body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Self, FrameError> {
        let mut wire = Vec::with_capacity(HEADER_BYTES + body_hint.min(MAX_BODY_BYTES));
        wire.extend_from_slice(&[0; 4]);
        wire.extend_from_slice(&id.to_be_bytes());
        wire.push(flags.0);
        write_body(&mut wire);
        let len = (wire.len() - 4) as u64;
        match u32::try_from(len) {
            Ok(len) if len <= MAX_FRAME_LEN => wire[..4].copy_from_slice(&len.to_be_bytes()),
            _ => return Err(FrameError::TooLong { len }),
        }
        Ok(Self { wire })
    }

    pub fn id(&self) -> u32 {
        u32::from_be_bytes([self.wire[4], self.wire[5], self.wire[6], self.wire[7]])
    }

    pub fn flags(&self) -> Flags {
        Flags(self.wire[8])
    }

    /// The CBOR envelope, undecoded.
    pub fn body(&self) -> &[u8] {
        &self.wire[HEADER_BYTES..]
    }

    /// The whole frame as it travels, length included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.wire
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body_bytes = self.body().len();
        write!(
            formatter,
            "Frame {{ id: {}, flags: {:?}, body: {body_bytes} bytes }}",
            self.id(),
            self.flags()
        )
    }
}

/// Cuts a stream into frames, however the bytes are chunked.
///
/// It holds what was fed and nothing more: a length is believed only as far as bytes have come for it.
/// Take every frame with [`next_frame`](Self::next_frame) before feeding again, and it never holds more than one
/// unfinished frame (4 MiB) plus one chunk.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl FrameDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` means that more bytes are needed. After an error the stream cannot
    /// be followed any more, and every further call returns the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let pending = &self.buffer[self.taken..];
        let Some(prefix) = pending.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix);
        if len < MIN_FRAME_LEN {
            return Err(FrameError::TooShort { len });
        }
        if len > MAX_FRAME_LEN {
            return Err(FrameError::TooLong { len: u64::from(len) });
        }
        let total = 4 + len as usize;
        let Some(wire) = pending.get(..total) else { return Ok(None) };
        let frame = Frame { wire: wire.to_vec() };
        self.taken += total;
        if self.taken == self.buffer.len() {
            self.taken = 0;
            self.buffer.clear();
            if self.buffer.capacity() > RETAINED_BUFFER_BYTES {
                self.buffer = Vec::new();
            }
        }
        Ok(Some(frame))
    }

    /// Bytes of an unfinished frame. Not 0 at the end of a stream means that it was cut off.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.taken
    }
}
