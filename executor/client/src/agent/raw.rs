//! The raw client: it sends and receives frames, whose CBOR is the caller's.

use super::handshake::{Hello, shake_hands};
use super::outbox::Outbox;
use super::{AgentError, CONNECT_TIMEOUT};
use crate::frame_reader::FrameReader;
use executor_host::home::Home;
use protocol::frame::{Flags, Frame, FrameError, LINK_ID};
use protocol::latest::{ErrorReport, Message, Ready};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The length of a stream's queue. A stream with a full queue blocks the other streams of its client.
const STREAM_FRAMES: usize = 256;

/// A connection to one sandbox's agent that carries frames as they are. Cancelling any call leaves it usable.
#[derive(Debug)]
pub struct RawAgentClient {
    outbox: Outbox,
    ids: Mutex<Range<u32>>,
    range: Range<u32>,
    routes: Arc<Routes>,
    ready: Ready,
    ready_bytes: Vec<u8>,
    reader: JoinHandle<()>,
}

/// The open streams by id; after the end of the connection its cause.
type Streams = Result<HashMap<u32, mpsc::Sender<Frame>>, End>;

/// The cause of the end of a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    /// This client has closed it.
    Closed,
    /// The relay has closed it.
    Lost,
    /// The relay has sent bytes that are not frames.
    Invalid(FrameError),
}

/// The receivers of frames.
#[derive(Debug)]
struct Routes {
    streams: Mutex<Streams>,
    /// The last `core.error` about the connection itself.
    report: Mutex<Option<ErrorReport>>,
}

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
        let Hello { frames, writer, ids, frame, ready } = shake_hands(path, timeout).await?;
        let routes = Arc::new(Routes { streams: Mutex::new(Ok(HashMap::new())), report: Mutex::new(None) });
        Ok(Self {
            outbox: Outbox::new(writer),
            ids: Mutex::new(ids.clone()),
            range: ids,
            reader: tokio::spawn(read(frames, routes.clone())),
            routes,
            ready,
            ready_bytes: frame.into_bytes(),
        })
    }

    /// Returns the guest's `core.ready`.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Returns the error that the relay has reported about this connection, mostly before it closed it.
    pub fn reported_error(&self) -> Option<ErrorReport> {
        self.routes.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.routes.lock().is_err()
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
        let stream = self.open()?;
        match self.send(stream.id, flags, body).await {
            // The stream reports the end of the connection, and its cause.
            Ok(()) | Err(AgentError::ReaderClosed) => Ok(stream),
            Err(error) => Err(error),
        }
    }

    /// Returns the stream of a fresh id, without sending anything.
    ///
    /// # Errors
    ///
    /// If the connection has ended, or all ids have been used.
    pub fn open(&self) -> Result<RawStream, AgentError> {
        let mut streams = self.routes.lock();
        let open = streams.as_mut().map_err(|end| end.error())?;
        let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).next();
        let id = id.ok_or(AgentError::IdRangeExhausted)?;
        let (sender, frames) = mpsc::channel(STREAM_FRAMES);
        open.insert(id, sender);
        Ok(RawStream { id, frames, routes: self.routes.clone(), ended: false })
    }

    /// Sends one more body of a session; waits while the relay does not read. A cancelled call has sent nothing.
    ///
    /// # Errors
    ///
    /// If the connection has ended, or the body is too large.
    pub async fn send(&self, id: u32, flags: Flags, body: &[u8]) -> Result<(), AgentError> {
        self.send_frame(Frame::new(id, flags, body)?).await
    }

    /// Sends a frame of a session, as [`RawAgentClient::send`] does.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub async fn send_frame(&self, frame: Frame) -> Result<(), AgentError> {
        self.outbox.send(frame).await.map_err(|_| self.end_error())
    }

    /// Sends a frame without waiting, whatever is queued: for acknowledgements and signals, which are few and small.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub fn post_frame(&self, frame: Frame) -> Result<(), AgentError> {
        self.outbox.post(frame).map_err(|_| self.end_error())
    }

    fn end_error(&self) -> AgentError {
        self.routes.lock().as_ref().err().map_or(AgentError::ReaderClosed, End::error)
    }

    /// Closes the connection, which ends every session of this client and every stream.
    pub async fn close(&self) {
        self.end();
    }

    fn end(&self) {
        self.reader.abort();
        self.routes.close(End::Closed);
        self.outbox.close();
    }
}

impl End {
    fn error(&self) -> AgentError {
        match self {
            Self::Closed => AgentError::Closed,
            Self::Lost => AgentError::ReaderClosed,
            Self::Invalid(source) => (*source).into(),
        }
    }
}

impl Drop for RawAgentClient {
    fn drop(&mut self) {
        self.end();
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
            None => Err(self.routes.lock().as_ref().err().map_or(AgentError::ReaderClosed, End::error)),
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
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all streams; the first cause is kept.
    fn close(&self, end: End) {
        let mut streams = self.lock();
        if streams.is_ok() {
            *streams = Err(end);
        }
    }

    fn report(&self, frame: &Frame) {
        if let Ok(Message::Error(report)) = Message::decode(frame) {
            *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        }
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
            Ok(Some(frame)) if frame.id() == LINK_ID => routes.report(&frame),
            Ok(Some(frame)) => {
                if let Some(stream) = routes.find(&frame) {
                    // A dropped stream needs no frames.
                    let _ = stream.send(frame).await;
                }
            }
            Ok(None) => return routes.close(End::Lost),
            Err(error) => return routes.close(End::Invalid(error)),
        }
    }
}
