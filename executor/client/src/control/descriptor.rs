//! Descriptors beside the bytes of a control connection.

use rustix::io::{Errno, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Reads a connection, and keeps the last descriptor that came with its bytes.
#[derive(Debug)]
pub(super) struct DescriptorReader {
    half: OwnedReadHalf,
    /// The descriptor; `None` if none came, or it was taken.
    pub(super) received: Option<OwnedFd>,
}

impl DescriptorReader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self { half, received: None }
    }
}

impl AsyncRead for DescriptorReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let Self { half, received } = &mut *self;
            let stream: &UnixStream = half.as_ref();
            ready!(stream.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match stream.try_io(Interest::READABLE, || receive(stream, space, received)) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn receive(stream: &UnixStream, space: &mut [u8], received: &mut Option<OwnedFd>) -> io::Result<usize> {
    let mut ancillary_space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut ancillary_space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let count = loop {
        match recvmsg(stream, &mut [IoSliceMut::new(space)], &mut ancillary, flags) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            *received = descriptors.into_iter().last();
        }
    }
    Ok(count)
}

/// Sends the first of these bytes with a descriptor; returns their number.
pub(super) async fn send(writer: &OwnedWriteHalf, bytes: &[u8], descriptor: impl AsFd) -> io::Result<usize> {
    let stream: &UnixStream = writer.as_ref();
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, flags)?)
        })
        .await
}
