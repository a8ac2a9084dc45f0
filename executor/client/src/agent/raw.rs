//! The raw client: it sends and receives frames, whose CBOR is the caller's.

use super::handshake::{Hello, shake_hands};
use super::{AgentError, CONNECT_TIMEOUT};
use crate::frame_reader::FrameReader;
use executor_host::home::Home;
use protocol::frame::{Flags, Frame, FrameError};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The length of a stream's queue. A stream with a full queue blocks the other streams of its client.
const STREAM_FRAMES: usize = 256;

/// A connection to one sandbox's agent that carries frames as they are.
#[derive(Debug)]
pub struct RawAgentClient {
    writer: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
    ids: Mutex<Range<u32>>,
    range: Range<u32>,
    routes: Arc<Routes>,
    ready_bytes: Vec<u8>,
    reader: JoinHandle<()>,
}

/// The open streams by id; after the end of the connection the invalid frame that caused it, if one did.
type Streams = Result<HashMap<u32, mpsc::Sender<Frame>>, Option<FrameError>>;

/// The receivers of frames.
#[derive(Debug)]
struct Routes(Mutex<Streams>);

/// The frames of one session, in order.
#[derive(Debug)]
pub struct RawStream {
    id: u32,
    frames: mpsc::Receiver<Frame>,
    routes: Arc<Routes>,
    ended: bool,
}

impl RawAgentClient {
    /// Connects to the sandbox of this full name; waits while it boots.
    ///
    /// # Errors
    ///
    /// If the sandbox does not run, or the handshake fails or times out.
    pub async fn connect_sandbox(home: &Home, full_name: &str) -> Result<Self, AgentError> {
        Self::connect(&home.sandbox_run(full_name).agent_socket()).await
    }

    /// Connects to a relay's socket, within [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// If there is no relay, or the handshake fails or times out.
    pub async fn connect(path: &Path) -> Result<Self, AgentError> {
        Self::connect_with_timeout(path, CONNECT_TIMEOUT).await
    }

    /// Connects to a relay's socket, within a timeout.
    ///
    /// # Errors
    ///
    /// If there is no relay, or the handshake fails or times out.
    pub async fn connect_with_timeout(path: &Path, timeout: Duration) -> Result<Self, AgentError> {
        let Hello { frames, writer, ids, frame, ready: _ } = shake_hands(path, timeout).await?;
        let routes = Arc::new(Routes(Mutex::new(Ok(HashMap::new()))));
        Ok(Self {
            writer: tokio::sync::Mutex::new(Some(writer)),
            ids: Mutex::new(ids.clone()),
            range: ids,
            reader: tokio::spawn(read(frames, routes.clone())),
            routes,
            ready_bytes: frame.into_bytes(),
        })
    }

    /// Returns the cached frame of `core.ready`.
    pub fn ready_bytes(&self) -> &[u8] {
        &self.ready_bytes
    }

    /// Returns the range of ids of this client.
    pub fn ids(&self) -> Range<u32> {
        self.range.clone()
    }

    /// Sends a body under a fresh id and returns the first frame of the answer.
    ///
    /// # Errors
    ///
    /// If the connection is closed, or all ids have been used.
    pub async fn request(&self, flags: Flags, body: &[u8]) -> Result<Frame, AgentError> {
        let mut stream = self.stream(flags, body).await?;
        stream.next().await?.ok_or(AgentError::ReaderClosed)
    }

    /// Sends a body under a fresh id and returns the stream of answers, up to a TERMINAL one.
    ///
    /// # Errors
    ///
    /// If the connection is closed, or all ids have been used.
    pub async fn stream(&self, flags: Flags, body: &[u8]) -> Result<RawStream, AgentError> {
        let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).next();
        let id = id.ok_or(AgentError::IdRangeExhausted)?;
        let (sender, frames) = mpsc::channel(STREAM_FRAMES);
        if let Ok(open) = &mut *self.routes.lock() {
            open.insert(id, sender);
        }
        let stream = RawStream { id, frames, routes: self.routes.clone(), ended: false };
        self.send(id, flags, body).await?;
        Ok(stream)
    }

    /// Sends one more body of a session.
    ///
    /// # Errors
    ///
    /// If the connection is closed, or the body is too large.
    pub async fn send(&self, id: u32, flags: Flags, body: &[u8]) -> Result<(), AgentError> {
        let frame = Frame::new(id, flags, body)?;
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or(AgentError::Closed)?;
        writer.write_all(frame.as_bytes()).await.map_err(|_| AgentError::Closed)
    }

    /// Closes the connection, which ends every session of this client and every stream.
    pub async fn close(&self) {
        self.writer.lock().await.take();
        self.reader.abort();
        self.routes.close(None);
    }
}

impl Drop for RawAgentClient {
    fn drop(&mut self) {
        self.reader.abort();
        self.routes.close(None);
    }
}

impl RawStream {
    /// Returns the session's id, for [`RawAgentClient::send`].
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Receives the next frame; `None` after the TERMINAL one.
    ///
    /// # Errors
    ///
    /// If the connection ends before that.
    pub async fn next(&mut self) -> Result<Option<Frame>, AgentError> {
        if self.ended {
            return Ok(None);
        }
        match self.frames.recv().await {
            Some(frame) => {
                self.ended = frame.flags().contains(Flags::TERMINAL);
                Ok(Some(frame))
            }
            None => {
                let broken = self.routes.lock().as_ref().err().copied().flatten();
                Err(broken.map_or(AgentError::ReaderClosed, AgentError::from))
            }
        }
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        if let Ok(open) = &mut *self.routes.lock() {
            open.remove(&self.id);
        }
    }
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, broken: Option<FrameError>) {
        *self.lock() = Err(broken);
    }

    fn find(&self, frame: &Frame) -> Option<mpsc::Sender<Frame>> {
        let mut streams = self.lock();
        let open = streams.as_mut().ok()?;
        if frame.flags().contains(Flags::TERMINAL) {
            open.remove(&frame.id())
        } else {
            open.get(&frame.id()).cloned()
        }
    }
}

async fn read(mut frames: FrameReader<OwnedReadHalf>, routes: Arc<Routes>) {
    loop {
        match frames.next().await {
            Ok(Some(frame)) => {
                if let Some(stream) = routes.find(&frame) {
                    // A dropped stream needs no frames.
                    let _ = stream.send(frame).await;
                }
            }
            Ok(None) => return routes.close(None),
            Err(error) => return routes.close(Some(error)),
        }
    }
}
