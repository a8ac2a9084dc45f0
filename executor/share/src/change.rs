//! Reports of changed files, from the file server to the supervisor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// The longest path in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// A change of a file by the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The path in the file system, which begins with the entry of the share; empty for [`ChangeKind::Everything`].
    pub path: PathBuf,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is there, and new or changed.
    Changed,
    /// It is not there any more.
    Removed,
    /// So much has changed that single files are not reported.
    Everything,
}

/// The end of a packet socket that the file server reports changes on. A packet is one byte for the kind, then the path.
#[derive(Debug)]
pub struct Reporter {
    socket: OwnedFd,
}

impl Reporter {
    /// Uses a socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Reports changes. Waits while the supervisor takes none: the host keeps a bounded number of events meanwhile, and
    /// says when it has lost some.
    ///
    /// # Errors
    ///
    /// If the supervisor has closed its end.
    pub fn report<'a>(&self, mut changes: impl Iterator<Item = &'a Change>) -> io::Result<()> {
        changes.try_for_each(|change| self.send(change))
    }

    fn send(&self, change: &Change) -> io::Result<()> {
        let path = change.path.as_os_str().as_bytes();
        // No program of the guest can name a path of this length.
        let is_too_long = path.len() >= PATH_BYTES_MAX;
        let kind = match change.kind {
            ChangeKind::Everything => b'e',
            _ if is_too_long => b'e',
            ChangeKind::Changed => b'c',
            ChangeKind::Removed => b'r',
        };
        let mut packet = vec![kind];
        packet.extend_from_slice(if is_too_long { b"" } else { path });
        loop {
            match send(&self.socket, &packet, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    retry_on_intr(|| poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Receives one report from the non-blocking socket of a file server; `None` if the server has ended.
///
/// # Errors
///
/// `WouldBlock` if there is none now, and `InvalidData` for a packet of another form.
pub fn receive_change(socket: &OwnedFd) -> io::Result<Option<Change>> {
    let mut packet = [0; PATH_BYTES_MAX];
    let (_, length) = recv(socket, &mut packet[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    let Some((kind, path)) = packet.get(..length).and_then(<[u8]>::split_first) else {
        return if length == 0 { Ok(None) } else { Err(io::ErrorKind::InvalidData.into()) };
    };
    let kind = match kind {
        b'c' => ChangeKind::Changed,
        b'r' => ChangeKind::Removed,
        b'e' => ChangeKind::Everything,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Some(Change { kind, path: PathBuf::from(OsStr::from_bytes(path)) }))
}
