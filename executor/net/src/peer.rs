//! Connections between sandboxes of one project: each stack listens on a control socket, and a connection between two
//! sandboxes is a connection between their stacks.
//!
//! ```text
//! caller                                             callee
//!   │ resolves the name, and checks its own rules        │
//!   ├── request: caller, its address, target address ───►│ checks its own rules, and connects to its guest
//!   │    with one end of a new pair of sockets           │
//!   │◄── one byte: connected; end of file: refused ──────┤
//! ```
//!
//! Architecture invariant: neither trusts the other's guest. The caller's supervisor vouches for its identity.

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

/// The backlog of a control socket.
const BACKLOG: i32 = 1024;
/// The longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 1024;
/// How many foreign connections to a fresh listener are skipped.
const STRANGERS_MAX: usize = 16;
/// The confirmation of a connection.
const CONNECTED: u8 = 1;

/// A running peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Its addresses.
    pub addresses: Addresses,
    /// The path of its control socket.
    pub socket: PathBuf,
}

/// Finds a running sandbox of the same project by its name.
pub type PeerLookup = Box<dyn Fn(&SandboxName) -> Option<PeerRecord> + Send>;

/// The project as a stack sees it.
pub struct PeerDirectory {
    /// The project.
    pub project: ProjectName,
    /// The sandbox's own name in it.
    pub name: SandboxName,
    /// The sandbox's own control socket.
    pub listener: OwnedFd,
    /// Finds the peers.
    pub lookup: PeerLookup,
}

/// The transport of a requested connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// A TCP connection.
    Tcp,
    /// UDP packets.
    Udp,
}

/// A request to connect to another sandbox of the project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectRequest {
    /// The project of both.
    pub(crate) project: ProjectName,
    /// The caller's name.
    pub(crate) name: SandboxName,
    /// The caller's address, as both guests see it.
    pub(crate) from: SocketAddr,
    /// The requested address.
    pub(crate) to: SocketAddr,
    /// The transport.
    #[serde(rename = "carried")]
    pub(crate) transport: Transport,
}

/// Listens on a control socket at a new path.
///
/// # Errors
///
/// If the path is too long, exists already, or cannot be created.
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

/// Accepts the next control connection; `None` if there is none. Connections of other users are dropped.
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

/// Whether the other end of a control connection belongs to this user.
fn is_ours(control: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_peercred(control).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Sends a request with one end of a connection; returns the control connection, which carries the confirmation.
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

/// The result of reading a control connection.
pub(crate) enum Received {
    /// Nothing has arrived yet.
    Pending,
    /// A complete request and the end that came with it.
    Request(Box<ConnectRequest>, OwnedFd),
    /// Anything else; the control connection must be closed.
    Invalid,
}

/// Reads a request from a control connection.
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

/// Confirms the connection. Closing the control connection without this refuses it.
pub(crate) fn confirm(control: &OwnedFd) {
    let _ = send(control, &[CONNECTED], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Whether the peer has confirmed the connection; `None` while it has not answered.
pub(crate) fn is_confirmed(control: &OwnedFd) -> Option<bool> {
    let mut byte = [0];
    match recv(control, &mut byte, RecvFlags::DONTWAIT) {
        Ok((_, count)) => Some(count == 1 && byte == [CONNECTED]),
        Err(Errno::AGAIN | Errno::INTR) => None,
        Err(_) => Some(false),
    }
}

/// Both ends of a connection. They are TCP sockets, so that a reset at one end is one at the other.
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

/// Two UDP sockets that are connected to each other.
pub(crate) fn udp_pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let (near, far) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    near.connect(far.local_addr()?)?;
    far.connect(near.local_addr()?)?;
    for end in [&near, &far] {
        end.set_nonblocking(true)?;
        // Drops what other processes sent before the socket was connected.
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
