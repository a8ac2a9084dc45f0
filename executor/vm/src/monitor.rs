//! The events of a running VM, besides its end.

use crate::qemu::qmp::Qmp;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// Something that happens to a running VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmEvent {
    /// A disk's file cannot grow because the host's file system is full. The VM stands still until it is resumed.
    OutOfSpace,
    /// The VM runs again.
    Resumed,
}

/// The result of taking in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What has happened.
    pub events: Vec<VmEvent>,
    /// What is to be sent back.
    pub replies: Vec<u8>,
}

/// A connection to a VM whose driver reports events. It is the launcher's alone: the VM's own process has the other
/// end and nothing else leads there.
#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
}

/// The protocol on a [`Monitor`]'s connection, without the connection.
#[derive(Debug)]
pub struct MonitorProtocol(Qmp);

impl Monitor {
    /// Takes over a connection that has just been made.
    pub(crate) fn new(mut stream: UnixStream) -> io::Result<Self> {
        // Fits into the socket's buffer: nobody has to read yet.
        stream.write_all(Qmp::greeting())?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream })
    }

    /// The connection, non-blocking, and what to make of its bytes.
    pub fn into_parts(self) -> (UnixStream, MonitorProtocol) {
        (self.stream, MonitorProtocol(Qmp::default()))
    }
}

impl MonitorProtocol {
    /// Takes in bytes as they come. After an error the connection is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> io::Result<Received> {
        self.0.receive(bytes)
    }

    /// The bytes that ask a VM which ran out of space to go on. If there still is none, it reports that again.
    pub fn resume(&self) -> &'static [u8] {
        Qmp::resume()
    }
}
