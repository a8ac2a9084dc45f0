//! The stream of the guest, which may end its side before it has all answers.

use super::activity::Activity;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// The time that a guest that has ended its side waits for the next bytes. It may be gone altogether, which shows only
/// when something is written.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(300);

/// The progress of a stream.
#[derive(Clone)]
pub(super) struct Progress {
    half_closed: watch::Sender<bool>,
    written: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { half_closed: watch::Sender::new(false), written: Arc::default() }
    }

    fn is_half_closed(&self) -> bool {
        *self.half_closed.borrow()
    }

    /// Waits until the guest has ended its side, and nothing was written to it for some time.
    pub(super) async fn stalled(&self) {
        let _ = self.half_closed.subscribe().wait_for(|half_closed| *half_closed).await;
        let mut before = self.written.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(HALF_CLOSED_TIMEOUT).await;
            let now = self.written.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

/// A stream whose progress is noted. Its end is shown only when no answer is on its way: hyper would give up the
/// request, or in another mode not notice the end at all.
pub(super) struct Observed<S> {
    stream: S,
    progress: Progress,
    /// For HTTP/1. In HTTP/2, connections are not closed by halves.
    activity: Option<Activity>,
    /// Waits until the end may be shown.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Observed<S> {
    pub(super) fn new(stream: S, progress: Progress, activity: Option<Activity>) -> Self {
        Self { stream, progress, activity, end: None }
    }

    /// Shows the end of the stream as soon as no answer is on its way.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(activity) = self.activity.as_ref().filter(|activity| activity.only_answers()) {
            let end = self.end.get_or_insert_with(|| Box::pin(activity.clone().more_than_answers()));
            ready!(end.as_mut().poll(context));
            self.end = None;
        }
        Poll::Ready(Ok(()))
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(length)) = written {
            self.progress.written.fetch_add(*length as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.progress.is_half_closed() {
            return self.poll_end(context);
        }
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if has_room && buffer.filled().len() == before {
            self.progress.half_closed.send_replace(true);
            return self.poll_end(context);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
