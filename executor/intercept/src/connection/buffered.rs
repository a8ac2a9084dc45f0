//! A stream with a buffer of what was read from it.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// The bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// A stream that is read in large parts: rustls reads 4 KiB at a time, a quarter of a record. An idle stream has no
/// buffer.
#[derive(Debug)]
pub(super) struct Buffered<S> {
    buffer: Vec<u8>,
    position: usize,
    stream: S,
}

impl<S> Buffered<S> {
    /// A stream after bytes that were read already.
    pub(super) fn new(prefix: Vec<u8>, stream: S) -> Self {
        Self { buffer: prefix, position: 0, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.position == this.buffer.len() {
            if buffer.remaining() >= READ_BYTES {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            }
            this.buffer.clear();
            this.position = 0;
            this.buffer.reserve(READ_BYTES);
            // The future has no state of its own: nothing is lost with it.
            match pin!(this.stream.read_buf(&mut this.buffer)).poll(context) {
                Poll::Ready(Ok(_)) => {}
                other => {
                    this.buffer = Vec::new();
                    ready!(other)?;
                }
            }
        }
        let rest = &this.buffer[this.position..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        this.position += length;
        Poll::Ready(Ok(()))
    }
}

super::forward_writes!(Buffered);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn all_bytes_are_read_in_order_however_they_come() {
        let (mut near, far) = tokio::io::duplex(1000);
        let mut stream = Buffered::new(b"before ".to_vec(), far);
        let sent: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = [b"before ".as_slice(), &sent].concat();
        let writing = tokio::spawn(async move {
            for part in sent.chunks(777) {
                near.write_all(part).await.unwrap();
            }
        });
        let (mut read, mut part) = (Vec::new(), vec![0; 2 * READ_BYTES]);
        for length in [1, 3, 4096, READ_BYTES, 2 * READ_BYTES].into_iter().cycle() {
            let length = stream.read(&mut part[..length]).await.unwrap();
            if length == 0 {
                break;
            }
            read.extend_from_slice(&part[..length]);
        }
        writing.await.unwrap();
        assert!(read == expected);
    }

    #[tokio::test]
    async fn a_stream_is_read_in_large_parts_and_an_idle_one_has_no_buffer() {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let mut stream = Buffered::new(Vec::new(), far);
        near.write_all(&vec![7; READ_BYTES]).await.unwrap();
        let mut part = [0; 4096];
        assert_eq!(stream.read(&mut part).await.unwrap(), part.len());
        assert_eq!(stream.buffer.len(), READ_BYTES);
        for _ in 1..READ_BYTES / part.len() {
            stream.read_exact(&mut part).await.unwrap();
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(pin!(stream.read(&mut part)).poll(&mut context).is_pending());
        assert_eq!(stream.buffer.capacity(), 0);
    }
}
