//! The streams of a command that runs in a guest.

use crate::error::{Error, Result};
use crate::process::ExecEvent;
use crate::session::{Session, State};
use protocol::latest::{ExecStdin, STDIN_WINDOW_BYTES};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The size of a piece of input, in bytes.
const PIECE_BYTES: usize = 128 * 1024;
/// The longest line of [`ProcessOutput::next_line`], in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The standard input of a command. Writing waits while the command does not read.
///
/// It is an [`AsyncWrite`] too, whose shutdown is the end of the input. Dropping it ends the input, unless the command has
/// a terminal.
#[derive(Debug)]
pub struct ProcessInput {
    session: Arc<Session>,
    sent: u64,
    has_tty: bool,
    is_closed: bool,
}

impl ProcessInput {
    pub(crate) fn new(session: Arc<Session>, has_tty: bool) -> Self {
        Self { session, sent: 0, has_tty, is_closed: false }
    }

    /// Writes all bytes. After a cancelled call, a part of them is written.
    ///
    /// # Errors
    ///
    /// [`Error::StdinClosed`] if the command has closed its input or has ended, and [`Error::ConnectionLost`].
    pub async fn write(&mut self, data: impl AsRef<[u8]>) -> Result<()> {
        for piece in data.as_ref().chunks(PIECE_BYTES) {
            let mut rest = piece;
            while !rest.is_empty() {
                let count = poll_fn(|context| self.poll_piece(context, rest)).await?;
                rest = &rest[count..];
            }
        }
        Ok(())
    }

    /// Ends the input. With a terminal it sends the end-of-file character, and the input stays open.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionLost`]. A command that has ended is no error.
    pub async fn close(&mut self) -> Result<()> {
        self.finish();
        self.session.lock().error.clone().map_or(Ok(()), Err)
    }

    fn finish(&mut self) {
        if !self.is_closed {
            self.is_closed = !self.has_tty;
            if self.session.lock().is_running() {
                self.session.post(&ExecStdin { data: Vec::new() }.into());
            }
        }
    }

    /// Sends as much of a piece as the guest's window has room for.
    fn poll_piece(&mut self, context: &mut Context<'_>, piece: &[u8]) -> Poll<Result<usize>> {
        if self.is_closed {
            return Poll::Ready(Err(Error::new("stdin-closed", "the input of the command is closed")));
        }
        let sent = self.sent;
        let polled = self.session.poll(context, |state| {
            if let Some(error) = &state.error {
                return Some(Err(error.clone()));
            }
            if let Some(reason) = &state.stdin_error {
                return Some(Err(Error::new("stdin-closed", reason.clone())));
            }
            if state.status.is_some() {
                return Some(Err(Error::new("stdin-closed", "the command has ended")));
            }
            let pending = sent.saturating_sub(state.stdin_taken);
            let room = (STDIN_WINDOW_BYTES as u64).saturating_sub(pending) as usize;
            (room > 0).then_some(Ok(room))
        });
        polled.map_ok(|room| {
            let count = room.min(piece.len()).min(PIECE_BYTES);
            self.session.post(&ExecStdin { data: piece[..count].to_vec() }.into());
            self.sent += count as u64;
            count
        })
    }
}

impl Drop for ProcessInput {
    fn drop(&mut self) {
        if !self.has_tty {
            self.finish();
        }
    }
}

