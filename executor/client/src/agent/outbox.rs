//! Frames on their way to the relay.
//!
//! A task writes them, so that a cancelled call never leaves a part of a frame behind, which would break the connection
//! for all sessions.

use protocol::frame::Frame;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// The most queued bytes of calls that wait for room. One frame of the largest size fits.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Frames up to this many bytes are joined for one write.
const JOINED_BYTES: usize = 64 * 1024;

/// The sending side of a connection. Dropping it ends the task, and drops what is queued.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    writer: JoinHandle<()>,
}

#[derive(Debug)]
struct Queued {
    frame: Frame,
    /// Its room, which is free after the write; `None` for a frame that did not wait.
    _room: Option<OwnedSemaphorePermit>,
}

/// The connection has ended.
#[derive(Debug)]
pub(super) struct Ended;

impl Outbox {
    pub fn new(writer: OwnedWriteHalf) -> Self {
        let (queue, frames) = unbounded_channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let writer = tokio::spawn(write(writer, frames, room.clone()));
        Self { queue, room, writer }
    }

    /// Queues a frame at once, whatever is queued already.
    pub fn post(&self, frame: Frame) -> Result<(), Ended> {
        self.queue.send(Queued { frame, _room: None }).map_err(|_| Ended)
    }

    /// Queues a frame when there is room. A cancelled call has queued nothing.
    pub async fn send(&self, frame: Frame) -> Result<(), Ended> {
        let bytes = u32::try_from(frame.as_bytes().len()).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Ended)?;
        self.queue.send(Queued { frame, _room: Some(room) }).map_err(|_| Ended)
    }

    /// Ends the writing, and every call that waits for room.
    pub fn close(&self) {
        self.writer.abort();
        self.room.close();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

async fn write(mut writer: OwnedWriteHalf, mut frames: UnboundedReceiver<Queued>, room: Arc<Semaphore>) {
    let mut joined = Vec::new();
    while let Some(first) = frames.recv().await {
        let mut written = vec![first];
        let mut bytes = written[0].frame.as_bytes().len();
        while bytes < JOINED_BYTES {
            let Ok(next) = frames.try_recv() else { break };
            bytes += next.frame.as_bytes().len();
            written.push(next);
        }
        let sent = match &written[..] {
            [only] => writer.write_all(only.frame.as_bytes()).await,
            several => {
                joined.clear();
                several.iter().for_each(|queued| joined.extend_from_slice(queued.frame.as_bytes()));
                writer.write_all(&joined).await
            }
        };
        if sent.is_err() {
            break;
        }
    }
    room.close();
}
