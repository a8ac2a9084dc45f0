//! File operations: the table of operations and their threads.
//!
//! A guest's path may lead to a slow disk, to a FUSE file system that does not respond, or to a million files. So each
//! operation has a thread of its own, and the event loop only forwards messages. The data in flight is bounded by the
//! protocol's window.

mod copy;
mod freeze;
mod operation;
mod remove;
mod tagged;
mod worker;

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use protocol::latest::{
    FILE_DATA_BYTES, FILE_WINDOW_FRAMES, FileFailure, FileFailureKind, FileRequest, FileResponse, Message,
    TaggedFileRequest,
};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::read;

use crate::link::Link;
use tagged::Tagged;
use worker::{Command, Response, Worker};

/// The limit of operations, including those whose thread hangs.
pub const MAX_OPERATIONS: usize = 16;
/// More than the deepest recursion needs, in bytes.
const STACK_BYTES: usize = 256 * 1024;

pub struct Files {
    operations: BTreeMap<u64, Operation>,
    /// The operations by the clients' ids, without cancelled ones.
    serials: BTreeMap<u32, u64>,
    next_serial: u64,
    messages: Receiver<Response>,
    sender: Sender<Response>,
    wake: Arc<OwnedFd>,
    /// A directory on the sandbox's own disk; `None` before the boot.
    disk: Option<Arc<OwnedFd>>,
}

struct Operation {
    id: u32,
    command_sender: Sender<Command>,
    /// Tells the thread that it is cancelled.
    cancelled: Arc<AtomicBool>,
    /// The data frames that the client has sent, and that the thread has taken.
    received: u64,
    taken: u64,
    /// The client's form of the request, if it is not this protocol's own.
    tagged: Option<Tagged>,
}

