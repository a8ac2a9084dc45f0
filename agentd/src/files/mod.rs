//! File operations: who asked for which, and the threads that carry them out.
//!
//! A path of the guest's may lead to a disk that is slow, to a file system that a command serves and does not
//! answer for, or to a million files. So each operation has a thread of its own, and the event loop only passes
//! messages on. What is on its way between both is bounded by the protocol's window.

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
use worker::{Command, Said, Worker};

/// Operations at once, those included whose thread hangs in a file system that does not answer.
pub const MAX_OPERATIONS: usize = 16;
/// More than the deepest recursion needs.
const STACK_BYTES: usize = 256 * 1024;

pub struct Files {
    operations: BTreeMap<u64, Operation>,
    /// By the clients' ids; without those that nobody waits for any more.
    serials: BTreeMap<u32, u64>,
    next_serial: u64,
    said: Receiver<Said>,
    sender: Sender<Said>,
    wake: Arc<OwnedFd>,
}

struct Operation {
    id: u32,
    orders: Sender<Command>,
    /// Tells the thread that nobody waits for it any more.
    cancelled: Arc<AtomicBool>,
    /// Frames of data that the client has sent, and that the thread has taken.
    received: u64,
    taken: u64,
}

impl Files {
    /// Wakes the loop under this token when there is something to pass on.
    pub fn new(epoll: &OwnedFd, token: u64) -> rustix::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(epoll, &*wake, EventData::new_u64(token), EventFlags::IN)?;
        let (sender, said) = channel();
        let (operations, serials) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { operations, serials, next_serial: 0, said, sender, wake })
    }

    pub fn contains(&self, id: u32) -> bool {
        self.serials.contains_key(&id)
    }

    /// Begins an operation under an id that nothing else has. What it makes belongs to `user`, unless the
    /// request names somebody else.
    pub fn begin(&mut self, id: u32, request: FileRequest, user: &str, link: &mut Link) {
        if self.operations.len() >= MAX_OPERATIONS {
            let message = format!("{MAX_OPERATIONS} file operations are under way already");
            return link.send(id, refused(FileFailureKind::Busy, message));
        }
        let (orders, heard) = channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let serial = self.next_serial;
        let user = request.user.clone().unwrap_or_else(|| user.to_owned());
        let worker =
            Worker::new(serial, heard, self.sender.clone(), Arc::clone(&self.wake), Arc::clone(&cancelled));
        let thread = std::thread::Builder::new().name("file".to_owned()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(move || worker.run(&request, &user)) {
            let message = format!("no thread could be made: {error}");
            return link.send(id, refused(FileFailureKind::Busy, message));
        }
        self.next_serial += 1;
        self.serials.insert(id, serial);
        self.operations.insert(serial, Operation { id, orders, cancelled, received: 0, taken: 0 });
    }

    /// The next bytes of a file that is written.
    pub fn take_data(&mut self, id: u32, data: Vec<u8>, link: &mut Link) {
        let Some(operation) = self.serials.get(&id).and_then(|serial| self.operations.get_mut(serial)) else {
            // It has failed meanwhile, and has been told so.
            return;
        };
        operation.received += 1;
        if data.len() > FILE_DATA_BYTES || operation.received - operation.taken > FILE_WINDOW_FRAMES {
            operation.cancelled.store(true, Ordering::Relaxed);
            // Wakes it when it waits for more.
            operation.orders = channel().0;
            self.serials.remove(&id);
            let message = "more data came than the acknowledgements allow".to_owned();
            return link.send(id, refused(FileFailureKind::BadRequest, message));
        }
        // One that has failed meanwhile takes nothing any more.
        let _ = operation.orders.send(Command::Data(data));
    }

    /// The client has taken so many frames.
    pub fn take_ack(&mut self, id: u32, frames: u64) {
        if let Some(operation) = self.serials.get(&id).and_then(|serial| self.operations.get(serial)) {
            let _ = operation.orders.send(Command::Ack(frames));
        }
    }

    /// Passes on what the threads have said.
    pub fn on_readable(&mut self, link: &mut Link) {
        let mut count = [0; 8];
        let _ = read(&*self.wake, &mut count);
        while let Ok(said) = self.said.try_recv() {
            self.pass_on(said, link);
        }
    }

    fn pass_on(&mut self, said: Said, link: &mut Link) {
        let Said { serial, message, last } = said;
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

    /// Nobody waits for these operations any more. A file that is not whole never takes its place.
    pub fn cancel(&mut self, ids: impl RangeBounds<u32>) {
        let gone: Vec<u32> = self.serials.range(ids).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(operation) =
                self.serials.remove(&id).and_then(|serial| self.operations.get_mut(&serial))
            {
                operation.cancelled.store(true, Ordering::Relaxed);
                operation.orders = channel().0;
            }
        }
    }

    /// Ends all of them, and waits for the threads; not for one that hangs.
    pub fn end(&mut self, patience: Duration) {
        self.cancel(..);
        let deadline = Instant::now() + patience;
        while !self.operations.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(Said { serial, last: true, .. }) => drop(self.operations.remove(&serial)),
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
