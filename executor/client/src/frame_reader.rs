//! Frames of a byte stream.

use protocol::frame::{Frame, FrameDecoder, FrameError};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of one read in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Reads the frames of a byte stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    decoder: FrameDecoder,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from a stream that is between two frames.
    pub fn new(stream: R) -> Self {
        Self { stream, decoder: FrameDecoder::new(), buffer: vec![0; READ_BYTES] }
    }

    /// Returns the next frame; `None` at the end of the stream, or after an error of it. A cancelled call loses nothing.
    ///
    /// # Errors
    ///
    /// If a frame is invalid.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut self.buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(count) => self.decoder.feed(&self.buffer[..count]),
            }
        }
    }
}