impl Files {
    /// Registers the token under which the loop is woken to forward messages.
    pub fn new(epoll: &OwnedFd, token: u64) -> rustix::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(epoll, &*wake, EventData::new_u64(token), EventFlags::IN)?;
        let (sender, messages) = channel();
        let (operations, serials) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { operations, serials, next_serial: 0, messages, sender, wake, disk: None })
    }

    /// Sets the disk that can be frozen, by a directory on it.
    pub fn set_disk(&mut self, disk: Arc<OwnedFd>) {
        self.disk = Some(disk);
    }

    pub fn contains(&self, id: u32) -> bool {
        self.serials.contains_key(&id)
    }

    /// Starts an operation under an unused id. New files belong to `user`, unless the request names another one.
    pub fn begin(&mut self, id: u32, request: FileRequest, user: &str, link: &mut Link) {
        self.start(id, (request, None), user, link);
    }

    /// Starts an operation whose request has the tagged form, in which it is answered.
    pub fn begin_tagged(&mut self, id: u32, request: TaggedFileRequest, user: &str, link: &mut Link) {
        let tagged = Tagged::new(&request);
        self.start(id, (request.request, Some(tagged)), user, link);
    }

    fn start(&mut self, id: u32, request: (FileRequest, Option<Tagged>), user: &str, link: &mut Link) {
        let (request, tagged) = request;
        let refuse = |message: String, link: &mut Link| match &tagged {
            Some(_) => tagged::refuse(id, message, link),
            None => link.send(id, refused(FileFailureKind::Busy, message)),
        };
        if self.operations.len() >= MAX_OPERATIONS {
            let message = format!("{MAX_OPERATIONS} file operations are under way already");
            return refuse(message, link);
        }
        let (command_sender, commands) = channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let serial = self.next_serial;
        let user = request.user.clone().unwrap_or_else(|| user.to_owned());
        let worker = Worker {
            serial,
            commands,
            responses: self.sender.clone(),
            wake: self.wake.clone(),
            cancelled: cancelled.clone(),
            sent: 0,
            acknowledged: 0,
            taken: 0,
            disk: self.disk.clone(),
        };
        let thread = std::thread::Builder::new().name("file".to_owned()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(move || worker.run(&request, &user)) {
            let message = format!("no thread could be made: {error}");
            return refuse(message, link);
        }
        self.next_serial += 1;
        self.serials.insert(id, serial);
        let operation = Operation { id, command_sender, cancelled, received: 0, taken: 0, tagged };
        self.operations.insert(serial, operation);
    }

    /// Forwards a data frame to a write operation.
    pub fn take_data(&mut self, id: u32, data: Vec<u8>, link: &mut Link) {
        let Some(operation) = self.serials.get(&id).and_then(|serial| self.operations.get_mut(serial)) else {
            // It has failed meanwhile, and the client was informed.
            return;
        };
        operation.received += 1;
        let is_allowed = match &mut operation.tagged {
            Some(tagged) => tagged.is_room_for(data.len()),
            None => {
                data.len() <= FILE_DATA_BYTES && operation.received - operation.taken <= FILE_WINDOW_FRAMES
            }
        };
        if !is_allowed {
            operation.cancel();
            self.serials.remove(&id);
            return match &operation.tagged {
                Some(_) => tagged::refuse(id, tagged::TOO_MUCH_DATA.to_owned(), link),
                None => {
                    let message = "more data came than the acknowledgements allow".to_owned();
                    link.send(id, refused(FileFailureKind::BadRequest, message));
                }
            };
        }
        // An operation that has failed ignores further data.
        let _ = operation.command_sender.send(Command::Data(data));
    }

    /// Forwards an acknowledgement of `frames` frames.
    pub fn take_ack(&mut self, id: u32, frames: u64) {
        if let Some(operation) = self.serials.get(&id).and_then(|serial| self.operations.get(serial)) {
            let _ = operation.command_sender.send(Command::Ack(frames));
        }
    }

    /// Forwards the threads' messages to the link.
    pub fn on_readable(&mut self, link: &mut Link) {
        let mut count = [0; 8];
        let _ = read(&*self.wake, &mut count);
        while let Ok(messages) = self.messages.try_recv() {
            self.pass_on(messages, link);
        }
    }

    fn pass_on(&mut self, messages: Response, link: &mut Link) {
        let Response { serial, message, last } = messages;
        let Some(operation) = self.operations.get_mut(&serial) else { return };
        if let Message::FileAck(ack) = &message {
            operation.taken = ack.frames;
        }
        let id = operation.id;
        let awaited = self.serials.get(&id) == Some(&serial);
        if awaited && let Some(tagged) = &mut operation.tagged {
            if tagged.pass_on(id, message, last, link).is_err() {
                operation.cancel();
                self.serials.remove(&id);
            } else if !link.congested() {
                operation.acknowledge();
            }
        } else if awaited {
            let flags = if last { message.usual_flags() } else { protocol::frame::Flags::NONE };
            link.send_with(id, &message, flags);
        }
        if last {
            self.operations.remove(&serial);
            if awaited {
                self.serials.remove(&id);
            }
        }
    }

    /// Lets the operations go on whose clients send no acknowledgements, unless the link is congested.
    pub fn resume(&mut self, link: &Link) {
        if !link.congested() {
            self.operations.values_mut().for_each(Operation::acknowledge);
        }
    }

    /// Cancels operations. A partial file never replaces its target.
    pub fn cancel(&mut self, ids: impl RangeBounds<u32>) {
        for (_, serial) in self.serials.extract_if(ids, |_, _| true) {
            if let Some(operation) = self.operations.get_mut(&serial) {
                operation.cancel();
            }
        }
    }

    /// Cancels all operations and waits for their threads up to a timeout.
    pub fn end(&mut self, patience: Duration) {
        self.cancel(..);
        let deadline = Instant::now() + patience;
        while !self.operations.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(Response { serial, last: true, .. }) => drop(self.operations.remove(&serial)),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

impl Operation {
    fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        // Wakes the thread if it waits for more.
        self.command_sender = channel().0;
    }

    /// Acknowledges what was passed on, in place of a client that does not.
    fn acknowledge(&mut self) {
        if let Some(frames) = self.tagged.as_mut().and_then(Tagged::unacknowledged) {
            let _ = self.command_sender.send(Command::Ack(frames));
        }
    }
}

fn refused(kind: FileFailureKind, message: String) -> FileResponse {
    FileResponse::failed(FileFailure { kind, errno: None, errno_name: None, message })
}

#[cfg(test)]
mod tests;
