//! Events of a running VM, except for its end.

use crate::qemu::qmp::Qmp;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// An event of a running VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmEvent {
    /// A disk's file cannot grow because the host's file system is full. The VM is paused until it is resumed.
    OutOfSpace,
    /// The VM has been resumed.
    Resumed,
}

/// The result of received bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The events.
    pub events: Vec<VmEvent>,
    /// The bytes to send.
    pub replies: Vec<u8>,
}

/// A connection to a VM whose driver reports events. Only the launcher and the VM's process have an end of it.
#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
}

/// The protocol on a [`Monitor`]'s connection, without the connection.
#[derive(Debug)]
pub struct MonitorProtocol(Qmp);

impl Monitor {
    /// Wraps a new connection.
    pub(crate) fn new(mut stream: UnixStream) -> io::Result<Self> {
        // Fits into the socket's buffer, so this does not block.
        stream.write_all(Qmp::greeting())?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream })
    }

    /// Returns the connection, which is non-blocking, and its protocol.
    pub fn into_parts(self) -> (UnixStream, MonitorProtocol) {
        (self.stream, MonitorProtocol(Qmp::default()))
    }
}

impl MonitorProtocol {
    /// Parses received bytes.
    ///
    /// # Errors
    ///
    /// If the peer breaks the protocol; the connection must be closed then.
    pub fn receive(&mut self, bytes: &[u8]) -> io::Result<Received> {
        self.0.receive(bytes)
    }

    /// Returns the request that resumes a paused VM. It reports [`VmEvent::OutOfSpace`] again if there is no space.
    pub fn resume(&self) -> &'static [u8] {
        Qmp::resume()
    }
}
