//! The thread of one file operation.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use protocol::latest::{
    FILE_WINDOW_FRAMES, FileAck, FileFailure, FileFailureKind, FileRequest, FileResponse, Message,
};
use rustix::io::write;

use crate::failure::errno_name;
use crate::files::operation;

/// The longest part of a path in a message, in bytes.
const QUOTED_BYTES: usize = 256;

pub enum Command {
    Data(Vec<u8>),
    Ack(u64),
}

pub struct Response {
    pub serial: u64,
    pub message: Message,
    pub last: bool,
}

/// Why an operation ends early.
#[derive(Debug)]
pub enum Stop {
    /// It was cancelled.
    Cancelled,
    Failed(FileFailure),
}

pub struct Worker {
    pub serial: u64,
    pub commands: Receiver<Command>,
    pub responses: Sender<Response>,
    pub wake: Arc<OwnedFd>,
    pub cancelled: Arc<AtomicBool>,
    /// The frames that were sent, and that the client has acknowledged.
    pub sent: u64,
    pub acknowledged: u64,
    /// The data frames that were taken.
    pub taken: u64,
    /// A directory on the sandbox's own disk.
    pub disk: Option<Arc<OwnedFd>>,
}

impl Worker {
    pub fn run(mut self, request: &FileRequest, user: &str) {
        let response = match operation::execute(request, user, &mut self) {
            Ok(response) => response,
            Err(Stop::Failed(failure)) => FileResponse::failed(failure),
            // Nothing is sent to the client; the table needs the end.
            Err(Stop::Cancelled) => FileResponse::done(),
        };
        self.respond(response.into(), true);
    }

    fn respond(&self, message: Message, last: bool) {
        let _ = self.responses.send(Response { serial: self.serial, message, last });
        let _ = write(&*self.wake, &1u64.to_ne_bytes());
    }

    /// Checks for cancellation; called wherever an operation may take long.
    pub fn check_cancelled(&self) -> Result<(), Stop> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// The next data of a write operation; `None` at its end.
    pub fn next_data(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        if self.taken > 0 {
            self.respond(FileAck { frames: self.taken }.into(), false);
        }
        loop {
            match self.commands.recv() {
                Ok(Command::Data(data)) => {
                    self.check_cancelled()?;
                    self.taken += 1;
                    return Ok(Some(data).filter(|data| !data.is_empty()));
                }
                Ok(Command::Ack(_)) => {}
                Err(_) => return Err(Stop::Cancelled),
            }
        }
    }

    /// Tells the client that the operation goes on until it sends data, and waits for that up to a timeout. Returns whether
    /// it came.
    pub fn wait_for_end(&self, timeout: Duration) -> Result<bool, Stop> {
        self.respond(FileResponse::done().into(), false);
        let deadline = Instant::now() + timeout;
        loop {
            match self.commands.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Command::Data(_)) => return Ok(true),
                Ok(Command::Ack(_)) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => return Err(Stop::Cancelled),
            }
        }
    }

    /// Sends a frame of data or of a listing once the client's window allows it.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), Stop> {
        while self.sent - self.acknowledged >= FILE_WINDOW_FRAMES {
            match self.commands.recv() {
                // An acknowledgement cannot exceed what was sent, nor decrease.
                Ok(Command::Ack(frames)) => {
                    self.acknowledged = self.acknowledged.max(frames.min(self.sent));
                }
                Ok(Command::Data(_)) => {}
                Err(_) => return Err(Stop::Cancelled),
            }
        }
        self.check_cancelled()?;
        self.sent += 1;
        self.respond(message.into(), false);
        Ok(())
    }
}

/// A failure without a system call.
pub fn refused(kind: FileFailureKind, message: impl Into<String>) -> Stop {
    Stop::Failed(FileFailure { kind, errno: None, errno_name: None, message: message.into() })
}

/// Adds the action and the path to an error.
pub fn failed<T, E: Into<io::Error>>(result: Result<T, E>, what: &str, path: &[u8]) -> Result<T, Stop> {
    result.map_err(|error| {
        let error = error.into();
        let errno = error.raw_os_error();
        let errno_name = errno.and_then(errno_name);
        let path = quoted(path);
        let message = match errno_name {
            Some(name) => format!("cannot {what} '{path}' ({name})"),
            None => format!("cannot {what} '{path}': {error}"),
        };
        Stop::Failed(FileFailure {
            kind: kind(&error),
            errno,
            errno_name: errno_name.map(str::to_owned),
            message,
        })
    })
}

/// A path for messages, shortened from the front.
pub fn quoted(path: &[u8]) -> String {
    let start = path.len().saturating_sub(QUOTED_BYTES);
    let text = String::from_utf8_lossy(&path[start..]).escape_debug().to_string();
    if start > 0 { format!("…{text}") } else { text }
}

fn kind(error: &io::Error) -> FileFailureKind {
    match error.kind() {
        io::ErrorKind::NotFound => FileFailureKind::NotFound,
        io::ErrorKind::PermissionDenied => FileFailureKind::PermissionDenied,
        io::ErrorKind::AlreadyExists => FileFailureKind::AlreadyExists,
        io::ErrorKind::NotADirectory => FileFailureKind::NotDirectory,
        io::ErrorKind::IsADirectory => FileFailureKind::IsDirectory,
        io::ErrorKind::DirectoryNotEmpty => FileFailureKind::DirectoryNotEmpty,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FileFailureKind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => FileFailureKind::ReadOnly,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => FileFailureKind::BadRequest,
        _ => FileFailureKind::Other,
    }
}
