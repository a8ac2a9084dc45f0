//! Events of a running VM, except for its end.

use crate::qemu::qmp::ENABLE;
pub use crate::qemu::qmp::MonitorProtocol;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// An event of a running VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmEvent {
    /// A disk's file cannot grow because the host's file system is full. The VM is paused until it is resumed.
    OutOfSpace,
    /// The VM has been paused by [`MonitorProtocol::pause`].
    Paused,
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
    /// The connection, which is non-blocking.
    pub stream: UnixStream,
    /// Its protocol.
    pub protocol: MonitorProtocol,
}

impl Monitor {
    /// Wraps a new connection.
    pub(crate) fn new(mut stream: UnixStream) -> io::Result<Self> {
        // Fits into the socket's buffer, so this does not block.
        stream.write_all(ENABLE)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, protocol: MonitorProtocol::default() })
    }
}
