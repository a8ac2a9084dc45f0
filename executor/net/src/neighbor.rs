//! Other sandboxes of the same project: each one's stack listens on a socket of its own, and a connection between
//! two sandboxes is a connection between their stacks.
//!
//! ```text
//! caller                                             called
//!   │ looks the name up, and asks its own rules          │
//!   ├── a call: who, from where, to which port ─────────►│ asks its own rules, and its guest
//!   │    with one end of a fresh pair of sockets         │
//!   │◄── one byte: connected; the end: refused ──────────┤
//! ```
//!
//! Architecture invariant: neither trusts the other's guest. Whom a call is from its supervisor says, never its guest.

use crate::address::Addresses;
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recv, recvmsg, send, sendmsg, socket_with,
};
use schemas::name::{ProjectName, SandboxName};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How many calls may wait to be taken.
const CALLS_WAITING: i32 = 1024;
/// The longest call, in bytes.
const CALL_BYTES_MAX: usize = 1024;
/// How many others may have come to a port before us that nobody else knows of.
const STRANGERS_MAX: usize = 16;
/// What says that a connection is made.
const CONNECTED: u8 = 1;

/// Another sandbox that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Its addresses.
    pub addresses: Addresses,
    /// Where its stack takes calls.
    pub socket: PathBuf,
}

/// Finds a running sandbox of the same project by its name.
pub type Find = Box<dyn Fn(&SandboxName) -> Option<Neighbor> + Send>;

/// What a stack knows of the project that it is part of.
pub struct Neighborhood {
    /// The project.
    pub project: ProjectName,
    /// The sandbox's own name in it.
    pub name: SandboxName,
    /// Where the others call.
    pub listener: OwnedFd,
    /// How the others are found.
    pub find: Find,
}

/// What a call carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Carried {
    /// A connection.
    Tcp,
    /// Packets.
    Udp,
}

/// One sandbox wants to reach another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// The project of both.
    pub(crate) project: ProjectName,
    /// Who calls.
    pub(crate) name: SandboxName,
    /// Its end, as both guests see it.
    pub(crate) from: SocketAddr,
    /// The end that is called.
    pub(crate) to: SocketAddr,
    /// What it wants.
    pub(crate) carried: Carried,
}

/// Listens for calls at a path that nobody has.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, CALLS_WAITING)?;
    Ok(socket)
}

fn seqpacket() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )
}

/// The next one who calls; nothing where nobody does. Programs of other users are not heard.
pub(crate) fn take_caller(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    loop {
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(line) if is_ours(&line) => return Ok(Some(line)),
            Ok(_) => {}
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the other end of a line is a program of this user.
fn is_ours(line: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_peercred(line).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Calls another sandbox, and hands one end of a connection over; gives the line on which the answer comes.
pub(crate) fn call(path: &Path, call: &Call, end: impl AsFd) -> io::Result<OwnedFd> {
    let line = seqpacket()?;
    connect(&line, &SocketAddrUnix::new(path)?)?;
    let bytes = serde_json::to_vec(call)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let ends = [end.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&ends));
    sendmsg(&line, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(line)
}

/// What came over a line.
pub(crate) enum Heard {
    /// Nothing yet.
    Nothing,
    /// A whole call, and the end that was handed over.
    Call(Box<Call>, OwnedFd),
    /// Something else: the line is to be closed.
    Rubbish,
}

/// Takes a call off a line.
pub(crate) fn hear(line: &OwnedFd) -> Heard {
    let mut bytes = [0; CALL_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(line, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
        Ok(received) => received.bytes,
        Err(Errno::AGAIN | Errno::INTR) => return Heard::Nothing,
        Err(_) => return Heard::Rubbish,
    };
    let end = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut ends) => ends.next(),
        _ => None,
    });
    match (bytes.get(..received).and_then(|bytes| serde_json::from_slice(bytes).ok()), end) {
        (Some(call), Some(end)) => Heard::Call(Box::new(call), end),
        _ => Heard::Rubbish,
    }
}

/// Says that the connection is made. That it is not, the end of the line says.
pub(crate) fn say_connected(line: &OwnedFd) {
    let _ = send(line, &[CONNECTED], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Whether the other one said that the connection is made; nothing where it has not spoken yet.
pub(crate) fn is_connected(line: &OwnedFd) -> Option<bool> {
    let mut byte = [0];
    match recv(line, &mut byte, RecvFlags::DONTWAIT) {
        Ok((_, count)) => Some(count == 1 && byte == [CONNECTED]),
        Err(Errno::AGAIN | Errno::INTR) => None,
        Err(_) => Some(false),
    }
}

/// Both ends of a connection. One of TCP, so that an end that was not orderly stays one.
pub(crate) fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let own = near.local_addr()?;
    listener.set_nonblocking(true)?;
    for _ in 0..STRANGERS_MAX {
        let (far, peer) = listener.accept()?;
        if peer == own {
            for end in [&near, &far] {
                end.set_nonblocking(true)?;
                end.set_nodelay(true)?;
            }
            return Ok((near, far));
        }
    }
    Err(io::ErrorKind::PermissionDenied.into())
}

/// Two sockets for packets that hear each other only.
pub(crate) fn udp_pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let (near, far) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    near.connect(far.local_addr()?)?;
    far.connect(near.local_addr()?)?;
    for end in [&near, &far] {
        end.set_nonblocking(true)?;
        // What strangers sent before it was connected.
        while end.recv(&mut [0]).is_ok() {}
    }
    Ok((near, far))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Call {
        Call {
            project: ProjectName::new("shop").unwrap(),
            name: SandboxName::new("web").unwrap(),
            from: "172.16.0.2:40000".parse().unwrap(),
            to: "172.16.0.6:80".parse().unwrap(),
            carried: Carried::Tcp,
        }
    }

    #[test]
    fn a_call_arrives_whole_and_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.sock");
        let listener = listen_at(&path).unwrap();
        assert!(take_caller(&listener).unwrap().is_none());
        let (near, far) = tcp_pair().unwrap();
        let line = call(&path, &example(), &far).unwrap();
        drop(far);
        let theirs = take_caller(&listener).unwrap().unwrap();
        let Heard::Call(heard, end) = hear(&theirs) else { panic!("a call is due") };
        assert_eq!(*heard, example());
        assert_eq!(is_connected(&line), None);
        say_connected(&theirs);
        assert_eq!(is_connected(&line), Some(true));
        drop(theirs);
        assert_eq!(is_connected(&line), Some(false));
        drop(end);
        assert_eq!(near.take_error().unwrap().map(|error| error.kind()), None);
        assert_eq!(std::io::Read::read(&mut &near, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_is_no_call_is_rubbish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.sock");
        let listener = listen_at(&path).unwrap();
        for bytes in [&b""[..], b"{}", &[b'x'; 2 * CALL_BYTES_MAX], &serde_json::to_vec(&example()).unwrap()]
        {
            let line = seqpacket().unwrap();
            connect(&line, &SocketAddrUnix::new(&path).unwrap()).unwrap();
            let theirs = take_caller(&listener).unwrap().unwrap();
            assert!(matches!(hear(&theirs), Heard::Nothing));
            send(&line, bytes, SendFlags::NOSIGNAL).unwrap();
            drop(line);
            assert!(matches!(hear(&theirs), Heard::Rubbish), "{bytes:?}");
        }
    }
}
