//! Sockets on the host.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

/// Starts a connection; the socket becomes writable when it is established or has failed.
pub(crate) fn begin_tcp(target: SocketAddr) -> Result<TcpStream, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    keep_alive(&socket);
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error),
    }
}

/// Enables TCP keep-alive towards the host's side: the guest's own probes end in the stack. A connection survives
/// fifteen minutes without a network.
pub(crate) fn keep_alive(socket: impl AsFd) {
    const INTERVAL: Duration = Duration::from_secs(60);
    const PROBES: u32 = 15;
    // It fails for sockets of other kinds, such as those to peers, whose end is noticed anyway.
    let _ = sockopt::set_socket_keepalive(&socket, true)
        .and_then(|()| sockopt::set_tcp_keepidle(&socket, INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepintvl(&socket, INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepcnt(&socket, PROBES));
}

/// A UDP socket that is connected to one target.
pub(crate) fn udp_to(target: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(target)?;
    Ok(socket)
}

/// Whether an address is the host's own: the kernel then picks it as the source address too. The unspecified address
/// counts as loopback, as in the kernel.
pub fn is_own(address: IpAddr) -> bool {
    let address = crate::policy::plain(address);
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    // Connecting a UDP socket sends nothing. Port 9 is the discard port.
    let socket = udp_to(SocketAddr::new(address, 9));
    let from = socket.and_then(|socket| socket.local_addr());
    from.is_ok_and(|from| from.ip() == address)
}

/// The pending error of a connection attempt; `None` if it succeeded.
pub(crate) fn error_of(stream: &TcpStream) -> Option<std::io::Error> {
    stream.take_error().unwrap_or_else(Some)
}

/// Makes closing the socket send a reset.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Whether a connection to an address arrives at a listener on this host.
    fn arrives(address: IpAddr) -> bool {
        let any: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let listener = TcpListener::bind((any, 0)).unwrap();
        let target = SocketAddr::new(address, listener.local_addr().unwrap().port());
        let Ok(stream) = TcpStream::connect(target) else { return false };
        let peer = listener.accept().unwrap().1;
        peer == stream.local_addr().unwrap()
    }

    #[test]
    fn is_own_agrees_with_connect() {
        let route = UdpSocket::bind("0.0.0.0:0").unwrap();
        let outward = route.connect("192.0.2.1:9").and_then(|()| route.local_addr());
        let own = ["127.0.0.1", "127.9.8.7", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"];
        let own = own.into_iter().map(|text| text.parse().unwrap());
        for address in own.chain(outward.map(|address| address.ip())) {
            assert!(arrives(address) && is_own(address), "{address}");
        }
        // Nothing may be sent to these, so only the result is checked.
        for address in ["192.0.2.1", "198.51.100.7", "2001:db8::1"] {
            assert!(!is_own(address.parse().unwrap()), "{address}");
        }
    }
}
