//! The framed, non-blocking link to the host over the agent port.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::frame::{Flags, Frame, FrameDecoder, FrameError};
use protocol::latest::{ErrorKind, ErrorReport, Message, OutputStream, append_output};
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::time::Timespec;

use crate::watch::Watch;

/// The unsent bytes above which output of commands is not read.
const HIGH_WATER_BYTES: usize = 1024 * 1024;
/// The unsent bytes below which it is read again.
const LOW_WATER_BYTES: usize = 256 * 1024;
/// The unsent bytes above which the host's frames are not read: it does not read the answers.
const UNRESPONSIVE_BYTES: usize = 8 * 1024 * 1024;
/// The interval of checks for a new connection of the host.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(20);

pub struct Link {
    watch: Watch,
    decoder: FrameDecoder,
    outgoing: Vec<u8>,
    written: usize,
    /// When to check for a connection; set while the host is not connected.
    retry_at: Option<Instant>,
    congested: bool,
    /// The input is not a sequence of frames: no more is read.
    desynchronized: bool,
}

pub enum Received {
    Frame(Frame),
    /// All received frames were returned.
    Nothing,
    /// Reading is suspended until the host has read some answers.
    Later,
    /// The host has disconnected; a partial frame is dropped.
    Disconnected,
}

impl Link {
    pub fn new(epoll: &Rc<OwnedFd>, port: OwnedFd, token: u64) -> rustix::io::Result<Self> {
        let mut watch = Watch::new(epoll, port, token);
        watch.want(EventFlags::IN)?;
        let (decoder, outgoing) = (FrameDecoder::new(), Vec::new());
        Ok(Self {
            watch,
            decoder,
            outgoing,
            written: 0,
            retry_at: None,
            congested: false,
            desynchronized: false,
        })
    }

    /// The next frame, from the buffer or the port.
    ///
    /// # Errors
    ///
    /// Once, if the input is malformed.
    pub fn receive(&mut self, scratch: &mut [u8]) -> Result<Received, FrameError> {
        if self.desynchronized {
            return Ok(Received::Nothing);
        }
        loop {
            if self.is_unresponsive() {
                return Ok(Received::Later);
            }
            let next = self.decoder.next_frame();
            self.desynchronized = next.is_err();
            if let Some(frame) = next? {
                return Ok(Received::Frame(frame));
            }
            match read(&self.watch, &mut *scratch) {
                Ok(0) => return Ok(self.disconnect()),
                Ok(count) => self.decoder.feed(&scratch[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(_) => return Ok(self.disconnect()),
            }
        }
    }

    fn disconnect(&mut self) -> Received {
        self.decoder = FrameDecoder::new();
        self.outgoing = Vec::new();
        self.written = 0;
        self.congested = false;
        self.retry_at = Some(Instant::now() + RECONNECT_INTERVAL);
        // The port reports a hang-up while the host is not connected: watching it would wake the loop without end.
        let _ = self.watch.want(EventFlags::empty());
        Received::Disconnected
    }

    /// Whether reading is suspended because the host does not read its answers.
    pub fn is_unresponsive(&self) -> bool {
        self.unsent() > UNRESPONSIVE_BYTES
    }

    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether the host has reconnected. Call it when [`retry_at`](Self::retry_at) has passed.
    pub fn reconnect(&mut self) -> bool {
        let mut descriptors = [PollFd::new(&self.watch, PollFlags::IN | PollFlags::OUT)];
        let connected = poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|count| count == 0)
            || !descriptors[0].revents().intersects(PollFlags::HUP | PollFlags::ERR);
        if connected {
            self.retry_at = None;
            let _ = self.watch.want(EventFlags::IN);
        } else {
            self.retry_at = Some(Instant::now() + RECONNECT_INTERVAL);
        }
        connected
    }

    pub fn send(&mut self, id: u32, message: impl Into<Message>) {
        let message = message.into();
        let flags = message.usual_flags();
        self.send_with(id, &message, flags);
    }

    pub fn send_with(&mut self, id: u32, message: &Message, flags: Flags) {
        if self.retry_at.is_some() {
            return;
        }
        let frame = message.encode_with(id, flags).or_else(|error| {
            // It quotes its request, which was long. Its reader must not wait forever.
            let text = format!("a {} could not be sent: {error}", message.message_type());
            crate::log(format_args!("{text}"));
            let report = ErrorReport { kind: ErrorKind::Other, message: text, message_type: None };
            Message::from(report).encode_with(id, flags)
        });
        if let Ok(frame) = frame {
            self.send_frame(&frame);
        }
    }

    /// Sends a frame that is encoded already.
    pub fn send_frame(&mut self, frame: &Frame) {
        if self.retry_at.is_none() {
            self.outgoing.extend_from_slice(frame.as_bytes());
        }
    }

    /// Sends output of a command, a chunk that fits into a frame.
    pub fn send_output(&mut self, id: u32, stream: OutputStream, data: &[u8]) {
        if self.retry_at.is_none() {
            // A chunk has the size of a read, which fits.
            let _ = append_output(stream, data, id, &mut self.outgoing);
        }
    }

    /// Writes what the port accepts.
    pub fn flush(&mut self) {
        while self.written < self.outgoing.len() && self.retry_at.is_none() {
            match write(&self.watch, &self.outgoing[self.written..]) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                // Reading detects a disconnected host.
                Err(_) => break,
            }
        }
        if self.written == self.outgoing.len() {
            self.outgoing.clear();
            self.written = 0;
        } else if self.written > HIGH_WATER_BYTES {
            self.outgoing.drain(..self.written);
            self.written = 0;
        }
        let unsent = self.unsent();
        self.congested = if self.congested { unsent > LOW_WATER_BYTES } else { unsent > HIGH_WATER_BYTES };
        if self.retry_at.is_none() {
            let mut interest = match unsent {
                0 => EventFlags::IN,
                1..=UNRESPONSIVE_BYTES => EventFlags::IN | EventFlags::OUT,
                _ => EventFlags::OUT,
            };
            if self.desynchronized {
                interest.remove(EventFlags::IN);
            }
            let _ = self.watch.want(interest);
        }
    }

    /// Whether output of commands should not be read.
    pub fn congested(&self) -> bool {
        self.congested || self.unsent() > HIGH_WATER_BYTES
    }

    fn unsent(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Sends the last message and returns when the host has read it, is not connected, or the timeout has passed.
    pub fn finish(&mut self, id: u32, message: &Message, flags: Flags, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            self.flush();
            if self.outgoing.is_empty() || self.retry_at.is_some() || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if !self.outgoing.is_empty() || self.retry_at.is_some() {
            return;
        }
        // A blocking write to a full port would wait for the host without a timeout.
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut port = [PollFd::new(&self.watch, PollFlags::OUT)];
        if !poll(&mut port, Some(&left)).is_ok_and(|count| count > 0) {
            return;
        }
        if let Ok(frame) = message.encode_with(id, flags) {
            // In blocking mode the driver returns from a write when the device has consumed it.
            let _ = fcntl_setfl(self.watch.as_fd(), OFlags::RDWR);
            let mut rest = frame.as_bytes();
            while let Ok(count) = write(&self.watch, rest) {
                rest = rest.get(count..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
}
