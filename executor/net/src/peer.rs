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
const BACKLOG: i32 = 1024;
/// The longest call, in bytes.
const REQUEST_BYTES_MAX: usize = 1024;
/// How many others may have come to a port before us that nobody else knows of.
const STRANGERS_MAX: usize = 16;
/// What says that a connection is made.
const CONNECTED: u8 = 1;

/// Another sandbox that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Its addresses.
    pub addresses: Addresses,
    /// Where its stack takes calls.
    pub socket: PathBuf,
}

/// Finds a running sandbox of the same project by its name.
pub type PeerLookup = Box<dyn Fn(&SandboxName) -> Option<PeerRecord> + Send>;

/// What a stack knows of the project that it is part of.
pub struct PeerDirectory {
    /// The project.
    pub project: ProjectName,
    /// The sandbox's own name in it.
    pub name: SandboxName,
    /// Where the others call.
    pub listener: OwnedFd,
    /// How the others are found.
    pub lookup: PeerLookup,
}

/// What a call carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// A connection.
    Tcp,
    /// Packets.
    Udp,
}

/// One sandbox wants to reach another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectRequest {
    /// The project of both.
    pub(crate) project: ProjectName,
    /// Who calls.
    pub(crate) name: SandboxName,
    /// Its end, as both guests see it.
    pub(crate) from: SocketAddr,
    /// The end that is called.
    pub(crate) to: SocketAddr,
    /// What it wants.
    #[serde(rename = "carried")]
    pub(crate) transport: Transport,
}

/// Listens for calls at a path that nobody has.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
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
pub(crate) fn accept_caller(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    loop {
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(control) if is_ours(&control) => return Ok(Some(control)),
            Ok(_) => {}
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the other end of a line is a program of this user.
fn is_ours(control: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_peercred(control).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Calls another sandbox, and hands one end of a connection over; gives the line on which the answer comes.
pub(crate) fn send_request(path: &Path, request: &ConnectRequest, end: impl AsFd) -> io::Result<OwnedFd> {
    let control = seqpacket()?;
    connect(&control, &SocketAddrUnix::new(path)?)?;
    let bytes = serde_json::to_vec(request)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let ends = [end.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&ends));
    sendmsg(&control, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(control)
}

/// What came over a line.
pub(crate) enum Received {
    /// Nothing yet.
    Pending,
    /// A whole call, and the end that was handed over.
    Request(Box<ConnectRequest>, OwnedFd),
    /// Something else: the line is to be closed.
    Invalid,
}

/// Takes a call off a line.
pub(crate) fn receive_request(control: &OwnedFd) -> Received {
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(control, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
        Ok(received) => received.bytes,
        Err(Errno::AGAIN | Errno::INTR) => return Received::Pending,
        Err(_) => return Received::Invalid,
    };
    let end = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut ends) => ends.next(),
        _ => None,
    });
    match (bytes.get(..received).and_then(|bytes| serde_json::from_slice(bytes).ok()), end) {
        (Some(request), Some(end)) => Received::Request(Box::new(request), end),
        _ => Received::Invalid,
    }
}

/// Says that the connection is made. That it is not, the end of the line says.
pub(crate) fn confirm(control: &OwnedFd) {
    let _ = send(control, &[CONNECTED], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Whether the other one said that the connection is made; nothing where it has not spoken yet.
pub(crate) fn is_confirmed(control: &OwnedFd) -> Option<bool> {
    let mut byte = [0];
    match recv(control, &mut byte, RecvFlags::DONTWAIT) {
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

    fn example() -> ConnectRequest {
        ConnectRequest {
            project: ProjectName::new("shop").unwrap(),
            name: SandboxName::new("web").unwrap(),
            from: "172.16.0.2:40000".parse().unwrap(),
            to: "172.16.0.6:80".parse().unwrap(),
            transport: Transport::Tcp,
        }
    }

    #[test]
    fn a_request_arrives_complete_and_is_confirmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.sock");
        let listener = listen_at(&path).unwrap();
        assert!(accept_caller(&listener).unwrap().is_none());
        let (near, far) = tcp_pair().unwrap();
        let control = send_request(&path, &example(), &far).unwrap();
        drop(far);
        let theirs = accept_caller(&listener).unwrap().unwrap();
        let Received::Request(request, end) = receive_request(&theirs) else { panic!("a call is due") };
        assert_eq!(*request, example());
        assert_eq!(is_confirmed(&control), None);
        confirm(&theirs);
        assert_eq!(is_confirmed(&control), Some(true));
        drop(theirs);
        assert_eq!(is_confirmed(&control), Some(false));
        drop(end);
        assert_eq!(near.take_error().unwrap().map(|error| error.kind()), None);
        assert_eq!(std::io::Read::read(&mut &near, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_malformed_request_is_invalid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.sock");
        let listener = listen_at(&path).unwrap();
        for bytes in
            [&b""[..], b"{}", &[b'x'; 2 * REQUEST_BYTES_MAX], &serde_json::to_vec(&example()).unwrap()]
        {
            let control = seqpacket().unwrap();
            connect(&control, &SocketAddrUnix::new(&path).unwrap()).unwrap();
            let theirs = accept_caller(&listener).unwrap().unwrap();
            assert!(matches!(receive_request(&theirs), Received::Pending));
            send(&control, bytes, SendFlags::NOSIGNAL).unwrap();
            drop(control);
            assert!(matches!(receive_request(&theirs), Received::Invalid), "{bytes:?}");
        }
    }
}