impl AsyncWrite for ProcessInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_piece(context, data).map_err(|error| match error {
            Error::StdinClosed(_) => io::Error::new(io::ErrorKind::BrokenPipe, error),
            other => io::Error::other(other),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

/// Which of the output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// An output stream of a command. It is an [`AsyncRead`] too. Cancelled calls lose nothing.
#[derive(Debug)]
pub struct ProcessOutput {
    session: Arc<Session>,
    stream: Stream,
    /// The start of a line whose end has not arrived, so that a cancelled call loses nothing.
    line: Vec<u8>,
}

impl ProcessOutput {
    pub(crate) fn new(session: Arc<Session>, stream: Stream) -> Self {
        Self { session, stream, line: Vec::new() }
    }

    /// Returns at least one and at most `max` bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionLost`] if the connection ends before the command has reported its end.
    pub async fn next_chunk(&mut self, max: usize) -> Result<Option<Vec<u8>>> {
        let max = max.max(1);
        if !self.line.is_empty() {
            return Ok(Some(self.line.drain(..max.min(self.line.len())).collect()));
        }
        self.session.until(|state| self.cut(state, |buffer| buffer.len().min(max))).await
    }

    /// Returns the next line with its newline, which the last one may lack; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a line of more than 16 MiB; also as [`ProcessOutput::next_chunk`].
    pub async fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            // The guest goes on only with what was taken, so a long line is taken piece by piece.
            let part = self.session.until(|state| {
                self.cut(state, |buffer| {
                    let end = buffer.iter().position(|&byte| byte == b'\n');
                    end.map_or(buffer.len(), |at| at + 1)
                })
            });
            let Some(part) = part.await? else {
                let last = std::mem::take(&mut self.line);
                return Ok((!last.is_empty()).then_some(last));
            };
            self.line.extend_from_slice(&part);
            if self.line.ends_with(b"\n") {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            if self.line.len() > LINE_BYTES_MAX {
                return Err(Error::new("too-large", "a line of the command is longer than 16 MiB"));
            }
        }
    }

    /// Returns all remaining bytes, at most 256 MiB.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for more; also as [`ProcessOutput::next_chunk`].
    pub async fn read_all(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(part) = self.next_chunk(usize::MAX).await? {
            all.extend_from_slice(&part);
            if all.len() > crate::exec::MAX_OUTPUT_BYTES {
                return Err(Error::new("too-large", "the command wrote more than 256 MiB"));
            }
        }
        Ok(all)
    }

    /// Takes as many bytes of the buffer as `count` says.
    fn cut(
        &self,
        state: &mut State,
        count: impl FnOnce(&VecDeque<u8>) -> usize,
    ) -> Option<Result<Option<Vec<u8>>>> {
        state.is_observed = true;
        if self.buffer(state).is_empty() {
            self.fill(state);
        }
        let buffer = self.buffer(state);
        let count = count(buffer);
        if count > 0 {
            let taken: Vec<u8> = buffer.drain(..count).collect();
            self.session.consume(state, taken.len());
            return Some(Ok(Some(taken)));
        }
        match (&state.error, state.status) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Some(_)) => Some(Ok(None)),
            (None, None) => None,
        }
    }

    /// Moves queued output into the buffers of the streams until this one has some.
    fn fill(&self, state: &mut State) {
        while let Some(event) = self.session.take_event(state) {
            let (stream, data) = match event {
                ExecEvent::Stdout(data) => (Stream::Stdout, data),
                ExecEvent::Stderr(data) => (Stream::Stderr, data),
                _ => continue,
            };
            match stream {
                Stream::Stdout => state.stdout.extend(data),
                Stream::Stderr => state.stderr.extend(data),
            }
            if stream == self.stream {
                return;
            }
        }
    }

    fn buffer<'a>(&self, state: &'a mut State) -> &'a mut VecDeque<u8> {
        match self.stream {
            Stream::Stdout => &mut state.stdout,
            Stream::Stderr => &mut state.stderr,
        }
    }

    /// Takes what was moved into the buffer.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        let mut state = self.session.lock();
        let buffered: Vec<u8> = self.buffer(&mut state).drain(..).collect();
        self.session.consume(&mut state, buffered.len());
        let mut taken = std::mem::take(&mut self.line);
        taken.extend(buffered);
        taken
    }
}

impl AsyncRead for ProcessOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        if !self.line.is_empty() {
            let count = room.min(self.line.len());
            buffer.put_slice(&self.line[..count]);
            self.line.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let polled = self.session.poll(context, |state| self.cut(state, |found| found.len().min(room)));
        polled.map(|read| {
            let data = read.map_err(io::Error::other)?;
            buffer.put_slice(&data.unwrap_or_default());
            Ok(())
        })
    }
}
