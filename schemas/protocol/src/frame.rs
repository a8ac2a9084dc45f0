//! Frames: `len u32 BE | id u32 BE | flags u8 | body`, where `len` counts id, flags and body.
//!
//! A [`Frame`] keeps its encoded bytes, so that a relay reads id and flags and forwards [`Frame::as_bytes`] without
//! encoding the frame again.

use std::fmt;
use std::ops::BitOr;

use thiserror::Error;

/// The largest `len`, in bytes: 4 MiB.
pub const MAX_FRAME_LEN: u32 = 4 * 1024 * 1024;
/// The smallest `len`, in bytes: id and flags with an empty body.
pub const MIN_FRAME_LEN: u32 = 5;
/// The size of the header, in bytes: `len`, `id` and `flags`.
pub const HEADER_BYTES: usize = 9;
/// The largest body of a frame, in bytes.
pub const MAX_BODY_BYTES: usize = (MAX_FRAME_LEN - MIN_FRAME_LEN) as usize;
/// The id of messages about the link rather than a session: boot, ready, shutdown, disconnects.
pub const LINK_ID: u32 = 0;

/// The largest buffer that an empty decoder keeps, in bytes.
const RETAINED_BUFFER_BYTES: usize = 1024 * 1024;

/// The flags of a frame. Unknown bits are kept and have no meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No flags.
    pub const NONE: Self = Self(0);
    /// The last frame of its session, whose id is free afterwards.
    pub const TERMINAL: Self = Self(1);
    /// The first frame of a session.
    pub const SESSION_START: Self = Self(2);
    /// A request to end the whole sandbox. A relay may act on it without decoding the body.
    pub const SHUTDOWN: Self = Self(4);

    /// Returns whether all flags of the other value are set.
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

/// The reason why bytes are not frames. The next frame cannot be found, so the link must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The frame has no room for id and flags.
    #[error("a frame of {len} bytes is shorter than the {MIN_FRAME_LEN} bytes of its own header")]
    TooShort {
        /// The length in the header, in bytes.
        len: u32,
    },
    /// The frame exceeds [`MAX_FRAME_LEN`].
    #[error("a frame of {len} bytes is larger than the {MAX_FRAME_LEN} bytes allowed")]
    TooLong {
        /// The length in the header or of the frame to build, in bytes.
        len: u64,
    },
}

/// One frame, as encoded bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// At least `HEADER_BYTES`, and the first four bytes are the length of the others.
    wire: Vec<u8>,
}

impl Frame {
    /// Encodes a frame.
    ///
    /// # Errors
    ///
    /// If the body is larger than [`MAX_BODY_BYTES`].
    pub fn new(id: u32, flags: Flags, body: &[u8]) -> Result<Self, FrameError> {
        Self::build(id, flags, body.len(), |wire| wire.extend_from_slice(body))
    }

    /// Encodes a frame whose body `write_body` appends to the header, without a copy of the body.
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

    /// Returns the id of the session, or [`LINK_ID`].
    pub fn id(&self) -> u32 {
        u32::from_be_bytes([self.wire[4], self.wire[5], self.wire[6], self.wire[7]])
    }

    /// Returns the flags.
    pub fn flags(&self) -> Flags {
        Flags(self.wire[8])
    }

    /// Returns the body: the CBOR of the envelope.
    pub fn body(&self) -> &[u8] {
        &self.wire[HEADER_BYTES..]
    }

    /// Returns the encoded frame with its length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    /// Returns the encoded frame with its length.
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

/// Splits a stream into frames, in whatever chunks its bytes arrive.
///
/// It buffers the bytes that were fed and allocates nothing for announced lengths. If all frames are taken with
/// [`next_frame`](Self::next_frame) before more bytes are fed, it buffers at most one incomplete frame (4 MiB) and one
/// chunk.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl FrameDecoder {
    /// Creates a decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete frame; `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// If a length is out of bounds. Every further call returns the same error.
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

    /// Returns the number of buffered bytes. If it is not 0 at the end of a stream, the last frame is incomplete.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.taken
    }
}
