//! File operations: the table of operations and their threads.
//!
//! A guest's path may lead to a slow disk, to a FUSE file system that does not respond, or to a million files. So each
//! operation has a thread of its own, and the event loop only forwards messages. The data in flight is bounded by the
//! protocol's window.

mod operation;
mod remove;
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
};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::read;

use crate::link::Link;
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
}

struct Operation {
    id: u32,
    command_sender: Sender<Command>,
    /// Tells the thread that it is cancelled.
    cancelled: Arc<AtomicBool>,
    /// The data frames that the client has sent, and that the thread has taken.
    received: u64,
    taken: u64,
}

impl Files {
    /// Registers the token under which the loop is woken to forward messages.
    pub fn new(epoll: &OwnedFd, token: u64) -> rustix::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(epoll, &*wake, EventData::new_u64(token), EventFlags::IN)?;
        let (sender, messages) = channel();
        let (operations, serials) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { operations, serials, next_serial: 0, messages, sender, wake })
    }

    pub fn contains(&self, id: u32) -> bool {
        self.serials.contains_key(&id)
    }

    /// Starts an operation under an unused id. New files belong to `user`, unless the request names another one.
    pub fn begin(&mut self, id: u32, request: FileRequest, user: &str, link: &mut Link) {
        if self.operations.len() >= MAX_OPERATIONS {
            let message = format!("{MAX_OPERATIONS} file operations are under way already");
            return link.send(id, refused(FileFailureKind::Busy, message));
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
        };
        let thread = std::thread::Builder::new().name("file".to_owned()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(move || worker.run(&request, &user)) {
            let message = format!("no thread could be made: {error}");
            return link.send(id, refused(FileFailureKind::Busy, message));
        }
        self.next_serial += 1;
        self.serials.insert(id, serial);
        self.operations.insert(serial, Operation { id, command_sender, cancelled, received: 0, taken: 0 });
    }

    /// Forwards a data frame to a write operation.
    pub fn take_data(&mut self, id: u32, data: Vec<u8>, link: &mut Link) {
        let Some(operation) = self.serials.get(&id).and_then(|serial| self.operations.get_mut(serial)) else {
            // It has failed meanwhile, and the client was informed.
            return;
        };
        operation.received += 1;
        if data.len() > FILE_DATA_BYTES || operation.received - operation.taken > FILE_WINDOW_FRAMES {
            operation.cancelled.store(true, Ordering::Relaxed);
            // Wakes the thread if it waits for more.
            operation.command_sender = channel().0;
            self.serials.remove(&id);
            let message = "more data came than the acknowledgements allow".to_owned();
            return link.send(id, refused(FileFailureKind::BadRequest, message));
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
        if awaited {
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

    /// Cancels operations. A partial file never replaces its target.
    pub fn cancel(&mut self, ids: impl RangeBounds<u32>) {
        for (_, serial) in self.serials.extract_if(ids, |_, _| true) {
            if let Some(operation) = self.operations.get_mut(&serial) {
                operation.cancelled.store(true, Ordering::Relaxed);
                operation.command_sender = channel().0;
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

fn refused(kind: FileFailureKind, message: String) -> FileResponse {
    FileResponse::failed(FileFailure { kind, errno: None, errno_name: None, message })
}

#[cfg(test)]
mod tests;
