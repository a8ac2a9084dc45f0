//! Reports of changed files, from the file server to the supervisor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;
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
    /// Reports were lost since the last packet, because the supervisor did not take them in time.
    lost: bool,
}

impl Reporter {
    /// Uses a socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, lost: false }
    }

    /// Reports changes, without waiting for the supervisor.
    pub fn report<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) {
        const EVERYTHING: Change = Change { kind: ChangeKind::Everything, path: PathBuf::new() };
        if self.lost {
            self.lost = self.send(&EVERYTHING).is_err();
        }
        for change in changes {
            if !self.lost {
                self.lost = self.send(change).is_err();
            }
        }
    }

    fn send(&self, change: &Change) -> Result<(), Errno> {
        let mut packet = vec![match change.kind {
            ChangeKind::Changed => b'c',
            ChangeKind::Removed => b'r',
            ChangeKind::Everything => b'e',
        }];
        packet.extend_from_slice(change.path.as_os_str().as_bytes());
        if packet.len() > PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        send(&self.socket, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
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
