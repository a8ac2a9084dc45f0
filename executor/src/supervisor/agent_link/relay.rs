//! The relay: up to [`CLIENT_SLOTS`] clients of `agent.sock` share the link to the guest.
//!
//! A client first receives `id_start u32 BE | id_end_exclusive u32 BE | the cached core.ready frame`; then both sides send
//! frames. A frame with an id outside the client's range ends the connection. The sessions of a disconnected client are
//! ended. A client that does not read is disconnected when its queue is full, so that it delays no other. The last frame
//! to a client that is disconnected is the reason: `core.error` with id 0.
//!
//! A session that a client starts with `core.job.attach` is one with a job of the supervisor. The relay translates its
//! frames; all others are forwarded unchanged.

mod attachments;

use crate::supervisor::agent_link::link::{CLIENT_SLOTS, ClientSink, Link, client_ids};
use crate::supervisor::machine::BOOT_TIMEOUT;
use attachments::Attachments;
use executor_client::deadline::within;
use executor_client::frame_reader::FrameReader;
use protocol::frame::{Flags, Frame, LINK_ID};
use protocol::latest::{ErrorKind, ErrorReport, Message};
use rustix::net::sockopt::socket_peercred;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, watch};

/// The size of a client's queue in bytes; a client with a full queue is disconnected.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The approximate overhead of a queued frame in bytes.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// The longest wait of a client for a booting guest: the timeout of a boot, and some time for a restart.
const BOOT_WAIT_TIMEOUT: Duration = Duration::from_secs(BOOT_TIMEOUT.as_secs() + 30);
/// The time for a client to read the remaining frames after the guest has ended.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A guest that is up.
#[derive(Clone)]
pub struct ReadyGuest {
    /// The link to its agent.
    pub link: Rc<Link>,
    /// The frame of its `core.ready`.
    pub ready: Frame,
    /// Whether its clock can be corrected.
    pub has_clock: bool,
}

/// Accepts clients forever.
pub async fn serve(listener: UnixListener, guest: watch::Receiver<Option<ReadyGuest>>) {
    let free: BTreeMap<_, _> = (0..CLIENT_SLOTS).map(|slot| (slot, client_ids(slot).start)).collect();
    let free = Rc::new(RefCell::new(free));
    loop {
        let stream = accept(&listener, "relay").await;
        let slot = free.borrow_mut().pop_first();
        let slot = slot.map(|(index, first)| ClientSlot { index, ids: first..client_ids(index).end });
        let (free, guest) = (free.clone(), guest.clone());
        tokio::task::spawn_local(async move {
            match slot {
                Some(slot) => {
                    let index = slot.index;
                    let first = serve_client(stream, slot, guest).await;
                    free.borrow_mut().insert(index, first);
                }
                None => refuse(stream).await,
            }
        });
    }
}

