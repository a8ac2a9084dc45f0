//! A stream whose reads gather what is there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// The bytes after which a read is enough: about what is written at once, and what stays in a processor's cache.
const GATHERED_BYTES: usize = 64 * 1024;

/// A stream that fills the buffers of reads as far as it can without waiting. A stream of TLS ends a read after each
/// record, so that each record of a body would be written on its own.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    stream: S,
    /// The error of a read that had bytes: for the next one.
    error: Option<io::Error>,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, error: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(error) = this.error.take() {
            return Poll::Ready(Err(error));
        }
        let begin = buffer.filled().len();
        loop {
            let before = buffer.filled().len();
            match Pin::new(&mut this.stream).poll_read(context, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() > before && has_room(buffer, begin) => {}
                Poll::Ready(Err(error)) if before > begin => {
                    this.error = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if before > begin => return Poll::Ready(Ok(())),
                other => return other,
            }
        }
    }
}

fn has_room(buffer: &ReadBuf<'_>, begin: usize) -> bool {
    buffer.remaining() > 0 && buffer.filled().len() - begin < GATHERED_BYTES
}

super::forward_writes!(Gathered);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use tokio::io::AsyncReadExt as _;

    /// A stream of one part for each read, which then ends.
    struct Parts(VecDeque<io::Result<&'static [u8]>>);

    impl Parts {
        fn new<const N: usize>(parts: [io::Result<&'static [u8]>; N]) -> Gathered<Self> {
            Gathered::new(Self(parts.into()))
        }
    }

    impl AsyncRead for Parts {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let mut part = self.0.pop_front().unwrap_or(Ok(&[]))?;
            if part.len() > buffer.remaining() {
                let (now, later) = part.split_at(buffer.remaining());
                self.0.push_front(Ok(later));
                part = now;
            }
            buffer.put_slice(part);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_read_gathers_what_is_there() {
        let mut stream = Parts::new([Ok(b"one "), Ok(b"two")]);
        let mut buffer = [0; 6];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 6);
        assert_eq!(&buffer, b"one tw");
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_error_comes_after_the_bytes_before_it() {
        let error = io::Error::from(io::ErrorKind::ConnectionReset);
        let mut stream = Parts::new([Ok(b"one "), Ok(b"two"), Err(error)]);
        let mut buffer = [0; 16];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 7);
        let error = stream.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
