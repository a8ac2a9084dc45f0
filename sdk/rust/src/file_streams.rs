//! Files of a guest that are read or written in pieces. A task carries out the operation, on a connection of its own.

use crate::convert;
use crate::error::{Error, Result};
use crate::file_types::FileStat;
use crate::files::{BUSY_PAUSE, BUSY_TIMEOUT, is_busy};
use crate::pool::Leased;
use protocol::latest::{FILE_DATA_BYTES, FileRequest};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The bytes between the task and the user.
const PIPE_BYTES: usize = 2 * FILE_DATA_BYTES;

/// A file that is read in pieces. Dropping it ends the reading.
#[derive(Debug)]
pub struct FileReader {
    pipe: DuplexStream,
    task: JoinHandle<Result<FileStat>>,
    stat: Option<FileStat>,
}

impl FileReader {
    pub(crate) fn start(mut client: Leased, path: &[u8]) -> Self {
        let (pipe, mut far) = duplex(PIPE_BYTES);
        let path = path.to_vec();
        let task = tokio::spawn(async move {
            let deadline = Instant::now() + BUSY_TIMEOUT;
            loop {
                let done = client.read_file(&path, &mut far).await;
                // Nothing was read then.
                if is_busy(&done) && Instant::now() < deadline {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                let stat = done.map_err(|error| convert::file(error, &path))?;
                client.give_back();
                return Ok(stat.into());
            }
        });
        Self { pipe, task, stat: None }
    }

    /// Returns the next piece, of at most 128 KiB; `None` at the end. A cancelled call loses nothing.
    ///
    /// # Errors
    ///
    /// As of [`Files`](crate::Files).
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.stat.is_some() {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(FILE_DATA_BYTES);
        let read = (&mut self.pipe).take(FILE_DATA_BYTES as u64).read_buf(&mut piece).await;
        match read {
            Ok(1..) => Ok(Some(piece)),
            // The task has ended.
            Ok(0) | Err(_) => {
                self.stat = Some((&mut self.task).await.map_err(|_| ended())??);
                Ok(None)
            }
        }
    }

    /// Returns all remaining bytes, at most 1 GiB.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for more; also as of [`Files`](crate::Files).
    pub async fn collect(mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
            if all.len() > 1024 * 1024 * 1024 {
                return Err(Error::new("too-large", "the file is larger than 1 GiB"));
            }
        }
        Ok(all)
    }

    /// Returns the metadata of the file, after its end.
    pub fn stat(&self) -> Option<&FileStat> {
        self.stat.as_ref()
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A file that is written in pieces, and appears when the writer is closed. Dropping it abandons the file.
#[derive(Debug)]
pub struct FileWriter {
    /// `None` after the end.
    pipe: Option<DuplexStream>,
    is_complete: Arc<AtomicBool>,
    task: Option<JoinHandle<Result<()>>>,
}

impl FileWriter {
    pub(crate) fn start(mut client: Leased, request: FileRequest) -> Self {
        let (pipe, far) = duplex(PIPE_BYTES);
        let is_complete = Arc::new(AtomicBool::new(false));
        let mut contents = Contents { pipe: far, is_complete: is_complete.clone() };
        let task = tokio::spawn(async move {
            let path = request.path.clone();
            let written = client.write_file(request, &mut contents).await;
            written.map_err(|error| convert::file(error, &path))?;
            client.give_back();
            Ok(())
        });
        Self { pipe: Some(pipe), is_complete, task: Some(task) }
    }

    /// Writes all bytes. After a cancelled call, a part of them is written.
    ///
    /// # Errors
    ///
    /// As of [`Files`](crate::Files).
    pub async fn write(&mut self, data: impl AsRef<[u8]>) -> Result<()> {
        let written = match &mut self.pipe {
            Some(pipe) => pipe.write_all(data.as_ref()).await,
            None => return Err(ended()),
        };
        match written {
            Ok(()) => Ok(()),
            // The task has failed.
            Err(_) => {
                self.pipe = None;
                self.finished().await.and(Err(ended()))
            }
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    ///
    /// As of [`Files`](crate::Files).
    pub async fn close(mut self) -> Result<()> {
        self.is_complete.store(true, Ordering::Release);
        self.pipe = None;
        self.finished().await
    }

    async fn finished(&mut self) -> Result<()> {
        match &mut self.task {
            Some(task) => {
                let done = task.await.map_err(|_| ended()).and_then(|done| done);
                self.task = None;
                done
            }
            None => Err(ended()),
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn ended() -> Error {
    Error::new("closed", "the stream of the file has ended")
}

/// The bytes for a file, whose end counts only if the writer was closed.
struct Contents {
    pipe: DuplexStream,
    is_complete: Arc<AtomicBool>,
}

impl AsyncRead for Contents {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(context, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        if is_end && !self.is_complete.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the writer was dropped")));
        }
        Poll::Ready(Ok(()))
    }
}