/// Accepts the next client that is a process of this process's user.
pub async fn accept(listener: &UnixListener, name: &str) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if socket_peercred(&stream).is_ok_and(|peer| peer.uid == rustix::process::geteuid()) {
                    return stream;
                }
                tracing::warn!("{name}: refused a client of another user");
            }
            Err(error) => {
                tracing::warn!("{name}: accept: {error}");
                // Probably out of descriptors: wait for clients to disconnect.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Returns the frame with the reason for which a connection ends.
fn refusal(kind: ErrorKind, message: String) -> Option<Frame> {
    let report = ErrorReport { kind, message, message_type: None };
    Message::from(report).encode_with(LINK_ID, Flags::TERMINAL).ok()
}

/// Sends the reason to a client that is one too many.
async fn refuse(mut stream: UnixStream) {
    tracing::warn!("relay: refused client {}, all places are taken", CLIENT_SLOTS + 1);
    let message = format!("all {CLIENT_SLOTS} places for clients are taken");
    turn_away(&mut stream, message).await;
}

/// Sends a reason instead of a handshake: an empty range, then the reason in place of `core.ready`.
async fn turn_away(writer: &mut (impl AsyncWrite + Unpin), message: String) {
    let mut bytes = vec![0; 8];
    if let Some(frame) = refusal(ErrorKind::Unavailable, message) {
        bytes.extend_from_slice(frame.as_bytes());
    }
    let _ = within(DRAIN_TIME, writer.write_all(&bytes)).await;
}

/// A slot for a client.
struct ClientSlot {
    index: usize,
    /// The slot's ids, except for those of an earlier client that the guest may still use.
    ids: Range<u32>,
}

/// The reason for the end of a client's connection.
enum End {
    /// The client has disconnected.
    Left,
    /// The relay disconnects it.
    SentAway(ErrorKind, String),
    /// The guest has ended.
    GuestEnded,
}

/// Serves one client; returns the first id of its slot that the next client may use.
async fn serve_client(
    stream: UnixStream,
    slot: ClientSlot,
    mut guest: watch::Receiver<Option<ReadyGuest>>,
) -> u32 {
    let ClientSlot { index: slot, ids } = slot;
    let first = ids.start;
    let (mut reader, mut writer) = stream.into_split();
    let Some(ReadyGuest { link, ready, has_clock: _ }) = greet(&mut reader, &mut writer, &mut guest).await
    else {
        return first;
    };
    let mut hello = Vec::with_capacity(8 + ready.as_bytes().len());
    hello.extend_from_slice(&ids.start.to_be_bytes());
    hello.extend_from_slice(&ids.end.to_be_bytes());
    hello.extend_from_slice(ready.as_bytes());
    if writer.write_all(&hello).await.is_err() {
        return first;
    }
    let queue = Rc::new(Queue::default());
    link.attach_client(slot, ids.clone(), queue.clone());
    let unused = Cell::new(first);
    let end = tokio::select! {
        end = copy_to_guest(FrameReader::new(reader), (&ids, &unused), &link, queue.clone()) => end,
        end = copy_to_client(&mut writer, &queue) => end,
        _ = guest.wait_for(Option::is_none) => End::GuestEnded,
    };
    // Its sessions end first, as sending the last frames may take a while.
    let leaving = link.detach_client(slot);
    let farewell = tokio::time::timeout(DRAIN_TIME, async {
        match end {
            End::Left => {}
            End::SentAway(kind, message) => {
                tracing::warn!("relay: sent a client away: {message}");
                queue.clear();
                queue.write_out(&mut writer).await?;
                if let Some(frame) = refusal(kind, message) {
                    writer.write_all(frame.as_bytes()).await?;
                }
            }
            // The remaining frames are still sent to a client that reads.
            End::GuestEnded => queue.write_out(&mut writer).await?,
        }
        Ok::<_, std::io::Error>(())
    });
    match tokio::join!(leaving, farewell) {
        (true, _) => client_ids(slot).start,
        (false, _) => {
            tracing::warn!("relay: the guest does not say that it is done with a client that left");
            unused.get()
        }
    }
}

/// Waits for a booting guest; disconnects the client at the timeout.
async fn greet(
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    guest: &mut watch::Receiver<Option<ReadyGuest>>,
) -> Option<ReadyGuest> {
    let ready = async {
        let ready = within(BOOT_WAIT_TIMEOUT, guest.wait_for(Option::is_some)).await;
        ready.ok().and_then(Result::ok).and_then(|guest| guest.clone())
    };
    let mut early = [0];
    let ready = tokio::select! {
        ready = ready => ready,
        // It has disconnected: a client without ids sends nothing.
        _ = reader.read(&mut early) => return None,
    };
    if ready.is_none() {
        let seconds = BOOT_WAIT_TIMEOUT.as_secs();
        turn_away(writer, format!("the sandbox did not come up within {seconds} s")).await;
    }
    ready
}

/// Forwards the frames of a client; records the first id after those that it has used.
async fn copy_to_guest(
    mut frames: FrameReader<OwnedReadHalf>,
    (ids, unused): (&Range<u32>, &Cell<u32>),
    link: &Link,
    sink: Rc<dyn ClientSink>,
) -> End {
    // A client that only connects does not use the guest.
    let mut in_use = None;
    let mut attachments = Attachments::new(sink);
    loop {
        match frames.next().await {
            Ok(Some(frame)) if ids.contains(&frame.id()) => {
                unused.set(unused.get().max(frame.id() + 1));
                in_use.get_or_insert_with(|| link.in_use());
                for frame in attachments.translate(frame, link) {
                    if link.send(frame).await.is_err() {
                        return End::GuestEnded;
                    }
                }
            }
            Ok(Some(frame)) => {
                let (id, start, end) = (frame.id(), ids.start, ids.end);
                let message = format!("the id {id} is not one of yours: they go from {start} to {}", end - 1);
                return End::SentAway(ErrorKind::WrongSession, message);
            }
            Ok(None) => return End::Left,
            Err(error) => return End::SentAway(ErrorKind::Malformed, error.to_string()),
        }
    }
}

async fn copy_to_client(writer: &mut OwnedWriteHalf, queue: &Queue) -> End {
    loop {
        let written = tokio::select! {
            written = queue.write_out(writer) => written,
            // A client that does not read would block this forever.
            () = queue.overflowed.notified() => {
                let message = format!("you do not read: more than {QUEUE_BYTES_MAX} bytes waited for you");
                return End::SentAway(ErrorKind::Unavailable, message);
            }
        };
        if written.is_err() {
            return End::Left;
        }
        tokio::select! {
            () = queue.arrived.notified() => {}
            () = queue.overflowed.notified() => {}
        }
    }
}

/// The queue of one client.
#[derive(Default)]
struct Queue {
    frames: RefCell<VecDeque<Frame>>,
    bytes: Cell<usize>,
    /// The frame that is being written, and the number of its written bytes.
    current: RefCell<Option<(Rc<Frame>, usize)>>,
    arrived: Notify,
    overflowed: Notify,
}

/// Returns the memory of a queued frame in bytes, with its overhead.
fn cost(frame: &Frame) -> usize {
    frame.as_bytes().len() + FRAME_OVERHEAD_BYTES
}

impl Queue {
    fn take(&self) -> Option<Frame> {
        let frame = self.frames.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - cost(&frame));
        Some(frame)
    }

    /// Clears the queue, except for the rest of a partly written frame.
    fn clear(&self) {
        while self.take().is_some() {}
    }

    /// Writes until the queue is empty. Cancel safe: the next call continues at the same byte.
    async fn write_out(&self, writer: &mut OwnedWriteHalf) -> std::io::Result<()> {
        loop {
            let current = self.current.borrow().clone();
            let (frame, mut written) = match current {
                Some(current) => current,
                None => match self.take() {
                    Some(frame) => (Rc::new(frame), 0),
                    None => return Ok(()),
                },
            };
            *self.current.borrow_mut() = Some((frame.clone(), written));
            while written < frame.as_bytes().len() {
                written += writer.write(&frame.as_bytes()[written..]).await?;
                *self.current.borrow_mut() = Some((frame.clone(), written));
            }
            *self.current.borrow_mut() = None;
        }
    }
}

impl ClientSink for Queue {
    fn deliver(&self, frame: Frame) {
        let bytes = self.bytes.get() + cost(&frame);
        if bytes > QUEUE_BYTES_MAX {
            self.overflowed.notify_one();
        } else {
            self.bytes.set(bytes);
            self.frames.borrow_mut().push_back(frame);
            self.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
